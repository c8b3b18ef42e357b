//! Says a simulated trouble in the words of the Git door.

use git2::{ErrorClass, ErrorCode};

use super::faults::{Act, Trouble};
use crate::source::SourceError;

/// What the Git door would say of this trouble.
pub(crate) fn failed(act: Act, trouble: Trouble) -> SourceError {
    let name = act.as_str().to_owned();
    match trouble {
        Trouble::Deadline(limit) => SourceError::Deadline { act: name, limit },
        Trouble::Failed | Trouble::DoneButFailed | Trouble::Locked if act.is_remote() => {
            SourceError::Git { act: name, message: "could not read from the remote repository".to_owned() }
        }
        Trouble::Failed | Trouble::DoneButFailed | Trouble::Locked => {
            SourceError::Read { act: name, source: disk_error() }
        }
    }
}

pub(crate) fn disk_error() -> git2::Error {
    git2::Error::new(ErrorCode::GenericError, ErrorClass::Os, "input/output error")
}
