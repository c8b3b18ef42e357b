//! Whatever is done to the example files, nothing panics, and what is rendered holds only whole characters.
//!
//! 10,000 mutated repositories: bytes are changed, lines are moved, and values are put where others were.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use bayplan::diagnostic::human::{self, Colour};
use bayplan::diagnostic::{Texts, github, json, sarif};
use bayplan::files::SourceFile;
use bayplan::model::policy::Policy;
use bayplan::validate::{self, CheckedFile};
use proptest::prelude::{Strategy, any, prop_oneof};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

const PATHS: [&str; 5] =
    ["hosts/host-1.yaml", "hosts/host-2.yaml", "hosts/host-3.yaml", "stacks/distributed-app.yaml", "stacks/shop.yaml"];

/// One change to a text; numbers are taken modulo its length.
#[derive(Debug, Clone)]
enum Mutation {
    Insert(usize, String),
    Delete(usize, usize),
    MoveLine(usize, usize),
    DoubleLine(usize),
    Indent(usize, usize),
    /// Replaces what follows the colon of a line.
    Value(usize, String),
}

const SCRAPS: [&str; 30] = [
    "{",
    "}",
    "[",
    "]",
    "\"",
    "'",
    ": ",
    "- ",
    "&a ",
    "*a",
    "!!int ",
    "<<: ",
    "|\n",
    ">\n",
    "---\n",
    "...\n",
    "#",
    "\t",
    "\r\n",
    "\u{feff}",
    "é😀",
    "\0",
    "null",
    "~",
    ".nan",
    "-1",
    "1e999",
    "18446744073709551616",
    "%YAML 1.1\n",
    "",
];

fn mutation() -> impl Strategy<Value = Mutation> {
    let n = any::<usize>;
    let scrap = || prop_oneof![proptest::sample::select(SCRAPS.to_vec()).prop_map(str::to_owned), ".{0,6}"];
    prop_oneof![
        (n(), scrap()).prop_map(|(at, text)| Mutation::Insert(at, text)),
        (n(), 0..40_usize).prop_map(|(at, count)| Mutation::Delete(at, count)),
        (n(), n()).prop_map(|(from, to)| Mutation::MoveLine(from, to)),
        n().prop_map(Mutation::DoubleLine),
        (n(), 0..9_usize).prop_map(|(at, depth)| Mutation::Indent(at, depth)),
        (n(), scrap()).prop_map(|(at, text)| Mutation::Value(at, text)),
    ]
}

fn apply(text: &mut String, mutation: &Mutation) {
    let boundary = |text: &str, at: usize| {
        let mut at = at % (text.len() + 1);
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    match mutation {
        Mutation::Insert(at, scrap) => text.insert_str(boundary(text, *at), scrap),
        Mutation::Delete(at, count) => {
            let start = boundary(text, *at);
            let end = start + text[start..].chars().take(*count).map(char::len_utf8).sum::<usize>();
            text.replace_range(start..end, "");
        }
        Mutation::MoveLine(..) | Mutation::DoubleLine(_) | Mutation::Indent(..) | Mutation::Value(..) => {
            let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
            if lines.is_empty() {
                return;
            }
            let count = lines.len();
            match mutation {
                Mutation::MoveLine(from, to) => {
                    let line = lines.remove(from % count);
                    lines.insert(to % count, line);
                }
                Mutation::DoubleLine(at) => lines.insert(at % count, lines[at % count].clone()),
                Mutation::Indent(at, depth) => {
                    let line = &mut lines[at % count];
                    *line = format!("{}{}", " ".repeat(*depth), line.trim_start_matches(' '));
                }
                Mutation::Value(at, value) => {
                    let line = &mut lines[at % count];
                    if let Some((key, _)) = line.split_once(':') {
                        *line = format!("{key}: {value}\n");
                    }
                }
                Mutation::Insert(..) | Mutation::Delete(..) => {}
            }
            *text = lines.concat();
        }
    }
}

/// The example files, and what is known of them before anything is changed.
struct Examples {
    files: Vec<SourceFile>,
    checked: Vec<Arc<CheckedFile>>,
}

fn examples() -> Examples {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("example-repo");
    let file = |path: &str| SourceFile {
        path: path.into(),
        blob: "".into(),
        text: fs::read_to_string(root.join(path)).expect("an example").into(),
    };
    let files: Vec<_> = PATHS.iter().map(|path| file(path)).collect();
    let checked = files.iter().map(|file| Arc::new(validate::check(file, &Policy::default()))).collect();
    Examples { files, checked }
}

fn check(examples: &Examples, as_json: bool, changed: usize, mutations: &[Mutation]) -> Result<(), TestCaseError> {
    let changed = changed % PATHS.len();
    let original = &examples.files[changed];
    let (mut path, mut text) = (original.path.to_string(), original.text.to_string());
    if as_json {
        let value: serde_json::Value = serde_yaml::from_str(&text).expect("an example is YAML");
        text = serde_json::to_string_pretty(&value).expect("JSON");
        path = path.replace(".yaml", ".json");
    }
    mutations.iter().for_each(|mutation| apply(&mut text, mutation));
    let file = SourceFile { path: path.into(), blob: "".into(), text: text.into() };
    let mut checked = examples.checked.clone();
    checked[changed] = Arc::new(validate::check(&file, &Policy::default()));
    let mut texts: Texts = examples.files.iter().map(|file| (file.path.clone(), file.text.clone())).collect();
    texts.insert(file.path.clone(), file.text.clone());
    let (desired, report) = validate::validate(&checked);
    let secret = "example-only";
    let rendered = human::render(&report, &texts, Colour::Ansi);
    proptest::prop_assert!(!rendered.contains(secret), "a secret is shown:\n{rendered}");
    for rendered in [json::render(&report), github::render(&report), sarif::render(&report)] {
        proptest::prop_assert!(!rendered.contains(secret), "a secret is shown:\n{rendered}");
    }
    let stacks = desired.stacks.len() + desired.wrong.len() + desired.nameless.len();
    proptest::prop_assert!(stacks >= 1, "a wrong file is not an absent one");
    Ok(())
}

#[test]
fn ten_thousand_mutations_of_the_examples_never_panic_and_show_no_secret() {
    let examples = examples();
    let config = Config { cases: 10_000, failure_persistence: None, ..Config::default() };
    // One seed, so that a failure is the same failure tomorrow.
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let mutations = proptest::collection::vec(mutation(), 1..6);
    runner
        .run(&(any::<bool>(), any::<usize>(), mutations), |(as_json, changed, mutations)| {
            check(&examples, as_json, changed, &mutations)
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
}
