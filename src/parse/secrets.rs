//! Where a file holds values that must not be shown: those of `environment` and of `connectionString`.
//!
//! Takes the places of a file's parts or, where it could not be read, its text.
//! Gives byte ranges; the keys themselves are not among them.
//!
//! Because a broken file may be broken exactly inside a secret, only lines that begin with a field of the schemas are
//! shown there, and none below such a key until one of them stands at the same or a lesser indentation.

use std::ops::Range;

use super::schema;
use super::tree::{Node, Shape};
use crate::diagnostic::SECRET_KEYS;

/// The ranges of a file that was read.
pub fn of_tree(root: &Node) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut open = vec![root];
    while let Some(node) = open.pop() {
        match &node.shape {
            Shape::Scalar => {}
            Shape::List(items) => open.extend(items),
            Shape::Map(entries) => {
                for (key, child) in entries {
                    if SECRET_KEYS.contains(&key.as_str()) {
                        scalars(child, &mut ranges);
                    } else {
                        open.push(child);
                    }
                }
            }
        }
    }
    ranges.sort_by_key(|range| range.start);
    ranges
}

/// Everything below a node. For fields that are not known, too: one may be a misspelt `environment`, or a variable at a
/// wrong indentation.
pub fn scalars(node: &Node, ranges: &mut Vec<Range<usize>>) {
    let mut open = vec![node];
    while let Some(node) = open.pop() {
        match &node.shape {
            Shape::Scalar => ranges.push(node.at.start..node.at.end),
            Shape::List(items) => open.extend(items),
            Shape::Map(entries) => open.extend(entries.iter().map(|(_, child)| child)),
        }
    }
}

/// The ranges of a file that could not be read. A file that mentions no such key has none.
pub fn of_text(text: &str) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    if !SECRET_KEYS.iter().any(|key| text.contains(key)) {
        return ranges;
    }
    let mut inside: Option<usize> = None;
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let indent = indentation(line);
        let field = begins_known_field(line);
        // A secret at the margin has no lesser indentation to end it.
        if field && inside.is_some_and(|base| base > 0 && indent <= base) {
            inside = None;
        }
        let secret = SECRET_KEYS.iter().filter_map(|key| Some(line.find(key)? + key.len())).min();
        match (inside, secret) {
            (None, Some(after)) => {
                inside = Some(indent);
                ranges.push(offset + after..offset + line.len());
            }
            (None, None) if field => {}
            // A line that begins no field may be a variable that lost its place.
            (None, None) | (Some(_), _) => ranges.push(offset..offset + line.len()),
        }
        offset += line.len();
    }
    ranges
}

/// Columns before the line's first key; the dash of a list counts, as in YAML.
fn indentation(line: &str) -> usize {
    line.len() - line.trim_start_matches([' ', '\t', '-']).len()
}

fn begins_known_field(line: &str) -> bool {
    let Some((key, _)) = line.split_once(':') else {
        return false;
    };
    let key = key.trim_matches([' ', '\t', '-', '"', '\'', '{']);
    !SECRET_KEYS.contains(&key) && schema::is_field(key)
}

#[cfg(test)]
mod tests {
    use super::of_text;

    #[test]
    fn a_broken_file_shows_no_value_of_a_variable() {
        let text = "name: a\nitemListElement:\n  - name: x\n    environment:\n      A: \"hunter2\n  B: hunter3\n    image: y\nz: [";
        let hidden: String = of_text(text).into_iter().map(|range| &text[range]).collect();
        assert!(hidden.contains("hunter2") && hidden.contains("hunter3") && !hidden.contains("image"));
    }

    #[test]
    fn a_broken_file_on_one_line_is_concealed_to_its_end() {
        let text = "{\"environment\": {\"A\": \"hunter2\"}, \"name\": ";
        let ranges = of_text(text);
        assert_eq!((ranges.len(), &ranges[0]), (1, &(13..text.len())));
    }
}
