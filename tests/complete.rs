//! Every field of every schema can be written, and means something: one file of each kind that has them all.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use bayplan::diagnostic::human::{self, Colour};
use bayplan::diagnostic::{Report, Texts};
use bayplan::files::SourceFile;
use bayplan::model::stack::{HealthTest, OnHostLoss, Restart};
use bayplan::parse;
use bayplan::validate;
use serde_json::Value;

fn file(path: &str) -> SourceFile {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/complete");
    SourceFile {
        path: path.into(),
        blob: "".into(),
        text: fs::read_to_string(root.join(path)).expect("readable").into(),
    }
}

fn assert_clean(report: &Report, file: &SourceFile) {
    let texts: Texts = [(file.path.clone(), file.text.clone())].into();
    assert!(report.is_empty(), "{}", human::render(report, &texts, Colour::Plain));
}

/// The names of all properties of a schema.
fn properties(schema: &Value, names: &mut BTreeSet<String>) {
    let below: Vec<&Value> = match schema {
        Value::Object(object) => {
            if let Some(properties) = object.get("properties").and_then(Value::as_object) {
                names.extend(properties.keys().cloned());
            }
            object.values().collect()
        }
        Value::Array(items) => items.iter().collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    };
    below.into_iter().for_each(|value| properties(value, names));
}

fn keys(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            names.extend(object.keys().cloned());
            object.values().for_each(|value| keys(value, names));
        }
        Value::Array(items) => items.iter().for_each(|value| keys(value, names)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn the_complete_files_hold_every_property_of_their_schemas() {
    for (name, paths) in [
        ("stack", ["stacks/everything.yaml"].as_slice()),
        ("host", &["hosts/list.yaml"]),
        ("config", &["config.yaml", "config-other.yaml"]),
    ] {
        let schema = serde_json::from_str(parse::schema(name).expect("a schema")).expect("JSON");
        let (mut known, mut written) = (BTreeSet::new(), BTreeSet::new());
        properties(&schema, &mut known);
        for path in paths {
            keys(&serde_yaml::from_str(&file(path).text).expect("YAML"), &mut written);
        }
        let missing: Vec<_> = known.difference(&written).collect();
        assert!(missing.is_empty(), "{paths:?} lack {missing:?}");
    }
}

#[test]
fn the_complete_files_are_clean_and_mean_what_they_say() {
    let other = file("config-other.yaml");
    assert_clean(&validate::config::config(&other).1, &other);
    let configuration = file("config.yaml");
    let (config, report) = validate::config::config(&configuration);
    assert_clean(&report, &configuration);
    let policy = config.expect("a configuration").policy;

    let (stack, hosts) = (file("stacks/everything.yaml"), file("hosts/list.yaml"));
    let checked = [&stack, &hosts].map(|file| {
        let checked = validate::check(file, &policy);
        assert_clean(&checked.report, file);
        Arc::new(checked)
    });
    let (desired, report) = validate::validate(&checked);
    assert_clean(&report, &stack);

    let stack = desired.stacks.values().next().expect("the stack");
    assert_eq!(stack.name.slug().as_str(), "everything");
    assert_eq!(stack.target_host.as_ref().map(|host| host.as_str()), Some("host-1"));
    let first = &stack.services[0];
    let variable = |name: &str| first.environment[name].expose().as_str();
    assert_eq!((variable("NUMBER"), variable("YES"), variable("EMPTY")), ("1.10", "true", ""));
    assert_eq!(first.command.as_deref(), Some(["serve", "--port", "8080", "two words"].map(str::to_owned).as_slice()));
    assert_eq!((first.resources.cpu, first.resources.memory), (Some(250), Some(128 << 20)));
    assert_eq!((first.restart, first.on_host_loss), (Restart::UnlessStopped, OnHostLoss::Wait));
    assert_eq!(first.labels["tier"], "1");
    assert!(first.constraints.not_on.iter().any(|host| host.as_str() == "host-2"));
    let second = &stack.services[1];
    assert_eq!(second.requirements.len(), 1);
    assert!(second.requirements[0].connection_string.is_some());
    let line = HealthTest::CommandLine("test -f /ready".to_owned());
    assert_eq!(second.health.as_ref().map(|health| &health.test), Some(&line));
    assert_eq!(desired.inventory.hosts.len(), 2);
}
