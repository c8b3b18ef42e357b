//! Crashes on real engines: the program is killed at every step and at random, and started again.
//!
//! Needs a debug build, because a release has no points to die at (`src/failpoint.rs`), and the fleet.

#[path = "support/fleet.rs"]
mod fleet;
#[path = "support/repository.rs"]
mod repository;

#[path = "crash/every_step.rs"]
mod every_step;
#[path = "crash/picture.rs"]
mod picture;
#[path = "crash/program.rs"]
mod program;
#[path = "crash/random.rs"]
mod random;
#[path = "crash/scenarios.rs"]
mod scenarios;
#[path = "crash/witness.rs"]
mod witness;
