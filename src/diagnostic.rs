//! What is wrong with the repository, and how it is said.
//!
//! Takes findings of later stages, each with a code of the closed catalogue and its places in files.
//! Gives an ordered [`Report`] and four renderings of it: [`human`], [`json`], [`github`], [`sarif`].
//!
//! Never shows a secret: a report carries the stretches of each file that hold values of variables, and where it knows
//! none of a file that could have some, no source line of that file is shown.

pub mod code;
pub mod github;
pub mod human;
pub mod json;
pub mod sarif;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use crate::diagnostic::code::Code;
use crate::files::Span;

/// The texts of the files that a report speaks of, by path.
pub type Texts = BTreeMap<Arc<str>, Arc<str>>;

/// One finding. Ordered by place, so that a report reads like the files.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Diagnostic {
    /// The place it is about first, then the places that explain it. Empty: it is about the repository as a whole.
    pub labels: Vec<Label>,
    pub code: Code,
    pub severity: Severity,
    /// One line, without a final stop. Never holds a value of a variable.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Error,
    Warning,
}

impl Severity {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// A place, and what is said about it (may be empty).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Label {
    pub span: Span,
    pub rank: Rank,
    pub text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    Primary,
    Secondary,
}

impl Diagnostic {
    /// A finding at one place; its severity is that of its code.
    pub fn new(code: Code, message: impl Into<String>, at: &Span) -> Self {
        let mut diagnostic = Self::global(code, message);
        diagnostic.labels.push(Label { span: at.clone(), rank: Rank::Primary, text: String::new() });
        diagnostic
    }

    /// A finding about the repository as a whole.
    pub fn global(code: Code, message: impl Into<String>) -> Self {
        Self { labels: Vec::new(), code, severity: code.severity(), message: message.into(), hint: None }
    }

    /// Says something about its first place.
    pub fn label(mut self, text: impl Into<String>) -> Self {
        if let Some(label) = self.labels.first_mut() {
            label.text = text.into();
        }
        self
    }

    /// Adds a place that explains the finding.
    pub fn also(mut self, at: &Span, text: impl Into<String>) -> Self {
        self.labels.push(Label { span: at.clone(), rank: Rank::Secondary, text: text.into() });
        self
    }

    pub fn hint(mut self, text: impl Into<String>) -> Self {
        self.hint = Some(text.into());
        self
    }

    /// The place it is about.
    pub fn place(&self) -> Option<&Span> {
        self.labels.first().map(|label| &label.span)
    }
}

/// Findings, ordered by place, each once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    diagnostics: BTreeSet<Diagnostic>,
    /// Path → byte ranges that hold secrets. An empty list says that the file was read and holds none.
    secrets: BTreeMap<Arc<str>, Arc<[Range<usize>]>>,
}

impl Report {
    pub fn add(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.insert(diagnostic);
    }

    /// Says where (also) a file holds values that must not be shown.
    pub fn conceal(&mut self, path: &Arc<str>, ranges: &[Range<usize>]) {
        let known = self.secrets.get(path).map(Arc::as_ref).unwrap_or_default();
        let all = known.iter().chain(ranges).cloned().collect();
        self.secrets.insert(path.clone(), all);
    }

    pub fn merge(&mut self, other: &Report) {
        self.diagnostics.extend(other.diagnostics.iter().cloned());
        for (path, ranges) in &other.secrets {
            self.secrets.insert(path.clone(), ranges.clone());
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.diagnostics.iter()
    }

    pub fn is_empty(&self) -> bool {
        self.diagnostics.is_empty()
    }

    pub fn has_errors(&self) -> bool {
        self.count(Severity::Error) > 0
    }

    pub fn count_errors(&self) -> usize {
        self.count(Severity::Error)
    }

    pub fn count(&self, severity: Severity) -> usize {
        self.diagnostics.iter().filter(|d| d.severity == severity).count()
    }

    /// Paths of files that a rendering shows lines of.
    pub fn paths(&self) -> BTreeSet<Arc<str>> {
        let labels = self.diagnostics.iter().flat_map(|d| &d.labels);
        labels.map(|label| label.span.path.clone()).collect()
    }

    /// The text as it may be shown: every byte of a secret is a `*`, so that offsets stay true. None: show nothing.
    fn shown(&self, path: &Arc<str>, texts: &Texts) -> Option<String> {
        let text = texts.get(path)?;
        let Some(ranges) = self.secrets.get(path) else {
            let may_hold_secrets = SECRET_KEYS.iter().any(|key| text.contains(key));
            return (!may_hold_secrets).then(|| text.to_string());
        };
        let mut bytes = text.as_bytes().to_vec();
        for range in ranges.iter() {
            for byte in bytes.get_mut(range.clone()).into_iter().flatten() {
                if !byte.is_ascii_whitespace() {
                    *byte = b'*';
                }
            }
        }
        // A range that cut a character in two would leave bytes that are no text; then nothing is shown.
        String::from_utf8(bytes).ok()
    }
}

/// The fields whose values are never shown.
pub const SECRET_KEYS: [&str; 2] = ["environment", "connectionString"];

#[cfg(test)]
mod tests {
    use super::code::Code;
    use super::{Diagnostic, Report, Texts};
    use crate::files::Span;

    fn span(start: usize) -> Span {
        Span { path: "stacks/a.yaml".into(), start, end: start + 1, line: 1, column: 1 }
    }

    #[test]
    fn a_report_is_ordered_by_place_and_says_nothing_twice() {
        let mut report = Report::default();
        for start in [9, 3, 9] {
            report.add(Diagnostic::new(Code::BadName, "x", &span(start)));
        }
        let starts: Vec<_> = report.iter().filter_map(|d| d.place()).map(|s| s.start).collect();
        assert_eq!(starts, [3, 9]);
    }

    #[test]
    fn a_file_whose_secrets_are_unknown_is_not_shown() {
        let texts: Texts = [("stacks/a.yaml".into(), "environment: {A: hunter2}".into())].into();
        let mut report = Report::default();
        assert_eq!(report.shown(&span(0).path, &texts), None);
        report.conceal(&span(0).path, std::slice::from_ref(&(17..24)));
        let shown = report.shown(&span(0).path, &texts);
        assert_eq!(shown.as_deref(), Some("environment: {A: *******}"));
    }
}
