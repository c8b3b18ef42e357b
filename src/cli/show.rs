//! Says things to people and to machines: values in, text out.
//!
//! Gives text with colours in it, which [`crate::cli::out`] takes away where nobody would see them; and JSON with a
//! `version`, so that a reader can tell when its shape changes.
//!
//! Never asks anything of the world, and never lets a text from a file or an engine control the terminal.

pub mod blame;
pub mod explain;
pub mod history;
pub mod hosts;
pub mod json;
pub mod log;
pub mod map;
pub mod markdown;
pub mod paint;
pub mod plan;
pub mod plan_json;
pub mod progress;
pub mod remedy;
pub mod rollback;
pub mod survives;
pub mod table;
pub mod verify;

/// The version of every JSON document that is printed.
pub const JSON_VERSION: u32 = 1;
