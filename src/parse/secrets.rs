//! Where a file holds values that must not be shown: those of `environment` and of `connectionString`.
//!
//! Takes the places of a file's parts or, where it could not be read, its text.
//! Gives byte ranges; the keys themselves are not among them.
//!
//! Because a broken file may be broken exactly inside a secret, everything from the first such key on is concealed
//! there, up to a line that clearly begins another field of a stack at the same or a lesser indentation.

use std::ops::Range;

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

fn scalars(node: &Node, ranges: &mut Vec<Range<usize>>) {
    let mut open = vec![node];
    while let Some(node) = open.pop() {
        match &node.shape {
            Shape::Scalar => ranges.push(node.at.start..node.at.end),
            Shape::List(items) => open.extend(items),
            Shape::Map(entries) => open.extend(entries.iter().map(|(_, child)| child)),
        }
    }
}

/// The ranges of a file that could not be read.
pub fn of_text(text: &str) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut concealing: Option<(usize, usize)> = None;
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let indent = indentation(line);
        if let Some((from, base)) = concealing
            // A secret at the margin has no lesser indentation to end it.
            && base > 0
            && indent <= base
            && begins_known_field(line)
        {
            ranges.push(from..offset);
            concealing = None;
        }
        if concealing.is_none()
            && let Some(end) = SECRET_KEYS.iter().filter_map(|key| Some(line.find(key)? + key.len())).min()
        {
            concealing = Some((offset + end, indent));
        }
        offset += line.len();
    }
    ranges.extend(concealing.map(|(from, _)| from..text.len()));
    ranges
}

/// Columns before the line's first key; the dash of a list counts, as in YAML.
fn indentation(line: &str) -> usize {
    line.len() - line.trim_start_matches([' ', '\t', '-']).len()
}

/// Fields that commonly follow in a stack file. A short list errs on the side of concealing too much.
const FIELDS: [&str; 22] = [
    "@type",
    "command",
    "constraints",
    "description",
    "entrypoint",
    "healthCheck",
    "image",
    "itemListElement",
    "labels",
    "name",
    "network",
    "placement",
    "ports",
    "position",
    "potentialAction",
    "replicas",
    "requirements",
    "resources",
    "softwareRequirements",
    "targetHost",
    "volumeMounts",
    "volumes",
];

fn begins_known_field(line: &str) -> bool {
    let Some((key, _)) = line.split_once(':') else {
        return false;
    };
    let key = key.trim_matches([' ', '\t', '-', '"', '\'', '{']);
    FIELDS.contains(&key)
}

#[cfg(test)]
mod tests {
    use super::of_text;

    #[test]
    fn a_broken_file_shows_no_value_of_a_variable() {
        let text = "name: a\nitemListElement:\n  - name: x\n    environment:\n      A: \"hunter2\n  B: hunter3\n    image: y\nz: [";
        let ranges = of_text(text);
        assert_eq!(ranges.len(), 1);
        let hidden = &text[ranges[0].clone()];
        assert!(hidden.contains("hunter2") && hidden.contains("hunter3") && !hidden.contains("image"));
    }

    #[test]
    fn a_broken_file_on_one_line_is_concealed_to_its_end() {
        let text = "{\"environment\": {\"A\": \"hunter2\"}, \"name\": ";
        let ranges = of_text(text);
        assert_eq!(ranges, [14..text.len()]);
    }
}
