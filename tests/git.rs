//! The Git doors against real repositories: the source, the ledger and the watch.
//!
//! Takes repositories in temporary folders, made with the `git` executable. Never reads the user's or the machine's
//! configuration for them, and never leaves this machine: remotes are `file://`.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[path = "git/repo.rs"]
mod repo;

#[path = "git/source.rs"]
mod source;

#[path = "git/history.rs"]
mod history;

#[path = "git/remote.rs"]
mod remote;

#[path = "git/ledger.rs"]
mod ledger;

#[path = "git/records.rs"]
mod records;

#[path = "git/watch.rs"]
mod watch;
