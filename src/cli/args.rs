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
  bayplan explain shop             why everything is where it is
  bayplan history shop             what happened to a stack, and when

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
    /// How the answer is written; `github` and `sarif` are for `validate`, `markdown` is for `plan`.
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
    /// A comment on a pull request.
    Markdown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Log {
    Text,
    Json,
}

/// A fleet that is not as its files say; from Git alone, and nothing is done.
#[derive(Debug, Clone, Args)]
pub struct WhatIf {
    /// As if this host were gone (implies `--offline`).
    #[arg(long, value_name = "HOST")]
    pub without: Vec<String>,
    /// As if this host, or all of `datacenter=DC`, were draining (implies `--offline`).
    #[arg(long, value_name = "HOST|datacenter=DC")]
    pub drain: Vec<String>,
    /// As if this host file were there (implies `--offline`).
    #[arg(long, value_name = "FILE")]
    pub add_host: Vec<PathBuf>,
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
        after_help = "Examples:\n  bayplan plan\n  bayplan plan --offline --exit-code   in a pull request's checks\n  bayplan plan --base origin/main --branch main --format markdown   for a comment on it\n  bayplan plan --base origin/main --branch main --config ci.yaml --comment 7    and there it is\n  bayplan plan --without host-2            where would everything go?\n  bayplan plan --survives                  for a required check"
    )]
    Plan {
        #[command(flatten)]
        repo: Repo,
        /// From Git alone: the fleet is taken to be as the status branch says. No host is asked.
        #[arg(long)]
        offline: bool,
        /// What merging a pull request into REV would do, from Git alone (implies `--offline`).
        #[arg(long, value_name = "REV")]
        base: Option<String>,
        /// The commit that would be merged.
        #[arg(long, value_name = "REV", default_value = "HEAD", requires = "base")]
        head: String,
        /// End with 4 when there is something to do.
        #[arg(long)]
        exit_code: bool,
        #[command(flatten)]
        what_if: WhatIf,
        /// Say instead whether every service survives the loss of any one host, and end with 4 when one does not.
        #[arg(long, conflicts_with_all = ["exit_code", "without"])]
        survives: bool,
        /// Say it in a comment on this pull request, too, or in the one that is there; `forge` in the configuration says
        /// where.
        #[arg(long, value_name = "NUMBER", requires = "base")]
        comment: Option<u64>,
    },
    /// Carry the plan out once, and end.
    ///
    /// Touches nothing while a file of the repository is wrong (exit 1), unless told to keep going. What fails for a reason that
    /// may pass is tried twice more, after 2 and 4 seconds.
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
        /// Refuse (exit 5, with the new plan) unless the plan is still this one; `bayplan plan` ends with its digest.
        #[arg(long, value_name = "DIGEST")]
        plan_digest: Option<String>,
    },
    /// Watch the repository and deploy every push, until stopped.
    ///
    /// Ctrl-C or SIGTERM ends it cleanly: the step in hand is finished, and the next start carries on. A repository behind
    /// a URL is polled; with `webhooks` in the configuration a forge tells of a push, and with `forge` it is told what became
    /// of each commit.
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
    /// Say why each instance is where it is: host by host, every rule, the score, and what would have to change.
    ///
    /// From Git alone: placement knows nothing but the files and the status branch.
    #[command(
        after_help = "Examples:\n  bayplan explain shop\n  bayplan explain shop/web --host host-2   why not there?\n  bayplan explain shop --rev HEAD~3"
    )]
    Explain {
        /// STACK, STACK/SERVICE or STACK/SERVICE-N.
        what: String,
        #[command(flatten)]
        repo: Repo,
        /// Only the reasons of this host.
        #[arg(long, value_name = "HOST")]
        host: Option<String>,
        /// Place the files of this commit, instead of the newest of the branch.
        #[arg(long, value_name = "REV")]
        rev: Option<String>,
    },
    /// Compute anew what the status branch says, and compare; ends with 4 when they differ.
    ///
    /// Each deployment names the revision and the commit of the status branch that it was computed from. The same is
    /// computed again from those two, by whoever has the repository.
    #[command(
        after_help = "Examples:\n  bayplan verify            was the status branch written by hand?\n  bayplan verify --live     and do the hosts run what it says?\n  bayplan verify --stack shop"
    )]
    Verify {
        #[command(flatten)]
        repo: Repo,
        /// Only this stack, by its name or slug.
        #[arg(long, value_name = "STACK")]
        stack: Option<String>,
        /// Ask the hosts, too: containers that were moved or exchanged, images that were swapped under a tag.
        #[arg(long)]
        live: bool,
    },
    /// Tell what happened, the newest first: when, by whose revision, what, and where it ran.
    ///
    /// From the status branch; no host is asked. Joined ledgers are followed both; each change is told once.
    #[command(
        after_help = "Examples:\n  bayplan history\n  bayplan history shop/web --limit 0\n  bayplan history --host host-1 --all\n  bayplan history /srv/git/fleet.git   a sole argument that is a path (/ or .) or a URL is the repository"
    )]
    History {
        /// STACK or STACK/SERVICE; absent, all of them.
        what: Option<String>,
        #[command(flatten)]
        repo: Repo,
        /// Only what came to this host, left it, or changed there.
        #[arg(long, value_name = "HOST")]
        host: Option<String>,
        /// How many entries; 0 for all.
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: usize,
        /// Also what tells of no stack: hosts that were measured again, ledgers that were joined.
        #[arg(long)]
        all: bool,
    },
    /// Say of each instance that runs since when it is on its host, by which commits, whose, and why.
    ///
    /// From the status branch; no host is asked.
    #[command(after_help = "Example:\n  bayplan blame shop")]
    Blame {
        /// The stack, by its name or slug.
        stack: String,
        #[command(flatten)]
        repo: Repo,
    },
    /// Make the commit that takes a stack back to an earlier revision; it never acts on a host.
    ///
    /// Restores the stack's files as of that revision and changes nothing else, on a new branch `bayplan-rollback/…` of which
    /// a pull request can be made. Nothing is checked out. The service deploys it like any other commit.
    #[command(
        after_help = "Examples:\n  bayplan rollback shop                    to what ran before with another content\n  bayplan rollback shop --to v1.4          to a revision by any name that Git has for it\n  bayplan rollback shop --push             straight onto the watched branch"
    )]
    Rollback {
        /// The stack, by its name or slug.
        stack: String,
        #[command(flatten)]
        repo: Repo,
        /// The revision; absent, the newest in the ledger that ran with another content than the branch asks for.
        #[arg(long, value_name = "REV")]
        to: Option<String>,
        /// Put the commit on the watched branch itself, without force. One that is checked out is not moved.
        #[arg(long)]
        push: bool,
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
    #[command(after_help = "Examples:\n  bayplan init fleet\n  bayplan init fleet --forge gitlab")]
    Init {
        /// The folder; it is made if it is not there.
        #[arg(default_value = ".")]
        folder: PathBuf,
        /// Write, too, the file with which this forge checks pull requests and comments on them.
        #[arg(long, value_enum, value_name = "FORGE")]
        forge: Option<ForgeName>,
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
pub enum ForgeName {
    Github,
    Gitlab,
    /// Forgejo, too.
    Gitea,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SchemaName {
    Stack,
    Host,
    Status,
    Config,
}
