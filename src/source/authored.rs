//! Who made a commit of the watched repository, and what it says it does.
//!
//! Takes commits. Gives author and subject; a commit that is not here has none.

use std::collections::{BTreeMap, BTreeSet};

use git2::{ErrorCode, Oid};

use super::{Door, Source, SourceError, reading, with};
use crate::name::Revision;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authored {
    pub author: String,
    pub email: String,
    /// The first paragraph of the message, in one line.
    pub subject: String,
}

impl Source {
    /// Author and subject of commits. Those that are not in the repository are left out.
    ///
    /// # Errors
    /// When a commit cannot be read.
    pub async fn authored(&self, of: &BTreeSet<Revision>) -> Result<BTreeMap<Revision, Authored>, SourceError> {
        let inner = match self.door() {
            Door::Git(inner) => inner,
            // Who commits there has no name.
            Door::Memory(_) => return Ok(BTreeMap::new()),
        };
        let of = of.clone();
        with(inner, move |inner| {
            let repository = inner.repository()?;
            let mut found = BTreeMap::new();
            for revision in &of {
                let Ok(id) = Oid::from_str(revision.as_str()) else { continue };
                let commit = match repository.find_commit(id) {
                    Ok(commit) => commit,
                    Err(error) if error.code() == ErrorCode::NotFound => continue,
                    Err(error) => return Err(reading(&format!("read commit {revision}"))(error)),
                };
                let author = commit.author();
                let authored = Authored {
                    author: String::from_utf8_lossy(author.name_bytes()).into_owned(),
                    email: String::from_utf8_lossy(author.email_bytes()).into_owned(),
                    subject: commit.summary_bytes().map(String::from_utf8_lossy).unwrap_or_default().into_owned(),
                };
                found.insert(revision.clone(), authored);
            }
            Ok(found)
        })
        .await
    }
}
