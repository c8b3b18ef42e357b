//! A report for programs: one JSON object with a version.

use serde_json::{Value, json};

use super::{Label, Rank, Report, Severity};

/// Grows when a reader of the previous shape would misread the new one; new fields do not count.
pub const VERSION: u32 = 1;

/// `{version, errors, warnings, diagnostics: [{code, severity, message, hint, labels: [{path, line, column, start, end,
/// rank, text}]}]}`; lines and columns count from 1 (columns in characters), `start` and `end` are byte offsets.
pub fn render(report: &Report) -> String {
    let mut out = serde_json::to_string_pretty(&value(report)).expect("a JSON value can be written");
    out.push('\n');
    out
}

/// The same as a value, for answers that hold more than a report.
pub fn value(report: &Report) -> Value {
    let diagnostics: Vec<Value> = report
        .iter()
        .map(|d| {
            json!({
                "code": d.code.as_str(),
                "severity": d.severity.as_str(),
                "message": d.message,
                "hint": d.hint,
                "labels": d.labels.iter().map(label).collect::<Vec<_>>(),
            })
        })
        .collect();
    json!({
        "version": VERSION,
        "errors": report.count(Severity::Error),
        "warnings": report.count(Severity::Warning),
        "diagnostics": diagnostics,
    })
}

fn label(label: &Label) -> Value {
    json!({
        "path": &*label.span.path,
        "line": label.span.line,
        "column": label.span.column,
        "start": label.span.start,
        "end": label.span.end,
        "rank": match label.rank { Rank::Primary => "primary", Rank::Secondary => "secondary" },
        "text": label.text,
    })
}
