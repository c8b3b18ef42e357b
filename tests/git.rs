//! The Git doors against real repositories: the source, the ledger and the watch; and the contract that holds for the
//! simulated repository too.
//!
//! Takes repositories in temporary folders, made with the `git` executable. Never reads the user's or the machine's
//! configuration for them, and never leaves this machine: remotes are `file://`.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[path = "git/repo.rs"]
mod repo;

#[path = "git/subject.rs"]
mod subject;

#[path = "git/contract.rs"]
mod contract;

#[path = "git/source.rs"]
mod source;

#[path = "git/history.rs"]
mod history;

#[path = "git/remote.rs"]
mod remote;

#[path = "git/faults.rs"]
mod faults;

#[path = "git/ledger.rs"]
mod ledger;

#[path = "git/notes.rs"]
mod notes;

#[path = "git/records.rs"]
mod records;

#[path = "git/watch.rs"]
mod watch;
