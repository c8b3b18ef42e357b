//! The few colours there are, each with one meaning, and text made safe for a terminal.

use std::fmt;

use anstyle::{AnsiColor, Style};

const fn colour(colour: AnsiColor) -> Style {
    Style::new().fg_color(Some(anstyle::Color::Ansi(colour)))
}

pub const NEW: Style = colour(AnsiColor::Green);
pub const CHANGED: Style = colour(AnsiColor::Yellow);
pub const MOVED: Style = colour(AnsiColor::Cyan);
pub const GONE: Style = colour(AnsiColor::Red);
pub const BAD: Style = colour(AnsiColor::Red).bold();
pub const GOOD: Style = colour(AnsiColor::Green);
/// Held, or worth a look.
pub const WARN: Style = colour(AnsiColor::Yellow).bold();
pub const STRONG: Style = Style::new().bold();
/// What explains, beside what is said.
pub const FAINT: Style = Style::new().dimmed();

/// Something in a style; nothing at all when it is empty.
pub fn painted(style: Style, what: impl fmt::Display) -> String {
    let text = what.to_string();
    if text.is_empty() { text } else { format!("{style}{text}{style:#}") }
}

/// A text from a file, an engine or a program, in which control characters are written out.
pub fn plain(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            safe.extend(c.escape_default());
        } else {
            safe.push(c);
        }
    }
    safe
}

/// The same, of at most `longest` characters.
pub fn short(text: &str, longest: usize) -> String {
    let safe = plain(text);
    if safe.chars().count() <= longest {
        return safe;
    }
    let kept: String = safe.chars().take(longest.saturating_sub(1)).collect();
    format!("{kept}…")
}

/// `1 host`, `2 hosts`.
pub fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::{plain, short};

    #[test]
    fn a_text_cannot_control_the_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\\n");
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(short("größer", 4), "grö…");
        assert_eq!(short("groß", 4), "groß");
    }
}
