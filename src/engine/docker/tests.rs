//! The door against an engine that is a script on the other end of a pipe, in paused time.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::Instant;

use super::{Docker, wire};
use crate::engine::{Engine, EngineError, Locality, RegistryLogin, deadline};
use crate::name::image::ImageRef;
use crate::secret::Secret;

const VERSION: &str = r#"{"Version":"20.10.24","ApiVersion":"1.41"}"#;

/// A door whose engine answers each request with what `script` makes of its head; `None` is silence.
fn engine(script: impl Fn(&str) -> Option<String> + Clone + Send + 'static) -> Docker {
    let (accept, accepted) = unbounded_channel();
    tokio::spawn(serve(accepted, script));
    Docker::at("pipe".to_owned(), wire::Place::Pipes(accept), Locality::ThisMachine)
}

async fn serve(
    mut accepted: UnboundedReceiver<DuplexStream>,
    script: impl Fn(&str) -> Option<String> + Clone + Send + 'static,
) {
    while let Some(mut pipe) = accepted.recv().await {
        let script = script.clone();
        tokio::spawn(async move {
            let mut head = Vec::new();
            while let Ok(byte) = pipe.read_u8().await {
                head.push(byte);
                if head.ends_with(b"\r\n\r\n") {
                    let text = String::from_utf8_lossy(&std::mem::take(&mut head)).into_owned();
                    if let Some(answer) = script(&text) {
                        pipe.write_all(answer.as_bytes()).await.expect("somebody reads");
                    }
                }
            }
        });
    }
}

fn ok(body: &str) -> Option<String> {
    Some(format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
}

#[tokio::test(start_paused = true)]
async fn an_operator_with_patience_waits_longer_for_a_ping() {
    let silent = |_: &str| None;
    for (patience, limit) in [(Duration::ZERO, deadline::PING), (Duration::from_secs(30), Duration::from_secs(30))] {
        let begun = Instant::now();
        let error = engine(silent).with_patience(patience).about().await.expect_err("it hangs");
        assert!(matches!(error, EngineError::Timeout { .. }), "{error:?}");
        assert_eq!(begun.elapsed().as_secs(), limit.as_secs());
    }
}

#[tokio::test(start_paused = true)]
async fn the_version_is_agreed_once_and_put_into_every_path() {
    let engine = engine(|head| {
        if head.starts_with("GET /version ") {
            ok(VERSION)
        } else if head.starts_with("GET /v1.41/containers/json?all=true") {
            ok("[]")
        } else {
            None
        }
    });
    assert!(engine.containers().await.expect("a list").is_empty());
    assert!(engine.containers().await.expect("a list").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_ends_by_the_deadline() {
    let engine = engine(|head| match head.starts_with("GET /version ") {
        true => ok(VERSION),
        false => Some("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n[".to_owned()),
    });
    let begun = Instant::now();
    let error = engine.containers().await.expect_err("it stalls");
    assert!(matches!(error, EngineError::Timeout { limit: deadline::READ, .. }), "{error:?}");
    assert_eq!(begun.elapsed().as_secs(), deadline::READ.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_pull_may_take_long_but_not_be_silent() {
    let engine = engine(|head| match head.starts_with("GET /version ") {
        true => ok(VERSION),
        false => {
            Some("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n14\r\n{\"status\":\"Pulling\"}\r\n".to_owned())
        }
    });
    let begun = Instant::now();
    let error = engine.pull("x:1", None).await.expect_err("it goes silent");
    assert!(matches!(error, EngineError::Timeout { .. }), "{error:?}");
    assert_eq!(begun.elapsed().as_secs(), deadline::PULL_SILENCE.as_secs());
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_no_http_or_no_list_is_not_understood() {
    for answer in [
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nContent-Length: 34\r\n\r\n[{\"Id\":\"1\",\"State\":\"brand-new-one\"}]",
    ] {
        let engine = engine(move |head| match head.starts_with("GET /version ") {
            true => ok(VERSION),
            false => Some(answer.to_owned()),
        });
        let error = engine.containers().await.expect_err("it is no list");
        assert!(matches!(error, EngineError::NotUnderstood { .. }), "{answer}: {error:?}");
        assert!(!error.is_transient());
    }
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_was_exchanged_is_agreed_with_anew() {
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let engine = engine(move |head| {
        if head.starts_with("GET /version ") {
            let first = asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
            return ok(if first { VERSION } else { r#"{"Version":"29.0.0","ApiVersion":"1.52"}"# });
        }
        if head.starts_with("GET /v1.52/") {
            return ok("[]");
        }
        let body = r#"{"message":"client version 1.41 is too old. Minimum supported API version is 1.44"}"#;
        Some(format!("HTTP/1.1 400 Bad Request\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
    });
    let error = engine.containers().await.expect_err("the agreed version is too old");
    assert!(error.is_transient(), "{error:?}");
    engine.containers().await.expect("the next look agrees anew");
}

#[tokio::test(start_paused = true)]
async fn a_password_is_sent_as_engines_read_it_and_shown_nowhere() {
    let engine = engine(|head| {
        if head.starts_with("GET /version ") {
            return ok(VERSION);
        }
        let header = head.lines().find(|line| line.to_lowercase().starts_with("x-registry-auth: "));
        let value = header.expect("the login is sent").split_once(": ").expect("a header").1.to_owned();
        assert!(!value.contains(['+', '/']), "{value}");
        // `p>>>???~~~` holds both characters in which the two alphabets differ.
        assert!(value.contains(['-', '_']), "{value}");
        ok(r#"{"Descriptor":{"digest":"sha256:00"},"Platforms":[]}"#)
    });
    let login = RegistryLogin {
        username: "u".to_owned(),
        password: Secret::new("p>>>???~~~".to_owned()),
        server: "registry:5000".to_owned(),
    };
    let image = ImageRef::new("registry:5000/web:1").expect("a reference");
    let resolved = engine.ask_registry(&image, Some(&login)).await.expect("an answer");
    assert_eq!(resolved, "registry:5000/web@sha256:00");
    assert!(!format!("{login:?} {engine:?}").contains("p>>>"));
}

#[tokio::test(start_paused = true)]
async fn a_socket_that_is_not_there_is_named() {
    let engine = Docker::unix("/nowhere/docker.sock");
    let error = engine.about().await.expect_err("there is none");
    assert!(matches!(error, EngineError::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains("/nowhere/docker.sock"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_stop_is_given_its_grace_and_no_more_than_the_margin() {
    let engine = engine(|head| if head.starts_with("GET /version ") { ok(VERSION) } else { None });
    let begun = Instant::now();
    let error = engine.stop("abc", Duration::from_secs(30)).await.expect_err("it hangs");
    assert!(matches!(error, EngineError::Timeout { call: "stop", .. }), "{error:?}");
    assert_eq!(begun.elapsed().as_secs(), 45);
}
