//! One request to a forge and its answer.
//!
//! Never follows a redirect, which could carry the token elsewhere, and never waits or reads without a limit.
//!
//! Because there are a few requests in a deployment, each has its own connection: nothing is kept that could be stale.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::forge::ForgeError;
use crate::secret::{self, Secret};

/// A forge that takes longer is as good as away; it is asked again.
const LIMIT: Duration = Duration::from_secs(10);
/// Fifty comments of the longest kind, and as much again around them.
const LARGEST_ANSWER: usize = 16 * 1024 * 1024;
/// What a forge says of a refusal, in characters.
const LONGEST_SAID: usize = 200;

#[derive(Debug)]
pub struct Http {
    base: String,
    host: String,
    port: u16,
    tls: Option<TlsConnectorOf>,
    credentials: Credentials,
    token: Secret<String>,
    limit: Duration,
}

#[derive(Debug)]
pub struct Credentials {
    pub header: &'static str,
    pub value: Secret<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Get,
    Post,
    Put,
    Patch,
}

#[derive(Debug)]
pub struct Call {
    /// Completes "failed to …".
    pub act: &'static str,
    pub method: Method,
    /// Below the base.
    pub path: String,
    pub body: Option<Value>,
}

struct TlsConnectorOf(TlsConnector, ServerName<'static>);

impl std::fmt::Debug for TlsConnectorOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TLS")
    }
}

impl Http {
    pub fn new(
        base: &str,
        ca: Option<&Path>,
        credentials: Credentials,
        token: Secret<String>,
    ) -> Result<Self, ForgeError> {
        let wrong = |why| ForgeError::Address { url: base.to_owned(), why };
        let uri: Uri = base.parse().map_err(|_| wrong("is none"))?;
        let host = uri.host().ok_or_else(|| wrong("has no host"))?.trim_matches(['[', ']']).to_owned();
        if HeaderValue::try_from(credentials.value.expose()).is_err() {
            return Err(wrong("needs a token of one line of plain text"));
        }
        let (port, tls) = match uri.scheme_str() {
            Some("http") => (80, None),
            Some("https") => {
                let name = ServerName::try_from(host.clone()).map_err(|_| wrong("has no host that TLS knows"))?;
                (443, Some(TlsConnectorOf(connector(ca)?, name)))
            }
            Some(_) | None => return Err(wrong("is neither https:// nor http://")),
        };
        let port = uri.port_u16().unwrap_or(port);
        Ok(Self { base: base.to_owned(), host, port, tls, credentials, token, limit: LIMIT })
    }

    /// # Errors
    /// When the forge does not answer in time, or with anything but success.
    pub async fn call(&self, call: Call) -> Result<Value, ForgeError> {
        let act = call.act;
        match timeout(self.limit, self.answer(call)).await {
            Ok(answer) => answer,
            Err(_) => Err(ForgeError::Deadline { act, limit: self.limit }),
        }
    }

    async fn answer(&self, call: Call) -> Result<Value, ForgeError> {
        let act = call.act;
        let reach = |source| ForgeError::Reach { act, source };
        let request = self.request(&call).map_err(|error| reach(io::Error::other(error)))?;
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(reach)?;
        let response = match &self.tls {
            None => exchange(stream, request).await,
            Some(TlsConnectorOf(tls, name)) => {
                let stream = tls.connect(name.clone(), stream).await.map_err(reach)?;
                exchange(stream, request).await
            }
        };
        let (status, headers, body) = response.map_err(reach)?;
        if !(200..300).contains(&status) {
            return Err(self.refused(act, status, &headers, &body));
        }
        serde_json::from_slice(&body).map_err(|_| ForgeError::Answer { act })
    }

    fn request(&self, call: &Call) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
        let method = match call.method {
            Method::Get => hyper::Method::GET,
            Method::Post => hyper::Method::POST,
            Method::Put => hyper::Method::PUT,
            Method::Patch => hyper::Method::PATCH,
        };
        let uri: Uri = format!("{}{}", self.base, call.path).parse()?;
        let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let mut credentials = HeaderValue::try_from(self.credentials.value.expose())?;
        credentials.set_sensitive(true);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, authority)
            .header(USER_AGENT, concat!("bayplan/", env!("CARGO_PKG_VERSION")))
            .header(ACCEPT, "application/json")
            .header(HeaderName::from_static(self.credentials.header), credentials);
        match &call.body {
            Some(body) => request.header(CONTENT_TYPE, "application/json").body(Full::from(body.to_string())),
            None => request.body(Full::default()),
        }
    }

    fn refused(&self, act: &'static str, status: u16, headers: &HeaderMap, body: &[u8]) -> ForgeError {
        let answer: Value = serde_json::from_slice(body).unwrap_or_default();
        // GitHub, Gitea and GitLab say it in `message`, GitLab also in `error`; there it may be a list of lists.
        let said = ["message", "error"].iter().find_map(|field| match &answer[*field] {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => Some(other.to_string()),
        });
        let said = said.unwrap_or_default();
        let said: String = said.chars().filter(|c| !c.is_control()).take(LONGEST_SAID).collect();
        let said = secret::without(&[self.token.clone()].into(), said);
        let said = if said.is_empty() { said } else { format!(": {said}") };
        let hint = match status {
            300..=399 => "the repository or the address has moved; write the new one into the configuration",
            401 => "the token is wrong or has ended",
            403 => "the token may not do this, or was used too often",
            404 => "the repository, the commit or the pull request is not there, or the token may not see it",
            429 => "it is asked too often",
            500.. => "its own trouble",
            _ => "it takes this for a wrong request",
        };
        ForgeError::Refused { act, status, said, hint, retry_after: retry_after(status, headers) }
    }
}

/// In seconds. GitHub also answers 403 to who asks too often, and says then when to come again.
fn retry_after(status: u16, headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let is_used_up = headers.get("x-ratelimit-remaining").is_some_and(|left| left == "0");
    match status {
        403 | 429 | 503 => seconds.map(Duration::from_secs).or_else(|| is_used_up.then(|| Duration::from_secs(60))),
        _ => None,
    }
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> io::Result<(u16, HeaderMap, Bytes)>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    // Ends with this function, whatever the other side does.
    let mut connections = JoinSet::new();
    connections.spawn(connection);
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    let (head, body) = response.into_parts();
    let body = Limited::new(body, LARGEST_ANSWER).collect().await.map_err(io::Error::other)?.to_bytes();
    Ok((head.status.as_u16(), head.headers, body))
}

fn connector(ca: Option<&Path>) -> Result<TlsConnector, ForgeError> {
    let failed = |why: String| ForgeError::Authorities { why };
    let mut roots = rustls::RootCertStore::empty();
    match ca {
        Some(path) => {
            let named = |error: &dyn std::fmt::Display| failed(format!("{}: {error}", path.display()));
            let pem = std::fs::read(path).map_err(|error| named(&error))?;
            for certificate in CertificateDer::pem_slice_iter(&pem) {
                let certificate = certificate.map_err(|error| named(&error))?;
                roots.add(certificate).map_err(|error| named(&error))?;
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
        }
    }
    if roots.is_empty() {
        let place = ca.map_or("this machine".to_owned(), |path| path.display().to_string());
        return Err(failed(format!("{place} has none; `caFile` names a file with them")));
    }
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
