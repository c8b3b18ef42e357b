//! A plan as a person reads it: per stack what changes, where, why, and whether users notice.
//!
//! Takes a plan and where it comes from. Gives lines that begin with what matters most.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::cli::show::paint::{self, CHANGED, FAINT, GONE, MOVED, NEW, STRONG, WARN, count, painted, plain, short};
use crate::cli::show::remedy::remedy;
use crate::cli::show::table;
use crate::name::{Revision, StackSlug};
use crate::plan::change::{Bucket, Change, FieldChange, Gap};
use crate::plan::closed::Closed;
use crate::plan::hold::Hold;
use crate::plan::{Plan, StackPlan};

/// Values beyond this say no more to a reader.
const LONGEST_VALUE: usize = 60;

/// A plan and what it was made from.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    pub plan: &'a Plan,
    pub branch: &'a str,
    pub revision: &'a Revision,
    pub against: Against<'a>,
    /// What the operator's schedule lets be deployed only later.
    pub later: &'a BTreeMap<StackSlug, Closed>,
}

/// Nothing waits.
pub static NOTHING: BTreeMap<StackSlug, Closed> = BTreeMap::new();

/// What the revision was compared with.
#[derive(Debug, Clone, Copy)]
pub enum Against<'a> {
    /// The hosts were asked.
    Hosts,
    /// Git alone; the ledger's commit, if there is a ledger.
    Ledger(Option<&'a Revision>),
}

/// The whole plan.
pub fn plan(shown: &Shown<'_>) -> String {
    let mut text = String::new();
    let against = match shown.against {
        Against::Hosts => "against what runs".to_owned(),
        Against::Ledger(Some(commit)) => format!("against the ledger at {}, no host was asked", commit.short()),
        Against::Ledger(None) => {
            "against an empty fleet, for no ledger (branch bayplan/status) was found; no host was asked".to_owned()
        }
    };
    let what = format!("Plan for {} at {}", plain(shown.branch), shown.revision.short());
    let _ = writeln!(text, "{}, {against}", painted(STRONG, what));
    for (slug, stack) in &shown.plan.stacks {
        text.push_str(&of_stack(slug, stack));
    }
    for hold in &shown.plan.holds {
        text.push('\n');
        text.push_str(&held("", hold));
    }
    for (slug, closed) in shown.later {
        let _ = writeln!(text, "\n{} {slug} is deployed later: {closed}", painted(WARN, "!"));
    }
    let _ = write!(text, "\n{}\n", summary(shown.plan));
    text
}

/// One line: what happens how often, and the plan's digest.
pub fn summary(plan: &Plan) -> String {
    let number = |bucket| plan.stacks.values().flat_map(|s| &s.changes).filter(|c| c.bucket == bucket).count();
    let words = [
        (Bucket::Create, NEW, "to create"),
        (Bucket::Replace, CHANGED, "to replace"),
        (Bucket::Move, MOVED, "to move"),
        (Bucket::Start, NEW, "to start"),
        (Bucket::Remove, GONE, "to remove"),
        (Bucket::RunAction, CHANGED, "with actions to run"),
        (Bucket::TakeName, CHANGED, "to finish"),
    ];
    let mut parts: Vec<String> = words
        .iter()
        .filter(|(bucket, _, _)| number(*bucket) > 0)
        .map(|(bucket, style, word)| painted(*style, format!("{} {word}", number(*bucket))))
        .collect();
    let kept = number(Bucket::Keep);
    let holds = plan.all_holds().count();
    let tidying = parts.is_empty() && !plan.is_empty();
    if tidying {
        parts.push("to tidy up".to_owned());
    }
    let nothing = parts.is_empty();
    if nothing {
        parts.push("nothing to do".to_owned());
    }
    if kept > 0 {
        parts.push(format!("{kept} kept"));
    }
    if holds > 0 {
        parts.push(painted(WARN, count(holds, "hold", "holds")));
    }
    let digest = plan.digest();
    let digest = painted(FAINT, format!("(plan {})", digest.short()));
    format!("{} {} {digest}", painted(STRONG, "Plan:"), parts.join(", "))
}

fn of_stack(slug: &StackSlug, stack: &StackPlan) -> String {
    let changes: Vec<&Change> = stack.changes.iter().filter(|c| c.bucket != Bucket::Keep).collect();
    if changes.is_empty() && stack.holds.is_empty() && stack.steps.is_empty() {
        return String::new();
    }
    let mut text = format!("\n{}\n", painted(STRONG, slug));
    let rows: Vec<Vec<String>> = changes.iter().map(|change| head(change)).collect();
    for (line, change) in table::lines(&rows).iter().zip(&changes) {
        let _ = writeln!(text, "  {line}");
        text.push_str(&details(change));
    }
    if changes.is_empty() {
        let others = stack.steps.iter().filter(|step| step.instance.is_none());
        for step in others {
            let line = format!("{} on {}: {}", step.act.describe(), step.host, plain(&step.because));
            let _ = writeln!(text, "  {} {line}", painted(CHANGED, "*"));
        }
    }
    // The brake itself names these instances below; a line for each would bury it.
    let (braked, others): (Vec<&Hold>, Vec<&Hold>) =
        stack.holds.iter().partition(|hold| matches!(hold, Hold::RemovalBraked { .. }));
    for hold in others {
        text.push_str(&held("  ", hold));
    }
    if !braked.is_empty() {
        let removals = count(braked.len(), "removal waits", "removals wait");
        let _ = writeln!(text, "  {} {removals} for an acknowledgement", painted(WARN, "! held (removal-braked)"));
    }
    let kept = stack.changes.iter().filter(|c| c.bucket == Bucket::Keep).count();
    if kept > 0 {
        let _ = writeln!(text, "  {}", painted(FAINT, format!("{kept} kept as they are")));
    }
    text
}

/// Symbol and word, instance, hosts, image.
fn head(change: &Change) -> Vec<String> {
    let (symbol, style) = symbol(change.bucket);
    let instance = &change.instance;
    let to = match (&change.from, &change.to) {
        (Some(from), Some(to)) if from != to => format!("{from} -> {to}"),
        (_, Some(to)) => to.to_string(),
        (Some(from), None) => from.to_string(),
        (None, None) => String::new(),
    };
    vec![
        painted(style, format!("{symbol} {}", change.bucket.as_str())),
        painted(STRONG, format!("{}-{}", instance.service, instance.number)),
        to,
        short(&change.image, LONGEST_VALUE),
    ]
}

fn symbol(bucket: Bucket) -> (char, anstyle::Style) {
    match bucket {
        Bucket::Create => ('+', NEW),
        Bucket::Replace => ('~', CHANGED),
        Bucket::Move => ('>', MOVED),
        Bucket::Start => ('^', NEW),
        Bucket::Remove => ('-', GONE),
        Bucket::RunAction => ('*', CHANGED),
        Bucket::TakeName => ('=', CHANGED),
        Bucket::Keep => (' ', FAINT),
    }
}

fn details(change: &Change) -> String {
    let mut text = String::new();
    let mut say = |line: &str| {
        let _ = writeln!(text, "      {line}");
    };
    say(&painted(FAINT, plain(&change.cause.to_string())));
    let rows: Vec<Vec<String>> = change.fields.iter().map(field).collect();
    for line in table::lines(&rows) {
        say(&line);
    }
    if let Some(to) = &change.to
        && !change.why_there.is_empty()
    {
        say(&format!("{} {}", painted(FAINT, format!("on {to}:")), plain(&change.why_there)));
    }
    if !change.published.is_empty() {
        say(&format!("{} {}", painted(FAINT, "published:"), plain(&change.published.join(", "))));
    }
    match (&change.gap, change.bucket) {
        (Gap::Gap(_), _) => say(&painted(WARN, plain(&change.gap.to_string()))),
        (Gap::None, Bucket::Replace | Bucket::Move) => say(&painted(paint::GOOD, "no gap")),
        (Gap::None, Bucket::Create | Bucket::Start | Bucket::Remove | Bucket::RunAction) => {}
        (Gap::None, Bucket::TakeName | Bucket::Keep) => {}
    }
    text
}

/// The name; before, after and place.
fn field(field: &FieldChange) -> Vec<String> {
    // A value that is not shown stands as `#` and the beginning of its digest.
    let value = |text: &String| match text.strip_prefix('#') {
        Some(_) if field.name.starts_with("environment.") => painted(FAINT, "(hidden)"),
        Some(_) | None => short(&short_digests(text), LONGEST_VALUE),
    };
    let change = match (&field.before, &field.after) {
        (Some(before), Some(after)) => {
            let (before, after) = (value(before), value(after));
            if before == after { "changed".to_owned() } else { format!("{before} -> {after}") }
        }
        (None, Some(after)) => format!("{} {}", painted(NEW, "+"), value(after)),
        (Some(before), None) => format!("{} {}", painted(GONE, "-"), value(before)),
        (None, None) => "changed".to_owned(),
    };
    let at =
        field.at.as_ref().map(|span| format!("  {}", painted(FAINT, plain(&span.to_string())))).unwrap_or_default();
    vec![plain(&field.name), format!("{change}{at}")]
}

/// `sha256:` and 64 hex digits say no more to a reader than the first twelve.
fn short_digests(text: &str) -> String {
    const ALGORITHM: &str = "sha256:";
    let mut shown = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(ALGORITHM) {
        let (before, after) = rest.split_at(at + ALGORITHM.len());
        let digits = after.bytes().take_while(u8::is_ascii_hexdigit).count();
        shown.push_str(before);
        shown.push_str(&after[..digits.min(12)]);
        rest = &after[digits..];
    }
    shown.push_str(rest);
    shown
}

/// A hold: its name, its reasons a line each, and what lifts it.
pub fn held(indent: &str, hold: &Hold) -> String {
    let mut text = String::new();
    // Every host's reasons are read more easily a line each.
    let reason = if let Hold::Unplaced { instance, unplaced } = hold {
        format!("{instance} has no host: {}", unplaced.why)
    } else {
        hold.to_string()
    };
    let mut lines = reason.lines();
    let first = plain(lines.next().unwrap_or_default());
    let _ =
        writeln!(text, "{indent}{} {} {first}", painted(WARN, "!"), painted(WARN, format!("held ({})", hold.name())));
    for line in lines {
        let _ = writeln!(text, "{indent}    {}", plain(line));
    }
    if let Hold::Unplaced { unplaced, .. } = hold {
        for (host, refusals) in &unplaced.refusals {
            let reasons: Vec<String> = refusals.iter().map(|refusal| plain(&refusal.to_string())).collect();
            let _ = writeln!(text, "{indent}    {host} {}", reasons.join(", "));
        }
    }
    if let Hold::Brake(braked) = hold {
        let names: Vec<String> = braked.removals.iter().map(ToString::to_string).collect();
        let _ = writeln!(text, "{indent}    {} {}", painted(FAINT, "to be removed:"), names.join(", "));
    }
    if let Some(remedy) = remedy(hold) {
        let _ = writeln!(text, "{indent}    {} {remedy}", painted(FAINT, "to lift it:"));
    }
    text
}
