//! IPv4 ranges as `address/length`.

use std::net::Ipv4Addr;

/// As many networks as the default pools of an engine hold, each a /24 of what would be a pool's /16.
const POOL: std::ops::Range<u8> = 18..48;

/// A range that none of the given ones overlaps.
pub fn free<'a>(used: impl Iterator<Item = &'a str> + Clone) -> Option<String> {
    POOL.map(|n| format!("172.{n}.0.0/24")).find(|candidate| !used.clone().any(|other| overlap(candidate, other)))
}

pub fn overlap(a: &str, b: &str) -> bool {
    let (Some((a_first, a_last)), Some((b_first, b_last))) = (bounds(a), bounds(b)) else {
        return false;
    };
    a_first <= b_last && b_first <= a_last
}

/// The addresses that containers may have: not the network's own, the gateway's or the broadcast's.
pub fn addresses(subnet: &str) -> Option<impl Iterator<Item = Ipv4Addr> + use<>> {
    let (first, last) = bounds(subnet)?;
    Some((first.saturating_add(2)..last).map(Ipv4Addr::from_bits))
}

fn bounds(subnet: &str) -> Option<(u32, u32)> {
    let (address, length) = subnet.split_once('/')?;
    let address = address.parse::<Ipv4Addr>().ok()?.to_bits();
    let length: u32 = length.parse().ok().filter(|length| *length <= 32)?;
    let hosts = u32::MAX.checked_shr(length).unwrap_or(0);
    Some((address & !hosts, address | hosts))
}

#[cfg(test)]
mod tests {
    use super::{addresses, free, overlap};

    #[test]
    fn ranges_overlap_when_one_holds_the_other() {
        assert!(overlap("172.18.0.0/16", "172.18.5.0/24"));
        assert!(!overlap("172.18.0.0/24", "172.18.1.0/24"));
        let used = ["172.18.0.0/16", "172.19.0.0/24"];
        assert_eq!(free(used.into_iter()).as_deref(), Some("172.20.0.0/24"));
    }

    #[test]
    fn containers_get_neither_the_gateway_nor_the_broadcast_address() {
        let all: Vec<String> = addresses("10.0.0.0/29").expect("a range").map(|a| a.to_string()).collect();
        assert_eq!(all, ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"]);
    }
}
