//! What one revision of the repository asks for, as far as it could be understood.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::host::Host;
use crate::model::stack::Stack;
use crate::name::{HostName, StackSlug};

/// The stacks and hosts of one revision.
///
/// A stack is in `stacks`, or in `wrong`, or absent; only the last may ever mean "removed", and only when
/// `nameless` is empty.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Desired {
    pub stacks: BTreeMap<StackSlug, Arc<Stack>>,
    /// Stacks whose name could be read but that are wrong: they are kept as their record says.
    pub wrong: BTreeSet<StackSlug>,
    /// Files under `stacks/` that yield no name: while there is one, nothing that is absent is removed.
    pub nameless: BTreeSet<Arc<str>>,
    pub inventory: Inventory,
}

/// The host files together.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Inventory {
    pub hosts: BTreeMap<HostName, Arc<Host>>,
    /// Files under `hosts/` that are wrong: while there is one, the whole revision is held.
    pub wrong: BTreeSet<Arc<str>>,
}
