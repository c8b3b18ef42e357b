//! Reads a file of the watched repository, or the configuration.
//!
//! Takes the text of one file. Gives what was written, with the place of every part, and a report of what is wrong.
//!
//! Never fails and never panics, whatever the bytes; never lets two readers of YAML understand a file differently.
//! Pure: equal path and text give equal results, so results may be kept by path and blob.
//!
//! ```text
//! caps -> gate (positions, refusals) -> serde_yaml | serde_json -> schema -> raw types
//! ```

pub mod content;
pub mod gate;
pub mod raw;
pub mod schema;
pub mod secrets;
pub mod suggest;
pub mod tree;

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::diagnostic::code::Code;
use crate::diagnostic::{Diagnostic, Report};
use crate::files::{SourceFile, Span};
use crate::name::{Digest, StackName};
use crate::parse::gate::Passed;
use crate::parse::raw::config::RawConfig;
use crate::parse::raw::host::{RawHost, RawHosts};
use crate::parse::raw::stack::RawStack;
use crate::parse::schema::Fit;
use crate::parse::tree::{Node, Shape, Tree};

/// Bytes a file may have. A stack of a hundred services has some 60 KiB.
pub const LARGEST_FILE: usize = 256 * 1024;

/// Files that are read under `stacks/` and `hosts/` together.
pub const MOST_FILES: usize = 20_000;

/// One file, read. What is wrong with it is in the report beside it.
#[derive(Debug, Clone)]
pub enum Parsed {
    /// Neither under `stacks/` nor under `hosts/`, or of another kind than JSON and YAML.
    Inert,
    Stack(Box<StackFile>),
    /// A file under `stacks/` that cannot be checked further.
    WrongStack(WrongStack),
    Hosts(Box<HostsFile>),
    /// A file under `hosts/` that cannot be checked further.
    WrongHosts,
}

#[derive(Debug, Clone)]
pub struct StackFile {
    pub raw: RawStack,
    /// Of everything that the file asks for; informational fields and the order of keys do not count.
    pub content: Digest,
    pub tree: Tree,
}

#[derive(Debug, Clone)]
pub struct WrongStack {
    /// The name, if it could be read. None: the file yields no name.
    pub name: Option<StackName>,
    /// Where the name stands, else the beginning of the file.
    pub at: Span,
}

#[derive(Debug, Clone)]
pub struct HostsFile {
    /// Each with the pointer of its mapping in the file (`""` where the file is one host).
    pub hosts: Vec<(String, RawHost)>,
    pub tree: Tree,
}

/// What a path says of its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Stack,
    Host,
    Inert,
}

/// What a file is by its path: `stacks/**` and `hosts/**`, ending in `.json`, `.jsonld`, `.yaml` or `.yml`.
pub fn kind(path: &str) -> Kind {
    if language(path).is_none() {
        return Kind::Inert;
    }
    match path.split_once('/') {
        Some(("stacks", _)) => Kind::Stack,
        Some(("hosts", _)) => Kind::Host,
        _ => Kind::Inert,
    }
}

/// An entry under `stacks/` or `hosts/` that is not a file to be read; whoever lists the repository finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    Symlink,
    Submodule,
    NotText,
    /// With its size in bytes.
    TooLarge(usize),
    /// A folder in too many folders.
    TooDeep,
}

/// The finding for an entry that is refused unread. The path counts as a wrong file (under `stacks/` as one without a
/// name): see `CheckedFile::refused`.
pub fn refused(path: &Arc<str>, why: Refused) -> Diagnostic {
    let at = beginning(path);
    match why {
        Refused::Symlink => Diagnostic::new(Code::Symlink, format!("`{path}` is a symbolic link"), &at),
        Refused::Submodule => Diagnostic::new(Code::Submodule, format!("`{path}` is a submodule"), &at),
        Refused::NotText => Diagnostic::new(Code::NotText, format!("`{path}` is not UTF-8 text"), &at),
        Refused::TooDeep => Diagnostic::new(Code::TooDeep, format!("`{path}` is a folder in too many folders"), &at),
        Refused::TooLarge(size) => {
            Diagnostic::new(Code::FileTooLarge, format!("`{path}` has {size} bytes; {LARGEST_FILE} are read"), &at)
        }
    }
}

/// The finding for a repository with more files than are read.
pub fn too_many(files: usize) -> Diagnostic {
    let message = format!("there are {files} files under `stacks/` and `hosts/`; {MOST_FILES} are read");
    Diagnostic::global(Code::TooManyFiles, message)
}

/// Reads one file.
pub fn parse(file: &SourceFile) -> (Parsed, Report) {
    let mut report = Report::default();
    let parsed = match kind(&file.path) {
        Kind::Inert => Parsed::Inert,
        Kind::Stack => stack(file, &mut report),
        Kind::Host => hosts(file, &mut report),
    };
    (parsed, report)
}

/// Reads the operator's configuration, which is no file of the watched repository. None when anything in it is wrong.
pub fn config(file: &SourceFile) -> (Option<(RawConfig, Tree)>, Report) {
    let mut report = Report::default();
    let Some((tree, Some(mut value))) = read(file, &mut report) else {
        return (None, report);
    };
    let read = match schema::check(&schema::CONFIG, &mut value, &tree, &mut report) {
        Fit::Whole => typed(&value, &tree, &mut report).map(|raw| (raw, tree)),
        Fit::WithoutUnknown | Fit::Broken => None,
    };
    (read, report)
}

/// The text of a published schema: `stack`, `host`, `config`.
pub fn schema(name: &str) -> Option<&'static str> {
    schema::text(name)
}

fn stack(file: &SourceFile, report: &mut Report) -> Parsed {
    let Some((tree, value)) = read(file, report) else {
        return Parsed::WrongStack(WrongStack { name: None, at: beginning(&file.path) });
    };
    let wrong = |tree: &Tree, value: Option<&Value>| {
        Parsed::WrongStack(WrongStack {
            name: value.and_then(|value| declared_name(tree, value)),
            at: tree.of("/name"),
        })
    };
    let Some(mut value) = value else {
        return wrong(&tree, None);
    };
    if schema::check(&schema::STACK, &mut value, &tree, report) == Fit::Broken {
        return wrong(&tree, Some(&value));
    }
    content::as_written(&mut value, &tree);
    match typed(&value, &tree, report) {
        Some(raw) => Parsed::Stack(Box::new(StackFile { raw, content: content::digest(&value), tree })),
        None => wrong(&tree, Some(&value)),
    }
}

fn hosts(file: &SourceFile, report: &mut Report) -> Parsed {
    let Some((tree, Some(mut value))) = read(file, report) else {
        return Parsed::WrongHosts;
    };
    if schema::check(&schema::HOST, &mut value, &tree, report) == Fit::Broken {
        return Parsed::WrongHosts;
    }
    content::as_written(&mut value, &tree);
    let hosts = if value.get("itemListElement").is_some() {
        typed::<RawHosts>(&value, &tree, report).map(|list| {
            let numbered = list.item_list_element.into_iter().enumerate();
            numbered.map(|(i, host)| (format!("/itemListElement/{i}"), host)).collect()
        })
    } else {
        typed::<RawHost>(&value, &tree, report).map(|host| vec![(String::new(), host)])
    };
    match hosts {
        Some(hosts) => Parsed::Hosts(Box::new(HostsFile { hosts, tree })),
        None => Parsed::WrongHosts,
    }
}

/// JSON is read strictly; YAML as YAML.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Language {
    Json,
    Yaml,
}

fn language(path: &str) -> Option<Language> {
    let name = path.rsplit('/').next().unwrap_or(path);
    match name.rsplit_once('.')? {
        (_, "json" | "jsonld") => Some(Language::Json),
        (_, "yaml" | "yml") => Some(Language::Yaml),
        _ => None,
    }
}

/// Caps, gate and value. None: nothing can be said about the file's parts. No value: the parts have places, but the
/// file is refused.
fn read(file: &SourceFile, report: &mut Report) -> Option<(Tree, Option<Value>)> {
    let path = &file.path;
    if file.text.len() > LARGEST_FILE {
        report.add(refused(path, Refused::TooLarge(file.text.len())));
        return None;
    }
    let mut found = Report::default();
    let passed = gate::pass(path, &file.text, &mut found);
    let language = language(path).unwrap_or(Language::Yaml);
    let Passed::Shape(root) = passed else {
        report.conceal(path, &secrets::of_text(&file.text));
        // The JSON reader knows better what is wrong with JSON.
        let only_syntax = found.iter().all(|d| d.code == Code::SyntaxError);
        match language {
            Language::Json if only_syntax => match value(file, language) {
                Err(diagnostic) => report.add(*diagnostic),
                Ok(_) => report.merge(&found),
            },
            Language::Json | Language::Yaml => report.merge(&found),
        }
        return None;
    };
    report.conceal(path, &secrets::of_tree(&root));
    let tree = Tree { path: path.clone(), text: file.text.clone(), root };
    if !found.is_empty() {
        report.merge(&found);
        // A repeated key or an alias leaves the value open: nothing is read from it, not even a name.
        return Some((tree, None));
    }
    match value(file, language) {
        Ok(value) if agree(&tree.root, &value) => Some((tree, Some(value))),
        Ok(_) => {
            let message = "two readers of YAML understand the file differently; write it more plainly";
            report.add(Diagnostic::new(Code::SyntaxError, message, &beginning(path)));
            None
        }
        Err(diagnostic) => {
            report.conceal(path, &secrets::of_text(&file.text));
            report.add(*diagnostic);
            None
        }
    }
}

fn value(file: &SourceFile, language: Language) -> Result<Value, Box<Diagnostic>> {
    let (message, line, column) = match language {
        Language::Json => match serde_json::from_str(&file.text) {
            Ok(value) => return Ok(value),
            Err(error) => {
                let message = error.to_string();
                let message = message.split(" at line ").next().unwrap_or("").to_owned();
                (message, error.line(), error.column())
            }
        },
        Language::Yaml => match serde_yaml::from_str(&file.text) {
            Ok(value) => return Ok(value),
            Err(error) => {
                let (line, column) = error.location().map_or((1, 1), |at| (at.line(), at.column()));
                ("the file is not well-formed YAML".to_owned(), line, column)
            }
        },
    };
    let at = at_line(&file.path, &file.text, line, column);
    Err(Box::new(Diagnostic::new(Code::SyntaxError, message, &at)))
}

/// Whether places and value are of one shape.
fn agree(node: &Node, value: &Value) -> bool {
    match (&node.shape, value) {
        (Shape::Scalar, Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => true,
        (Shape::List(nodes), Value::Array(values)) => {
            nodes.len() == values.len() && nodes.iter().zip(values).all(|(node, value)| agree(node, value))
        }
        (Shape::Map(entries), Value::Object(object)) => {
            entries.len() == object.len()
                && entries.iter().zip(object).all(|((a, node), (b, value))| a == b && agree(node, value))
        }
        _ => false,
    }
}

fn typed<T: DeserializeOwned>(value: &Value, tree: &Tree, report: &mut Report) -> Option<T> {
    serde_path_to_error::deserialize(value)
        .inspect_err(|error| {
            let mut pointer = String::new();
            for segment in error.path() {
                match segment {
                    serde_path_to_error::Segment::Seq { index } => pointer.push_str(&format!("/{index}")),
                    serde_path_to_error::Segment::Map { key } => pointer.push_str(&format!("/{}", tree::escape(key))),
                    serde_path_to_error::Segment::Enum { .. } | serde_path_to_error::Segment::Unknown => {}
                }
            }
            // serde's words may repeat the value, so they are not passed on.
            let name = pointer.rsplit('/').next().unwrap_or("");
            let message = format!("`{name}` cannot have this value");
            report.add(Diagnostic::new(Code::WrongType, message, &tree.of(&pointer)));
        })
        .ok()
}

fn declared_name(tree: &Tree, value: &Value) -> Option<StackName> {
    tree.root.child("name")?;
    StackName::new(value.get("name")?.as_str()?).ok()
}

fn beginning(path: &Arc<str>) -> Span {
    tree::span(path, "", gate::START)
}

/// A place given by line and column (in bytes, from 1), as parsers that count so report it.
fn at_line(path: &Arc<str>, text: &str, line: usize, column: usize) -> Span {
    let line = line.max(1);
    let begins: usize = text.split_inclusive('\n').take(line - 1).map(str::len).sum();
    let this = text[begins..].lines().next().unwrap_or("");
    let mut bytes = column.saturating_sub(1).min(this.len());
    while !this.is_char_boundary(bytes) {
        bytes -= 1;
    }
    let width = this[bytes..].chars().next().map_or(0, char::len_utf8);
    Span {
        path: path.clone(),
        start: begins + bytes,
        end: begins + bytes + width,
        line: u32::try_from(line).unwrap_or(u32::MAX),
        column: u32::try_from(this[..bytes].chars().count() + 1).unwrap_or(u32::MAX),
    }
}
