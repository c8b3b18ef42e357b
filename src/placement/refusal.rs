//! Why a host may not take an instance.
//!
//! Gives one variant per rule, with the numbers that decided. `Display` completes the sentence "host-1 …".

use std::fmt;
use std::net::IpAddr;

use crate::model::host::HostStatus;
use crate::model::stack::Protocol;
use crate::name::{HostName, InstanceId, ServiceName, StackSlug, VolumeName};

/// One "no" of one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The inventory says that it takes nothing new.
    Status(HostStatus),
    /// It did not answer; nothing new goes to a host that is not seen.
    Unreachable,
    /// It did not answer for longer than `lostAfter`.
    Lost,
    Label {
        label: String,
        wanted: String,
        found: Option<String>,
    },
    Datacenter {
        wanted: String,
        found: Option<String>,
    },
    /// The stack is placed in one datacenter, and this host names none.
    NoDatacenter,
    /// The stack is placed in one datacenter, and this one has no room for all of it.
    DatacenterTooSmall {
        datacenter: String,
        /// The first service that found no host there.
        service: ServiceName,
    },
    /// `minCpu`; thousandths of a core.
    MinCpu {
        has: u64,
        wanted: u64,
    },
    /// `minMemory`; bytes.
    MinMemory {
        has: u64,
        wanted: u64,
    },
    NotOn,
    NotWith {
        service: ServiceName,
    },
    NotTarget {
        target: HostName,
    },
    /// `manual` places by `targetHost` alone.
    NoTarget,
    /// Thousandths of a core.
    Cpu {
        free: u64,
        capacity: u64,
        asked: u64,
    },
    /// Bytes.
    Memory {
        free: u64,
        capacity: u64,
        asked: u64,
    },
    PortTaken {
        /// None: on all addresses.
        ip: Option<IpAddr>,
        port: u16,
        protocol: Protocol,
        /// None: somebody else than us.
        holder: Option<InstanceId>,
    },
    VolumeElsewhere {
        stack: StackSlug,
        volume: VolumeName,
        /// Where its data is. Ordered by name.
        hosts: Vec<HostName>,
    },
    /// `hostPort: 0`, and every port of the range is held.
    NoFreePort {
        container: u16,
        range: (u16, u16),
    },
    /// It requires a service of another host, which has no port left to publish for it.
    NoPortForOthers {
        service: ServiceName,
        container: u16,
        range: (u16, u16),
    },
    /// It may take the instance; another host came first.
    AnotherChosen {
        host: HostName,
    },
    /// It may take the instance; but what this must be with stays on another host.
    Anchored {
        host: HostName,
    },
    /// Of one of several services that must be on one host.
    Together {
        service: ServiceName,
        refusal: Box<Refusal>,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(HostStatus::Active) => f.write_str("is active"),
            Self::Status(HostStatus::Maintenance) => f.write_str("is in maintenance and takes nothing new"),
            Self::Status(HostStatus::Draining) => f.write_str("is draining"),
            Self::Status(HostStatus::Offline) => f.write_str("is offline"),
            Self::Status(HostStatus::Left) => f.write_str("left the inventory"),
            Self::Unreachable => f.write_str("is unreachable"),
            Self::Lost => f.write_str("is lost"),
            Self::Label { label, wanted, found: Some(found) } => {
                write!(f, "has the label `{label}: {found}`; `{wanted}` is asked for")
            }
            Self::Label { label, wanted, found: None } => write!(f, "has no label `{label}`; `{wanted}` is asked for"),
            Self::Datacenter { wanted, found: Some(found) } => {
                write!(f, "is in datacenter `{found}`; `{wanted}` is asked for")
            }
            Self::Datacenter { wanted, found: None } => write!(f, "names no datacenter; `{wanted}` is asked for"),
            Self::NoDatacenter => f.write_str("names no datacenter, and the stack is placed in one"),
            Self::DatacenterTooSmall { datacenter, service } => write!(
                f,
                "is in datacenter `{datacenter}`, which does not fit the whole stack: `{service}` found no host there"
            ),
            Self::MinCpu { has, wanted } => {
                write!(f, "has {} cores; minCpu asks for {}", Cores(*has), Cores(*wanted))
            }
            Self::MinMemory { has, wanted } => {
                write!(f, "has {} of memory; minMemory asks for {}", Bytes(*has), Bytes(*wanted))
            }
            Self::NotOn => f.write_str("is excluded by notOn"),
            Self::NotWith { service } => write!(f, "has `{service}`, and notWith keeps the two apart"),
            Self::NotTarget { target } => write!(f, "is not the targetHost {target}"),
            Self::NoTarget => f.write_str("is not chosen: `manual` needs a targetHost on every service"),
            Self::Cpu { free, capacity, asked } => {
                write!(f, "has {} of {} cores free; {} are asked for", Cores(*free), Cores(*capacity), Cores(*asked))
            }
            Self::Memory { free, capacity, asked } => write!(
                f,
                "has {} of {} of memory free; {} are asked for",
                Bytes(*free),
                Bytes(*capacity),
                Bytes(*asked)
            ),
            Self::PortTaken { ip, port, protocol, holder } => {
                write!(f, "has port {port}/{}", protocol.as_str())?;
                if let Some(ip) = ip {
                    write!(f, " of {ip}")?;
                }
                match holder {
                    Some(holder) => write!(f, " held by {holder}"),
                    None => f.write_str(" held by somebody else"),
                }
            }
            Self::VolumeElsewhere { stack, volume, hosts } => {
                write!(f, "does not have the volume `{volume}`, whose data is on ")?;
                for (n, host) in hosts.iter().enumerate() {
                    write!(f, "{}{host}", if n == 0 { "" } else { ", " })?;
                }
                write!(f, " and would stay behind (`Bayplan-Leave-Volume: {stack}/{volume}` in a commit confirms that)")
            }
            Self::NoFreePort { container, range } => {
                write!(f, "has no port left from {} to {} for container port {container}", range.0, range.1)
            }
            Self::NoPortForOthers { service, container, range } => write!(
                f,
                "needs port {container} of `{service}`, whose host has none left from {} to {} to publish it",
                range.0, range.1
            ),
            Self::AnotherChosen { host } => write!(f, "may take it, but {host} came first"),
            Self::Anchored { host } => write!(f, "may take it, but what it must be with stays on {host}"),
            Self::Together { service, refusal } => write!(f, "must take `{service}` too, but {refusal}"),
        }
    }
}

impl Refusal {
    /// What would have to change for the host to take it after all.
    pub fn remedy(&self) -> String {
        match self {
            Self::Status(_) => "its host file must say `status: active`".to_owned(),
            Self::Unreachable | Self::Lost => "it must answer again".to_owned(),
            Self::Label { label, wanted, .. } => format!("its host file needs the label `{label}: {wanted}`"),
            Self::Datacenter { wanted, .. } => format!("its host file must say `datacenter: {wanted}`"),
            Self::NoDatacenter => "its host file needs a `datacenter`".to_owned(),
            Self::DatacenterTooSmall { datacenter, service } => {
                format!("datacenter `{datacenter}` needs a host that takes `{service}`")
            }
            Self::MinCpu { has, .. } => format!("`minCpu` must be {} or less", Cores(*has)),
            Self::MinMemory { has, .. } => format!("`minMemory` must be {} or less", Bytes(*has)),
            Self::NotOn => "`notOn` must not name it".to_owned(),
            Self::NotWith { service } => format!("`{service}` must be elsewhere, or `notWith` must not name it"),
            Self::NotTarget { .. } => "`targetHost` must name it".to_owned(),
            Self::NoTarget => "the service needs a `targetHost`".to_owned(),
            Self::Cpu { free, asked, .. } => {
                format!("{} more cores must be free, or `resources.cpu` smaller", Cores(asked.saturating_sub(*free)))
            }
            Self::Memory { free, asked, .. } => {
                format!("{} more must be free, or `resources.memory` smaller", Bytes(asked.saturating_sub(*free)))
            }
            Self::PortTaken { port, .. } => {
                format!("port {port} must be given up there, or another `hostPort` written")
            }
            Self::VolumeElsewhere { stack, volume, .. } => {
                format!("a commit must say `Bayplan-Leave-Volume: {stack}/{volume}`, and the data stays behind")
            }
            Self::NoFreePort { .. } | Self::NoPortForOthers { .. } => {
                "a port of its `portRange` must become free".to_owned()
            }
            Self::AnotherChosen { .. } => "`targetHost` must name it".to_owned(),
            Self::Anchored { host } => format!("what it must be with must leave {host}"),
            Self::Together { service, refusal } => format!("for `{service}`: {}", refusal.remedy()),
        }
    }
}

/// Thousandths of a core, as people write cores: `2.0`, `0.25`.
pub(super) struct Cores(pub u64);

impl fmt::Display for Cores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:03}", self.0 / 1000, self.0 % 1000);
        let short = text.trim_end_matches('0');
        f.write_str(short)?;
        if short.ends_with('.') { f.write_str("0") } else { Ok(()) }
    }
}

/// Bytes in the largest unit that leaves a whole number, else with one decimal.
pub(super) struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
        for (unit, shift) in units {
            let size = 1u64 << shift;
            if self.0 >= size {
                let tenths = u128::from(self.0) * 10 / u128::from(size);
                return match tenths % 10 {
                    0 => write!(f, "{} {unit}", tenths / 10),
                    rest => write!(f, "{}.{rest} {unit}", tenths / 10),
                };
            }
        }
        write!(f, "{} bytes", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::{Bytes, Cores, Refusal};

    #[test]
    fn a_refusal_completes_a_sentence_with_its_numbers() {
        let refusal = Refusal::Cpu { free: 2000, capacity: 4000, asked: 3000 };
        assert_eq!(format!("host-1 {refusal}"), "host-1 has 2.0 of 4.0 cores free; 3.0 are asked for");
    }

    #[test]
    fn amounts_read_as_people_write_them() {
        let text = |n| Cores(n).to_string();
        assert_eq!([text(0), text(250), text(1500), text(16_000)], ["0.0", "0.25", "1.5", "16.0"]);
        let text = |n| Bytes(n).to_string();
        assert_eq!(
            [text(12), text(512 << 20), text(3 << 29), text(u64::MAX)],
            ["12 bytes", "512 MiB", "1.5 GiB", "16777215.9 TiB"]
        );
    }
}
