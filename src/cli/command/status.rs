//! `bayplan status`: the deployment map, from the status branch.

use std::sync::Arc;

use crate::cli::args::{Format, Global, Repo};
use crate::cli::command::history::NO_LEDGER;
use crate::cli::exit::Exit;
use crate::cli::show::map;
use crate::cli::trouble::Trouble;
use crate::cli::{open, out};
use crate::model::record::Ledger;
use crate::model::stack::Stack;
use crate::reconcile::site::Site;
use crate::reconcile::{self, Context, Look, Pass, PassError};
use crate::status::map::{self as status_map, Map};

pub async fn status(global: &Global, repo: &Repo) -> Result<Exit, Trouble> {
    let config = open::config(global)?;
    open::start_logging(global, &config, "warn");
    let mut site = open::site(global, repo, config).await?;
    let (ledger, map) = draw(&mut site).await?;
    if ledger.commit.is_none() {
        out::note(NO_LEDGER);
    }
    match global.format {
        Format::Json => out::say(&map::json(&map, ledger.commit.as_ref())),
        Format::Human | Format::Github | Format::Sarif | Format::Markdown => out::say(&map::map(&map)),
    }
    Ok(Exit::AsAsked)
}

/// The ledger and the map of it. A branch without commits still has its ledger.
pub async fn draw(site: &mut Site) -> Result<(Arc<Ledger>, Map), Trouble> {
    match reconcile::pass(site, Look::Offline, &Context::default()).await {
        Ok(pass) => Ok((pass.ledger.clone(), of_pass(&pass))),
        Err(PassError::NoCommit { .. }) => {
            let ledger = site.ledger.read().await?;
            let map = status_map::map(&status_map::Input { ledger: &ledger, inventory: None, stacks: &[] });
            Ok((ledger, map))
        }
        Err(error) => Err(error.into()),
    }
}

/// The map of what a pass read.
pub fn of_pass(pass: &Pass) -> Map {
    let stacks: Vec<Arc<Stack>> = pass.desired.stacks.values().chain(pass.before.values()).cloned().collect();
    status_map::map(&status_map::Input {
        ledger: &pass.ledger,
        inventory: Some(&pass.desired.inventory),
        stacks: &stacks,
    })
}
