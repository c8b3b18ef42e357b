//! Tells a forge what became of a commit, and what a pull request would do.
//!
//! Takes the address of the forge, a repository there and a token. Gives commit statuses, and one comment for each pull
//! request, found again by its marker.
//!
//! Never decides anything from what a forge answers, and never shows a token: not in an error, a log or an argument.
//!
//! Because each forge says the same in other words, the words are in one file (`api`), and the network in another.

mod api;
mod http;
pub mod reporter;

use std::path::PathBuf;
use std::time::Duration;

use crate::forge::api::Api;
use crate::forge::http::{Call, Http, Method};
use crate::model::config::ForgeKind;
use crate::name::Revision;
use crate::secret::Secret;

/// Where one repository is at a forge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub kind: ForgeKind,
    /// As in a browser: `https://git.example.org`, without the repository.
    pub url: String,
    /// `owner/name`; at GitLab also `group/subgroup/name`.
    pub repository: String,
    /// The only authorities that are trusted (PEM); absent, the machine's own.
    pub ca: Option<PathBuf>,
}

/// What is said of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitStatus {
    pub state: State,
    /// For people; a long one is cut.
    pub sentence: String,
    pub link: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Pending,
    Success,
    Failure,
    /// Nothing became of it, because a newer one came.
    Superseded,
}

/// What became of a comment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commented {
    New,
    Updated,
    /// It said the same already.
    UpToDate,
}

/// One repository at a forge.
#[derive(Debug)]
pub struct Forge {
    http: Http,
    api: Api,
}

#[derive(Debug, thiserror::Error)]
pub enum ForgeError {
    #[error("the forge's address `{url}` {why}")]
    Address { url: String, why: &'static str },
    #[error("the certificate authorities for the forge cannot be had: {why}")]
    Authorities { why: String },
    #[error("failed to {act}")]
    Reach { act: &'static str, source: std::io::Error },
    #[error("failed to {act}: the forge did not answer within {} s", limit.as_secs())]
    Deadline { act: &'static str, limit: Duration },
    #[error("failed to {act}: the forge answered {status}{said}; {hint}")]
    Refused {
        act: &'static str,
        status: u16,
        /// In the forge's own words; empty, or after a colon.
        said: String,
        hint: &'static str,
        /// When it wants to be asked again.
        retry_after: Option<Duration>,
    },
    #[error("failed to {act}: the answer is not what this forge's API gives")]
    Answer { act: &'static str },
}

impl ForgeError {
    /// Will waiting help?
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Reach { .. } | Self::Deadline { .. } => true,
            Self::Refused { status, retry_after, .. } => {
                *status >= 500 || *status == 429 || *status == 408 || retry_after.is_some()
            }
            Self::Address { .. } | Self::Authorities { .. } | Self::Answer { .. } => false,
        }
    }

    /// How long the forge wants to be left alone.
    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            Self::Address { .. }
            | Self::Authorities { .. }
            | Self::Reach { .. }
            | Self::Deadline { .. }
            | Self::Answer { .. } => None,
        }
    }
}

/// Fifty comments a page; nobody reads a pull request with more than so many.
const MOST_PAGES: u32 = 100;

impl Forge {
    /// # Errors
    /// When the address is none, or the certificate authorities cannot be read.
    pub fn new(place: &Place, token: Secret<String>) -> Result<Self, ForgeError> {
        let api = Api::new(place);
        let http = Http::new(&api.base(), place.ca.as_deref(), api.credentials(&token), token)?;
        Ok(Self { http, api })
    }

    /// The page of the deployment map on the status branch.
    pub fn status_page(&self) -> String {
        self.api.status_page()
    }

    /// # Errors
    /// When the forge cannot be reached or refuses.
    pub async fn set_status(&self, commit: &Revision, status: &CommitStatus) -> Result<(), ForgeError> {
        let call = Call {
            act: "set a commit status",
            method: Method::Post,
            path: self.api.statuses(commit),
            body: Some(self.api.status(status)),
        };
        match self.http.call(call).await {
            Ok(_) => Ok(()),
            Err(error) if self.api.says_it_is_so_already(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Has one comment with the marker at a pull request, and this text in it. The text holds the marker.
    ///
    /// # Errors
    /// When the forge cannot be reached or refuses.
    pub async fn comment(&self, pull: u64, marker: &str, text: &str) -> Result<Commented, ForgeError> {
        let us = self.us().await?;
        for (id, before) in self.comments(pull, marker, us.as_deref()).await? {
            if same_text(&before, text) {
                return Ok(Commented::UpToDate);
            }
            let call = Call {
                act: "update the comment",
                method: self.api.update_method(),
                path: self.api.comment(pull, id),
                body: Some(serde_json::json!({"body": text})),
            };
            match self.http.call(call).await {
                Ok(_) => return Ok(Commented::Updated),
                // It is not ours to change after all, or gone by now.
                Err(ForgeError::Refused { status: 403 | 404, retry_after: None, .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let call = Call {
            act: "comment on the pull request",
            method: Method::Post,
            path: self.api.comments(pull),
            body: Some(serde_json::json!({"body": text})),
        };
        self.http.call(call).await.map(|_| Commented::New)
    }

    /// Who the token belongs to. None: it is that of a job, and belongs to no user.
    async fn us(&self) -> Result<Option<String>, ForgeError> {
        let call = Call { act: "ask whose token it is", method: Method::Get, path: "/user".to_owned(), body: None };
        match self.http.call(call).await {
            Ok(user) => Ok(self.api.name_of(&user).map(str::to_owned)),
            Err(ForgeError::Refused { status: 401 | 403 | 404, retry_after: None, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Our comments that begin with the marker, the oldest first. Whoever else writes the marker could change afterwards what
    /// we wrote there, and it would still look like ours.
    async fn comments(&self, pull: u64, marker: &str, us: Option<&str>) -> Result<Vec<(u64, String)>, ForgeError> {
        const ACT: &str = "list the comments of the pull request";
        let mut found = Vec::new();
        let mut last_first = None;
        for page in 1..=MOST_PAGES {
            let path = self.api.comments_page(pull, page);
            let answer = self.http.call(Call { act: ACT, method: Method::Get, path, body: None }).await?;
            let list = answer.as_array().ok_or(ForgeError::Answer { act: ACT })?;
            let ids: Vec<u64> = list.iter().filter_map(|comment| comment["id"].as_u64()).collect();
            // Some versions know no pages here and give everything each time.
            if ids.is_empty() || ids.first() == last_first.as_ref() {
                break;
            }
            let ours = list.iter().filter_map(|comment| {
                let body = comment["body"].as_str().filter(|body| body.starts_with(marker))?;
                self.api.is_by(comment, us).then_some(())?;
                Some((comment["id"].as_u64()?, body.to_owned()))
            });
            found.extend(ours);
            if !found.is_empty() || ids.len() < api::PAGE {
                break;
            }
            last_first = ids.first().copied();
        }
        Ok(found)
    }
}

/// Forges may end lines in their own way.
fn same_text(one: &str, other: &str) -> bool {
    one.trim_end().lines().eq(other.trim_end().lines())
}

/// `owner/name` of a repository behind a URL; none where it has no such path.
pub fn repository_of(location: &str) -> Option<String> {
    let path = match location.split_once("://") {
        Some(("https" | "http" | "ssh" | "git", rest)) => rest.split_once('/')?.1,
        Some(_) => return None,
        None => {
            let (host, path) = location.split_once(':')?;
            if host.contains('/') {
                return None;
            }
            path
        }
    };
    let path = path.trim_matches('/');
    let path = path.strip_suffix(".git").unwrap_or(path);
    (path.split('/').count() >= 2 && path.split('/').all(|part| !part.is_empty())).then(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::repository_of;

    #[test]
    fn a_repository_is_named_by_the_path_of_its_url() {
        for (location, repository) in [
            ("https://github.com/ops/fleet.git", Some("ops/fleet")),
            ("https://bot@git.example:8443/ops/fleet/", Some("ops/fleet")),
            ("ssh://git@git.example:2222/ops/sub/fleet.git", Some("ops/sub/fleet")),
            ("git@git.example:ops/fleet.git", Some("ops/fleet")),
            ("https://git.example/fleet.git", None),
            ("file:///srv/git/fleet.git", None),
            ("/srv/git/fleet.git", None),
            (".", None),
        ] {
            assert_eq!(repository_of(location).as_deref(), repository, "{location}");
        }
    }
}
