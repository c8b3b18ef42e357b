//! Every kind of finding has a golden file: a small repository in, the rendered report out.
//!
//! `tests/diagnostics/<code>/` holds `stacks/` and `hosts/`, and `.out`, the report as people see it. `BLESS=1` writes
//! the `.out` files anew. `case` (optional) holds lines for what a folder of files cannot show:
//! `submodule PATH`, `symlink PATH`, `binary PATH`, `many COUNT`, `large PATH BYTES`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bayplan::diagnostic::code::Code;
use bayplan::diagnostic::human::{self, Colour};
use bayplan::diagnostic::{Report, Texts, github, json, sarif};
use bayplan::files::SourceFile;
use bayplan::model::desired::Desired;
use bayplan::model::policy::Policy;
use bayplan::parse::{self, Refused};
use bayplan::validate::{self, CheckedFile};

/// A repository as a test writes it.
#[derive(Default)]
struct Repository {
    files: Vec<SourceFile>,
    refused: Vec<(Arc<str>, Refused)>,
    count: Option<usize>,
}

impl Repository {
    fn read(root: &Path) -> Self {
        let mut repository = Self::default();
        let mut open = vec![root.to_owned()];
        let mut paths: Vec<PathBuf> = Vec::new();
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(&folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                if path.is_dir() { open.push(path) } else { paths.push(path) }
            }
        }
        paths.sort();
        for path in paths {
            let name = path.strip_prefix(root).expect("below the root").to_str().expect("UTF-8");
            match name {
                ".out" => {}
                "case" => repository.case(&fs::read_to_string(&path).expect("readable")),
                name => repository.add(name, fs::read_to_string(&path).expect("readable")),
            }
        }
        repository
    }

    fn add(&mut self, path: &str, text: String) {
        self.files.push(SourceFile { path: path.into(), blob: "".into(), text: text.into() });
    }

    fn case(&mut self, text: &str) {
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["submodule", path] => self.refused.push((path.into(), Refused::Submodule)),
                ["symlink", path] => self.refused.push((path.into(), Refused::Symlink)),
                ["binary", path] => self.refused.push((path.into(), Refused::NotText)),
                ["many", count] => self.count = Some(count.parse().expect("a count")),
                ["large", path, bytes] => self.add(path, "#".repeat(bytes.parse().expect("a size"))),
                _ => panic!("{line:?} is not a line of a case"),
            }
        }
    }

    fn validate(&self) -> (Desired, Report) {
        if let Some(count) = self.count {
            return validate::too_many(count);
        }
        let policy = Policy::default();
        let checked = self.files.iter().map(|file| validate::check(file, &policy));
        let refused = self.refused.iter().map(|(path, why)| CheckedFile::refused(path, *why));
        let files: Vec<_> = checked.chain(refused).map(Arc::new).collect();
        validate::validate(&files)
    }

    fn texts(&self) -> Texts {
        self.files.iter().map(|file| (file.path.clone(), file.text.clone())).collect()
    }
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

#[test]
fn the_example_repository_is_clean() {
    let repository = Repository::read(&folder("example-repo"));
    let (desired, report) = repository.validate();
    assert!(report.is_empty(), "{}", human::render(&report, &repository.texts(), Colour::Plain));
    assert_eq!((desired.stacks.len(), desired.inventory.hosts.len()), (2, 3));
    assert!(desired.wrong.is_empty() && desired.nameless.is_empty() && desired.inventory.wrong.is_empty());
}

#[test]
fn every_golden_report_is_as_it_was() {
    let bless = std::env::var_os("BLESS").is_some();
    let mut differing = Vec::new();
    let mut seen = BTreeSet::new();
    for entry in fs::read_dir(folder("tests/diagnostics")).expect("goldens") {
        let case = entry.expect("an entry").path();
        let name = case.file_name().and_then(|name| name.to_str()).expect("UTF-8").to_owned();
        let repository = Repository::read(&case);
        let (desired, report) = repository.validate();
        let rendered = human::render(&report, &repository.texts(), Colour::Plain);
        let found: BTreeSet<&str> = report.iter().map(|d| d.code.as_str()).collect();
        // `anchor` and `anchor--json` are two cases of one code.
        let code = name.split("--").next().expect("a name").to_owned();
        assert!(found.contains(code.as_str()), "{name} finds {found:?}:\n{rendered}");
        for text in [&rendered, &json::render(&report), &github::render(&report), &sarif::render(&report)] {
            assert!(!text.contains("hunter2"), "{name} shows a secret:\n{text}");
        }
        if report.has_errors() {
            let wrong = desired.wrong.len() + desired.nameless.len() + desired.inventory.wrong.len();
            assert!(wrong > 0, "{name}: an error leaves something wrong");
        }
        let golden = case.join(".out");
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        if bless {
            fs::write(&golden, &rendered).expect("writable");
        } else if expected != rendered {
            differing.push(format!("--- {name} was\n{expected}\n--- is\n{rendered}"));
        }
        seen.insert(code);
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
    let missing: Vec<_> = Code::ALL.iter().filter(|code| !seen.contains(code.as_str())).collect();
    assert!(missing.is_empty(), "no golden for {missing:?}");
}

#[test]
fn every_code_explains_itself() {
    let names: BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(names.len(), Code::ALL.len(), "names are unique");
    for code in Code::ALL {
        assert!(code.explanation().len() > 40, "{code}");
        let kebab = code.as_str().bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
        assert!(kebab, "{code}");
        assert_eq!(Code::parse(code.as_str()), Some(*code));
    }
    assert!(parse::schema("stack").is_some());
}
