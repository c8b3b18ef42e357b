//! The smallest client that shows what a server does: one request, one connection, the whole answer.
#![allow(dead_code, reason = "each binary compiles this file and uses a part of it")]

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const LIMIT: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub json: Value,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        let line = |line: &'_ str| line.split_once(": ").is_some_and(|(found, _)| found.eq_ignore_ascii_case(name));
        self.head.lines().find(|l| line(l)).and_then(|line| Some(line.split_once(": ")?.1))
    }

    pub fn text(&self, field: &str) -> &str {
        self.json[field].as_str().unwrap_or_default()
    }
}

/// The head of a request with this body, up to and with the empty line.
pub fn head(method: &str, path: &str, headers: &[(&str, &str)], length: usize) -> String {
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: bayplan\r\ncontent-length: {length}\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    head
}

pub async fn send(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
    let mut headers = headers.to_vec();
    headers.push(("connection", "close"));
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    // A server that refuses the head may hang up before it read the body.
    let _ = stream.write_all(head(method, path, &headers, body.len()).as_bytes()).await;
    let _ = stream.write_all(body).await;
    answer(stream).await
}

/// Reads to the end of the connection.
pub async fn answer(mut stream: TcpStream) -> Reply {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(LIMIT, stream.read_to_end(&mut bytes)).await.expect("it answers in time");
    assert!(read.is_ok() || !bytes.is_empty(), "no answer: {read:?}");
    let text = String::from_utf8(bytes).expect("text");
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no HTTP: {text:?}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    let json = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body:?}"));
    Reply { status, head: head.to_owned(), json }
}

/// `sha256=` and the HMAC of the body.
pub fn signed(secret: &str, body: &[u8]) -> String {
    format!("sha256={}", digits(secret, body))
}

pub fn digits(secret: &str, body: &[u8]) -> String {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
    hex::encode(ring::hmac::sign(&key, body))
}
