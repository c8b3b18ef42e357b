//! What a request is answered: one shape of JSON, whose `version` changes with its meaning.

use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::model::config::Provider;

const VERSION: u32 = 1;

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Looking,
    Pong,
    /// It is right, and nothing follows from it.
    Ignored,
    NoSecret,
    WrongSignature,
    WrongContent,
    WrongMethod,
    TooLarge,
    TooSlow,
    /// Come again after so long.
    TooMany(Duration),
    Busy,
    NotFound,
    Alive,
    Ready,
    Starting,
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Looking => "looking",
            Self::Pong => "pong",
            Self::Ignored => "ignored",
            Self::NoSecret => "no-secret",
            Self::WrongSignature => "wrong-signature",
            Self::WrongContent => "wrong-content",
            Self::WrongMethod => "wrong-method",
            Self::TooLarge => "too-large",
            Self::TooSlow => "too-slow",
            Self::TooMany(_) => "too-many",
            Self::Busy => "busy",
            Self::NotFound => "not-found",
            Self::Alive => "alive",
            Self::Ready => "ready",
            Self::Starting => "starting",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::Looking | Self::Pong | Self::Alive | Self::Ready => StatusCode::OK,
            Self::Ignored => StatusCode::ACCEPTED,
            Self::NoSecret => StatusCode::FORBIDDEN,
            Self::WrongSignature => StatusCode::UNAUTHORIZED,
            Self::WrongContent => StatusCode::BAD_REQUEST,
            Self::WrongMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Busy | Self::Starting => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Seconds, rounded up: who comes a moment too early would be refused again.
    fn retry_after(self) -> Option<u64> {
        match self {
            Self::TooMany(wait) => Some(wait.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX)),
            Self::Busy => Some(1),
            Self::Looking
            | Self::Pong
            | Self::Ignored
            | Self::NoSecret
            | Self::WrongSignature
            | Self::WrongContent
            | Self::WrongMethod
            | Self::TooLarge
            | Self::TooSlow
            | Self::NotFound
            | Self::Alive
            | Self::Ready
            | Self::Starting => None,
        }
    }

    /// Whether a body may be left in the connection that nobody reads.
    fn leaves_a_body(self) -> bool {
        matches!(self, Self::TooLarge | Self::TooSlow)
    }
}

/// An answer before it is written.
#[derive(Debug)]
pub struct Answer {
    outcome: Outcome,
    reason: String,
    provider: Option<Provider>,
    event: Option<String>,
    matched: Option<String>,
}

#[derive(Serialize)]
struct Written<'a> {
    version: u32,
    outcome: &'a str,
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<&'a str>,
    /// As the forge names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a str>,
    /// The branch that is looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    matched: Option<&'a str>,
}

impl Answer {
    pub fn new(outcome: Outcome, reason: impl Into<String>) -> Self {
        Self { outcome, reason: reason.into(), provider: None, event: None, matched: None }
    }

    pub fn of(self, provider: Provider) -> Self {
        Self { provider: Some(provider), ..self }
    }

    pub fn event(self, event: String) -> Self {
        Self { event: Some(event), ..self }
    }

    pub fn matched(self, branch: &str) -> Self {
        Self { matched: Some(branch.to_owned()), ..self }
    }

    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Whether something is to be set right by somebody.
    pub fn is_refusal(&self) -> bool {
        self.outcome.status().is_client_error() || self.outcome.status().is_server_error()
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let written = Written {
            version: VERSION,
            outcome: self.outcome.as_str(),
            reason: &self.reason,
            provider: self.provider.map(Provider::as_str),
            event: self.event.as_deref(),
            matched: self.matched.as_deref(),
        };
        let mut text = serde_json::to_string(&written).expect("texts and a number are JSON");
        text.push('\n');
        let mut response = Response::new(Body::from(text));
        *response.status_mut() = self.outcome.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(seconds) = self.outcome.retry_after() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.outcome.leaves_a_body() {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
