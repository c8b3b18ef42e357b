//! The hosts while a pass fills them: room, ports, score and rank.
//!
//! Takes the inventory and what the ledger says of each host. Gives, per host, what is free and a score that is
//! computed anew only when the host changes, so that the best one is found without looking at all.
//!
//! A host that the ledger does not know is taken as reachable, with nothing used: that is how a plan is made before
//! anything was ever measured. Hosts with one endpoint share ports and volumes; a host without an endpoint is an engine
//! of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::model::desired::Inventory;
use crate::model::host::{Endpoint, Host, HostStatus};
use crate::model::record::{HostCondition, HostRecord, Ledger};
use crate::model::stack::Protocol;
use crate::name::HostName;

/// Below this share of hosts lost at once a loss is believed; from it on, the fault is probably ours.
const LOST_AT_ONCE_PERCENT: usize = 55;
/// In smaller datacenters one dead machine would already be more than the share above.
const SMALLEST_JUDGED_DATACENTER: usize = 3;

/// A trial that touches more hosts than this is not worth it: they are searched one by one.
const MOST_TRIED: usize = 64;

/// Stands for the one datacenter of a fleet that names none; no datacenter's name holds a space at its start.
pub(super) const WHOLE_FLEET: &str = " the whole fleet";

pub(super) struct Fleet<'a> {
    /// Ordered by name: a lower index is an earlier name.
    pub sites: Vec<Site<'a>>,
    pub engines: Vec<Ports>,
    /// The hosts of each engine. Ascending.
    pub engine_sites: Vec<Vec<usize>>,
    /// Of the hosts that may take something new, best first. Filled by [`Fleet::rank_all`].
    ranks: BTreeSet<Rank>,
    /// During a trial: hosts that something was placed on, with the ranks that `ranks` still has for them.
    tried: Option<Vec<(usize, Rank)>>,
    /// Ordered by name. If no host names one, the whole fleet counts as one without a name.
    pub datacenters: Vec<Datacenter<'a>>,
}

pub(super) struct Datacenter<'a> {
    pub name: &'a str,
    /// Whether any of its hosts may take something new.
    pub takes_new: bool,
    /// Instances of ours in the mapping so far.
    pub instances: u64,
}

/// Points missing to 100,000; instances of ours; index of the host. The least is the best.
pub(super) type Rank = (u32, u32, u32);

pub(super) struct Site<'a> {
    pub host: &'a Host,
    pub engine: usize,
    /// Index of the datacenter that it counts to when a stack is kept in one.
    pub datacenter: Option<usize>,
    pub condition: HostCondition,
    /// Too much was lost at once for this loss to be believed.
    pub loss_excused: bool,
    pub cpu: Room,
    pub memory: Room,
    /// Instances of ours in the mapping so far.
    pub instances: u32,
    rank: Option<Rank>,
}

/// What a host has of one resource; cores in thousandths, memory in bytes.
#[derive(Clone, Copy, Default)]
pub(super) struct Room {
    /// Declared, else measured; none: unknown, so that everything fits.
    pub total: Option<u64>,
    pub reserved: u64,
    /// The larger of measured use and what was promised before this pass.
    busy: u64,
    /// Asked for by what the mapping has here so far. Wide, so that no sum of asks can overflow.
    promised: u128,
    /// The part of `promised` that was not here before this pass.
    added: u128,
}

/// Who holds which address and port of an engine.
#[derive(Default)]
pub(super) struct Ports {
    held: BTreeMap<Socket, Holder>,
    /// Below these, every port of that address and protocol is known to be held.
    lowest: BTreeMap<(Protocol, Option<IpAddr>, u16), u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Socket {
    pub port: u16,
    pub protocol: Protocol,
    /// None: all addresses.
    pub ip: Option<IpAddr>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holder {
    Others,
    /// Index of the instance.
    Ours(usize),
}

/// Whether an instance was on a host before this pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    WasHere,
    IsNew,
}

impl<'a> Fleet<'a> {
    pub(super) fn new(inventory: &'a Inventory, ledger: &'a Ledger) -> Self {
        let mut engines = Vec::with_capacity(inventory.hosts.len());
        let mut by_endpoint: BTreeMap<&Endpoint, usize> = BTreeMap::new();
        let mut sites = Vec::with_capacity(inventory.hosts.len());
        for (name, host) in &inventory.hosts {
            let record = ledger.hosts.get(name);
            let mut new_engine = || {
                engines.push(Ports::default());
                engines.len() - 1
            };
            let engine = match &host.endpoint {
                Some(endpoint) => *by_endpoint.entry(endpoint).or_insert_with(new_engine),
                None => new_engine(),
            };
            for taken in record.iter().flat_map(|r| &r.taken) {
                engines[engine].hold(socket(taken.ip, taken.port, taken.protocol), Holder::Others);
            }
            sites.push(site(host, engine, record));
        }
        let mut engine_sites = vec![Vec::new(); engines.len()];
        for (index, site) in sites.iter().enumerate() {
            engine_sites[site.engine].push(index);
        }
        let datacenters = datacenters(&mut sites);
        excuse_losses(&mut sites);
        Self { sites, engines, engine_sites, ranks: BTreeSet::new(), tried: None, datacenters }
    }

    pub(super) fn index(&self, name: &HostName) -> Option<usize> {
        self.sites.binary_search_by(|site| site.host.name.cmp(name)).ok()
    }

    /// Counts what was promised here before this pass.
    pub(super) fn promise_before(&mut self, promised: &[(u64, u64)]) {
        for (site, (cpu, memory)) in self.sites.iter_mut().zip(promised) {
            site.cpu.busy = site.cpu.busy.max(*cpu);
            site.memory.busy = site.memory.busy.max(*memory);
        }
    }

    pub(super) fn rank_all(&mut self) {
        for index in 0..self.sites.len() {
            let site = &mut self.sites[index];
            if site.takes_new() {
                let rank = site.rank_now(index);
                site.rank = Some(rank);
                self.ranks.insert(rank);
            }
        }
    }

    /// From now on most of what is placed is taken back: the order of all hosts is brought up to date only by
    /// [`Fleet::end_trial`].
    pub(super) fn begin_trial(&mut self) {
        self.tried = Some(Vec::new());
    }

    pub(super) fn end_trial(&mut self) {
        for (index, listed) in self.tried.take().unwrap_or_default() {
            if let Some(now) = self.sites[index].rank.filter(|now| *now != listed) {
                self.ranks.remove(&listed);
                self.ranks.insert(now);
            }
        }
    }

    /// The hosts that may take something new, best first.
    pub(super) fn ranked(&self) -> impl Iterator<Item = Rank> {
        let tried = self.tried.as_deref().unwrap_or_default();
        let mut moved: Vec<Rank> = Vec::new();
        let mut stale: Vec<Rank> = Vec::new();
        for (index, listed) in tried {
            if let Some(now) = self.sites[*index].rank.filter(|now| now != listed) {
                moved.push(now);
                stale.push(*listed);
            }
        }
        moved.sort_unstable();
        let mut moved = moved.into_iter().peekable();
        let mut listed = self.ranks.iter().copied().filter(move |rank| !stale.contains(rank)).peekable();
        std::iter::from_fn(move || match (listed.peek(), moved.peek()) {
            (Some(a), Some(b)) if b < a => moved.next(),
            (Some(_), _) => listed.next(),
            (None, _) => moved.next(),
        })
    }

    pub(super) fn rank(&self, site: usize) -> Option<Rank> {
        self.sites[site].rank
    }

    pub(super) fn add(&mut self, index: usize, (cpu, memory): (u64, u64), arrival: Arrival) {
        let site = &mut self.sites[index];
        site.instances += 1;
        if let Some(datacenter) = site.datacenter {
            self.datacenters[datacenter].instances += 1;
        }
        site.cpu.add(cpu, arrival);
        site.memory.add(memory, arrival);
        self.rank_again(index);
    }

    pub(super) fn remove(&mut self, index: usize, (cpu, memory): (u64, u64), arrival: Arrival) {
        let site = &mut self.sites[index];
        site.instances -= 1;
        if let Some(datacenter) = site.datacenter {
            self.datacenters[datacenter].instances -= 1;
        }
        site.cpu.remove(cpu, arrival);
        site.memory.remove(memory, arrival);
        self.rank_again(index);
    }

    fn rank_again(&mut self, index: usize) {
        if self.tried.as_ref().is_some_and(|tried| tried.len() >= MOST_TRIED) {
            self.end_trial();
        }
        let site = &mut self.sites[index];
        let Some(old) = site.rank else { return };
        let new = site.rank_now(index);
        site.rank = Some(new);
        match &mut self.tried {
            Some(tried) if tried.iter().any(|(known, _)| *known == index) => {}
            Some(tried) => tried.push((index, old)),
            None => {
                self.ranks.remove(&old);
                self.ranks.insert(new);
            }
        }
    }
}

impl Site<'_> {
    pub(super) fn takes_new(&self) -> bool {
        self.host.status == HostStatus::Active && self.condition == HostCondition::Reachable
    }

    /// Offline or lost: what is here runs nowhere, as far as anybody can tell.
    pub(super) fn is_gone(&self) -> bool {
        match self.condition {
            _ if self.host.status == HostStatus::Offline => true,
            HostCondition::Reachable | HostCondition::Unreachable => false,
            HostCondition::Lost => !self.loss_excused,
            HostCondition::Abandoned => true,
        }
    }

    /// 0 to 100,000: thousandths of the points of DESIGN, before the candidate is added.
    pub(super) fn score(&self) -> u32 {
        let few = 100 - u64::from(self.instances.min(100));
        let points = (4 * self.cpu.free_share() + 4 * self.memory.free_share() + 2 * 1000 * few) / 10;
        u32::try_from(points).expect("at most 100,000 points")
    }

    fn rank_now(&self, index: usize) -> Rank {
        let index = u32::try_from(index).expect("fewer hosts than 2^32");
        (100_000 - self.score(), self.instances, index)
    }
}

impl Room {
    /// What may be promised at all; none: unknown.
    pub(super) fn capacity(&self) -> Option<u64> {
        self.total.map(|total| total.saturating_sub(self.reserved))
    }

    /// What may still be promised; none: unknown.
    pub(super) fn unpromised(&self) -> Option<u64> {
        self.capacity().map(|capacity| minus(capacity, self.promised))
    }

    /// Thousandths of a per cent of the capacity that are neither used nor promised.
    pub(super) fn free_share(&self) -> u64 {
        match self.capacity() {
            None => 100_000,
            Some(0) => 0,
            Some(capacity) => {
                let free = minus(capacity.saturating_sub(self.busy), self.added);
                match free.checked_mul(100_000) {
                    Some(scaled) => scaled / capacity,
                    None => u64::try_from(u128::from(free) * 100_000 / u128::from(capacity))
                        .expect("a share is at most the whole"),
                }
            }
        }
    }

    fn add(&mut self, amount: u64, arrival: Arrival) {
        self.promised += u128::from(amount);
        match arrival {
            Arrival::WasHere => {}
            Arrival::IsNew => self.added += u128::from(amount),
        }
    }

    fn remove(&mut self, amount: u64, arrival: Arrival) {
        self.promised -= u128::from(amount);
        match arrival {
            Arrival::WasHere => {}
            Arrival::IsNew => self.added -= u128::from(amount),
        }
    }
}

/// Nothing where more is taken than there is.
fn minus(whole: u64, taken: u128) -> u64 {
    u64::try_from(taken).map_or(0, |taken| whole.saturating_sub(taken))
}

impl Ports {
    /// Who holds this address and port, or one that clashes with it: an address and "all addresses" clash.
    pub(super) fn holder(&self, socket: Socket) -> Option<Holder> {
        let whole = |ip| Socket { ip, ..socket };
        match socket.ip {
            // `None` is the least address, so that the range is all of this port and protocol.
            None => self
                .held
                .range(whole(None)..)
                .next()
                .filter(|(found, _)| found.port == socket.port && found.protocol == socket.protocol)
                .map(|(_, holder)| *holder),
            Some(_) => self.held.get(&whole(None)).or_else(|| self.held.get(&socket)).copied(),
        }
    }

    /// The first holder keeps it.
    pub(super) fn hold(&mut self, socket: Socket, holder: Holder) {
        self.held.entry(socket).or_insert(holder);
    }

    pub(super) fn release(&mut self, socket: Socket, holder: Holder) {
        if self.held.get(&socket) == Some(&holder) {
            self.held.remove(&socket);
        }
    }

    /// Takes the lowest free port of a range. Nothing may be released afterwards.
    pub(super) fn take_lowest(
        &mut self,
        protocol: Protocol,
        ip: Option<IpAddr>,
        range: (u16, u16),
        holder: Holder,
    ) -> Option<u16> {
        let start = self.lowest.get(&(protocol, ip, range.0)).copied().unwrap_or(range.0);
        let port = (start.max(1)..=range.1).find(|port| {
            let socket = Socket { port: *port, protocol, ip };
            self.holder(socket).is_none()
        });
        self.lowest.insert((protocol, ip, range.0), port.unwrap_or(range.1.saturating_add(1)));
        let port = port?;
        self.hold(Socket { port, protocol, ip }, holder);
        Some(port)
    }
}

/// `0.0.0.0` and `::` are all addresses.
pub(super) fn socket(ip: Option<IpAddr>, port: u16, protocol: Protocol) -> Socket {
    Socket { port, protocol, ip: ip.filter(|ip| !ip.is_unspecified()) }
}

fn site<'a>(host: &'a Host, engine: usize, record: Option<&HostRecord>) -> Site<'a> {
    let facts = record.and_then(|r| r.facts);
    let part =
        |whole: u64, percent: u8| u64::try_from(u128::from(whole) * u128::from(percent) / 100).unwrap_or(u64::MAX);
    Site {
        host,
        engine,
        datacenter: None,
        condition: record.map_or(HostCondition::Reachable, |r| r.condition),
        loss_excused: false,
        cpu: Room {
            total: host.cpu.or(facts.map(|f| f.cpu)),
            reserved: host.reserved_cpu,
            busy: facts.map_or(0, |f| part(f.cpu, f.cpu_used)),
            ..Room::default()
        },
        memory: Room {
            total: host.memory.or(facts.map(|f| f.memory)),
            reserved: host.reserved_memory,
            busy: facts.map_or(0, |f| part(f.memory, f.memory_used)),
            ..Room::default()
        },
        instances: 0,
        rank: None,
    }
}

/// Tells every host its datacenter.
fn datacenters<'a>(sites: &mut [Site<'a>]) -> Vec<Datacenter<'a>> {
    let names: BTreeSet<&str> = sites.iter().filter_map(|site| site.host.datacenter.as_deref()).collect();
    let names: Vec<&str> = if names.is_empty() { vec![WHOLE_FLEET] } else { names.into_iter().collect() };
    let mut datacenters: Vec<Datacenter<'_>> =
        names.iter().map(|name| Datacenter { name, takes_new: false, instances: 0 }).collect();
    for site in sites {
        let name = site.host.datacenter.as_deref();
        site.datacenter = match (name, names.as_slice()) {
            (Some(name), names) => names.binary_search(&name).ok(),
            (None, [WHOLE_FLEET]) => Some(0),
            (None, _) => None,
        };
        if let Some(index) = site.datacenter {
            datacenters[index].takes_new |= site.takes_new();
        }
    }
    datacenters
}

/// What is gone on purpose is not.
fn is_of_the_fleet(site: &Site<'_>) -> bool {
    match site.host.status {
        HostStatus::Active | HostStatus::Maintenance | HostStatus::Draining => true,
        HostStatus::Offline | HostStatus::Left => false,
    }
}

/// Marks the losses that are too many at once to be believed. A host that was declared offline is gone on purpose: it
/// counts neither as lost nor to the fleet.
fn excuse_losses(sites: &mut [Site<'_>]) {
    let mut fleet = (0, 0);
    let mut datacenters: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for site in sites.iter().filter(|s| is_of_the_fleet(s)) {
        let lost = usize::from(site.condition == HostCondition::Lost);
        fleet = (fleet.0 + lost, fleet.1 + 1);
        if let Some(name) = &site.host.datacenter {
            let counts = datacenters.entry(name).or_default();
            *counts = (counts.0 + lost, counts.1 + 1);
        }
    }
    let too_many = |(lost, all): (usize, usize)| lost * 100 >= all * LOST_AT_ONCE_PERCENT;
    for site in sites.iter_mut().filter(|s| s.condition == HostCondition::Lost) {
        let datacenter = site.host.datacenter.as_deref().and_then(|name| datacenters.get(name));
        site.loss_excused = too_many(fleet)
            || datacenter.is_some_and(|counts| counts.1 >= SMALLEST_JUDGED_DATACENTER && too_many(*counts));
    }
}
