//! Holds the house rules that a machine can check: floors, contracts, pure floors, sizes, the top level.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Modules in the order of `lib.rs`, each with its floor.
fn floors() -> Vec<(String, u32)> {
    let mut floor = None;
    let mut modules = Vec::new();
    for line in fs::read_to_string("src/lib.rs").expect("lib.rs").lines() {
        if let Some(rest) = line.strip_prefix("// floor ") {
            floor = rest.split(':').next().and_then(|n| n.parse().ok());
        } else if let Some(name) = line.strip_prefix("pub mod ").and_then(|rest| rest.strip_suffix(';')) {
            modules.push((name.to_owned(), floor.expect("a floor before the first module")));
        }
    }
    assert!(modules.len() > 15, "the floors of lib.rs were not understood");
    modules
}

fn rust_files(folder: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::from(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

fn module_of(path: &Path) -> String {
    let first = path.strip_prefix("src").expect("below src").components().next().expect("a name");
    first.as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned()
}

fn fail_with(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn a_module_imports_lower_floors_only_and_within_a_floor_only_what_is_listed_before_it() {
    let order: BTreeMap<String, usize> = floors().into_iter().enumerate().map(|(i, (name, _))| (name, i)).collect();
    let mut problems = Vec::new();
    for path in rust_files("src") {
        let module = module_of(&path);
        let Some(own) = order.get(&module) else { continue };
        for (number, line) in fs::read_to_string(&path).expect("a source file").lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for (at, _) in code.match_indices("crate::") {
                let name: String =
                    code[at + 7..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
                if order.get(&name).is_some_and(|other| other > own) {
                    problems.push(format!(
                        "{}:{}: {module} imports {name}, which is above it",
                        path.display(),
                        number + 1
                    ));
                }
            }
        }
    }
    fail_with(&problems);
}

#[test]
fn every_outside_library_lives_in_its_folder() {
    let homes: [(&str, &[&str]); 10] = [
        ("git2", &["source", "ledger"]),
        ("bollard", &["engine"]),
        ("notify", &["watch"]),
        ("jsonschema", &["parse"]),
        ("serde_yaml", &["parse"]),
        ("granit_parser", &["parse"]),
        ("annotate_snippets", &["diagnostic"]),
        ("clap", &["cli"]),
        ("axum", &["web"]),
        ("rustls_native_certs", &["forge"]),
    ];
    let mut problems = Vec::new();
    for path in rust_files("src") {
        let module = module_of(&path);
        let text = fs::read_to_string(&path).expect("a source file");
        // What a file tests with is not what it is made of.
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (library, modules) in homes {
            if text.contains(&format!("{library}::")) && !modules.contains(&module.as_str()) {
                problems.push(format!("{}: names {library}, which lives in {}", path.display(), modules.join(", ")));
            }
        }
    }
    fail_with(&problems);
}

#[test]
fn pure_floors_name_no_input_or_output() {
    let pure: Vec<String> = floors().into_iter().filter(|(_, floor)| *floor <= 2).map(|(name, _)| name).collect();
    let banned = [
        "tokio::",
        "std::fs",
        "std::env",
        "std::net::Tcp",
        "std::process",
        "SystemTime",
        "Instant::now",
        "HashMap",
        "HashSet",
        "async fn",
    ];
    let mut problems = Vec::new();
    for path in rust_files("src").into_iter().filter(|path| pure.contains(&module_of(path))) {
        let text = fs::read_to_string(&path).expect("a source file");
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for word in banned.iter().filter(|word| code.contains(**word)) {
                problems.push(format!("{}:{}: a pure floor names {word}", path.display(), number + 1));
            }
        }
    }
    fail_with(&problems);
}

#[test]
fn every_file_begins_with_its_contract_and_is_small_enough_to_like() {
    let mut problems = Vec::new();
    for path in rust_files("src").into_iter().chain(rust_files("tests")) {
        let text = fs::read_to_string(&path).expect("a source file");
        if !text.starts_with("//! ") {
            problems.push(format!("{}: does not begin with a contract (`//! …`)", path.display()));
        }
        let lines = text.split("#[cfg(test)]").next().unwrap_or_default().lines().count();
        if path.starts_with("src") && lines > 600 {
            problems.push(format!("{}: has {lines} lines; past 600 it is a design question", path.display()));
        }
        if path
            .file_name()
            .is_some_and(|name| ["mod.rs", "util.rs", "common.rs", "types.rs", "imp.rs"].iter().any(|n| name == *n))
        {
            problems.push(format!("{}: this name says nothing", path.display()));
        }
    }
    fail_with(&problems);
}

#[test]
fn the_top_level_holds_what_it_should() {
    let allowed = [
        "Cargo.toml",
        "Cargo.lock",
        "LICENSE",
        "README.md",
        "benches",
        "docs",
        "example-repo",
        "schemas",
        "src",
        "target",
        "tests",
    ];
    let mut problems = Vec::new();
    // What somebody puts beside the project without committing it is no part of it.
    let listed = std::process::Command::new("git").args(["ls-files", "--full-name", ":/"]).output();
    let tracked = listed.ok().filter(|listed| listed.status.success() && !listed.stdout.is_empty());
    let names: std::collections::BTreeSet<String> = match tracked {
        Some(listed) => {
            let paths = String::from_utf8(listed.stdout).expect("paths of text");
            paths.lines().map(|path| path.split('/').next().unwrap_or_default().to_owned()).collect()
        }
        None => {
            let entries = fs::read_dir(".").expect("the top level");
            entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
        }
    };
    for name in names {
        if !name.starts_with('.') && !allowed.contains(&name.as_str()) {
            problems.push(format!("{name}: does not belong at the top level"));
        }
    }
    fail_with(&problems);
}
