//! A watched repository for tests: a bare one that is pushed to, and a clone that people work in.
//!
//! Uses the `git` executable with an environment of its own, as people do.
#![allow(dead_code, reason = "each test binary compiles this file and uses a part of it")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

pub struct Repository {
    folder: TempDir,
}

impl Repository {
    /// An empty bare repository with the branch `main`, and its clone.
    pub fn new() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let repository = Self { folder };
        git(repository.folder.path(), &["init", "-q", "--bare", "-b", "main", "origin.git"]);
        git(repository.folder.path(), &["clone", "-q", "origin.git", "work"]);
        git(&repository.work(), &["checkout", "-q", "-B", "main"]);
        repository
    }

    pub fn bare(&self) -> PathBuf {
        self.folder.path().join("origin.git")
    }

    pub fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    pub fn cache(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    pub fn write(&self, path: &str, text: &str) -> &Self {
        let path = self.work().join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
        self
    }

    pub fn remove(&self, path: &str) -> &Self {
        fs::remove_file(self.work().join(path)).expect("a file to remove");
        self
    }

    /// Commits everything and pushes it; gives the commit's id.
    pub fn push(&self, message: &str) -> String {
        git(&self.work(), &["add", "-A"]);
        git(&self.work(), &["commit", "-q", "--allow-empty", "-m", message]);
        git(&self.work(), &["push", "-q", "origin", "main"]);
        git(&self.work(), &["rev-parse", "HEAD"]).trim().to_owned()
    }

    /// The newest commit of `main`.
    pub fn head(&self) -> String {
        git(&self.bare(), &["rev-parse", "main"]).trim().to_owned()
    }

    /// What the program says when it is called in the working copy, with an environment of its own.
    pub fn bayplan(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bayplan"));
        command.args(arguments).current_dir(self.work()).env_clear().stdin(Stdio::null());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", self.cache());
        command.output().expect("the program runs")
    }

    /// A file of the ledger, as it is now.
    pub fn ledger(&self, path: &str) -> String {
        git(&self.bare(), &["show", &format!("bayplan/status:{path}")])
    }

    /// Subjects of the ledger's commits, newest first.
    pub fn ledger_log(&self) -> Vec<String> {
        git(&self.bare(), &["log", "--format=%s", "bayplan/status"]).lines().map(str::to_owned).collect()
    }
}

/// Runs git and gives what it printed.
pub fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=Tester", "-c", "user.email=tester@example.org"])
        .args(arguments)
        .current_dir(folder)
        .env_remove("GIT_DIR")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .expect("git can be run");
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("git prints text")
}
