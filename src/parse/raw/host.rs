//! A host file as it was written; `schemas/host.schema.json` explains every field.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{Text, with_informational};

with_informational! { work image "image" item_list_order "itemListOrder" number_of_items "numberOfItems";
    pub struct RawHosts {
        #[serde(rename = "$schema", default)]
        pub schema: Option<IgnoredAny>,
        #[serde(rename = "@context", default)]
        pub context: Option<IgnoredAny>,
        #[serde(rename = "@type", default)]
        pub kind: Option<IgnoredAny>,
        #[serde(rename = "@id", default)]
        pub id: Option<String>,
        pub name: Option<String>,
        pub description: Option<String>,
        pub item_list_element: Vec<RawHost>,
    }
}

with_informational! { thing
    brand "brand" category "category" date_created "dateCreated" date_modified "dateModified" image "image"
    keywords "keywords" manufacturer "manufacturer" model "model" owner "owner" provider "provider"
    serial_number "serialNumber" version "version";
    pub struct RawHost {
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
        pub ip_address: String,
        pub publish_address: Option<String>,
        pub cpu: Option<Text>,
        pub processor_count: Option<u32>,
        pub memory: Option<Text>,
        pub memory_size: Option<Text>,
        pub datacenter: Option<String>,
        pub location: Option<String>,
        pub status: Option<String>,
        #[serde(default)]
        pub labels: BTreeMap<String, Text>,
        pub endpoint: Option<String>,
        pub docker_socket: Option<String>,
        pub port_range: Option<String>,
        pub reserved: Option<RawReserved>,
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawReserved {
    pub cpu: Option<Text>,
    pub memory: Option<Text>,
}
