//! What a change newly allows an instance to do, or others to do to it: what a reviewer must not overlook.
//!
//! Takes a change and the steps of its stack. Gives a sentence for each; none for what it was allowed before. Where that is
//! not known, everything counts as new.

use crate::model::request::{ContainerRequest, MountKind, NetworkAttachment};
use crate::model::stack::Access;
use crate::plan::StackPlan;
use crate::plan::change::{Before, Change};
use crate::plan::step::Act;

/// In the order in which a reviewer should see them. Empty where no container is made.
pub fn gained(change: &Change, stack: &StackPlan) -> Vec<String> {
    let mut steps = stack.steps.iter().filter(|step| step.instance.as_ref() == Some(&change.instance));
    let made = steps.find_map(|step| if let Act::Create(request) = &step.act { Some(request.as_ref()) } else { None });
    made.map(|request| of_request(change, request)).unwrap_or_default()
}

fn of_request(change: &Change, request: &ContainerRequest) -> Vec<String> {
    // What it had in a field before; none: the field is what it was.
    let before = |field: &str| match change.before {
        Before::Unknown => Some(""),
        Before::Known => {
            change.fields.iter().find(|f| f.name == field).map(|f| f.before.as_deref().unwrap_or_default())
        }
    };
    let mut gained = Vec::new();
    let mut add = |field: &str, values: &mut dyn Iterator<Item = (String, String)>| {
        let Some(before) = before(field) else { return };
        gained.extend(values.filter(|(value, _)| !had(before, value)).map(|(_, said)| said));
    };
    let settings = &request.settings;
    let each = |values: &[String], what: &str| -> Vec<(String, String)> {
        values.iter().map(|value| (value.clone(), format!("{what} {value}"))).collect()
    };
    if settings.privileged == Some(true) {
        add("privileged", &mut std::iter::once(("true".to_owned(), "is privileged".to_owned())));
    }
    if request.network == NetworkAttachment::Host {
        add("network", &mut std::iter::once(("(host)".to_owned(), "uses the host's own network".to_owned())));
    }
    add("capAdd", &mut each(&settings.cap_add, "capability").into_iter());
    add("devices", &mut each(&settings.devices, "device").into_iter());
    add("securityOpt", &mut each(&settings.security_opt, "security option").into_iter());
    let sysctls = settings.sysctls.iter();
    let sysctls = sysctls.map(|(name, value)| (format!("\"{name}\":\"{value}\""), format!("sysctl {name}={value}")));
    add("sysctls", &mut sysctls.into_iter());
    let binds = request.mounts.iter().filter_map(|mount| match &mount.kind {
        // As the request's parts write it: what was to be read only has one more member.
        MountKind::Bind(path) => Some(match mount.access {
            Access::ReadOnly => (format!("bind:{path}"), format!("the host's {path} at {}, to read", mount.target)),
            Access::ReadWrite => (
                format!("[\"bind:{path}\",\"{}\"]", mount.target),
                format!("the host's {path} at {}, to write", mount.target),
            ),
        }),
        MountKind::Volume(_) | MountKind::Tmpfs => None,
    });
    add("volumeMounts", &mut binds.into_iter());
    let ports = request.ports.iter().map(|port| {
        let (at, protocol) = (format!("{}:{}", port.host_ip, port.host_port), port.protocol.as_str());
        (
            format!("{at}->{}/{protocol}", port.container),
            format!("port {}/{protocol} published at {at}", port.container),
        )
    });
    add("ports", &mut ports.into_iter());
    if !request.image.contains('@') {
        add(
            "image",
            &mut std::iter::once((request.image.clone(), format!("image without a digest: {}", request.image))),
        );
    }
    gained
}

/// Whether a value is one of those that a field had, and not only a part of one.
fn had(before: &str, value: &str) -> bool {
    let ends = |c: Option<char>| c.is_none_or(|c| c.is_whitespace() || "\",[]{}".contains(c));
    before
        .match_indices(value)
        .any(|(at, _)| ends(before[..at].chars().next_back()) && ends(before[at + value.len()..].chars().next()))
}

#[cfg(test)]
mod tests {
    use super::had;

    #[test]
    fn a_part_of_what_was_allowed_was_not_allowed_itself() {
        assert!(had("NET_ADMIN SYS_TIME", "SYS_TIME"));
        assert!(!had("SYS_TIME_X", "SYS_TIME") && !had("web:10", "web:1"));
        let mounts = r#"[["bind:/srv/data","/data","ro"],["bind:/etc","/etc"]]"#;
        assert!(had(mounts, "bind:/srv/data") && had(mounts, r#"["bind:/etc","/etc"]"#));
        assert!(!had(mounts, "bind:/srv") && !had(mounts, r#"["bind:/srv/data","/data"]"#), "wider, or to write");
        assert!(had(r#"{"net.a":"1"}"#, r#""net.a":"1""#) && !had(r#"{"net.a":"1"}"#, r#""net.a":"2""#));
    }
}
