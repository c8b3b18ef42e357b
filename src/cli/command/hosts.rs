//! `bayplan hosts`: the inventory, and whether each host answers.

use crate::cli::args::{Format, Global, Repo};
use crate::cli::exit::Exit;
use crate::cli::show::hosts::{self, Shown};
use crate::cli::show::progress;
use crate::cli::trouble::Trouble;
use crate::cli::{open, out};
use crate::reconcile::{self, Context, Look};

pub async fn hosts(global: &Global, repo: &Repo) -> Result<Exit, Trouble> {
    let config = open::config(global)?;
    open::start_logging(global, &config, "warn");
    let mut site = open::site(global, repo, config).await?;
    let pass = reconcile::pass(&mut site, Look::Offline, &Context::default()).await?;
    let inventory = &pass.desired.inventory;
    let world = site.observer.observe(inventory, &site.engines).await;
    let shown = Shown { inventory, world: &world, ledger: &pass.ledger };
    match global.format {
        Format::Json => out::say(&hosts::json(&shown)),
        Format::Human | Format::Github | Format::Sarif | Format::Markdown => out::say(&hosts::table(&shown)),
    }
    if inventory.wrong.is_empty() {
        return Ok(Exit::AsAsked);
    }
    out::note(&progress::report(&pass.report, &progress::texts(&pass)));
    Ok(Exit::Repository)
}
