//! Compares what the ledger says of a stack with what placement computes, and with what hosts were seen to run.
//!
//! Takes the recorded instances, and the same computed anew from the revision and the ledger commit that were used; or a
//! look at the hosts. Gives every difference by itself.
//!
//! What was not seen is no difference: a host that does not answer is told as such.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::model::mapping::{Placed, PublishedPort};
use crate::model::record::{InstanceHealth, InstanceRecord, StackStatus};
use crate::model::request::ResolvedImage;
use crate::model::world::{ContainerSeen, EngineView, HostView, State, World};
use crate::name::{Digest, HostName, InstanceId, StackSlug};

/// An instance as it is computed from Git.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Computed {
    pub placed: Placed,
    /// As its file writes it.
    pub image: String,
    /// Of the request, with the image as the ledger resolved it.
    pub digest: Digest,
}

/// One thing that is not as the ledger says. `Display` is a sentence that begins with the instance.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Difference {
    /// Placement gives another host than the ledger, or none.
    Host {
        instance: InstanceId,
        recorded: HostName,
        computed: Option<HostName>,
    },
    /// Placement gives an instance that the ledger does not have.
    Unrecorded {
        instance: InstanceId,
        computed: HostName,
    },
    Ports {
        instance: InstanceId,
        recorded: String,
        computed: String,
    },
    /// The files of the revision ask for another image than the ledger says.
    Image {
        instance: InstanceId,
        recorded: String,
        computed: String,
    },
    /// What the files of the revision ask for does not have the recorded digest.
    Digest {
        instance: InstanceId,
        recorded: Digest,
        computed: Digest,
    },
    /// Its container is not on the recorded host.
    Gone {
        instance: InstanceId,
        host: HostName,
    },
    /// Its container is on another host.
    Elsewhere {
        instance: InstanceId,
        recorded: HostName,
        seen: HostName,
    },
    /// A container of ours that the ledger says nothing of.
    Unknown {
        instance: InstanceId,
        host: HostName,
        container: String,
    },
    /// It is not the container that the ledger says, though it has its labels.
    OtherContainer {
        instance: InstanceId,
        host: HostName,
        recorded: String,
        seen: String,
    },
    Down {
        instance: InstanceId,
        host: HostName,
        state: State,
    },
    /// The container was not made of the recorded image.
    OtherImage {
        instance: InstanceId,
        host: HostName,
        recorded: String,
        seen: String,
    },
    /// The text means another image on that host now.
    TagMoved {
        instance: InstanceId,
        host: HostName,
        image: String,
        recorded: String,
        now: String,
    },
}

impl Difference {
    pub fn instance(&self) -> &InstanceId {
        match self {
            Self::Host { instance, .. }
            | Self::Unrecorded { instance, .. }
            | Self::Ports { instance, .. }
            | Self::Image { instance, .. }
            | Self::Digest { instance, .. }
            | Self::Gone { instance, .. }
            | Self::Elsewhere { instance, .. }
            | Self::Unknown { instance, .. }
            | Self::OtherContainer { instance, .. }
            | Self::Down { instance, .. }
            | Self::OtherImage { instance, .. }
            | Self::TagMoved { instance, .. } => instance,
        }
    }

    /// Stable, for programs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Host { .. } => "host",
            Self::Unrecorded { .. } => "unrecorded",
            Self::Ports { .. } => "ports",
            Self::Image { .. } => "image",
            Self::Digest { .. } => "digest",
            Self::Gone { .. } => "gone",
            Self::Elsewhere { .. } => "elsewhere",
            Self::Unknown { .. } => "unknown-container",
            Self::OtherContainer { .. } => "other-container",
            Self::Down { .. } => "down",
            Self::OtherImage { .. } => "other-image",
            Self::TagMoved { .. } => "tag-moved",
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.instance())?;
        match self {
            Self::Host { recorded, computed: Some(computed), .. } => {
                write!(f, "is on {recorded} in the ledger, and placement gives {computed}")
            }
            Self::Host { recorded, computed: None, .. } => {
                write!(f, "is on {recorded} in the ledger, and placement gives it no host")
            }
            Self::Unrecorded { computed, .. } => write!(f, "is not in the ledger, and placement gives {computed}"),
            Self::Ports { recorded, computed, .. } => {
                write!(f, "publishes {recorded} in the ledger, and placement gives {computed}")
            }
            Self::Image { recorded, computed, .. } => {
                write!(f, "has the image {recorded} in the ledger, and its files ask for {computed}")
            }
            Self::Digest { recorded, computed, .. } => write!(
                f,
                "has the digest {} in the ledger, and what its files ask for has {}",
                recorded.short(),
                computed.short()
            ),
            Self::Gone { host, .. } => write!(f, "is on {host} in the ledger, and no container of it is there"),
            Self::Elsewhere { recorded, seen, .. } => write!(f, "is on {recorded} in the ledger, and runs on {seen}"),
            Self::Unknown { host, container, .. } => {
                write!(f, "has the container {} on {host}, of which the ledger says nothing", short(container))
            }
            Self::OtherContainer { host, recorded, seen, .. } => write!(
                f,
                "is the container {} on {host} in the ledger, and {} is there in its place",
                short(recorded),
                short(seen)
            ),
            Self::Down { host, state, .. } => {
                write!(f, "does not run on {host}: its container is {}", state_word(*state))
            }
            Self::OtherImage { host, recorded, seen, .. } => {
                write!(f, "on {host} was made of {}, and not of {recorded}", short(seen))
            }
            Self::TagMoved { host, image, recorded, now, .. } => {
                write!(f, "runs {recorded} on {host}, where {image} means {} now", short(now))
            }
        }
    }
}

/// Ids are long, and their beginning is enough to find the thing.
fn short(id: &str) -> &str {
    let hex = id.strip_prefix("sha256:").unwrap_or(id);
    hex.get(..12).unwrap_or(hex)
}

fn state_word(state: State) -> String {
    match state {
        State::Created => "created and was never started".to_owned(),
        State::Running => "running".to_owned(),
        State::Paused => "paused".to_owned(),
        State::Restarting => "being started again".to_owned(),
        State::Removing => "being removed".to_owned(),
        State::Exited { code } => format!("exited with {code}"),
        State::Dead => "dead".to_owned(),
    }
}

/// What the ledger says, against what is computed from the same revision and the same ledger commit.
///
/// A part of a stack that is held is left as an earlier revision made it, if at all: of it only the place is compared.
pub fn of_git(
    recorded: &BTreeMap<InstanceId, InstanceRecord>,
    computed: &BTreeMap<InstanceId, Computed>,
    status: StackStatus,
) -> Vec<Difference> {
    let mut found = Vec::new();
    if status == StackStatus::Held {
        let moved = recorded.iter().filter_map(|(id, record)| {
            let computed = &computed.get(id)?.placed.host;
            let (instance, recorded) = (id.clone(), record.host.clone());
            (*computed != recorded).then(|| Difference::Host { instance, recorded, computed: Some(computed.clone()) })
        });
        return moved.collect();
    }
    for (id, record) in recorded {
        let instance = id.clone();
        let Some(computed) = computed.get(id) else {
            found.push(Difference::Host { instance, recorded: record.host.clone(), computed: None });
            continue;
        };
        if computed.placed.host != record.host {
            let (recorded, computed) = (record.host.clone(), Some(computed.placed.host.clone()));
            // All else follows from the host.
            found.push(Difference::Host { instance, recorded, computed });
            continue;
        }
        if computed.placed.ports != record.ports {
            let (recorded, computed) = (ports(&record.ports), ports(&computed.placed.ports));
            found.push(Difference::Ports { instance: instance.clone(), recorded, computed });
        }
        if computed.image != record.image {
            let (recorded, computed) = (record.image.clone(), computed.image.clone());
            found.push(Difference::Image { instance, recorded, computed });
        } else if computed.digest != record.digest {
            let (recorded, computed) = (record.digest.clone(), computed.digest.clone());
            found.push(Difference::Digest { instance, recorded, computed });
        }
    }
    let unrecorded = computed.iter().filter(|(id, _)| !recorded.contains_key(*id));
    found.extend(
        unrecorded.map(|(id, computed)| Difference::Unrecorded {
            instance: id.clone(),
            computed: computed.placed.host.clone(),
        }),
    );
    found
}

fn ports(ports: &[PublishedPort]) -> String {
    let port = |p: &PublishedPort| format!("{}/{} at {}:{}", p.container, p.protocol.as_str(), p.host_ip, p.host_port);
    if ports.is_empty() { "nothing".to_owned() } else { ports.iter().map(port).collect::<Vec<_>>().join(", ") }
}

/// What images are on the hosts: for each host and text, the id.
pub type Images = BTreeMap<(HostName, String), String>;

/// What hosts run, against the ledger.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Live {
    pub differences: Vec<Difference>,
    /// Hosts that did not answer, with instances of the stack: nothing is known of those.
    pub unseen: BTreeSet<HostName>,
}

/// What the ledger says of one stack, against a look at the hosts.
pub fn of_hosts(
    stack: &StackSlug,
    recorded: &BTreeMap<InstanceId, InstanceRecord>,
    world: &World,
    owner: &str,
    images: &Images,
) -> Live {
    let mut live = Live::default();
    let containers = containers_of(stack, world, owner);
    for (id, record) in recorded {
        let here = || containers.iter().filter(|found| found.instance == *id && found.host == record.host);
        match world.host(&record.host) {
            HostView::Seen(_) => {}
            HostView::Unreachable(_) | HostView::NoEndpoint => {
                live.unseen.insert(record.host.clone());
                continue;
            }
        }
        let is_recorded = |found: &&Found<'_>| Some(&found.container.id) == record.container.as_ref();
        let found = here().find(is_recorded).or_else(|| here().find(|found| found.digest == record.digest));
        let instance = id.clone();
        let host = record.host.clone();
        let Some(found) = found else {
            let elsewhere = containers.iter().find(|found| found.instance == *id && found.host != record.host);
            live.differences.push(match (elsewhere, here().next()) {
                (Some(found), _) => Difference::Elsewhere { instance, recorded: host, seen: found.host.clone() },
                (None, Some(found)) => Difference::OtherContainer {
                    instance,
                    host,
                    recorded: record.container.clone().unwrap_or_default(),
                    seen: found.container.id.clone(),
                },
                (None, None) => Difference::Gone { instance, host },
            });
            continue;
        };
        live.differences.extend(of_container(id, record, found.container, images));
    }
    for found in &containers {
        let is_recorded = recorded.get(&found.instance).is_some_and(|record| {
            record.host == found.host
                && (record.container.as_ref() == Some(&found.container.id) || record.digest == found.digest)
        });
        let is_told = live.differences.iter().any(|told| told.instance() == &found.instance);
        if !is_recorded && !is_told {
            live.differences.push(Difference::Unknown {
                instance: found.instance.clone(),
                host: found.host.clone(),
                container: found.container.id.clone(),
            });
        }
    }
    live
}

fn of_container(
    id: &InstanceId,
    record: &InstanceRecord,
    container: &ContainerSeen,
    images: &Images,
) -> Vec<Difference> {
    let (instance, host) = (|| id.clone(), || record.host.clone());
    let mut found = Vec::new();
    if let Some(recorded) = record.container.as_ref().filter(|recorded| **recorded != container.id) {
        found.push(Difference::OtherContainer {
            instance: instance(),
            host: host(),
            recorded: recorded.clone(),
            seen: container.id.clone(),
        });
    }
    match container.state {
        State::Running => {}
        State::Exited { code: 0 } if record.health == InstanceHealth::Completed => {}
        state @ (State::Created
        | State::Paused
        | State::Restarting
        | State::Removing
        | State::Exited { .. }
        | State::Dead) => found.push(Difference::Down { instance: instance(), host: host(), state }),
    }
    let of = |text: &str| images.get(&(record.host.clone(), text.to_owned()));
    let reference = record.resolved.reference().to_owned();
    let expected = match &record.resolved {
        ResolvedImage::Local(id) => Some(id.clone()),
        ResolvedImage::Registry(reference) => of(reference).cloned(),
    };
    if let Some(expected) = expected {
        if expected != container.image_id {
            let seen = container.image_id.clone();
            found.push(Difference::OtherImage { instance: instance(), host: host(), recorded: reference, seen });
        } else if let Some(now) = of(&record.image).filter(|now| **now != expected) {
            let (image, now) = (record.image.clone(), now.clone());
            found.push(Difference::TagMoved { instance: instance(), host: host(), image, recorded: reference, now });
        }
    }
    found
}

struct Found<'a> {
    instance: InstanceId,
    host: HostName,
    digest: Digest,
    container: &'a ContainerSeen,
}

fn containers_of<'a>(stack: &StackSlug, world: &'a World, owner: &str) -> Vec<Found<'a>> {
    let mut all = Vec::new();
    for (endpoint, view) in &world.engines {
        let EngineView::Seen(seen) = view else { continue };
        for container in &seen.containers {
            let Some(ours) = container.ours(owner).filter(|ours| ours.instance.stack == *stack) else { continue };
            // The engine that it is on counts, not what its label claims: one may have been made by hand.
            let on = world.hosts.iter().filter(|(_, of)| *of == endpoint).map(|(host, _)| host);
            let host = on.clone().find(|host| **host == ours.host).or_else(|| on.clone().next());
            let Some(host) = host else { continue };
            let (instance, digest) = (ours.instance.clone(), ours.digest.clone());
            all.push(Found { instance, host: host.clone(), digest, container });
        }
    }
    all
}
