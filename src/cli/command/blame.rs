//! `bayplan blame`: who put each instance on its host, from the status branch.

use std::collections::BTreeSet;

use crate::cli::args::{Format, Global, Repo};
use crate::cli::command::history::{NO_LEDGER, slug, unknown};
use crate::cli::exit::Exit;
use crate::cli::show::blame;
use crate::cli::trouble::Trouble;
use crate::cli::{open, out};

pub async fn blame(global: &Global, repo: &Repo, stack: &str) -> Result<Exit, Trouble> {
    let config = open::config(global)?;
    open::start_logging(global, &config, "warn");
    let slug = slug(stack)?;
    let site = open::site(global, repo, config).await?;
    let Some(blamed) = site.ledger.blame(&slug).await? else {
        let ledger = site.ledger.read().await?;
        if ledger.commit.is_none() {
            out::note(NO_LEDGER);
        }
        return Err(unknown(&slug, &ledger.records.keys().cloned().collect()));
    };
    let revisions: BTreeSet<_> = blamed.instances.iter().map(|put| put.revision.clone()).collect();
    let authored = site.source.authored(&revisions).await?;
    match global.format {
        Format::Json => out::say(&blame::json(&blamed, &authored)),
        Format::Human | Format::Github | Format::Sarif | Format::Markdown => {
            out::say(&blame::blame(&blamed, &authored));
        }
    }
    Ok(Exit::AsAsked)
}
