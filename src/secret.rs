//! A value that must never be read by accident.
//!
//! Gives the value only through [`Secret::expose`], which is easy to grep.
//!
//! Never prints, formats or serializes what it holds.

use std::collections::BTreeSet;
use std::fmt;

/// Holds a value whose `Debug` and `Display` are `[redacted]`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself. Every caller is a place where it could leak.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl<T> fmt::Display for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Shorter values (`8080`, `true`) are no secrets, and replacing them would make a log unreadable.
const SHORTEST: usize = 6;

/// A text with every value of `secrets` in it replaced.
pub fn without(secrets: &BTreeSet<Secret<String>>, text: String) -> String {
    let values = secrets.iter().map(Secret::expose).filter(|value| value.len() >= SHORTEST);
    values.fold(text, |text, value| if text.contains(value) { text.replace(value, "[redacted]") } else { text })
}

#[cfg(test)]
mod tests {
    use super::{Secret, without};

    #[test]
    fn a_text_is_shown_without_the_secrets_in_it() {
        let secrets = ["hunter2", "8080"].map(|value| Secret::new(value.to_owned())).into();
        assert_eq!(without(&secrets, "hunter2@db:8080".to_owned()), "[redacted]@db:8080");
    }

    #[test]
    fn a_secret_prints_nothing_of_itself() {
        let secret = Secret::new("hunter2".to_owned());
        assert_eq!(format!("{secret} {secret:?}"), "[redacted] [redacted]");
        assert_eq!(secret.expose(), "hunter2");
    }
}
