//! Who put each instance on its host, for people and for programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::cli::show::history::{revision_json, whose};
use crate::cli::show::json::document;
use crate::cli::show::map::status;
use crate::cli::show::paint::{FAINT, STRONG, painted, plain};
use crate::cli::show::table;
use crate::ledger::history::Blamed;
use crate::moment::utc;
use crate::name::Revision;
use crate::source::authored::Authored;
use crate::status::blame::Put;

/// The answer for people.
pub fn blame(blamed: &Blamed, authored: &BTreeMap<Revision, Authored>) -> String {
    let record = &blamed.record;
    let mut text = format!("{}  {}", painted(STRONG, plain(record.name.as_str())), status(record.status));
    if let Some(running) = &record.running {
        let _ = write!(text, "  {}", painted(FAINT, format!("at {}", running.revision.short())));
    }
    text.push('\n');
    if blamed.instances.is_empty() {
        text.push_str("  nothing of it has run yet\n");
    }
    let rows: Vec<Vec<String>> = blamed.instances.iter().map(|put| row(put, authored)).collect();
    for (put, line) in blamed.instances.iter().zip(table::lines(&rows)) {
        let _ = writeln!(text, "  {line}");
        let by = painted(FAINT, format!("ledger commit {}", put.commit.short()));
        let _ = writeln!(text, "      {by}  {}", plain(&put.now.reason));
    }
    text
}

fn row(put: &Put, authored: &BTreeMap<Revision, Authored>) -> Vec<String> {
    vec![
        format!("{}-{}", put.instance.service, put.instance.number),
        put.now.host.to_string(),
        format!("since {}", utc(put.at)),
        put.revision.short().to_owned(),
        whose(authored.get(&put.revision)),
    ]
}

/// The same for programs.
pub fn json(blamed: &Blamed, authored: &BTreeMap<Revision, Authored>) -> String {
    let instances: Vec<Value> = blamed
        .instances
        .iter()
        .map(|put| {
            json!({
                "service": put.instance.service.as_str(),
                "instance": put.instance.number,
                "host": put.now.host.as_str(),
                "since": utc(put.at),
                "commit": put.commit.as_str(),
                "revision": revision_json(&put.revision, authored.get(&put.revision)),
                "reason": put.now.reason,
            })
        })
        .collect();
    let record = &blamed.record;
    let members = json!({
        "ledger": blamed.head.as_str(),
        "stack": record.name.slug().as_str(),
        "name": record.name.as_str(),
        "status": record.status.as_str(),
        "revision": record.running.as_ref().map(|running| running.revision.as_str()),
        "instances": instances,
    });
    document("blame", members)
}
