//! A report as SARIF 2.1.0, which code scanners exchange.

use serde_json::{Value, json};

use super::code::Code;
use super::{Diagnostic, Label, Report};

/// One run with the whole catalogue as its rules.
pub fn render(report: &Report) -> String {
    let rules: Vec<Value> = Code::ALL
        .iter()
        .map(|code| {
            json!({
                "id": code.as_str(),
                "fullDescription": { "text": code.explanation() },
                "defaultConfiguration": { "level": code.severity().as_str() },
            })
        })
        .collect();
    let sarif = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "bayplan",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            }},
            // Columns count characters, as everywhere in our output.
            "columnKind": "unicodeCodePoints",
            "results": report.iter().map(result).collect::<Vec<_>>(),
        }],
    });
    let mut out = serde_json::to_string_pretty(&sarif).expect("a JSON value can be written");
    out.push('\n');
    out
}

fn result(diagnostic: &Diagnostic) -> Value {
    let text = match &diagnostic.hint {
        Some(hint) => format!("{}. {hint}", diagnostic.message),
        None => diagnostic.message.clone(),
    };
    let mut labels = diagnostic.labels.iter();
    let first: Vec<Value> = labels.next().map(location).into_iter().collect();
    json!({
        "ruleId": diagnostic.code.as_str(),
        "level": diagnostic.severity.as_str(),
        "message": { "text": text },
        "locations": first,
        "relatedLocations": labels.map(location).collect::<Vec<_>>(),
    })
}

fn location(label: &Label) -> Value {
    let mut location = json!({
        "physicalLocation": {
            "artifactLocation": { "uri": uri(&label.span.path) },
            "region": {
                "startLine": label.span.line,
                "startColumn": label.span.column,
                "byteOffset": label.span.start,
                "byteLength": label.span.end - label.span.start,
            },
        },
    });
    if !label.text.is_empty() {
        location["message"] = json!({ "text": label.text });
    }
    location
}

/// A path as a relative URI reference: everything but unreserved characters and `/` is percent-encoded.
fn uri(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
