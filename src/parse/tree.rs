//! Where every part of a file was written: the shape of its value, with places instead of values.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::files::{Places, Span};

/// A stretch of one file. Lines and columns count from 1, columns in characters, offsets in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub start: usize,
    pub end: usize,
    pub line: u32,
    pub column: u32,
}

/// One value of a file.
#[derive(Debug, Clone)]
pub struct Node {
    /// The key that it stands under.
    pub key: Option<Place>,
    /// The whole scalar, or where the collection begins.
    pub at: Place,
    pub shape: Shape,
}

#[derive(Debug, Clone)]
pub enum Shape {
    Scalar,
    List(Vec<Node>),
    /// In the order of the file.
    Map(Vec<(String, Node)>),
}

impl Node {
    pub fn child(&self, key: &str) -> Option<&Node> {
        match &self.shape {
            Shape::Map(entries) => entries.iter().find(|(k, _)| k == key).map(|(_, node)| node),
            Shape::Scalar | Shape::List(_) => None,
        }
    }

    pub fn item(&self, index: usize) -> Option<&Node> {
        match &self.shape {
            Shape::List(items) => items.get(index),
            Shape::Scalar | Shape::Map(_) => None,
        }
    }

    /// The place that stands for it in a message: a scalar itself, a collection's key, the `name` of a list's item.
    pub fn mark(&self) -> Place {
        match (&self.shape, self.key) {
            (Shape::Scalar, _) => self.at,
            (Shape::List(_) | Shape::Map(_), Some(key)) => key,
            (Shape::List(_), None) => self.at,
            (Shape::Map(entries), None) => match self.child("name") {
                Some(name) if matches!(name.shape, Shape::Scalar) => name.at,
                _ => entries.first().and_then(|(_, node)| node.key).unwrap_or(self.at),
            },
        }
    }
}

/// The tree of one file with its path and text, so that nodes become spans.
#[derive(Debug, Clone)]
pub struct Tree {
    pub path: Arc<str>,
    pub text: Arc<str>,
    pub root: Node,
}

impl Tree {
    /// The place of what a JSON pointer names, or of the nearest part around it.
    pub fn of(&self, pointer: &str) -> Span {
        self.span(self.node(pointer).mark())
    }

    /// The place of the key under which the pointer's value stands.
    pub fn key(&self, pointer: &str) -> Span {
        let node = self.node(pointer);
        self.span(node.key.unwrap_or_else(|| node.mark()))
    }

    /// What a JSON pointer names, or the nearest part around it.
    pub fn node(&self, pointer: &str) -> &Node {
        let mut node = &self.root;
        for part in pointer.split('/').skip(1) {
            let below = match &node.shape {
                Shape::Map(_) => node.child(&unescape(part)),
                Shape::List(_) => part.parse().ok().and_then(|index| node.item(index)),
                Shape::Scalar => None,
            };
            match below {
                Some(below) => node = below,
                None => break,
            }
        }
        node
    }

    /// A place as a span; one that crosses a line's end is cut there, because a caret under many lines helps nobody.
    pub fn span(&self, place: Place) -> Span {
        span(&self.path, &self.text, place)
    }

    /// The places of what is up to two levels below a node, by pointer below it; three levels under `deeper`, none
    /// under `without` (both keys of the node). More would be kept in memory for every file and hardly asked for.
    pub fn places(&self, node: &Node, deeper: &str, without: &str) -> Places {
        let mut parts = BTreeMap::new();
        if let Shape::Map(entries) = &node.shape {
            for (name, child) in entries.iter().filter(|(name, _)| name != without) {
                let pointer = format!("/{}", escape(name));
                let depth = if name == deeper { 2 } else { 1 };
                self.collect(child, &pointer, depth, &mut parts);
                parts.insert(pointer, self.span(child.mark()));
            }
        }
        Places::new(self.span(node.mark()), parts)
    }

    fn collect(&self, node: &Node, pointer: &str, depth: usize, parts: &mut BTreeMap<String, Span>) {
        if depth == 0 {
            return;
        }
        let mut below = |part: &str, child: &Node| {
            let pointer = format!("{pointer}/{part}");
            self.collect(child, &pointer, depth - 1, parts);
            parts.insert(pointer, self.span(child.mark()));
        };
        match &node.shape {
            Shape::Scalar => {}
            Shape::List(items) => {
                for (index, child) in items.iter().enumerate() {
                    below(&index.to_string(), child);
                }
            }
            Shape::Map(entries) => {
                for (key, child) in entries {
                    below(&escape(key), child);
                }
            }
        }
    }
}

/// See [`Tree::span`].
pub fn span(path: &Arc<str>, text: &str, place: Place) -> Span {
    let stretch = text.get(place.start..place.end).unwrap_or("");
    let line = stretch.find(['\n', '\r']).unwrap_or(stretch.len());
    Span { path: path.clone(), start: place.start, end: place.start + line, line: place.line, column: place.column }
}

/// A key as a part of a JSON pointer.
pub fn escape(key: &str) -> String {
    if key.contains(['~', '/']) { key.replace('~', "~0").replace('/', "~1") } else { key.to_owned() }
}

fn unescape(part: &str) -> String {
    part.replace("~1", "/").replace("~0", "~")
}
