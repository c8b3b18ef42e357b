//! What a stack's file asks for: its values as they are written, and their digest.

use serde_json::{Map, Value};

use super::tree::{Node, Shape, Tree};
use crate::name::Digest;

/// Mappings whose values are texts as they are written, although a number or boolean may be written.
const TEXT_MAPPINGS: [&str; 4] = ["environment", "labels", "sysctls", "options"];

/// Fields of a stack and of its services that are for people. A field that is not listed counts as asking for
/// something, so that a new one cannot be forgotten here.
const FOR_PEOPLE: &[&str] = &[
    "$schema",
    "@context",
    "@id",
    "@type",
    "about",
    "additionalType",
    "alternateName",
    "applicationCategory",
    "applicationSubCategory",
    "author",
    "creator",
    "dateCreated",
    "dateModified",
    "datePublished",
    "description",
    "disambiguatingDescription",
    "downloadUrl",
    "featureList",
    "identifier",
    "inLanguage",
    "itemListOrder",
    "keywords",
    "license",
    "mainEntityOfPage",
    "maintainer",
    "numberOfItems",
    "operatingSystem",
    "provider",
    "publisher",
    "reason",
    "releaseNotes",
    "sameAs",
    "softwareHelp",
    "softwareVersion",
    "subjectOf",
    "url",
    "version",
];

/// Whether anything is deployed, not what: a stack that is resumed asks for what it asked for.
const WHETHER: &str = "suspended";

/// Replaces numbers and booleans of text mappings by what the file says (`1.10` is not `1.1` there).
pub fn as_written(value: &mut Value, tree: &Tree) {
    rewrite(value, &tree.root, &tree.text);
}

/// The digest of what a stack asks for. The order of keys and of services does not count, nor do fields for people.
pub fn digest(value: &Value) -> Digest {
    let mut out = Vec::new();
    for (key, value) in asking(value) {
        // A service's image is the container's; a stack's is a picture.
        if key != "itemListElement" && key != "image" {
            write_entry(key, value, &mut out);
        }
    }
    let services = value.get("itemListElement").and_then(Value::as_array).into_iter().flatten();
    let of_service = |service: &Value| {
        let mut out = b"\nservice\n".to_vec();
        for (key, value) in asking(service) {
            write_entry(key, value, &mut out);
        }
        out
    };
    let mut services: Vec<Vec<u8>> = services.map(of_service).collect();
    services.sort_unstable();
    out.extend(services.concat());
    Digest::of(&out)
}

fn rewrite(value: &mut Value, node: &Node, text: &str) {
    match (value, &node.shape) {
        (Value::Object(object), Shape::Map(entries)) => {
            for_each_pair(object, entries, |key, below, child| match (below, &child.shape) {
                (Value::Object(texts), Shape::Map(entries)) if TEXT_MAPPINGS.contains(&key) => {
                    for_each_pair(texts, entries, |_, value, node| {
                        if matches!(value, Value::Number(_) | Value::Bool(_)) {
                            let written = text.get(node.at.start..node.at.end).unwrap_or("");
                            *value = Value::String(written.to_owned());
                        }
                    });
                }
                (below, _) => rewrite(below, child, text),
            });
        }
        (Value::Array(items), Shape::List(nodes)) => {
            for (item, node) in items.iter_mut().zip(nodes) {
                rewrite(item, node, text);
            }
        }
        _ => {}
    }
}

/// Values and places of one mapping, side by side. Both are in the order of the file; values may have been taken out.
fn for_each_pair<'a>(
    object: &mut Map<String, Value>,
    entries: &'a [(String, Node)],
    mut visit: impl FnMut(&str, &mut Value, &'a Node),
) {
    let mut entries = entries.iter();
    for (key, value) in object {
        if let Some((_, node)) = entries.find(|(name, _)| name == key) {
            visit(key, value, node);
        }
    }
}

fn asking(value: &Value) -> Vec<(&String, &Value)> {
    let entries = value.as_object().into_iter().flatten();
    ordered(entries.filter(|(key, _)| !FOR_PEOPLE.contains(&key.as_str()) && key.as_str() != WHETHER))
}

fn ordered<'a>(entries: impl Iterator<Item = (&'a String, &'a Value)>) -> Vec<(&'a String, &'a Value)> {
    let mut entries: Vec<_> = entries.collect();
    entries.sort_by_key(|(key, _)| *key);
    entries
}

fn write_entry(key: &str, value: &Value, out: &mut Vec<u8>) {
    write_text(key, out);
    out.push(b':');
    write_value(value, out);
}

fn write_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Object(object) => {
            out.push(b'{');
            for (key, value) in ordered(object.iter()) {
                write_entry(key, value, out);
            }
            out.push(b'}');
        }
        Value::Array(items) => {
            out.push(b'[');
            for item in items {
                write_value(item, out);
                out.push(b',');
            }
            out.push(b']');
        }
        Value::String(text) => write_text(text, out),
        Value::Null | Value::Bool(_) | Value::Number(_) => out.extend(value.to_string().bytes()),
    }
}

/// With its length before it, so that no text can look like the structure around it.
fn write_text(text: &str, out: &mut Vec<u8>) {
    out.extend(format!("{}\"", text.len()).bytes());
    out.extend(text.bytes());
}

#[cfg(test)]
mod tests {
    use super::digest;

    #[test]
    fn only_what_is_asked_for_counts() {
        let of = |text: &str| digest(&serde_json::from_str(text).expect("JSON"));
        let one = of(
            r#"{"name": "a", "itemListElement": [{"name": "x", "image": "y", "environment": {"A": "1", "B": "2"}}]}"#,
        );
        let same = of(
            r#"{"description": "d", "image": "p", "itemListElement": [{"environment": {"B": "2", "A": "1"}, "reason": "r", "image": "y", "name": "x"}], "name": "a"}"#,
        );
        let other = of(
            r#"{"name": "a", "itemListElement": [{"name": "x", "image": "z", "environment": {"A": "1", "B": "2"}}]}"#,
        );
        assert_eq!(one, same);
        assert_ne!(one, other);
        let services = |list: &str| of(&format!(r#"{{"name": "a", "itemListElement": [{list}]}}"#));
        assert_eq!(services(r#"{"name": "x"}, {"name": "y"}"#), services(r#"{"name": "y"}, {"name": "x"}"#));
        assert_ne!(services(r#"{"name": "x"}, {"name": "y"}"#), services(r#"{"name": "x"}"#));
    }
}
