//! `bayplan verify`: whether the ledger says what placement computes, and what hosts run.

use crate::cli::args::{Format, Global, Repo};
use crate::cli::exit::Exit;
use crate::cli::show::json::document;
use crate::cli::show::verify;
use crate::cli::trouble::Trouble;
use crate::cli::{open, out, which};
use crate::reconcile::verify::{Depth, verify as verify_site};

pub async fn verify(global: &Global, repo: &Repo, stack: Option<&str>, depth: Depth) -> Result<Exit, Trouble> {
    let config = open::config(global)?;
    open::start_logging(global, &config, "warn");
    let mut site = open::site(global, repo, config).await?;
    let ledger = site.ledger.read().await?;
    let only = stack.map(|word| which::stack(word, ledger.records.values().map(|record| &record.name))).transpose()?;
    let verified = verify_site(&mut site, only.as_ref(), depth).await?;
    match global.format {
        Format::Json => out::say(&document("verification", verify::members(&verified))),
        Format::Human | Format::Github | Format::Sarif | Format::Markdown => out::say(&verify::text(&verified)),
    }
    let differs = if verified.differs() { Exit::No } else { Exit::AsAsked };
    // What was not computed and what was not seen was not verified.
    Ok(if verified.is_whole() { differs } else { differs.and(Exit::World) })
}
