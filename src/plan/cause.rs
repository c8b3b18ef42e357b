//! Says what happens to a decided instance, and why: which field at which line, which requirement, which drift.

use crate::model::record::Deployment;
use crate::model::world::State;
use crate::name::ServiceName;
use crate::plan::change::{Before, Bucket, Cause, Change, FieldChange, Gap};
use crate::plan::connect::variable_name;
use crate::plan::decide::{Decided, Order, Scene};
use crate::plan::want::Why;
use crate::plan::{differ, order};

/// The change that a person reads.
pub fn change(scene: &Scene<'_>, one: &Decided<'_>) -> Change {
    let running = scene.record.and_then(|r| r.running.as_ref());
    let compared = match one.bucket {
        Bucket::Create | Bucket::Replace | Bucket::Move => changed_fields(scene, running, one),
        Bucket::Start | Bucket::Remove | Bucket::RunAction | Bucket::TakeName | Bucket::Keep => Some(Vec::new()),
    };
    let before = if compared.is_some() { Before::Known } else { Before::Unknown };
    let fields = compared.unwrap_or_default();
    let acts = order::actions_due(scene.input, &one.id, one.service, &one.digest).next().is_some();
    let bucket = if one.bucket == Bucket::Keep && acts { Bucket::RunAction } else { one.bucket };
    let gap = match (&one.takes_over, bucket, one.order, &one.one_at_a_time) {
        (Some(what), ..) => Gap::Gap(format!("takes over {what}, which is stopped first")),
        (None, Bucket::Replace | Bucket::Move, Order::StopFirst, Some(why)) if one.service.replicas == 1 => {
            Gap::Gap(why.clone())
        }
        // The others serve, but a request may meet the new one before it is healthy: it has the name from its start.
        (None, Bucket::Replace | Bucket::Move, Order::StopFirst, Some(why)) => {
            Gap::Gap(format!("one of {} instances at a time, as {why}", one.service.replicas))
        }
        _ => Gap::None,
    };
    let from = one
        .current
        .map(|found| found.ours.host.clone())
        .or_else(|| one.olds.first().map(|found| found.ours.host.clone()))
        .or_else(|| running.and_then(|r| r.instances.get(&one.id)).map(|recorded| recorded.host.clone()));
    Change {
        instance: one.id.clone(),
        bucket,
        cause: cause(scene, running, one, &fields, bucket),
        from,
        to: Some(one.placed.host.clone()),
        image: one.service.image.to_string(),
        fields,
        before,
        gap,
        why_there: one.placed.why.clone(),
        published: one
            .placed
            .ports
            .iter()
            .map(|port| format!("{}/{} at {}:{}", port.container, port.protocol.as_str(), port.host_ip, port.host_port))
            .collect(),
    }
}

/// None: what ran before is not known.
fn changed_fields(scene: &Scene<'_>, running: Option<&Deployment>, one: &Decided<'_>) -> Option<Vec<FieldChange>> {
    let running = running?;
    let before = match scene.input.before.get(scene.stack.name.slug()) {
        Some(before) => before,
        None if running.content == scene.stack.content => scene.stack,
        None => return None,
    };
    let request = differ::request_before(scene.input, before, running, &one.id)?;
    Some(differ::fields(&request, &one.request, scene.stack, one.service))
}

fn cause(
    scene: &Scene<'_>,
    running: Option<&Deployment>,
    one: &Decided<'_>,
    fields: &[FieldChange],
    bucket: Bucket,
) -> Cause {
    let recorded = running.and_then(|r| r.instances.get(&one.id));
    let is_as_recorded = recorded.is_some_and(|r| r.digest == one.digest && r.host == one.placed.host);
    if let (Why::BadContent(reason), false) = (scene.why, bucket == Bucket::Keep) {
        return Cause::RollBack(reason.clone());
    }
    match bucket {
        Bucket::Keep => Cause::Unchanged,
        Bucket::TakeName if is_as_recorded && one.olds.is_empty() => Cause::Drift(
            "its container is off the stack's network, has another name, or does not answer to its own".to_owned(),
        ),
        Bucket::TakeName => Cause::Unfinished,
        Bucket::RunAction => Cause::Changed(one.service.at.of("/potentialAction").clone()),
        Bucket::Remove => Cause::NotWanted("it is not asked for any more".to_owned()),
        Bucket::Start if is_as_recorded => Cause::Drift(format!("its container is {}", state_words(one))),
        Bucket::Create if is_as_recorded => Cause::Drift(format!("its container is gone from {}", one.placed.host)),
        Bucket::Create if recorded.is_none() => Cause::New(one.service.at.whole().clone()),
        Bucket::Replace if is_as_recorded => {
            Cause::Drift(format!("its container on {} is not the one that was left there", one.placed.host))
        }
        Bucket::Start => Cause::Unfinished,
        Bucket::Move => moved(scene, one),
        Bucket::Create | Bucket::Replace => replaced(one, fields),
    }
}

fn moved(scene: &Scene<'_>, one: &Decided<'_>) -> Cause {
    if one.service.target_host.is_some() {
        Cause::Changed(one.service.at.of("/targetHost").clone())
    } else if scene.stack.target_host.is_some() {
        Cause::Changed(scene.stack.at.of("/targetHost").clone())
    } else {
        Cause::Placed(one.placed.why.clone())
    }
}

fn replaced(one: &Decided<'_>, fields: &[FieldChange]) -> Cause {
    if let Some(at) = fields.iter().find_map(|field| field.at.clone()) {
        return Cause::Changed(at);
    }
    if let Some(field) = fields.iter().find(|field| field.name == "resolved") {
        return Cause::Requirement(format!(
            "{} means {} now",
            one.service.image,
            field.after.as_deref().unwrap_or("another image")
        ));
    }
    let reached = fields.iter().find_map(|field| {
        let variable = field.name.strip_prefix("environment.")?;
        let is_of = |service: &ServiceName| variable.starts_with(&variable_name(service.as_str()));
        let requirement = one.service.requirements.iter().find(|r| is_of(&r.service))?;
        Some(format!("{} is reached in another way now", requirement.service))
    });
    match reached {
        Some(text) => Cause::Requirement(text),
        None if fields.is_empty() => Cause::Changed(one.service.at.whole().clone()),
        None => Cause::Requirement("a service that it requires is reached in another way now".to_owned()),
    }
}

fn state_words(one: &Decided<'_>) -> String {
    match one.current.map(|c| c.container.state) {
        Some(State::Exited { code }) => format!("stopped (exit code {code})"),
        Some(State::Created) => "created and was never started".to_owned(),
        Some(State::Running | State::Paused | State::Restarting | State::Removing | State::Dead) | None => {
            "not running".to_owned()
        }
    }
}
