//! Tells what a commit of the ledger changed.
//!
//! Takes what the commit and its parent say of one stack, or of the hosts. Gives what happened, to which instances, for
//! which revision and why.
//!
//! Never reads the commit's sentence: it is for people, and its words may change.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::record::{Condition, Deployment, HostRecord, InstanceHealth, InstanceRecord, Record, StackStatus};
use crate::name::{Digest, HostName, InstanceId, Revision, ServiceName, StackSlug};

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The commit of the ledger.
    pub commit: Revision,
    /// Of that commit; seconds since 1970, UTC.
    pub at: i64,
    /// None: it concerns hosts, or the ledger itself.
    pub stack: Option<StackSlug>,
    pub happened: Happened,
    /// The commit's sentence.
    pub message: String,
    /// `Bayplan-…` keys and their values, in order.
    pub trailers: Vec<(String, String)>,
}

impl Entry {
    /// The value of a trailer of the commit.
    pub fn trailer(&self, name: &str) -> Option<&str> {
        self.trailers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happened {
    pub what: What,
    /// The stack's revision that it is about; of a removal, the commit that it is done for.
    pub revision: Option<Revision>,
    /// Instances that came, went, or run on another host; in order of their ids.
    pub moves: Vec<Move>,
    /// What changed where.
    pub touched: BTreeSet<Touched>,
    /// What the record gives as the reason; empty where it gives none.
    pub reason: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    Deploying,
    /// Its end was begun: nothing of it shall run.
    Removing,
    Runs,
    Degraded,
    Held,
    Failed,
    RolledBack,
    Removed,
    /// Something else of the record changed: a condition, a permission, what is known of a container.
    Noted,
    /// What is known of hosts changed, and no stack.
    Measured,
    /// Two ledgers that had parted were joined; what each of them says is told of its own commits.
    Joined,
    /// The record is broken, or of a newer program.
    Unreadable,
}

impl What {
    /// As it is shown; stable.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deploying => "deploying",
            Self::Removing => "removing",
            Self::Runs => "runs",
            Self::Degraded => "degraded",
            Self::Held => "held",
            Self::Failed => "failed",
            Self::RolledBack => "rolled-back",
            Self::Removed => "removed",
            Self::Noted => "noted",
            Self::Measured => "measured",
            Self::Joined => "joined",
            Self::Unreadable => "unreadable",
        }
    }
}

impl What {
    fn of(record: &Record) -> Self {
        match record.status {
            StackStatus::Deploying if record.next.is_none() => Self::Removing,
            StackStatus::Deploying => Self::Deploying,
            StackStatus::Running => Self::Runs,
            StackStatus::Degraded => Self::Degraded,
            StackStatus::Held => Self::Held,
            StackStatus::Failed => Self::Failed,
            StackStatus::RolledBack => Self::RolledBack,
        }
    }
}

/// Where an instance ran before, and where it runs after.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Move {
    pub instance: InstanceId,
    /// None: it is new.
    pub from: Option<HostName>,
    /// None: it is gone.
    pub to: Option<HostName>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Touched {
    pub host: HostName,
    /// None: the host itself.
    pub instance: Option<InstanceId>,
}

impl Happened {
    /// The part of it that concerns a service and a host; none when nothing of it does.
    pub fn within(mut self, service: Option<&ServiceName>, host: Option<&HostName>) -> Option<Self> {
        if service.is_none() && host.is_none() {
            return Some(self);
        }
        let of_service = |id: &InstanceId| service.is_none_or(|service| id.service == *service);
        self.touched.retain(|touched| {
            host.is_none_or(|host| touched.host == *host)
                && touched.instance.as_ref().map_or(service.is_none(), of_service)
        });
        self.moves.retain(|moved| {
            let there = |side: &Option<HostName>| host.is_none_or(|host| side.as_ref() == Some(host));
            of_service(&moved.instance) && (there(&moved.from) || there(&moved.to))
        });
        (!self.touched.is_empty()).then_some(self)
    }
}

type Instances<'r> = BTreeMap<&'r InstanceId, &'r InstanceRecord>;

/// What became of a stack. None: the record says the same as before.
pub fn of_stack(before: Option<&Record>, after: Option<&Record>) -> Option<Happened> {
    if before == after {
        return None;
    }
    let what = match (before, after) {
        (_, None) => What::Removed,
        (None, Some(after)) => What::of(after),
        (Some(before), Some(after)) => changed(before, after),
    };
    let (ran, runs) = (running(before), running(after));
    let mut touched = differing(&ran, &runs, of_container);
    touched.extend(differing(&begun(before), &begun(after), |instance| &instance.digest));
    if what == What::RolledBack && touched.is_empty() {
        // All of it is what it was before, which concerns each.
        touched = differing(&Instances::new(), &runs, of_container);
    }
    let said = after.map_or(&[][..], |after| &after.conditions);
    Some(Happened {
        what,
        revision: revision(what, before, after),
        moves: moves(&ran, &runs),
        touched,
        reason: reason(said),
    })
}

/// What became known of hosts. None: the same as before.
pub fn of_hosts(before: &BTreeMap<HostName, HostRecord>, after: &BTreeMap<HostName, HostRecord>) -> Option<Happened> {
    let names: BTreeSet<&HostName> = before.keys().chain(after.keys()).collect();
    let changed: Vec<&HostName> = names.into_iter().filter(|name| before.get(*name) != after.get(*name)).collect();
    if changed.is_empty() {
        return None;
    }
    let condition = |name: &HostName| {
        let now = after.get(name).map(|host| host.condition);
        (now != before.get(name).map(|host| host.condition)).then(|| match now {
            Some(condition) => format!("{name} is {}", condition.as_str()),
            None => format!("{name} is gone"),
        })
    };
    let reason: Vec<String> = changed.iter().filter_map(|name| condition(name)).collect();
    Some(Happened {
        what: What::Measured,
        revision: None,
        moves: Vec::new(),
        touched: changed.into_iter().map(|name| Touched { host: name.clone(), instance: None }).collect(),
        reason: reason.join(", "),
    })
}

/// That something happened of which the records say nothing.
pub fn only(what: What, reason: String) -> Happened {
    Happened { what, revision: None, moves: Vec::new(), touched: BTreeSet::new(), reason }
}

fn changed(before: &Record, after: &Record) -> What {
    type Places<'d> = (&'d Revision, &'d Digest, Vec<(&'d InstanceId, &'d HostName)>);
    fn places(deployment: &Option<Deployment>) -> Option<Places<'_>> {
        let deployment = deployment.as_ref()?;
        let hosts: Vec<_> = deployment.instances.iter().map(|(id, instance)| (id, &instance.host)).collect();
        Some((&deployment.revision, &deployment.content, hosts))
    }
    let same_places = places(&before.running) == places(&after.running) && places(&before.next) == places(&after.next);
    if before.status != after.status || !same_places {
        return What::of(after);
    }
    let is_said_anew = before.conditions != after.conditions || before.bad != after.bad;
    match after.status {
        StackStatus::Degraded | StackStatus::Held | StackStatus::Failed if is_said_anew => What::of(after),
        StackStatus::Deploying
        | StackStatus::Running
        | StackStatus::RolledBack
        | StackStatus::Degraded
        | StackStatus::Held
        | StackStatus::Failed => What::Noted,
    }
}

/// What is begun shows in `next`; once it has failed, only the record before names it.
fn revision(what: What, before: Option<&Record>, after: Option<&Record>) -> Option<Revision> {
    let next = |record: Option<&Record>| Some(record?.next.as_ref()?.revision.clone());
    let running = |record: Option<&Record>| Some(record?.running.as_ref()?.revision.clone());
    match what {
        What::Deploying | What::Held | What::Noted => next(after).or_else(|| running(after)),
        What::Failed | What::Degraded => next(after).or_else(|| next(before)).or_else(|| running(after)),
        What::Runs | What::RolledBack => running(after),
        What::Removing | What::Removed | What::Measured | What::Joined | What::Unreadable => None,
    }
}

fn running(record: Option<&Record>) -> Instances<'_> {
    record.iter().flat_map(|record| &record.running).flat_map(|running| &running.instances).collect()
}

fn moves(ran: &Instances<'_>, runs: &Instances<'_>) -> Vec<Move> {
    let ids: BTreeSet<&InstanceId> = ran.keys().chain(runs.keys()).copied().collect();
    let host = |instances: &Instances<'_>, id: &InstanceId| instances.get(id).map(|instance| instance.host.clone());
    let all = ids.into_iter().map(|id| Move { instance: id.clone(), from: host(ran, id), to: host(runs, id) });
    all.filter(|moved| moved.from != moved.to).collect()
}

/// The instances of what is begun that are not what runs.
fn begun(record: Option<&Record>) -> Instances<'_> {
    let runs = running(record);
    let is_new = |id: &InstanceId, next: &InstanceRecord| {
        runs.get(id).is_none_or(|runs| runs.host != next.host || runs.digest != next.digest)
    };
    let next = record.iter().flat_map(|record| &record.next).flat_map(|next| &next.instances);
    next.filter(|(id, instance)| is_new(id, instance)).collect()
}

fn of_container(instance: &InstanceRecord) -> (&Digest, Option<&str>, InstanceHealth) {
    (&instance.digest, instance.container.as_deref(), instance.health)
}

/// Where something differs: on both hosts of an instance that moved.
fn differing<'r, T: PartialEq>(
    before: &Instances<'r>,
    after: &Instances<'r>,
    of: impl Fn(&'r InstanceRecord) -> T,
) -> BTreeSet<Touched> {
    let at = |instances: &Instances<'r>, id: &InstanceId| instances.get(id).map(|found| (&found.host, of(found)));
    let ids = before.keys().chain(after.keys()).filter(|id| at(before, id) != at(after, id));
    let places = ids.flat_map(|id| {
        let hosts = [before, after].into_iter().filter_map(move |side| side.get(*id));
        hosts.map(move |found| Touched { host: found.host.clone(), instance: Some((*id).clone()) })
    });
    places.collect()
}

/// The condition that counts: what failed, else the first.
pub(super) fn reason(conditions: &[Condition]) -> String {
    let failed = conditions.iter().find(|condition| condition.name == "failed");
    failed.or(conditions.first()).map_or_else(String::new, |condition| condition.message.clone())
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::net::{IpAddr, Ipv4Addr};

    use super::{Happened, Move, What, of_stack};
    use crate::model::record::{Condition, Deployment, InstanceHealth, InstanceRecord, Record, StackStatus};
    use crate::model::request::ResolvedImage;
    use crate::model::stack::Strategy;
    use crate::name::{Digest, HostName, InstanceId, Revision, ServiceName, StackName};

    fn host(name: &str) -> HostName {
        HostName::new(name).expect("a name")
    }

    fn id(service: &str) -> InstanceId {
        let stack = StackName::new("shop").expect("a name").slug().clone();
        InstanceId { stack, service: ServiceName::new(service).expect("a name"), number: 1 }
    }

    fn deployment(number: u8, services: &[(&str, &str)]) -> Deployment {
        let instance = |on: &str| InstanceRecord {
            host: host(on),
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            container: Some(format!("{on}-{number}")),
            image: "web".to_owned(),
            resolved: ResolvedImage::Local("sha256:1".to_owned()),
            digest: Digest::of(&[number]),
            ports: Vec::new(),
            health: InstanceHealth::Healthy,
            reason: String::new(),
        };
        Deployment {
            revision: Revision::new(&format!("{number:040x}")).expect("forty digits"),
            content: Digest::of(&[number]),
            files: vec!["stacks/shop.yaml".to_owned()],
            placement: Strategy::Auto,
            datacenter: None,
            instances: services.iter().map(|(service, on)| (id(service), instance(on))).collect(),
        }
    }

    fn record(status: StackStatus, running: Option<Deployment>, next: Option<Deployment>) -> Record {
        Record {
            name: StackName::new("shop").expect("a name"),
            status,
            running,
            next,
            bad: BTreeMap::new(),
            actions: BTreeSet::new(),
            accepted: BTreeSet::new(),
            superseded: BTreeMap::new(),
            conditions: Vec::new(),
        }
    }

    fn told(before: Option<&Record>, after: Option<&Record>) -> (What, Option<String>, Vec<String>) {
        let Happened { what, revision, moves, .. } = of_stack(before, after).expect("something happened");
        let side = |host: Option<HostName>| host.map_or("-".to_owned(), |host| host.to_string());
        let moves = moves.into_iter().map(|Move { instance, from, to }| {
            format!("{}-{}: {} -> {}", instance.service, instance.number, side(from), side(to))
        });
        (what, revision.map(|revision| revision.as_str()[39..].to_owned()), moves.collect())
    }

    #[test]
    fn a_first_deployment_comes_to_its_hosts_when_it_runs_and_not_when_it_is_begun() {
        let shop = deployment(1, &[("web", "a"), ("db", "b")]);
        let begun = record(StackStatus::Deploying, None, Some(shop.clone()));
        assert_eq!(told(None, Some(&begun)), (What::Deploying, Some("1".to_owned()), vec![]));
        let runs = record(StackStatus::Running, Some(shop), None);
        let came = vec!["db-1: - -> b".to_owned(), "web-1: - -> a".to_owned()];
        assert_eq!(told(Some(&begun), Some(&runs)), (What::Runs, Some("1".to_owned()), came));
        assert_eq!(of_stack(Some(&runs), Some(&runs)), None);
    }

    #[test]
    fn a_failure_names_the_revision_that_failed_and_the_way_back_the_one_that_runs() {
        let (good, bad) = (deployment(1, &[("web", "a")]), deployment(2, &[("web", "a")]));
        let begun = record(StackStatus::Deploying, Some(good.clone()), Some(bad));
        let mut failed = record(StackStatus::Failed, Some(good.clone()), None);
        let said = |name: &str, message: &str| Condition {
            name: name.to_owned(),
            reason: "x".to_owned(),
            message: message.to_owned(),
        };
        failed.conditions = vec![said("degraded", "other"), said("failed", "web-1 was unhealthy")];
        assert_eq!(told(Some(&begun), Some(&failed)), (What::Failed, Some("2".to_owned()), vec![]));
        let happened = of_stack(Some(&begun), Some(&failed)).expect("something");
        assert_eq!(happened.reason, "web-1 was unhealthy");
        let back = record(StackStatus::RolledBack, Some(good), None);
        assert_eq!(told(Some(&failed), Some(&back)), (What::RolledBack, Some("1".to_owned()), vec![]));
    }

    #[test]
    fn what_moves_leaves_one_host_and_comes_to_another() {
        let before = record(StackStatus::Running, Some(deployment(1, &[("web", "a"), ("db", "b")])), None);
        let mut moved = deployment(1, &[("web", "c"), ("db", "b")]);
        moved.revision = Revision::new(&"7".repeat(40)).expect("forty digits");
        let after = record(StackStatus::Running, Some(moved), None);
        let (what, _, moves) = told(Some(&before), Some(&after));
        assert_eq!((what, moves), (What::Runs, vec!["web-1: a -> c".to_owned()]));
        let happened = of_stack(Some(&before), Some(&after)).expect("something");
        for (on, concerned) in [("a", true), ("b", false), ("c", true)] {
            assert_eq!(happened.clone().within(None, Some(&host(on))).is_some(), concerned, "{on}");
        }
        let db = ServiceName::new("db").expect("a name");
        assert_eq!(happened.within(Some(&db), None), None);
    }

    #[test]
    fn what_is_begun_concerns_the_hosts_where_something_is_made() {
        let running = deployment(1, &[("web", "a"), ("db", "b")]);
        let mut next = deployment(1, &[("web", "c"), ("db", "b")]);
        next.content = Digest::of(b"other");
        let before = record(StackStatus::Running, Some(running.clone()), None);
        let begun = record(StackStatus::Deploying, Some(running), Some(next));
        let happened = of_stack(Some(&before), Some(&begun)).expect("something");
        assert!(happened.clone().within(None, Some(&host("c"))).is_some());
        assert!(happened.within(None, Some(&host("b"))).is_none());
    }

    #[test]
    fn a_removal_leaves_every_host_and_a_note_is_no_deployment() {
        let shop = deployment(1, &[("web", "a")]);
        let runs = record(StackStatus::Running, Some(shop), None);
        let ends = record(StackStatus::Deploying, runs.running.clone(), None);
        assert_eq!(told(Some(&runs), Some(&ends)), (What::Removing, None, vec![]));
        assert_eq!(told(Some(&runs), None), (What::Removed, None, vec!["web-1: a -> -".to_owned()]));
        let mut noted = runs.clone();
        noted.accepted.insert(id("web"));
        assert_eq!(told(Some(&runs), Some(&noted)).0, What::Noted);
        let mut held = record(StackStatus::Held, runs.running.clone(), None);
        let first = held.clone();
        held.conditions = vec![Condition { name: "held".into(), reason: "x".into(), message: "y".into() }];
        assert_eq!(told(Some(&first), Some(&held)).0, What::Held);
    }
}
