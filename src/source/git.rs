//! Runs the `git` executable: the only way to the network.
//!
//! Takes a repository and an argument list. Gives what it wrote to its standard output.
//!
//! Never uses a shell, never asks for anything on a terminal, and never leaves a process behind: what is not done at
//! its deadline is killed together with what it started.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Command;

use super::SourceError;
use crate::failpoint::{self, Call, Side};

/// What `git` wrote, and whether it was content.
pub(crate) struct Done {
    pub(crate) success: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The variables of `git` that say how to reach a server. Others (`GIT_DIR`, `GIT_CONFIG_COUNT`, …) would change what
/// is done or where, for instance when we run inside a hook, and are taken away.
const KEPT_VARIABLES: [&str; 11] = [
    "GIT_ASKPASS",
    "GIT_CONFIG_GLOBAL",
    "GIT_EXEC_PATH",
    "GIT_HTTP_PROXY_AUTHMETHOD",
    "GIT_HTTP_USER_AGENT",
    "GIT_PROXY_COMMAND",
    "GIT_PROXY_SSL_CAINFO",
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "GIT_SSH_VARIANT",
    "GIT_SSL_CAINFO",
];

/// Runs `git` and gives its standard output.
pub(crate) async fn run(git_dir: &Path, arguments: &[&str], limit: Duration) -> Result<String, SourceError> {
    let done = run_to_end(git_dir, arguments, limit).await?;
    if done.success {
        Ok(done.stdout)
    } else {
        let act = act(arguments);
        Err(SourceError::Git { act, message: last_lines(&done.stderr) })
    }
}

/// Runs `git`; that it ends with failure is an answer, too.
pub(crate) async fn run_to_end(git_dir: &Path, arguments: &[&str], limit: Duration) -> Result<Done, SourceError> {
    let mut command = Command::new("git");
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("GIT_") && !KEPT_VARIABLES.contains(&name.as_ref()) {
            command.env_remove(name.as_ref());
        }
    }
    command
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_ALLOW_PROTOCOL", "https:ssh:git:file")
        .env("GIT_NO_REPLACE_OBJECTS", "1")
        .env("LC_ALL", "C")
        .args(["-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false"])
        // A transfer that stands still ends before the deadline does it the hard way.
        .args(["-c", "http.lowSpeedLimit=1", "-c", "http.lowSpeedTime=30"])
        // What tidies up does so before it ends, and not behind our back.
        .args(["-c", "gc.autoDetach=false"])
        .arg("--git-dir")
        .arg(git_dir)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let call = Call::Git(arguments.first().copied().unwrap_or(""));
    failpoint::reach(Side::Before, call);
    let child = command.spawn().map_err(|error| {
        if error.kind() == std::io::ErrorKind::NotFound {
            SourceError::NoGit
        } else {
            SourceError::Run { act: act(arguments), source: error }
        }
    })?;
    let group = Group(child.id().and_then(|id| Pid::from_raw(id.cast_signed())));
    let output = tokio::time::timeout(limit, child.wait_with_output())
        .await
        .map_err(|_| SourceError::Deadline { act: act(arguments), limit })?
        .map_err(|source| SourceError::Run { act: act(arguments), source })?;
    group.has_ended();
    failpoint::reach(Side::After, call);
    Ok(Done {
        success: output.status.success(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// `git` and what it started (ssh, a transport helper); killed when dropped before it has ended.
struct Group(Option<Pid>);

impl Group {
    fn has_ended(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It may have ended by itself just now; then there is nobody to kill.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// The subcommand, for messages.
fn act(arguments: &[&str]) -> String {
    arguments.first().copied().unwrap_or("").to_owned()
}

/// What a person needs of the error output: its last lines, on one.
pub(crate) fn last_lines(stderr: &str) -> String {
    const LINES: usize = 4;
    // Four lines of advice follow, about editors, and would be all that is left.
    if let Some((lock, _)) = stderr.split_once("Another git process seems to be running") {
        return format!("{}; if no other process writes to the repository, remove that file", last_lines(lock));
    }
    let lines: Vec<&str> = stderr.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let text = lines[lines.len().saturating_sub(LINES)..].join("; ");
    if text.is_empty() { "it did not say why".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::{last_lines, run};
    use crate::source::SourceError;

    #[tokio::test]
    async fn a_server_that_never_answers_costs_the_deadline_and_leaves_no_process() {
        let folder = tempfile::TempDir::new().expect("a folder");
        git2::Repository::init_bare(folder.path()).expect("a repository");
        let server = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("git://{}/fleet", server.local_addr().expect("an address"));
        let arguments = ["ls-remote", "--end-of-options", &url];
        let asked = run(folder.path(), &arguments, Duration::from_secs(5));
        let connected = tokio::time::timeout(Duration::from_secs(60), server.accept());
        let (asked, connection) = tokio::join!(asked, connected);
        assert!(matches!(&asked, Err(SourceError::Deadline { act, .. }) if act == "ls-remote"));
        // All that `git` sent before it was killed, and then the end.
        let mut connection = connection.expect("git was started").expect("git connects").0;
        let mut sent = Vec::new();
        let end = tokio::time::timeout(Duration::from_secs(20), connection.read_to_end(&mut sent));
        assert!(end.await.is_ok(), "somebody still holds the connection");
    }

    #[tokio::test]
    async fn a_scheme_that_runs_programs_is_not_allowed_even_by_its_url() {
        let folder = tempfile::TempDir::new().expect("a folder");
        git2::Repository::init_bare(folder.path()).expect("a repository");
        let arguments = ["ls-remote", "--end-of-options", "ext::true"];
        let error = run(folder.path(), &arguments, Duration::from_secs(20)).await.expect_err("refused");
        assert!(error.to_string().contains("not allowed"), "{error}");
    }

    #[test]
    fn a_message_is_the_end_of_what_git_said() {
        assert_eq!(last_lines("a\n\nb\nc\nd\nfatal: no\n"), "b; c; d; fatal: no");
        assert_eq!(last_lines(""), "it did not say why");
        let locked =
            "error: Unable to create 'x.lock': File exists.\n\nAnother git process seems to be running in\n1\n2\n3";
        assert!(last_lines(locked).starts_with("error: Unable to create 'x.lock': File exists.; if no other"));
    }
}
