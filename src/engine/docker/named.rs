//! The last check of texts that become part of a path.
//!
//! Takes ids, names and image references. Gives nothing, or a refusal.
//!
//! Because the API library puts them into the path as they are: a `/`, `?` or `..` would make another call of it.

use crate::engine::EngineError;
use crate::name::{ContainerName, NetworkName};

/// A container's id or name.
pub fn container(call: &'static str, id: &str) -> Result<(), EngineError> {
    ContainerName::new(id).map(drop).map_err(|e| refusal(call, id, &e))
}

/// A network's id or name.
pub fn network(call: &'static str, id: &str) -> Result<(), EngineError> {
    NetworkName::new(id).map(drop).map_err(|e| refusal(call, id, &e))
}

/// A reference or id of an image.
pub fn image(call: &'static str, reference: &str) -> Result<(), EngineError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_.-:/@[]".contains(c);
    let starts_well = reference.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[');
    if starts_well && reference.chars().all(allowed) && !reference.contains("..") && !reference.contains("//") {
        Ok(())
    } else {
        Err(refusal(call, reference, &"is not an image reference"))
    }
}

fn refusal(call: &'static str, text: &str, why: &dyn std::fmt::Display) -> EngineError {
    EngineError::Refused { call, status: 0, why: format!("{text:?} {why}") }
}

#[cfg(test)]
mod tests {
    use super::{container, image};

    #[test]
    fn a_text_that_would_be_another_path_is_refused() {
        for id in ["", "../info", "a/b", "a?b", "a%2e", "a b"] {
            assert!(container("look", id).is_err(), "{id:?}");
        }
        for reference in ["", "../x", "a/../b", "a?x=1", "/a", "a#b"] {
            assert!(image("pull", reference).is_err(), "{reference:?}");
        }
        assert!(image("pull", "10.0.0.1:5000/team/web@sha256:ab").is_ok());
    }
}
