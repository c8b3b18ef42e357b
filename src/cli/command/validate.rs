//! `bayplan validate`: what is wrong with the files on disk.

use std::path::Path;

use crate::cli::args::{Format, Global};
use crate::cli::exit::Exit;
use crate::cli::show::paint::{GOOD, count, painted};
use crate::cli::show::progress;
use crate::cli::trouble::Trouble;
use crate::cli::{open, out};
use crate::diagnostic::{Texts, github, json, sarif};
use crate::reconcile::understand::understand;
use crate::source;
use crate::validate::cache::Cache;

pub async fn validate(global: &Global, path: &Path) -> Result<Exit, Trouble> {
    let config = open::config(global)?;
    if !path.is_dir() {
        return Err(Trouble::usage(format!("{} is no folder", path.display())));
    }
    let snapshot = source::read_work_tree(path).await?;
    let (desired, report) = understand(&mut Cache::new(config.policy.clone()), &snapshot);
    let texts: Texts = snapshot.files.iter().map(|file| (file.path.clone(), file.text.clone())).collect();
    match global.format {
        // Refused before; people read it all the same.
        Format::Human | Format::Markdown => {
            out::say(&progress::report(&report, &texts));
            if !report.has_errors() {
                let stacks = count(desired.stacks.len(), "stack", "stacks");
                let hosts = count(desired.inventory.hosts.len(), "host", "hosts");
                out::say(&format!("{} {stacks}, {hosts}\n", painted(GOOD, "all right:")));
            }
            if snapshot.files.is_empty() && snapshot.problems.is_empty() {
                out::note(&format!(
                    "note: there is no file under `stacks/` or `hosts/` of {}; `bayplan init` writes some\n",
                    path.display()
                ));
            }
        }
        Format::Json => out::say(&json::render(&report)),
        Format::Github => out::say(&github::render(&report)),
        Format::Sarif => out::say(&sarif::render(&report)),
    }
    Ok(if report.has_errors() { Exit::Repository } else { Exit::AsAsked })
}
