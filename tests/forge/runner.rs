//! Runs the file of checks that `init --forge` writes, as the forge's runner does: each script in a shell, with the variables
//! that the forge's documentation names.
//!
//! Never takes an expression that it does not know for empty.

use std::path::Path;
use std::process::{Command, Stdio};

use bayplan::model::config::ForgeKind;
use serde_json::Value;

use crate::fake::{Fake, REPOSITORY, TOKEN};

/// A job on a pull request from a branch of the same repository, or from a fork.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    Branch,
    Fork,
}

/// How a job ended.
#[derive(Debug)]
pub struct Job {
    pub success: bool,
    pub log: String,
}

/// Runs the job of the file, in a clone that has the pull request checked out.
pub fn run(kind: ForgeKind, text: &str, fake: &Fake, work: &Path, from: From) -> Job {
    let file: Value = serde_yaml::from_str(text).expect("YAML");
    let mut runner = Runner { work, variables: Vec::new(), job: Job { success: true, log: String::new() } };
    let temporary = work.join("..");
    let temporary = temporary.to_str().expect("text");
    match kind {
        ForgeKind::Github | ForgeKind::Gitea => {
            runner.set("RUNNER_TEMP", temporary);
            runner.set("GITHUB_STEP_SUMMARY", &format!("{temporary}/summary.md"));
            runner.set("GITHUB_BASE_REF", "main");
            runner.set("GITHUB_SERVER_URL", &fake.url());
            runner.set("GITHUB_REPOSITORY", REPOSITORY);
            let job = &file["jobs"]["plan"];
            assert_eq!(job["defaults"]["run"]["shell"], "bash");
            for step in job["steps"].as_array().expect("steps") {
                let is_due = runner.job.success || step["if"] == "always()";
                if let (Some(script), true) = (step["run"].as_str(), is_due) {
                    let given = runner.variables.len();
                    for (name, value) in step["env"].as_object().into_iter().flatten() {
                        runner.set(name, &expression(value.as_str().expect("text"), from));
                    }
                    runner.run(script);
                    runner.variables.truncate(given);
                }
            }
        }
        ForgeKind::Gitlab => {
            runner.set("CI_SERVER_URL", &fake.url());
            runner.set("CI_PROJECT_PATH", REPOSITORY);
            runner.set("CI_MERGE_REQUEST_TARGET_BRANCH_NAME", "main");
            runner.set("CI_MERGE_REQUEST_IID", "7");
            if from == From::Branch {
                runner.set("BAYPLAN_TOKEN", TOKEN);
            }
            let lines = file["bayplan"]["script"].as_array().expect("a script").iter();
            let lines: Vec<&str> = lines.map(|line| line.as_str().expect("text")).collect();
            runner.run(&lines.join("\n"));
        }
    }
    runner.job
}

struct Runner<'a> {
    work: &'a Path,
    variables: Vec<(String, String)>,
    job: Job,
}

impl Runner<'_> {
    fn set(&mut self, name: &str, value: &str) {
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    fn run(&mut self, script: &str) {
        let program = Path::new(env!("CARGO_BIN_EXE_bayplan")).parent().expect("a folder");
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("bash");
        command.args(["--noprofile", "--norc", "-eo", "pipefail", "-c", script]).current_dir(self.work).env_clear();
        command.env("PATH", format!("{}:{path}", program.display())).env("HOME", self.work).stdin(Stdio::null());
        let output = command.envs(self.variables.iter().cloned()).output().expect("bash runs");
        self.job.success &= output.status.success();
        self.job.log.push_str(&String::from_utf8_lossy(&output.stdout));
        self.job.log.push_str(&String::from_utf8_lossy(&output.stderr));
    }
}

fn expression(text: &str, from: From) -> String {
    let known = [
        ("${{ github.base_ref }}", "main"),
        ("${{ github.token }}", TOKEN),
        (
            "${{ github.event.pull_request.head.repo.full_name == github.repository && github.event.pull_request.number || '' }}",
            if from == From::Branch { "7" } else { "" },
        ),
    ];
    let text = known.iter().fold(text.to_owned(), |text, (expression, value)| text.replace(expression, value));
    assert!(!text.contains("${{"), "an expression that nobody knows: {text}");
    text
}
