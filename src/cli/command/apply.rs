//! `bayplan apply`: carries the plan out once.

use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::cli::args::{Format, Global, Repo};
use crate::cli::exit::Exit;
use crate::cli::show::json::document;
use crate::cli::show::paint::{BAD, STRONG, painted};
use crate::cli::show::plan::{self, Against};
use crate::cli::show::plan_json;
use crate::cli::show::progress::{self, Narrator, Steps, ended_json, shown};
use crate::cli::trouble::Trouble;
use crate::cli::{open, out, signals};
use crate::controller::once::{self, Options, Outcome, Refused, WrongFiles};
use crate::diagnostic::json as report_json;
use crate::model::record::StackStatus;
use crate::name::Digest;
use crate::plan::closed::Closed;
use crate::plan::hold::Hold;
use crate::plan::want::{Gone, Want, Why};

/// What the command line says of it.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    pub wrong_files: WrongFiles,
    pub allow_removal: &'a [String],
    pub plan_digest: Option<&'a str>,
}

pub async fn apply(global: &Global, repo: &Repo, asked: &Asked<'_>) -> Result<Exit, Trouble> {
    let options = options(asked)?;
    let config = open::config(global)?;
    open::start_logging(global, &config, "warn,bayplan=error");
    let mut site = open::site(global, repo, config).await?;
    open::note_uncommitted(&site).await?;
    let stop = signals::shutdown()?;
    let branch = site.source.branch().to_owned();

    let (events, mut heard) = mpsc::unbounded_channel();
    let mut narrator = Narrator::new(&branch, Steps::Told);
    let is_human = global.format == Format::Human;
    let telling = tokio::spawn(async move {
        while let Some(event) = heard.recv().await {
            if is_human {
                out::say(&narrator.tell(&event));
            }
        }
    });
    let outcome = once::once(&mut site, &options, &events, &stop).await;
    drop(events);
    telling.await.expect("telling does not panic");
    let outcome = outcome?;

    let exit = if stop.is_cancelled() { exit(&outcome).and(Exit::World) } else { exit(&outcome) };
    if is_human {
        out::say(&summary(&outcome, &branch));
        if stop.is_cancelled() {
            out::note("stopped at a step's border, as asked; the next apply carries on\n");
        }
    } else {
        out::say(&document("apply", members(&outcome, &branch, exit)));
    }
    Ok(exit)
}

/// Fewer digits of a plan's digest could be another's by chance; the plan for people shows so many.
const FEWEST_DIGITS: usize = 8;

fn options(asked: &Asked<'_>) -> Result<Options, Trouble> {
    let allowed =
        |text: &String| Digest::parse(text).map_err(|why| Trouble::usage(format!("--allow-removal: `{text}` {why}")));
    let allowed_removals = asked.allow_removal.iter().map(allowed).collect::<Result<_, _>>()?;
    let is_digest = |text: &str| {
        (FEWEST_DIGITS..=64).contains(&text.len()) && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    if let Some(text) = asked.plan_digest.filter(|text| !is_digest(text)) {
        let why = format!("is no digest of a plan: `bayplan plan` ends with it ({FEWEST_DIGITS} digits or more)");
        return Err(Trouble::usage(format!("--plan-digest: `{text}` {why}")));
    }
    let reviewed = asked.plan_digest.map(str::to_owned);
    Ok(Options { wrong_files: asked.wrong_files, allowed_removals, reviewed })
}

fn exit(outcome: &Outcome) -> Exit {
    let mut exit = match outcome.refused {
        Some(Refused::OtherPlan) => Exit::Held,
        Some(Refused::WrongFiles) | None => Exit::AsAsked,
    };
    if outcome.last.report.has_errors() {
        exit = exit.and(Exit::Repository);
    }
    for ended in outcome.ended.values() {
        exit = match ended.status {
            Some(StackStatus::Failed | StackStatus::Degraded) => exit.and(Exit::World),
            Some(StackStatus::RolledBack) => exit.and(Exit::RolledBack),
            Some(StackStatus::Running | StackStatus::Deploying | StackStatus::Held) | None => exit,
        };
    }
    // What failed in an earlier apply is not tried again, and still is not what was asked for.
    for want in outcome.last.wants.values() {
        exit = match want {
            Want::Stack { why: Why::BadContent(_), .. } => exit.and(Exit::RolledBack),
            Want::Nothing { why: Gone::BadContent(_), .. } => exit.and(Exit::World),
            Want::Stack { why: Why::LeftForALook(_), .. } => exit.and(Exit::World),
            Want::Stack { why: Why::Head | Why::WrongAtHead | Why::MayBeIn(_) | Why::Closed(_), .. }
            | Want::Nothing { why: Gone::NotAskedFor, .. }
            | Want::Keep { .. } => exit,
        };
    }
    if outcome.last.plan.all_holds().any(|(_, hold)| hold.holds_the_stack()) {
        exit = exit.and(Exit::Held);
    }
    exit
}

fn summary(outcome: &Outcome, branch: &str) -> String {
    let refused = painted(BAD, "refused:");
    match outcome.refused {
        Some(Refused::WrongFiles) => {
            let report = progress::report(&outcome.last.report, &progress::texts(&outcome.last));
            let remedy = "correct the files, or carry on with the stacks that are right: --keep-going";
            return format!("{report}{refused} nothing was touched; {remedy}\n");
        }
        Some(Refused::OtherPlan) => {
            let plan = plan::plan(&shown(&outcome.last, branch, Against::Hosts));
            // Of what waits for its review the plan itself shows nothing.
            let waiting = outcome.last.plan.all_holds().find_map(|(_, hold)| {
                let Hold::Closed { why: Closed::NotReviewed(digest), .. } = hold else { return None };
                Some(digest.clone())
            });
            let digest = waiting.unwrap_or_else(|| outcome.last.plan.digest());
            let remedy = format!("review the new one, and name it: --plan-digest {}", digest.short());
            return format!("{plan}{refused} nothing was touched, for this is not the plan that was named; {remedy}\n");
        }
        None => {}
    }
    format!("\n{} {}\n", painted(STRONG, "afterwards:"), plan::summary(&outcome.last.plan))
}

fn members(outcome: &Outcome, branch: &str, exit: Exit) -> Value {
    json!({
        "exit": exit.code(),
        "refused": outcome.refused.is_some(),
        "refusedFor": outcome.refused.map(|refused| match refused {
            Refused::WrongFiles => "wrong-files",
            Refused::OtherPlan => "other-plan",
        }),
        "diagnostics": report_json::value(&outcome.last.report),
        "plan": plan_json::members(&shown(&outcome.first, branch, Against::Hosts)),
        "stacks": outcome.ended.values().map(ended_json).collect::<Vec<_>>(),
        "afterwards": plan_json::members(&shown(&outcome.last, branch, Against::Hosts)),
    })
}
