//! What happens, told as it happens.
//!
//! Takes events in order. Gives the lines that a person should read now: what is new, not what was said before.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::apply::Progress;
use crate::cli::show::json::line;
use crate::cli::show::map;
use crate::cli::show::paint::{BAD, FAINT, GOOD, STRONG, WARN, painted, plain};
use crate::cli::show::plan::{self, Against, NOTHING, Shown};
use crate::cli::show::plan_json;
use crate::controller::{Ended, Event};
use crate::diagnostic::human::{self, Colour};
use crate::diagnostic::{Report, Texts, json as report_json};
use crate::name::{Digest, StackSlug};
use crate::plan::outcome::Failure;
use crate::plan::step::Step;
use crate::reconcile::Pass;

/// Tells what happens on one branch.
#[derive(Debug)]
pub struct Narrator {
    branch: String,
    steps: Steps,
    /// What was shown of the last pass, so that the same is not shown again.
    last: Option<Said>,
    last_failure: String,
    /// The instance of each step of the last plan, for steps name containers by their ids.
    instances: BTreeMap<StackSlug, Vec<String>>,
}

/// Whether each step that ends well is told, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Steps {
    Told,
    Quiet,
}

#[derive(Debug, PartialEq)]
struct Said {
    plan: Digest,
    steps: bool,
    holds: BTreeSet<String>,
    wrong: Vec<String>,
}

impl Narrator {
    pub fn new(branch: &str, steps: Steps) -> Self {
        Self { branch: branch.to_owned(), steps, last: None, last_failure: String::new(), instances: BTreeMap::new() }
    }

    /// The lines for an event; empty when there is nothing new in it.
    pub fn tell(&mut self, event: &Event) -> String {
        match event {
            Event::Passed(pass) => self.passed(pass),
            Event::PassFailed(why) => self.pass_failed(why),
            Event::Progress(progress) => self.progress(progress),
            Event::Ended(ended) => self::ended(ended),
            Event::TriesAgain { stack, after } => {
                format!("{} is tried again in {} s\n", painted(STRONG, stack), after.as_secs())
            }
            Event::Committed { revision, message } => {
                let subject = message.lines().next().unwrap_or_default();
                format!("{} {}  {}\n", painted(FAINT, "ledger"), painted(FAINT, revision.short()), plain(subject))
            }
            Event::OtherController(other) => format!(
                "{} another controller ({}) writes this ledger too; both want the same, but one is enough\n",
                painted(WARN, "not alone:"),
                plain(other)
            ),
            Event::PushFailed(why) => {
                format!("{} {}\n", painted(WARN, "the ledger could not be pushed:"), plain(why))
            }
            Event::PushedAgain => format!("{}\n", painted(GOOD, "the ledger is pushed again")),
            Event::FetchFailed(why) => {
                format!("{} {}\n", painted(WARN, "the repository could not be fetched:"), plain(why))
            }
            Event::FetchedAgain => format!("{}\n", painted(GOOD, "the repository can be fetched again")),
        }
    }

    fn pass_failed(&mut self, why: &str) -> String {
        if self.last_failure == why {
            return String::new();
        }
        self.last_failure = why.to_owned();
        format!("{} {}\n", painted(BAD, "the pass failed:"), plain(why))
    }

    fn passed(&mut self, pass: &Pass) -> String {
        self.last_failure.clear();
        for (slug, stack) in pass.plan.stacks.iter().filter(|(_, stack)| !stack.steps.is_empty()) {
            let name = |step: &Step| step.instance.as_ref().map(|id| format!("{}-{}", id.service, id.number));
            self.instances
                .insert(slug.clone(), stack.steps.iter().map(|step| name(step).unwrap_or_default()).collect());
        }
        let said = Said {
            plan: pass.plan.digest(),
            steps: !pass.plan.is_empty(),
            holds: pass.plan.all_holds().map(|(_, hold)| hold.to_string()).collect(),
            wrong: pass.report.iter().map(|d| format!("{d:?}")).collect(),
        };
        if self.last.as_ref() == Some(&said) {
            return String::new();
        }
        let mut text = String::new();
        if self.last.as_ref().map(|last| &last.wrong) != Some(&said.wrong) && !said.wrong.is_empty() {
            text.push_str(&report(&pass.report, &texts(pass)));
        }
        let first = self.last.is_none();
        let holds_are_new = self.last.as_ref().is_none_or(|last| last.holds != said.holds) && !said.holds.is_empty();
        if said.steps || holds_are_new {
            text.push_str(&plan::plan(&shown(pass, &self.branch, Against::Hosts)));
        } else if first {
            let head = format!("{} at {}", plain(&self.branch), pass.revision.short());
            let _ = writeln!(text, "{} is what runs. {}", painted(STRONG, head), plan::summary(&pass.plan));
        }
        self.last = Some(said);
        text
    }

    fn progress(&self, progress: &Progress) -> String {
        match progress {
            Progress::StepFailed { failure, .. } => failed(failure),
            Progress::Begun { .. }
            | Progress::StepBegun { .. }
            | Progress::StepDone { .. }
            | Progress::Ended { .. }
                if self.steps == Steps::Quiet =>
            {
                String::new()
            }
            Progress::Begun { stack, steps } => {
                let steps = crate::cli::show::paint::count(*steps, "step", "steps");
                format!("{} {}\n", painted(STRONG, stack), painted(FAINT, steps))
            }
            // What is over at once is told once.
            Progress::StepBegun { stack, step, host, what } if takes_long(what) => {
                format!("  {} {host}  {}{} …\n", painted(FAINT, "."), self.instance(stack, *step), plain(what))
            }
            Progress::StepBegun { .. } | Progress::Ended { .. } => String::new(),
            Progress::StepDone { stack, step, host, what } => {
                format!("  {} {host}  {}{}\n", painted(GOOD, "✓"), self.instance(stack, *step), plain(what))
            }
        }
    }

    /// The instance that a step is for, before its verb; nothing where it is for none.
    fn instance(&self, stack: &StackSlug, step: usize) -> String {
        let name = self.instances.get(stack).and_then(|names| names.get(step)).filter(|name| !name.is_empty());
        name.map(|name| format!("{}  ", painted(STRONG, name))).unwrap_or_default()
    }
}

/// Steps whose end may be a while away, by their first word.
fn takes_long(what: &str) -> bool {
    ["pull ", "wait ", "run action "].iter().any(|verb| what.starts_with(verb))
}

/// A pass's plan, with what it was made from.
pub fn shown<'a>(pass: &'a Pass, branch: &'a str, against: Against<'a>) -> Shown<'a> {
    Shown { plan: &pass.plan, branch, revision: &pass.revision, against, later: &NOTHING }
}

/// The texts of the files of a pass, for showing places in them.
pub fn texts(pass: &Pass) -> Texts {
    pass.snapshot.files.iter().map(|file| (file.path.clone(), file.text.clone())).collect()
}

/// What is wrong with the files.
pub fn report(report: &Report, texts: &Texts) -> String {
    human::render(report, texts, Colour::Ansi)
}

/// A failed step with the container's last words.
pub fn failed(failure: &Failure) -> String {
    let what = format!("{} {}", failure.host, plain(&failure.what));
    let mut text = format!("  {} {what}: {}\n", painted(BAD, "✗"), plain(&failure.why));
    for line in &failure.log {
        let _ = writeln!(text, "      {} {}", painted(FAINT, "|"), plain(line));
    }
    text
}

fn ended(ended: &Ended) -> String {
    let status = ended.status.map_or_else(|| painted(GOOD, "removed"), map::status);
    format!("{} is {status}\n", painted(STRONG, &ended.stack))
}

/// An event for programs, in one line; none for those that only repeat others.
pub fn json(event: &Event, branch: &str) -> String {
    match event {
        Event::Passed(pass) => {
            let mut members = plan_json::members(&shown(pass, branch, Against::Hosts));
            members["diagnostics"] = report_json::value(&pass.report);
            line("plan", members)
        }
        Event::PassFailed(why) => line("pass-failed", json!({"why": why})),
        Event::Progress(progress) => line("progress", progress_json(progress)),
        Event::Ended(ended) => line("ended", ended_json(ended)),
        Event::TriesAgain { stack, after } => {
            line("tries-again", json!({"stack": stack.as_str(), "afterSeconds": after.as_secs()}))
        }
        Event::Committed { revision, message } => {
            line("committed", json!({"commit": revision.as_str(), "message": message}))
        }
        Event::OtherController(other) => line("other-controller", json!({"controller": other})),
        Event::PushFailed(why) => line("push-failed", json!({"why": why})),
        Event::PushedAgain => line("pushed-again", json!({})),
        Event::FetchFailed(why) => line("fetch-failed", json!({"why": why})),
        Event::FetchedAgain => line("fetched-again", json!({})),
    }
}

fn progress_json(progress: &Progress) -> Value {
    match progress {
        Progress::Begun { stack, steps } => json!({"event": "begun", "stack": stack.as_str(), "steps": steps}),
        Progress::StepBegun { stack, step, host, what } => {
            json!({"event": "step-begun", "stack": stack.as_str(), "step": step, "host": host.as_str(), "what": what})
        }
        Progress::StepDone { stack, step, host, what } => {
            json!({"event": "step-done", "stack": stack.as_str(), "step": step, "host": host.as_str(), "what": what})
        }
        Progress::StepFailed { stack, failure } => {
            json!({"event": "step-failed", "stack": stack.as_str(), "failure": failure_json(failure)})
        }
        Progress::Ended { stack, done, failed } => {
            json!({"event": "ended", "stack": stack.as_str(), "done": done, "failed": failed})
        }
    }
}

/// How a stack ended, for programs.
pub fn ended_json(ended: &Ended) -> Value {
    json!({
        "stack": ended.stack.as_str(),
        "status": ended.status.map(|status| status.as_str()),
        "failures": ended.failures.iter().map(failure_json).collect::<Vec<_>>(),
    })
}

fn failure_json(failure: &Failure) -> Value {
    json!({
        "step": failure.step,
        "host": failure.host.as_str(),
        "instance": failure.instance.as_ref().map(ToString::to_string),
        "what": failure.what,
        "why": failure.why,
        "log": failure.log,
    })
}
