//! A site for tests: the controller's view of a test repository and of a fleet of real engines.
#![allow(dead_code, reason = "each test binary compiles this file and uses a part of it")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bayplan::controller::once::{self, Options, Outcome, WrongFiles};
use bayplan::engine::connect::connect;
use bayplan::model::config::{Config, TlsFiles};
use bayplan::reconcile::site::Site;
use bayplan::source;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::fleet::Fleet;
use crate::repository::Repository;

/// The host files of the fleet: `host-2` over TCP with TLS, the others over their sockets.
pub fn write_hosts(repository: &Repository, fleet: &Fleet) {
    for host in &fleet.hosts {
        let endpoint = host.tcp.clone().unwrap_or_else(|| format!("unix://{}", host.socket.display()));
        let text =
            format!("name: {}\nipAddress: {}\nendpoint: {endpoint}\ndatacenter: dc-1\n", host.name, host.address);
        repository.write(&format!("hosts/{}.yaml", host.name), &text);
    }
}

/// What the operator of the fleet configures.
pub fn config(fleet: &Fleet) -> Config {
    let tls = fleet.hosts.iter().filter_map(|host| {
        let folder = host.tls.as_ref()?;
        let files = TlsFiles { ca: folder.join("ca.pem"), cert: folder.join("cert.pem"), key: folder.join("key.pem") };
        Some((host.name.clone(), files))
    });
    // A machine with many engines and few cores stands still for a moment now and then.
    Config { engines: tls.collect(), answer_within: Duration::from_secs(20), ..Config::default() }
}

pub async fn site(repository: &Repository, config: Config) -> Site {
    let location = repository.bare();
    let source = source::open(location.to_str().expect("a path of text"), Some("main"), &repository.cache())
        .await
        .expect("the repository opens");
    let engines = config.engines.clone();
    // The usual one for a ping: stories hang engines on purpose, and wait for it.
    let connect = Arc::new(move |host: &_, endpoint: &_| connect(host, endpoint, &engines, Duration::ZERO));
    Site::new(source, Arc::new(config), Arc::new(BTreeMap::new()), connect).await.expect("the ledger opens")
}

/// Settles the fleet once, as `bayplan apply` does.
pub async fn apply(site: &mut Site, wrong_files: WrongFiles) -> Outcome {
    let options = Options { wrong_files, allowed_removals: BTreeSet::new(), reviewed: None };
    let (events, mut seen) = mpsc::unbounded_channel();
    let outcome = once::once(site, &options, &events, &CancellationToken::new()).await.expect("the passes are done");
    drop(events);
    while seen.recv().await.is_some() {}
    outcome
}
