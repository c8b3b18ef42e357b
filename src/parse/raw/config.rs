//! The configuration as it was written; `schemas/config.schema.json` explains every field.

use std::collections::BTreeMap;

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
    pub poll_interval: Option<f64>,
    pub owner: Option<String>,
    pub lost_after: Option<f64>,
    pub brake: Option<RawBrake>,
    #[serde(default)]
    pub engines: BTreeMap<String, RawTls>,
    #[serde(default)]
    pub registries: BTreeMap<String, RawRegistry>,
    pub policy: Option<RawPolicy>,
    #[serde(default)]
    pub subnets: Vec<String>,
    pub log: Option<String>,
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

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawPolicy {
    #[serde(default)]
    pub allow: Vec<String>,
    #[serde(default)]
    pub bind_mounts: Vec<String>,
}
