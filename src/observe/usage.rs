//! Measures what the containers of an engine use, once a minute, beside everything else.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::mpsc::Sender;
use tokio::time::sleep;

use crate::engine::{Engine, EngineError};
use crate::model::world::{ContainerSeen, State};
use crate::status::hosts::Use;

const EVERY: Duration = Duration::from_secs(60);
/// Each sample keeps a connection for about a second.
const AT_ONCE: usize = 4;

/// Sends a sample a minute to a channel of the caller's kind, until nobody listens.
pub async fn sample<T>(engine: Arc<dyn Engine>, to: Sender<T>, wrap: impl Fn(Use) -> T) {
    loop {
        sleep(EVERY).await;
        match measure(engine.as_ref()).await {
            Ok(used) => {
                if to.send(wrap(used)).await.is_err() {
                    return;
                }
            }
            Err(error) => tracing::debug!(%error, "use could not be sampled"),
        }
    }
}

/// The sum over the running containers, in per cent of the machine.
async fn measure(engine: &dyn Engine) -> Result<Use, EngineError> {
    let about = engine.about().await?;
    let containers = engine.containers().await?;
    let running: Vec<ContainerSeen> = containers.into_iter().filter(|c| c.state == State::Running).collect();
    let (mut cpu, mut memory) = (0, 0);
    for some in running.chunks(AT_ONCE) {
        let samples = join_all(some.iter().map(|container| engine.usage(&container.id))).await;
        // A container that ended meanwhile uses nothing any more.
        for used in samples.into_iter().flatten() {
            cpu += used.cpu;
            memory += used.memory;
        }
    }
    Ok(Use { cpu: percent(cpu, about.cpu), memory: percent(memory, about.memory) })
}

fn percent(used: u64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { used as f64 * 100.0 / of as f64 }
}
