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

/// A stack with everything that EVE's format has, as its own writer would save it: empty texts for what is absent.
const EVE: &str = r#"{
  "@context": "https://schema.org", "@type": "ItemList", "name": "Ticket Desk",
  "network": {"name": "", "driver": ""},
  "volumes": [{"name": "desk-data", "driver": "local", "createIfNotExists": true}],
  "itemListElement": [
    {"@type": "SoftwareApplication", "position": 1, "name": "db", "applicationCategory": "DatabaseApplication",
     "softwareVersion": "17", "image": "postgres:17", "environment": {"POSTGRES_PASSWORD": "hunter2"},
     "ports": [{"containerPort": 5432, "hostPort": 5432, "protocol": "tcp"}],
     "volumeMounts": [{"source": "desk-data", "target": "/var/lib/postgresql/data", "type": "volume", "readOnly": false},
                      {"source": "", "target": "/scratch", "type": "tmpfs"}],
     "healthCheck": {"type": "command", "command": ["pg_isready"], "interval": 10, "timeout": 5, "retries": 3, "startPeriod": 10}},
    {"@type": "SoftwareApplication", "position": 2, "name": "desk", "image": "registry.example:5000/desk:1",
     "requirements": ["db"], "softwareRequirements": [{"@type": "SoftwareApplication", "name": "db", "waitForHealthy": false}],
     "command": ["serve"], "healthCheck": {"type": ""},
     "potentialAction": [{"@type": "Action", "name": "Migrate", "actionType": "migration", "target": "",
                          "command": ["migrate"], "timeout": 0, "workingDirectory": "/app"}]}
  ]
}"#;

#[test]
fn a_stack_of_eve_is_valid_unchanged() {
    let mut repository = Repository::default();
    repository.add("stacks/desk.jsonld", EVE.to_owned());
    let (desired, report) = repository.validate();
    assert!(report.is_empty(), "{}", human::render(&report, &repository.texts(), Colour::Plain));
    let stack = desired.stacks.values().next().expect("the stack");
    assert_eq!((stack.name.slug().as_str(), stack.network.name.as_str()), ("ticket-desk", "ticket-desk"));
    assert_eq!(stack.services[1].requirements.len(), 1);
    assert!(stack.services[1].health.is_none() && stack.services[0].health.is_some());
}

#[test]
fn a_file_says_the_same_in_yaml_and_in_json() {
    let one = |path: &str, text: String| {
        let mut repository = Repository::read(&folder("example-repo"));
        repository.files.retain(|file| file.path.starts_with("hosts/"));
        repository.add(path, text);
        let (desired, report) = repository.validate();
        assert!(report.is_empty(), "{report:?}");
        desired.stacks.values().next().expect("the stack").content.clone()
    };
    let yaml = fs::read_to_string(folder("example-repo/stacks/distributed-app.yaml")).expect("readable");
    let value: serde_json::Value = serde_yaml::from_str(&yaml).expect("YAML");
    let json = serde_json::to_string(&value).expect("JSON");
    let tabbed = serde_json::to_string_pretty(&value).expect("JSON").replace("  ", "\t");
    assert_eq!(one("stacks/a.yaml", yaml.clone()), one("stacks/a.json", json));
    assert_eq!(one("stacks/a.yaml", yaml), one("stacks/a.json", tabbed));
}

#[test]
fn a_reference_by_id_becomes_the_name_and_the_order_of_files_does_not_matter() {
    let mut repository = Repository::default();
    repository.add("hosts/a.yaml", "{'@id': 'urn:host:a', name: a, ipAddress: 10.0.0.1}".to_owned());
    repository.add(
        "stacks/s.yaml",
        "{name: s, targetHost: 'urn:host:a', itemListElement: [{position: 1, name: web, image: web}]}".to_owned(),
    );
    let (desired, report) = repository.validate();
    assert!(report.is_empty(), "{report:?}");
    let stack = desired.stacks.values().next().expect("the stack");
    assert_eq!(stack.target_host.as_ref().map(|host| host.as_str()), Some("a"));
    repository.files.reverse();
    assert_eq!(repository.validate(), (desired, report));
}

#[test]
fn a_file_that_yields_no_name_is_told_from_a_wrong_stack_and_from_no_stack() {
    let outcome = |text: &str| {
        let mut repository = Repository::default();
        repository.add("stacks/s.yaml", text.to_owned());
        repository.add("stacks/notes.txt", "not read".to_owned());
        let (desired, _) = repository.validate();
        (desired.stacks.len(), desired.wrong.len(), desired.nameless.len())
    };
    assert_eq!(outcome("{name: s, itemListElement: [{position: 1, name: a, image: b}]}"), (1, 0, 0));
    assert_eq!(outcome("{name: s, itemListElement: [{position: 1, name: a, image: B}]}"), (0, 1, 0));
    assert_eq!(outcome("{name: s, itemListElement: 3}"), (0, 1, 0));
    assert_eq!(outcome("{name: s, name: t, itemListElement: []}"), (0, 0, 1));
    assert_eq!(outcome("{ not json"), (0, 0, 1));
    assert_eq!(outcome("- a list"), (0, 0, 1));
}
