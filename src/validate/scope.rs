//! One part of a file that is being checked: its values come from the raw type, its places from the tree.

use std::net::IpAddr;
use std::time::Duration;

use super::values;
use crate::diagnostic::code::Code;
use crate::diagnostic::{Diagnostic, Report};
use crate::files::Span;
use crate::name::NameError;
use crate::parse::tree::{Tree, escape};

/// A pointer into a file, and where findings go.
pub struct Scope<'a> {
    pub tree: &'a Tree,
    pub pointer: String,
    pub report: &'a mut Report,
}

impl Scope<'_> {
    /// The place of a part; `part` is a pointer below this scope (`/image`).
    pub fn at(&self, part: &str) -> Span {
        self.tree.of(&format!("{}{part}", self.pointer))
    }

    /// The place of a part's key.
    pub fn key(&self, part: &str) -> Span {
        self.tree.key(&format!("{}{part}", self.pointer))
    }

    /// A smaller scope.
    pub fn below(&mut self, part: &str) -> Scope<'_> {
        Scope { tree: self.tree, pointer: format!("{}{part}", self.pointer), report: self.report }
    }

    /// Adds a finding about a part.
    pub fn find(&mut self, code: Code, message: impl Into<String>, part: &str) {
        let diagnostic = Diagnostic::new(code, message, &self.at(part));
        self.report.add(diagnostic);
    }

    /// Adds a finding about a part, with what to do about it.
    pub fn find_with_hint(&mut self, code: Code, message: impl Into<String>, part: &str, hint: impl Into<String>) {
        let diagnostic = Diagnostic::new(code, message, &self.at(part)).hint(hint);
        self.report.add(diagnostic);
    }

    /// A name, or a finding: `field` completes "… `text` is empty".
    pub fn name<T>(&mut self, text: &str, field: &str, part: &str, new: fn(&str) -> Result<T, NameError>) -> Option<T> {
        match new(text) {
            Ok(name) => Some(name),
            Err(why) => {
                self.find(Code::BadName, format!("{field} `{}` {why}", text.escape_debug()), part);
                None
            }
        }
    }

    pub fn address(&mut self, text: &str, part: &str) -> Option<IpAddr> {
        let address = text.parse().ok();
        if address.is_none() {
            let message = format!("`{}` is not an IP address", text.escape_debug());
            self.find(Code::BadAddress, message, part);
        }
        address
    }

    /// Thousandths of a core.
    pub fn cpu(&mut self, text: Option<&str>, part: &str) -> Option<u64> {
        let text = text?;
        let cpu = values::cpu(text);
        if cpu.is_none() {
            let message = format!("`{}` is not an amount of processor", text.escape_debug());
            let hint = "write cores (`0.5`) or thousandths (`500m`)";
            self.find_with_hint(Code::BadQuantity, message, part, hint);
        }
        cpu
    }

    /// Bytes.
    pub fn memory(&mut self, text: Option<&str>, part: &str) -> Option<u64> {
        let text = text?;
        let memory = values::memory(text);
        if memory.is_none() {
            let message = format!("`{}` is not an amount of memory", text.escape_debug());
            let hint = "write bytes, or a number with `Ki`, `Mi`, `Gi`, `Ti` (1024) or `K`, `M`, `G`, `T` (1000)";
            self.find_with_hint(Code::BadQuantity, message, part, hint);
        }
        memory
    }

    pub fn absolute(&mut self, path: &str, field: &str, part: &str) {
        if !path.starts_with('/') || path.contains('\0') {
            self.find(Code::BadValue, format!("{field} must be an absolute path"), part);
        }
    }
}

/// Seconds as the schemas bound them (0 to a day).
pub fn seconds(value: f64) -> Duration {
    Duration::try_from_secs_f64(value).unwrap_or_default()
}

/// Seconds where 0, as in the format that this one extends, stands for the default.
pub fn seconds_or(value: Option<f64>, default: u64) -> Duration {
    match value {
        Some(value) if value > 0.0 => seconds(value),
        Some(_) | None => Duration::from_secs(default),
    }
}

/// A part's pointer: its key escaped.
pub fn part(field: &str, key: &str) -> String {
    format!("{field}/{}", escape(key))
}
