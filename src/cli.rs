//! The command line: what was written becomes a call, and its answer text and an exit code.
//!
//! Gives every face two renderings, for people and for programs. Each command is one small file in `command`; what is
//! shown is made in `show`, which does nothing else.
//!
//! Never decides anything about stacks or hosts.

mod args;
mod command;
mod demo;
mod exit;
mod open;
mod out;
pub mod show;
mod signals;
mod trouble;
mod which;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::args::{Cli, Command, Format, Global};
use crate::cli::command::logs::Until;
use crate::cli::command::plan::Differences;
use crate::cli::command::rollback::Branch;
use crate::cli::exit::Exit;
use crate::cli::trouble::Trouble;
use crate::controller::once::WrongFiles;
use crate::ledger::history::Quiet;
use crate::reconcile::Look;
use crate::reconcile::verify::Depth;

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // `--help` and `--version` come this way, too, and are as asked.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::AsAsked.into() };
        }
    };
    match carry_out(&cli) {
        Ok(exit) => exit.into(),
        Err(trouble) => {
            out::note(&trouble.text());
            trouble.exit().into()
        }
    }
}

fn carry_out(cli: &Cli) -> Result<Exit, Trouble> {
    refuse_formats_of_others(cli)?;
    // The service of the demo is a plain program of its own: no runtime, so that it starts at once.
    if let Command::DemoService = cli.command {
        return demo::service::serve();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Trouble::world)?;
    let result = runtime.block_on(dispatch(&cli.global, &cli.command));
    // What still blocks (a read of a terminal, a stuck engine) must not keep the program.
    runtime.shutdown_background();
    result
}

fn refuse_formats_of_others(cli: &Cli) -> Result<(), Trouble> {
    match (cli.global.format, &cli.command) {
        (Format::Json, Command::Demo { .. }) => {
            Err(Trouble::usage("`bayplan demo` is told to people; --format json is for the other commands"))
        }
        (Format::Human | Format::Json, _)
        | (Format::Github | Format::Sarif, Command::Validate { .. })
        | (Format::Markdown, Command::Plan { .. }) => Ok(()),
        (Format::Markdown, _) => {
            Err(Trouble::usage("--format markdown is for `bayplan plan`; here there is human and json"))
        }
        (Format::Github | Format::Sarif, _) => {
            Err(Trouble::usage("--format github and sarif are for `bayplan validate`; here there is human and json"))
        }
    }
}

async fn dispatch(global: &Global, command: &Command) -> Result<Exit, Trouble> {
    match command {
        Command::Validate { path } => command::validate::validate(global, path).await,
        Command::Plan { repo, offline, base, head, exit_code, what_if, survives, comment } => {
            let supposed = command::suppose::supposed(what_if)?;
            let what = match base {
                Some(base) => command::plan::What::Merge { base, head },
                None if *offline || *survives || !supposed.is_empty() => command::plan::What::Head(Look::Offline),
                None => command::plan::What::Head(Look::Hosts),
            };
            if *survives {
                return command::survives::survives(global, repo, what, supposed).await;
            }
            let differences = if *exit_code { Differences::AreANo } else { Differences::Fine };
            let asked = command::plan::Asked { what, differences, supposed, comment: *comment };
            command::plan::plan(global, repo, &asked).await
        }
        Command::Apply { repo, keep_going, allow_removal, plan_digest } => {
            let wrong_files = if *keep_going { WrongFiles::KeepGoing } else { WrongFiles::Refuse };
            let asked = command::apply::Asked { wrong_files, allow_removal, plan_digest: plan_digest.as_deref() };
            command::apply::apply(global, repo, &asked).await
        }
        Command::Run { repo } => command::run::run(global, repo).await,
        Command::Status { repo } => command::status::status(global, repo).await,
        Command::Explain { what, repo, host, rev } => {
            let asked = command::explain::Asked { what, host: host.as_deref(), revision: rev.as_deref() };
            command::explain::explain(global, repo, &asked).await
        }
        Command::History { what, repo, host, limit, all } => {
            let quiet = if *all { Quiet::Told } else { Quiet::LeftOut };
            let asked = command::history::Asked { what: what.as_deref(), host: host.as_deref(), limit: *limit, quiet };
            command::history::history(global, repo, &asked).await
        }
        Command::Rollback { stack, repo, to, push } => {
            let branch = if *push { Branch::Watched } else { Branch::New };
            command::rollback::rollback(global, repo, stack, to.as_deref(), branch).await
        }
        Command::Blame { stack, repo } => command::blame::blame(global, repo, stack).await,
        Command::Verify { stack, repo, live } => {
            let depth = if *live { Depth::Live } else { Depth::Git };
            command::verify::verify(global, repo, stack.as_deref(), depth).await
        }
        Command::Hosts { repo } => command::hosts::hosts(global, repo).await,
        Command::Logs { what, repo, follow, tail } => {
            let until = if *follow { Until::Stopped } else { Until::Now };
            command::logs::logs(global, repo, what, until, *tail).await
        }
        Command::Schema { name } => Ok(command::schema::print(*name)),
        Command::Init { folder, forge } => command::init::init(global.format, folder, *forge),
        Command::Demo { keep, clean, without_docker } => {
            let engines = if *without_docker { demo::Engines::InMemory } else { demo::Engines::DockerIfThere };
            let end = match (keep, clean) {
                (_, true) => return demo::clean().await,
                (true, false) => demo::End::Keep,
                (false, false) => demo::End::CleanUp,
            };
            demo::demo(engines, end).await
        }
        Command::DemoService => Ok(Exit::AsAsked),
    }
}
