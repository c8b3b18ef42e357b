//! `explain` and the what-ifs of `plan`, as a person calls them: compared whole with files in `tests/whatif/`.
//!
//! `BLESS=1 cargo test --test whatif` writes the files anew; look at the difference before committing it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// Three hosts of different sizes in two datacenters, and a shop that only some of them can take.
const FILES: [(&str, &str); 5] = [
    (
        "hosts/host-1.yaml",
        "name: host-1\nipAddress: 10.0.0.1\ncpu: 4\nmemory: 8Gi\ndatacenter: fsn1\nlabels: {disk: ssd}\n",
    ),
    ("hosts/host-2.yaml", "name: host-2\nipAddress: 10.0.0.2\ncpu: 4\nmemory: 16Gi\ndatacenter: fsn1\n"),
    (
        "hosts/host-3.yaml",
        "name: host-3\nipAddress: 10.0.0.3\ncpu: 8\nmemory: 16Gi\ndatacenter: nbg1\nstatus: maintenance\n",
    ),
    (
        "stacks/shop.yaml",
        "name: shop\nplacement: auto\nitemListElement:\n  - name: db\n    position: 1\n    image: db:1\n    \
         resources: {cpu: 2, memory: 4Gi}\n    constraints: {labels: {disk: ssd}}\n    \
         volumeMounts: [{source: data, target: /data}]\n  - name: web\n    position: 2\n    image: web:1\n    replicas: 2\n    \
         ports: [{containerPort: 80, hostPort: 80}]\n    requirements: [db]\n",
    ),
    (
        "stacks/large.yaml",
        "name: large\nplacement: spread\nitemListElement:\n  - name: batch\n    position: 1\n    image: batch:1\n    \
         resources: {cpu: 6}\n",
    ),
];

fn git(folder: &Path, arguments: &[&str]) {
    let mut command = Command::new("git");
    command.args(arguments).current_dir(folder).env_clear().stdin(Stdio::null());
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", folder);
    command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
    for role in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{role}_NAME"), "T").env(format!("GIT_{role}_EMAIL"), "t@localhost");
        // The commit's id is part of what is shown.
        command.env(format!("GIT_{role}_DATE"), "2026-01-02T03:04:05Z");
    }
    let output = command.output().expect("git runs");
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn repository() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (path, text) in FILES {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }
    git(folder.path(), &["init", "--quiet", "--initial-branch=main"]);
    git(folder.path(), &["add", "--all"]);
    git(folder.path(), &["commit", "--quiet", "--message", "First"]);
    folder
}

fn bayplan(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bayplan"));
    command.args(arguments).current_dir(folder).env_clear().stdin(Stdio::null());
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", folder);
    command.output().expect("the program runs")
}

/// Compares what is said with the golden file, or writes it.
fn check(folder: &Path, golden: &str, arguments: &[&str], code: i32) {
    let output = bayplan(folder, arguments);
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{said}");
    let path = format!("tests/whatif/{golden}");
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, said).expect("the golden file is written");
        return;
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(said, golden, "\n{path} differs; BLESS=1 accepts what is shown now:\n{said}");
}

fn refused(folder: &Path, arguments: &[&str], words: &[&str]) {
    let output = bayplan(folder, arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}\n{said}");
    assert!(words.iter().all(|words| said.contains(words)), "{arguments:?} does not say {words:?}:\n{said}");
}

#[test]
fn every_host_says_what_speaks_for_and_against_it() {
    let repository = repository();
    let folder = repository.path();
    check(folder, "explain-stack.txt", &["explain", "shop"], 0);
    check(folder, "explain-held.txt", &["explain", "large/batch"], 0);
    check(folder, "explain-host.json", &["explain", "shop/web-2", "--host", "host-2", "--format", "json"], 0);
    refused(folder, &["explain", "shup"], &["there is no stack shup", "did you mean `shop`?"]);
    refused(folder, &["explain", "shop/wob"], &["means no instance", "did you mean `web`?"]);
    refused(folder, &["explain", "shop", "--host", "host-9"], &["no host host-9", "did you mean `host-1`?"]);
    refused(folder, &["explain", "shop", "--rev", "nowhere"], &["`nowhere` names no commit here"]);
}

#[test]
fn what_if_a_host_were_gone_or_new() {
    let repository = repository();
    let folder = repository.path();
    check(folder, "without.txt", &["plan", "--without", "host-1"], 5);
    check(folder, "drain.txt", &["plan", "--drain", "datacenter=fsn1"], 5);
    fs::write(folder.join("large.yaml"), "name: large\nipAddress: 10.0.0.9\ncpu: 64\n").expect("a file");
    check(folder, "add-host.txt", &["plan", "--add-host", "large.yaml"], 0);
    fs::write(folder.join("wrong.yaml"), "name: large\nipAddres: 10.0.0.9\n").expect("a file");
    let wrong = bayplan(folder, &["plan", "--add-host", "wrong.yaml"]);
    let said = String::from_utf8_lossy(&wrong.stdout).into_owned();
    assert_eq!(wrong.status.code(), Some(1), "{said}");
    assert!(said.contains("hosts/wrong.yaml:2:1") && said.contains("did you mean `ipAddress`?"), "{said}");
    refused(folder, &["plan", "--without", "host-9"], &["no host host-9", "did you mean `host-1`?"]);
    refused(folder, &["plan", "--without", "elsewhere"], &["no host elsewhere", "there is host-1, host-2, host-3"]);
    let both = bayplan(folder, &["plan", "--without", "host-1", "--drain", "datacenter=fsn1"]);
    let said = String::from_utf8_lossy(&both.stdout).into_owned();
    assert!(!said.contains("host-1 is draining"), "what is gone is not there to be emptied: {said}");
    fs::create_dir_all(folder.join("more")).expect("a folder");
    fs::write(folder.join("more/large.yaml"), "name: other\nipAddress: 10.0.0.8\n").expect("a file");
    let twice = ["plan", "--add-host", "large.yaml", "--add-host", "more/large.yaml"];
    refused(folder, &twice, &["more/large.yaml: two files of one name"]);
    refused(folder, &["plan", "--drain", "datacenter=ams1"], &["no host is in datacenter ams1", "fsn1, nbg1"]);
    refused(folder, &["plan", "--drain", "zone=1"], &["a host, or `datacenter=NAME`"]);
    refused(folder, &["plan", "--add-host", "nowhere.yaml"], &["cannot be read"]);
}

#[test]
fn the_loss_of_any_one_host_is_survived_or_not() {
    let repository = repository();
    let folder = repository.path();
    check(folder, "survives-no.txt", &["plan", "--survives"], 4);
    check(folder, "survives-no.md", &["plan", "--survives", "--format", "markdown"], 4);
    check(folder, "survives-no.json", &["plan", "--survives", "--format", "json"], 4);
    let web = "name: shop\nplacement: auto\nitemListElement: [{name: web, position: 1, image: 'web:1'}]\n";
    fs::write(folder.join("stacks/shop.yaml"), web).expect("a file");
    fs::remove_file(folder.join("stacks/large.yaml")).expect("it was there");
    git(folder, &["add", "--all"]);
    git(folder, &["commit", "--quiet", "--message", "Without data"]);
    check(folder, "survives-yes.txt", &["plan", "--survives"], 0);
}
