//! `bayplan run`: deploys every push until it is stopped.

use tokio::sync::mpsc;

use crate::cli::args::{Format, Global, Log, Repo};
use crate::cli::exit::Exit;
use crate::cli::show::paint::{FAINT, STRONG, painted, plain};
use crate::cli::show::progress::{self, Narrator, Steps};
use crate::cli::trouble::Trouble;
use crate::cli::{open, out, signals};
use crate::controller::run as controller;
use crate::model::config::{Config, LogFormat};

/// Who listens to the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Audience {
    /// A person: the story.
    Person,
    /// A program: an event a line.
    Program,
    /// A log collector: structured log lines alone.
    Log,
}

pub async fn run(global: &Global, repo: &Repo) -> Result<Exit, Trouble> {
    let config = open::config(global)?;
    let audience = audience(global, &config);
    // A person reads the story; log lines beside it would tell it twice.
    let filter = if audience == Audience::Log { "warn,bayplan=info" } else { "warn,bayplan=error" };
    open::start_logging(global, &config, filter);
    let mut site = open::site(global, repo, config).await?;
    open::note_uncommitted(&site).await?;
    let stop = signals::shutdown()?;
    let branch = site.source.branch().to_owned();
    if audience == Audience::Person {
        let place = format!("{} of {}", plain(&branch), plain(site.source.location()));
        out::say(&format!("watching {}; {}\n", painted(STRONG, place), painted(FAINT, "Ctrl-C ends it")));
    }
    let (events, mut heard) = mpsc::unbounded_channel();
    let telling = tokio::spawn(async move {
        let mut narrator = Narrator::new(&branch, Steps::Told);
        while let Some(event) = heard.recv().await {
            match audience {
                Audience::Person => out::say(&narrator.tell(&event)),
                Audience::Program => out::say(&progress::json(&event, &branch)),
                Audience::Log => {}
            }
        }
    });
    let ended = controller::run(&mut site, events, stop).await;
    telling.await.expect("telling does not panic");
    ended?;
    if audience == Audience::Person {
        out::say("stopped; what runs keeps running\n");
    }
    Ok(Exit::AsAsked)
}

fn audience(global: &Global, config: &Config) -> Audience {
    let logs_json = global.log.map_or(config.log == LogFormat::Json, |log| log == Log::Json);
    match global.format {
        Format::Json => Audience::Program,
        Format::Human | Format::Github | Format::Sarif if logs_json => Audience::Log,
        Format::Human | Format::Github | Format::Sarif => Audience::Person,
    }
}
