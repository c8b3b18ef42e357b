//! What a person can do about a hold.
//!
//! Because a hold's own text says why it holds, and often what lifts it; this adds the rest. Stable names of holds stay
//! in [`crate::plan::hold`].

use crate::plan::hold::Hold;

/// What lifts the hold, where its text does not say so itself.
pub fn remedy(hold: &Hold) -> Option<String> {
    let text = match hold {
        Hold::Unplaced { .. } => "loosen what the service asks for, or add a host that has it".to_owned(),
        Hold::HostUnreachable { host, .. } => {
            format!("bring {host} back; or give its host file `status: offline`, which treats it as lost")
        }
        Hold::HostWithoutEndpoint { host, .. } => format!("write an `endpoint` into the host file of {host}"),
        Hold::PortHeld { port, .. } => format!("stop what holds port {port}, or write another `hostPort`"),
        Hold::ImageUnresolved { .. } => {
            "check the image's name and tag, and the registry's login in the configuration".to_owned()
        }
        Hold::NetworkUnfit { .. } => "write another `network.name`, or remove that network".to_owned(),
        Hold::RemoteHostDisagrees { says, .. } => {
            format!("pin the required service with `targetHost: {says}`, or take `remoteHost` out")
        }
        Hold::WrongAtHead { .. } => "correct the files; `bayplan validate` says what is wrong".to_owned(),
        Hold::BadContent { .. } => "push a change to the stack; what failed is in `bayplan status`".to_owned(),
        Hold::LastGoodUnreadable { .. } => "push a revision of the stack that is right".to_owned(),
        Hold::NamelessFiles { .. } => "correct or remove these files".to_owned(),
        Hold::InventoryWrong { .. } => "correct the host files; `bayplan validate` says what is wrong".to_owned(),
        Hold::NoLedger { .. } => {
            "fetch the branch `bayplan/status`; or remove these containers by hand if they are not wanted".to_owned()
        }
        Hold::UnknownStack { .. } => "correct the operator's file".to_owned(),
        Hold::WouldBeDown { .. } => {
            "another instance elsewhere, or `onHostLoss: move` for what has no local volume".to_owned()
        }
        Hold::StaysOnDraining { .. } => {
            "move it by another `targetHost`; data in a local volume stays behind".to_owned()
        }
        Hold::BacksOff { instance, .. } => format!("`bayplan logs {instance}` says why it ends"),
        Hold::Requires { .. }
        | Hold::LeftForALook { .. }
        | Hold::Closed { .. }
        | Hold::HostLeft { .. }
        | Hold::ForeignName { .. }
        | Hold::NetworkMissing { .. }
        | Hold::VolumeMissing { .. }
        | Hold::Paused { .. }
        | Hold::NotAllowed { .. }
        | Hold::OtherOwner { .. }
        | Hold::HistoryRewritten { .. }
        | Hold::BranchGone { .. }
        | Hold::VolumeHeld { .. }
        | Hold::VolumeLost { .. }
        | Hold::RemovalBraked { .. }
        | Hold::Brake(_) => return None,
    };
    Some(text)
}
