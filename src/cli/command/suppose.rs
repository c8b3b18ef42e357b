//! What the command line supposes of the fleet.

use std::collections::BTreeSet;
use std::path::Path;

use crate::cli::args::WhatIf;
use crate::cli::trouble::Trouble;
use crate::files::SourceFile;
use crate::name::{Digest, HostName};
use crate::reconcile::suppose::Supposed;

pub fn supposed(what_if: &WhatIf) -> Result<Vec<Supposed>, Trouble> {
    let mut supposed = Vec::new();
    let mut paths = BTreeSet::new();
    for file in &what_if.add_host {
        let host = host_file(file)?;
        if !paths.insert(host.path.clone()) {
            let why = "two files of one name stand for one file below hosts/; name them differently";
            return Err(Trouble::usage(format!("--add-host {}: {why}", file.display())));
        }
        supposed.push(Supposed::HostFile(host));
    }
    for host in &what_if.without {
        supposed.push(Supposed::Without(host_name(host)?));
    }
    for what in &what_if.drain {
        supposed.push(match what.split_once('=') {
            Some(("datacenter", datacenter)) => Supposed::DatacenterDraining(datacenter.to_owned()),
            Some(_) => return Err(Trouble::usage(format!("--drain {what}: it is a host, or `datacenter=NAME`"))),
            None => Supposed::Draining(host_name(what)?),
        });
    }
    Ok(supposed)
}

/// What is supposed, to follow what is shown.
pub fn said(supposed: &[Supposed]) -> String {
    supposed.iter().map(|one| format!(", {one}")).collect()
}

fn host_name(word: &str) -> Result<HostName, Trouble> {
    HostName::new(word).map_err(|error| Trouble::usage(format!("the host name `{word}` {error}")))
}

/// A file as if it were below `hosts/`, whatever folder it is in.
fn host_file(path: &Path) -> Result<SourceFile, Trouble> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Trouble::usage(format!("the host file {} cannot be read: {error}", path.display())))?;
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| Trouble::usage(format!("{} is no name of a file", path.display())))?;
    let known = ["json", "jsonld", "yaml", "yml"];
    if !known.iter().any(|end| name.ends_with(&format!(".{end}"))) {
        return Err(Trouble::usage(format!("{}: a host file ends in .{}", path.display(), known.join(", ."))));
    }
    let blob = Digest::of(text.as_bytes()).as_str().into();
    Ok(SourceFile { path: format!("hosts/{name}").into(), blob, text: text.into() })
}
