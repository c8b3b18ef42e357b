//! Stories on real engines: few and long. Afterwards our own planner must find nothing to do.

#[path = "support/fleet.rs"]
mod fleet;
#[path = "support/repository.rs"]
mod repository;
#[path = "support/site.rs"]
mod site;
#[path = "support/stage.rs"]
mod stage;

#[path = "stories/audit.rs"]
mod audit;
#[path = "stories/conflicts.rs"]
mod conflicts;
#[path = "stories/failure.rs"]
mod failure;
#[path = "stories/health.rs"]
mod health;
#[path = "stories/hosts.rs"]
mod hosts;
#[path = "stories/loss.rs"]
mod loss;
#[path = "stories/pull.rs"]
mod pull;
#[path = "stories/removal.rs"]
mod removal;
#[path = "stories/seed.rs"]
mod seed;
#[path = "stories/strategies.rs"]
mod strategies;
#[path = "stories/survives.rs"]
mod survives;
#[path = "stories/updates.rs"]
mod updates;
#[path = "stories/wrong.rs"]
mod wrong;
