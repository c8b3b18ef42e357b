//! The repositories of the demo, made and changed with the `git` executable as a person would.
//!
//! Never reads the user's Git configuration: a template, a hook or a signing key of theirs has no part in this.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::cli::trouble::Trouble;

/// A bare repository, as a server has it, and a clone, as a person has it.
#[derive(Debug, Clone)]
pub struct Repositories {
    home: PathBuf,
    pub bare: PathBuf,
    pub clone: PathBuf,
}

impl Repositories {
    /// Makes both below a folder.
    pub async fn make(folder: &Path) -> Result<Self, Trouble> {
        let made = Self { home: folder.to_owned(), bare: folder.join("fleet.git"), clone: folder.join("fleet") };
        made.git(folder, &["init", "--quiet", "--bare", "--initial-branch=main", "fleet.git"]).await?;
        made.git(folder, &["clone", "--quiet", "fleet.git", "fleet"]).await?;
        Ok(made)
    }

    /// Writes a file into the clone.
    pub fn write(&self, path: &str, text: &str) -> Result<(), Trouble> {
        let path = self.clone.join(path);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(Trouble::world)?;
        }
        std::fs::write(path, text).map_err(Trouble::world)
    }

    /// Commits all of the clone and pushes it. Gives the commit's id.
    pub async fn push(&self, message: &str) -> Result<String, Trouble> {
        self.git(&self.clone, &["add", "--all"]).await?;
        self.git(&self.clone, &["commit", "--quiet", "--message", message]).await?;
        let commit = self.git(&self.clone, &["rev-parse", "HEAD"]).await?;
        self.git(&self.clone, &["push", "--quiet", "origin", "HEAD:main"]).await?;
        Ok(commit.trim().to_owned())
    }

    /// The lines that differ from the last commit, without what surrounds them.
    pub async fn changed_lines(&self) -> Result<Vec<String>, Trouble> {
        let diff = self.git(&self.clone, &["diff", "--no-color", "--unified=0"]).await?;
        let is_line = |line: &&str| {
            (line.starts_with('+') || line.starts_with('-')) && !line.starts_with("+++") && !line.starts_with("---")
        };
        Ok(diff.lines().filter(is_line).map(str::to_owned).collect())
    }

    /// The newest commits of the ledger, a line each, newest first.
    pub async fn ledger_log(&self, most: usize) -> Result<String, Trouble> {
        let most = format!("--max-count={most}");
        self.git(&self.bare, &["log", "--oneline", "--no-decorate", &most, "refs/heads/bayplan/status", "--"]).await
    }

    async fn git(&self, folder: &Path, arguments: &[&str]) -> Result<String, Trouble> {
        let mut command = Command::new("git");
        command.args([
            "-c",
            "core.hooksPath=/dev/null",
            "-c",
            "commit.gpgSign=false",
            "-c",
            "protocol.file.allow=always",
        ]);
        command.args(arguments).current_dir(folder).env_clear().stdin(std::process::Stdio::null());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into()));
        command.env("HOME", &self.home).env("LC_ALL", "C");
        command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_TERMINAL_PROMPT", "0");
        for role in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{role}_NAME"), "You").env(format!("GIT_{role}_EMAIL"), "you@localhost");
        }
        let output = command
            .kill_on_drop(true)
            .output()
            .await
            .map_err(|error| Trouble::world(format!("the `git` executable could not be run: {error}")))?;
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr);
            return Err(Trouble::world(format!("`git {}` failed: {}", arguments.join(" "), words.trim())));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}
