//! `bayplan rollback`: the commit that takes a stack back.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::cli::args::{Format, Global, Repo};
use crate::cli::command::history::slug;
use crate::cli::exit::Exit;
use crate::cli::show::progress;
use crate::cli::show::rollback::{self as show, Place, Shown};
use crate::cli::trouble::Trouble;
use crate::cli::{open, out};
use crate::diagnostic::Texts;
use crate::reconcile::rollback::{self, Verdict};
use crate::source::restore::{Onto, Restored, Restoring};

/// Where the commit goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Branch {
    New,
    /// `--push`.
    Watched,
}

pub async fn rollback(
    global: &Global,
    repo: &Repo,
    stack: &str,
    to: Option<&str>,
    branch: Branch,
) -> Result<Exit, Trouble> {
    let config = open::config(global)?;
    open::start_logging(global, &config, "warn");
    let slug = slug(stack)?;
    let mut site = open::site(global, repo, config).await?;
    let decided = rollback::rollback(&mut site, &slug, to).await?;
    let authored = site.source.authored(&BTreeSet::from([decided.to.clone()])).await?;
    let authored = authored.get(&decided.to);
    let watched = site.source.branch();
    let restored = match &decided.verdict {
        Verdict::Same => Some(Restored::Same),
        Verdict::Wrong => None,
        Verdict::Right | Verdict::FailedBefore(_) => {
            let new = format!("bayplan-rollback/{slug}-{}", decided.to.short());
            let restoring = Restoring {
                head: decided.head.clone(),
                from: decided.to.clone(),
                removed: decided.removed.clone(),
                restored: decided.restored.clone(),
                message: rollback::message(&decided, authored.map(|authored| authored.subject.as_str()), watched),
                onto: match branch {
                    Branch::New => Onto::NewBranch(new),
                    Branch::Watched => Onto::Watched { or: new },
                },
            };
            Some(site.source.restore(&restoring).await?)
        }
    };
    let place = if site.source.is_mirror() {
        Place::Remote
    } else if site.source.work_tree().is_none() {
        Place::Bare
    } else {
        Place::WorkTree
    };
    let shown = Shown {
        rollback: &decided,
        restored: restored.as_ref(),
        authored,
        branch: watched,
        place,
        repo: repo.repo.as_deref(),
    };
    match global.format {
        Format::Json => out::say(&show::json(&shown)),
        Format::Human | Format::Github | Format::Sarif | Format::Markdown => {
            if restored.is_none() {
                let texts: Texts =
                    decided.after.files.iter().map(|file| (Arc::clone(&file.path), file.text.clone())).collect();
                out::say(&progress::report(&decided.report, &texts));
            }
            out::say(&show::rollback(&shown));
        }
    }
    Ok(if restored.is_some() { Exit::AsAsked } else { Exit::Repository })
}
