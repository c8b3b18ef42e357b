//! Why an instance is where it is, host by host, for people and for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::cli::show::paint::{BAD, FAINT, GOOD, STRONG, painted, plain};
use crate::cli::show::table;
use crate::name::{HostName, Revision};
use crate::placement::account::{Account, Behind, Candidate, Outcome, Score, Standing};

/// What is shown, and what it was made from.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    pub accounts: &'a [&'a Account],
    /// Only this host.
    pub host: Option<&'a HostName>,
    pub revision: &'a Revision,
    pub ledger: Option<&'a Revision>,
}

impl Shown<'_> {
    fn candidates<'c>(&self, account: &'c Account) -> impl Iterator<Item = &'c Candidate> {
        account.candidates.iter().filter(|candidate| self.host.is_none_or(|host| *host == candidate.host))
    }
}

pub fn text(shown: &Shown<'_>) -> String {
    let ledger = shown.ledger.map_or("no ledger".to_owned(), |commit| format!("the ledger at {}", commit.short()));
    let mut text = format!("{}\n", painted(FAINT, format!("At {}, from {ledger}", shown.revision.short())));
    for account in shown.accounts {
        text.push('\n');
        text.push_str(&of_account(shown, account));
    }
    text
}

fn of_account(shown: &Shown<'_>, account: &Account) -> String {
    let mut text = match &account.outcome {
        Outcome::Placed { host, why } => {
            format!("{} on {}: {}\n", painted(STRONG, &account.instance), painted(STRONG, host), plain(why))
        }
        Outcome::Held { why } => {
            format!("{} {}: {}\n", painted(STRONG, &account.instance), painted(BAD, "has no host"), plain(why))
        }
    };
    if !account.together.is_empty() {
        let others: Vec<String> = account.together.iter().map(ToString::to_string).collect();
        let _ = writeln!(text, "  judged together with {}, which must be on the same host", others.join(", "));
    }
    for candidate in shown.candidates(account) {
        let (mark, standing) = match &candidate.standing {
            Standing::Chosen => (painted(GOOD, "*"), painted(GOOD, "chosen")),
            Standing::Behind(behind) => {
                (painted(GOOD, "+"), format!("takes it, but {}", because(behind, account, candidate)))
            }
            Standing::Refused => (painted(BAD, "-"), painted(BAD, "does not take it")),
        };
        let _ = writeln!(text, "  {mark} {}  {standing}", painted(STRONG, &candidate.host));
        let mut rows = vec![vec![String::new(), painted(FAINT, "score"), painted(FAINT, score(candidate))]];
        rows.extend(
            candidate
                .assents
                .iter()
                .map(|assent| vec![String::new(), painted(GOOD, "yes"), plain(&assent.to_string())]),
        );
        for refusal in &candidate.refusals {
            rows.push(vec![String::new(), painted(BAD, "no"), plain(&refusal.to_string())]);
            rows.push(vec![
                String::new(),
                String::new(),
                painted(FAINT, format!("to change it: {}", plain(&refusal.remedy()))),
            ]);
        }
        if let Standing::Behind(behind) = &candidate.standing {
            let remedy = format!("to change it: {}", to_land(behind));
            rows.push(vec![String::new(), String::new(), painted(FAINT, remedy)]);
        }
        for line in table::lines(&rows) {
            let _ = writeln!(text, "  {line}");
        }
    }
    text
}

/// What put the chosen host first, with both numbers.
fn because(behind: &Behind, account: &Account, candidate: &Candidate) -> String {
    let chosen = account.candidates.iter().find(|other| other.standing == Standing::Chosen);
    let Some(chosen) = chosen else { return "another came first".to_owned() };
    let (own, its, host) = (candidate.score, chosen.score, &chosen.host);
    match behind {
        Behind::Stays => format!("it stays on {host}: nothing moves that need not"),
        Behind::OtherDatacenter => format!("the whole stack is placed in the datacenter of {host}"),
        Behind::MoreOfTheStack => {
            format!("it has {} of this stack, {host} has {}", candidate.of_stack, chosen.of_stack)
        }
        Behind::LowerScore => format!("its score {} is below {} of {host}", points(own.points), points(its.points)),
        Behind::MoreInstances => {
            format!("with the same score it has {} instances, {host} has {}", own.instances, its.instances)
        }
        Behind::LaterName => format!("all is equal, and the name of {host} comes first"),
    }
}

fn to_land(behind: &Behind) -> &'static str {
    match behind {
        Behind::Stays => "`targetHost` must name it, or the host where it is must be draining or gone",
        Behind::OtherDatacenter => "the stack's `datacenter` must be this host's, or `targetHost` name it",
        Behind::MoreOfTheStack | Behind::LowerScore | Behind::MoreInstances | Behind::LaterName => {
            "`targetHost` must name it, or it must come first by these numbers"
        }
    }
}

fn score(candidate: &Candidate) -> String {
    let Score { points: all, cpu_free, memory_free, instances } = candidate.score;
    format!(
        "{} = 0.4 x {} % of cores free + 0.4 x {} % of memory free + 0.2 x (100 - {instances} instances); {} of this stack",
        points(all),
        points(u32::try_from(cpu_free).unwrap_or(u32::MAX)),
        points(u32::try_from(memory_free).unwrap_or(u32::MAX)),
        candidate.of_stack
    )
}

/// Thousandths, with one decimal as placement's own reasons have it.
fn points(thousandths: u32) -> String {
    format!("{}.{}", thousandths / 1000, thousandths % 1000 / 100)
}

pub fn members(shown: &Shown<'_>) -> Value {
    let account = |account: &&Account| {
        let (host, why) = match &account.outcome {
            Outcome::Placed { host, why } => (Some(host.as_str()), why),
            Outcome::Held { why } => (None, why),
        };
        json!({
            "instance": account.instance.to_string(),
            "host": host,
            "reason": why,
            "placement": account.strategy.as_str(),
            "together": account.together.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "hosts": shown.candidates(account).map(|candidate| of_candidate(account, candidate)).collect::<Vec<_>>(),
        })
    };
    json!({
        "revision": shown.revision.as_str(),
        "ledger": shown.ledger.map(Revision::as_str),
        "instances": shown.accounts.iter().map(account).collect::<Vec<_>>(),
    })
}

fn of_candidate(account: &Account, candidate: &Candidate) -> Value {
    let (standing, behind, to_change) = match &candidate.standing {
        Standing::Chosen => ("chosen", None, None),
        Standing::Refused => ("refused", None, None),
        Standing::Behind(behind) => ("behind", Some(because(behind, account, candidate)), Some(to_land(behind))),
    };
    let refusals = candidate.refusals.iter();
    json!({
        "host": candidate.host.as_str(),
        "standing": standing,
        "behind": behind,
        "toChange": to_change,
        "score": {
            "points": candidate.score.points,
            "cpuFree": candidate.score.cpu_free,
            "memoryFree": candidate.score.memory_free,
            "instances": candidate.score.instances,
        },
        "instancesOfStack": candidate.of_stack,
        "passed": candidate.assents.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "failed": refusals.map(|r| json!({"rule": r.to_string(), "toChange": r.remedy()})).collect::<Vec<_>>(),
    })
}
