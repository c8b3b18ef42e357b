//! What `STACK`, `STACK/SERVICE` or `STACK/SERVICE-N` means.

use crate::cli::show::paint::plain;
use crate::cli::trouble::Trouble;
use crate::name::{InstanceId, StackName, StackSlug};
use crate::parse::suggest::did_you_mean_or_all;

/// The stack that a word means: its name as written, or its slug.
pub fn stack<'a>(word: &str, known: impl Iterator<Item = &'a StackName>) -> Result<StackSlug, Trouble> {
    let known: Vec<&StackName> = known.collect();
    let is_meant = |name: &&&StackName| name.as_str() == word || name.slug().as_str() == word;
    if let Some(name) = known.iter().find(is_meant) {
        return Ok(name.slug().clone());
    }
    let hint = did_you_mean_or_all(word, known.iter().map(|name| name.slug().as_str()), "there is none yet");
    Err(Trouble::usage(format!("there is no stack {}: {hint}", plain(word))))
}

/// `STACK` and what follows it.
pub fn split(what: &str) -> (&str, Option<&str>) {
    match what.split_once('/') {
        Some((stack, part)) => (stack, Some(part)),
        None => (what, None),
    }
}

/// Those of a stack's instances that the second part means; all where there is none.
pub fn instances<'a>(
    what: &str,
    part: Option<&str>,
    all: impl Iterator<Item = &'a InstanceId>,
) -> Result<Vec<&'a InstanceId>, Trouble> {
    let all: Vec<&InstanceId> = all.collect();
    let Some(part) = part else { return Ok(all) };
    let of_service = |id: &&&InstanceId| id.service.as_str() == part;
    let chosen: Vec<&InstanceId> = match all.iter().any(|id| of_service(&id)) {
        // A service may be called `web-1`: what is a whole name wins.
        true => all.iter().filter(of_service).copied().collect(),
        false => all.iter().filter(|id| format!("{}-{}", id.service, id.number) == part).copied().collect(),
    };
    if !chosen.is_empty() {
        return Ok(chosen);
    }
    let mut known: Vec<String> = all.iter().map(|id| id.service.to_string()).collect();
    known.dedup();
    let hint = did_you_mean_or_all(part, known.iter().map(String::as_str), "it has none");
    Err(Trouble::usage(format!("{} means no instance: {hint}", plain(what))))
}

#[cfg(test)]
mod tests {
    use super::{instances, split, stack};
    use crate::name::{InstanceId, ServiceName, StackName};

    fn id(service: &str, number: u32) -> InstanceId {
        let stack = StackName::new("The Shop").expect("a name").slug().clone();
        InstanceId { stack, service: ServiceName::new(service).expect("a name"), number }
    }

    #[test]
    fn a_stack_is_meant_by_its_name_or_its_slug() {
        let known = [StackName::new("The Shop").expect("a name")];
        let slug = known[0].slug();
        assert_eq!(stack("The Shop", known.iter()).expect("a stack"), *slug);
        assert_eq!(stack(slug.as_str(), known.iter()).expect("a stack"), *slug);
        let trouble = stack("the-shob", known.iter()).expect_err("no stack");
        assert!(trouble.text().contains("did you mean `the-shop`?"), "{}", trouble.text());
    }

    #[test]
    fn a_whole_name_of_a_service_wins_over_a_number() {
        let all = [id("web", 1), id("web", 2), id("web-1", 1)];
        let chosen = |what: &str| {
            let (_, part) = split(what);
            instances(what, part, all.iter())
                .expect("instances")
                .into_iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        assert_eq!(chosen("shop").len(), 3);
        assert_eq!(chosen("shop/web"), ["the-shop/web-1", "the-shop/web-2"]);
        assert_eq!(chosen("shop/web-1"), ["the-shop/web-1-1"]);
        assert_eq!(chosen("shop/web-2"), ["the-shop/web-2"]);
        let trouble = instances("shop/wep", Some("wep"), all.iter()).expect_err("none");
        assert!(trouble.text().contains("did you mean `web`?"), "{}", trouble.text());
    }
}
