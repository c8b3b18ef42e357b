//! The way to one engine: a pool of connections over a unix socket or TLS.
//!
//! Takes where the engine listens. Gives a client that opens connections when needed and keeps them, and a transport
//! for the API library that speaks the version agreed with the engine.
//!
//! Never trusts a certificate authority but the one given for this engine: the machine's own roots have no say.
//!
//! Because the API library opens a connection per request (six times the time over TLS), trusts the machine's roots
//! beside the given one, and sends registry passwords in an encoding that engines silently ignore.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bollard::BollardRequest;
use futures_util::Stream;
use http_body_util::{Either, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::HeaderValue;
use hyper::{Response, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// Certificates for one engine, as PEM files. They are read for each new connection, so renewed ones need no restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The only authority that may vouch for the engine.
    pub ca: PathBuf,
    /// Ours.
    pub cert: PathBuf,
    /// The key to `cert`.
    pub key: PathBuf,
}

/// Where an engine listens.
#[derive(Debug, Clone)]
pub enum Place {
    Unix(PathBuf),
    Tls {
        host: String,
        port: u16,
        files: TlsFiles,
    },
    /// The other ends of pipes inside this process, for tests.
    #[cfg(test)]
    Pipes(tokio::sync::mpsc::UnboundedSender<tokio::io::DuplexStream>),
}

/// A version of the engine API: major and minor.
pub type ApiVersion = (usize, usize);

/// The version in use, once agreed.
pub type Agreed = Arc<Mutex<Option<ApiVersion>>>;

/// The body of a request; the type that the API library uses.
pub type Body = Either<Full<Bytes>, StreamBody<Pin<Box<dyn Stream<Item = io::Result<Frame<Bytes>>> + Send>>>>;

/// A pool of connections to one engine.
pub type Pool = Client<Connector, Body>;

/// What requests name as their host; where the connection goes is decided by the pool's [`Place`].
pub const BASE: &str = "http://engine";

/// Idle connections are closed before engines and the devices on the way forget them.
const IDLE: Duration = Duration::from_secs(60);

/// More are opened under load; this is how many wait for the next burst.
const IDLE_CONNECTIONS: usize = 8;

pub fn pool(place: Place) -> Pool {
    Client::builder(TokioExecutor::new())
        .pool_idle_timeout(IDLE)
        .pool_timer(TokioTimer::new())
        .timer(TokioTimer::new())
        .pool_max_idle_per_host(IDLE_CONNECTIONS)
        .build(Connector(place))
}

/// An answer of an engine, to come.
pub type Answer = Pin<Box<dyn Future<Output = Result<Response<Incoming>, bollard::errors::Error>> + Send>>;

/// Carries requests of the API library.
pub fn transport(pool: Pool, agreed: Agreed) -> impl Fn(BollardRequest) -> Answer + Send + Sync {
    move |mut request| {
        let version = *agreed.lock().expect("nothing panics while it holds the version");
        *request.uri_mut() = versioned(request.uri(), version);
        make_url_safe(&mut request);
        let answer = pool.request(request);
        Box::pin(async move { answer.await.map_err(bollard::errors::Error::from) })
    }
}

/// The library leaves the version out of the paths that it asks for, which engines read as "your newest".
pub fn versioned(uri: &Uri, version: Option<ApiVersion>) -> Uri {
    let path = uri.path_and_query().map_or("/", |p| p.as_str());
    let unversioned = path == "/version" || path == "/_ping" || path.starts_with("/v1.");
    let Some((major, minor)) = version.filter(|_| !unversioned) else {
        return uri.clone();
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = format!("/v{major}.{minor}{path}").parse().ok();
    Uri::from_parts(parts).unwrap_or_else(|_| uri.clone())
}

/// Engines want registry credentials in URL-safe base64 and read anything else as "no credentials".
fn make_url_safe(request: &mut BollardRequest) {
    if let Some(value) = request.headers_mut().get_mut("X-Registry-Auth") {
        let text = value.to_str().unwrap_or("").replace('+', "-").replace('/', "_");
        if let Ok(mut safe) = HeaderValue::from_str(&text) {
            safe.set_sensitive(true);
            *value = safe;
        }
    }
}

/// Opens connections to one engine, when the pool asks for one.
#[derive(Debug, Clone)]
pub struct Connector(Place);

impl tower_service::Service<Uri> for Connector {
    type Response = Wire;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Wire>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let place = self.0.clone();
        Box::pin(async move { connect(place).await })
    }
}

async fn connect(place: Place) -> io::Result<Wire> {
    match place {
        Place::Unix(path) => match UnixStream::connect(&path).await {
            Ok(stream) => Ok(Wire::new(stream)),
            Err(error) => Err(naming(&path, "the socket", &error)),
        },
        Place::Tls { host, port, files } => {
            let config = tls_config(&files).await?;
            let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
            let stream = TcpStream::connect((host.as_str(), port)).await?;
            stream.set_nodelay(true)?;
            let stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
            Ok(Wire::new(stream))
        }
        #[cfg(test)]
        Place::Pipes(accept) => {
            let (ours, theirs) = tokio::io::duplex(64 * 1024);
            accept.send(theirs).map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused))?;
            Ok(Wire::new(ours))
        }
    }
}

async fn tls_config(files: &TlsFiles) -> io::Result<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in certificates(&files.ca, "the certificate authority").await? {
        roots.add(certificate).map_err(|error| naming(&files.ca, "the certificate authority", &error))?;
    }
    let chain = certificates(&files.cert, "the client certificate").await?;
    let key = read(&files.key, "the client key").await?;
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(|error| naming(&files.key, "the client key", &error))?;
    rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .map_err(|error| naming(&files.cert, "the client certificate", &error))
}

async fn certificates(path: &Path, what: &str) -> io::Result<Vec<CertificateDer<'static>>> {
    let pem = read(path, what).await?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err(naming(path, what, &"no certificate is in it")),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(naming(path, what, &error)),
    }
}

async fn read(path: &Path, what: &str) -> io::Result<Vec<u8>> {
    tokio::fs::read(path).await.map_err(|error| naming(path, what, &error))
}

fn naming(path: &Path, what: &str, error: &dyn std::fmt::Display) -> io::Error {
    io::Error::other(format!("{what} {}: {error}", path.display()))
}

trait ByteStream: AsyncRead + AsyncWrite + Send {}

impl<T: AsyncRead + AsyncWrite + Send> ByteStream for T {}

/// One connection of any kind.
pub struct Wire(TokioIo<Pin<Box<dyn ByteStream>>>);

impl Wire {
    fn new(stream: impl AsyncRead + AsyncWrite + Send + 'static) -> Self {
        Self(TokioIo::new(Box::pin(stream)))
    }
}

impl Connection for Wire {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl hyper::rt::Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl hyper::rt::Write for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::versioned;

    #[test]
    fn the_agreed_version_is_put_before_every_path_but_those_that_ask_for_it() {
        let uri = |text: &str| text.parse().expect("a URI");
        let of = |text| versioned(&uri(text), Some((1, 41))).to_string();
        assert_eq!(of("http://engine/containers/json?all=true"), "http://engine/v1.41/containers/json?all=true");
        assert_eq!(of("http://engine/version"), "http://engine/version");
        assert_eq!(of("http://engine/v1.53/info"), "http://engine/v1.53/info");
        assert_eq!(versioned(&uri("http://engine/info"), None).to_string(), "http://engine/info");
    }
}
