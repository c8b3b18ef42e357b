//! `bayplan plan`: what a push would do.

use crate::cli::args::{Format, Global, Repo};
use crate::cli::exit::Exit;
use crate::cli::show::plan::Against;
use crate::cli::show::progress::{self, shown};
use crate::cli::show::{json, plan, plan_json};
use crate::cli::trouble::Trouble;
use crate::cli::{open, out};
use crate::diagnostic::json as report_json;
use crate::reconcile::{self, Context, Look, Pass};

/// What ends the command with 4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Differences {
    Fine,
    /// `--exit-code`.
    AreANo,
}

pub async fn plan(global: &Global, repo: &Repo, look: Look, differences: Differences) -> Result<Exit, Trouble> {
    let config = open::config(global)?;
    open::start_logging(global, &config, "warn");
    let mut site = open::site(global, repo, config).await?;
    open::note_uncommitted(&site).await?;
    let pass = reconcile::pass(&mut site, look, &Context::default()).await?;
    let branch = site.source.branch().to_owned();
    let against = match look {
        Look::Hosts => Against::Hosts,
        Look::Offline => Against::Ledger(pass.ledger.commit.as_ref()),
    };
    let shown = shown(&pass, &branch, against);
    match global.format {
        Format::Json => {
            let mut members = plan_json::members(&shown);
            members["diagnostics"] = report_json::value(&pass.report);
            out::say(&json::document("plan", members));
        }
        Format::Human | Format::Github | Format::Sarif => {
            out::say(&progress::report(&pass.report, &progress::texts(&pass)));
            out::say(&plan::plan(&shown));
        }
    }
    Ok(exit(&pass, differences))
}

fn exit(pass: &Pass, differences: Differences) -> Exit {
    let mut exit = Exit::AsAsked;
    if pass.report.has_errors() {
        exit = exit.and(Exit::Repository);
    }
    if differences == Differences::AreANo && !pass.plan.is_empty() {
        exit = exit.and(Exit::No);
    }
    if pass.plan.all_holds().any(|(_, hold)| hold.holds_the_stack()) {
        exit = exit.and(Exit::Held);
    }
    exit
}
