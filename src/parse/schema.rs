//! The published schemas, and what a value does wrong by them.
//!
//! Takes a value and the places of its parts. Gives findings, each at its place and with the nearest known word.
//!
//! Never repeats a value in a message: it could be a secret.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{ValidationError, Validator};
use serde_json::Value;

use super::secrets;
use super::suggest::did_you_mean;
use super::tree::{Tree, escape};
use crate::diagnostic::code::Code;
use crate::diagnostic::{Diagnostic, Report};

/// A schema with its text, compiled once.
pub struct Schema {
    /// Completes "not a field of …".
    pub of: &'static str,
    text: &'static str,
    value: LazyLock<Value>,
    validator: LazyLock<Validator>,
}

pub static STACK: Schema = Schema {
    of: "a stack",
    text: include_str!("../../schemas/stack.schema.json"),
    value: LazyLock::new(|| value(&STACK)),
    validator: LazyLock::new(|| validator(&STACK)),
};

pub static HOST: Schema = Schema {
    of: "a host",
    text: include_str!("../../schemas/host.schema.json"),
    value: LazyLock::new(|| value(&HOST)),
    validator: LazyLock::new(|| validator(&HOST)),
};

pub static CONFIG: Schema = Schema {
    of: "the configuration",
    text: include_str!("../../schemas/config.schema.json"),
    value: LazyLock::new(|| value(&CONFIG)),
    validator: LazyLock::new(|| validator(&CONFIG)),
};

/// The names under which schemas are printed.
pub const NAMES: [&str; 3] = ["stack", "host", "config"];

/// The text of a schema by name.
pub fn text(name: &str) -> Option<&'static str> {
    match name {
        "stack" => Some(STACK.text),
        "host" => Some(HOST.text),
        "config" => Some(CONFIG.text),
        _ => None,
    }
}

/// Whether some schema has a field of this name.
pub fn is_field(name: &str) -> bool {
    static FIELDS: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
        let mut fields = BTreeSet::new();
        let mut open: Vec<&Value> = [&STACK, &HOST, &CONFIG].map(|schema| &*schema.value).into();
        while let Some(node) = open.pop() {
            if let Some(properties) = node.get("properties").and_then(Value::as_object) {
                fields.extend(properties.keys().cloned());
            }
            match node {
                Value::Object(object) => open.extend(object.values()),
                Value::Array(items) => open.extend(items),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
            }
        }
        fields
    });
    FIELDS.contains(name)
}

/// Whether a value can be read on although the schema found something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    Whole,
    /// Fields that are not known were found, and taken out of the value; the rest is whole.
    WithoutUnknown,
    Broken,
}

/// Adds what the value does wrong to the report.
pub fn check(schema: &'static Schema, value: &mut Value, tree: &Tree, report: &mut Report) -> Fit {
    if schema.validator.is_valid(value) {
        return Fit::Whole;
    }
    let mut fit = Fit::WithoutUnknown;
    let mut unknown = Vec::new();
    for error in schema.validator.iter_errors(value) {
        let pointer = error.instance_path().as_str().to_owned();
        if let ValidationErrorKind::AdditionalProperties { unexpected } = error.kind() {
            for field in unexpected {
                report.add(unknown_field(schema, &pointer, field, tree));
                let mut concealed = Vec::new();
                secrets::scalars(tree.node(&format!("{pointer}/{}", escape(field))), &mut concealed);
                report.conceal(&tree.path, &concealed);
                unknown.push((pointer.clone(), field.clone()));
            }
        } else {
            fit = Fit::Broken;
            report.add(finding(&error, &pointer, tree));
        }
    }
    for (pointer, field) in unknown {
        if let Some(Value::Object(object)) = value.pointer_mut(&pointer) {
            object.shift_remove(&field);
        }
    }
    fit
}

fn value(schema: &Schema) -> Value {
    serde_json::from_str(schema.text).expect("an embedded schema is JSON")
}

fn validator(schema: &'static Schema) -> Validator {
    jsonschema::draft202012::new(&schema.value).expect("an embedded schema is a schema")
}

fn unknown_field(schema: &'static Schema, pointer: &str, field: &str, tree: &Tree) -> Diagnostic {
    let at = tree.key(&format!("{pointer}/{}", escape(field)));
    let known = properties(schema, pointer);
    let message = match known.of {
        Some(of) => format!("`{field}` is not a field of `{of}`"),
        None if pointer.is_empty() => format!("`{field}` is not a field of {}", schema.of),
        None => format!("`{field}` is not a known field here"),
    };
    let diagnostic = Diagnostic::new(Code::UnknownField, message, &at);
    match did_you_mean(field, known.names.iter().map(String::as_str)) {
        Some(hint) => diagnostic.hint(hint),
        None if known.names.len() <= 12 => diagnostic.hint(format!("known are {}", list(&known.names))),
        None => diagnostic,
    }
}

/// What may be written at a place: the names, and the field that they belong to.
struct Known {
    names: Vec<String>,
    of: Option<String>,
}

/// Walks the schema along an instance pointer and lists what it knows there.
fn properties(schema: &'static Schema, pointer: &str) -> Known {
    let root = &*schema.value;
    let mut at = resolve(root, root);
    let mut of = None;
    for part in pointer.split('/').skip(1) {
        let part = part.replace("~1", "/").replace("~0", "~");
        let below = branches(root, at).find_map(|node| {
            let named = node.get("properties").and_then(|p| p.get(&part));
            let listed = node.get("items").filter(|_| part.parse::<usize>().is_ok());
            named.or(listed).or_else(|| node.get("additionalProperties").filter(|open| open.is_object()))
        });
        match below {
            Some(below) => at = resolve(root, below),
            None => break,
        }
        if part.parse::<usize>().is_err() {
            of = Some(part);
        }
    }
    // Inside the list of services the field that names them is no help.
    let of = of.map(|of| if of == "itemListElement" { "service".to_owned() } else { of });
    let of = of.map(|of| match (schema.of, of.as_str()) {
        ("a host", "service") => "host".to_owned(),
        _ => of,
    });
    let names = branches(root, at).filter_map(|node| node.get("properties")?.as_object());
    let names = names.flat_map(|properties| properties.keys().cloned()).collect();
    Known { names, of }
}

/// A schema and, where it is one of two cases, both of them; the simpler one first.
fn branches<'a>(root: &'a Value, node: &'a Value) -> impl Iterator<Item = &'a Value> {
    let cases = ["else", "then"].into_iter().filter_map(|case| node.get(case));
    [node].into_iter().chain(cases.map(move |case| resolve(root, case)))
}

fn resolve<'a>(root: &'a Value, node: &'a Value) -> &'a Value {
    let target = node.get("$ref").and_then(Value::as_str);
    let target = target.and_then(|reference| root.pointer(reference.strip_prefix('#')?));
    target.unwrap_or(node)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the schema library's kinds are an open list")]
fn finding(error: &ValidationError<'_>, pointer: &str, tree: &Tree) -> Diagnostic {
    let at = tree.of(pointer);
    let name = pointer.rsplit('/').find(|part| part.parse::<usize>().is_err() && !part.is_empty());
    let what = match name {
        Some(name) => format!("`{}`", name.replace("~1", "/").replace("~0", "~")),
        None => "the file".to_owned(),
    };
    match error.kind() {
        ValidationErrorKind::Required { property } => {
            let property = property.as_str().unwrap_or("");
            let message = match what.as_str() {
                "`itemListElement`" => format!("`{property}` is missing"),
                what => format!("{what} has no `{property}`"),
            };
            Diagnostic::new(Code::MissingField, message, &at).label(format!("needs `{property}`"))
        }
        ValidationErrorKind::Type { kind } => {
            let expected = match kind {
                TypeKind::Single(one) => type_name(one.as_str()).to_owned(),
                TypeKind::Multiple(set) => {
                    let names: Vec<_> = set.iter().map(|one| type_name(one.as_str())).collect();
                    names.join(" or ")
                }
            };
            let found = value_type(error.instance());
            let message = format!("{what} must be {expected}, not {found}");
            let diagnostic = Diagnostic::new(Code::WrongType, message, &at).label(format!("this is {found}"));
            match found {
                "nothing" => diagnostic.hint("give it a value, or remove the line"),
                _ => diagnostic,
            }
        }
        ValidationErrorKind::Enum { options } => unknown_value(&what, error.instance(), options, &at),
        ValidationErrorKind::Minimum { limit } => out_of_range(&what, &format!("at least {limit}"), &at),
        ValidationErrorKind::Maximum { limit } => out_of_range(&what, &format!("at most {limit}"), &at),
        ValidationErrorKind::MinItems { limit } => {
            let entries = if *limit == 1 { "entry" } else { "entries" };
            let message = format!("{what} must have at least {limit} {entries}");
            Diagnostic::new(Code::OutOfRange, message, &at)
        }
        // The schemas use no other keyword; should one come, its own words will do.
        _ => Diagnostic::new(Code::BadValue, format!("{what}: {}", error.masked()), &at),
    }
}

fn out_of_range(what: &str, range: &str, at: &crate::files::Span) -> Diagnostic {
    Diagnostic::new(Code::OutOfRange, format!("{what} must be {range}"), at)
}

fn unknown_value(what: &str, found: &Value, options: &Value, at: &crate::files::Span) -> Diagnostic {
    let options = options.as_array().map(Vec::as_slice).unwrap_or_default();
    let options: Vec<String> =
        options.iter().filter_map(Value::as_str).filter(|option| !option.is_empty()).map(str::to_owned).collect();
    let diagnostic = match found.as_str() {
        Some(_) => Diagnostic::new(Code::UnknownValue, format!("{what} cannot have this value"), at),
        None => {
            let found = value_type(found);
            let message = format!("{what} must be a text, not {found}");
            return Diagnostic::new(Code::WrongType, message, at).hint(format!("it is one of {}", list(&options)));
        }
    };
    let diagnostic = diagnostic.label(format!("expected {}", list(&options)));
    match did_you_mean(found.as_str().unwrap_or(""), options.iter().map(String::as_str)) {
        Some(hint) => diagnostic.hint(hint),
        None => diagnostic,
    }
}

/// `a`, `b` or `c`.
fn list(words: &[String]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        Some((last, _)) => last.clone(),
        None => String::new(),
    }
}

fn type_name(json: &str) -> &'static str {
    match json {
        "string" => "a text",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "`true` or `false`",
        "array" => "a list",
        "object" => "a mapping",
        _ => "nothing",
    }
}

fn value_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "`true` or `false`",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

#[cfg(test)]
mod tests {
    use super::{CONFIG, HOST, NAMES, STACK, properties, text};

    #[test]
    fn the_embedded_schemas_are_valid_and_each_property_says_what_it_is() {
        for name in NAMES {
            let schema = serde_json::from_str(text(name).expect("a name of the list")).expect("JSON");
            assert!(jsonschema::draft202012::meta::is_valid(&schema), "{name}");
            let mut open = vec![(name.to_owned(), &schema)];
            while let Some((path, node)) = open.pop() {
                let Some(object) = node.as_object() else { continue };
                if let Some(properties) = object.get("properties").and_then(|p| p.as_object()) {
                    for (property, value) in properties {
                        let said = value.get("description").and_then(|d| d.as_str()).unwrap_or("");
                        assert!(said.len() > 5, "{path}/{property} has no description");
                    }
                }
                open.extend(object.iter().map(|(key, value)| (format!("{path}/{key}"), value)));
            }
        }
    }

    #[test]
    fn the_known_fields_of_a_place_are_found_through_references() {
        let known = properties(&STACK, "/itemListElement/3/healthCheck");
        assert!(known.names.contains(&"startPeriod".to_owned()));
        assert_eq!(known.of.as_deref(), Some("healthCheck"));
        assert!(properties(&HOST, "").names.contains(&"ipAddress".to_owned()));
        let known = properties(&HOST, "/itemListElement/0/reserved");
        assert_eq!(known.names, ["cpu", "memory"]);
        assert!(properties(&CONFIG, "/engines/tcp:~1~1a:1").names.contains(&"ca".to_owned()));
    }
}
