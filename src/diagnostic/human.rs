//! A report for people: the message, the source line with a caret, and what to do.

use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Element, Group, Level, Origin, Renderer, Snippet};

use super::{Diagnostic, Rank, Report, Severity, Texts};

/// Whether to write colours; the caller knows whether a terminal reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    Plain,
    Ansi,
}

/// Lines longer than this are cut around the caret.
const WIDTH: usize = 140;

/// Renders every finding, a blank line between two, and a final line that counts them. Empty for an empty report.
pub fn render(report: &Report, texts: &Texts, colour: Colour) -> String {
    let renderer = match colour {
        Colour::Plain => Renderer::plain(),
        Colour::Ansi => Renderer::styled(),
    };
    let renderer = renderer.term_width(WIDTH);
    let mut out = String::new();
    for diagnostic in report.iter() {
        out.push_str(renderer.render(&groups(report, diagnostic, texts)).trim_end());
        out.push_str("\n\n");
    }
    if let Some(summary) = summary(report) {
        out.push_str(&summary);
        out.push('\n');
    }
    out
}

/// `2 errors, 1 warning`, or nothing when there is nothing to count.
pub fn summary(report: &Report) -> Option<String> {
    let counts = [Severity::Error, Severity::Warning].map(|severity| (report.count(severity), severity.as_str()));
    let parts: Vec<_> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}{}", if *count == 1 { "" } else { "s" }))
        .collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn groups<'a>(report: &Report, diagnostic: &'a Diagnostic, texts: &'a Texts) -> Vec<Group<'a>> {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let title = level.primary_title(&diagnostic.message).id(diagnostic.code.as_str());
    let mut group = Group::with_title(title);
    for path in paths(diagnostic) {
        group = group.element(source(report, diagnostic, &path, texts));
    }
    if let Some(hint) = &diagnostic.hint {
        group = group.element(Level::HELP.message(hint.as_str()));
    }
    vec![group]
}

/// The files of the labels, that of the first label first.
fn paths(diagnostic: &Diagnostic) -> Vec<Arc<str>> {
    let mut paths: Vec<Arc<str>> = Vec::new();
    for label in &diagnostic.labels {
        if !paths.contains(&label.span.path) {
            paths.push(label.span.path.clone());
        }
    }
    paths
}

fn source<'a>(report: &Report, diagnostic: &'a Diagnostic, path: &Arc<str>, texts: &'a Texts) -> Element<'a> {
    let labels = diagnostic.labels.iter().filter(|label| label.span.path == *path);
    let Some(text) = report.shown(path, texts) else {
        let first = labels.map(|label| &label.span).next();
        let origin = Origin::path(path.to_string());
        return match first {
            Some(span) => origin.line(span.line as usize).char_column(span.column as usize),
            None => origin,
        }
        .into();
    };
    let length = text.len();
    let annotations = labels.map(|label| {
        let kind = match label.rank {
            Rank::Primary => AnnotationKind::Primary,
            Rank::Secondary => AnnotationKind::Context,
        };
        let start = boundary(&text, label.span.start.min(length));
        let end = boundary(&text, label.span.end.clamp(start, length));
        let said = (!label.text.is_empty()).then_some(label.text.as_str());
        kind.span(start..end).label(said)
    });
    let annotations: Vec<_> = annotations.collect();
    Snippet::source(text).path(path.to_string()).annotations(annotations).into()
}

/// The start of the character that holds this byte: the renderer must never be handed half a character.
fn boundary(text: &str, mut offset: usize) -> usize {
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}
