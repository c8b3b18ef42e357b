//! What a pass of placement works on: instances, the units that must be on one host, and where they are so far.
//!
//! Takes the input. Gives instances joined with where they were, units in the order of placing, and the acts that keep
//! fleet, stacks and instances in step: [`Work::occupy`], [`Work::vacate`], [`Work::hold`].

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;
use std::sync::Arc;

use crate::model::host::Host;
use crate::model::mapping::Placed;
use crate::model::stack::{HostPort, NetworkMode, Port, Service, Stack, Strategy};
use crate::name::{HostName, InstanceId, StackSlug, VolumeName};
use crate::placement::account::Turn;
use crate::placement::bonds::{Tie, enemies, local_volumes, ties, together, unstuck, volumes_by_name};
use crate::placement::fleet::{Arrival, Fleet, Holder, Socket, socket};
use crate::placement::refusal::Refusal;
use crate::placement::rules::{AnyRefusal, asks_of_a_host};
use crate::placement::{Input, Unplaced};

pub(super) struct Work<'a> {
    pub fleet: Fleet<'a>,
    pub stacks: Vec<StackWork<'a>>,
    /// By unit, and so by stack.
    pub members: Vec<Member<'a>>,
    /// By stack, then by position and number of their first member.
    pub units: Vec<Unit<'a>>,
    pub held: BTreeMap<InstanceId, Unplaced>,
    /// The stack that somebody asks about, if anybody does.
    pub asked: Option<&'a StackSlug>,
    /// What was decided of its members, and from what.
    pub turns: BTreeMap<usize, Arc<Turn>>,
    /// Hosts that fit what services ask of a host; found by [`Member::suits`].
    suits: Vec<Suited>,
    /// `0..members.len()`, of which slices name members.
    numbers: Vec<usize>,
}

pub(super) struct StackWork<'a> {
    pub slug: &'a StackSlug,
    pub stack: &'a Stack,
    pub units: Range<usize>,
    pub members: Range<usize>,
    /// Why where it was does not count, if it does not.
    pub unstuck: Option<String>,
    /// Per service, by its index: services that must not be on its host. Empty if no service has any.
    pub enemies: Vec<BTreeSet<usize>>,
    /// (site, service) → instances of this stack in the mapping so far, or held where they were.
    pub placed: Counts<(usize, usize)>,
    /// The same per site.
    pub on_site: Counts<usize>,
}

impl StackWork<'_> {
    fn count(&mut self, site: usize, service: usize) {
        self.placed.add((site, service));
        self.on_site.add(site);
    }

    fn discount(&mut self, site: usize, service: usize) {
        self.placed.remove((site, service));
        self.on_site.remove(site);
    }
}

/// How often something occurs. Sorted: a stack is on few hosts, and is tried on them again and again.
#[derive(Default)]
pub(super) struct Counts<K>(Vec<(K, u32)>);

impl<K: Ord + Copy> Counts<K> {
    pub(super) fn of(&self, key: K) -> u32 {
        self.find(key).map_or(0, |at| self.0[at].1)
    }

    fn add(&mut self, key: K) {
        match self.find(key) {
            Ok(at) => self.0[at].1 += 1,
            Err(at) => self.0.insert(at, (key, 1)),
        }
    }

    fn remove(&mut self, key: K) {
        let Ok(at) = self.find(key) else { return };
        self.0[at].1 -= 1;
        if self.0[at].1 == 0 {
            self.0.remove(at);
        }
    }

    fn find(&self, key: K) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| known.cmp(&key))
    }
}

/// One instance.
pub(super) struct Member<'a> {
    pub id: InstanceId,
    pub stack: usize,
    pub service: &'a Service,
    /// Index of the service in its stack.
    pub service_index: usize,
    /// Which hosts fit what the service asks of a host; none: all.
    pub suits: Option<usize>,
    pub pin: Option<&'a HostName>,
    pub previous: Option<&'a Placed>,
    pub previous_site: Option<usize>,
    pub site: Option<usize>,
    pub why: String,
}

/// Hosts by index, one bit each; empty: all of them.
#[derive(Debug, Clone)]
pub(super) struct Suited(Vec<u64>);

static ANY: Suited = Suited(Vec::new());

impl Suited {
    pub(super) fn contains(&self, site: usize) -> bool {
        self.0.is_empty() || self.0[site / 64] & (1 << (site % 64)) != 0
    }

    fn and(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(a, b)| a & b).collect())
    }
}

/// What a service asks of a host, as a key: datacenters, labels, least amounts, `notOn`.
type Asks<'a> = (
    (&'a Option<String>, &'a Option<String>),
    &'a BTreeMap<String, String>,
    (Option<u64>, Option<u64>),
    &'a BTreeSet<HostName>,
);

/// What is known of a stack from before.
struct Known<'k, 'a> {
    /// Ordered by service and number.
    previous: &'k [(&'a InstanceId, &'a Placed)],
    volumes: &'k BTreeMap<&'a VolumeName, Vec<&'a HostName>>,
}

/// Instances that must be on one host.
pub(super) struct Unit<'a> {
    pub stack: usize,
    pub members: Range<usize>,
    pub ties: Vec<Tie<'a>>,
    pub pin: Option<&'a HostName>,
    /// Where most of its members were.
    pub home: Option<usize>,
    pub state: State,
    /// Why it does not stay at home, in words for people.
    pub left: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing is decided.
    Open,
    /// Those that were at home are there; others are to join them.
    Joining,
    Done,
}

impl<'a> Work<'a> {
    pub(super) fn new(input: &Input<'a>) -> Self {
        let services = input.stacks.values().flat_map(|stack| &stack.services);
        let size = services.map(|service| service.replicas as usize).sum();
        let mut work = Self {
            fleet: Fleet::new(input.inventory, input.ledger),
            stacks: Vec::with_capacity(input.stacks.len()),
            members: Vec::with_capacity(size),
            units: Vec::with_capacity(size),
            held: BTreeMap::new(),
            asked: None,
            turns: BTreeMap::new(),
            suits: Vec::new(),
            numbers: Vec::new(),
        };
        let mut asks = BTreeMap::new();
        let volumes = volumes_by_name(input, &work.fleet);
        let mut previous = input.previous.iter().peekable();
        let mut of_stack: Vec<(&InstanceId, &Placed)> = Vec::new();
        for (slug, stack) in input.stacks {
            of_stack.clear();
            while previous.next_if(|(id, _)| id.stack < *slug).is_some() {}
            while let Some(entry) = previous.next_if(|(id, _)| id.stack == *slug) {
                of_stack.push(entry);
            }
            let known = Known { previous: &of_stack, volumes: &volumes };
            work.add_stack(input, (slug, stack), &known, &mut asks);
        }
        work.numbers = (0..work.members.len()).collect();
        let mut promised = vec![(0u64, 0u64); work.fleet.sites.len()];
        for member in &work.members {
            if let Some(site) = member.previous_site {
                let (cpu, memory) = member.ask();
                promised[site].0 = promised[site].0.saturating_add(cpu);
                promised[site].1 = promised[site].1.saturating_add(memory);
            }
        }
        work.fleet.promise_before(&promised);
        work
    }

    /// The hosts that fit what some members ask of a host.
    pub(super) fn suited(&self, members: &[usize]) -> Cow<'_, Suited> {
        let mut suited = Cow::Borrowed(&ANY);
        let mut last = None;
        for next in members.iter().map(|m| self.members[*m].suits) {
            if let Some(next) = next.filter(|_| next != last) {
                suited = match suited.0.is_empty() {
                    true => Cow::Borrowed(&self.suits[next]),
                    false => Cow::Owned(suited.and(&self.suits[next])),
                };
            }
            last = next;
        }
        suited
    }

    /// Judges every host once for all services that ask for the same; none where nothing is asked.
    fn suits(&mut self, stack: &'a Stack, service: &'a Service, asks: &mut BTreeMap<Asks<'a>, usize>) -> Option<usize> {
        let constraints = &service.constraints;
        let own = (
            (&stack.datacenter, &constraints.datacenter),
            &constraints.labels,
            (constraints.min_cpu, constraints.min_memory),
            &constraints.not_on,
        );
        if own == ((&None, &None), &BTreeMap::new(), (None, None), &BTreeSet::new()) {
            return None;
        }
        let index = *asks.entry(own).or_insert_with(|| {
            let mut suited = Suited(vec![0; self.fleet.sites.len().div_ceil(64)]);
            for (index, site) in self.fleet.sites.iter().enumerate() {
                if asks_of_a_host(stack, constraints, site, &mut AnyRefusal).is_continue() {
                    suited.0[index / 64] |= 1 << (index % 64);
                }
            }
            self.suits.push(suited);
            self.suits.len() - 1
        });
        Some(index)
    }

    fn add_stack(
        &mut self,
        input: &Input<'a>,
        (slug, stack): (&'a StackSlug, &'a Stack),
        known: &Known<'_, 'a>,
        asks: &mut BTreeMap<Asks<'a>, usize>,
    ) {
        let Known { previous, volumes } = known;
        let index = self.stacks.len();
        let (first_unit, first_member) = (self.units.len(), self.members.len());
        for services in together(stack) {
            let mut waiting: Vec<(usize, u32)> = Vec::new();
            for service in &services {
                waiting.extend((1..=stack.services[*service].replicas).map(|number| (*service, number)));
            }
            let alone = stack.placement != Strategy::Single
                && services.iter().all(|s| local_volumes(stack, &stack.services[*s]).next().is_none());
            let size = if alone { 1 } else { waiting.len().max(1) };
            for chunk in waiting.chunks(size) {
                let start = self.members.len();
                let mut last = None;
                for (service_index, number) in chunk {
                    let service = &*stack.services[*service_index];
                    let suits = match last {
                        Some((same, suits)) if same == *service_index => suits,
                        Some(_) | None => self.suits(stack, service, asks),
                    };
                    last = Some((*service_index, suits));
                    let was = previous
                        .binary_search_by(|(id, _)| (&id.service, id.number).cmp(&(&service.name, *number)))
                        .ok()
                        .map(|at| previous[at].1);
                    self.members.push(Member {
                        id: InstanceId { stack: slug.clone(), service: service.name.clone(), number: *number },
                        stack: index,
                        service,
                        service_index: *service_index,
                        suits,
                        pin: service.target_host.as_ref().or(stack.target_host.as_ref()),
                        previous: was,
                        previous_site: was.and_then(|placed| self.fleet.index(&placed.host)),
                        site: None,
                        why: String::new(),
                    });
                }
                let members = start..self.members.len();
                let own = &self.members[members.clone()];
                let pin = own.iter().find_map(|m| m.pin);
                let home = most_common(own.iter().filter_map(|m| m.previous_site));
                let ties = if alone { Vec::new() } else { ties(input, &self.fleet, slug, stack, own, volumes) };
                self.units.push(Unit { stack: index, members, ties, pin, home, state: State::Open, left: None });
            }
        }
        self.stacks.push(StackWork {
            slug,
            stack,
            units: first_unit..self.units.len(),
            members: first_member..self.members.len(),
            unstuck: unstuck(input, slug, stack),
            enemies: enemies(stack),
            placed: Counts::default(),
            on_site: Counts::default(),
        });
    }

    /// Names of members, for a unit or any other stretch of them.
    pub(super) fn numbers(&self, members: Range<usize>) -> &[usize] {
        &self.numbers[members]
    }

    pub(super) fn occupy(&mut self, member: usize, site: usize, why: String) {
        let engine = self.fleet.sites[site].engine;
        let entry = &mut self.members[member];
        entry.site = Some(site);
        entry.why = why;
        let entry = &self.members[member];
        for port in &entry.service.ports {
            if let Some(wanted) = entry.fixed_socket(port, self.fleet.sites[site].host) {
                self.fleet.engines[engine].hold(wanted, Holder::Ours(member));
            }
        }
        self.fleet.add(site, entry.ask(), entry.arrival(site));
        self.stacks[entry.stack].count(site, entry.service_index);
    }

    /// Undoes [`Work::occupy`].
    pub(super) fn vacate(&mut self, member: usize) {
        let Some(site) = self.members[member].site.take() else {
            return;
        };
        let engine = self.fleet.sites[site].engine;
        let entry = &self.members[member];
        for port in &entry.service.ports {
            if let Some(wanted) = entry.fixed_socket(port, self.fleet.sites[site].host) {
                self.fleet.engines[engine].release(wanted, Holder::Ours(member));
            }
        }
        self.fleet.remove(site, entry.ask(), entry.arrival(site));
        self.stacks[entry.stack].discount(site, entry.service_index);
    }

    /// Notes that an instance has no host. What was running is left alone by the plan, so its room, its ports and
    /// its neighbourhood (`notWith`) stay taken where it was.
    pub(super) fn hold(&mut self, member: usize, unplaced: Unplaced) {
        let entry = &self.members[member];
        if let (Some(site), Some(previous)) = (entry.previous_site, entry.previous) {
            let engine = self.fleet.sites[site].engine;
            for port in &previous.ports {
                let wanted = socket(Some(port.host_ip), port.host_port, port.protocol);
                self.fleet.engines[engine].hold(wanted, Holder::Ours(member));
            }
            // It may come back with what it asks for now.
            for port in &entry.service.ports {
                if let Some(wanted) = entry.fixed_socket(port, self.fleet.sites[site].host) {
                    self.fleet.engines[engine].hold(wanted, Holder::Ours(member));
                }
            }
            self.fleet.add(site, entry.ask(), Arrival::WasHere);
            self.stacks[entry.stack].count(site, entry.service_index);
        }
        self.held.insert(self.members[member].id.clone(), unplaced);
    }

    /// How many instances of a stack are on a site so far.
    pub(super) fn of_stack(&self, stack: usize, site: usize) -> u32 {
        self.stacks[stack].on_site.of(site)
    }
}

impl Member<'_> {
    /// Thousandths of a core, bytes.
    pub(super) fn ask(&self) -> (u64, u64) {
        let resources = &self.service.resources;
        (resources.cpu.unwrap_or(0), resources.memory.unwrap_or(0))
    }

    pub(super) fn arrival(&self, site: usize) -> Arrival {
        if self.previous_site == Some(site) { Arrival::WasHere } else { Arrival::IsNew }
    }

    /// The host port that the stack file itself fixes, if it does.
    pub(super) fn fixed_port(&self, port: &Port) -> Option<u16> {
        match self.service.settings.network_mode {
            NetworkMode::None => None,
            NetworkMode::Host => Some(port.container),
            NetworkMode::Stack => match port.host {
                HostPort::Explicit(number) => Some(number),
                HostPort::Chosen | HostPort::Unpublished => None,
            },
        }
    }

    pub(super) fn fixed_socket(&self, port: &Port, host: &Host) -> Option<Socket> {
        let number = self.fixed_port(port)?;
        Some(socket(Some(self.address(port, host)), number, port.protocol))
    }

    /// What a port of the stack file binds to.
    pub(super) fn address(&self, port: &Port, host: &Host) -> IpAddr {
        match (self.service.settings.network_mode, host.ip_address) {
            // A process in the host's own network listens where it likes.
            (NetworkMode::Host, IpAddr::V4(_)) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            (NetworkMode::Host, IpAddr::V6(_)) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            (NetworkMode::Stack | NetworkMode::None, _) => port.host_ip.unwrap_or(host.publish_address),
        }
    }
}

/// One sentence and every host's reasons.
pub(super) fn unplaced(why: String, refusals: BTreeMap<HostName, Vec<Refusal>>) -> Unplaced {
    Unplaced { why, refusals }
}

/// The most frequent; of several the least.
pub(super) fn most_common(values: impl Iterator<Item = usize>) -> Option<usize> {
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    for value in values {
        *counts.entry(value).or_default() += 1;
    }
    let most = counts.values().copied().max()?;
    counts.into_iter().find(|(_, n)| *n == most).map(|(value, _)| value)
}
