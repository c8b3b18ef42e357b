//! The operator's configuration: what was written, made into what was meant.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use crate::diagnostic::code::Code;
use crate::diagnostic::{Diagnostic, Report};
use crate::files::SourceFile;
use crate::model::config::{Brake, Config, LogFormat, PasswordSource, Push, RegistryLogin, TlsFiles};
use crate::model::policy::{Allowance, Policy};
use crate::parse;
use crate::parse::raw::config::{RawConfig, RawPolicy, RawRegistry, RawTls};
use crate::parse::tree::{Tree, escape};

/// Reads the configuration. None when anything in it is wrong: half a configuration could allow what was not meant.
/// Paths are left as written.
pub fn config(file: &SourceFile) -> (Option<Config>, Report) {
    let (read, mut report) = parse::config(file);
    let config = read.map(|(raw, tree)| build(raw, &tree, &mut report));
    match report.has_errors() {
        true => (None, report),
        false => (config, report),
    }
}

/// The ledger's branch. `statusBranch` may say it, and nothing else yet.
const LEDGER_BRANCH: &str = "bayplan/status";

fn build(raw: RawConfig, tree: &Tree, report: &mut Report) -> Config {
    let default = Config::default();
    if raw.status_branch.as_deref().is_some_and(|branch| branch != LEDGER_BRANCH) {
        let message = format!("a ledger elsewhere than on the branch `{LEDGER_BRANCH}` is not supported yet");
        let hint = "leave `statusBranch` out";
        report.add(Diagnostic::new(Code::NotSupportedYet, message, &tree.of("/statusBranch")).hint(hint));
    }
    let brake = raw.brake.unwrap_or_default();
    let policy = raw.policy.unwrap_or_default();
    let seconds = |value: Option<f64>, default| value.map_or(default, Duration::from_secs_f64);
    Config {
        repository: raw.repository,
        branch: raw.branch,
        push: match raw.push.as_deref() {
            Some("never") => Push::Never,
            _ => Push::Auto,
        },
        poll_interval: seconds(raw.poll_interval, default.poll_interval),
        owner: raw.owner,
        lost_after: seconds(raw.lost_after, default.lost_after),
        brake: Brake {
            fleet_percent: brake.fleet_percent.unwrap_or(default.brake.fleet_percent),
            at_least: brake.at_least.unwrap_or(default.brake.at_least),
        },
        engines: raw.engines.into_iter().map(|(name, tls)| (name, tls_files(tls))).collect(),
        registries: registries(raw.registries, tree, report),
        policy: self::policy(&policy, tree, report),
        subnets: subnets(&raw.subnets, tree, report),
        log: match raw.log.as_deref() {
            Some("json") => LogFormat::Json,
            _ => LogFormat::Text,
        },
    }
}

fn tls_files(raw: RawTls) -> TlsFiles {
    TlsFiles { ca: raw.ca.into(), cert: raw.cert.into(), key: raw.key.into() }
}

fn registries(raw: BTreeMap<String, RawRegistry>, tree: &Tree, report: &mut Report) -> BTreeMap<String, RegistryLogin> {
    let mut logins = BTreeMap::new();
    for (registry, raw) in raw {
        let password = match (raw.password_file, raw.password_env) {
            (Some(file), None) => PasswordSource::File(file.into()),
            (None, Some(name)) => PasswordSource::Environment(name),
            (Some(_), Some(_)) | (None, None) => {
                let at = tree.of(&format!("/registries/{}", escape(&registry)));
                let message = format!("registry `{registry}` needs one of `passwordFile` and `passwordEnv`");
                report.add(Diagnostic::new(Code::BadValue, message, &at));
                continue;
            }
        };
        let username = raw.username;
        logins.insert(registry, RegistryLogin { username, password });
    }
    logins
}

fn policy(raw: &RawPolicy, tree: &Tree, report: &mut Report) -> Policy {
    for (index, path) in raw.bind_mounts.iter().enumerate() {
        let plain = path.starts_with('/') && !path.split('/').any(|part| part == ".." || part == ".");
        if !plain {
            let at = tree.of(&format!("/policy/bindMounts/{index}"));
            let message = "a path of `bindMounts` must be absolute, without `.` and `..`";
            report.add(Diagnostic::new(Code::BadValue, message, &at));
        }
    }
    let allowed = |allowance: &Allowance| raw.allow.iter().any(|text| text == allowance.as_str());
    Policy { bind_mounts: raw.bind_mounts.clone(), allow: Allowance::ALL.into_iter().filter(allowed).collect() }
}

fn subnets(raw: &[String], tree: &Tree, report: &mut Report) -> Vec<(Ipv4Addr, u8)> {
    let mut subnets = Vec::new();
    for (index, text) in raw.iter().enumerate() {
        match subnet(text) {
            Some(subnet) => subnets.push(subnet),
            None => {
                let at = tree.of(&format!("/subnets/{index}"));
                let message = "a subnet is an IPv4 network of at least a /24, such as `10.210.0.0/16`";
                report.add(Diagnostic::new(Code::BadAddress, message, &at));
            }
        }
    }
    subnets
}

fn subnet(text: &str) -> Option<(Ipv4Addr, u8)> {
    let (address, length) = text.split_once('/')?;
    let address: Ipv4Addr = address.parse().ok()?;
    let length: u8 = length.parse().ok()?;
    let host_bits = u32::MAX.checked_shr(u32::from(length)).unwrap_or(0);
    ((8..=24).contains(&length) && address.to_bits() & host_bits == 0).then_some((address, length))
}

#[cfg(test)]
mod tests {
    use super::config;
    use crate::files::SourceFile;
    use crate::model::config::Config;

    fn file(text: &str) -> SourceFile {
        SourceFile { path: "bayplan.yaml".into(), blob: "".into(), text: text.into() }
    }

    #[test]
    fn an_empty_mapping_is_the_safe_default() {
        let (read, report) = config(&file("{}"));
        assert!(report.is_empty(), "{report:?}");
        assert_eq!(read, Some(Config::default()));
    }

    #[test]
    fn every_field_is_read() {
        let text = "
repository: https://git.example/ops.git
branch: main
statusBranch: bayplan/status
push: never
pollInterval: 5
owner: ops
lostAfter: 30
brake: {fleetPercent: 10, atLeast: 1}
engines: {'tcp://10.0.0.1:2376': {ca: ca.pem, cert: cert.pem, key: key.pem}}
registries: {ghcr.io: {username: bot, passwordEnv: GHCR}}
policy: {allow: [privileged], bindMounts: [/srv]}
subnets: [10.210.0.0/16]
log: json
";
        let (read, report) = config(&file(text));
        assert!(report.is_empty(), "{report:?}");
        let read = read.expect("a configuration");
        assert!(read.policy.allows_bind("/srv/x") && read.policy.allow.len() == 1);
        assert_eq!((read.brake.at_least, read.subnets.len(), read.registries.len()), (1, 1, 1));
    }

    #[test]
    fn a_wrong_part_refuses_the_whole() {
        for text in [
            "polcy: {}",
            "statusBranch: bayplan/live",
            "subnets: [10.0.0.1/16]",
            "registries: {a: {username: x}}",
            "policy: {bindMounts: [srv]}",
            "brake: 3",
        ] {
            assert_eq!(config(&file(text)).0, None, "{text}");
        }
    }
}
