//! A plan for programs.
//!
//! Gives an object: `hostMapping` (stack → service → host; `service-n` where a service has several instances),
//! `changes`, `holds`, `steps`, counts and the digest.
//!
//! Never holds the value of a variable: requests are named, not written out.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::cli::show::json::place;
use crate::cli::show::plan::{Against, Shown};
use crate::cli::show::remedy::remedy;
use crate::files::Span;
use crate::name::{HostName, InstanceId, StackSlug};
use crate::plan::change::{Cause, Change, Gap};
use crate::plan::hold::Hold;
use crate::plan::step::{Act, Step};
use crate::plan::{Plan, StackPlan};

/// The members of a document that is, or holds, a plan.
pub fn members(shown: &Shown<'_>) -> Value {
    let plan = shown.plan;
    let (offline, ledger) = match shown.against {
        Against::Hosts => (false, None),
        Against::Ledger(commit) => (true, commit),
    };
    let stacks = || plan.stacks.iter();
    json!({
        "branch": shown.branch,
        "revision": shown.revision.as_str(),
        "offline": offline,
        "ledger": ledger.map(|commit| commit.as_str()),
        "digest": plan.digest().as_str(),
        "hostMapping": host_mapping(plan),
        "summary": counts(plan),
        "later": shown.later.iter().map(|(slug, why)| (slug.to_string(), json!(why.to_string()))).collect::<Map<_, _>>(),
        "changes": stacks().flat_map(|(slug, s)| s.changes.iter().map(|c| change(slug, c))).collect::<Vec<_>>(),
        "holds": plan.all_holds().map(|(slug, hold)| held(slug, hold)).collect::<Vec<_>>(),
        "steps": stacks().flat_map(|(slug, s)| steps(slug, s)).collect::<Vec<_>>(),
    })
}

/// Stack → service (or `service-n`) → host.
fn host_mapping(plan: &Plan) -> Value {
    let of_stack = |stack: &StackPlan| host_names(stack.instances.iter().map(|(id, p)| (id, &p.placed.host)));
    let stacks = plan.stacks.iter().filter(|(_, stack)| !stack.instances.is_empty());
    Value::Object(stacks.map(|(slug, stack)| (slug.to_string(), of_stack(stack))).collect())
}

/// `service` where it has one instance only, else `service-n`: as the ledger writes it.
pub fn host_names<'a>(instances: impl Iterator<Item = (&'a InstanceId, &'a HostName)>) -> Value {
    let instances: Vec<_> = instances.collect();
    let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
    for (id, _) in &instances {
        *numbers.entry(id.service.as_str()).or_default() += 1;
    }
    let mut mapping = Map::new();
    for (id, host) in instances {
        let is_only = numbers[id.service.as_str()] == 1 && id.number == 1;
        let name = if is_only { id.service.to_string() } else { format!("{}-{}", id.service, id.number) };
        mapping.insert(name, json!(host.as_str()));
    }
    Value::Object(mapping)
}

fn counts(plan: &Plan) -> Value {
    let mut counts = Map::new();
    for change in plan.stacks.values().flat_map(|stack| &stack.changes) {
        let number = counts.get(change.bucket.as_str()).and_then(Value::as_u64).unwrap_or(0);
        counts.insert(change.bucket.as_str().to_owned(), json!(number + 1));
    }
    counts.sort_keys();
    counts.insert("holds".to_owned(), json!(plan.all_holds().count()));
    counts.insert("steps".to_owned(), json!(plan.stacks.values().map(|stack| stack.steps.len()).sum::<usize>()));
    Value::Object(counts)
}

fn change(slug: &StackSlug, change: &Change) -> Value {
    let fields: Vec<Value> = change
        .fields
        .iter()
        .map(|f| json!({"name": f.name, "before": f.before, "after": f.after, "at": place(f.at.as_ref())}))
        .collect();
    let gap = match &change.gap {
        Gap::None => None,
        Gap::Gap(why) => Some(why),
    };
    let (kind, at) = cause(&change.cause);
    json!({
        "stack": slug.as_str(),
        "service": change.instance.service.as_str(),
        "instance": change.instance.number,
        "bucket": change.bucket.as_str(),
        "from": change.from.as_ref().map(HostName::as_str),
        "to": change.to.as_ref().map(HostName::as_str),
        "image": change.image,
        "cause": {"kind": kind, "message": change.cause.to_string(), "at": place(at)},
        "fields": fields,
        "gap": gap,
        "placement": change.why_there,
        "published": change.published,
    })
}

fn cause(cause: &Cause) -> (&'static str, Option<&Span>) {
    match cause {
        Cause::New(span) => ("new", Some(span)),
        Cause::Changed(span) => ("changed", Some(span)),
        Cause::Requirement(_) => ("requirement", None),
        Cause::Placed(_) => ("placed", None),
        Cause::NotWanted(_) => ("not-wanted", None),
        Cause::Drift(_) => ("drift", None),
        Cause::RollBack(_) => ("roll-back", None),
        Cause::Unfinished => ("unfinished", None),
        Cause::Unchanged => ("unchanged", None),
    }
}

/// One hold.
pub fn held(slug: Option<&StackSlug>, hold: &Hold) -> Value {
    let mut members = json!({
        "stack": slug.map(StackSlug::as_str),
        "instance": hold.instance().map(ToString::to_string),
        "name": hold.name(),
        "message": hold.to_string(),
        "remedy": remedy(hold),
    });
    if let Hold::Unplaced { unplaced, .. } = hold {
        let refusals = unplaced.refusals.iter().map(|(host, refusals)| {
            let reasons: Vec<String> = refusals.iter().map(ToString::to_string).collect();
            (host.to_string(), json!(reasons))
        });
        members["hosts"] = Value::Object(refusals.collect());
    }
    if let Hold::Brake(braked) = hold {
        members["removals"] = braked.removals.iter().map(ToString::to_string).collect();
        members["removalDigest"] = json!(braked.digest.as_str());
    }
    members
}

fn steps<'a>(slug: &'a StackSlug, stack: &'a StackPlan) -> impl Iterator<Item = Value> + 'a {
    stack.steps.iter().enumerate().map(move |(index, step)| self::step(slug, index, step))
}

fn step(slug: &StackSlug, index: usize, step: &Step) -> Value {
    json!({
        "stack": slug.as_str(),
        "index": index,
        "after": step.after,
        "host": step.host.as_str(),
        "instance": step.instance.as_ref().map(ToString::to_string),
        "act": act(&step.act),
        "what": step.act.describe(),
        "because": step.because,
    })
}

fn act(act: &Act) -> &'static str {
    match act {
        Act::Pull { .. } => "pull",
        Act::CreateNetwork(_) => "create-network",
        Act::CreateVolume(_) => "create-volume",
        Act::Create(_) => "create",
        Act::Start { .. } => "start",
        Act::AwaitHealthy { .. } => "await-healthy",
        Act::RunAction(_) => "run-action",
        Act::TakeName { .. } => "take-name",
        Act::GiveUpName { .. } => "give-up-name",
        Act::Stop { .. } => "stop",
        Act::Remove { .. } => "remove",
        Act::Rename { .. } => "rename",
        Act::RemoveNetwork { .. } => "remove-network",
        Act::RemoveImage { .. } => "remove-image",
    }
}
