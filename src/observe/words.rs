//! What a container said last, without the values of its variables.
//!
//! Takes an engine and a container. Gives its last lines, and a way to clean whatever else is told of it.
//!
//! Because the values are taken from the container itself: one that answers to a name may have been made by another
//! revision, or by another controller, and have other values than those that a plan knows.

use std::collections::BTreeSet;

use crate::engine::{Engine, EngineError};
use crate::secret::{self, Secret};

#[derive(Debug, Default)]
pub struct Words {
    pub lines: Vec<String>,
    variables: BTreeSet<Secret<String>>,
}

impl Words {
    /// A text that may quote the container.
    pub fn clean(&self, text: String) -> String {
        secret::without(&self.variables, text)
    }
}

/// The last lines; none of a container that is gone.
///
/// # Errors
/// When the engine does not tell which variables the container has, or what it printed.
pub async fn last(engine: &dyn Engine, container: &str, lines: u32) -> Result<Words, EngineError> {
    let Some(detail) = engine.container(container).await? else { return Ok(Words::default()) };
    // By id: another one may have the name meanwhile.
    let printed = engine.logs(&detail.seen.id, lines).await?;
    let words = Words { lines: Vec::new(), variables: detail.variables };
    Ok(Words { lines: printed.into_iter().map(|line| words.clean(line)).collect(), ..words })
}
