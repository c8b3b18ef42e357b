//! Decides which commit a pass works from: the branch's head, or, where its history was rewritten, the one that was
//! deployed last.
//!
//! A history without the commit that was deployed last is no newer version of it: somebody may have pushed by force what
//! they did not mean. What runs goes on running, and is healed, until a human says that it is meant.
//!
//! Never judges by time: only what is reachable counts.

use crate::model::config::RewrittenHistory;
use crate::model::record::Ledger;
use crate::name::Revision;
use crate::plan::hold::Hold;
use crate::reconcile::site::Site;
use crate::reconcile::{Look, PassError};
use crate::source::SourceError;

const FOLLOW_REWRITE: &str = "Bayplan-Follow-Rewrite";

/// The commit to work from, and what is held if it is not the head.
pub struct Followed {
    pub revision: Revision,
    pub hold: Option<Hold>,
}

pub async fn followed(site: &Site, ledger: &Ledger, look: Look) -> Result<Followed, PassError> {
    let branch = || site.source.branch().to_owned();
    let head = site.source.head().await?;
    // A plan from Git alone is made for branches that are not deployed yet, too.
    let deployed = ledger.head.as_ref().filter(|_| look == Look::Hosts);
    let (head, last) = match (head, deployed) {
        (None, None) => return Err(PassError::NoCommit { branch: branch() }),
        (None, Some(last)) => {
            let hold = Hold::BranchGone { branch: branch(), deployed: last.clone() };
            return Ok(Followed { revision: last.clone(), hold: Some(hold) });
        }
        (Some(head), None) => return Ok(Followed { revision: head, hold: None }),
        (Some(head), Some(last)) => (head, last),
    };
    let (contains, is_here) = match site.source.contains(&head, last).await {
        Ok(contains) => (contains, true),
        Err(SourceError::NoSuchRevision { revision }) if &revision == last => (false, false),
        Err(error) => return Err(error.into()),
    };
    if contains || site.config.rewritten_history == RewrittenHistory::Follow {
        return Ok(Followed { revision: head, hold: None });
    }
    let words = site.source.trailers(&head, Some(last).filter(|_| is_here)).await?;
    if words.iter().any(|trailer| trailer.key == FOLLOW_REWRITE && trailer.value == last.as_str()) {
        return Ok(Followed { revision: head, hold: None });
    }
    if !is_here {
        return Err(PassError::Rewritten { branch: branch(), head, deployed: last.clone() });
    }
    let hold = Hold::HistoryRewritten { branch: branch(), head, deployed: last.clone() };
    Ok(Followed { revision: last.clone(), hold: Some(hold) })
}
