//! Stories on real engines: few and long. Afterwards our own planner must find nothing to do.

#[path = "support/fleet.rs"]
mod fleet;
#[path = "support/repository.rs"]
mod repository;
#[path = "support/site.rs"]
mod site;

#[path = "stories/seed.rs"]
mod seed;
