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
use crate::controller::once::{self, Options, Outcome, WrongFiles};
use crate::diagnostic::json as report_json;
use crate::model::record::StackStatus;
use crate::name::Digest;
use crate::plan::want::{Gone, Want, Why};

pub async fn apply(
    global: &Global,
    repo: &Repo,
    wrong_files: WrongFiles,
    allow_removal: &[String],
) -> Result<Exit, Trouble> {
    let allowed_removals = allow_removal
        .iter()
        .map(|text| Digest::parse(text).map_err(|why| Trouble::usage(format!("--allow-removal: `{text}` {why}"))))
        .collect::<Result<_, _>>()?;
    let options = Options { wrong_files, allowed_removals };
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
        out::say(&summary(&outcome));
        if stop.is_cancelled() {
            out::note("stopped at a step's border, as asked; the next apply carries on\n");
        }
    } else {
        out::say(&document("apply", members(&outcome, &branch, exit)));
    }
    Ok(exit)
}

fn exit(outcome: &Outcome) -> Exit {
    let mut exit = Exit::AsAsked;
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
            Want::Stack { why: Why::Head | Why::WrongAtHead | Why::MayBeIn(_), .. }
            | Want::Nothing { why: Gone::NotAskedFor, .. }
            | Want::Keep { .. } => exit,
        };
    }
    if outcome.last.plan.all_holds().any(|(_, hold)| hold.holds_the_stack()) {
        exit = exit.and(Exit::Held);
    }
    exit
}

fn summary(outcome: &Outcome) -> String {
    if outcome.refused {
        let mut text = progress::report(&outcome.last.report, &progress::texts(&outcome.last));
        text.push_str(&format!(
            "{} nothing was touched; correct the files, or carry on with the stacks that are right: --keep-going\n",
            painted(BAD, "refused:")
        ));
        return text;
    }
    format!("\n{} {}\n", painted(STRONG, "afterwards:"), plan::summary(&outcome.last.plan))
}

fn members(outcome: &Outcome, branch: &str, exit: Exit) -> Value {
    json!({
        "exit": exit.code(),
        "refused": outcome.refused,
        "diagnostics": report_json::value(&outcome.last.report),
        "plan": plan_json::members(&shown(&outcome.first, branch, Against::Hosts)),
        "stacks": outcome.ended.values().map(ended_json).collect::<Vec<_>>(),
        "afterwards": plan_json::members(&shown(&outcome.last, branch, Against::Hosts)),
    })
}
