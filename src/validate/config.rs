//! The operator's configuration: what was written, made into what was meant.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use crate::diagnostic::code::Code;
use crate::diagnostic::{Diagnostic, Report};
use crate::files::SourceFile;
use crate::model::config::{
    Brake, Config, Forge, ForgeKind, LogFormat, Notes, PlanDigest, Provider, Push, RegistryLogin, RewrittenHistory,
    SecretSource, TlsFiles, Webhooks,
};
use crate::model::policy::{Allowance, Policy};
use crate::parse;
use crate::parse::raw::config::{RawConfig, RawForge, RawPolicy, RawRegistry, RawSecret, RawTls, RawWebhooks};
use crate::parse::tree::{Tree, escape};
use crate::validate::schedule::{Written, schedule};

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
        notes: match raw.notes {
            Some(true) => Notes::On,
            Some(false) | None => Notes::Off,
        },
        poll_interval: seconds(raw.poll_interval, default.poll_interval),
        rewritten_history: match raw.rewritten_history.as_deref() {
            Some("follow") => RewrittenHistory::Follow,
            _ => RewrittenHistory::Hold,
        },
        owner: raw.owner,
        answer_within: seconds(raw.answer_within, default.answer_within),
        lost_after: seconds(raw.lost_after, default.lost_after),
        brake: Brake {
            fleet_percent: brake.fleet_percent.unwrap_or(default.brake.fleet_percent),
            at_least: brake.at_least.unwrap_or(default.brake.at_least),
        },
        engines: raw.engines.into_iter().map(|(name, tls)| (name, tls_files(tls))).collect(),
        registries: registries(raw.registries, tree, report),
        policy: self::policy(&policy, tree, report),
        schedule: schedule(
            Written { time_zone: raw.time_zone.as_deref(), windows: raw.windows, freezes: raw.freezes },
            tree,
            report,
        ),
        suspended: raw.suspended,
        plan_digest: match raw.require_plan_digest {
            Some(true) => PlanDigest::Required,
            Some(false) | None => PlanDigest::NotNeeded,
        },
        subnets: subnets(&raw.subnets, tree, report),
        webhooks: raw.webhooks.and_then(|raw| webhooks(raw, tree, report)),
        forge: raw.forge.and_then(|raw| forge(raw, tree, report)),
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
            (Some(file), None) => SecretSource::File(file.into()),
            (None, Some(name)) => SecretSource::Environment(name),
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

/// None when the address is none; then there is a finding.
fn webhooks(raw: RawWebhooks, tree: &Tree, report: &mut Report) -> Option<Webhooks> {
    let given = [
        (Provider::Github, raw.github),
        (Provider::Gitlab, raw.gitlab),
        (Provider::Gitea, raw.gitea),
        (Provider::Bitbucket, raw.bitbucket),
        (Provider::Generic, raw.generic),
    ];
    let mut secrets = BTreeMap::new();
    for (provider, raw) in given {
        let Some(RawSecret { secret_file, secret_env }) = raw else { continue };
        match (secret_file, secret_env) {
            (Some(file), None) => secrets.insert(provider, SecretSource::File(file.into())),
            (None, Some(name)) => secrets.insert(provider, SecretSource::Environment(name)),
            (Some(_), Some(_)) | (None, None) => {
                let at = tree.of(&format!("/webhooks/{}", provider.as_str()));
                let message = format!("`{}` needs one of `secretFile` and `secretEnv`", provider.as_str());
                report.add(Diagnostic::new(Code::BadValue, message, &at));
                None
            }
        };
    }
    let Ok(listen) = raw.listen.parse() else {
        let message = "`listen` is an IP address and a port, such as `127.0.0.1:8787`";
        report.add(Diagnostic::new(Code::BadAddress, message, &tree.of("/webhooks/listen")));
        return None;
    };
    Some(Webhooks { listen, per_second: raw.per_second.unwrap_or(Webhooks::PER_SECOND), secrets })
}

/// None when something of it is wrong; then there is a finding.
fn forge(raw: RawForge, tree: &Tree, report: &mut Report) -> Option<Forge> {
    let mut wrong = |field: &str, message: &str| {
        report.add(Diagnostic::new(Code::BadValue, message, &tree.of(&format!("/forge{field}"))));
        None
    };
    let (kind, default) = match raw.kind.as_str() {
        "github" => (ForgeKind::Github, Some("https://github.com")),
        "gitlab" => (ForgeKind::Gitlab, Some("https://gitlab.com")),
        _ => (ForgeKind::Gitea, None),
    };
    let Some(url) = raw.url.or_else(|| default.map(str::to_owned)) else {
        return wrong("", "`gitea` needs a `url`: there are many");
    };
    if !is_forge_address(&url) {
        return wrong("/url", "`url` is the forge's address as in a browser, such as `https://git.example.org`");
    }
    if url.starts_with("http://") && !is_on_this_machine(&url) && raw.plain_http != Some(true) {
        return wrong(
            "/url",
            "over `http://` everybody on the way could read the token: use `https://`, or allow it with `plainHttp: true`",
        );
    }
    let is_repository = |text: &String| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let is_part = |part: &str| !part.is_empty() && part != "." && part != ".." && part.chars().all(is_plain);
        text.split('/').count() >= 2 && text.split('/').all(is_part)
    };
    if raw.repository.as_ref().is_some_and(|text| !is_repository(text)) {
        return wrong("/repository", "`repository` is `owner/name`");
    }
    let token = match (raw.token_file, raw.token_env) {
        (Some(file), None) => SecretSource::File(file.into()),
        (None, Some(name)) => SecretSource::Environment(name),
        (Some(_), Some(_)) | (None, None) => {
            return wrong("", "`forge` needs one of `tokenFile` and `tokenEnv`");
        }
    };
    Some(Forge { kind, url, repository: raw.repository, token, ca: raw.ca_file.map(Into::into) })
}

/// Scheme, host and perhaps a path; nothing that could hold a password or end in something else.
fn is_forge_address(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    rest.is_some_and(|rest| {
        !rest.is_empty()
            && !rest.starts_with('/')
            && rest.chars().all(|c| c.is_ascii_alphanumeric() || "-._~:/[]".contains(c))
    })
}

fn is_on_this_machine(url: &str) -> bool {
    let host = url.trim_start_matches("http://").split('/').next().unwrap_or_default();
    let host = host.rsplit_once(':').filter(|(_, port)| !port.contains(']')).map_or(host, |(host, _)| host);
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::config;
    use crate::files::SourceFile;
    use crate::model::config::{Config, ForgeKind, Notes};

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
notes: true
pollInterval: 5
owner: ops
lostAfter: 30
brake: {fleetPercent: 10, atLeast: 1}
engines: {'tcp://10.0.0.1:2376': {ca: ca.pem, cert: cert.pem, key: key.pem}}
registries: {ghcr.io: {username: bot, passwordEnv: GHCR}}
policy: {allow: [privileged], bindMounts: [/srv]}
subnets: [10.210.0.0/16]
timeZone: Europe/Berlin
windows: [{days: [mon, fri], from: '22:00', to: '02:00', stacks: [shop]}]
freezes: [{from: 2026-12-20, to: 2027-01-02, reason: Christmas}]
suspended: [blog]
requirePlanDigest: true
webhooks: {listen: '127.0.0.1:8787', perSecond: 5, github: {secretFile: hook}, generic: {secretEnv: HOOK}}
forge: {kind: gitlab, repository: ops/sub/fleet, tokenFile: token, caFile: ca.pem}
log: json
";
        let (read, report) = config(&file(text));
        assert!(report.is_empty(), "{report:?}");
        let read = read.expect("a configuration");
        assert!(read.policy.allows_bind("/srv/x") && read.policy.allow.len() == 1);
        assert_eq!((read.schedule.windows.len(), read.schedule.freezes.len(), read.suspended.len()), (1, 1, 1));
        assert_eq!(read.notes, Notes::On);
        let forge = read.forge.expect("a forge");
        assert_eq!((forge.kind, forge.url.as_str()), (ForgeKind::Gitlab, "https://gitlab.com"));
        let webhooks = read.webhooks.expect("webhooks");
        assert_eq!((webhooks.listen.port(), webhooks.per_second, webhooks.secrets.len()), (8787, 5, 2));
        assert_eq!((read.brake.at_least, read.subnets.len(), read.registries.len()), (1, 1, 1));
    }

    #[test]
    fn a_token_goes_over_plain_http_to_this_machine_or_where_it_is_allowed() {
        for (more, is_right) in [
            ("url: 'http://127.0.0.1:3000'", true),
            ("url: 'http://[::1]:3000/git'", true),
            ("url: 'http://localhost'", true),
            ("url: 'http://10.0.0.7:3000', plainHttp: true", true),
            ("url: 'http://10.0.0.7:3000'", false),
            ("url: 'http://localhost.example.org'", false),
        ] {
            let (read, _) = config(&file(&format!("forge: {{kind: gitea, tokenEnv: T, {more}}}")));
            assert_eq!(read.is_some(), is_right, "{more}");
        }
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
            "timeZone: Europe/Berln",
            "windows: [{from: '02:00', to: '25:00'}]",
            "windows: [{from: '02:00', to: '02:00'}]",
            "windows: [{days: [monday], from: '02:00', to: '03:00'}]",
            "freezes: [{from: 2026-12-32, to: 2027-01-02, reason: x}]",
            "freezes: [{from: 2027-12-20, to: 2027-01-02, reason: x}]",
            "forge: {kind: gitea, tokenEnv: T}",
            "forge: {kind: github}",
            "forge: {kind: github, tokenEnv: T, tokenFile: t}",
            "forge: {kind: gitea, tokenEnv: T, url: 'git.example.org'}",
            "forge: {kind: gitea, tokenEnv: T, url: 'https://me:pa55@git.example.org'}",
            "forge: {kind: gitea, tokenEnv: T, url: 'http://git.example.org'}",
            "forge: {kind: github, tokenEnv: T, repository: fleet}",
            "forge: {kind: github, tokenEnv: T, repository: '../fleet'}",
            "forge: {kind: sourcehut, tokenEnv: T}",
            "webhooks: {}",
            "webhooks: {listen: 'localhost:80'}",
            "webhooks: {listen: '127.0.0.1:80', github: {}}",
            "webhooks: {listen: '127.0.0.1:80', github: {secretFile: a, secretEnv: b}}",
        ] {
            assert_eq!(config(&file(text)).0, None, "{text}");
        }
    }
}
