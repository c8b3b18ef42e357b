//! The seen containers, in the orders in which a plan asks for them.

use std::collections::BTreeMap;

use crate::model::host::Endpoint;
use crate::model::stack::Protocol;
use crate::model::world::{ContainerSeen, EngineView, Ours, State};
use crate::name::{InstanceId, StackSlug};
use crate::plan::Input;

/// A container of ours.
#[derive(Debug, Clone)]
pub struct Found<'a> {
    pub endpoint: &'a Endpoint,
    pub container: &'a ContainerSeen,
    pub ours: &'a Ours,
}

impl Found<'_> {
    pub fn runs(&self) -> bool {
        match self.container.state {
            State::Running | State::Restarting | State::Paused => true,
            State::Created | State::Removing | State::Exited { .. } | State::Dead => false,
        }
    }

    /// It will not come back: whoever has its name and digest is as good as gone.
    pub fn is_gone(&self) -> bool {
        match self.container.state {
            State::Removing | State::Dead => true,
            State::Created | State::Running | State::Paused | State::Restarting | State::Exited { .. } => false,
        }
    }
}

#[derive(Debug, Default)]
pub struct Index<'a> {
    ours: BTreeMap<StackSlug, BTreeMap<InstanceId, Vec<Found<'a>>>>,
    names: BTreeMap<(&'a Endpoint, &'a str), &'a ContainerSeen>,
    /// Running containers by the host ports that they hold.
    ports: BTreeMap<(&'a Endpoint, u16, Protocol), Vec<&'a ContainerSeen>>,
    /// Running containers of ours by the volumes that they mount.
    volumes: BTreeMap<(&'a Endpoint, &'a str), Vec<Found<'a>>>,
}

impl<'a> Index<'a> {
    pub fn of(input: &Input<'a>) -> Self {
        let mut index = Self::default();
        for (endpoint, view) in &input.world.engines {
            let EngineView::Seen(seen) = view else { continue };
            // Engines list in an order of their own, which must not decide anything.
            let mut containers: Vec<&ContainerSeen> = seen.containers.iter().collect();
            containers.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
            for container in containers {
                index.names.insert((endpoint, container.name.as_str()), container);
                for port in &container.ports {
                    index.ports.entry((endpoint, port.host_port, port.protocol)).or_default().push(container);
                }
                if let Some(ours) = container.ours(input.owner) {
                    let found = Found { endpoint, container, ours };
                    for volume in container.volumes.iter().filter(|_| found.runs()) {
                        index.volumes.entry((endpoint, volume)).or_default().push(found.clone());
                    }
                    let of_stack = index.ours.entry(ours.instance.stack.clone()).or_default();
                    of_stack.entry(ours.instance.clone()).or_default().push(found);
                }
            }
        }
        index
    }

    /// Our containers of a stack, by instance.
    pub fn stack(&self, slug: &StackSlug) -> impl Iterator<Item = (&InstanceId, &Vec<Found<'a>>)> {
        self.ours.get(slug).into_iter().flatten()
    }

    pub fn instance(&self, id: &InstanceId) -> &[Found<'a>] {
        self.ours.get(&id.stack).and_then(|stack| stack.get(id)).map_or(&[], Vec::as_slice)
    }

    pub fn named(&self, endpoint: &'a Endpoint, name: &'a str) -> Option<&'a ContainerSeen> {
        self.names.get(&(endpoint, name)).copied()
    }

    pub fn mounting(&self, endpoint: &'a Endpoint, volume: &'a str) -> &[Found<'a>] {
        self.volumes.get(&(endpoint, volume)).map_or(&[], Vec::as_slice)
    }

    pub fn holding(&self, endpoint: &'a Endpoint, port: u16, protocol: Protocol) -> &[&'a ContainerSeen] {
        self.ports.get(&(endpoint, port, protocol)).map_or(&[], Vec::as_slice)
    }
}
