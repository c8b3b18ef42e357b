//! What needs the operator's word: settings that give a container power over its host.
//!
//! Never judged by what the repository says of itself; each finding names the line of configuration that would allow it.

use super::scope::Scope;
use crate::diagnostic::code::Code;
use crate::model::policy::{Allowance, Policy};
use crate::parse::raw::stack::RawService;

/// Refuses the settings of a service that the policy does not allow.
pub fn settings(raw: &RawService, policy: &Policy, scope: &mut Scope<'_>) {
    for allowance in Allowance::ALL {
        let (field, used) = match allowance {
            Allowance::Privileged => ("privileged", raw.privileged == Some(true)),
            Allowance::CapAdd => ("capAdd", !raw.cap_add.is_empty()),
            Allowance::Devices => ("devices", !raw.devices.is_empty()),
            Allowance::SecurityOpt => ("securityOpt", !raw.security_opt.is_empty()),
            Allowance::Sysctls => ("sysctls", !raw.sysctls.is_empty()),
            Allowance::HostNetwork => ("networkMode", raw.network_mode.as_deref() == Some("host")),
        };
        if used && !policy.allow.contains(&allowance) {
            let shown = match allowance {
                Allowance::HostNetwork => "networkMode: host",
                Allowance::Privileged
                | Allowance::CapAdd
                | Allowance::Devices
                | Allowance::SecurityOpt
                | Allowance::Sysctls => field,
            };
            let message = format!("`{shown}` is not allowed here");
            let hint = format!("the operator's configuration would allow it: `policy.allow: [{}]`", allowance.as_str());
            scope.find_with_hint(Code::NotAllowed, message, &format!("/{field}"), hint);
        }
    }
}

/// Refuses a bind mount that no prefix of the policy covers.
pub fn bind(source: &str, policy: &Policy, scope: &mut Scope<'_>) {
    if policy.allows_bind(source) {
        return;
    }
    let message = format!("the bind mount of `{}` is not allowed here", source.escape_debug());
    let part = "/source";
    let dots = source.split('/').any(|part| part == "." || part == "..");
    let hint = match source.starts_with('/') && !dots {
        true => format!("the operator's configuration would allow it: `policy.bindMounts: [{source}]`"),
        false => "only absolute paths without `.` and `..` can be allowed".to_owned(),
    };
    scope.find_with_hint(Code::NotAllowed, message, part, hint);
}
