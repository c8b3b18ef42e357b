//! Faults that a simulated repository shows when told to.

use std::time::Duration;

use tokio::time::sleep;

/// What can be asked of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    Fetch,
    Head,
    Files,
    History,
    ReadLedger,
    CommitLedger,
    PushLedger,
}

impl Act {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fetch => "fetch",
            Self::Head => "read the branch",
            Self::Files => "read the files",
            Self::History => "walk the history",
            Self::ReadLedger => "read the ledger",
            Self::CommitLedger => "write a commit of the ledger",
            Self::PushLedger => "push",
        }
    }

    /// Does it ask the remote repository?
    pub fn is_remote(self) -> bool {
        match self {
            Self::Fetch | Self::PushLedger => true,
            Self::Head | Self::Files | Self::History | Self::ReadLedger | Self::CommitLedger => false,
        }
    }
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Not done: the remote repository is away, or the disk fails.
    Fail,
    /// No answer from the remote repository, and nothing done; a local call takes long.
    Hang,
    /// Done, but who asked is told that it failed.
    ReplyLost,
    /// Another process left a lock; strikes commits only, others are not hindered.
    Locked,
}

/// Which calls a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    Every,
    /// Those that ask the remote repository.
    Remote,
    Only(Act),
}

/// How often a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    Next(u32),
    UntilLifted,
}

/// Names a fault, for lifting it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FaultId(u64);

/// What the caller is told instead of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    Failed,
    Deadline(Duration),
    Locked,
    /// It has to be done, and then said to have failed.
    DoneButFailed,
}

/// A server that has not answered by then is not waited for, by `git` or by us.
const REMOTE_LIMIT: Duration = Duration::from_secs(60);
/// Of a disk that is busy.
const SLOW: Duration = Duration::from_secs(10);
/// Across a network.
const ROUND_TRIP: Duration = Duration::from_millis(20);

/// The faults in force, oldest first; the first that matches a call strikes.
#[derive(Debug, Default)]
pub(super) struct Faults {
    rules: Vec<Rule>,
    next_id: u64,
}

#[derive(Debug)]
struct Rule {
    id: FaultId,
    fault: Fault,
    which: Which,
    times: Times,
}

impl Faults {
    pub(super) fn add(&mut self, fault: Fault, which: Which, times: Times) -> FaultId {
        self.next_id += 1;
        let id = FaultId(self.next_id);
        self.rules.push(Rule { id, fault, which, times });
        id
    }

    pub(super) fn lift(&mut self, id: FaultId) {
        self.rules.retain(|rule| rule.id != id);
    }

    pub(super) fn lift_all(&mut self) {
        self.rules.clear();
    }

    /// Counts the call against the first fault that matches it.
    pub(super) fn strike(&mut self, act: Act) -> Option<Fault> {
        let matches = |rule: &Rule| match rule.which {
            Which::Every => true,
            Which::Remote => act.is_remote(),
            Which::Only(only) => only == act,
        };
        let place = self.rules.iter().position(matches)?;
        let fault = self.rules[place].fault;
        if let Times::Next(left) = &mut self.rules[place].times {
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.rules.remove(place);
            }
        }
        Some(fault)
    }
}

/// Takes the time of a call, and gives what the fault makes of it. Every call waits at least once: between any two of
/// them others may run, and the program may end.
pub(super) async fn suffer(act: Act, fault: Option<Fault>) -> Result<(), Trouble> {
    let takes = match (act.is_remote(), fault) {
        (true, Some(Fault::Hang)) => REMOTE_LIMIT,
        (false, Some(Fault::Hang)) => SLOW,
        (true, _) => ROUND_TRIP,
        (false, _) => Duration::ZERO,
    };
    if takes.is_zero() {
        tokio::task::yield_now().await;
    } else {
        sleep(takes).await;
    }
    match fault {
        None => Ok(()),
        Some(Fault::Fail) => Err(Trouble::Failed),
        Some(Fault::Hang) if act.is_remote() => Err(Trouble::Deadline(REMOTE_LIMIT)),
        Some(Fault::Hang) => Ok(()),
        Some(Fault::ReplyLost) => match act {
            Act::PushLedger | Act::CommitLedger | Act::Fetch => Err(Trouble::DoneButFailed),
            Act::Head | Act::Files | Act::History | Act::ReadLedger => Err(Trouble::Failed),
        },
        Some(Fault::Locked) if act == Act::CommitLedger => Err(Trouble::Locked),
        Some(Fault::Locked) => Ok(()),
    }
}
