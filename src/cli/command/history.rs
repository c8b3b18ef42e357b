//! `bayplan history`: what happened, from the status branch.

use std::collections::BTreeSet;

use crate::cli::args::{Format, Global, Repo};
use crate::cli::exit::Exit;
use crate::cli::show::history::{self, Shown};
use crate::cli::show::paint::{FAINT, painted, plain};
use crate::cli::trouble::Trouble;
use crate::cli::{open, out, which};
use crate::ledger::history::{self as ledger, Named, Quiet};
use crate::name::{HostName, ServiceName, StackName, StackSlug};
use crate::parse::suggest::did_you_mean_or_all;

/// What is said where there is no ledger.
pub const NO_LEDGER: &str =
    "note: there is no branch bayplan/status here: nothing was deployed yet, or it was not fetched\n";

/// What the command line asks for.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// STACK or STACK/SERVICE.
    pub what: Option<&'a str>,
    pub host: Option<&'a str>,
    /// 0: all.
    pub limit: usize,
    pub quiet: Quiet,
}

pub async fn history(global: &Global, repo: &Repo, asked: &Asked<'_>) -> Result<Exit, Trouble> {
    let (what, repo) = match (asked.what, &repo.repo) {
        (Some(place), None) if is_a_place(place) => (None, &Repo { repo: Some(place.to_owned()) }),
        (what, _) => (what, repo),
    };
    let config = open::config(global)?;
    open::start_logging(global, &config, "warn");
    let question = question(what, asked)?;
    let site = open::site(global, repo, config).await?;
    let history = site.ledger.history(question.clone()).await?;
    if history.head.is_none() {
        out::note(NO_LEDGER);
    } else if history.entries.is_empty() {
        known(&history.named, &question)?;
    }
    let revisions: BTreeSet<_> = history.entries.iter().filter_map(|entry| entry.happened.revision.clone()).collect();
    let authored = site.source.authored(&revisions).await?;
    let shown = Shown { ledger: history.head.as_ref(), entries: &history.entries, authored: &authored };
    match global.format {
        Format::Json => out::say(&history::json(&shown)),
        Format::Human | Format::Github | Format::Sarif | Format::Markdown => out::say(&history::timeline(&shown)),
    }
    if asked.limit > 0 && history.entries.len() == asked.limit {
        out::note(&format!("{}\n", painted(FAINT, format!("the newest {}; `--limit 0` shows all", asked.limit))));
    }
    if history.is_cut_off {
        out::note("note: this clone is shallow, and what is older is not in it: `git fetch --unshallow`\n");
    }
    Ok(Exit::AsAsked)
}

/// Nothing that begins like this is a stack's slug.
fn is_a_place(text: &str) -> bool {
    text.starts_with(['/', '.']) || text.contains("://")
}

fn question(what: Option<&str>, asked: &Asked<'_>) -> Result<ledger::Asked, Trouble> {
    let (stack, service) = match what.map(which::split) {
        Some((stack, service)) => (Some(slug(stack)?), service),
        None => (None, None),
    };
    let wrong = |text: &str, why| Trouble::usage(format!("`{}` {why}", plain(text)));
    let service = service.map(|text| ServiceName::new(text).map_err(|why| wrong(text, why))).transpose()?;
    let host = asked.host.map(|text| HostName::new(text).map_err(|why| wrong(text, why))).transpose()?;
    Ok(ledger::Asked { stack, service, host, most: (asked.limit > 0).then_some(asked.limit), quiet: asked.quiet })
}

/// A stack by its name or its slug: the slug of a slug is itself.
pub fn slug(text: &str) -> Result<StackSlug, Trouble> {
    let name = StackName::new(text).map_err(|why| Trouble::usage(format!("the stack `{}` {why}", plain(text))))?;
    Ok(name.slug().clone())
}

/// Whether what has no entry was ever there: the ledger was read to its end before that is known.
fn known(named: &Named, asked: &ledger::Asked) -> Result<(), Trouble> {
    let known = |what: &str, word: &str, known: Vec<&str>| match known.contains(&word) {
        true => Ok(()),
        false => {
            let hint = did_you_mean_or_all(word, known, "it names none");
            Err(Trouble::usage(format!("the ledger names no {what} {word}: {hint}")))
        }
    };
    if let Some(stack) = asked.stack.as_ref().filter(|stack| !named.stacks.contains(*stack)) {
        return Err(unknown(stack, &named.stacks));
    }
    if let Some((stack, service)) = asked.stack.as_ref().zip(asked.service.as_ref()) {
        known(
            &format!("service of {stack} called"),
            service.as_str(),
            named.services.iter().map(ServiceName::as_str).collect(),
        )?;
    }
    asked
        .host
        .iter()
        .try_for_each(|host| known("host", host.as_str(), named.hosts.iter().map(HostName::as_str).collect()))
}

/// There is no such stack; which one was meant, or which there are.
pub fn unknown(stack: &StackSlug, known: &BTreeSet<StackSlug>) -> Trouble {
    let hint = did_you_mean_or_all(stack.as_str(), known.iter().map(StackSlug::as_str), "it names none");
    Trouble::usage(format!("the ledger names no stack {stack}: {hint}"))
}
