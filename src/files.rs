//! Files of the watched repository, and places in them.

use std::fmt;
use std::sync::Arc;

/// A file as Git holds it. Its path is relative to the repository's root, with `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    pub path: Arc<str>,
    /// The blob's object id: equal ids are equal texts.
    pub blob: Arc<str>,
    pub text: Arc<str>,
}

/// A stretch of a file. Lines and columns count from 1, columns in characters, offsets in bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    pub path: Arc<str>,
    pub start: usize,
    pub end: usize,
    pub line: u32,
    pub column: u32,
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.path, self.line, self.column)
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where the parts of one thing were written, by JSON pointer below it (`""` is the thing itself).
///
/// A pointer that was not written answers with the nearest part around it, so that a default, too, has a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    whole: Span,
    /// By pointer. A slice, because a thousand stacks have a hundred thousand parts.
    parts: Box<[(Box<str>, Span)]>,
}

impl Places {
    pub fn new(whole: Span, parts: std::collections::BTreeMap<String, Span>) -> Self {
        let parts = parts.into_iter().map(|(pointer, span)| (pointer.into_boxed_str(), span));
        let parts = parts.collect();
        Self { whole, parts }
    }

    /// The place of a part (`/image`, `/environment/LOG_LEVEL`).
    pub fn of(&self, pointer: &str) -> &Span {
        let mut pointer = pointer;
        loop {
            if let Ok(index) = self.parts.binary_search_by(|(part, _)| (**part).cmp(pointer)) {
                return &self.parts[index].1;
            }
            match pointer.rfind('/') {
                Some(cut) => pointer = &pointer[..cut],
                None => return &self.whole,
            }
        }
    }

    pub fn whole(&self) -> &Span {
        &self.whole
    }
}
