//! Texts that stand for amounts and for commands.

/// Thousandths of a core from `0.5`, `2` or `500m`. None: not an amount.
pub fn cpu(text: &str) -> Option<u64> {
    match text.strip_suffix('m') {
        Some(thousandths) => thousandths.parse().ok().filter(|_| digits(thousandths)),
        None => decimal(text, 1000),
    }
}

/// Bytes from `1073741824`, `16Gi`, `512MiB` or `1.5G`. None: not an amount.
pub fn memory(text: &str) -> Option<u64> {
    let text = text.strip_suffix('B').unwrap_or(text);
    const UNITS: [(&str, u64); 8] = [
        ("Ki", 1 << 10),
        ("Mi", 1 << 20),
        ("Gi", 1 << 30),
        ("Ti", 1 << 40),
        ("K", 1_000),
        ("M", 1_000_000),
        ("G", 1_000_000_000),
        ("T", 1_000_000_000_000),
    ];
    for (unit, factor) in UNITS {
        if let Some(number) = text.strip_suffix(unit) {
            return decimal(number.trim_end(), factor);
        }
    }
    decimal(text, 1)
}

/// A decimal number times a factor, in integers, rounded down; at most six decimal places.
fn decimal(text: &str, factor: u64) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if !digits(whole) || !digits(fraction) || fraction.len() > 6 {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let scale = 10_u64.pow(u32::try_from(fraction.len()).ok()?);
    let fraction: u64 = fraction.parse().ok()?;
    // At most six places of at most 10^12: this cannot overflow.
    let part = fraction * factor / scale;
    whole.checked_mul(factor)?.checked_add(part)
}

fn digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// Splits one line into words as a shell does, without expanding anything: quotes hold words together, a backslash
/// takes the next character as it is. None: a quote is not closed, or a backslash ends the line.
pub fn words(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next()? {
                        '\'' => break,
                        c => word.push(c),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next()? {
                        '"' => break,
                        '\\' => match chars.next()? {
                            c @ ('"' | '\\' | '$' | '`') => word.push(c),
                            c => word.extend(['\\', c]),
                        },
                        c => word.push(c),
                    }
                }
            }
            '\\' => word.get_or_insert_default().push(chars.next()?),
            c if c.is_whitespace() => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::{cpu, memory, words};

    #[test]
    fn amounts_are_read_exactly() {
        assert_eq!((cpu("0.5"), cpu("500m"), cpu("2")), (Some(500), Some(500), Some(2000)));
        assert_eq!(memory("16Gi"), Some(16 << 30));
        assert_eq!(memory("512MiB"), Some(512 << 20));
        assert_eq!((memory("1.5G"), memory("1024")), (Some(1_500_000_000), Some(1024)));
        for text in
            ["", "-1", "1e3", "lots", "5 m", "1.", ".5", "1Pi", "99999999999999999999", "+1", "18446744073709551615Ti"]
        {
            assert_eq!((cpu(text), memory(text)), (None, None), "{text}");
        }
    }

    #[test]
    fn a_line_is_split_as_a_shell_splits_it() {
        let split = |line: &str| words(line).map(|words| words.join("|"));
        assert_eq!(split(r#"sh -c 'a b' "c \"d\"" e\ f """#).as_deref(), Some(r#"sh|-c|a b|c "d"|e f|"#));
        assert_eq!(split("a $HOME *").as_deref(), Some("a|$HOME|*"));
        assert_eq!((split("a 'b"), split("a \"b"), split("a\\")), (None, None, None));
    }
}
