//! A forge in this process: what the documentation of the three APIs says of the calls that are made, and no more.
//!
//! Any other call, credential or body is answered as a forge would, and fails the test that looks.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::serve::Listener;
use bayplan::model::config::ForgeKind;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

pub const TOKEN: &str = "t0ken-of-the-forge";
/// Whose token it is.
const US: &str = "bayplan-bot";
pub const REPOSITORY: &str = "ops/fleet";

/// What a forge in trouble does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    None,
    /// It answers with this status, this message and perhaps `Retry-After`.
    Refuses(u16, &'static str, Option<u32>),
    /// It takes the request and never answers.
    Hangs,
}

#[derive(Debug, Clone)]
pub struct Comment {
    pub id: u64,
    pub body: String,
    /// Whether it is by the token's user. GitHub lets a token that may write change others' comments, too.
    pub is_ours: bool,
}

#[derive(Debug)]
pub struct Seen {
    pub trouble: Trouble,
    /// Commit, state, description and link of each status, in order.
    pub statuses: Vec<(String, String, String, Option<String>)>,
    pub comments: Vec<Comment>,
    pub calls: Vec<String>,
    /// What no forge would take.
    pub wrong: Vec<String>,
}

pub fn tls_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/forge/tls")
}

struct TlsListener {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = self.listener.accept().await.expect("a connection");
            // Whoever does not trust it hangs up.
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

#[derive(Clone)]
pub struct Fake {
    kind: ForgeKind,
    pub address: SocketAddr,
    /// Name and port.
    pub host: String,
    seen: Arc<Mutex<Seen>>,
}

impl Fake {
    pub async fn start(kind: ForgeKind) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        Self::serve(kind, address, address.to_string(), listener)
    }

    /// Behind TLS, with a certificate for `localhost` of an authority that only tests know.
    pub async fn start_tls(kind: ForgeKind) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let folder = tls_folder();
        let chain = CertificateDer::pem_file_iter(folder.join("server.pem")).expect("a file");
        let chain = chain.collect::<Result<_, _>>().expect("certificates");
        let key = PrivateKeyDer::from_pem_file(folder.join("server.key")).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.expect("versions").with_no_client_auth().with_single_cert(chain, key).expect("it fits");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Self::serve(kind, address, format!("localhost:{}", address.port()), TlsListener { listener, acceptor })
    }

    fn serve<L: Listener<Addr = SocketAddr>>(kind: ForgeKind, address: SocketAddr, host: String, listener: L) -> Self {
        let seen = Seen {
            trouble: Trouble::None,
            statuses: Vec::new(),
            comments: Vec::new(),
            calls: Vec::new(),
            wrong: Vec::new(),
        };
        let fake = Self { kind, address, host, seen: Arc::new(Mutex::new(seen)) };
        let router = Router::new().fallback(answer).with_state(fake.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        fake
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn with<T>(&self, act: impl FnOnce(&mut Seen) -> T) -> T {
        act(&mut self.seen.lock().expect("no panic"))
    }

    /// What was set of commits: state and sentence.
    pub fn statuses(&self) -> Vec<(String, String)> {
        self.with(|seen| seen.statuses.iter().map(|(_, state, said, _)| (state.clone(), said.clone())).collect())
    }

    /// # Panics
    /// When something was asked that no forge would take.
    pub fn assert_right(&self) {
        self.with(|seen| assert!(seen.wrong.is_empty(), "{:#?}", seen.wrong));
    }

    fn root(&self) -> String {
        match self.kind {
            ForgeKind::Github => format!("/api/v3/repos/{REPOSITORY}"),
            ForgeKind::Gitlab => format!("/api/v4/projects/{}", REPOSITORY.replace('/', "%2F")),
            ForgeKind::Gitea => format!("/api/v1/repos/{REPOSITORY}"),
        }
    }

    fn list(&self) -> &'static str {
        match self.kind {
            ForgeKind::Github | ForgeKind::Gitea => "/issues/7/comments",
            ForgeKind::Gitlab => "/merge_requests/7/notes",
        }
    }

    /// Who wrote a comment, and whose token it is.
    fn user(&self, name: &str) -> (&'static str, Value) {
        match self.kind {
            ForgeKind::Github => ("user", json!({"login": name, "type": if name == US { "Bot" } else { "User" }})),
            ForgeKind::Gitlab => ("author", json!({"username": name})),
            ForgeKind::Gitea => ("user", json!({"login": name})),
        }
    }

    fn decide(&self, method: &str, path: &str, query: &str, body: &Value) -> Option<(u16, Value)> {
        if method == "GET"
            && path == self.root().split("/repos").next()?.split("/projects").next()?.to_owned() + "/user"
        {
            return Some(match self.kind {
                // The token of a job belongs to no user.
                ForgeKind::Github => (403, json!({"message": "Resource not accessible by integration"})),
                ForgeKind::Gitlab | ForgeKind::Gitea => (200, self.user(US).1),
            });
        }
        let rest = path.strip_prefix(&self.root())?;
        let (one, update) = match self.kind {
            ForgeKind::Github | ForgeKind::Gitea => ("/issues/comments/", "PATCH"),
            ForgeKind::Gitlab => ("/merge_requests/7/notes/", "PUT"),
        };
        let text = |field: &str| body[field].as_str().map(str::to_owned);
        self.with(|seen| {
            if let (Some(commit), "POST") = (rest.strip_prefix("/statuses/"), method) {
                let states: &[&str] = match self.kind {
                    ForgeKind::Github | ForgeKind::Gitea => &["pending", "success", "error", "failure"],
                    ForgeKind::Gitlab => &["pending", "running", "success", "failed", "canceled"],
                };
                let (state, said) = (text("state")?, text("description")?);
                let is_right = states.contains(&state.as_str())
                    && body["context"] == "bayplan"
                    && said.chars().count() <= 140
                    && commit.len() == 40;
                if !is_right {
                    return None;
                }
                if self.kind == ForgeKind::Gitlab && seen.statuses.last().is_some_and(|(_, last, ..)| *last == state) {
                    let message = format!("Cannot transition status via :enqueue from :{state}");
                    return Some((400, json!({"message": message})));
                }
                seen.statuses.push((commit.to_owned(), state, said, text("target_url")));
                return Some((201, json!({"id": 1})));
            }
            if rest == self.list() && method == "GET" {
                let number = |name: &str| {
                    let part = query.split('&').find_map(|part| part.strip_prefix(&format!("{name}=")))?;
                    part.parse::<usize>().ok()
                };
                // Gitea knows no pages here.
                let (size, page) = match self.kind {
                    ForgeKind::Github | ForgeKind::Gitlab => (number("per_page")?, number("page")?),
                    ForgeKind::Gitea => (usize::MAX, 1),
                };
                let page = seen.comments.iter().skip(size.saturating_mul(page - 1)).take(size);
                let shown = page.map(|comment| {
                    let (key, user) = self.user(if comment.is_ours { US } else { "somebody" });
                    json!({"id": comment.id, "body": comment.body, key: user})
                });
                return Some((200, shown.collect()));
            }
            if rest == self.list() && method == "POST" {
                let id = 1000 + seen.comments.len() as u64;
                seen.comments.push(Comment { id, body: text("body")?, is_ours: true });
                return Some((201, json!({"id": id})));
            }
            if let (Some(id), true) = (rest.strip_prefix(one), method == update) {
                let comment = seen.comments.iter_mut().find(|comment| comment.id.to_string() == id)?;
                if !comment.is_ours && self.kind != ForgeKind::Github {
                    return Some((403, json!({"message": "Must have admin rights"})));
                }
                comment.body = text("body")?;
                return Some((200, json!({"id": comment.id})));
            }
            None
        })
    }
}

async fn answer(State(fake): State<Fake>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap_or_default();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let call = format!("{} {}", head.method, head.uri);
    let trouble = fake.with(|seen| {
        seen.calls.push(call.clone());
        seen.trouble.clone()
    });
    let credentials = match fake.kind {
        ForgeKind::Github => ("authorization", format!("Bearer {TOKEN}")),
        ForgeKind::Gitlab => ("private-token", TOKEN.to_owned()),
        ForgeKind::Gitea => ("authorization", format!("token {TOKEN}")),
    };
    let is_right = header(credentials.0) == credentials.1
        && header("user-agent").starts_with("bayplan/")
        && header("host") == fake.host
        && (head.method == "GET" || header("content-type") == "application/json");
    let (status, answer, retry) = match trouble {
        Trouble::Hangs => return std::future::pending().await,
        Trouble::Refuses(status, message, retry) => (status, json!({"message": message}), retry),
        Trouble::None => {
            let query = head.uri.query().unwrap_or_default();
            match fake.decide(head.method.as_str(), head.uri.path(), query, &body).filter(|_| is_right) {
                Some((status, answer)) => (status, answer, None),
                None => {
                    fake.with(|seen| seen.wrong.push(format!("{call} {body}")));
                    (422, json!({"message": "no such call"}), None)
                }
            }
        }
    };
    let mut response = Response::new(Body::from(answer.to_string()));
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    if let Some(seconds) = retry {
        response.headers_mut().insert("retry-after", seconds.into());
    }
    response
}
