//! What passes work with, and what they remember for the next one.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::Arc;

use tokio::sync::Notify;

use crate::engine::{Engine, Engines, Logins};
use crate::ledger::{LedgerError, StatusBranch};
use crate::model::config::Config;
use crate::model::desired::Inventory;
use crate::model::host::{Endpoint, Host};
use crate::model::stack::Stack;
use crate::name::{Revision, StackSlug};
use crate::observe::Observer;
use crate::observe::images::Unanswered;
use crate::plan::memo::Memo;
use crate::plan::want::LastGood;
use crate::reconcile::PassError;
use crate::source::Source;
use crate::status::hosts::Use;
use crate::validate::cache::Cache;

/// Makes the engine that listens at an endpoint, or says why there can be none. It connects when first asked something.
pub type Connect = Arc<dyn Fn(&Host, &Endpoint) -> Result<Arc<dyn Engine>, String> + Send + Sync>;

/// One watched repository with everything around it.
pub struct Site {
    pub source: Source,
    pub ledger: StatusBranch,
    pub config: Arc<Config>,
    pub engines: Engines,
    pub logins: Arc<Logins>,
    pub observer: Observer,
    /// Tells this controller's commits of the ledger from another's; different in each run.
    pub identity: String,
    /// Rung by whoever hears of new commits; it carries nothing.
    pub told: Arc<Notify>,
    /// Sampled use of engines.
    pub used: BTreeMap<Endpoint, Use>,
    /// What of the last pass still holds.
    pub memo: Memo,
    /// Images for which a registry is silent.
    pub unanswered: Unanswered,
    pub(super) checked: Cache,
    /// A stack that could be read then and not be understood now is remembered as `None`.
    pub(super) last_good: BTreeMap<StackSlug, (LastGood, Option<Arc<Stack>>)>,
    /// The host files, with their blobs, that these were understood among.
    pub(super) last_good_among: Vec<(Arc<str>, Arc<str>)>,
    connect: Connect,
}

impl Site {
    /// # Errors
    /// When the ledger's branch cannot be opened.
    pub async fn new(
        source: Source,
        config: Arc<Config>,
        logins: Arc<Logins>,
        connect: Connect,
    ) -> Result<Self, LedgerError> {
        let ledger = crate::ledger::open(&source).await?;
        let policy = config.policy.clone();
        let observer = Observer::waiting(config.answer_within);
        Ok(Self {
            source,
            ledger,
            config,
            engines: Engines::new(),
            logins,
            observer,
            identity: identity(),
            told: Arc::default(),
            used: BTreeMap::new(),
            memo: Memo::default(),
            unanswered: Unanswered::default(),
            checked: Cache::new(policy),
            last_good: BTreeMap::new(),
            last_good_among: Vec::new(),
            connect,
        })
    }

    /// The owner label: the configured one, else the root commit of the watched branch and the branch's name.
    pub(super) async fn owner(&self, head: &Revision) -> Result<String, PassError> {
        if let Some(owner) = &self.config.owner {
            return Ok(owner.clone());
        }
        let root = self.source.root_commit(head).await?;
        Ok(format!("{root}:{}", self.source.branch()))
    }

    /// Has an engine for every endpoint of the inventory, and for no other.
    pub(super) fn connect(&mut self, inventory: &Inventory) {
        let mut engines = Engines::new();
        for host in inventory.hosts.values() {
            let Some(endpoint) = &host.endpoint else { continue };
            if engines.contains_key(endpoint) {
                continue;
            }
            let known = self.engines.get(endpoint).cloned();
            match known.map_or_else(|| (self.connect)(host, endpoint), Ok) {
                Ok(engine) => {
                    engines.insert(endpoint.clone(), engine);
                }
                Err(why) => {
                    self.observer.hear(BTreeMap::from([(endpoint.clone(), Err(why))]));
                }
            }
        }
        self.engines = engines;
    }
}

/// Eight hex digits that no two runs share.
fn identity() -> String {
    let digits = RandomState::new().build_hasher().finish();
    format!("{:08x}", digits & 0xffff_ffff)
}
