//! (being written)
use crate::diagnostic::Report;
use crate::model::desired::{Desired, Inventory};
use crate::model::policy::Policy;
use crate::model::stack::Stack;
use crate::name::StackSlug;
use crate::source::Snapshot;
use std::sync::Arc;
#[derive(Default)]
pub struct Understood {}
pub fn understand(_u: &mut Understood, _s: &Snapshot, _p: &Policy) -> (Desired, Report) {
    unreachable!()
}
pub fn stack(_s: &Snapshot, _slug: &StackSlug, _i: &Inventory, _p: &Policy) -> Option<Arc<Stack>> {
    None
}
