//! A hold: a decision not to act, with its reason and with what lifts it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use crate::name::{ContainerName, HostName, InstanceId, NetworkName, Revision, ServiceName, StackSlug, VolumeName};
use crate::placement::Unplaced;
use crate::plan::brake::Braked;
use crate::plan::closed::Closed;

#[derive(Debug, Clone, PartialEq)]
pub enum Hold {
    /// Placement found no host.
    Unplaced {
        instance: InstanceId,
        unplaced: Unplaced,
    },
    /// A step is needed on a host that was not seen; the whole stack waits.
    HostUnreachable {
        host: HostName,
        why: String,
        needed_for: InstanceId,
    },
    /// The inventory names no endpoint for a host that a step needs.
    HostWithoutEndpoint {
        host: HostName,
        needed_for: InstanceId,
    },
    /// A recorded instance is on a host that the inventory does not name any more.
    HostLeft {
        host: HostName,
        instance: InstanceId,
    },
    /// A service that it requires is held.
    Requires {
        instance: InstanceId,
        service: ServiceName,
    },
    /// Somebody else's container has the name.
    ForeignName {
        instance: InstanceId,
        host: HostName,
        name: ContainerName,
        container: String,
    },
    /// Something else holds the port now.
    PortHeld {
        instance: InstanceId,
        host: HostName,
        port: u16,
        by: String,
    },
    /// A container that is on its way out still writes to the volume.
    VolumeHeld {
        instance: InstanceId,
        host: HostName,
        volume: String,
        by: String,
    },
    /// The host had these volumes, and has none of their names any more.
    VolumeLost {
        instance: InstanceId,
        host: HostName,
        volumes: BTreeSet<VolumeName>,
    },
    ImageUnresolved {
        instance: InstanceId,
        host: HostName,
        image: String,
        why: String,
    },
    NetworkMissing {
        stack: StackSlug,
        host: HostName,
        network: NetworkName,
    },
    /// The network of that name is somebody else's or of another kind.
    NetworkUnfit {
        stack: StackSlug,
        host: HostName,
        network: NetworkName,
        why: String,
    },
    VolumeMissing {
        stack: StackSlug,
        host: HostName,
        volume: VolumeName,
    },
    Paused {
        instance: InstanceId,
        container: String,
    },
    /// `remoteHost` says one host, placement another.
    RemoteHostDisagrees {
        instance: InstanceId,
        service: ServiceName,
        says: HostName,
        is: HostName,
    },
    /// The request asks for what the operator does not allow.
    NotAllowed {
        instance: InstanceId,
        what: String,
    },
    WrongAtHead {
        stack: StackSlug,
        kept: Option<Revision>,
    },
    BadContent {
        reason: String,
        back_to: Option<Revision>,
    },
    /// It failed, and the service that did asked for the scene to be left as it is.
    LeftForALook {
        stack: StackSlug,
        reason: String,
    },
    /// What the head asks for is not deployed now.
    Closed {
        stack: StackSlug,
        why: Closed,
    },
    /// The operator's configuration speaks of a stack that is not there.
    UnknownStack {
        name: String,
        hint: String,
    },
    /// Its host is supposed to be gone, and it waits for that host.
    WouldBeDown {
        instance: InstanceId,
        host: HostName,
    },
    /// Its host is draining, and it cannot leave.
    StaysOnDraining {
        instance: InstanceId,
        host: HostName,
        why: String,
    },
    /// It keeps ending by itself: starting it again waits a while.
    BacksOff {
        instance: InstanceId,
        host: HostName,
    },
    LastGoodUnreadable {
        stack: StackSlug,
        revision: Option<Revision>,
    },
    NamelessFiles {
        stack: StackSlug,
        files: Vec<Arc<str>>,
    },
    InventoryWrong {
        files: Vec<Arc<str>>,
    },
    OtherOwner {
        owner: String,
    },
    /// The branch does not contain what was deployed last any more.
    HistoryRewritten {
        branch: String,
        head: Revision,
        deployed: Revision,
    },
    BranchGone {
        branch: String,
        deployed: Revision,
    },
    /// Containers of ours belong to a stack that nothing asks for, and there is no ledger that knows it.
    NoLedger {
        stack: StackSlug,
    },
    /// This removal waits for the acknowledgement that the brake asks for.
    RemovalBraked {
        instance: InstanceId,
    },
    Brake(Braked),
}

impl Hold {
    /// Stable, kebab-case.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Unplaced { .. } => "unplaced",
            Self::HostUnreachable { .. } => "host-unreachable",
            Self::HostWithoutEndpoint { .. } => "host-without-endpoint",
            Self::HostLeft { .. } => "host-left",
            Self::Requires { .. } => "requirement-held",
            Self::ForeignName { .. } => "foreign-container",
            Self::PortHeld { .. } => "port-held",
            Self::VolumeHeld { .. } => "volume-held",
            Self::VolumeLost { .. } => "volume-lost",
            Self::ImageUnresolved { .. } => "image-unresolved",
            Self::NetworkMissing { .. } => "network-missing",
            Self::NetworkUnfit { .. } => "network-unfit",
            Self::VolumeMissing { .. } => "volume-missing",
            Self::Paused { .. } => "paused",
            Self::RemoteHostDisagrees { .. } => "remote-host-disagrees",
            Self::NotAllowed { .. } => "not-allowed",
            Self::WrongAtHead { .. } => "wrong-at-head",
            Self::BadContent { .. } => "bad-content",
            Self::LeftForALook { .. } => "left-for-a-look",
            Self::Closed { why, .. } => why.name(),
            Self::UnknownStack { .. } => "unknown-stack",
            Self::WouldBeDown { .. } => "would-be-down",
            Self::StaysOnDraining { .. } => "stays-on-draining",
            Self::BacksOff { .. } => "backs-off",
            Self::LastGoodUnreadable { .. } => "last-good-unreadable",
            Self::NamelessFiles { .. } => "nameless-files",
            Self::InventoryWrong { .. } => "inventory-wrong",
            Self::OtherOwner { .. } => "other-owner",
            Self::HistoryRewritten { .. } => "history-rewritten",
            Self::BranchGone { .. } => "branch-gone",
            Self::NoLedger { .. } => "no-ledger",
            Self::RemovalBraked { .. } => "removal-braked",
            Self::Brake(_) => "brake",
        }
    }

    /// The instance that is held, if it is a single one.
    pub fn instance(&self) -> Option<&InstanceId> {
        match self {
            Self::Unplaced { instance, .. }
            | Self::HostUnreachable { needed_for: instance, .. }
            | Self::HostWithoutEndpoint { needed_for: instance, .. }
            | Self::HostLeft { instance, .. }
            | Self::Requires { instance, .. }
            | Self::ForeignName { instance, .. }
            | Self::PortHeld { instance, .. }
            | Self::VolumeHeld { instance, .. }
            | Self::VolumeLost { instance, .. }
            | Self::ImageUnresolved { instance, .. }
            | Self::Paused { instance, .. }
            | Self::RemoteHostDisagrees { instance, .. }
            | Self::NotAllowed { instance, .. }
            | Self::WouldBeDown { instance, .. }
            | Self::StaysOnDraining { instance, .. }
            | Self::BacksOff { instance, .. }
            | Self::RemovalBraked { instance } => Some(instance),
            Self::NetworkMissing { .. }
            | Self::NetworkUnfit { .. }
            | Self::VolumeMissing { .. }
            | Self::WrongAtHead { .. }
            | Self::BadContent { .. }
            | Self::LeftForALook { .. }
            | Self::Closed { .. }
            | Self::LastGoodUnreadable { .. }
            | Self::NamelessFiles { .. }
            | Self::InventoryWrong { .. }
            | Self::OtherOwner { .. }
            | Self::HistoryRewritten { .. }
            | Self::BranchGone { .. }
            | Self::NoLedger { .. }
            | Self::UnknownStack { .. }
            | Self::Brake(_) => None,
        }
    }

    /// Whether the stack still does all that its files ask for: a wrong or bad head is said, but what is wanted
    /// instead of it runs.
    pub fn holds_the_stack(&self) -> bool {
        match self {
            Self::WrongAtHead { kept, .. } => kept.is_none(),
            Self::BadContent { .. }
            | Self::UnknownStack { .. }
            | Self::StaysOnDraining { .. }
            | Self::BacksOff { .. } => false,
            Self::Unplaced { .. }
            | Self::WouldBeDown { .. }
            | Self::HostUnreachable { .. }
            | Self::HostWithoutEndpoint { .. }
            | Self::HostLeft { .. }
            | Self::Requires { .. }
            | Self::ForeignName { .. }
            | Self::PortHeld { .. }
            | Self::VolumeHeld { .. }
            | Self::VolumeLost { .. }
            | Self::ImageUnresolved { .. }
            | Self::NetworkMissing { .. }
            | Self::NetworkUnfit { .. }
            | Self::VolumeMissing { .. }
            | Self::Paused { .. }
            | Self::RemoteHostDisagrees { .. }
            | Self::NotAllowed { .. }
            | Self::LeftForALook { .. }
            | Self::Closed { .. }
            | Self::LastGoodUnreadable { .. }
            | Self::NamelessFiles { .. }
            | Self::InventoryWrong { .. }
            | Self::OtherOwner { .. }
            | Self::HistoryRewritten { .. }
            | Self::BranchGone { .. }
            | Self::NoLedger { .. }
            | Self::RemovalBraked { .. }
            | Self::Brake(_) => true,
        }
    }

    /// Whether nothing of the stack may be touched under it.
    pub fn holds_whole(&self) -> bool {
        match self {
            Self::Closed { why, .. } => why.leaves_alone(),
            Self::HostUnreachable { .. }
            | Self::HostWithoutEndpoint { .. }
            | Self::HostLeft { .. }
            | Self::NetworkMissing { .. }
            | Self::NetworkUnfit { .. }
            | Self::VolumeMissing { .. }
            | Self::OtherOwner { .. }
            | Self::InventoryWrong { .. }
            | Self::LeftForALook { .. }
            | Self::LastGoodUnreadable { .. }
            | Self::NamelessFiles { .. }
            | Self::HistoryRewritten { .. }
            | Self::BranchGone { .. }
            | Self::NoLedger { .. } => true,
            Self::Unplaced { .. }
            | Self::Requires { .. }
            | Self::ForeignName { .. }
            | Self::PortHeld { .. }
            | Self::VolumeHeld { .. }
            | Self::VolumeLost { .. }
            | Self::ImageUnresolved { .. }
            | Self::Paused { .. }
            | Self::RemoteHostDisagrees { .. }
            | Self::NotAllowed { .. }
            | Self::WrongAtHead { .. }
            | Self::BadContent { .. }
            | Self::UnknownStack { .. }
            | Self::WouldBeDown { .. }
            | Self::StaysOnDraining { .. }
            | Self::BacksOff { .. }
            | Self::RemovalBraked { .. }
            | Self::Brake(_) => false,
        }
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unplaced { instance, unplaced } => {
                write!(f, "{instance} has no host: {}", unplaced.why)?;
                unplaced.refusals.iter().try_for_each(|(host, refusals)| {
                    let reasons: Vec<String> = refusals.iter().map(ToString::to_string).collect();
                    write!(f, "; {host} {}", reasons.join(", "))
                })
            }
            Self::HostUnreachable { host, why, needed_for } => {
                write!(
                    f,
                    "{needed_for} needs a step on {host}, which does not answer ({why}); nothing on it is assumed gone"
                )
            }
            Self::HostWithoutEndpoint { host, needed_for } => {
                write!(f, "{needed_for} needs a step on {host}, whose host file gives no `endpoint`")
            }
            Self::HostLeft { host, instance } => write!(
                f,
                "{instance} is recorded on {host}, which is not in the inventory any more; it is left alone until that is acknowledged"
            ),
            Self::Requires { instance, service } => {
                write!(f, "{instance} requires {service}, which is held")
            }
            Self::ForeignName { instance, host, name, container } => write!(
                f,
                "{instance} needs the name {name} on {host}, but a container that is not ours has it ({}); remove or rename that one",
                &container[..container.len().min(12)]
            ),
            Self::PortHeld { instance, host, port, by } => {
                write!(f, "{instance} needs port {port} on {host}, which {by} holds")
            }
            Self::VolumeHeld { instance, host, volume, by } => {
                write!(
                    f,
                    "{instance} would write to the volume {volume} on {host} beside {by}, which is to let go of it first"
                )
            }
            Self::VolumeLost { instance, host, volumes } => {
                let names: Vec<&str> = volumes.iter().map(VolumeName::as_str).collect();
                write!(
                    f,
                    "{instance} needs what {host} had in {}, which is not there any more: its engine lost its data, or its \
                     endpoint leads to another machine; bring that back, or, to begin anew with nothing in it, push a commit \
                     (an empty one will do) with the {}",
                    names.join(" and "),
                    if names.len() == 1 { "line" } else { "lines" }
                )?;
                names.iter().try_for_each(|name| write!(f, "\n  Bayplan-Empty-Volume: {}/{name}", instance.stack))
            }
            Self::ImageUnresolved { instance, host, image, why } => {
                write!(f, "{instance}: the image {image} is not to be had on {host}: {why}")
            }
            Self::NetworkMissing { stack, host, network } => write!(
                f,
                "{stack} uses the network {network} with `createIfNotExists: false`, and {host} has none; create it there"
            ),
            Self::NetworkUnfit { stack, host, network, why } => {
                write!(f, "{stack} cannot use the network {network} of {host}: {why}")
            }
            Self::VolumeMissing { stack, host, volume } => write!(
                f,
                "{stack} uses the volume {volume} with `createIfNotExists: false`, and {host} has none; create it there"
            ),
            Self::Paused { instance, container } => {
                write!(f, "{instance} is paused ({}); unpause or remove it", &container[..container.len().min(12)])
            }
            Self::RemoteHostDisagrees { instance, service, says, is } => {
                write!(f, "{instance} says that {service} is on {says} (`remoteHost`), but placement puts it on {is}")
            }
            Self::NotAllowed { instance, what } => write!(f, "{instance}: {what}"),
            Self::WrongAtHead { stack, kept: Some(revision) } => {
                write!(f, "the files of {stack} are wrong; it is kept as of {}", revision.short())
            }
            Self::WrongAtHead { stack, kept: None } => {
                write!(f, "the files of {stack} are wrong, and it never ran; it is left as it is")
            }
            Self::BadContent { reason, back_to: Some(revision) } => write!(
                f,
                "what the head asks for failed ({reason}) and is not tried again until it changes; wanted is {}",
                revision.short()
            ),
            Self::BadContent { reason, back_to: None } => write!(
                f,
                "what the head asks for failed ({reason}) and is not tried again until it changes; nothing ran before"
            ),
            Self::Closed { stack, why } => write!(f, "{stack} is not deployed now: {why}"),
            Self::LeftForALook { stack, reason } => write!(
                f,
                "what the head asks for failed ({reason}), and `onFailure: hold` leaves {stack} as it is; look, then push a change or a revert"
            ),
            Self::UnknownStack { name, hint } => {
                write!(f, "the operator's configuration speaks of the stack `{name}`, which is not there: {hint}")
            }
            Self::WouldBeDown { instance, host } => {
                write!(f, "{instance} would be down: it stays on {host} and waits for it (`onHostLoss: wait`)")
            }
            Self::StaysOnDraining { instance, host, why } => {
                write!(f, "{host} is draining, but {instance} does not leave it: {why}")
            }
            Self::BacksOff { instance, host } => write!(
                f,
                "{instance} keeps ending on {host}; it is started again after a while, which grows from 10 s to 5 min"
            ),
            Self::LastGoodUnreadable { stack, revision } => write!(
                f,
                "the last good revision of {stack} ({}) cannot be read any more; it is left as it is",
                revision.as_ref().map_or("none", Revision::short)
            ),
            Self::NamelessFiles { stack, files } => write!(
                f,
                "{stack} is not asked for, but {} cannot be read and may be it; it is left as it is",
                files.join(", ")
            ),
            Self::InventoryWrong { files } => {
                write!(f, "{} is wrong; nothing is done until the inventory can be read", files.join(", "))
            }
            Self::OtherOwner { owner } => {
                write!(f, "the ledger belongs to {owner}; ")?;
                if let Some((_, branch)) = owner.split_once(':') {
                    write!(f, "to ask about another branch as if it were that one, add `--branch {branch}`; ")?;
                }
                f.write_str("set `owner` in the configuration if this repository took over from it")
            }
            Self::HistoryRewritten { branch, head, deployed } => write!(
                f,
                "{branch} is at {}, which does not contain {}, which is deployed and stays: the history was rewritten, or \
                 this repository is behind; fetch, or, to follow the new history, push a commit (an empty one will do) with the line\n  Bayplan-Follow-Rewrite: {deployed}",
                head.short(),
                deployed.short()
            ),
            Self::BranchGone { branch, deployed } => write!(
                f,
                "the branch {branch} is gone; {}, which is deployed, stays until it is back",
                deployed.short()
            ),
            Self::NoLedger { stack } => write!(
                f,
                "containers of {stack} run, nothing asks for it, and there is no ledger that knows it; they are left as they are"
            ),
            Self::RemovalBraked { instance } => write!(f, "removing {instance} waits for an acknowledgement"),
            Self::Brake(braked) => write!(f, "{braked}"),
        }
    }
}
