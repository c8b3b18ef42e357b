//! What was written, one to one with the schemas: the types that files are read into.
//!
//! Never decides anything: defaults, units and meanings are `validate`'s.

pub mod config;
pub mod host;
pub mod stack;

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// A struct that also takes schema.org's informational properties of the given set, which nothing reads.
///
/// serde has no way to share fields that works with `deny_unknown_fields`, so they are written out here.
macro_rules! with_informational {
    (@emit [$($head:tt)*] {$($body:tt)*} $($name:ident $text:literal)*) => {
        $($head)* {
            $($body)*
            $(#[serde(rename = $text, default)] pub $name: Option<serde::de::IgnoredAny>,)*
        }
    };
    (thing $($extra:ident $text:literal)*; $(#[$meta:meta])* pub struct $type:ident { $($body:tt)* }) => {
        $crate::parse::raw::with_informational!(@emit
            [$(#[$meta])* #[derive(Debug, Clone, serde::Deserialize)] #[serde(rename_all = "camelCase", deny_unknown_fields)] pub struct $type]
            {$($body)*}
            additional_type "additionalType" alternate_name "alternateName" disambiguating_description "disambiguatingDescription"
            identifier "identifier" main_entity_of_page "mainEntityOfPage" same_as "sameAs" subject_of "subjectOf" url "url"
            $($extra $text)*
        );
    };
    (work $($extra:ident $text:literal)*; $(#[$meta:meta])* pub struct $type:ident { $($body:tt)* }) => {
        $crate::parse::raw::with_informational!(thing
            about "about" author "author" creator "creator" date_created "dateCreated" date_modified "dateModified"
            date_published "datePublished" in_language "inLanguage" keywords "keywords" license "license" maintainer "maintainer"
            provider "provider" publisher "publisher" version "version"
            $($extra $text)*;
            $(#[$meta])* pub struct $type { $($body)* }
        );
    };
}
pub(crate) use with_informational;

/// A text, or a number or boolean that stands for its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text(pub String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Text;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, a number or a boolean")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Text, E> {
                Ok(Text(text.to_owned()))
            }
            fn visit_bool<E: Error>(self, value: bool) -> Result<Text, E> {
                Ok(Text(value.to_string()))
            }
            fn visit_i64<E: Error>(self, value: i64) -> Result<Text, E> {
                Ok(Text(value.to_string()))
            }
            fn visit_u64<E: Error>(self, value: u64) -> Result<Text, E> {
                Ok(Text(value.to_string()))
            }
            fn visit_f64<E: Error>(self, value: f64) -> Result<Text, E> {
                Ok(Text(value.to_string()))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// A command: one line, or a list of arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Words {
    Line(String),
    List(Vec<String>),
}

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Words;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of texts")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Words, E> {
                Ok(Words::Line(text.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Words, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(Words::List(list))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// A limit: one number for both, or two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ulimit {
    pub soft: i64,
    pub hard: i64,
}

impl<'de> Deserialize<'de> for Ulimit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Ulimit;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, or `soft` and `hard`")
            }
            fn visit_i64<E: Error>(self, value: i64) -> Result<Ulimit, E> {
                Ok(Ulimit { soft: value, hard: value })
            }
            fn visit_u64<E: Error>(self, value: u64) -> Result<Ulimit, E> {
                let value = i64::try_from(value).map_err(|_| E::custom("the number is too large"))?;
                self.visit_i64(value)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Ulimit, A::Error> {
                let (mut soft, mut hard) = (None, None);
                while let Some(key) = entries.next_key::<String>()? {
                    match key.as_str() {
                        "soft" => soft = Some(entries.next_value()?),
                        "hard" => hard = Some(entries.next_value()?),
                        other => return Err(A::Error::unknown_field(other, &["soft", "hard"])),
                    }
                }
                Ok(Ulimit {
                    soft: soft.ok_or_else(|| A::Error::missing_field("soft"))?,
                    hard: hard.ok_or_else(|| A::Error::missing_field("hard"))?,
                })
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    use super::config::{RawBrake, RawConfig, RawForge, RawPolicy, RawRegistry, RawSecret, RawTls, RawWebhooks};
    use super::host::{RawHost, RawHosts, RawReserved};
    use super::stack::{
        RawAction, RawConstraints, RawHealthCheck, RawLogging, RawMount, RawNetwork, RawPort, RawRequirement,
        RawResources, RawService, RawStack, RawUpdate, RawVolume,
    };
    use crate::parse::schema;

    /// The names that a type takes, from what it says about one that it does not take.
    fn fields<T: DeserializeOwned>() -> BTreeSet<String> {
        let Err(error) = serde_json::from_value::<T>(json!({"no such field": 1})) else {
            panic!("the type takes unknown fields")
        };
        let said = error.to_string();
        let (_, expected) = said.split_once(", expected ").expect("the names it takes");
        expected.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    fn check<T: DeserializeOwned>(name: &str, pointer: &str) {
        let text = schema::text(name).expect("a schema");
        let schema: Value = serde_json::from_str(text).expect("JSON");
        let properties = schema.pointer(&format!("{pointer}/properties")).and_then(Value::as_object);
        let properties = properties.expect("a mapping with properties").keys().cloned().collect();
        assert_eq!(fields::<T>(), properties, "{name}{pointer}");
    }

    #[test]
    fn types_and_schemas_know_the_same_fields() {
        check::<RawStack>("stack", "");
        check::<RawNetwork>("stack", "/properties/network");
        check::<RawVolume>("stack", "/properties/volumes/items");
        check::<RawService>("stack", "/$defs/service");
        check::<RawLogging>("stack", "/$defs/service/properties/logging");
        check::<RawPort>("stack", "/$defs/port");
        check::<RawMount>("stack", "/$defs/mount");
        check::<RawHealthCheck>("stack", "/$defs/healthCheck");
        check::<RawRequirement>("stack", "/$defs/requirement");
        check::<RawAction>("stack", "/$defs/action");
        check::<RawResources>("stack", "/$defs/resources");
        check::<RawConstraints>("stack", "/$defs/constraints");
        check::<RawUpdate>("stack", "/$defs/update");
        check::<RawHost>("host", "/$defs/host");
        check::<RawHosts>("host", "/$defs/hosts");
        check::<RawReserved>("host", "/$defs/host/properties/reserved");
        check::<RawConfig>("config", "");
        check::<RawBrake>("config", "/properties/brake");
        check::<RawTls>("config", "/properties/engines/additionalProperties");
        check::<RawRegistry>("config", "/properties/registries/additionalProperties");
        check::<RawPolicy>("config", "/properties/policy");
        check::<RawWebhooks>("config", "/properties/webhooks");
        check::<RawSecret>("config", "/$defs/secret");
        check::<RawForge>("config", "/properties/forge");
    }
}
