//! What became of a plan's steps.

use std::collections::BTreeSet;

use crate::name::{HostName, InstanceId};

/// What became of a stack's steps.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Applied {
    /// Indices of the steps that were carried out.
    pub done: BTreeSet<usize>,
    pub failures: Vec<Failure>,
    /// It stopped at a step's border because it was asked to.
    pub stopped: bool,
}

/// A step that did not succeed.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    pub step: usize,
    pub host: HostName,
    pub instance: Option<InstanceId>,
    /// `start shop-web-1`, for people.
    pub what: String,
    pub verdict: Verdict,
    pub why: String,
    /// The container's last words.
    pub log: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// What was asked for does not work: it exited, was unhealthy, an action failed, or the engine refused it.
    BadContent,
    /// It looks like the content's fault and may be something else once: an engine that cannot start it, an action that was
    /// cut off. The same again is said of the content.
    Stubborn,
    /// The world was in the way; waiting may help.
    Transient,
}
