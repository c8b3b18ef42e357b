//! The command line, as it is written.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

const EXAMPLES: &str = "\
Examples:
  bayplan demo                     watch it work, on this machine, with nothing prepared
  bayplan init fleet               write a small repository to start from
  bayplan validate                 check the files of the current folder
  bayplan plan --offline           who would run where, from Git alone
  bayplan plan                     what would happen to what runs now
  bayplan apply                    make it so, once
  bayplan run /srv/git/fleet.git   make it so at every push
  bayplan status                   the deployment map

Exit codes:
  0 as asked   1 the repository is wrong   2 usage   3 the world failed
  4 the answer asked for is no             5 held    6 rolled back";

/// Push to deploy on plain Docker hosts.
///
/// Bayplan watches a Git repository of stack and host files, decides which host runs which service, shows the
/// difference, makes it so, and commits where everything is to the branch `bayplan/status` of the same repository.
#[derive(Debug, Parser)]
#[command(name = "bayplan", version, after_help = EXAMPLES, disable_help_subcommand = true)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Clone, Args)]
pub struct Global {
    /// How the answer is written; `github` and `sarif` are for `validate`.
    #[arg(long, global = true, value_enum, default_value_t = Format::Human)]
    pub format: Format,
    /// The operator's configuration; everything in it has a safe default (`bayplan schema config`).
    #[arg(long, global = true, value_name = "FILE", env = "BAYPLAN_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,
    /// The branch to watch, instead of the one that is checked out.
    #[arg(long, global = true, value_name = "NAME")]
    pub branch: Option<String>,
    /// How log lines are written (to standard error; RUST_LOG chooses which).
    #[arg(long, global = true, value_enum, value_name = "FORMAT")]
    pub log: Option<Log>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Human,
    /// For programs; every document has a `version`.
    Json,
    /// Annotations of GitHub workflows.
    Github,
    /// SARIF 2.1.0, for code scanning.
    Sarif,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Log {
    Text,
    Json,
}

/// The watched repository.
#[derive(Debug, Clone, Args)]
pub struct Repo {
    /// A path (read in place, bare or not) or a URL; absent, that of the configuration, else the current folder.
    pub repo: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check stack and host files, and say what is wrong at which line.
    ///
    /// Reads the files as they are on disk, committed or not; needs no Git and asks no host.
    #[command(after_help = "Examples:\n  bayplan validate\n  bayplan validate fleet --format github")]
    Validate {
        /// The folder that holds `stacks/` and `hosts/`.
        #[arg(default_value = ".")]
        path: PathBuf,
    },
    /// Show what a push would do, and do nothing.
    ///
    /// Compares the newest commit of the branch with what runs: which instance goes where and why, what moves, which
    /// line caused it, and whether users notice.
    #[command(
        after_help = "Examples:\n  bayplan plan\n  bayplan plan --offline --exit-code   in a pull request's checks"
    )]
    Plan {
        #[command(flatten)]
        repo: Repo,
        /// From Git alone: the fleet is taken to be as the status branch says. No host is asked.
        #[arg(long)]
        offline: bool,
        /// End with 4 when there is something to do.
        #[arg(long)]
        exit_code: bool,
    },
    /// Carry the plan out once, and end.
    ///
    /// Touches nothing while a file of the repository is wrong (exit 1), unless told to keep going.
    #[command(after_help = "Examples:\n  bayplan apply\n  bayplan apply --keep-going fleet")]
    Apply {
        #[command(flatten)]
        repo: Repo,
        /// Carry on with the stacks that are right while others are wrong.
        #[arg(long)]
        keep_going: bool,
        /// Allow a removal that the brake holds; the plan names its digest.
        #[arg(long, value_name = "DIGEST")]
        allow_removal: Vec<String>,
    },
    /// Watch the repository and deploy every push, until stopped.
    ///
    /// Ctrl-C or SIGTERM ends it cleanly: the step in hand is finished, and the next start carries on.
    #[command(
        after_help = "Examples:\n  bayplan run /srv/git/fleet.git\n  bayplan run https://git.example.org/fleet.git --config /etc/bayplan.yaml --log json"
    )]
    Run {
        #[command(flatten)]
        repo: Repo,
    },
    /// Draw the deployment map: what runs where, how well, and who connects to whom.
    ///
    /// From the status branch; no host is asked.
    Status {
        #[command(flatten)]
        repo: Repo,
    },
    /// List the hosts of the inventory, and ask each whether it answers.
    Hosts {
        #[command(flatten)]
        repo: Repo,
    },
    /// Show what containers say.
    #[command(
        after_help = "Examples:\n  bayplan logs shop\n  bayplan logs shop/web --follow\n  bayplan logs shop/web-2 --tail 20"
    )]
    Logs {
        /// STACK, STACK/SERVICE or STACK/SERVICE-N.
        what: String,
        #[command(flatten)]
        repo: Repo,
        /// Go on until stopped.
        #[arg(long, short)]
        follow: bool,
        /// How many of the last lines of each.
        #[arg(long, value_name = "N", default_value_t = 100)]
        tail: u32,
    },
    /// Print a JSON Schema, for editors: stack, host, status or config.
    #[command(after_help = "Example:\n  bayplan schema stack > stack.schema.json")]
    Schema {
        #[arg(value_enum)]
        name: SchemaName,
    },
    /// Write a small repository to start from; nothing that exists is overwritten.
    Init {
        /// The folder; it is made if it is not there.
        #[arg(default_value = ".")]
        folder: PathBuf,
    },
    /// Watch it work: a repository, three hosts and three pushes, on this machine.
    ///
    /// With Docker it deploys real containers, from an image made of this program: nothing is downloaded. Without, it
    /// uses engines inside this process, and says so. It cleans up after itself.
    Demo {
        /// Leave everything standing, and say how to look at it.
        #[arg(long, conflicts_with = "clean")]
        keep: bool,
        /// Remove what an earlier demo left.
        #[arg(long)]
        clean: bool,
        /// Use engines inside this process even where there is Docker.
        #[arg(long)]
        without_docker: bool,
    },
    /// The service that the demo deploys.
    #[command(hide = true)]
    DemoService,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SchemaName {
    Stack,
    Host,
    Status,
    Config,
}
