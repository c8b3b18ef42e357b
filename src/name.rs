//! The validated strings that name things.
//!
//! Takes text. Gives a typed name, or the reason why the text is none.
//!
//! Never lets a name through that an engine, a path or an argument list could read as something else:
//! the constructor is the only door.

pub mod image;

use std::borrow::Borrow;
use std::fmt;

/// Why a text is not a name; a fragment that completes "`x` …".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NameError(pub String);

/// Engines accept more, but 63 is what a DNS label carries, and service names are looked up by DNS.
const LONGEST_NAME: usize = 63;

/// The engines' own rule for container, network and volume names: `[a-zA-Z0-9][a-zA-Z0-9_.-]*`.
fn engine_name(text: &str, longest: usize) -> Result<(), NameError> {
    let mut chars = text.chars();
    let first = chars.next().ok_or_else(|| NameError("is empty".to_owned()))?;
    if !first.is_ascii_alphanumeric() {
        return Err(NameError("must begin with a letter or a digit".to_owned()));
    }
    if let Some(bad) = chars.find(|c| !c.is_ascii_alphanumeric() && !"_.-".contains(*c)) {
        return Err(NameError(format!("holds {bad:?}; allowed are letters, digits, `_`, `.` and `-`")));
    }
    if text.len() > longest {
        return Err(NameError(format!("has {} characters; {longest} are allowed", text.len())));
    }
    Ok(())
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $longest:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(std::sync::Arc<str>);

        impl $type {
            /// # Errors
            /// When the text breaks the engines' rule for names or is too long.
            pub fn new(text: &str) -> Result<Self, NameError> {
                engine_name(text, $longest)?;
                Ok(Self(text.into()))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name!(
    /// A machine with a container engine, as the inventory calls it.
    HostName,
    LONGEST_NAME
);
name!(
    /// A service of a stack; also the name under which its instances answer on the stack's network.
    ServiceName,
    LONGEST_NAME
);
name!(
    /// What engines call a stack: lower-case letters, digits and `-`. Made by [`StackName::slug`].
    StackSlug,
    LONGEST_NAME
);
name!(
    /// A network on an engine, as written.
    NetworkName,
    128
);
name!(
    /// A volume on an engine, as written.
    VolumeName,
    128
);
name!(
    /// A container's name on an engine.
    ContainerName,
    255
);

/// A stack's name as a person writes it; it may hold spaces.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct StackName {
    text: String,
    slug: StackSlug,
}

impl StackName {
    /// # Errors
    /// When nothing of the text is left in its slug, or when it is too long.
    pub fn new(text: &str) -> Result<Self, NameError> {
        if let Some(bad) = text.chars().find(|c| c.is_control()) {
            return Err(NameError(format!("holds the control character {bad:?}")));
        }
        let mut slug = String::with_capacity(text.len());
        for c in text.chars() {
            if c.is_ascii_alphanumeric() {
                slug.push(c.to_ascii_lowercase());
            } else if !slug.is_empty() && !slug.ends_with('-') {
                slug.push('-');
            }
        }
        let slug = slug.trim_end_matches('-');
        if slug.is_empty() {
            return Err(NameError("holds no letter or digit".to_owned()));
        }
        let slug = StackSlug::new(slug)?;
        Ok(Self { text: text.to_owned(), slug })
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Lower case, every run of other characters one `-`, none at the ends.
    pub fn slug(&self) -> &StackSlug {
        &self.slug
    }
}

impl fmt::Display for StackName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

/// One container of a service. Ordered by stack, service, number.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId {
    pub stack: StackSlug,
    pub service: ServiceName,
    /// Counts from 1.
    pub number: u32,
}

impl InstanceId {
    /// The container's name at rest: `{stack}-{service}-{n}`.
    pub fn name_at_rest(&self) -> ContainerName {
        ContainerName::new(&format!("{}-{}-{}", self.stack, self.service, self.number))
            .expect("three names and two hyphens are an engine name")
    }

    /// The name while an older container still holds the name at rest: `{stack}-{service}-{n}.{digest8}`.
    pub fn name_beside(&self, digest: &Digest) -> ContainerName {
        ContainerName::new(&format!("{}.{}", self.name_at_rest(), digest.short()))
            .expect("a name, a dot and hex digits are an engine name")
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}-{}", self.stack, self.service, self.number))
    }
}

impl fmt::Debug for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A SHA-256 as 64 lower-case hex digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(std::sync::Arc<str>);

impl Digest {
    /// The digest of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let hash = ring::digest::digest(&ring::digest::SHA256, bytes);
        Self(hex::encode(hash.as_ref()).into())
    }

    /// Reads one that was written down.
    ///
    /// # Errors
    /// When the text is not 64 lower-case hex digits.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            Ok(Self(text.into()))
        } else {
            Err(NameError("is not 64 lower-case hex digits".to_owned()))
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first eight digits, for names and for people.
    pub fn short(&self) -> &str {
        &self.0[..8]
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.short())
    }
}

/// A commit id: 40 (or, in a SHA-256 repository, 64) lower-case hex digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(std::sync::Arc<str>);

impl Revision {
    /// # Errors
    /// When the text is not a full commit id.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let hex = text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if hex && (text.len() == 40 || text.len() == 64) {
            Ok(Self(text.into()))
        } else {
            Err(NameError("is not a full commit id".to_owned()))
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first ten digits, for people.
    pub fn short(&self) -> &str {
        &self.0[..10]
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.short())
    }
}

#[cfg(test)]
mod tests {
    use super::{Digest, HostName, InstanceId, ServiceName, StackName};

    #[test]
    fn a_slug_is_lower_case_and_joins_runs_of_other_characters() {
        let slug = |text| StackName::new(text).map(|name| name.slug().to_string());
        assert_eq!(slug("Infisical Stack"), Ok("infisical-stack".to_owned()));
        assert_eq!(slug(" -Über_shop!! "), Ok("ber-shop".to_owned()));
        assert!(slug("…").is_err());
        assert!(slug("a\nb").is_err());
    }

    #[test]
    fn a_name_that_reads_as_an_option_or_a_path_is_refused() {
        for text in ["", "-x", "../x", "a/b", "a b", &"x".repeat(64)] {
            assert!(HostName::new(text).is_err(), "{text:?}");
        }
        assert!(HostName::new("db-1.internal_x").is_ok());
    }

    #[test]
    fn a_newcomer_is_named_after_its_digest() {
        let id = InstanceId {
            stack: StackName::new("Shop").expect("a name").slug().clone(),
            service: ServiceName::new("web").expect("a name"),
            number: 2,
        };
        assert_eq!(id.name_at_rest().as_str(), "shop-web-2");
        let digest = Digest::of(b"");
        assert_eq!(id.name_beside(&digest).as_str(), "shop-web-2.e3b0c442");
    }
}
