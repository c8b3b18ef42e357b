//! A repository for a test, and the steps of its story.

use std::path::{Path, PathBuf};
use std::process::Command;

use bayplan::name::Revision;
use bayplan::source::{self, Source};
use tempfile::TempDir;

pub struct Repo {
    pub home: TempDir,
    pub path: PathBuf,
}

impl Repo {
    /// A repository with a work tree, on the unborn branch `main`.
    pub fn new() -> Self {
        let repo = Self::empty();
        repo.git(&["init", "--quiet", "--initial-branch=main", "."]);
        repo
    }

    pub fn bare() -> Self {
        let repo = Self::empty();
        repo.git(&["init", "--quiet", "--bare", "--initial-branch=main", "."]);
        repo
    }

    pub fn clone_of(other: &Self) -> Self {
        let repo = Self::empty();
        repo.git(&["clone", "--quiet", &other.url(), "."]);
        repo.git(&["checkout", "--quiet", "-B", "main"]);
        repo
    }

    fn empty() -> Self {
        let home = TempDir::new().expect("a temporary folder");
        let path = home.path().join("fleet");
        std::fs::create_dir(&path).expect("a folder");
        Self { home, path }
    }

    pub fn url(&self) -> String {
        format!("file://{}", self.path.display())
    }

    /// Runs `git` here and gives what it says.
    pub fn git(&self, arguments: &[&str]) -> String {
        let output = self.try_git(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "git {arguments:?}: {stderr}");
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    pub fn try_git(&self, arguments: &[&str]) -> std::process::Output {
        Command::new("git")
            .args(arguments)
            .current_dir(&self.path)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home.path())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ALLOW_PROTOCOL", "file")
            .envs(["GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"].map(|name| (name, "Tester")))
            .envs(["GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"].map(|name| (name, "tester@localhost")))
            .output()
            .expect("git runs")
    }

    pub fn write(&self, path: &str, text: &str) {
        let path = self.path.join(path);
        std::fs::create_dir_all(path.parent().expect("a folder above")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    }

    /// Commits all that is in the work tree.
    pub fn commit(&self, message: &str) -> Revision {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message", message]);
        self.at("HEAD")
    }

    /// Writes one file and commits.
    pub fn change(&self, path: &str, text: &str) -> Revision {
        self.write(path, text);
        self.commit(&format!("change {path}"))
    }

    pub fn at(&self, name: &str) -> Revision {
        Revision::new(&self.git(&["rev-parse", name])).expect("a commit id")
    }

    /// Opens it in place.
    pub async fn source(&self) -> Source {
        open(&self.path).await
    }

    pub fn cache(&self) -> PathBuf {
        self.home.path().join("cache")
    }
}

pub async fn open(path: &Path) -> Source {
    let location = path.to_str().expect("a plain path");
    source::open(location, None, &path.join("no-cache")).await.expect("a repository")
}
