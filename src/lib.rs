//! Bayplan deploys stacks from a Git repository to plain Docker hosts.
//!
//! ```text
//! watch -> source -> parse -> validate -> model
//!                                           |
//!    +-> observe -> placement -> resolve -> plan -> apply -> status -> ledger
//!    +------------------------------------------------------------------+
//! ```
//!
//! One pass of this line is [`reconcile`]; [`controller`] runs passes for ever. Modules are listed by floor, in reading
//! order. A module imports lower floors only and, within a floor, only what is listed before it; `tests/tidy.rs` reads
//! the floors from the comments below.

// floor 0: words
pub mod secret;
pub mod causes;
pub mod moment;
pub mod name;
pub mod files;
pub mod diagnostic;

// floor 1: meaning
pub mod parse;
pub mod model;
pub mod validate;

// floor 2: decision
pub mod placement;
pub mod plan;
pub mod status;

// floor 3: doors
pub mod failpoint;
pub mod watch;
pub mod source;
pub mod engine;
pub mod ledger;
pub mod forge;
pub mod telemetry;

// floor 4: acts
pub mod observe;
pub mod apply;

// floor 5: loop
pub mod reconcile;
pub mod controller;

// floor 6: faces
pub mod web;
pub mod cli;
