//! Services that require each other in a circle, so that none could start first.

use std::collections::BTreeMap;

use super::scope::Scope;
use crate::diagnostic::Diagnostic;
use crate::diagnostic::code::Code;
use crate::parse::raw::stack::{RawService, RawStack};

/// Places of a long circle beyond these add nothing.
const MOST_PLACES: usize = 6;

/// Adds a finding for each group of services that require each other: one circle of each, always the same one.
pub fn check(raw: &RawStack, scope: &mut Scope<'_>) {
    let services = &raw.item_list_element;
    let edges: Vec<Vec<Edge>> = edges(services);
    let mut seen = vec![Seen::No; services.len()];
    for root in by_position(services) {
        if seen[root] == Seen::No
            && let Some(circle) = walk(root, &edges, &mut seen)
        {
            report(services, &edges, &circle, scope);
        }
    }
    if raw.start_order.as_deref() == Some("position") {
        against_position(services, &edges, scope);
    }
}

/// A requirement: of which service, and its pointer below the requiring one.
struct Edge {
    to: usize,
    field: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    No,
    OnTheWay,
    Done,
}

fn by_position(services: &[RawService]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..services.len()).collect();
    order.sort_by_key(|index| (services[*index].position, *index));
    order
}

/// What each service requires; what does not exist, and itself, are other findings.
fn edges(services: &[RawService]) -> Vec<Vec<Edge>> {
    let names: BTreeMap<&str, usize> = services.iter().enumerate().rev().map(|(i, s)| (s.name.as_str(), i)).collect();
    let requirements = services.iter().enumerate().map(|(from, service)| {
        let plain = service.requirements.iter().enumerate();
        let plain = plain.map(|(i, name)| (name.as_str(), format!("/requirements/{i}")));
        let detailed = service.software_requirements.iter().enumerate();
        let detailed = detailed.map(|(i, r)| (r.name.as_str(), format!("/softwareRequirements/{i}/name")));
        let known = plain.chain(detailed).filter_map(|(name, field)| {
            let to = *names.get(name)?;
            (to != from).then_some(Edge { to, field })
        });
        known.collect()
    });
    requirements.collect()
}

/// A walk in depth from one service, without recursion: a file may chain thousands. Gives the first circle it closes,
/// as (service, edge) steps.
fn walk(root: usize, edges: &[Vec<Edge>], seen: &mut [Seen]) -> Option<Vec<(usize, usize)>> {
    let mut circle = None;
    let mut way: Vec<(usize, usize)> = vec![(root, 0)];
    seen[root] = Seen::OnTheWay;
    while let Some((at, next)) = way.last().copied() {
        let Some(edge) = edges[at].get(next) else {
            seen[at] = Seen::Done;
            way.pop();
            continue;
        };
        match seen[edge.to] {
            Seen::No => {
                seen[edge.to] = Seen::OnTheWay;
                way.push((edge.to, 0));
                continue;
            }
            Seen::OnTheWay if circle.is_none() => {
                let from = way.iter().position(|(service, _)| *service == edge.to);
                let from = from.expect("what is on the way is in it");
                circle = Some(way[from..].to_vec());
            }
            Seen::OnTheWay | Seen::Done => {}
        }
        if let Some((_, next)) = way.last_mut() {
            *next += 1;
        }
    }
    circle.map(|steps| rotate(steps, edges))
}

/// Every step with the edge that leads to the next one.
fn rotate(steps: Vec<(usize, usize)>, edges: &[Vec<Edge>]) -> Vec<(usize, usize)> {
    let count = steps.len();
    let with_edge = (0..count).map(|i| {
        let (from, _) = steps[i];
        let (to, _) = steps[(i + 1) % count];
        let edge = edges[from].iter().position(|edge| edge.to == to);
        (from, edge.expect("the way follows edges"))
    });
    with_edge.collect()
}

fn report(services: &[RawService], all: &[Vec<Edge>], circle: &[(usize, usize)], scope: &mut Scope<'_>) {
    let name = |index: usize| services[index].name.as_str();
    let mut path: Vec<&str> = circle.iter().map(|(service, _)| name(*service)).collect();
    path.push(path[0]);
    let message = format!("services require each other in a circle: {}", path.join(" → "));
    let place = |(from, edge): (usize, usize)| format!("/itemListElement/{from}{}", all[from][edge].field);
    let says = |(from, edge): (usize, usize)| format!("`{}` requires `{}`", name(from), name(all[from][edge].to));
    let mut diagnostic = Diagnostic::new(Code::RequirementCycle, message, &scope.at(&place(circle[0])));
    diagnostic = diagnostic.label(says(circle[0]));
    for step in circle.iter().skip(1).take(MOST_PLACES) {
        diagnostic = diagnostic.also(&scope.at(&place(*step)), says(*step));
    }
    scope.report.add(diagnostic.hint("remove one of these requirements"));
}

/// With `startOrder: position` a requirement on a later position is a circle with the order itself.
fn against_position(services: &[RawService], edges: &[Vec<Edge>], scope: &mut Scope<'_>) {
    for (from, service) in services.iter().enumerate() {
        for edge in &edges[from] {
            let later = &services[edge.to];
            if later.position > service.position {
                let message = format!(
                    "`{}` (position {}) starts before `{}` (position {}), which it requires",
                    service.name, service.position, later.name, later.position
                );
                let at = scope.at(&format!("/itemListElement/{from}{}", edge.field));
                let order = scope.at("/startOrder");
                let diagnostic = Diagnostic::new(Code::RequirementCycle, message, &at);
                let diagnostic = diagnostic.also(&order, "services start by position");
                scope.report.add(diagnostic.hint("swap the positions, or write `startOrder: dependencies`"));
            }
        }
    }
}
