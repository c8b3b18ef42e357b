//! What happened, as a timeline for people and for programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::cli::show::json::document;
use crate::cli::show::paint::{BAD, FAINT, GONE, GOOD, MOVED, NEW, STRONG, WARN, painted, plain, short};
use crate::cli::show::table;
use crate::ledger::CONTROLLER;
use crate::moment::utc;
use crate::name::{HostName, Revision};
use crate::source::authored::Authored;
use crate::status::history::{Entry, Move, What};

/// Subjects beyond this are cut, as `git log` readers expect them below.
const LONGEST_SUBJECT: usize = 72;

/// What the timeline is made from.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    /// The newest commit of the ledger.
    pub ledger: Option<&'a Revision>,
    /// The newest first.
    pub entries: &'a [Entry],
    /// Those revisions that are in this repository.
    pub authored: &'a BTreeMap<Revision, Authored>,
}

/// The timeline for people.
pub fn timeline(shown: &Shown<'_>) -> String {
    if shown.entries.is_empty() {
        return "Nothing of that happened.\n".to_owned();
    }
    let rows: Vec<Vec<String>> = shown.entries.iter().map(|entry| row(entry, shown.authored)).collect();
    let mut text = String::new();
    for (entry, line) in shown.entries.iter().zip(table::lines(&rows)) {
        let _ = writeln!(text, "{line}");
        for line in below(entry) {
            let _ = writeln!(text, "    {line}");
        }
    }
    text
}

fn row(entry: &Entry, authored: &BTreeMap<Revision, Authored>) -> Vec<String> {
    let what = entry.happened.what;
    let stack = entry.stack.as_ref().map_or_else(|| painted(FAINT, "-"), |stack| painted(STRONG, stack));
    let revision = entry.happened.revision.as_ref();
    vec![
        painted(FAINT, utc(entry.at)),
        stack,
        painted(style(what), what.as_str()),
        revision.map_or_else(String::new, |revision| revision.short().to_owned()),
        revision.map_or_else(String::new, |revision| whose(authored.get(revision))),
    ]
}

/// Subject and author of a revision.
pub fn whose(authored: Option<&Authored>) -> String {
    match authored {
        Some(Authored { author, subject, .. }) => {
            let author = painted(FAINT, format!("({})", plain(author)));
            format!("{} {author}", short(subject, LONGEST_SUBJECT))
        }
        None => painted(WARN, "not in this repository"),
    }
}

fn style(what: What) -> anstyle::Style {
    match what {
        What::Runs => GOOD,
        What::Deploying | What::Held | What::RolledBack => WARN,
        What::Degraded | What::Failed | What::Unreadable => BAD,
        What::Removing | What::Removed => GONE,
        What::Noted | What::Measured | What::Joined => FAINT,
    }
}

fn below(entry: &Entry) -> Vec<String> {
    let mut lines: Vec<String> = entry.happened.moves.iter().map(moved).collect();
    if entry.happened.what == What::Measured && entry.happened.reason.is_empty() {
        lines.push(hosts(entry).join(", "));
    }
    lines.extend(entry.happened.reason.lines().map(plain));
    if is_by_hand(entry) {
        let commit = entry.commit.short();
        lines.push(painted(WARN, format!("not written by this program: `git show {commit}` says by whom")));
    }
    lines
}

/// Every commit of a controller says which one.
fn is_by_hand(entry: &Entry) -> bool {
    entry.happened.what != What::Joined && entry.trailer(CONTROLLER).is_none()
}

fn moved(moved: &Move) -> String {
    let name = format!("{}-{}", moved.instance.service, moved.instance.number);
    match (&moved.from, &moved.to) {
        (None, Some(to)) => format!("{name}: {} {to}", painted(NEW, "new on")),
        (Some(from), None) => format!("{name}: {from} -> {}", painted(GONE, "gone")),
        (Some(from), Some(to)) => format!("{name}: {from} {} {to}", painted(MOVED, "->")),
        (None, None) => name,
    }
}

fn hosts(entry: &Entry) -> Vec<&str> {
    let mut hosts: Vec<&str> = entry.happened.touched.iter().map(|touched| touched.host.as_str()).collect();
    hosts.dedup();
    hosts
}

/// The same for programs.
pub fn json(shown: &Shown<'_>) -> String {
    let entries: Vec<Value> = shown.entries.iter().map(|entry| entry_json(entry, shown.authored)).collect();
    document("history", json!({"ledger": shown.ledger.map(Revision::as_str), "entries": entries}))
}

fn entry_json(entry: &Entry, authored: &BTreeMap<Revision, Authored>) -> Value {
    let happened = &entry.happened;
    let host = |host: &Option<HostName>| host.as_ref().map(|host| host.as_str().to_owned());
    let moves: Vec<Value> = happened
        .moves
        .iter()
        .map(|moved| {
            json!({
                "service": moved.instance.service.as_str(),
                "instance": moved.instance.number,
                "from": host(&moved.from),
                "to": host(&moved.to),
            })
        })
        .collect();
    let trailers: Map<String, Value> =
        entry.trailers.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str()))).collect();
    json!({
        "commit": entry.commit.as_str(),
        "at": utc(entry.at),
        "stack": entry.stack.as_ref().map(|stack| stack.as_str()),
        "what": happened.what.as_str(),
        "revision": happened.revision.as_ref().map(|revision| revision_json(revision, authored.get(revision))),
        "moves": moves,
        "hosts": hosts(entry),
        "reason": Some(&happened.reason).filter(|reason| !reason.is_empty()),
        "byHand": is_by_hand(entry),
        "message": entry.message,
        "trailers": trailers,
    })
}

/// A revision with its author; who that was is `null` where it is not in this repository.
pub fn revision_json(revision: &Revision, authored: Option<&Authored>) -> Value {
    json!({
        "id": revision.as_str(),
        "author": authored.map(|authored| &authored.author),
        "email": authored.map(|authored| &authored.email),
        "subject": authored.map(|authored| &authored.subject),
    })
}
