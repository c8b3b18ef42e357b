//! The program as a person calls it: answers, exit codes, and the commands that the README names.
//!
//! Never asks a host: what needs engines is tested elsewhere.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

const STACK: &str = "name: shop\nplacement: manual\nitemListElement:\n  - position: 1\n    name: web\n    image: web:1\n    \
                     targetHost: host-1\n";
const HOST: &str = "name: host-1\nipAddress: 10.0.0.1\n";

fn bayplan(arguments: &[&str], folder: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bayplan"));
    command.args(arguments).current_dir(folder).env_clear().stdin(Stdio::null());
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", folder);
    command.output().expect("the program runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn check(arguments: &[&str], folder: &Path, code: i32, said: &[&str]) -> String {
    let output = bayplan(arguments, folder);
    let all = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{all}");
    for words in said {
        assert!(all.contains(words), "{arguments:?} does not say {words:?}:\n{all}");
    }
    text(&output.stdout)
}

fn git(folder: &Path, arguments: &[&str]) {
    let mut command = Command::new("git");
    command.args(arguments).current_dir(folder).env_clear().stdin(Stdio::null());
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", folder);
    command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
    for role in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{role}_NAME"), "T").env(format!("GIT_{role}_EMAIL"), "t@localhost");
    }
    let output = command.output().expect("git runs");
    assert!(output.status.success(), "git {arguments:?}: {}", text(&output.stderr));
}

/// A repository with one stack on one host that is planned for and never connected to.
fn repository(stack: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "hosts/host-1.yaml", HOST);
    write(folder.path(), "stacks/shop.yaml", stack);
    git(folder.path(), &["init", "--quiet", "--initial-branch=main"]);
    git(folder.path(), &["add", "--all"]);
    git(folder.path(), &["commit", "--quiet", "--message", "First"]);
    folder
}

fn write(folder: &Path, path: &str, content: &str) {
    let path = folder.join(path);
    fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    fs::write(path, content).expect("written");
}

#[test]
fn right_files_are_said_to_be_right_and_wrong_ones_end_with_1_in_every_format() {
    let right = repository(STACK);
    check(&["validate"], right.path(), 0, &["all right: 1 stack, 1 host"]);
    let wrong = repository(&STACK.replace("image:", "imago:"));
    check(&["validate"], wrong.path(), 1, &["stacks/shop.yaml:6:5", "did you mean `image`?"]);
    check(&["validate", "--format", "github"], wrong.path(), 1, &["::error file=stacks/shop.yaml,line=6"]);
    for format in ["json", "sarif"] {
        let said = check(&["validate", "--format", format], wrong.path(), 1, &[]);
        serde_json::from_str::<Value>(&said).expect("JSON");
    }
}

#[test]
fn an_offline_plan_needs_git_alone_and_says_what_is_not_committed() {
    let folder = repository(STACK);
    write(folder.path(), "stacks/other.yaml", STACK);
    check(&["plan", "--offline"], folder.path(), 0, &["+ create  web-1  host-1", "stacks/other.yaml", "not committed"]);
    check(&["plan", "--offline", "--exit-code"], folder.path(), 4, &["1 to create"]);
    let said = check(&["plan", "--offline", "--format", "json"], folder.path(), 0, &[]);
    let plan: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(plan["version"], 1);
    assert_eq!(plan["hostMapping"]["shop"]["web"], "host-1");
    assert_eq!(plan["changes"][0]["cause"]["at"]["line"], 5);
}

#[test]
fn a_plan_of_wrong_files_ends_with_1_and_apply_touches_nothing() {
    let folder = repository("{ not json");
    check(&["plan", "--offline"], folder.path(), 1, &["stacks/shop.yaml:"]);
    check(&["apply"], folder.path(), 1, &["nothing was touched"]);
    assert!(!folder.path().join(".git/refs/heads/bayplan/status").exists());
}

#[test]
fn a_stack_that_needs_a_host_without_an_endpoint_is_held() {
    let folder = repository(STACK);
    check(&["apply"], folder.path(), 5, &["held (host-without-endpoint)", "write an `endpoint`"]);
    check(&["status"], folder.path(), 0, &["shop  held"]);
    check(&["hosts"], folder.path(), 0, &["host-1  10.0.0.1", "no endpoint"]);
}

#[test]
fn what_cannot_be_meant_ends_with_2() {
    let folder = repository(STACK);
    let nowhere = tempfile::tempdir().expect("a folder");
    check(&["plan", "--offline"], nowhere.path(), 2, &["is not in a Git repository"]);
    check(&["plan", "--branch", "-x"], folder.path(), 2, &[]);
    check(&["plan", "--format", "sarif"], folder.path(), 2, &["for `bayplan validate`"]);
    check(&["demo", "--format", "json"], folder.path(), 2, &["is told to people"]);
    check(&["apply", "--allow-removal", "12"], folder.path(), 2, &["--allow-removal: `12` is not 64"]);
    check(&["logs", "nothing"], folder.path(), 2, &["there is no stack nothing"]);
    check(&["frobnicate"], folder.path(), 2, &["unrecognized subcommand"]);
    check(&["plan", "--config", "missing.yaml"], folder.path(), 2, &["missing.yaml cannot be read"]);
    write(folder.path(), "config.yaml", "pol: 1\n");
    check(&["plan", "--config", "config.yaml"], folder.path(), 2, &["config.yaml:1:1"]);
}

#[test]
fn what_init_writes_is_right() {
    let folder = tempfile::tempdir().expect("a folder");
    check(&["init", "fleet"], folder.path(), 0, &["wrote hosts/host-1.yaml"]);
    check(&["validate", "fleet"], folder.path(), 0, &["all right: 1 stack, 1 host"]);
    check(&["init", "fleet"], folder.path(), 0, &["left as it is: hosts/host-1.yaml"]);
    fs::remove_file(folder.path().join("fleet/hosts/host-1.yaml")).expect("it was there");
    let said = check(&["init", "fleet", "--format", "json"], folder.path(), 0, &[]);
    let said: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(said["files"][0], serde_json::json!({"path": "hosts/host-1.yaml", "written": true}), "{said}");
    assert_eq!(said["files"][1], serde_json::json!({"path": "stacks/hello.yaml", "written": false}), "{said}");
}

#[test]
fn every_schema_is_printed() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["stack", "host", "status", "config"] {
        let schema: Value = serde_json::from_str(&check(&["schema", name], folder.path(), 0, &[])).expect("JSON");
        assert!(schema["$schema"].is_string(), "{name}");
    }
}

#[test]
fn the_demo_shows_three_pushes_and_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let said = check(&["demo", "--without-docker"], folder.path(), 0, &["it was asked for"]);
    let in_order = [
        "1. A first push",
        "Plan: 3 to create",
        "shop is running",
        "2. A push that moves a service",
        "> move     store-1  host-1 -> host-2",
        "3. A push that is wrong",
        "error[unknown-host]",
        "held (wrong-at-head)",
        "Cleaning up",
    ];
    let mut rest = said.as_str();
    for words in in_order {
        let Some((_, after)) = rest.split_once(words) else {
            panic!("the demo does not say {words:?} where it should:\n{said}");
        };
        rest = after;
    }
    let made = said.split_whitespace().find(|word| word.ends_with("fleet.git;")).expect("the repository is named");
    assert!(!Path::new(made.trim_end_matches(';')).exists());
}

#[test]
fn the_readme_names_commands_and_options_that_exist() {
    let readme = fs::read_to_string("README.md").expect("the README");
    let folder = tempfile::tempdir().expect("a folder");
    let mut seen = 0;
    for line in readme.split(['`', '\n']).filter_map(|part| part.strip_prefix("bayplan ")) {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let Some(command) = words.next() else { continue };
        let help = check(&[command, "--help"], folder.path(), 0, &[]);
        for option in words.filter(|word| word.starts_with("--")) {
            assert!(help.contains(option), "`bayplan {line}`: {command} has no {option}");
        }
        seen += 1;
    }
    assert!(seen > 10, "the README was not understood");
}

#[test]
fn the_files_that_the_readme_shows_are_right() {
    let readme = fs::read_to_string("README.md").expect("the README");
    let blocks: Vec<&str> =
        readme.split("```yaml\n").skip(1).filter_map(|rest| Some(rest.split_once("```")?.0)).collect();
    let [host, config, stack, others @ ..] = blocks.as_slice() else {
        panic!("the README shows a host, a configuration, a stack, and more configuration")
    };
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "hosts/host.yaml", host);
    write(folder.path(), "stacks/stack.yaml", stack);
    for config in [config].into_iter().chain(others) {
        write(folder.path(), "config.yaml", config);
        check(&["plan", "--offline", "--config", "config.yaml"], folder.path(), 2, &["Git repository"]);
        check(&["validate", "--config", "config.yaml"], folder.path(), 0, &["all right: 1 stack, 1 host"]);
    }
}
