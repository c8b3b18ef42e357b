//! `bayplan plan`: what a push would do.

use std::collections::BTreeMap;

use crate::cli::args::{Format, Global, Repo};
use crate::cli::command::suppose;
use crate::cli::exit::Exit;
use crate::cli::show::plan::{Against, Shown};
use crate::cli::show::progress::{self, shown};
use crate::cli::show::{json, markdown, plan, plan_json};
use crate::cli::trouble::Trouble;
use crate::cli::{open, out};
use crate::controller::once::clock;
use crate::diagnostic::json as report_json;
use crate::forge::Commented;
use crate::name::{Revision, StackSlug};
use crate::plan::closed::{self, Closed};
use crate::reconcile::site::Site;
use crate::reconcile::suppose::Supposed;
use crate::reconcile::{self, Context, Look, Pass, closing};

/// What ends the command with 4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Differences {
    Fine,
    /// `--exit-code`.
    AreANo,
}

/// What is planned.
#[derive(Debug, Clone, Copy)]
pub enum What<'a> {
    /// The newest commit of the branch.
    Head(Look),
    /// What a pull request would make of it, from Git alone.
    Merge { base: &'a str, head: &'a str },
}

/// What is asked.
#[derive(Debug)]
pub struct Asked<'a> {
    pub what: What<'a>,
    pub differences: Differences,
    pub supposed: Vec<Supposed>,
    /// The pull request that is told.
    pub comment: Option<u64>,
}

/// The commit to work from, where it is not the head, and where to look.
pub async fn place(site: &Site, what: What<'_>) -> Result<(Look, Option<Revision>), Trouble> {
    Ok(match what {
        What::Head(look) => (look, None),
        What::Merge { base, head } => (Look::Offline, Some(site.source.merged(base, head).await?)),
    })
}

/// What the plan is for, in words.
pub fn named(site: &Site, what: What<'_>) -> String {
    match what {
        What::Head(_) => site.source.branch().to_owned(),
        What::Merge { base, head } => format!("{base} with {head} merged"),
    }
}

pub async fn plan(global: &Global, repo: &Repo, asked: &Asked<'_>) -> Result<Exit, Trouble> {
    let config = open::config(global)?;
    open::start_logging(global, &config, "warn");
    let mut site = open::site(global, repo, config).await?;
    let forge = match asked.comment {
        Some(pull) => {
            let forge = open::forge(&site.config, site.source.location())?;
            Some((forge.ok_or_else(|| Trouble::usage("--comment needs `forge` in the configuration"))?, pull))
        }
        None => None,
    };
    open::note_uncommitted(&site).await?;
    let (look, at) = place(&site, asked.what).await?;
    let context = Context { at, supposed: asked.supposed.clone(), ..Context::default() };
    let pass = reconcile::pass(&mut site, look, &context).await?;
    let branch = named(&site, asked.what) + &suppose::said(&asked.supposed);
    let against = match look {
        Look::Hosts => Against::Hosts,
        Look::Offline => Against::Ledger(pass.ledger.commit.as_ref()),
    };
    let later = later(&site, &pass).await;
    let shown = Shown { later: &later, ..shown(&pass, &branch, against) };
    match global.format {
        Format::Json => {
            let mut members = plan_json::members(&shown);
            members["diagnostics"] = report_json::value(&pass.report);
            out::say(&json::document("plan", members));
        }
        Format::Markdown => {
            out::note(&progress::report(&pass.report, &progress::texts(&pass)));
            out::say(&markdown::plan(&shown));
        }
        Format::Human | Format::Github | Format::Sarif => {
            out::say(&progress::report(&pass.report, &progress::texts(&pass)));
            out::say(&plan::plan(&shown));
        }
    }
    if let Some((forge, pull)) = forge {
        let done = match forge.comment(pull, markdown::MARKER, &markdown::plan(&shown)).await? {
            Commented::New => "the plan is a comment on pull request",
            Commented::Updated => "the comment was updated on pull request",
            Commented::UpToDate => "the comment says the same already on pull request",
        };
        out::note(&format!("{done} {pull}\n"));
    }
    Ok(exit(&pass, asked.differences))
}

/// The stacks that the revision changes and that the operator's schedule keeps closed now, or that wait for a commit that names
/// the plan. The plan is of what a merge brings in the end, and the same at every hour.
async fn later(site: &Site, pass: &Pass) -> BTreeMap<StackSlug, Closed> {
    let unreviewed = closing::unreviewed(site, pass, clock()).await;
    let changed = pass.plan.stacks.iter().filter(|(_, stack)| stack.is_changed_by_the_revision());
    let closed = changed.filter_map(|(slug, _)| {
        let by_time = closed::now(&site.config.schedule, pass.wants.get(slug)?.name(), clock());
        let closed = by_time.or_else(|| unreviewed.get(slug).map(|digest| Closed::NotReviewed(digest.clone())))?;
        Some((slug.clone(), closed))
    });
    closed.collect()
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
