//! `bayplan explain`: why an instance is where it is, host by host.

use crate::cli::args::{Format, Global, Repo};
use crate::cli::exit::Exit;
use crate::cli::show::explain::{self, Shown};
use crate::cli::show::json::document;
use crate::cli::show::paint::plain;
use crate::cli::trouble::Trouble;
use crate::cli::{open, out, which};
use crate::name::HostName;
use crate::parse::suggest::did_you_mean_or_all;
use crate::placement;
use crate::placement::account::Account;
use crate::plan::want::Want;
use crate::reconcile::{self, Context, Look};

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// `STACK`, `STACK/SERVICE` or `STACK/SERVICE-N`.
    pub what: &'a str,
    /// Only this host's reasons.
    pub host: Option<&'a str>,
    /// The commit to place, instead of the branch's head.
    pub revision: Option<&'a str>,
}

pub async fn explain(global: &Global, repo: &Repo, asked: &Asked<'_>) -> Result<Exit, Trouble> {
    let config = open::config(global)?;
    open::start_logging(global, &config, "warn");
    let mut site = open::site(global, repo, config).await?;
    let at = match asked.revision {
        Some(name) => Some(site.source.named(name).await?),
        None => None,
    };
    // From Git alone: placement knows nothing else.
    let pass = reconcile::pass(&mut site, Look::Offline, &Context { at, ..Context::default() }).await?;
    if pass.ledger.commit.is_none() {
        out::note(
            "note: there is no branch bayplan/status here: everything is placed as on an empty fleet that nobody measured\n",
        );
    }
    let (word, part) = which::split(asked.what);
    let slug = which::stack(word, pass.wants.values().map(Want::name))?;
    let stacks = pass.stacks();
    let accounts = placement::explain(&pass.placement_input(&stacks), &slug);
    let ids = which::instances(asked.what, part, accounts.iter().map(|account| &account.instance))?;
    let chosen: Vec<&Account> = accounts.iter().filter(|account| ids.contains(&&account.instance)).collect();
    if chosen.is_empty() {
        return Err(Trouble::usage(format!("{slug} is not placed: it is not asked for, or never ran and is wrong")));
    }
    let host = asked.host.map(|host| known_host(&chosen, host)).transpose()?;
    let shown =
        Shown { accounts: &chosen, host: host.as_ref(), revision: &pass.revision, ledger: pass.ledger.commit.as_ref() };
    match global.format {
        Format::Json => out::say(&document("explanation", explain::members(&shown))),
        Format::Human | Format::Github | Format::Sarif | Format::Markdown => out::say(&explain::text(&shown)),
    }
    Ok(Exit::AsAsked)
}

fn known_host(accounts: &[&Account], word: &str) -> Result<HostName, Trouble> {
    let hosts: Vec<&HostName> = accounts.iter().flat_map(|a| a.candidates.iter().map(|c| &c.host)).collect();
    if let Some(host) = hosts.iter().find(|host| host.as_str() == word) {
        return Ok((*host).clone());
    }
    let mut known: Vec<&str> = hosts.iter().map(|host| host.as_str()).collect();
    known.sort_unstable();
    known.dedup();
    let hint = did_you_mean_or_all(word, known, "it is empty");
    Err(Trouble::usage(format!("there is no host {} in the inventory: {hint}", plain(word))))
}
