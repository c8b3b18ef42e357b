//! A stack file as it was written; `schemas/stack.schema.json` explains every field.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{Text, Ulimit, Words, with_informational};

with_informational! { work image "image" item_list_order "itemListOrder" number_of_items "numberOfItems";
    pub struct RawStack {
        #[serde(rename = "$schema", default)]
        pub schema: Option<IgnoredAny>,
        #[serde(rename = "@context", default)]
        pub context: Option<IgnoredAny>,
        #[serde(rename = "@type", default)]
        pub kind: Option<IgnoredAny>,
        #[serde(rename = "@id", default)]
        pub id: Option<String>,
        pub name: String,
        pub description: Option<String>,
        pub placement: Option<String>,
        pub datacenter: Option<String>,
        pub target_host: Option<String>,
        #[serde(default)]
        pub host_mapping: BTreeMap<String, String>,
        pub network: Option<RawNetwork>,
        #[serde(default)]
        pub volumes: Vec<RawVolume>,
        pub start_order: Option<String>,
        pub suspended: Option<bool>,
        pub update: Option<RawUpdate>,
        pub on_host_loss: Option<String>,
        pub item_list_element: Vec<RawService>,
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawNetwork {
    #[serde(rename = "@type", default)]
    pub kind: Option<IgnoredAny>,
    pub name: String,
    pub driver: Option<String>,
    pub create_if_not_exists: Option<bool>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawVolume {
    #[serde(rename = "@type", default)]
    pub kind: Option<IgnoredAny>,
    pub name: String,
    pub driver: Option<String>,
    pub create_if_not_exists: Option<bool>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawUpdate {
    pub order: Option<String>,
    pub min_healthy: Option<f64>,
    pub deadline: Option<f64>,
    pub on_failure: Option<String>,
}

with_informational! { work
    application_sub_category "applicationSubCategory" download_url "downloadUrl" feature_list "featureList"
    operating_system "operatingSystem" release_notes "releaseNotes" software_help "softwareHelp";
    pub struct RawService {
        #[serde(rename = "@type", default)]
        pub kind: Option<IgnoredAny>,
        #[serde(rename = "@id", default)]
        pub id: Option<String>,
        pub position: u32,
        pub name: String,
        pub image: String,
        pub application_category: Option<String>,
        pub software_version: Option<Text>,
        pub description: Option<String>,
        #[serde(default)]
        pub environment: BTreeMap<String, Text>,
        #[serde(default)]
        pub ports: Vec<RawPort>,
        #[serde(default)]
        pub volume_mounts: Vec<RawMount>,
        pub health_check: Option<RawHealthCheck>,
        pub command: Option<Words>,
        pub entrypoint: Option<Words>,
        pub user: Option<Text>,
        pub working_dir: Option<String>,
        #[serde(default)]
        pub labels: BTreeMap<String, Text>,
        pub restart_policy: Option<String>,
        #[serde(default)]
        pub requirements: Vec<String>,
        #[serde(default)]
        pub software_requirements: Vec<RawRequirement>,
        #[serde(default)]
        pub potential_action: Vec<RawAction>,
        pub hostname: Option<String>,
        pub domainname: Option<String>,
        #[serde(default)]
        pub dns: Vec<String>,
        #[serde(default)]
        pub dns_search: Vec<String>,
        #[serde(default)]
        pub dns_options: Vec<String>,
        #[serde(default)]
        pub extra_hosts: Vec<String>,
        #[serde(default)]
        pub cap_add: Vec<String>,
        #[serde(default)]
        pub cap_drop: Vec<String>,
        #[serde(default)]
        pub devices: Vec<String>,
        #[serde(default)]
        pub security_opt: Vec<String>,
        #[serde(default)]
        pub sysctls: BTreeMap<String, Text>,
        #[serde(default)]
        pub group_add: Vec<Text>,
        #[serde(default)]
        pub ulimits: BTreeMap<String, Ulimit>,
        pub shm_size: Option<Text>,
        pub init: Option<bool>,
        pub read_only: Option<bool>,
        pub privileged: Option<bool>,
        pub tty: Option<bool>,
        pub stdin_open: Option<bool>,
        pub pids_limit: Option<i64>,
        pub oom_score_adj: Option<i64>,
        pub stop_signal: Option<String>,
        pub network_mode: Option<String>,
        pub logging: Option<RawLogging>,
        pub target_host: Option<String>,
        pub reason: Option<String>,
        pub resources: Option<RawResources>,
        pub constraints: Option<RawConstraints>,
        pub replicas: Option<u32>,
        pub stop_grace_period: Option<f64>,
        pub pull_policy: Option<String>,
        pub update: Option<RawUpdate>,
        pub on_host_loss: Option<String>,
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawPort {
    pub container_port: u16,
    pub host_port: Option<u16>,
    pub protocol: Option<String>,
    pub host_ip: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawMount {
    pub source: Option<String>,
    pub target: String,
    pub read_only: Option<bool>,
    #[serde(rename = "type")]
    pub kind: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawHealthCheck {
    #[serde(rename = "type")]
    pub kind: String,
    pub command: Option<Words>,
    pub path: Option<String>,
    pub port: Option<u16>,
    pub interval: Option<f64>,
    pub timeout: Option<f64>,
    pub retries: Option<u32>,
    pub start_period: Option<f64>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawRequirement {
    #[serde(rename = "@type", default)]
    pub kind: Option<IgnoredAny>,
    #[serde(rename = "@id", default)]
    pub id: Option<String>,
    pub name: String,
    pub description: Option<String>,
    pub wait_for_healthy: Option<bool>,
    pub remote_host: Option<String>,
    pub connection_string: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawAction {
    #[serde(rename = "@type", default)]
    pub kind: Option<IgnoredAny>,
    #[serde(rename = "@id", default)]
    pub id: Option<String>,
    pub name: String,
    pub description: Option<String>,
    pub action_type: Option<String>,
    pub target: Option<String>,
    pub command: Words,
    pub timeout: Option<f64>,
    pub working_directory: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawLogging {
    pub driver: String,
    #[serde(default)]
    pub options: BTreeMap<String, Text>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawResources {
    pub cpu: Option<Text>,
    pub memory: Option<Text>,
    pub cpu_limit: Option<Text>,
    pub memory_limit: Option<Text>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawConstraints {
    pub datacenter: Option<String>,
    #[serde(default)]
    pub labels: BTreeMap<String, Text>,
    pub min_cpu: Option<Text>,
    pub min_memory: Option<Text>,
    #[serde(default)]
    pub not_with: Vec<String>,
    #[serde(default)]
    pub not_on: Vec<String>,
}
