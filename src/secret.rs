//! A value that must never be read by accident.
//!
//! Gives the value only through [`Secret::expose`], which is easy to grep.
//!
//! Never prints, formats or serializes what it holds.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

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

/// A password in a URL is one however short; but one of fewer characters would be found in every other word.
const SHORTEST_PASSWORD: usize = 4;

/// A text with every value of `secrets` in it replaced; also each line of one of several lines, as a log shows it, and the
/// password of one that is a URL.
pub fn without(secrets: &BTreeSet<Secret<String>>, text: String) -> String {
    let values = secrets.iter().map(Secret::expose);
    let mut told: Vec<&str> = values.flat_map(|value| told_by(value)).filter(|told| text.contains(told)).collect();
    // One that is a part of another would leave the rest of that standing.
    told.sort_by_key(|told| std::cmp::Reverse(told.len()));
    told.into_iter().fold(text, |text, told| text.replace(told, "[redacted]"))
}

/// What of a value must not be read. An address is none of it: services are told each other's.
fn told_by(value: &str) -> impl Iterator<Item = &str> {
    let value = if value.parse::<IpAddr>().is_ok() { "" } else { value };
    let whole = [value].into_iter().chain(value.lines().map(str::trim));
    let password = password_in(value).filter(|password| password.len() >= SHORTEST_PASSWORD);
    whole.filter(|told| told.len() >= SHORTEST).chain(password)
}

/// `scheme://user:PASSWORD@host`.
fn password_in(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let (user, _) = authority.rsplit_once('@')?;
    user.split_once(':').map(|(_, password)| password)
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
    fn a_part_of_another_secret_leaves_nothing_of_it_standing() {
        let secrets = ["shopapp", "shopapp-9f83kd", "postgres", "postgres://app:hunter22@postgres:5432/db"];
        let secrets = secrets.map(|value| Secret::new(value.to_owned())).into();
        assert_eq!(without(&secrets, "with shopapp-9f83kd".to_owned()), "with [redacted]");
        let said = without(&secrets, "cannot reach postgres://app:hunter22@postgres:5432/db".to_owned());
        assert_eq!(said, "cannot reach [redacted]");
        assert_eq!(without(&secrets, "user app, password hunter22".to_owned()), "user app, password [redacted]");
    }

    #[test]
    fn a_secret_of_several_lines_is_known_by_each() {
        let key = "-----BEGIN KEY-----\nMIIEvQIBADAN\n-----END KEY-----\n";
        let secrets = [Secret::new(key.to_owned())].into();
        assert_eq!(without(&secrets, "at MIIEvQIBADAN".to_owned()), "at [redacted]");
    }

    #[test]
    fn a_secret_prints_nothing_of_itself() {
        let secret = Secret::new("hunter2".to_owned());
        assert_eq!(format!("{secret} {secret:?}"), "[redacted] [redacted]");
        assert_eq!(secret.expose(), "hunter2");
    }
}
