//! `bayplan run`: deploys every push until it is stopped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::cli::args::{Format, Global, Log, Repo};
use crate::cli::exit::Exit;
use crate::cli::show::json::line;
use crate::cli::show::log::Logged;
use crate::cli::show::paint::{FAINT, GOOD, STRONG, WARN, painted, plain};
use crate::cli::show::progress::{self, Narrator, Steps};
use crate::cli::trouble::Trouble;
use crate::cli::{open, out, signals};
use crate::controller::report::Reports;
use crate::controller::{Event, run as controller};
use crate::forge::CommitStatus;
use crate::forge::reporter::{News, Reporter};
use crate::model::config::{Config, LogFormat, Push};
use crate::web::limits::Limits;
use crate::web::{self, Hooks};

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

/// How long a stop waits for a forge to hear of the last commits.
const LAST_WORDS: Duration = Duration::from_secs(3);

pub async fn run(global: &Global, repo: &Repo) -> Result<Exit, Trouble> {
    let config = open::config(global)?;
    let audience = audience(global, &config);
    // A person reads the story; log lines beside it would tell it twice.
    let filter = if audience == Audience::Log { "warn,bayplan=info" } else { "warn,bayplan=error" };
    open::start_logging(global, &config, filter);
    // What is not to be had is said before anything is fetched.
    let webhooks = match &config.webhooks {
        Some(webhooks) => {
            let secrets = open::webhook_secrets(webhooks)?;
            Some((web::listen(webhooks.listen).await?, secrets, Limits::new(webhooks.per_second)))
        }
        None => None,
    };
    let mut site = open::site(global, repo, config).await?;
    open::note_uncommitted(&site).await?;
    let stop = signals::shutdown()?;
    let branch = site.source.branch().to_owned();
    if audience == Audience::Person {
        let place = format!("{} of {}", plain(&branch), plain(site.source.location()));
        out::say(&format!("watching {}; {}\n", painted(STRONG, place), painted(FAINT, "Ctrl-C ends it")));
    }
    let forge = open::forge(&site.config, site.source.location())?;
    let status_page = forge.as_ref().filter(|_| site.config.push != Push::Never).map(|forge| forge.status_page());
    let reporter = forge.map(|forge| Reporter::start(forge, move |news| tell(&news, audience)));
    let is_ready = Arc::new(AtomicBool::new(false));
    let listening = webhooks.map(|(listener, secrets, limits)| {
        let address = listener.address();
        tracing::info!(%address, "listening for webhooks");
        if audience == Audience::Person {
            out::say(&format!("listening for webhooks at http://{address}/webhook/…\n"));
        }
        let (told, is_ready) = (site.told.clone(), is_ready.clone());
        let hooks = Hooks { branch: branch.clone(), secrets, told, is_ready, limits };
        tokio::spawn(listener.serve(hooks, stop.clone()))
    });
    let (events, mut heard) = mpsc::unbounded_channel();
    let telling = tokio::spawn(async move {
        let mut reports = Reports::default();
        let mut logged = Logged::default();
        let mut narrator = Narrator::new(&branch, Steps::Told);
        while let Some(event) = heard.recv().await {
            if matches!(event, Event::Passed(_)) {
                is_ready.store(true, Ordering::Release);
            }
            if let Some(reporter) = &reporter {
                for said in reports.hear(&event) {
                    let link = status_page.clone();
                    reporter.wish(said.commit, CommitStatus { state: said.state, sentence: said.sentence, link });
                }
            }
            match audience {
                Audience::Person => out::say(&narrator.tell(&event)),
                Audience::Program => out::say(&progress::json(&event, &branch)),
                Audience::Log => logged.hear(&event),
            }
        }
        reporter
    });
    let ended = controller::run(&mut site, events, stop.clone()).await;
    let reporter = telling.await.expect("telling does not panic");
    if let Some(reporter) = reporter {
        reporter.finish(LAST_WORDS).await;
    }
    // Where the service ended by itself, nobody asked for a stop.
    stop.cancel();
    if let Some(listening) = listening {
        listening.await.expect("listening does not panic");
    }
    ended?;
    if audience == Audience::Person {
        out::say("stopped; what runs keeps running\n");
    }
    Ok(Exit::AsAsked)
}

fn tell(news: &News, audience: Audience) {
    match (audience, news) {
        (Audience::Person, News::Failed(why)) => {
            out::say(&format!("{} {}\n", painted(WARN, "the forge could not be told:"), plain(why)));
        }
        (Audience::Person, News::Again) => out::say(&format!("{}\n", painted(GOOD, "the forge can be told again"))),
        (Audience::Program, News::Failed(why)) => out::say(&line("forge-failed", serde_json::json!({"why": why}))),
        (Audience::Program, News::Again) => out::say(&line("forge-again", serde_json::json!({}))),
        // It is logged where it happens.
        (Audience::Log, News::Failed(_) | News::Again) => {}
    }
}

fn audience(global: &Global, config: &Config) -> Audience {
    let logs_json = global.log.map_or(config.log == LogFormat::Json, |log| log == Log::Json);
    match global.format {
        Format::Json => Audience::Program,
        Format::Human | Format::Github | Format::Sarif | Format::Markdown if logs_json => Audience::Log,
        Format::Human | Format::Github | Format::Sarif | Format::Markdown => Audience::Person,
    }
}
