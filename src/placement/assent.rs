//! What speaks for a host that may take an instance.
//!
//! Gives one variant per rule that was asked and passed, with the numbers that decided. `Display` completes the sentence
//! "host-1 …", as that of [`Refusal`](crate::placement::refusal::Refusal) does.

use std::fmt;

use crate::model::stack::Protocol;
use crate::name::{ServiceName, VolumeName};
use crate::placement::refusal::{Bytes, Cores};

/// One "yes" of one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Assent {
    /// Active and reachable.
    TakesNew,
    /// It is there already, and may stay.
    IsThere,
    Target,
    Label {
        label: String,
        value: String,
    },
    Datacenter {
        name: String,
    },
    /// `minCpu`; thousandths of a core. Without `has`: nobody knows what the host has, and that is enough.
    MinCpu {
        has: Option<u64>,
        wanted: u64,
    },
    /// `minMemory`; bytes.
    MinMemory {
        has: Option<u64>,
        wanted: u64,
    },
    NotExcluded,
    /// Thousandths of a core. Without `free`: unknown.
    Cpu {
        free: Option<u64>,
        asked: u64,
    },
    /// Bytes.
    Memory {
        free: Option<u64>,
        asked: u64,
    },
    PortFree {
        port: u16,
        protocol: Protocol,
    },
    Volume {
        volume: VolumeName,
    },
    Apart {
        service: ServiceName,
    },
}

impl fmt::Display for Assent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TakesNew => f.write_str("is active and reachable"),
            Self::IsThere => f.write_str("has it already"),
            Self::Target => f.write_str("is the targetHost"),
            Self::Label { label, value } => write!(f, "has the label `{label}: {value}`"),
            Self::Datacenter { name } => write!(f, "is in datacenter `{name}`"),
            Self::MinCpu { has: Some(has), wanted } => {
                write!(f, "has {} cores; minCpu asks for {}", Cores(*has), Cores(*wanted))
            }
            Self::MinCpu { has: None, wanted } => {
                write!(f, "has an unknown number of cores; minCpu asks for {}", Cores(*wanted))
            }
            Self::MinMemory { has: Some(has), wanted } => {
                write!(f, "has {} of memory; minMemory asks for {}", Bytes(*has), Bytes(*wanted))
            }
            Self::MinMemory { has: None, wanted } => {
                write!(f, "has an unknown amount of memory; minMemory asks for {}", Bytes(*wanted))
            }
            Self::NotExcluded => f.write_str("is not excluded by notOn"),
            Self::Cpu { free: Some(free), asked } => {
                write!(f, "has {} cores free; {} are asked for", Cores(*free), Cores(*asked))
            }
            Self::Cpu { free: None, asked } => {
                write!(f, "has an unknown number of cores; {} are asked for", Cores(*asked))
            }
            Self::Memory { free: Some(free), asked } => {
                write!(f, "has {} of memory free; {} are asked for", Bytes(*free), Bytes(*asked))
            }
            Self::Memory { free: None, asked } => {
                write!(f, "has an unknown amount of memory; {} are asked for", Bytes(*asked))
            }
            Self::PortFree { port, protocol } => write!(f, "has port {port}/{} free", protocol.as_str()),
            Self::Volume { volume } => write!(f, "has the data of the volume `{volume}`"),
            Self::Apart { service } => write!(f, "does not have `{service}`, which notWith keeps away"),
        }
    }
}
