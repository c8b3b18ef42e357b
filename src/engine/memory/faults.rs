//! Faults that a simulated engine shows when told to, and the log of what it was asked.

use std::time::Duration;

use super::machine::Machine;

/// Every kind of call, as [`crate::engine::Engine`] has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    About,
    Containers,
    Networks,
    Volumes,
    Container,
    Image,
    AskRegistry,
    Pull,
    ImportImage,
    RemoveImage,
    CreateNetwork,
    RemoveNetwork,
    CreateVolume,
    Create,
    Start,
    Stop,
    Remove,
    Rename,
    SetAliases,
    Exec,
    CommandsRunning,
    Logs,
    Usage,
    Events,
}

impl Call {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::About => "ping",
            Self::Containers => "list containers",
            Self::Networks => "list networks",
            Self::Volumes => "list volumes",
            Self::Container => "look at container",
            Self::Image => "look at image",
            Self::AskRegistry => "ask registry",
            Self::Pull => "pull",
            Self::ImportImage => "import image",
            Self::RemoveImage => "remove image",
            Self::CreateNetwork => "create network",
            Self::RemoveNetwork => "remove network",
            Self::CreateVolume => "create volume",
            Self::Create => "create",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Remove => "remove",
            Self::Rename => "rename",
            Self::SetAliases => "set aliases",
            Self::Exec => "exec",
            Self::CommandsRunning => "look at commands",
            Self::Logs => "logs",
            Self::Usage => "usage",
            Self::Events => "events",
        }
    }

    /// May it change anything? An exec may.
    pub fn is_write(self) -> bool {
        match self {
            Self::Pull
            | Self::ImportImage
            | Self::RemoveImage
            | Self::CreateNetwork
            | Self::RemoveNetwork
            | Self::CreateVolume
            | Self::Create
            | Self::Start
            | Self::Stop
            | Self::Remove
            | Self::Rename
            | Self::SetAliases
            | Self::Exec => true,
            Self::About
            | Self::Containers
            | Self::Networks
            | Self::Volumes
            | Self::Container
            | Self::Image
            | Self::AskRegistry
            | Self::CommandsRunning
            | Self::Logs
            | Self::Usage
            | Self::Events => false,
        }
    }
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// An answer with a status from 400 to 499.
    Refuse(String),
    /// An answer with a status of 500.
    Fail(String),
    /// No answer, and nothing done.
    Hang,
    /// Done, but the connection breaks before the answer.
    ReplyLost,
    /// Done and answered after this long; beyond the deadline: done, and nobody hears of it.
    Late(Duration),
    /// The three lists show what was there when the fault began.
    Stale,
    /// Nobody listens; streams break.
    Down,
}

/// Which calls a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    Every,
    Only(Call),
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

/// One call that reached the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallRecord {
    pub call: Call,
    /// The id, name or reference that was given; empty if none.
    pub subject: String,
}

/// The faults in force, oldest first; the first that matches a call strikes.
#[derive(Debug, Default)]
pub struct Faults {
    rules: Vec<Rule>,
    next_id: u64,
}

#[derive(Debug)]
struct Rule {
    id: FaultId,
    which: Which,
    times: Times,
    fault: Fault,
    /// For [`Fault::Stale`].
    snapshot: Option<Box<Machine>>,
}

/// A fault that strikes a call.
pub struct Strike {
    pub fault: Fault,
    pub snapshot: Option<Machine>,
}

impl Faults {
    pub fn add(&mut self, fault: Fault, which: Which, times: Times, machine: &Machine) -> FaultId {
        self.next_id += 1;
        let id = FaultId(self.next_id);
        let snapshot = (fault == Fault::Stale).then(|| Box::new(machine.clone()));
        self.rules.push(Rule { id, which, times, fault, snapshot });
        id
    }

    pub fn lift(&mut self, id: FaultId) {
        self.rules.retain(|rule| rule.id != id);
    }

    pub fn lift_all(&mut self) {
        self.rules.clear();
    }

    /// Counts the call against the first fault that matches it.
    pub fn strike(&mut self, call: Call) -> Option<Strike> {
        let matches = |rule: &Rule| match rule.which {
            Which::Every => true,
            Which::Only(only) => only == call,
        };
        let place = self.rules.iter().position(matches)?;
        let rule = &mut self.rules[place];
        let strike = Strike { fault: rule.fault.clone(), snapshot: rule.snapshot.as_deref().cloned() };
        if let Times::Next(left) = &mut rule.times {
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.rules.remove(place);
            }
        }
        Some(strike)
    }
}
