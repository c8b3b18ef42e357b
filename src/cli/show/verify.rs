//! What differs from the ledger, stack by stack, for people and for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::cli::show::paint::{BAD, FAINT, GOOD, STRONG, WARN, count, painted, plain};
use crate::name::Revision;
use crate::reconcile::verify::{Origin, Stack, Verified};
use crate::status::verify::Difference;

pub fn text(verified: &Verified) -> String {
    let Some(ledger) = &verified.ledger else {
        return "There is no ledger (branch bayplan/status) here: there is nothing to verify.\n".to_owned();
    };
    let mut text = format!("The ledger at {}\n", ledger.short());
    for (slug, stack) in &verified.stacks {
        let _ = writeln!(text, "\n{}{}", painted(STRONG, slug), painted(FAINT, from(stack.origin.as_ref())));
        match &stack.why_not {
            Some(why) => drop(writeln!(text, "  {} not computed: {}", painted(WARN, "?"), plain(why))),
            None if stack.differences.is_empty() => {
                let _ = writeln!(text, "  {} the ledger is what placement computes", painted(GOOD, "="));
            }
            None => listed(&mut text, &stack.differences),
        }
        for commit in &stack.by_hand {
            let commit = commit.short();
            let _ = writeln!(
                text,
                "  {} the ledger's commit {commit} was not written by this program: `git show {commit}`",
                painted(BAD, "!")
            );
        }
        let Some(live) = &stack.live else { continue };
        listed(&mut text, &live.differences);
        for host in &live.unseen {
            let _ = writeln!(text, "  {} {host} does not answer: nothing on it was verified", painted(WARN, "?"));
        }
        if live.differences.is_empty() && live.unseen.is_empty() {
            let _ = writeln!(text, "  {} the hosts run what the ledger says", painted(GOOD, "="));
        }
    }
    let all: usize = verified.stacks.values().map(number).sum();
    let _ = match all {
        0 if verified.stacks.is_empty() => writeln!(text, "\nNothing runs, as far as the ledger says."),
        0 if !verified.is_whole() => {
            writeln!(text, "\n{} no difference was found, but not all could be verified.", painted(WARN, "Not known:"))
        }
        0 => writeln!(text, "\n{} no difference was found.", painted(GOOD, "Yes:")),
        all => writeln!(text, "\n{} {}.", painted(BAD, "No:"), count(all, "difference", "differences")),
    };
    text
}

fn listed(text: &mut String, differences: &[Difference]) {
    for difference in differences {
        let _ = writeln!(text, "  {} {}", painted(BAD, "!"), plain(&difference.to_string()));
    }
}

fn number(stack: &Stack) -> usize {
    stack.differences.len() + stack.by_hand.len() + stack.live.as_ref().map_or(0, |live| live.differences.len())
}

fn from(origin: Option<&Origin>) -> String {
    let Some(origin) = origin else { return String::new() };
    let inputs = origin
        .inputs
        .as_ref()
        .map_or("an empty ledger".to_owned(), |inputs| format!("the ledger at {}", inputs.short()));
    format!("  computed from {} and {inputs}, as {} says", origin.revision.short(), origin.told_by.short())
}

pub fn members(verified: &Verified) -> Value {
    let difference = |difference: &Difference| {
        json!({
            "kind": difference.name(),
            "instance": difference.instance().to_string(),
            "message": difference.to_string(),
        })
    };
    let listed = |differences: &[Difference]| differences.iter().map(difference).collect::<Vec<_>>();
    let stacks = verified.stacks.iter().map(|(slug, stack)| {
        let live = stack.live.as_ref().map(|live| {
            json!({
                "differences": listed(&live.differences),
                "unseen": live.unseen.iter().map(ToString::to_string).collect::<Vec<_>>(),
            })
        });
        json!({
            "stack": slug.as_str(),
            "revision": stack.origin.as_ref().map(|origin| origin.revision.as_str()),
            "inputs": stack.origin.as_ref().and_then(|origin| origin.inputs.as_ref()).map(Revision::as_str),
            "toldBy": stack.origin.as_ref().map(|origin| origin.told_by.as_str()),
            "notComputed": stack.why_not,
            "differences": listed(&stack.differences),
            "byHand": stack.by_hand.iter().map(Revision::as_str).collect::<Vec<_>>(),
            "live": live,
        })
    });
    json!({
        "ledger": verified.ledger.as_ref().map(Revision::as_str),
        "verified": verified.is_whole() && !verified.differs(),
        "stacks": stacks.collect::<Vec<_>>(),
    })
}
