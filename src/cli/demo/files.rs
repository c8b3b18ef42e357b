//! The files that the demo commits, in each of its three states.

use std::net::IpAddr;

use crate::model::host::Endpoint;

/// The image that the demo makes, and that its stack names.
pub const IMAGE: &str = "bayplan-demo:1";
pub const STACK_PATH: &str = "stacks/shop.yaml";

const STACK: &str = include_str!("files/shop.yaml");
const STORE: &str = "    name: store\n    image: bayplan-demo:1\n";

/// Host ports of the three services; they share an engine, so they differ.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    pub store: u16,
    pub api: u16,
    pub web: u16,
}

/// One host file: its name, where its engine listens, its address.
pub fn host(name: &str, endpoint: &Endpoint, address: IpAddr) -> String {
    format!("name: {name}\nipAddress: {address}\nendpoint: {endpoint}\nlabels:\n  demo: {name}\n")
}

/// The stack as it is pushed first: hosts are Bayplan's choice.
pub fn first(ports: Ports) -> String {
    STACK
        .replace("{store-port}", &ports.store.to_string())
        .replace("{api-port}", &ports.api.to_string())
        .replace("{web-port}", &ports.web.to_string())
}

/// The same with `store` moved to another host.
pub fn moved(ports: Ports, to: &str) -> String {
    let pinned = format!("{STORE}    targetHost: {to}\n    reason: beside api, which asks it most\n");
    first(ports).replace(STORE, &pinned)
}

/// The same with a host that nobody has.
pub fn wrong(ports: Ports, to: &str) -> String {
    moved(ports, to).replace(&format!("targetHost: {to}"), "targetHost: host-22")
}

#[cfg(test)]
mod tests {

    use super::{Ports, first, host, moved, wrong};
    use crate::diagnostic::Report;
    use crate::files::SourceFile;
    use crate::model::host::Endpoint;
    use crate::name::Digest;
    use crate::reconcile::understand::understand;
    use crate::source::Snapshot;
    use crate::validate::cache::Cache;

    const PORTS: Ports = Ports { store: 1, api: 2, web: 3 };

    fn check(stack: String) -> Report {
        let file = |path: &str, text: String| SourceFile {
            path: path.into(),
            blob: Digest::of(text.as_bytes()).as_str().into(),
            text: text.into(),
        };
        let endpoint = Endpoint::Unix("/run/docker.sock".into());
        let address = "172.17.0.1".parse().expect("an address");
        let hosts =
            ["host-1", "host-2"].map(|name| file(&format!("hosts/{name}.yaml"), host(name, &endpoint, address)));
        let files = hosts.into_iter().chain([file("stacks/shop.yaml", stack)]).collect();
        let snapshot = Snapshot { revision: None, files, problems: Vec::new() };
        understand(&mut Cache::default(), &snapshot).1
    }

    #[test]
    fn two_states_are_right_and_one_is_wrong() {
        assert!(check(first(PORTS)).is_empty(), "{:?}", check(first(PORTS)));
        assert!(check(moved(PORTS, "host-2")).is_empty());
        assert_ne!(moved(PORTS, "host-2"), first(PORTS));
        let codes: Vec<String> = check(wrong(PORTS, "host-2")).iter().map(|d| d.code.as_str().to_owned()).collect();
        assert_eq!(codes, ["unknown-host"]);
    }
}
