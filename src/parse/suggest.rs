//! "did you mean `…`?": the known word nearest to one that is not known.

/// A hint for `wrong`, if one of the words is near enough to have been meant. Of equally near ones the first counts.
pub fn did_you_mean<'a>(wrong: &str, words: impl IntoIterator<Item = &'a str>) -> Option<String> {
    // Nobody types a longer word by mistake, and the distance costs the product of both lengths.
    if wrong.chars().count() > 64 {
        return None;
    }
    // A third of the letters may differ: beyond that the guess would surprise more often than it helps.
    let limit = (wrong.chars().count() / 3).max(1);
    let lower = wrong.to_lowercase();
    words
        .into_iter()
        .map(|word| (distance(&lower, &word.to_lowercase()), word))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| format!("did you mean `{word}`?"))
}

/// A hint for `wrong` in any case: what was meant, else all that there is, else `none`.
pub fn did_you_mean_or_all<'a>(wrong: &str, words: impl IntoIterator<Item = &'a str>, none: &str) -> String {
    let words: Vec<&str> = words.into_iter().collect();
    did_you_mean(wrong, words.iter().copied()).unwrap_or_else(|| match words.is_empty() {
        true => none.to_owned(),
        false => format!("there is {}", words.join(", ")),
    })
}

/// Insertions, deletions, replacements and swaps of neighbours that make one text of the other.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replace = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replace.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::{did_you_mean, did_you_mean_or_all};

    #[test]
    fn a_slip_of_the_finger_is_recognised_and_another_word_is_not() {
        let words = ["host-1", "host-2", "environment", "image"];
        let hint = |wrong| did_you_mean(wrong, words);
        assert_eq!(hint("enviroment").as_deref(), Some("did you mean `environment`?"));
        assert_eq!(hint("hsot-2").as_deref(), Some("did you mean `host-2`?"));
        assert_eq!(hint("Image").as_deref(), Some("did you mean `image`?"));
        assert_eq!(hint("database"), None);
        assert_eq!(hint(""), None);
    }

    #[test]
    fn where_nothing_was_meant_all_that_there_is_is_said() {
        let hint = |words: &[&'static str]| did_you_mean_or_all("web", words.iter().copied(), "it has none");
        assert_eq!(hint(&["app", "wep"]), "did you mean `wep`?");
        assert_eq!(hint(&["app", "cache"]), "there is app, cache");
        assert_eq!(hint(&[]), "it has none");
    }
}
