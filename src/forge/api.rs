//! The words of each forge: paths, credentials and bodies, as their documentation gives them.
//!
//! GitHub: "REST API endpoints for commit statuses", "… for issue comments". GitLab: "Commits API: set the pipeline status
//! of a commit", "Notes API: merge requests". Gitea and Forgejo: `repoCreateStatus`, `issueCreateComment` of their Swagger
//! pages; they follow GitHub.

use serde_json::{Value, json};

use crate::forge::http::{Credentials, Method};
use crate::forge::{CommitStatus, ForgeError, Place, State};
use crate::model::config::ForgeKind;
use crate::name::Revision;
use crate::secret::Secret;
use crate::source::LEDGER_BRANCH;

/// Comments of one page: the most that a Gitea gives; one that gives fewer than asked for would look like the last page.
pub const PAGE: usize = 50;

/// The most characters that GitHub takes for what is said of a commit; the others take more.
const LONGEST_SENTENCE: usize = 140;

/// What statuses are named: a newer one of the same name takes the older one's place.
const NAME: &str = "bayplan";

#[derive(Debug)]
pub struct Api {
    kind: ForgeKind,
    url: String,
    repository: String,
}

impl Api {
    pub fn new(place: &Place) -> Self {
        let url = place.url.trim_end_matches('/').to_owned();
        Self { kind: place.kind, url, repository: place.repository.clone() }
    }

    /// Where the API is. GitHub's own has a host for it, and so has each tenant of `ghe.com`; a GitHub of one's own has a path.
    pub fn base(&self) -> String {
        match self.kind {
            ForgeKind::Github => match self.url.strip_prefix("https://") {
                Some(host) if host == "github.com" || host.ends_with(".ghe.com") => format!("https://api.{host}"),
                Some(_) | None => format!("{}/api/v3", self.url),
            },
            ForgeKind::Gitlab => format!("{}/api/v4", self.url),
            ForgeKind::Gitea => format!("{}/api/v1", self.url),
        }
    }

    pub fn credentials(&self, token: &Secret<String>) -> Credentials {
        let token = token.expose();
        let (header, value) = match self.kind {
            ForgeKind::Github => ("authorization", format!("Bearer {token}")),
            ForgeKind::Gitlab => ("private-token", token.clone()),
            ForgeKind::Gitea => ("authorization", format!("token {token}")),
        };
        Credentials { header, value: Secret::new(value) }
    }

    pub fn status_page(&self) -> String {
        let (url, repository) = (&self.url, &self.repository);
        match self.kind {
            ForgeKind::Github => format!("{url}/{repository}/blob/{LEDGER_BRANCH}/STATUS.md"),
            ForgeKind::Gitlab => format!("{url}/{repository}/-/blob/{LEDGER_BRANCH}/STATUS.md"),
            ForgeKind::Gitea => format!("{url}/{repository}/src/branch/{LEDGER_BRANCH}/STATUS.md"),
        }
    }

    /// What all paths of the repository begin with.
    fn root(&self) -> String {
        match self.kind {
            ForgeKind::Github | ForgeKind::Gitea => format!("/repos/{}", self.repository),
            // The path, in one piece, stands for the project's number.
            ForgeKind::Gitlab => format!("/projects/{}", self.repository.replace('/', "%2F")),
        }
    }

    pub fn statuses(&self, commit: &Revision) -> String {
        format!("{}/statuses/{commit}", self.root())
    }

    pub fn status(&self, status: &CommitStatus) -> Value {
        let state = match (self.kind, status.state) {
            (ForgeKind::Github | ForgeKind::Gitea | ForgeKind::Gitlab, State::Pending) => "pending",
            (ForgeKind::Github | ForgeKind::Gitea | ForgeKind::Gitlab, State::Success) => "success",
            (ForgeKind::Github | ForgeKind::Gitea, State::Failure) => "failure",
            (ForgeKind::Gitlab, State::Failure) => "failed",
            (ForgeKind::Github | ForgeKind::Gitea, State::Superseded) => "error",
            (ForgeKind::Gitlab, State::Superseded) => "canceled",
        };
        let mut body = json!({"state": state, "description": cut(&status.sentence), "context": NAME});
        if let Some(link) = &status.link {
            body["target_url"] = json!(link);
        }
        body
    }

    /// GitLab refuses to set what is set.
    pub fn says_it_is_so_already(&self, error: &ForgeError) -> bool {
        match (self.kind, error) {
            (ForgeKind::Gitlab, ForgeError::Refused { status: 400, said, .. }) => {
                said.contains("Cannot transition status")
            }
            (ForgeKind::Github | ForgeKind::Gitlab | ForgeKind::Gitea, _) => false,
        }
    }

    pub fn comments(&self, pull: u64) -> String {
        match self.kind {
            ForgeKind::Github | ForgeKind::Gitea => format!("{}/issues/{pull}/comments", self.root()),
            ForgeKind::Gitlab => format!("{}/merge_requests/{pull}/notes", self.root()),
        }
    }

    pub fn comments_page(&self, pull: u64, page: u32) -> String {
        let comments = self.comments(pull);
        match self.kind {
            ForgeKind::Github => format!("{comments}?per_page={PAGE}&page={page}"),
            ForgeKind::Gitea => format!("{comments}?limit={PAGE}&page={page}"),
            ForgeKind::Gitlab => format!("{comments}?order_by=created_at&sort=asc&per_page={PAGE}&page={page}"),
        }
    }

    pub fn comment(&self, pull: u64, id: u64) -> String {
        match self.kind {
            ForgeKind::Github | ForgeKind::Gitea => format!("{}/issues/comments/{id}", self.root()),
            ForgeKind::Gitlab => format!("{}/{id}", self.comments(pull)),
        }
    }

    /// The name of a user.
    pub fn name_of<'a>(&self, user: &'a Value) -> Option<&'a str> {
        match self.kind {
            ForgeKind::Github | ForgeKind::Gitea => user["login"].as_str(),
            ForgeKind::Gitlab => user["username"].as_str(),
        }
    }

    /// Whether a comment is by a user; where a job's token belongs to none, whether it can be by one of a job.
    pub fn is_by(&self, comment: &Value, us: Option<&str>) -> bool {
        let author = match self.kind {
            ForgeKind::Github | ForgeKind::Gitea => &comment["user"],
            ForgeKind::Gitlab => &comment["author"],
        };
        match (us, self.kind) {
            (Some(us), _) => self.name_of(author) == Some(us),
            (None, ForgeKind::Github) => author["type"] == "Bot",
            // Users of jobs are not marked here.
            (None, ForgeKind::Gitlab | ForgeKind::Gitea) => true,
        }
    }

    pub fn update_method(&self) -> Method {
        match self.kind {
            ForgeKind::Github | ForgeKind::Gitea => Method::Patch,
            ForgeKind::Gitlab => Method::Put,
        }
    }
}

fn cut(sentence: &str) -> String {
    let line = sentence.lines().next().unwrap_or_default();
    if line.chars().count() <= LONGEST_SENTENCE {
        return line.to_owned();
    }
    let mut cut: String = line.chars().take(LONGEST_SENTENCE - 1).collect();
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use super::{Api, cut};
    use crate::forge::Place;
    use crate::model::config::ForgeKind;

    #[test]
    fn each_forge_has_its_api_elsewhere() {
        for (kind, url, base) in [
            (ForgeKind::Github, "https://github.com", "https://api.github.com"),
            (ForgeKind::Github, "https://ops.ghe.com/", "https://api.ops.ghe.com"),
            (ForgeKind::Github, "https://github.example.org", "https://github.example.org/api/v3"),
            (ForgeKind::Gitlab, "https://gitlab.com", "https://gitlab.com/api/v4"),
            (ForgeKind::Gitea, "https://example.org/git/", "https://example.org/git/api/v1"),
        ] {
            let place = Place { kind, url: url.to_owned(), repository: "ops/fleet".to_owned(), ca: None };
            assert_eq!(Api::new(&place).base(), base);
        }
    }

    #[test]
    fn a_long_sentence_is_cut_where_a_character_ends() {
        assert_eq!(cut("short\nand more"), "short");
        assert_eq!(cut(&"ü".repeat(200)).chars().count(), 140);
    }
}
