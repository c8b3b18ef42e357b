//! `bayplan plan --survives`: whether every service survives the loss of any one host.

use crate::cli::args::{Format, Global, Repo};
use crate::cli::command::plan::{What, named, place};
use crate::cli::command::suppose;
use crate::cli::exit::Exit;
use crate::cli::show::json::document;
use crate::cli::show::{progress, survives};
use crate::cli::trouble::Trouble;
use crate::cli::{open, out};
use crate::placement::survival::losses;
use crate::reconcile::suppose::Supposed;
use crate::reconcile::{self, Context, Look};

pub async fn survives(global: &Global, repo: &Repo, what: What<'_>, supposed: Vec<Supposed>) -> Result<Exit, Trouble> {
    let config = open::config(global)?;
    open::start_logging(global, &config, "warn");
    let mut site = open::site(global, repo, config).await?;
    open::note_uncommitted(&site).await?;
    let (_, at) = place(&site, what).await?;
    let what_if = suppose::said(&supposed);
    let pass = reconcile::pass(&mut site, Look::Offline, &Context { at, supposed, ..Context::default() }).await?;
    let stacks = pass.stacks();
    let shown = survives::Shown {
        losses: &losses(&pass.placement_input(&stacks)),
        held: &pass.placement.held,
        what: &format!("{}{what_if}", named(&site, what)),
        revision: &pass.revision,
        ledger: pass.ledger.commit.as_ref(),
    };
    out::note(&progress::report(&pass.report, &progress::texts(&pass)));
    match global.format {
        Format::Json => out::say(&document("survival", survives::members(&shown))),
        Format::Markdown => out::say(&survives::markdown(&shown)),
        Format::Human | Format::Github | Format::Sarif => out::say(&survives::text(&shown)),
    }
    let exit = if shown.is_survived() { Exit::AsAsked } else { Exit::No };
    Ok(if pass.report.has_errors() { exit.and(Exit::Repository) } else { exit })
}
