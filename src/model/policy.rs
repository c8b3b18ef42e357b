//! What the operator allows beyond the safe defaults. Nothing in the watched repository can widen it.

use std::collections::BTreeSet;

/// The default allows nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// Host paths below which bind mounts are allowed; absolute, without `..`.
    pub bind_mounts: Vec<String>,
    pub allow: BTreeSet<Allowance>,
}

/// A setting that gives a container power over its host, and so needs the operator's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Allowance {
    Privileged,
    CapAdd,
    Devices,
    SecurityOpt,
    Sysctls,
    HostNetwork,
}

impl Allowance {
    pub const ALL: [Self; 6] =
        [Self::Privileged, Self::CapAdd, Self::Devices, Self::SecurityOpt, Self::Sysctls, Self::HostNetwork];

    /// As the configuration writes it under `policy.allow`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Privileged => "privileged",
            Self::CapAdd => "capAdd",
            Self::Devices => "devices",
            Self::SecurityOpt => "securityOpt",
            Self::Sysctls => "sysctls",
            Self::HostNetwork => "hostNetwork",
        }
    }
}

impl Policy {
    /// Whether a bind mount of this absolute host path is allowed: the path is, or is below, an allowed one.
    pub fn allows_bind(&self, path: &str) -> bool {
        let plain = path.starts_with('/') && !path.split('/').any(|part| part == ".." || part == ".");
        plain
            && self.bind_mounts.iter().any(|prefix| {
                let prefix = prefix.trim_end_matches('/');
                path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::Policy;

    #[test]
    fn a_bind_mount_is_allowed_at_and_below_a_prefix_only() {
        let policy = Policy { bind_mounts: vec!["/srv/data/".to_owned()], ..Policy::default() };
        assert!(policy.allows_bind("/srv/data") && policy.allows_bind("/srv/data/x"));
        assert!(!policy.allows_bind("/srv/database"));
        assert!(!policy.allows_bind("/srv/data/../../etc"));
        assert!(!Policy::default().allows_bind("/srv"));
    }
}
