//! The service that the demo deploys: an HTTP server that says what it knows of the services that it requires.
//!
//! Gives at `/` its variables (`*_HOST`, `*_PORT`, `*_URL`) and whether each service answers, and at `/health` a status
//! of 200.
//!
//! Never shows another variable: an environment may hold secrets.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

use crate::cli::exit::Exit;
use crate::cli::out;
use crate::cli::trouble::Trouble;

/// The port inside the container.
pub const PORT: u16 = 8080;
/// Containers on one machine answer in milliseconds; who takes longer does not answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// A request line and some headers; the rest is of no interest.
const LONGEST_REQUEST: usize = 8 * 1024;

/// Serves until it is asked to stop. As the first process of a container it is stopped by no signal that it does not
/// listen for.
pub fn serve() -> Result<Exit, Trouble> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Trouble::world)?;
    runtime.block_on(async {
        let listener = TcpListener::bind(("0.0.0.0", PORT)).await.map_err(Trouble::world)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(Trouble::world)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(Trouble::world)?;
        out::say(&format!("listening on port {PORT}\n"));
        loop {
            tokio::select! {
                accepted = listener.accept() => if let Ok((stream, _)) = accepted {
                    tokio::spawn(timeout(PATIENCE * 4, answer(stream)));
                },
                _ = terminate.recv() => return Ok(Exit::AsAsked),
                _ = interrupt.recv() => return Ok(Exit::AsAsked),
            }
        }
    })
}

async fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut request = Vec::new();
    let mut chunk = [0; 1024];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") && request.len() < LONGEST_REQUEST {
        match stream.read(&mut chunk).await? {
            0 => break,
            length => request.extend_from_slice(&chunk[..length]),
        }
    }
    let line = String::from_utf8_lossy(&request);
    let path = line.split_whitespace().nth(1).unwrap_or("/");
    let (status, body) = match path {
        "/health" => ("200 OK", "ok\n".to_owned()),
        "/" => ("200 OK", page(&std::env::vars().collect()).await),
        _ => ("404 Not Found", "there is / and /health\n".to_owned()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}

/// The connection variables, and whether who is behind them answers.
async fn page(variables: &BTreeMap<String, String>) -> String {
    let mut text = String::new();
    for (name, value) in variables {
        if ["_HOST", "_PORT", "_URL"].iter().any(|end| name.ends_with(end)) {
            let _ = writeln!(text, "{name}={value}");
        }
    }
    for (name, host) in variables {
        let Some(service) = name.strip_suffix("_HOST") else { continue };
        let Some(port) = variables.get(&format!("{service}_PORT")) else { continue };
        let verdict = match timeout(PATIENCE, ask(host, port)).await {
            Ok(Ok(status)) => format!("answers: {status}"),
            Ok(Err(error)) => format!("does not answer: {error}"),
            Err(_) => format!("does not answer within {} s", PATIENCE.as_secs()),
        };
        let _ = writeln!(text, "{} at {host}:{port} {verdict}", service.to_ascii_lowercase());
    }
    if text.is_empty() {
        text.push_str("requires nothing\n");
    }
    text
}

/// The status line of `GET /health`.
async fn ask(host: &str, port: &str) -> std::io::Result<String> {
    Ok(get(&format!("{host}:{port}"), "/health").await?.lines().next().unwrap_or_default().trim().to_owned())
}

/// The whole answer to a GET.
pub async fn get(address: &str, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
mod tests {
    use super::page;

    #[tokio::test]
    async fn other_variables_are_not_shown() {
        let variables = [("PASSWORD", "x"), ("DB_HOST", "db"), ("DB_URL", "db://db")];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        assert_eq!(page(&variables).await, "DB_HOST=db\nDB_URL=db://db\n");
    }
}
