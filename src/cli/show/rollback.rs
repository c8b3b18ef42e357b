//! What a rollback restores and why, where its commit is, and what to do next.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::cli::show::history::{revision_json, whose};
use crate::cli::show::json::document;
use crate::cli::show::paint::{FAINT, GONE, NEW, STRONG, WARN, painted, plain};
use crate::cli::show::table;
use crate::diagnostic::json as report_json;
use crate::moment::utc;
use crate::reconcile::rollback::{Rollback, Verdict, Why};
use crate::source::authored::Authored;
use crate::source::restore::Restored;

/// What is told.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    pub rollback: &'a Rollback,
    /// None: it was refused.
    pub restored: Option<&'a Restored>,
    /// Of the revision that is gone back to.
    pub authored: Option<&'a Authored>,
    /// The watched branch.
    pub branch: &'a str,
    pub place: Place,
    /// The repository as the command line names it.
    pub repo: Option<&'a str>,
}

/// What the repository is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    WorkTree,
    Bare,
    /// A mirror of one.
    Remote,
}

/// The answer for people.
pub fn rollback(shown: &Shown<'_>) -> String {
    let Rollback { stack, to, verdict, .. } = shown.rollback;
    let mut text = format!("{} back to {}  {}\n", painted(STRONG, stack), to.short(), whose(shown.authored));
    let _ = writeln!(text, "  {}", painted(FAINT, why(shown)));
    let restored = match shown.restored {
        Some(Restored::Same) => {
            let branch = plain(shown.branch);
            let _ = writeln!(text, "{branch} has these files as they were then: there is nothing to commit");
            return text;
        }
        None => {
            let _ =
                writeln!(text, "{}: these files would be wrong today; nothing was committed", painted(WARN, "refused"));
            return text;
        }
        Some(restored) => restored,
    };
    for path in &shown.rollback.restored {
        let _ = writeln!(text, "  {} {}", painted(NEW, "restored"), plain(path));
    }
    for path in gone(shown.rollback) {
        let _ = writeln!(text, "  {} {}", painted(GONE, "removed"), plain(path));
    }
    if let Verdict::FailedBefore(reason) = verdict {
        let lead = painted(WARN, "! this content failed before, and is not tried again until it changes:");
        let _ = writeln!(text, "  {lead} {}", plain(reason));
    }
    match restored {
        Restored::Same => {}
        Restored::NewBranch { commit, branch } => {
            let _ =
                writeln!(text, "commit {} is on the new branch {branch}; nothing is deployed by it", commit.short());
        }
        Restored::CheckedOut { commit, branch } => {
            let watched = plain(shown.branch);
            let _ =
                writeln!(text, "commit {} is on the new branch {branch}, as {watched} is checked out", commit.short());
        }
        Restored::Watched { commit } => {
            let _ = writeln!(text, "commit {} is on {}; the next pass deploys it", commit.short(), plain(shown.branch));
        }
    }
    let commands: Vec<Vec<String>> =
        next(shown).into_iter().map(|(command, what)| vec![command, painted(FAINT, what)]).collect();
    for line in table::lines(&commands) {
        let _ = writeln!(text, "  {line}");
    }
    text
}

fn why(shown: &Shown<'_>) -> String {
    match &shown.rollback.why {
        Why::Asked => "the revision that was asked for".to_owned(),
        Why::RanBefore(ran) => format!(
            "what ran last with another content than {} asks for: ledger commit {} of {}",
            plain(shown.branch),
            ran.commit.short(),
            utc(ran.at)
        ),
    }
}

fn gone(rollback: &Rollback) -> impl Iterator<Item = &str> {
    rollback.removed.iter().filter(|path| !rollback.restored.contains(path)).map(AsRef::as_ref)
}

/// Commands, and what each is for.
fn next(shown: &Shown<'_>) -> Vec<(String, &'static str)> {
    let repo = shown.repo.map(|repo| format!(" {repo}")).unwrap_or_default();
    let git = shown.repo.map_or("git".to_owned(), |repo| format!("git -C {repo}"));
    let watched = shown.branch;
    let review = |base: &str, head: &str| format!("bayplan plan --base {base} --head {head}");
    match shown.restored {
        None | Some(Restored::Same) => Vec::new(),
        Some(Restored::Watched { .. }) => vec![(format!("bayplan plan{repo}"), "what it does")],
        Some(Restored::NewBranch { branch, .. } | Restored::CheckedOut { branch, .. }) => {
            let merge = format!("{git} merge --ff-only {branch}");
            match shown.place {
                Place::WorkTree => vec![
                    (review(watched, branch) + &repo, "what merging it does"),
                    (merge, "with the watched branch checked out"),
                ],
                Place::Bare => vec![
                    (review(watched, branch) + &repo, "what merging it does"),
                    (format!("{git} push . {branch}:{watched}"), "puts it on the watched branch, without force"),
                ],
                Place::Remote => vec![
                    ("git fetch origin".to_owned(), "then, in a clone:"),
                    (review(&format!("origin/{watched}"), &format!("origin/{branch}")), "what merging it does"),
                ],
            }
        }
    }
}

/// The same for programs.
pub fn json(shown: &Shown<'_>) -> String {
    let Rollback { stack, head, to, why, restored, verdict, report, .. } = shown.rollback;
    let (outcome, commit, branch) = match shown.restored {
        None => ("refused", None, None),
        Some(Restored::Same) => ("same", None, None),
        Some(Restored::NewBranch { commit, branch } | Restored::CheckedOut { commit, branch }) => {
            ("committed", Some(commit.as_str()), Some(branch.as_str()))
        }
        Some(Restored::Watched { commit }) => ("committed", Some(commit.as_str()), Some(shown.branch)),
    };
    let (chosen, ledger) = match why {
        Why::Asked => ("asked", None),
        Why::RanBefore(ran) => ("ran-before", Some(ran.commit.as_str())),
    };
    let failed = match verdict {
        Verdict::FailedBefore(reason) => Some(reason),
        Verdict::Same | Verdict::Right | Verdict::Wrong => None,
    };
    let commands: Vec<Value> = next(shown).into_iter().map(|(command, _)| Value::from(command)).collect();
    let members = json!({
        "stack": stack.as_str(),
        "head": head.as_str(),
        "to": revision_json(to, shown.authored),
        "why": chosen,
        "ledger": ledger,
        "restored": restored.iter().map(AsRef::as_ref).collect::<Vec<&str>>(),
        "removed": gone(shown.rollback).collect::<Vec<&str>>(),
        "outcome": outcome,
        "commit": commit,
        "branch": branch,
        "failedBefore": failed,
        "next": commands,
        "diagnostics": report_json::value(report),
    });
    document("rollback", members)
}
