//! Decides what the files of a revision mean together.
//!
//! Takes parsed files and the operator's policy. Gives the model of what is asked for, and a report of what is wrong.
//!
//! Two steps: [`check`] needs one file and may be kept by path and blob (a [`cache::Cache`] does); [`validate`] needs
//! all of them and is run for every revision.
//!
//! Never lets a wrong file look like an absent one: a stack that is wrong is in `Desired::wrong`, a file that yields no
//! name in `Desired::nameless`, a wrong host file in `Inventory::wrong`.

pub mod allowed;
pub mod cache;
pub mod config;
pub mod cycle;
pub mod fleet;
pub mod host;
pub mod ports;
pub mod schedule;
mod scope;
pub mod service;
pub mod stack;
pub mod values;

use std::sync::Arc;

use crate::diagnostic::Report;
use crate::files::{SourceFile, Span};
use crate::model::desired::{Desired, Inventory};
use crate::model::host::Host;
use crate::model::policy::Policy;
use crate::model::stack::Stack;
use crate::name::ServiceName;
use crate::parse::{self, Kind, Parsed, Refused, WrongStack};

/// One file, parsed and checked by itself.
#[derive(Debug, Clone)]
pub struct CheckedFile {
    pub path: Arc<str>,
    /// What parsing and checking found, and where the file holds secrets.
    pub report: Report,
    pub outcome: Outcome,
}

#[derive(Debug, Clone)]
pub enum Outcome {
    Inert,
    Stack(CheckedStack),
    WrongStack(WrongStack),
    Hosts(Vec<Arc<Host>>),
    WrongHosts,
}

/// A stack that is right by itself. Hosts that it names are not yet known to exist.
#[derive(Debug, Clone)]
pub struct CheckedStack {
    pub stack: Arc<Stack>,
    pub host_refs: Vec<HostRef>,
}

/// A place that names a host, by `name` or by `@id`.
#[derive(Debug, Clone)]
pub struct HostRef {
    pub text: String,
    pub at: Span,
    pub refers_to: RefersTo,
}

/// What a named host is for. Numbers count the stack's services, ordered by position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefersTo {
    StackHost,
    ServiceHost(usize),
    /// Where a required service is said to be.
    RemoteHost(usize, ServiceName),
    NotOn(usize),
}

impl HostRef {
    /// The same with services counted in another order: `order[new]` is the old number.
    fn reordered(self, order: &[usize]) -> Self {
        let new = |old: usize| order.iter().position(|o| *o == old).expect("an order holds every number");
        let refers_to = match self.refers_to {
            RefersTo::StackHost => RefersTo::StackHost,
            RefersTo::ServiceHost(old) => RefersTo::ServiceHost(new(old)),
            RefersTo::RemoteHost(old, service) => RefersTo::RemoteHost(new(old), service),
            RefersTo::NotOn(old) => RefersTo::NotOn(new(old)),
        };
        Self { refers_to, ..self }
    }
}

impl CheckedFile {
    /// An entry under `stacks/` or `hosts/` that is refused unread.
    pub fn refused(path: &Arc<str>, why: Refused) -> Self {
        let mut report = Report::default();
        let diagnostic = parse::refused(path, why);
        let at = diagnostic.labels[0].span.clone();
        report.add(diagnostic);
        let outcome = match path.starts_with("hosts/") {
            true => Outcome::WrongHosts,
            false => Outcome::WrongStack(WrongStack { name: None, at }),
        };
        Self { path: path.clone(), report, outcome }
    }
}

/// Parses one file and checks what needs no other. Equal path, text and policy give an equal result.
pub fn check(file: &SourceFile, policy: &Policy) -> CheckedFile {
    let (parsed, mut report) = parse::parse(file);
    let outcome = match parsed {
        Parsed::Inert => Outcome::Inert,
        Parsed::WrongStack(wrong) => Outcome::WrongStack(wrong),
        Parsed::WrongHosts => Outcome::WrongHosts,
        Parsed::Stack(stack) => {
            let checked = stack::stack(&stack, policy, &mut report);
            match checked {
                Some(checked) if !report.has_errors() => Outcome::Stack(checked),
                Some(_) | None => Outcome::WrongStack(WrongStack {
                    name: crate::name::StackName::new(&stack.raw.name).ok(),
                    at: stack.tree.of("/name"),
                }),
            }
        }
        Parsed::Hosts(hosts) => {
            let checked = host::hosts(&hosts, &mut report);
            match report.has_errors() {
                true => Outcome::WrongHosts,
                false => Outcome::Hosts(checked.into_iter().map(Arc::new).collect()),
            }
        }
    };
    let path = file.path.clone();
    CheckedFile { path, report, outcome }
}

/// Puts checked files together. Their order does not matter.
pub fn validate(files: &[Arc<CheckedFile>]) -> (Desired, Report) {
    let mut report = Report::default();
    let counted = files.iter().filter(|file| parse::kind(&file.path) != Kind::Inert).count();
    if counted > parse::MOST_FILES {
        return too_many(counted);
    }
    let mut ordered: Vec<&CheckedFile> = files.iter().map(Arc::as_ref).collect();
    ordered.sort_by(|a, b| a.path.cmp(&b.path));
    for file in &ordered {
        report.merge(&file.report);
    }
    let desired = fleet::combine(&ordered, &mut report);
    (desired, report)
}

/// What is known when there are more files than are read: nothing, so nothing may be removed or changed.
pub fn too_many(files: usize) -> (Desired, Report) {
    let mut report = Report::default();
    report.add(parse::too_many(files));
    let inventory = Inventory { wrong: ["hosts/".into()].into(), ..Inventory::default() };
    let desired = Desired { nameless: ["stacks/".into()].into(), inventory, ..Desired::default() };
    (desired, report)
}
