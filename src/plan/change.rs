//! A change: what happens to one instance, as a person reads it.

use crate::files::Span;
use crate::name::{HostName, InstanceId};

#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    pub instance: InstanceId,
    pub bucket: Bucket,
    /// Where it runs now.
    pub from: Option<HostName>,
    /// Where it will run.
    pub to: Option<HostName>,
    /// The image as written; empty when the instance goes.
    pub image: String,
    pub cause: Cause,
    /// The fields that differ, in order of name.
    pub fields: Vec<FieldChange>,
    pub before: Before,
    pub gap: Gap,
    /// Why the instance is on `to`.
    pub why_there: String,
    /// `service:port` at `address:port` of the ports that are published.
    pub published: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bucket {
    Create,
    Replace,
    Move,
    /// The right container exists and does not run.
    Start,
    Remove,
    RunAction,
    /// Only the end of an earlier replacement is left: name, old container.
    TakeName,
    Keep,
}

impl Bucket {
    /// Whether a container is started that did not run in this shape.
    pub fn brings_up(self) -> bool {
        match self {
            Self::Create | Self::Replace | Self::Move | Self::Start => true,
            Self::Remove | Self::RunAction | Self::TakeName | Self::Keep => false,
        }
    }

    /// As plans and digests write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Replace => "replace",
            Self::Move => "move",
            Self::Start => "start",
            Self::Remove => "remove",
            Self::RunAction => "run-action",
            Self::TakeName => "take-name",
            Self::Keep => "keep",
        }
    }
}

/// Whether a change could be compared with what ran before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    Known,
    /// Nothing ran, or what did cannot be understood any more: any of it may be new.
    Unknown,
}

/// `2 created, 1 moved`: what happens how often; empty where everything is kept.
pub fn counted<'a>(changes: impl Iterator<Item = &'a Change> + Clone) -> String {
    let words = [
        (Bucket::Create, "created"),
        (Bucket::Replace, "replaced"),
        (Bucket::Move, "moved"),
        (Bucket::Start, "started"),
        (Bucket::Remove, "removed"),
        (Bucket::RunAction, "with actions to run"),
        (Bucket::TakeName, "to be finished"),
    ];
    let count = |bucket| changes.clone().filter(|change| change.bucket == bucket).count();
    let words = words.into_iter().map(|(bucket, word)| (count(bucket), word)).filter(|(count, _)| *count > 0);
    words.map(|(count, word)| format!("{count} {word}")).collect::<Vec<_>>().join(", ")
}

/// Why a change happens.
#[derive(Debug, Clone, PartialEq)]
pub enum Cause {
    /// The stack is new, or the service is.
    New(Span),
    /// The file asks for something else than before.
    Changed(Span),
    /// A service that it requires is reached in another way now.
    Requirement(String),
    /// Placement decided so.
    Placed(String),
    /// It is no longer asked for.
    NotWanted(String),
    /// The world differs from what was left behind.
    Drift(String),
    /// Going back to what ran before.
    RollBack(String),
    /// An earlier apply was interrupted.
    Unfinished,
    Unchanged,
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::New(span) => write!(f, "new at {span}"),
            Self::Changed(span) => write!(f, "changed at {span}"),
            Self::Requirement(text) | Self::Placed(text) | Self::NotWanted(text) | Self::Drift(text) => {
                f.write_str(text)
            }
            Self::RollBack(text) => write!(f, "going back: {text}"),
            Self::Unfinished => f.write_str("an earlier apply was interrupted"),
            Self::Unchanged => f.write_str("unchanged"),
        }
    }
}

/// A field whose value differs. Values of variables are never shown.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldChange {
    /// `image`, `environment.LOG_LEVEL`, `ports`, …
    pub name: String,
    pub before: Option<String>,
    pub after: Option<String>,
    pub at: Option<Span>,
}

/// Whether users notice.
#[derive(Debug, Clone, PartialEq)]
pub enum Gap {
    /// Nothing that serves is interrupted.
    None,
    /// The old is stopped before the new one starts; the text says what forces that.
    Gap(String),
}

impl std::fmt::Display for Gap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("no gap"),
            Self::Gap(why) => write!(f, "gap: {why}"),
        }
    }
}

impl Change {
    /// Drift and the rest of interrupted applies come from the world, not from the revision.
    pub fn is_caused_by_the_revision(&self) -> bool {
        match self.cause {
            Cause::New(_)
            | Cause::Changed(_)
            | Cause::Requirement(_)
            | Cause::Placed(_)
            | Cause::NotWanted(_)
            | Cause::RollBack(_) => true,
            Cause::Drift(_) | Cause::Unfinished | Cause::Unchanged => false,
        }
    }
}
