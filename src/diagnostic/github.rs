//! A report as workflow commands, which forges turn into annotations at the lines of a pull request.

use super::{Diagnostic, Report};

/// One `::error file=…,line=…,col=…,title=…::message` line for each finding.
pub fn render(report: &Report) -> String {
    report.iter().map(line).collect()
}

fn line(diagnostic: &Diagnostic) -> String {
    let mut properties = Vec::new();
    if let Some(at) = diagnostic.place() {
        properties.push(format!("file={}", property(&at.path)));
        properties.push(format!("line={}", at.line));
        properties.push(format!("col={}", at.column));
    }
    properties.push(format!("title={}", property(diagnostic.code.as_str())));
    let mut message = diagnostic.message.clone();
    for label in diagnostic.labels.iter().skip(1) {
        message.push_str(&format!("\n{}: {}", label.span, label.text));
    }
    if let Some(hint) = &diagnostic.hint {
        message.push_str(&format!("\n{hint}"));
    }
    let severity = diagnostic.severity.as_str();
    format!("::{severity} {}::{}\n", properties.join(","), data(&message))
}

/// Text of a message: what would end the command is escaped, so that no file can smuggle in a command of its own.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// Text of a property, where `:` and `,` separate too.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::render;
    use crate::diagnostic::code::Code;
    use crate::diagnostic::{Diagnostic, Report};
    use crate::files::Span;

    #[test]
    fn what_would_end_a_command_is_escaped() {
        let at = Span { path: "stacks/a,b:c.yaml".into(), start: 0, end: 1, line: 3, column: 7 };
        let mut report = Report::default();
        report.add(Diagnostic::new(Code::BadName, "100 %\n::error::x", &at));
        assert_eq!(
            render(&report),
            "::error file=stacks/a%2Cb%3Ac.yaml,line=3,col=7,title=bad-name::100 %25%0A::error::x\n"
        );
    }
}
