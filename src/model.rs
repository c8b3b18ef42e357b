//! What was meant: the values that every later stage works on.
//!
//! Gives types only. [`stack`] and [`host`] are what the repository asks for, [`request`] is what an engine is asked
//! for, [`world`] is what engines were seen to hold, [`record`] is what the ledger says, [`mapping`] is where
//! instances go, [`config`] and in it [`policy`] are what the operator decides.
//!
//! Never holds a value that validation could still refuse.

pub mod config;
pub mod desired;
pub mod host;
pub mod mapping;
pub mod policy;
pub mod record;
pub mod request;
pub mod stack;
pub mod world;
