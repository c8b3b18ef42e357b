//! A site over engines in memory: the real line, Git included, without Docker.
#![allow(dead_code, reason = "each test binary compiles this file and uses a part of it")]

use std::collections::BTreeMap;
use std::sync::Arc;

use bayplan::engine::Engine;
use bayplan::engine::memory::MemoryEngine;
use bayplan::engine::memory::registry::MemoryRegistry;
use bayplan::engine::memory::script::ImageScript;
use bayplan::model::config::Config;
use bayplan::model::host::Endpoint;
use bayplan::reconcile::site::Site;
use bayplan::source;

use crate::repository::Repository;

/// Some simulated hosts with one registry.
pub struct Simulated {
    pub engines: BTreeMap<String, MemoryEngine>,
    pub registry: MemoryRegistry,
}

impl Simulated {
    /// Hosts `host-1`, `host-2`, …; every one holds `web:1`, `web:2` and `db:1`.
    pub fn new(hosts: usize) -> Self {
        let registry = MemoryRegistry::default();
        let engines = (1..=hosts).map(|number| {
            let name = format!("host-{number}");
            let engine = MemoryEngine::new(&name, &registry);
            for image in ["web:1", "web:2", "db:1"] {
                engine.load(image, ImageScript::runs());
            }
            (name, engine)
        });
        Self { engines: engines.collect(), registry }
    }

    pub fn write_hosts(&self, repository: &Repository) {
        for (number, name) in self.engines.keys().enumerate() {
            let text = format!("name: {name}\nipAddress: 10.0.0.{}\nendpoint: memory://{name}\n", number + 1);
            repository.write(&format!("hosts/{name}.yaml"), &text);
        }
    }

    pub fn writes(&self) -> u64 {
        self.engines.values().map(MemoryEngine::writes).sum()
    }

    pub async fn site(&self, repository: &Repository, config: Config) -> Site {
        let location = repository.bare();
        self.site_at(location.to_str().expect("a path of text"), repository, config).await
    }

    /// The site of a repository at a path or URL.
    pub async fn site_at(&self, location: &str, repository: &Repository, config: Config) -> Site {
        let source = source::open(location, Some("main"), &repository.cache()).await.expect("the repository opens");
        let engines = self.engines.clone();
        let connect = Arc::new(move |_: &_, endpoint: &Endpoint| match endpoint {
            Endpoint::Memory(name) => {
                let engine = engines.get(name).cloned().ok_or_else(|| format!("no engine named {name}"))?;
                Ok(Arc::new(engine) as Arc<dyn Engine>)
            }
            Endpoint::Unix(_) | Endpoint::Tcp(..) => Err("only engines in memory are simulated".to_owned()),
        });
        Site::new(source, Arc::new(config), Arc::new(BTreeMap::new()), connect).await.expect("the ledger opens")
    }
}
