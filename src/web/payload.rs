//! What a forge says happened, as far as it is a reason to look.
//!
//! Takes headers and a body whose signature is right. Gives the names of the refs that were pushed to, and nothing else.

use std::collections::BTreeSet;

use axum::http::HeaderMap;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::model::config::Provider;

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// Full names of refs (`refs/heads/main`); none: which ones is not said.
    Push(Vec<String>),
    /// The forge wants to know whether it is heard.
    Ping,
    Other,
}

/// Longer names of events and refs are cut where they are repeated.
const LONGEST_NAME: usize = 100;
/// More refs of one push are not named.
const MOST_NAMED: usize = 3;

/// The event as the forge names it, and what it says.
///
/// # Errors
/// What the sender should send instead, in a sentence.
pub fn read(provider: Provider, headers: &HeaderMap, body: &[u8]) -> Result<(String, Told), String> {
    let header = match provider {
        Provider::Github => "X-GitHub-Event",
        Provider::Gitlab => "X-Gitlab-Event",
        Provider::Gitea => "X-Gitea-Event",
        Provider::Bitbucket => "X-Event-Key",
        Provider::Generic => "X-Bayplan-Event",
    };
    let event = headers.get(header).and_then(|event| event.to_str().ok());
    let event = match (event, provider) {
        (Some(event), _) => event,
        (None, Provider::Generic) => "push",
        (None, Provider::Github | Provider::Gitlab | Provider::Gitea | Provider::Bitbucket) => {
            return Err(format!("the header `{header}` does not say what happened"));
        }
    };
    let told = match (provider, event) {
        (Provider::Github | Provider::Gitea | Provider::Generic, "ping")
        | (Provider::Bitbucket, "diagnostics:ping") => {
            parse::<serde::de::IgnoredAny>(body)?;
            Told::Ping
        }
        (Provider::Github | Provider::Gitea, "push") | (Provider::Gitlab, "Push Hook") => {
            Told::Push(vec![parse::<Push>(body)?.name])
        }
        (Provider::Generic, "push") => Told::Push(parse::<Hint>(body)?.name.into_iter().collect()),
        (Provider::Bitbucket, "repo:push") => {
            let changes = parse::<BitbucketPush>(body)?.push.changes;
            // What it was and what it is are mostly of one name.
            let refs: BTreeSet<String> = changes.into_iter().flat_map(BitbucketChange::names).collect();
            Told::Push(refs.into_iter().collect())
        }
        (Provider::Bitbucket, "repo:refs_changed") => {
            let changes = parse::<BitbucketServerPush>(body)?.changes;
            Told::Push(changes.into_iter().map(|change| change.name.id).collect())
        }
        (Provider::Github | Provider::Gitlab | Provider::Gitea | Provider::Bitbucket | Provider::Generic, _) => {
            parse::<serde::de::IgnoredAny>(body)?;
            Told::Other
        }
    };
    let told = match (told, provider) {
        // Only a script may leave out what it pushed to.
        (Told::Push(refs), Provider::Github | Provider::Gitlab | Provider::Gitea | Provider::Bitbucket)
            if refs.is_empty() =>
        {
            Told::Other
        }
        (told @ (Told::Push(_) | Told::Ping | Told::Other), _) => told,
    };
    Ok((cut(event), told))
}

/// The first refs of a push, for a sentence.
pub fn named(refs: &[String]) -> String {
    let short = |name: &String| cut(name.strip_prefix("refs/heads/").unwrap_or(name));
    let mut text = refs.iter().take(MOST_NAMED).map(short).collect::<Vec<_>>().join(", ");
    if let Some(more) = refs.len().checked_sub(MOST_NAMED).filter(|more| *more > 0) {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

fn cut(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(LONGEST_NAME).collect()
}

/// # Errors
/// Where the body is not what the event says. The body itself is not repeated.
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => "the body is not what this event has".to_owned(),
        serde_json::error::Category::Io | serde_json::error::Category::Syntax | serde_json::error::Category::Eof => {
            format!("the body is not JSON (line {}, column {})", error.line(), error.column())
        }
    })
}

/// GitHub, GitLab, Gitea and Forgejo.
#[derive(Deserialize)]
struct Push {
    #[serde(rename = "ref")]
    name: String,
}

#[derive(Deserialize)]
struct Hint {
    #[serde(rename = "ref")]
    name: Option<String>,
}

#[derive(Deserialize)]
struct BitbucketPush {
    push: BitbucketChanges,
}

#[derive(Deserialize)]
struct BitbucketChanges {
    changes: Vec<BitbucketChange>,
}

#[derive(Deserialize)]
struct BitbucketChange {
    new: Option<BitbucketRef>,
    old: Option<BitbucketRef>,
}

#[derive(Deserialize)]
struct BitbucketRef {
    #[serde(rename = "type")]
    kind: String,
    name: String,
}

impl BitbucketChange {
    fn names(self) -> impl Iterator<Item = String> {
        [self.new, self.old].into_iter().flatten().map(|changed| match changed.kind.as_str() {
            "branch" => format!("refs/heads/{}", changed.name),
            _ => format!("refs/tags/{}", changed.name),
        })
    }
}

/// Bitbucket Server and Data Center.
#[derive(Deserialize)]
struct BitbucketServerPush {
    changes: Vec<BitbucketServerChange>,
}

#[derive(Deserialize)]
struct BitbucketServerChange {
    #[serde(rename = "ref")]
    name: BitbucketServerRef,
}

#[derive(Deserialize)]
struct BitbucketServerRef {
    id: String,
}
