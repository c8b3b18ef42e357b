//! The ledger's files as they are written, one to one with `schemas/status.schema.json`.
//!
//! Never accepts a field that it does not know: what a newer program wrote must not get lost by being rewritten.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// `status/<stack>.json`. The fields from `revision` to `itemListElement` are what last ran healthy as a whole; all of
/// them are absent when nothing has.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct StackFile {
    #[serde(rename = "@context")]
    pub(super) context: SchemaOrg,
    #[serde(rename = "@type")]
    pub(super) kind: ItemList,
    pub(super) version: u32,
    pub(super) name: String,
    pub(super) status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) revision: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) files: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) placement: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) datacenter: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) host_mapping: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) item_list_element: Option<Vec<Instance>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next: Option<Deployment>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) bad_content: Vec<BadContent>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) actions_done: Vec<ActionDone>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) accepted_removals: Vec<AcceptedRemoval>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) superseded_images: Vec<SupersededImages>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) conditions: Vec<Condition>,
}

/// One content of a stack on its hosts.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Deployment {
    #[serde(rename = "@type")]
    pub(super) kind: ItemList,
    pub(super) revision: String,
    pub(super) content: String,
    pub(super) files: Vec<String>,
    pub(super) placement: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) datacenter: Option<String>,
    pub(super) host_mapping: Vec<String>,
    pub(super) item_list_element: Vec<Instance>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Instance {
    #[serde(rename = "@type")]
    pub(super) kind: SoftwareApplication,
    pub(super) name: String,
    pub(super) instance: u32,
    pub(super) host: String,
    pub(super) address: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) container: Option<String>,
    pub(super) image: String,
    pub(super) resolved_image: String,
    pub(super) digest: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) ports: Vec<Port>,
    pub(super) health: String,
    pub(super) reason: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Port {
    pub(super) container_port: u16,
    pub(super) host_port: u16,
    pub(super) protocol: String,
    pub(super) host_ip: IpAddr,
    pub(super) origin: PortOrigin,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum PortOrigin {
    Explicit,
    Chosen,
    ForOthers,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct BadContent {
    pub(super) content: String,
    pub(super) reason: String,
    /// Absent: `rollback`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) on_failure: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) hosts: Vec<HostThen>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct HostThen {
    pub(super) name: String,
    pub(super) digest: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ActionDone {
    pub(super) service: String,
    pub(super) action: String,
    pub(super) digest: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct AcceptedRemoval {
    pub(super) service: String,
    pub(super) instance: u32,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SupersededImages {
    pub(super) host: String,
    pub(super) images: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Condition {
    pub(super) name: String,
    pub(super) reason: String,
    pub(super) message: String,
}

/// `hosts.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct HostsFile {
    #[serde(rename = "@context")]
    pub(super) context: SchemaOrg,
    #[serde(rename = "@type")]
    pub(super) kind: ItemList,
    pub(super) version: u32,
    pub(super) owner: String,
    pub(super) item_list_element: Vec<Host>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Host {
    #[serde(rename = "@type")]
    pub(super) kind: ComputerSystem,
    pub(super) name: String,
    pub(super) ip_address: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) endpoint: Option<String>,
    pub(super) condition: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) facts: Option<Facts>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) taken_ports: Vec<TakenPort>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) volumes: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Facts {
    pub(super) cpu_millis: u64,
    pub(super) memory_bytes: u64,
    pub(super) cpu_used_percent: u8,
    pub(super) memory_used_percent: u8,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct TakenPort {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) host_ip: Option<IpAddr>,
    pub(super) host_port: u16,
    pub(super) protocol: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum SchemaOrg {
    #[serde(rename = "https://schema.org")]
    SchemaOrg,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ItemList {
    ItemList,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum SoftwareApplication {
    SoftwareApplication,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ComputerSystem {
    ComputerSystem,
}

/// The one field that every version has.
#[derive(Debug, Deserialize)]
pub(super) struct Versioned {
    pub(super) version: u64,
}

/// Every file has a version.
pub(super) trait File {
    fn version(&self) -> u32;
}

impl File for StackFile {
    fn version(&self) -> u32 {
        self.version
    }
}

impl File for HostsFile {
    fn version(&self) -> u32 {
        self.version
    }
}
