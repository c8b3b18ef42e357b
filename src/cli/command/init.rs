//! `bayplan init`: a small repository to start from.
//!
//! Never overwrites: what exists stays, and is named.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use serde_json::json;

use crate::cli::args::{ForgeName, Format, SchemaName};
use crate::cli::command::schema;
use crate::cli::exit::Exit;
use crate::cli::out;
use crate::cli::show::json::document;
use crate::cli::show::paint::{FAINT, GOOD, STRONG, painted};
use crate::cli::trouble::Trouble;

const HOST: &str = include_str!("../example/host.yaml");
const STACK: &str = include_str!("../example/stack.yaml");
const GITHUB: &str = include_str!("../example/github.yaml");
const GITLAB: &str = include_str!("../example/gitlab.yaml");
const GITEA: &str = include_str!("../example/gitea.yaml");

pub fn init(format: Format, folder: &Path, forge: Option<ForgeName>) -> Result<Exit, Trouble> {
    let mut files = vec![
        ("hosts/host-1.yaml", HOST),
        ("stacks/hello.yaml", STACK),
        ("schemas/host.schema.json", schema::text(SchemaName::Host)),
        ("schemas/stack.schema.json", schema::text(SchemaName::Stack)),
    ];
    // Whoever has a fleet already asks for the file of the forge, and an example would be deployed with the rest.
    if forge.is_some() && ["hosts", "stacks"].iter().any(|part| folder.join(part).is_dir()) {
        files.clear();
    }
    let is_new = !files.is_empty();
    files.extend(forge.map(|forge| match forge {
        ForgeName::Github => (".github/workflows/bayplan.yaml", GITHUB),
        ForgeName::Gitlab => (".gitlab-ci.yml", GITLAB),
        ForgeName::Gitea => (".gitea/workflows/bayplan.yaml", GITEA),
    }));
    let mut done = Vec::new();
    for (path, content) in files {
        done.push((path, write(&folder.join(path), content)?));
    }
    if format == Format::Json {
        let file = |(path, written): &(&str, Written)| json!({"path": path, "written": *written == Written::New});
        out::say(&document("init", json!({"folder": folder, "files": done.iter().map(file).collect::<Vec<_>>()})));
        return Ok(Exit::AsAsked);
    }
    let mut text = String::new();
    for (path, written) in done {
        let line = match written {
            Written::New => format!("{} {path}\n", painted(GOOD, "wrote")),
            Written::WasThere => format!("{} {path}\n", painted(FAINT, "left as it is:")),
        };
        text.push_str(&line);
    }
    if !is_new {
        out::say(&text);
        return Ok(Exit::AsAsked);
    }
    let place = folder.display();
    text.push_str(&format!(
        "\n{}\n  1. write your machine's address into hosts/host-1.yaml\n  2. bayplan validate {place}\n  \
         3. git -C {place} init, add and commit; then bayplan plan {place}\n",
        painted(STRONG, "Next:")
    ));
    out::say(&text);
    Ok(Exit::AsAsked)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    New,
    WasThere,
}

fn write(path: &Path, content: &str) -> Result<Written, Trouble> {
    let failed = |error: std::io::Error| Trouble::world(format!("{} could not be written: {error}", path.display()));
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    // Made and not opened: a file that appears meanwhile is not lost either.
    match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(mut file) => file.write_all(content.as_bytes()).map(|()| Written::New).map_err(failed),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(Written::WasThere),
        Err(error) => Err(failed(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::init;
    use crate::cli::args::Format;
    use crate::reconcile::understand::understand;
    use crate::source;
    use crate::validate::cache::Cache;

    #[tokio::test]
    async fn what_is_written_is_right_and_nothing_is_overwritten() {
        let folder = tempfile::tempdir().expect("a folder");
        init(Format::Human, folder.path(), None).expect("written");
        let snapshot = source::read_work_tree(folder.path()).await.expect("read");
        let (desired, report) = understand(&mut Cache::default(), &snapshot);
        assert!(report.is_empty(), "{report:?}");
        assert_eq!((desired.stacks.len(), desired.inventory.hosts.len()), (1, 1));

        let host = folder.path().join("hosts/host-1.yaml");
        std::fs::write(&host, "mine").expect("written");
        init(Format::Human, folder.path(), None).expect("written again");
        assert_eq!(std::fs::read_to_string(&host).expect("read"), "mine");
    }
}
