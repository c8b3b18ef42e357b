//! An image as a stack file names it.
//!
//! Takes `[registry[:port]/]path[:tag][@sha256:…]`, the grammar of the distribution specification.
//! Gives the parts, and the text as it was written.

use std::fmt;

use super::NameError;

/// A reference to an image: text that was checked against the grammar of image references.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageRef {
    text: String,
    /// Length of `text` up to the tag or digest.
    repository: usize,
}

impl ImageRef {
    /// # Errors
    /// When the text is not an image reference; the message says which part is wrong.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let error = |why: &str| Err(NameError(why.to_owned()));
        if text.is_empty() {
            return error("is empty");
        }
        if text.len() > 512 {
            return error("is longer than 512 characters");
        }
        let (named, digest) = match text.split_once('@') {
            Some((named, digest)) => (named, Some(digest)),
            None => (text, None),
        };
        if let Some(digest) = digest {
            let hex = digest.strip_prefix("sha256:").unwrap_or("");
            if hex.len() != 64 || !hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
                return error("has a digest that is not `sha256:` and 64 lower-case hex digits");
            }
        }
        let (repository, tag) = match named.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
            _ => (named, None),
        };
        if let Some(tag) = tag {
            let mut bytes = tag.bytes();
            let first_ok = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
            if !first_ok || tag.len() > 128 || !bytes.all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b)) {
                return error("has a tag that is empty or holds a character that tags cannot have");
            }
        }
        let (registry, path) = split_registry(repository);
        if registry.is_some_and(|r| !is_registry(r)) {
            return error("has a registry that is not a host name with an optional port");
        }
        if path.is_empty() {
            return error("has no repository");
        }
        for part in path.split('/') {
            if !is_path_part(part) {
                return error(
                    "has a repository that is not lower-case letters, digits and single separators (`.`, `_`, `__`, `-`)",
                );
            }
        }
        Ok(Self { text: text.to_owned(), repository: repository.len() })
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Everything before the tag and the digest.
    pub fn repository(&self) -> &str {
        &self.text[..self.repository]
    }

    /// The registry host, with its port, if the text names one.
    pub fn registry(&self) -> Option<&str> {
        split_registry(self.repository()).0
    }

    /// `sha256:…` if the text pins one.
    pub fn digest(&self) -> Option<&str> {
        self.text.split_once('@').map(|(_, digest)| digest)
    }

    /// The tag; `latest` when neither a tag nor a digest is written, as engines read it.
    pub fn tag(&self) -> Option<&str> {
        let rest = &self.text[self.repository..];
        let rest = rest.split_once('@').map_or(rest, |(before, _)| before);
        match rest.strip_prefix(':') {
            Some(tag) => Some(tag),
            None if self.digest().is_none() => Some("latest"),
            None => None,
        }
    }
}

fn split_registry(repository: &str) -> (Option<&str>, &str) {
    match repository.split_once('/') {
        // The engines' rule: the first part is a registry if it could not be a part of a path.
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" || first.starts_with('[') => {
            (Some(first), rest)
        }
        _ => (None, repository),
    }
}

fn is_registry(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    };
    let host_ok = host.starts_with('[') && host.ends_with(']')
        || host.split('.').all(|label| {
            !label.is_empty()
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !label.starts_with('-')
        });
    host_ok && port.is_none_or(|p| p.parse::<u16>().is_ok_and(|p| p > 0))
}

fn is_path_part(part: &str) -> bool {
    let lower = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let ends_ok = part.bytes().next().is_some_and(lower) && part.bytes().last().is_some_and(lower);
    ends_ok && part.bytes().all(|b| lower(b) || b"._-".contains(&b)) && !part.contains("..") && !part.contains("___")
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl fmt::Debug for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::ImageRef;

    #[test]
    fn the_parts_of_a_reference_are_told_apart() {
        let image = ImageRef::new("10.0.0.1:5000/team/web:1.2").expect("a reference");
        assert_eq!(image.registry(), Some("10.0.0.1:5000"));
        assert_eq!(image.repository(), "10.0.0.1:5000/team/web");
        assert_eq!(image.tag(), Some("1.2"));
        let image = ImageRef::new("postgres").expect("a reference");
        assert_eq!((image.registry(), image.tag()), (None, Some("latest")));
        let pinned = format!("postgres@sha256:{}", "a".repeat(64));
        let image = ImageRef::new(&pinned).expect("a reference");
        assert_eq!((image.tag(), image.digest()), (None, Some(&pinned[9..])));
    }

    #[test]
    fn what_engines_refuse_is_refused_here() {
        for text in ["", "Postgres", "a//b", "a:", "a:b c", "-x", "a@sha256:12", "a:5000:x/y", "http://x/y", "a___b"] {
            assert!(ImageRef::new(text).is_err(), "{text:?}");
        }
    }
}
