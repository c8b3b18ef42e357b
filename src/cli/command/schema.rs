//! `bayplan schema`: the published schemas, for editors and for other programs.

use crate::cli::args::SchemaName;
use crate::cli::exit::Exit;
use crate::cli::out;
use crate::parse::schema;

/// The files of the status branch; this program writes them and needs no schema to read them.
const STATUS: &str = include_str!("../../../schemas/status.schema.json");

pub fn print(name: SchemaName) -> Exit {
    out::say(text(name));
    Exit::AsAsked
}

/// The text of a schema.
pub fn text(name: SchemaName) -> &'static str {
    let published = |name| schema::text(name).expect("a published schema");
    match name {
        SchemaName::Stack => published("stack"),
        SchemaName::Host => published("host"),
        SchemaName::Config => published("config"),
        SchemaName::Status => STATUS,
    }
}
