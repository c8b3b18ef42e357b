//! `bayplan demo`: the whole way, on this machine, with nothing prepared.
pub mod service;
use crate::cli::exit::Exit;
use crate::cli::trouble::Trouble;
pub enum Engines {
    DockerIfThere,
    InMemory,
}
pub enum End {
    CleanUp,
    Keep,
}
pub async fn demo(_e: Engines, _end: End) -> Result<Exit, Trouble> {
    Err(Trouble::usage("not built yet"))
}
pub async fn clean() -> Result<Exit, Trouble> {
    Err(Trouble::usage("not built yet"))
}
