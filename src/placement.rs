//! (being written)
use crate::model::mapping::Mapping;
use crate::name::InstanceId;
use std::collections::BTreeMap;
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Placement {
    pub mapping: Mapping,
    pub held: BTreeMap<InstanceId, Unplaced>,
}
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Unplaced {}
impl std::fmt::Display for Unplaced {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("-")
    }
}
