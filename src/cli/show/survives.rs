//! Whether every service survives the loss of any one host, for people and for programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::cli::show::paint::{BAD, FAINT, GOOD, STRONG, WARN, count, painted, plain};
use crate::name::{InstanceId, Revision};
use crate::placement::Unplaced;
use crate::placement::survival::Loss;
use crate::status::page::{cell, code};

/// What is shown, and what it was made from.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    pub losses: &'a [Loss],
    /// What has no host even while all are there.
    pub held: &'a BTreeMap<InstanceId, Unplaced>,
    pub what: &'a str,
    pub revision: &'a Revision,
    pub ledger: Option<&'a Revision>,
}

impl Shown<'_> {
    pub fn is_survived(&self) -> bool {
        self.held.is_empty() && self.losses.iter().all(Loss::is_survived)
    }
}

pub fn text(shown: &Shown<'_>) -> String {
    let ledger = shown.ledger.map_or("no ledger".to_owned(), |commit| format!("the ledger at {}", commit.short()));
    let mut text = format!("{} at {}, from {ledger}\n", plain(shown.what), shown.revision.short());
    for loss in shown.losses {
        let mark = if loss.is_survived() { painted(GOOD, "yes") } else { painted(BAD, "no ") };
        let _ = writeln!(text, "  {mark} without {}: {}", painted(STRONG, &loss.host), moved(loss));
        for ((stack, service), why) in &loss.down {
            let _ = writeln!(text, "      {} {stack}/{service} is down: {}", painted(BAD, "!"), plain(why));
        }
        for ((stack, service), (left, of)) in &loss.fewer {
            let _ = writeln!(text, "      {} {stack}/{service} has {left} of {of} instances", painted(WARN, "~"));
        }
    }
    for (id, unplaced) in shown.held {
        let _ = writeln!(text, "  {}", painted(FAINT, format!("{id} has no host even now: {}", plain(&unplaced.why))));
    }
    let (answer, why) = answer(shown);
    let style = if shown.is_survived() { GOOD } else { BAD };
    let _ = writeln!(text, "{}{why}.", answer.map(|answer| painted(style, answer) + " ").unwrap_or_default());
    text
}

/// For a comment, or the summary of a check.
pub fn markdown(shown: &Shown<'_>) -> String {
    let ledger = shown.ledger.map_or("no ledger".to_owned(), |commit| format!("the ledger at `{}`", commit.short()));
    let (answer, why) = answer(shown);
    let answer = answer.map(|answer| format!("**{answer}** ")).unwrap_or_default();
    let mut text = format!("{answer}{why} ({} at `{}`, from {ledger}).\n", cell(shown.what), shown.revision.short());
    if !shown.losses.is_empty() {
        text.push_str("\n| Without | Survived | What happens |\n| --- | --- | --- |\n");
    }
    for loss in shown.losses {
        let down = loss.down.iter().map(|((stack, service), why)| {
            format!("**{} is down**: {}", code(&format!("{stack}/{service}")), cell(why))
        });
        let fewer = loss.fewer.iter().map(|((stack, service), (left, of))| {
            format!("{} has {left} of {of} instances", code(&format!("{stack}/{service}")))
        });
        let happens: Vec<String> = std::iter::once(moved(loss)).chain(down).chain(fewer).collect();
        let survived = if loss.is_survived() { "yes" } else { "**no**" };
        let _ = writeln!(text, "| {} | {survived} | {} |", code(loss.host.as_str()), happens.join("<br>"));
    }
    if !shown.held.is_empty() {
        text.push_str("\nNo host even now:\n\n");
    }
    for (id, unplaced) in shown.held {
        let _ = writeln!(text, "- {}: {}", code(&id.to_string()), cell(&unplaced.why));
    }
    text
}

fn moved(loss: &Loss) -> String {
    match loss.moved.len() {
        0 => "nothing moves".to_owned(),
        moved => format!("{} elsewhere", count(moved, "instance runs", "instances run")),
    }
}

/// Yes or no, if it can be said, and why.
fn answer(shown: &Shown<'_>) -> (Option<&'static str>, String) {
    let lost = shown.losses.iter().filter(|loss| !loss.is_survived()).count();
    match (shown.losses.len(), lost) {
        (0, _) => (None, "Nothing is placed on any host".to_owned()),
        (_, 0) if !shown.held.is_empty() => {
            let held = count(shown.held.len(), "instance has", "instances have");
            (Some("No:"), format!("{held} no host even while all are there"))
        }
        (_, 0) => (Some("Yes:"), "the loss of any one host is survived".to_owned()),
        (all, lost) => (Some("No:"), format!("the loss of {lost} of {all} hosts is not survived")),
    }
}

pub fn members(shown: &Shown<'_>) -> Value {
    let of_loss = |loss: &Loss| {
        let down = loss.down.iter();
        let fewer = loss.fewer.iter();
        json!({
            "host": loss.host.as_str(),
            "survived": loss.is_survived(),
            "moved": loss.moved.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "down": down.map(|((stack, service), why)| json!({"stack": stack.as_str(), "service": service.as_str(), "reason": why})).collect::<Vec<_>>(),
            "fewer": fewer.map(|((stack, service), (left, of))| json!({"stack": stack.as_str(), "service": service.as_str(), "left": left, "of": of})).collect::<Vec<_>>(),
        })
    };
    json!({
        "of": shown.what,
        "revision": shown.revision.as_str(),
        "ledger": shown.ledger.map(Revision::as_str),
        "survived": shown.is_survived(),
        "hosts": shown.losses.iter().map(of_loss).collect::<Vec<_>>(),
        "held": shown.held.keys().map(ToString::to_string).collect::<Vec<_>>(),
    })
}
