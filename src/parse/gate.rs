//! The first reader of every file, YAML and JSON alike: one pass over the parser's events.
//!
//! Takes text. Gives the place of every key and value, or what is refused about the file: anchors, aliases, tags, merge
//! keys, duplicate keys, several documents, depth.
//!
//! Never recurses and never expands an alias, so that no file can exhaust the stack or the memory.
//! Because readers of YAML disagree about all of these, what comes through here reads the same everywhere.

use std::borrow::Cow;
use std::sync::Arc;

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, Tag};

use super::tree::{self, Node, Place, Shape};
use crate::diagnostic::code::Code;
use crate::diagnostic::{Diagnostic, Report};

/// No stack needs more, and every later reader can take so much.
pub const DEEPEST: usize = 64;

/// A file with more findings than this is not read to its end: nobody reads the rest either.
const MOST_FINDINGS: usize = 50;

/// What came through the gate.
pub enum Passed {
    /// The file is one document of plain values, perhaps with findings that leave its shape clear.
    Shape(Node),
    /// There is no shape to go on with.
    Nothing,
}

/// Reads a file's shape. Findings are added to the report.
pub fn pass(path: &Arc<str>, text: &str, report: &mut Report) -> Passed {
    let options = granit_parser::options! {
        disallow_directives: true,
        emit_unresolved_aliases: true,
        // JSON keys may be as long as they like.
        simple_key_max_lookahead: super::LARGEST_FILE,
        flow_nesting_limit: DEEPEST + 2,
        block_nesting_limit: DEEPEST + 2,
    };
    let mut gate = Gate { path, text, report, findings: 0, frames: Vec::new(), documents: 0, root: None };
    for event in Parser::new_from_str_with_options(text, options) {
        let on = match event {
            Ok((event, span)) => gate.event(event, &span),
            Err(error) => gate.unreadable(&error),
        };
        if matches!(on, On::Stop) {
            return Passed::Nothing;
        }
    }
    match gate.root.take() {
        Some(root) => Passed::Shape(root),
        None => {
            gate.find(Code::EmptyFile, "the file is empty", START);
            Passed::Nothing
        }
    }
}

/// The beginning of a file.
pub const START: Place = Place { start: 0, end: 0, line: 1, column: 1 };

enum On {
    Go,
    Stop,
}

struct Gate<'a> {
    path: &'a Arc<str>,
    text: &'a str,
    report: &'a mut Report,
    findings: usize,
    /// The collections that are open, outermost first.
    frames: Vec<Frame>,
    documents: usize,
    root: Option<Node>,
}

struct Frame {
    node: Node,
    /// In a mapping: the key whose value comes next.
    key: Option<(String, Place)>,
}

impl Gate<'_> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the parser's events are an open list")]
    fn event(&mut self, event: Event<'_>, span: &granit_parser::Span) -> On {
        let at = place(span);
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    let message = "the file holds more than one document";
                    return self.find(Code::SeveralDocuments, message, at).stop();
                }
                On::Go
            }
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                let found = self.find(Code::Alias, "aliases are not accepted", at);
                found.and(|| self.value(at, Shape::Scalar))
            }
            Event::Scalar(text, style, anchor, tag) => {
                let found = self.properties(anchor, tag, span);
                found.and(|| self.scalar(text, style, at))
            }
            Event::SequenceStart(_, anchor, tag) => {
                let found = self.properties(anchor, tag, span);
                found.and(|| self.open(at, Shape::List(Vec::new())))
            }
            Event::MappingStart(_, anchor, tag) => {
                let found = self.properties(anchor, tag, span);
                found.and(|| self.open(at, Shape::Map(Vec::new())))
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            // Marks of the stream, and events that the options leave out.
            _ => On::Go,
        }
    }

    fn properties(&mut self, anchor: usize, tag: Option<Cow<'_, Tag>>, span: &granit_parser::Span) -> On {
        let mut on = On::Go;
        if anchor != 0 {
            on = self.find(Code::Anchor, "anchors are not accepted", place(span));
        }
        if tag.is_some() {
            let at = span.tag_span().map_or_else(|| place(span), |tag| place(&tag));
            on = on.and(|| self.find(Code::Tag, "tags are not accepted", at));
        }
        on
    }

    fn scalar(&mut self, text: Cow<'_, str>, style: ScalarStyle, at: Place) -> On {
        let plain = matches!(style, ScalarStyle::Plain);
        if let Some(frame) = self.frames.last_mut()
            && matches!(frame.node.shape, Shape::Map(_))
            && frame.key.is_none()
        {
            let merge = plain && text == "<<";
            frame.key = Some((text.into_owned(), at));
            return match merge {
                true => self.find(Code::MergeKey, "merge keys are not accepted", at),
                false => On::Go,
            };
        }
        if self.frames.is_empty() && plain && text.is_empty() {
            return self.find(Code::EmptyFile, "the file is empty", START).stop();
        }
        self.value(at, Shape::Scalar)
    }

    fn open(&mut self, at: Place, shape: Shape) -> On {
        if let Some(frame) = self.frames.last()
            && matches!(frame.node.shape, Shape::Map(_))
            && frame.key.is_none()
        {
            let message = "a key must be a text, not a list or a mapping";
            return self.find(Code::SyntaxError, message, at).stop();
        }
        if self.frames.len() >= DEEPEST {
            return self.too_deep(at);
        }
        self.frames.push(Frame { node: Node { key: None, at, shape }, key: None });
        On::Go
    }

    fn close(&mut self) -> On {
        let frame = self.frames.pop().expect("an end event follows its start event");
        let mut on = On::Go;
        if let Shape::Map(entries) = &frame.node.shape {
            for (again, first) in duplicates(entries) {
                on = on.and(|| self.duplicate(again, first));
            }
        }
        on.and(|| self.value(frame.node.at, frame.node.shape))
    }

    /// Puts a finished value where it belongs.
    fn value(&mut self, at: Place, shape: Shape) -> On {
        match self.frames.last_mut() {
            None => self.root = Some(Node { key: None, at, shape }),
            Some(frame) => match &mut frame.node.shape {
                Shape::List(items) => items.push(Node { key: None, at, shape }),
                Shape::Map(entries) => match frame.key.take() {
                    Some((name, key)) => {
                        let key = Some(key);
                        entries.push((name, Node { key, at, shape }));
                    }
                    // An alias in the place of a key: it was reported, and stands for some text.
                    None => frame.key = Some(("*".to_owned(), at)),
                },
                Shape::Scalar => {}
            },
        }
        On::Go
    }

    fn duplicate(&mut self, again: Place, first: Place) -> On {
        let at = tree::span(self.path, self.text, again);
        let first = tree::span(self.path, self.text, first);
        let key = self.text.get(at.start..at.end).unwrap_or("").trim_matches('"');
        let diagnostic = Diagnostic::new(Code::DuplicateKey, format!("`{key}` is written twice"), &at);
        self.add(diagnostic.label("again here").also(&first, "first here"))
    }

    fn too_deep(&mut self, at: Place) -> On {
        let message = format!("lists and mappings are nested more than {DEEPEST} deep");
        self.find(Code::TooDeep, &message, at).stop()
    }

    fn unreadable(&mut self, error: &ScanError) -> On {
        let marker = error.marker();
        let start = marker.byte_offset().unwrap_or(0).min(self.text.len());
        let at = Place {
            start,
            end: start,
            line: u32::try_from(marker.line()).unwrap_or(u32::MAX),
            column: u32::try_from(marker.col() + 1).unwrap_or(u32::MAX),
        };
        let info = error.info();
        if matches!(error.kind(), ErrorKind::RecursionLimitExceeded) || info.contains("nesting") {
            return self.too_deep(at);
        }
        self.find(Code::SyntaxError, &info, at).stop()
    }

    fn find(&mut self, code: Code, message: &str, at: Place) -> On {
        let at = tree::span(self.path, self.text, at);
        let diagnostic = Diagnostic::new(code, message, &at);
        self.add(match hint(code) {
            Some(hint) => diagnostic.hint(hint),
            None => diagnostic,
        })
    }

    fn add(&mut self, diagnostic: Diagnostic) -> On {
        self.report.add(diagnostic);
        self.findings += 1;
        match self.findings < MOST_FINDINGS {
            true => On::Go,
            false => On::Stop,
        }
    }
}

impl On {
    fn stop(self) -> Self {
        Self::Stop
    }

    fn and(self, next: impl FnOnce() -> Self) -> Self {
        match self {
            Self::Go => next(),
            Self::Stop => Self::Stop,
        }
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "most codes are not the gate's")]
fn hint(code: Code) -> Option<&'static str> {
    match code {
        Code::Anchor => Some("write the value out where it is used"),
        Code::Alias => Some("write the value out; a text that begins with `*` needs quotes"),
        Code::MergeKey => Some("write the fields out"),
        Code::Tag => Some("remove it; a text that begins with `!` needs quotes"),
        Code::SeveralDocuments => Some("one file declares one stack, or one host (or an ItemList of hosts)"),
        _ => None,
    }
}

/// Keys that occur again: the later place and the first one.
fn duplicates(entries: &[(String, Node)]) -> Vec<(Place, Place)> {
    let mut order: Vec<usize> = (0..entries.len()).collect();
    order.sort_by(|a, b| entries[*a].0.cmp(&entries[*b].0).then(a.cmp(b)));
    let mut found = Vec::new();
    let mut first = 0;
    for (i, index) in order.iter().enumerate().skip(1) {
        if entries[*index].0 != entries[order[first]].0 {
            first = i;
        } else if let (Some(again), Some(first)) = (entries[*index].1.key, entries[order[first]].1.key) {
            found.push((again, first));
        }
    }
    found
}

fn place(span: &granit_parser::Span) -> Place {
    let start = span.start.byte_offset().unwrap_or(0);
    Place {
        start,
        end: span.end.byte_offset().unwrap_or(start).max(start),
        line: u32::try_from(span.start.line()).unwrap_or(u32::MAX),
        column: u32::try_from(span.start.col() + 1).unwrap_or(u32::MAX),
    }
}
