//! Hears of pushes from forges, and says whether the service is there.
//!
//! Takes requests of whoever reaches the address. Gives each an answer that says what matched, and rings when the
//! watched branch was pushed to.
//!
//! Never takes more from a request than a reason to look: no repository, no address and no revision. Never reads a body
//! that is too large, comes too slowly or too often, and never parses one whose signature is wrong.
//!
//! Because whoever can reach the address may send anything, all that one costs is bounded before it is paid: connections,
//! bytes, seconds, and looks. A push that is not heard of is found by the next poll.

mod answer;
mod connections;
pub mod limits;
mod payload;
mod signature;
mod suspects;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Extension, Path, Request, State};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::model::config::Provider;
use crate::secret::Secret;
use crate::source::LEDGER_BRANCH;
use crate::web::answer::{Answer, Outcome};
use crate::web::limits::{Limits, Rate, Seldom};
use crate::web::payload::Told;
use crate::web::suspects::Suspects;

/// What requests are judged by.
#[derive(Debug)]
pub struct Hooks {
    /// The watched branch.
    pub branch: String,
    pub secrets: BTreeMap<Provider, Secret<String>>,
    /// Rung for a push to the watched branch.
    pub told: Arc<Notify>,
    /// Whether a pass was done.
    pub is_ready: Arc<AtomicBool>,
    pub limits: Limits,
}

/// An address that is listened at. Nobody is answered before [`Listener::serve`].
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    address: SocketAddr,
}

#[derive(Debug, thiserror::Error)]
pub enum WebError {
    #[error("failed to listen at {address}")]
    Listen { address: SocketAddr, source: std::io::Error },
}

impl WebError {
    /// Will waiting help? Whoever holds the port may go; an address that is not this machine's stays so.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Listen { source, .. } => source.kind() == std::io::ErrorKind::AddrInUse,
        }
    }
}

/// Listens at an address; at a free port where the port is 0.
///
/// # Errors
/// When the address is not this machine's, its port is taken, or is not for this user.
pub async fn listen(address: SocketAddr) -> Result<Listener, WebError> {
    let failed = |source| WebError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok(Listener { listener, address })
}

impl Listener {
    /// The address with the port that was found.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `shutdown`, and then those who were being answered.
    pub async fn serve(self, hooks: Hooks, shutdown: CancellationToken) {
        let limits = hooks.limits;
        connections::serve(self.listener, router(hooks), limits, shutdown).await;
    }
}

/// The address that a request comes from; behind a proxy, the proxy's.
#[derive(Debug, Clone, Copy)]
struct Sender(IpAddr);

/// What all requests share.
struct Desk {
    hooks: Hooks,
    rate: Rate,
    /// What those have together whose signatures were wrong, or whose bodies did not come.
    rate_of_suspects: Rate,
    suspects: Suspects,
    /// Thousands of bytes that bodies may still take, together.
    room: Semaphore,
    /// The same for those of suspects, who must leave room for others.
    room_of_suspects: Semaphore,
    refusals: Seldom,
}

fn router(hooks: Hooks) -> Router {
    let desk = Desk {
        rate: Rate::new(hooks.limits.per_second, Instant::now()),
        rate_of_suspects: Rate::new(hooks.limits.per_second, Instant::now()),
        suspects: Suspects::default(),
        room: Semaphore::new(hooks.limits.all_bodies.div_ceil(1024)),
        room_of_suspects: Semaphore::new(hooks.limits.body.div_ceil(1024)),
        refusals: Seldom::default(),
        hooks,
    };
    Router::new()
        .route("/webhook/{provider}", post(webhook))
        .route("/healthz", get(async || Answer::new(Outcome::Alive, "the service runs")))
        .route("/readyz", get(ready))
        .method_not_allowed_fallback(async || Answer::new(Outcome::WrongMethod, "webhooks are sent by POST"))
        .fallback(async || Answer::new(Outcome::NotFound, "there is /webhook/PROVIDER, /healthz and /readyz"))
        .with_state(Arc::new(desk))
}

async fn ready(State(desk): State<Arc<Desk>>) -> Answer {
    if desk.hooks.is_ready.load(Ordering::Acquire) {
        Answer::new(Outcome::Ready, "a pass was done")
    } else {
        Answer::new(Outcome::Starting, "no pass was done yet")
    }
}

async fn webhook(
    State(desk): State<Arc<Desk>>,
    Extension(Sender(sender)): Extension<Sender>,
    Path(provider): Path<String>,
    request: Request,
) -> Answer {
    let Some(provider) = Provider::ALL.into_iter().find(|known| known.as_str() == provider) else {
        let known = Provider::ALL.map(Provider::as_str).join(", ");
        return Answer::new(Outcome::NotFound, format!("webhooks are known of {known}"));
    };
    let answer = desk.judge(provider, sender, request).await.unwrap_or_else(|refusal| refusal).of(provider);
    desk.note(provider, &answer);
    answer
}

impl Desk {
    /// Whether there is a reason to look. From cheap to dear: what can be refused is refused before the next is paid.
    async fn judge(&self, provider: Provider, sender: IpAddr, request: Request) -> Result<Answer, Answer> {
        let Some(secret) = self.hooks.secrets.get(&provider) else {
            let why = format!("no secret is configured for {}: add one below `webhooks`", provider.as_str());
            return Err(Answer::new(Outcome::NoSecret, why));
        };
        let now = Instant::now();
        let (rate, room) = match self.suspects.holds(sender, now) {
            true => (&self.rate_of_suspects, &self.room_of_suspects),
            false => (&self.rate, &self.room),
        };
        if let Err(wait) = rate.take(now) {
            sleep(self.hooks.limits.linger).await;
            return Err(Answer::new(Outcome::TooMany(wait), "too many webhooks came at once; come again"));
        }
        let (head, body) = request.into_parts();
        let body = self.read(sender, room, &head.headers, body).await?;
        if !signature::is_right(provider, secret, &head.headers, &body) {
            self.suspects.add(sender, Instant::now());
            let header = signature::headers(provider)[0];
            return Err(Answer::new(
                Outcome::WrongSignature,
                format!("`{header}` does not fit the body and the secret"),
            ));
        }
        self.suspects.clear(sender);
        if !is_json(&head.headers) {
            let why = "the content type is not application/json; choose that where the webhook is set up";
            return Err(Answer::new(Outcome::WrongContent, why));
        }
        let (event, told) =
            payload::read(provider, &head.headers, &body).map_err(|why| Answer::new(Outcome::WrongContent, why))?;
        Ok(self.matched(told).event(event))
    }

    /// The whole body, within the limits.
    async fn read(&self, sender: IpAddr, room: &Semaphore, headers: &HeaderMap, body: Body) -> Result<Bytes, Answer> {
        let limits = &self.hooks.limits;
        let too_large = || Answer::new(Outcome::TooLarge, format!("a webhook has at most {} bytes", limits.body));
        let declared = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        let most = declared.unwrap_or(limits.body);
        if most > limits.body {
            return Err(too_large());
        }
        let kilobytes = u32::try_from(most.div_ceil(1024)).expect("the limit of a body is a small number");
        let Ok(_room) = room.try_acquire_many(kilobytes) else {
            return Err(Answer::new(Outcome::Busy, "other webhooks are being read; come again"));
        };
        match timeout(limits.reading, axum::body::to_bytes(body, limits.body)).await {
            Ok(Ok(body)) => Ok(body),
            // Whoever went away hears of neither.
            Ok(Err(_)) => Err(too_large()),
            Err(_) => {
                // It kept room that others could have used, and nobody who signs does that.
                self.suspects.add(sender, Instant::now());
                Err(Answer::new(Outcome::TooSlow, format!("the body did not come within {:?}", limits.reading)))
            }
        }
    }

    fn matched(&self, told: Told) -> Answer {
        let watched = &self.hooks.branch;
        match told {
            Told::Ping => Answer::new(Outcome::Pong, format!("heard; pushes to {watched} will be deployed")),
            Told::Other => Answer::new(Outcome::Ignored, "this event is no push"),
            Told::Push(refs) => {
                let is_pushed = |branch: &str| {
                    refs.iter().any(|name| name.strip_prefix("refs/heads/").is_some_and(|name| name == branch))
                };
                if refs.is_empty() || is_pushed(watched) {
                    self.hooks.told.notify_one();
                    return Answer::new(Outcome::Looking, format!("{watched} is looked at now")).matched(watched);
                }
                let why = if is_pushed(LEDGER_BRANCH) {
                    format!("{LEDGER_BRANCH} is written here; {watched} is watched")
                } else {
                    format!("the push is to {}; {watched} is watched", payload::named(&refs))
                };
                Answer::new(Outcome::Ignored, why)
            }
        }
    }

    /// A line for what matters. A flood of what is refused is one line a minute.
    fn note(&self, provider: Provider, answer: &Answer) {
        let provider = provider.as_str();
        if answer.is_refusal() {
            if let Some(others) = self.refusals.is_due(Instant::now()) {
                let reason = answer.reason();
                tracing::warn!(provider, reason, others, "a webhook was refused");
            }
        } else {
            tracing::info!(provider, reason = answer.reason(), "a webhook was heard");
        }
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}
