//! What every JSON document that is printed has in common.

use serde_json::{Map, Value, json};

use crate::cli::show::JSON_VERSION;
use crate::files::Span;

/// A document: its version, what it is, then its own members.
pub fn document(kind: &str, members: Value) -> String {
    let mut text = serde_json::to_string_pretty(&with_version(kind, members)).expect("a value is JSON");
    text.push('\n');
    text
}

/// A document in one line, for streams of them.
pub fn line(kind: &str, members: Value) -> String {
    format!("{}\n", with_version(kind, members))
}

/// A place in a file; `null` where there is none.
pub fn place(span: Option<&Span>) -> Value {
    match span {
        Some(span) => json!({"path": span.path.as_ref(), "line": span.line, "column": span.column}),
        None => Value::Null,
    }
}

fn with_version(kind: &str, members: Value) -> Value {
    let mut all = Map::new();
    all.insert("version".to_owned(), json!(JSON_VERSION));
    all.insert("kind".to_owned(), json!(kind));
    if let Value::Object(members) = members {
        all.extend(members);
    }
    Value::Object(all)
}
