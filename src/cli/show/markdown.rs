//! A plan as a comment on a pull request.
//!
//! Takes what the plan for a person takes. Gives Markdown that forges render: what is held first, then a table of what
//! changes, then the fields, folded.
//!
//! Never longer than forges take, and the same for the same plan: a comment is replaced, and only when it changed.

use std::fmt::Write as _;

use crate::cli::show::paint::count;
use crate::cli::show::plan::{Against, Shown};
use crate::cli::show::remedy::remedy;
use crate::name::{InstanceId, StackSlug};
use crate::plan::capability::gained;
use crate::plan::change::{Bucket, Cause, Change, FieldChange, Gap, counted};
use crate::plan::hold::Hold;
use crate::plan::{Plan, StackPlan};
use crate::status::page::{cell, code};

/// The first line of each comment, by which it is found again.
pub const MARKER: &str = "<!-- bayplan plan -->";

/// GitHub refuses a longer comment; the others take more.
const LONGEST: usize = 65_536;

/// The whole comment.
pub fn plan(shown: &Shown<'_>) -> String {
    let head = head(shown);
    let (table, capabilities, others) = (table(shown.plan), capabilities(shown.plan), others(shown.plan));
    let foot = format!("\nPlan `{}`\n", shown.plan.digest());
    let mut text = head;
    let mut left_out = Vec::new();
    // What matters most comes first; what does not fit is named at the end.
    let notice = 200;
    for (what, part) in [("the table", table), ("capabilities", capabilities), ("what else moves", others)] {
        put(&mut text, &mut left_out, what, &part, LONGEST - foot.len() - notice);
    }
    let mut folded = 0;
    for part in changes(shown.plan).filter_map(|(_, change)| fields(change)) {
        if text.len() + part.len() > LONGEST - foot.len() - notice {
            folded += 1;
        } else {
            text.push_str(&part);
        }
    }
    if folded > 0 {
        left_out.push(format!("the fields of {}", count(folded, "instance", "instances")));
    }
    if !left_out.is_empty() {
        let _ = write!(
            text,
            "\nToo long for a comment, and left out: {}. `bayplan plan` shows all.\n",
            left_out.join(", ")
        );
    }
    text.push_str(&foot);
    text
}

fn put(text: &mut String, left_out: &mut Vec<String>, what: &str, part: &str, longest: usize) {
    if text.len() + part.len() <= longest {
        text.push_str(part);
    } else {
        left_out.push(what.to_owned());
    }
}

fn changes(plan: &Plan) -> impl Iterator<Item = (&StackPlan, &Change)> {
    let of_stacks =
        plan.stacks.values().flat_map(|stack| stack.changes.iter().map(move |change| (stack.as_ref(), change)));
    of_stacks.filter(|(_, change)| change.bucket != Bucket::Keep)
}

/// Marker, summary, what it was compared with, and what is held.
fn head(shown: &Shown<'_>) -> String {
    let mut text = format!("{MARKER}\n### Bayplan: {}\n\n", summary(shown.plan));
    let _ = write!(text, "{} at `{}`, ", cell(shown.branch), shown.revision.short());
    match shown.against {
        Against::Hosts => text.push_str("against what runs.\n"),
        Against::Ledger(Some(commit)) => {
            let _ = writeln!(text, "against the ledger at `{}`; no host was asked.", commit.short());
        }
        Against::Ledger(None) => text.push_str(
            "against an empty fleet.\n\n**No ledger was found** (branch `bayplan/status`): everything looks new. Fetch that branch too.\n",
        ),
    }
    for (slug, closed) in shown.later {
        let _ = write!(text, "\n**Merges now, is deployed later**: {slug}; {}.\n", cell(&closed.to_string()));
    }
    let holds: Vec<(Option<&StackSlug>, &Hold)> = shown.plan.all_holds().collect();
    // The brake names these instances itself.
    let holds: Vec<_> = holds.into_iter().filter(|(_, hold)| !matches!(hold, Hold::RemovalBraked { .. })).collect();
    if !holds.is_empty() {
        text.push('\n');
    }
    for (number, (stack, hold)) in holds.iter().enumerate() {
        // Half of the room at most: a table must still fit.
        if text.len() > LONGEST / 2 {
            let _ = writeln!(text, "- **and {} more**", count(holds.len() - number, "hold", "holds"));
            break;
        }
        text.push_str(&held(*stack, hold));
    }
    text
}

/// `3 replaced, 1 moved, 1 removed, gaps: 1`.
fn summary(plan: &Plan) -> String {
    let counted = counted(plan.stacks.values().flat_map(|stack| &stack.changes));
    let mut parts = vec![if counted.is_empty() { "nothing changes".to_owned() } else { counted }];
    let gaps = changes(plan).filter(|(_, change)| matches!(change.gap, Gap::Gap(_))).count();
    if gaps > 0 {
        parts.push(format!("gaps: {gaps}"));
    }
    let holds = plan.all_holds().filter(|(_, hold)| !matches!(hold, Hold::RemovalBraked { .. })).count();
    if holds > 0 {
        parts.push(format!("held: {holds}"));
    }
    parts.join(", ")
}

fn held(stack: Option<&StackSlug>, hold: &Hold) -> String {
    let said = hold.to_string();
    let mut lines = said.lines();
    let first = lines.next().unwrap_or_default();
    let whose = stack.filter(|stack| !first.starts_with(stack.as_str()));
    let whose = whose.map(|stack| format!("{stack}: ")).unwrap_or_default();
    let mut text = format!("- **Held: {whose}{}**", cell(first));
    for line in lines {
        // A line to be copied into a commit.
        let _ = write!(text, "<br>{}", code(line.trim()));
    }
    if let Hold::Brake(braked) = hold {
        let names: Vec<String> = braked.removals.iter().map(|id| cell(&id.to_string())).collect();
        let _ = write!(text, "<br>To be removed: {}", names.join(", "));
    }
    if let Some(remedy) = remedy(hold) {
        let _ = write!(text, "<br>To lift it: {}", cell(&remedy));
    }
    text.push('\n');
    text
}

fn table(plan: &Plan) -> String {
    if changes(plan).next().is_none() {
        return String::new();
    }
    let mut text =
        "\n| service | change | from → to | why | users notice |\n| --- | --- | --- | --- | --- |\n".to_owned();
    for (_, change) in changes(plan) {
        let gap = match (&change.gap, change.bucket) {
            (Gap::Gap(why), _) => format!("**gap**: {}", cell(why)),
            (Gap::None, Bucket::Replace | Bucket::Move) => "no".to_owned(),
            (Gap::None, _) => String::new(),
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {gap} |",
            name(&change.instance),
            change.bucket.as_str(),
            way(change),
            why(change)
        );
    }
    text
}

fn name(id: &InstanceId) -> String {
    cell(&format!("{}/{}-{}", id.stack, id.service, id.number))
}

fn way(change: &Change) -> String {
    match (&change.from, &change.to) {
        (Some(from), Some(to)) if from != to => format!("{} → **{}**", cell(from.as_str()), cell(to.as_str())),
        (_, Some(host)) | (Some(host), None) => cell(host.as_str()),
        (None, None) => String::new(),
    }
}

/// The cause, and for what comes to a host why there.
fn why(change: &Change) -> String {
    let cause = cell(&change.cause.to_string());
    let comes = matches!(change.bucket, Bucket::Create | Bucket::Move);
    let is_said = change.why_there == change.cause.to_string();
    let there = if comes && !is_said { cell(&change.why_there) } else { String::new() };
    if there.is_empty() { cause } else { format!("{cause}; {there}") }
}

fn capabilities(plan: &Plan) -> String {
    let mut text = String::new();
    for (stack, change) in changes(plan) {
        for gained in gained(change, stack) {
            let _ = writeln!(text, "- {}: {}", name(&change.instance), cell(&gained));
        }
    }
    if text.is_empty() { text } else { format!("\n**Newly allowed or reachable**\n\n{text}") }
}

/// What changes although nobody wrote that it shall.
fn others(plan: &Plan) -> String {
    let mut text = String::new();
    for (_, change) in changes(plan) {
        match &change.cause {
            Cause::Requirement(why) | Cause::Placed(why) | Cause::Drift(why) => {
                let _ = writeln!(text, "- {} ({}): {}", name(&change.instance), change.bucket.as_str(), cell(why));
            }
            Cause::New(_)
            | Cause::Changed(_)
            | Cause::NotWanted(_)
            | Cause::RollBack(_)
            | Cause::Unfinished
            | Cause::Unchanged => {}
        }
    }
    if text.is_empty() { text } else { format!("\n**What else changes**\n\n{text}") }
}

fn fields(change: &Change) -> Option<String> {
    if change.fields.is_empty() {
        return None;
    }
    let fields = count(change.fields.len(), "field", "fields");
    let mut text = format!("\n<details><summary>{}: {fields}</summary>\n\n", name(&change.instance));
    text.push_str("| field | before | after | at |\n| --- | --- | --- | --- |\n");
    for FieldChange { name, before, after, at } in &change.fields {
        let value = |value: &Option<String>| value.as_deref().map(cell).unwrap_or_default();
        let at = at.as_ref().map(|at| cell(&at.to_string())).unwrap_or_default();
        let _ = writeln!(text, "| {} | {} | {} | {at} |", cell(name), value(before), value(after));
    }
    text.push_str("\n</details>\n");
    Some(text)
}
