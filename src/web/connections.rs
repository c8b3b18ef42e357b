//! Accepts connections, a bounded number at once, and ends each in bounded time.
//!
//! Because who cannot be accepted waits in the system's own bounded queue, a flood costs no memory here.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::Extension;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::web::Sender;
use crate::web::limits::Limits;
use crate::web::suspects::network;

/// The head of a request and a piece of its body; forges send less than half of it in headers.
const BUFFER: usize = 16 * 1024;
/// When the process has no descriptor left, another try at once would find none either.
const ACCEPT_AGAIN: Duration = Duration::from_millis(500);
/// Who is being answered when the service ends has so long to read it.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

type Connection = http1::Connection<TokioIo<TcpStream>, TowerToHyperService<Router>>;

pub async fn serve(listener: TcpListener, router: Router, limits: Limits, shutdown: CancellationToken) {
    let places = Arc::new(Semaphore::new(limits.connections));
    let senders = Arc::new(Senders::default());
    let mut connections = JoinSet::new();
    loop {
        let next = async {
            let place = places.clone().acquire_owned().await.expect("the places are never closed");
            (place, listener.accept().await)
        };
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(_) = connections.join_next() => {}
            (place, accepted) = next => match accepted {
                Ok((stream, sender)) => {
                    let Some(counted) = senders.enter(sender.ip(), limits.of_one_sender) else {
                        // Kept for a moment, so that who comes again at once finds its own others in its way.
                        connections.spawn(async move {
                            sleep(limits.linger).await;
                            drop((stream, place));
                        });
                        continue;
                    };
                    let router = router.clone().layer(Extension(Sender(sender.ip())));
                    let http = http(Crowd::of(places.available_permits(), limits.connections), &limits);
                    let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
                    let shutdown = shutdown.clone();
                    connections.spawn(async move {
                        let _ = timeout(limits.connection, answer(connection, shutdown)).await;
                        drop((counted, place));
                    });
                }
                Err(error) => {
                    // Whoever hung up while waiting is no trouble of ours.
                    if error.kind() != io::ErrorKind::ConnectionAborted {
                        tracing::warn!(%error, "a connection could not be accepted");
                        sleep(ACCEPT_AGAIN).await;
                    }
                }
            },
        }
    }
    drop(listener);
    let _ = timeout(LAST_ANSWERS, async { while connections.join_next().await.is_some() {} }).await;
    connections.shutdown().await;
}

/// How many connections each sender has.
#[derive(Debug, Default)]
struct Senders(Mutex<BTreeMap<IpAddr, usize>>);

/// One connection of a sender, while it lasts.
struct Counted {
    senders: Arc<Senders>,
    sender: IpAddr,
}

impl Senders {
    /// None: it has as many as it may.
    fn enter(self: &Arc<Self>, sender: IpAddr, most: usize) -> Option<Counted> {
        let sender = network(sender);
        let mut senders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = senders.entry(sender).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Counted { senders: self.clone(), sender })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut senders = self.senders.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = senders.get_mut(&self.sender) {
            *count -= 1;
            if *count == 0 {
                senders.remove(&self.sender);
            }
        }
    }
}

/// Whether others wait for a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Crowd {
    Few,
    /// A connection ends with its answer.
    Many,
}

impl Crowd {
    fn of(free: usize, places: usize) -> Self {
        if free * 2 > places { Self::Few } else { Self::Many }
    }
}

fn http(crowd: Crowd, limits: &Limits) -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.reading).max_buf_size(BUFFER);
    http.keep_alive(crowd == Crowd::Few);
    http
}

async fn answer(connection: Connection, shutdown: CancellationToken) {
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        // What goes wrong here is the sender's, and it is told by its own side.
        _ = connection.as_mut() => return,
        () = shutdown.cancelled() => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}
