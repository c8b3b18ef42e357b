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

/// The end: what was left out, and the plan's digest.
const FOOT: usize = 600;

/// Beyond this a single hold is cut: those after it, and the table, must still fit.
const LONGEST_HOLD: usize = 4_000;

/// Of those that a removal names, and of the stacks that are deployed later; the rest is counted.
const MOST_NAMED: usize = 50;

/// The whole comment. What matters most comes first; what does not fit is counted at the end.
pub fn plan(shown: &Shown<'_>) -> String {
    let mut page = Page { text: head(shown), left_out: Vec::new() };
    let room = LONGEST - FOOT;
    page.put(
        "\n**Newly allowed or reachable**\n\n",
        capabilities(shown.plan),
        room * 3 / 4,
        "new capability",
        "new capabilities",
    );
    let rows = changes(shown.plan).map(|(_, change)| row(change));
    page.put(TABLE, rows, room, "row of the table", "rows of the table");
    page.put("\n**What else changes**\n\n", others(shown.plan), room, "other change", "other changes");
    let folded = changes(shown.plan).filter_map(|(_, change)| fields(change));
    page.put("", folded, room, "instance's fields", "instances' fields");
    let Page { mut text, left_out } = page;
    if !left_out.is_empty() {
        let left_out = left_out.join(", ");
        let _ = write!(text, "\n**Too long for a comment**, and left out: {left_out}. `bayplan plan` shows all.\n");
    }
    let _ = write!(text, "\nPlan `{}`\n", shown.plan.digest());
    debug_assert!(text.len() <= LONGEST, "{} bytes", text.len());
    text
}

/// A comment that is written from its beginning until it is full.
struct Page {
    text: String,
    left_out: Vec<String>,
}

impl Page {
    /// Writes lines below a title, until the comment has `room` bytes; notes how many did not fit.
    fn put(&mut self, title: &str, lines: impl Iterator<Item = String>, room: usize, one: &str, many: &str) {
        let mut lines = lines.peekable();
        if lines.peek().is_some_and(|first| self.text.len() + title.len() + first.len() <= room) {
            self.text.push_str(title);
        }
        while let Some(line) = lines.next_if(|line| self.text.len() + line.len() <= room) {
            self.text.push_str(&line);
        }
        let rest = lines.count();
        if rest > 0 {
            self.left_out.push(count(rest, one, many));
        }
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
    for (slug, closed) in shown.later.iter().take(MOST_NAMED) {
        let _ =
            write!(text, "\n**Merges now, is deployed later**: {slug}; {}.\n", cell(&cut(&closed.to_string(), 200)));
    }
    if let Some(more @ 1..) = shown.later.len().checked_sub(MOST_NAMED) {
        let _ = write!(text, "\n**And {} later**.\n", count(more, "other stack", "other stacks"));
    }
    let holds: Vec<(Option<&StackSlug>, &Hold)> = shown.plan.all_holds().collect();
    // The brake names these instances itself.
    let holds: Vec<_> = holds.into_iter().filter(|(_, hold)| !matches!(hold, Hold::RemovalBraked { .. })).collect();
    if !holds.is_empty() {
        text.push('\n');
    }
    for (number, (stack, hold)) in holds.iter().enumerate() {
        let line = held(*stack, hold);
        // Half of the room at most: a table must still fit.
        if text.len() + line.len() > LONGEST / 2 {
            let _ = writeln!(text, "- **and {} more**", count(holds.len() - number, "hold", "holds"));
            break;
        }
        text.push_str(&line);
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
    let said = cut(&hold.to_string(), LONGEST_HOLD);
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
        let names: Vec<String> = braked.removals.iter().take(MOST_NAMED).map(|id| cell(&id.to_string())).collect();
        let _ = write!(text, "<br>To be removed: {}", names.join(", "));
        if let Some(more @ 1..) = braked.removals.len().checked_sub(MOST_NAMED) {
            let _ = write!(text, " and {more} more");
        }
    }
    if let Some(remedy) = remedy(hold) {
        let _ = write!(text, "<br>To lift it: {}", cell(&cut(&remedy, LONGEST_HOLD)));
    }
    text.push('\n');
    text
}

const TABLE: &str = "\n| service | change | from → to | why | users notice |\n| --- | --- | --- | --- | --- |\n";

fn row(change: &Change) -> String {
    let gap = match (&change.gap, change.bucket) {
        (Gap::Gap(why), _) => format!("**gap**: {}", cell(why)),
        (Gap::None, Bucket::Replace | Bucket::Move) => "no".to_owned(),
        (Gap::None, _) => String::new(),
    };
    let (name, bucket) = (name(&change.instance), change.bucket.as_str());
    format!("| {name} | {bucket} | {} | {} | {gap} |\n", way(change), why(change))
}

/// The beginning of a text that is too long, and that it goes on.
fn cut(text: &str, longest: usize) -> String {
    if text.len() <= longest {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(longest)])
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

fn capabilities(plan: &Plan) -> impl Iterator<Item = String> {
    changes(plan).flat_map(|(stack, change)| {
        let line = |gained: String| format!("- {}: {}\n", name(&change.instance), cell(&gained));
        gained(change, stack).into_iter().map(line).collect::<Vec<_>>()
    })
}

/// What changes although nobody wrote that it shall.
fn others(plan: &Plan) -> impl Iterator<Item = String> {
    changes(plan).filter_map(|(_, change)| match &change.cause {
        Cause::Requirement(why) | Cause::Placed(why) | Cause::Drift(why) => {
            Some(format!("- {} ({}): {}\n", name(&change.instance), change.bucket.as_str(), cell(why)))
        }
        Cause::New(_)
        | Cause::Changed(_)
        | Cause::NotWanted(_)
        | Cause::RollBack(_)
        | Cause::Unfinished
        | Cause::Unchanged => None,
    })
}

fn fields(change: &Change) -> Option<String> {
    if change.fields.is_empty() {
        return None;
    }
    let fields = count(change.fields.len(), "field", "fields");
    let mut text = format!("\n<details><summary>{}: {fields}</summary>\n\n", change.instance);
    text.push_str("| field | before | after | at |\n| --- | --- | --- | --- |\n");
    for FieldChange { name, before, after, at } in &change.fields {
        let value = |value: &Option<String>| value.as_deref().map(cell).unwrap_or_default();
        let at = at.as_ref().map(|at| cell(&at.to_string())).unwrap_or_default();
        let _ = writeln!(text, "| {} | {} | {} | {at} |", cell(name), value(before), value(after));
    }
    text.push_str("\n</details>\n");
    Some(text)
}
