//! Streams of a simulated engine: events and log lines, as they come.

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tokio::time::{Instant, sleep_until};

use super::MemoryEngine;
use super::life::Phase;
use super::machine::Machine;
use crate::engine::{EngineError, EngineEvent};

/// Events from the given number on.
pub fn events(engine: MemoryEngine, from: usize) -> BoxStream<'static, Result<EngineEvent, EngineError>> {
    follow(engine, from, |machine, place| match machine.events.get(place) {
        Some(event) => Look::There(event.clone()),
        None => Look::NotYet,
    })
}

/// Log lines from the given number on, until the container ends.
pub fn log(engine: MemoryEngine, id: String, from: usize) -> BoxStream<'static, Result<String, EngineError>> {
    follow(engine, from, move |machine, place| match machine.find(&id) {
        None => Look::Over,
        Some(container) => match (container.log.get(place), container.life.phase) {
            (Some(line), _) => Look::There(line.clone()),
            (None, Phase::Running { .. } | Phase::Waiting { .. }) => Look::NotYet,
            (None, Phase::Created | Phase::Exited { .. }) => Look::Over,
        },
    })
}

enum Look<T> {
    There(T),
    NotYet,
    Over,
}

fn follow<T: Send + 'static>(
    engine: MemoryEngine,
    from: usize,
    look: impl Fn(&Machine, usize) -> Look<T> + Send + 'static,
) -> BoxStream<'static, Result<T, EngineError>> {
    let era = engine.lock().era;
    stream::unfold((engine, Some(from), look), move |(engine, place, look)| async move {
        let place = place?;
        loop {
            // Asked for before looking, so that no change between the two is missed.
            let changed = engine.0.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let next_moment = {
                let inside = &mut *engine.lock();
                if inside.era != era {
                    let why = "the connection broke".to_owned();
                    break Some((Err(EngineError::Unreachable { why }), (engine.clone(), None, look)));
                }
                inside.machine.advance(Instant::now());
                match look(&inside.machine, place) {
                    Look::There(item) => break Some((Ok(item), (engine.clone(), Some(place + 1), look))),
                    Look::Over => break None,
                    Look::NotYet => inside.machine.next_moment(),
                }
            };
            match next_moment {
                Some(moment) => tokio::select! {
                    () = &mut changed => {}
                    () = sleep_until(moment) => {}
                },
                None => changed.await,
            }
        }
    })
    .boxed()
}
