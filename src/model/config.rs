//! What the operator decides, outside the watched repository.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::model::policy::Policy;
use crate::moment::{Day, Zone};

/// The configuration. Its default is what counts without a file, and is safe.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Path or URL of the watched repository; the command line wins.
    pub repository: Option<String>,
    /// Absent: the branch that HEAD is on at the start.
    pub branch: Option<String>,
    pub push: Push,
    pub notes: Notes,
    pub poll_interval: Duration,
    pub rewritten_history: RewrittenHistory,
    /// Absent: the root commit of the watched branch and its name.
    pub owner: Option<String>,
    /// How long an engine may take to answer before its host counts as unreachable.
    pub answer_within: Duration,
    /// How long a host is unreachable before it counts as lost.
    pub lost_after: Duration,
    pub brake: Brake,
    /// By endpoint as host files write it (`tcp://…`) or by host name.
    pub engines: BTreeMap<String, TlsFiles>,
    /// By registry, as images name it; `docker.io` for images that name none.
    pub registries: BTreeMap<String, RegistryLogin>,
    pub policy: Policy,
    pub schedule: Schedule,
    /// Stacks that are kept as they run, by name or slug.
    pub suspended: BTreeSet<String>,
    /// Whether only what was reviewed is deployed.
    pub plan_digest: PlanDigest,
    /// IPv4 networks that the stacks' networks are cut from: address and prefix length, at most 24.
    pub subnets: Vec<(std::net::Ipv4Addr, u8)>,
    /// Absent: nothing listens.
    pub webhooks: Option<Webhooks>,
    /// Absent: no forge is told anything.
    pub forge: Option<Forge>,
    pub log: LogFormat,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            repository: None,
            branch: None,
            push: Push::Auto,
            notes: Notes::Off,
            poll_interval: Duration::from_secs(60),
            rewritten_history: RewrittenHistory::Hold,
            owner: None,
            // One that is well lists a hundred containers in 5 ms.
            answer_within: Duration::from_secs(2),
            lost_after: Duration::from_secs(60),
            brake: Brake::default(),
            engines: BTreeMap::new(),
            registries: BTreeMap::new(),
            policy: Policy::default(),
            schedule: Schedule::default(),
            suspended: BTreeSet::new(),
            plan_digest: PlanDigest::NotNeeded,
            subnets: Vec::new(),
            webhooks: None,
            forge: None,
            log: LogFormat::Text,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Push {
    /// When there is a remote.
    Auto,
    Never,
}

/// Whether what became of a deployed commit is noted beside it, in `refs/notes/bayplan`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notes {
    Off,
    On,
}

/// What a pass does when the branch does not contain what was deployed last any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RewrittenHistory {
    /// It goes on with what was deployed last, until a commit acknowledges the new history.
    Hold,
    /// It takes the new history for what is wanted.
    Follow,
}

/// Whether a commit must name the plan that it brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlanDigest {
    NotNeeded,
    /// In a trailer, as it was reviewed.
    Required,
}

/// When new content is deployed. Without windows: always, but for freezes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    pub zone: Zone,
    pub windows: Vec<Window>,
    pub freezes: Vec<Freeze>,
}

impl Default for Schedule {
    fn default() -> Self {
        Self { zone: Zone::utc(), windows: Vec::new(), freezes: Vec::new() }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// On which it begins; 0 is Monday.
    pub days: BTreeSet<u8>,
    /// Minutes of a day; one that ends before it begins ends on the next day.
    pub from: u16,
    pub to: u16,
    /// By name or slug; empty: all of them.
    pub stacks: BTreeSet<String>,
}

/// From the first day until the last one has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Freeze {
    pub first: Day,
    pub last: Day,
    pub reason: String,
    /// By name or slug; empty: all of them.
    pub stacks: BTreeSet<String>,
}

/// Held are more removals than both figures allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Brake {
    /// Percent of the fleet's instances.
    pub fleet_percent: u32,
    pub at_least: u32,
}

impl Default for Brake {
    fn default() -> Self {
        Self { fleet_percent: 20, at_least: 3 }
    }
}

/// PEM files; relative paths are as seen from the configuration file's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    pub ca: PathBuf,
    pub cert: PathBuf,
    pub key: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryLogin {
    pub username: String,
    pub password: SecretSource,
}

/// Where a secret is; never the secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    File(PathBuf),
    Environment(String),
}

/// Who may tell of a push, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhooks {
    pub listen: SocketAddr,
    /// How many requests a second are looked at, whoever sends them; and as many of those who sent wrong signatures.
    pub per_second: u32,
    /// One without a secret is refused.
    pub secrets: BTreeMap<Provider, SecretSource>,
}

impl Webhooks {
    /// A busy forge tells of a few pushes a second; each costs a look at the repository.
    pub const PER_SECOND: u32 = 10;
}

/// Whose way of signing and telling a webhook follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Provider {
    Github,
    Gitlab,
    /// Forgejo, too.
    Gitea,
    Bitbucket,
    /// A script of one's own.
    Generic,
}

impl Provider {
    pub const ALL: [Self; 5] = [Self::Github, Self::Gitlab, Self::Gitea, Self::Bitbucket, Self::Generic];

    /// As paths and the configuration write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Github => "github",
            Self::Gitlab => "gitlab",
            Self::Gitea => "gitea",
            Self::Bitbucket => "bitbucket",
            Self::Generic => "generic",
        }
    }
}

/// Where commit statuses and comments go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forge {
    pub kind: ForgeKind,
    /// As in a browser, without the repository.
    pub url: String,
    /// `owner/name`; absent, the path of the watched repository's URL.
    pub repository: Option<String>,
    pub token: SecretSource,
    /// The only authorities that are trusted; absent, the machine's own.
    pub ca: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForgeKind {
    Github,
    Gitlab,
    /// Forgejo, too.
    Gitea,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}
