//! `bayplan logs`: what containers say.
//!
//! Never shows the value of a variable, even where a container prints it.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};

use serde_json::json;

use crate::cli::args::{Format, Global, Repo};
use crate::cli::exit::Exit;
use crate::cli::show::json::line;
use crate::cli::show::paint::{FAINT, painted};
use crate::cli::trouble::Trouble;
use crate::cli::{open, out, signals, which};
use crate::engine::EngineError;
use crate::model::record::{InstanceRecord, Ledger};
use crate::model::world::{ContainerSeen, State};
use crate::name::{HostName, InstanceId, StackSlug};
use crate::reconcile::{self, Context, Look, Pass};
use crate::secret::{self, Secret};

/// Until when lines are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    Now,
    /// Until stopped.
    Stopped,
}

/// Containers may print their variables, and values of variables are not shown.
type Secrets = BTreeSet<Secret<String>>;

/// One container whose lines are shown.
struct Spoken {
    id: InstanceId,
    host: HostName,
    engine: std::sync::Arc<dyn crate::engine::Engine>,
    container: String,
}

pub async fn logs(global: &Global, repo: &Repo, what: &str, until: Until, tail: u32) -> Result<Exit, Trouble> {
    let config = open::config(global)?;
    open::start_logging(global, &config, "warn");
    let mut site = open::site(global, repo, config).await?;
    let pass = reconcile::pass(&mut site, Look::Offline, &Context::default()).await?;
    let chosen = choose(&pass.ledger, what)?;
    let mut spoken = Vec::new();
    for (id, record) in chosen {
        let endpoint = pass.world.hosts.get(&record.host);
        let Some(engine) = endpoint.and_then(|endpoint| site.engines.get(endpoint)) else {
            out::note(&format!("note: {id} is on {}, which has no endpoint that is connected to\n", record.host));
            continue;
        };
        let container = match &record.container {
            Some(container) => container.clone(),
            None => seen(engine.as_ref(), &pass.owner, &id).await.unwrap_or_else(|| id.name_at_rest().to_string()),
        };
        spoken.push(Spoken { id, host: record.host, engine: engine.clone(), container });
    }
    if spoken.is_empty() {
        return Err(Trouble::world(format!("no container of {what} can be asked")));
    }
    let secrets = secrets(&pass, &spoken.iter().map(|one| &one.id.stack).collect());
    let shown = Shown { spoken: &spoken, secrets: &secrets, format: global.format };
    match until {
        Until::Now => print(&shown, tail).await,
        Until::Stopped => follow(&shown, tail).await,
    }
}

/// A container of the instance that the ledger does not name: one that is being made, or that failed.
async fn seen(engine: &dyn crate::engine::Engine, owner: &str, id: &InstanceId) -> Option<String> {
    let containers = engine.containers().await.ok()?;
    let is_of = |container: &&ContainerSeen| container.ours(owner).is_some_and(|ours| ours.instance == *id);
    let mut found: Vec<&ContainerSeen> = containers.iter().filter(is_of).collect();
    found.sort_by_key(|container| container.state != State::Running);
    found.first().map(|container| container.id.clone())
}

/// The values of variables of what is asked for now of these stacks, and of what ran before it.
fn secrets(pass: &Pass, of: &BTreeSet<&StackSlug>) -> Secrets {
    let planned = pass.plan.stacks.iter().filter(|(slug, _)| of.contains(slug)).flat_map(|(_, stack)| stack.secrets());
    let stacks = pass.desired.stacks.iter().chain(&pass.before).filter(|(slug, _)| of.contains(slug));
    let services = stacks.flat_map(|(_, stack)| &stack.services);
    planned.chain(services.flat_map(|service| service.environment.values().cloned())).collect()
}

async fn print(shown: &Shown<'_>, tail: u32) -> Result<Exit, Trouble> {
    let mut exit = Exit::AsAsked;
    for one in shown.spoken {
        match one.engine.logs(&one.container, tail).await {
            Ok(lines) => lines.into_iter().for_each(|text| out::say(&shown.said(one, text))),
            Err(error) => {
                out::note(&format!("{}: {error}\n", one.id));
                exit = Exit::World;
            }
        }
    }
    Ok(exit)
}

async fn follow(shown: &Shown<'_>, tail: u32) -> Result<Exit, Trouble> {
    let stop = signals::shutdown()?;
    let mut streams: Vec<BoxStream<'_, (&Spoken, Result<String, EngineError>)>> = Vec::new();
    for one in shown.spoken {
        let lines = one.engine.follow_logs(&one.container, tail).await.map_err(Trouble::world)?;
        streams.push(lines.map(move |line| (one, line)).boxed());
    }
    let mut all = stream::select_all(streams);
    loop {
        let next = tokio::select! {
            next = all.next() => next,
            () = stop.cancelled() => return Ok(Exit::AsAsked),
        };
        match next {
            None => return Ok(Exit::AsAsked),
            Some((one, Ok(text))) => out::say(&shown.said(one, text)),
            Some((one, Err(error))) => out::note(&format!("{}: {error}\n", one.id)),
        }
    }
}

/// How lines are shown.
struct Shown<'a> {
    spoken: &'a [Spoken],
    secrets: &'a Secrets,
    format: Format,
}

impl Shown<'_> {
    /// A line, with whose it is: for people only where there are several. Containers may colour their own lines.
    fn said(&self, one: &Spoken, text: String) -> String {
        let text = secret::without(self.secrets, text);
        let text = text.trim_end_matches(['\n', '\r']);
        if self.format == Format::Json {
            return line("log", json!({"instance": one.id.to_string(), "host": one.host.as_str(), "text": text}));
        }
        if self.spoken.len() == 1 {
            return format!("{text}\n");
        }
        format!("{} {text}\n", painted(FAINT, format!("{}-{} |", one.id.service, one.id.number)))
    }
}

/// The recorded instances that `STACK`, `STACK/SERVICE` or `STACK/SERVICE-N` means.
fn choose(ledger: &Ledger, what: &str) -> Result<Vec<(InstanceId, InstanceRecord)>, Trouble> {
    let (word, part) = which::split(what);
    let slug = which::stack(word, ledger.records.values().map(|record| &record.name))?;
    let record = &ledger.records[&slug];
    let deployment = record.next.as_ref().or(record.running.as_ref());
    let all: BTreeMap<&InstanceId, &InstanceRecord> =
        deployment.into_iter().flat_map(|deployment| &deployment.instances).collect();
    let chosen = which::instances(what, part, all.keys().copied())?;
    Ok(chosen.into_iter().map(|id| (id.clone(), all[id].clone())).collect())
}
