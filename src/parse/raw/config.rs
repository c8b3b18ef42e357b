//! The configuration as it was written; `schemas/config.schema.json` explains every field.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde::de::IgnoredAny;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawConfig {
    #[serde(rename = "$schema", default)]
    pub schema: Option<IgnoredAny>,
    pub repository: Option<String>,
    pub branch: Option<String>,
    pub status_branch: Option<String>,
    pub push: Option<String>,
    pub notes: Option<bool>,
    pub poll_interval: Option<f64>,
    pub rewritten_history: Option<String>,
    pub owner: Option<String>,
    pub answer_within: Option<f64>,
    pub lost_after: Option<f64>,
    pub brake: Option<RawBrake>,
    #[serde(default)]
    pub engines: BTreeMap<String, RawTls>,
    #[serde(default)]
    pub registries: BTreeMap<String, RawRegistry>,
    pub policy: Option<RawPolicy>,
    pub time_zone: Option<String>,
    #[serde(default)]
    pub windows: Vec<RawWindow>,
    #[serde(default)]
    pub freezes: Vec<RawFreeze>,
    #[serde(default)]
    pub suspended: BTreeSet<String>,
    pub require_plan_digest: Option<bool>,
    #[serde(default)]
    pub subnets: Vec<String>,
    pub webhooks: Option<RawWebhooks>,
    pub forge: Option<RawForge>,
    pub log: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawWindow {
    #[serde(default)]
    pub days: Vec<String>,
    pub from: String,
    pub to: String,
    #[serde(default)]
    pub stacks: BTreeSet<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawFreeze {
    pub from: String,
    pub to: String,
    pub reason: String,
    #[serde(default)]
    pub stacks: BTreeSet<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawBrake {
    pub fleet_percent: Option<u32>,
    pub at_least: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawTls {
    pub ca: String,
    pub cert: String,
    pub key: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawRegistry {
    pub username: String,
    pub password_file: Option<String>,
    pub password_env: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawWebhooks {
    pub listen: String,
    pub per_second: Option<u32>,
    pub github: Option<RawSecret>,
    pub gitlab: Option<RawSecret>,
    pub gitea: Option<RawSecret>,
    pub bitbucket: Option<RawSecret>,
    pub generic: Option<RawSecret>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawSecret {
    pub secret_file: Option<String>,
    pub secret_env: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawForge {
    pub kind: String,
    pub url: Option<String>,
    pub plain_http: Option<bool>,
    pub repository: Option<String>,
    pub token_file: Option<String>,
    pub token_env: Option<String>,
    pub ca_file: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawPolicy {
    #[serde(default)]
    pub allow: Vec<String>,
    #[serde(default)]
    pub bind_mounts: Vec<String>,
}
