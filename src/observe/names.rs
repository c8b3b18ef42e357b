//! Finds containers of ours that run and answer to no name, beside everything else.
//!
//! Takes an engine. Gives the ids of those that are on a network and do not answer to their service's name there.
//!
//! Because an engine's list of containers says nothing of names: each has to be asked for by itself, which is too dear for
//! every pass. Names get lost when somebody reconnects a container by hand, or when another controller took it for
//! superseded.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::Sender;
use tokio::time::sleep;

use crate::engine::{Engine, EngineError};
use crate::model::request::{LABEL_OWNER, LABEL_SERVICE};
use crate::model::world::{ContainerSeen, State};

const EVERY: Duration = Duration::from_secs(60);
/// Whoever is just being reconnected is without a name for about a tenth of a second.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Tells what was found, and once when there is nothing any more, until nobody listens.
pub async fn watch<T>(engine: Arc<dyn Engine>, to: Sender<T>, wrap: impl Fn(BTreeSet<String>) -> T) {
    let mut told = BTreeSet::new();
    loop {
        sleep(EVERY).await;
        match nameless_for_long(engine.as_ref()).await {
            Ok(found) if found != told || !found.is_empty() => {
                told.clone_from(&found);
                if to.send(wrap(found)).await.is_err() {
                    return;
                }
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "names could not be looked at"),
        }
    }
}

async fn nameless_for_long(engine: &dyn Engine) -> Result<BTreeSet<String>, EngineError> {
    let first = nameless(engine).await?;
    if first.is_empty() {
        return Ok(first);
    }
    sleep(AGAIN_AFTER).await;
    Ok(nameless(engine).await?.intersection(&first).cloned().collect())
}

async fn nameless(engine: &dyn Engine) -> Result<BTreeSet<String>, EngineError> {
    let mut found = BTreeSet::new();
    let runs =
        |container: &ContainerSeen| container.state == State::Running && container.labels.contains_key(LABEL_OWNER);
    for container in engine.containers().await?.into_iter().filter(runs) {
        let Some(service) = container.labels.get(LABEL_SERVICE) else { continue };
        // One that is gone meanwhile needs no name.
        let Some(detail) = engine.container(&container.id).await? else { continue };
        let is_named = detail.aliases.values().any(|names| names.contains(service));
        let on_its_own = detail.aliases.keys().any(|network| network != "host" && network != "none");
        if on_its_own && !is_named {
            found.insert(container.id);
        }
    }
    Ok(found)
}
