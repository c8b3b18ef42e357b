//! Hosts that leave the inventory: nothing happens until that is acknowledged, and then they are cleared.

#[path = "support/fleet.rs"]
mod fleet;
#[path = "support/repository.rs"]
mod repository;
#[path = "support/simulated.rs"]
mod simulated;
#[path = "support/site.rs"]
mod site;

use bayplan::controller::once::{Outcome, WrongFiles};
use std::time::Duration;

use bayplan::engine::memory::MemoryEngine;
use bayplan::engine::memory::faults::{Call, Fault, Times, Which};
use bayplan::engine::memory::script::ImageScript;
use bayplan::model::config::Config;
use bayplan::model::record::StackStatus;
use bayplan::name::StackSlug;
use bayplan::reconcile::site::Site;

use repository::Repository;
use simulated::Simulated;

/// Two hosts with one instance of each service, so that whichever leaves has something.
const SHOP: &str = "name: shop\nplacement: spread\nitemListElement:\n  - {name: web, position: 1, image: 'web:1'}\n  \
                    - {name: db, position: 2, image: 'db:1'}\n";

struct Town {
    repository: Repository,
    simulated: Simulated,
    site: Site,
}

impl Town {
    async fn with_the_shop(hosts: usize) -> Self {
        let repository = Repository::new();
        let simulated = Simulated::new(hosts);
        simulated.write_hosts(&repository);
        repository.write("stacks/shop.yaml", SHOP).push("Deploy the shop");
        let mut site = simulated.site(&repository, Config::default()).await;
        site::apply(&mut site, WrongFiles::Refuse).await;
        let town = Self { repository, simulated, site };
        let running: usize = town.simulated.engines.values().map(|engine| engine.holds().containers.len()).sum();
        assert_eq!(running, 2, "the shop runs");
        town
    }

    fn engine(&self, host: &str) -> &MemoryEngine {
        &self.simulated.engines[host]
    }

    fn names(&self, host: &str) -> Vec<String> {
        self.engine(host).holds().containers.into_iter().map(|container| container.name).collect()
    }

    async fn apply(&mut self) -> Outcome {
        site::apply(&mut self.site, WrongFiles::KeepGoing).await
    }

    /// Pushes an empty commit that acknowledges what the brake of this outcome holds.
    fn acknowledge(&self, outcome: &Outcome) {
        let digest = &outcome.last.plan.braked.first().expect("something is braked").digest;
        self.repository.push(&format!("It is meant\n\nBayplan-Allow-Removal: {digest}"));
    }
}

fn holds(outcome: &Outcome) -> Vec<&'static str> {
    outcome.last.plan.all_holds().map(|(_, hold)| hold.name()).collect()
}

#[tokio::test]
async fn a_host_that_left_is_cleared_once_that_is_acknowledged_and_then_forgotten() {
    let mut town = Town::with_the_shop(2).await;
    let before = town.names("host-2");
    town.repository.remove("hosts/host-2.yaml").push("No host-2");
    let outcome = town.apply().await;
    assert_eq!(town.names("host-2"), before, "nothing happens without a word");
    assert!(holds(&outcome).contains(&"host-left") && holds(&outcome).contains(&"brake"), "{:?}", holds(&outcome));
    assert!(town.repository.ledger("hosts.json").contains("host-2"));

    town.acknowledge(&outcome);
    let outcome = town.apply().await;
    assert!(outcome.last.plan.is_empty() && holds(&outcome).is_empty(), "{:?}", outcome.last.plan);
    assert_eq!(town.names("host-2"), Vec::<String>::new());
    assert_eq!(town.names("host-1").len(), 2);
    assert!(!town.repository.ledger("hosts.json").contains("host-2"), "{}", town.repository.ledger("hosts.json"));
    assert!(!town.repository.ledger("status/shop.json").contains("acceptedRemovals"));
}

#[tokio::test]
async fn a_host_that_left_and_does_not_answer_is_abandoned_and_cleared_when_it_is_back() {
    let mut town = Town::with_the_shop(2).await;
    town.repository.remove("hosts/host-2.yaml").push("No host-2");
    let fault = town.engine("host-2").fault(Fault::Down, Which::Every, Times::UntilLifted);
    let outcome = town.apply().await;
    assert_eq!(town.names("host-1").len(), 1, "nothing is made a second time without a word");
    town.acknowledge(&outcome);
    town.apply().await;
    assert_eq!(town.names("host-1").len(), 2);
    assert!(town.repository.ledger("hosts.json").contains("abandoned"), "{}", town.repository.ledger("hosts.json"));

    town.engine("host-2").lift(fault);
    // Who starts anew does not know that it was silent.
    town.site = town.simulated.site(&town.repository, Config::default()).await;
    let outcome = town.apply().await;
    assert!(outcome.last.plan.is_empty() && holds(&outcome).is_empty(), "{:?}", outcome.last.plan);
    assert_eq!(town.names("host-2"), Vec::<String>::new());
    assert!(!town.repository.ledger("hosts.json").contains("host-2"));
}

#[tokio::test]
async fn a_renamed_host_moves_nothing_until_that_is_acknowledged() {
    let mut town = Town::with_the_shop(2).await;
    let all = |town: &Town| (town.engine("host-1").holds(), town.engine("host-2").holds());
    let before = all(&town);
    let renamed = "name: host-two\nipAddress: 10.0.0.2\nendpoint: memory://host-2\n";
    town.repository.write("hosts/host-2.yaml", renamed).push("Rename host-2");
    let outcome = town.apply().await;
    assert_eq!(all(&town), before);
    assert!(holds(&outcome).contains(&"brake"), "{:?}", holds(&outcome));

    town.acknowledge(&outcome);
    let outcome = town.apply().await;
    assert!(outcome.last.plan.is_empty() && holds(&outcome).is_empty(), "{:?}", outcome.last.plan);
    assert_eq!(town.names("host-1").len() + town.names("host-2").len(), 2);
    assert!(!town.repository.ledger("hosts.json").contains("\"host-2\""));
}

#[tokio::test]
async fn an_emptied_inventory_removes_nothing_even_when_it_is_acknowledged() {
    let mut town = Town::with_the_shop(2).await;
    town.repository.remove("hosts/host-1.yaml").remove("hosts/host-2.yaml").push("No hosts");
    let outcome = town.apply().await;
    assert!(holds(&outcome).contains(&"brake"), "{:?}", holds(&outcome));
    town.acknowledge(&outcome);
    let outcome = town.apply().await;
    assert!(holds(&outcome).contains(&"unplaced"), "{:?}", holds(&outcome));
    assert_eq!(town.names("host-1").len() + town.names("host-2").len(), 2, "there is nowhere else to be");
}

#[tokio::test]
async fn an_accepted_removal_stays_accepted_when_only_a_part_of_it_could_be_done() {
    let mut town = Town::with_the_shop(2).await;
    for number in 0..4 {
        let stack = SHOP.replace("name: shop", &format!("name: shop-{number}"));
        town.repository.write(&format!("stacks/shop-{number}.yaml"), &stack);
    }
    town.repository.push("Four more");
    town.apply().await;
    for number in 0..4 {
        town.repository.remove(&format!("stacks/shop-{number}.yaml"));
    }
    town.repository.push("None of the four");
    let outcome = town.apply().await;
    assert!(holds(&outcome).contains(&"brake"), "{:?}", holds(&outcome));
    town.acknowledge(&outcome);
    // Half of them cannot go now.
    let fault =
        town.engine("host-2").fault(Fault::Fail("no".to_owned()), Which::Only(Call::Remove), Times::UntilLifted);
    town.apply().await;
    town.engine("host-2").lift(fault);
    let outcome = town.apply().await;
    assert!(outcome.last.plan.is_empty() && holds(&outcome).is_empty(), "{:?}", holds(&outcome));
    assert_eq!(town.names("host-1").len() + town.names("host-2").len(), 2, "only the first shop is left");
}

#[tokio::test]
async fn what_failed_is_tried_again_when_its_host_is_described_otherwise() {
    let mut town = Town::with_the_shop(2).await;
    let exits = ImageScript::runs().exits(Duration::ZERO, 3);
    town.simulated.engines.values().for_each(|engine| drop(engine.load("exits:1", exits.clone())));
    town.repository.write("stacks/shop.yaml", &SHOP.replace("web:1", "exits:1")).push("One that exits");
    let outcome = town.apply().await;
    assert_eq!(outcome.ended.values().map(|ended| ended.failures.len()).sum::<usize>(), 1);
    let outcome = town.apply().await;
    assert!(outcome.ended.is_empty() && holds(&outcome) == ["bad-content"], "{:?}", holds(&outcome));

    for host in ["host-1", "host-2"] {
        let number = &host[5..];
        let text =
            format!("name: {host}\nipAddress: 10.0.0.{number}\nendpoint: memory://{host}\nlabels: {{disk: ssd}}\n");
        town.repository.write(&format!("hosts/{host}.yaml"), &text);
    }
    town.repository.push("New disks");
    let outcome = town.apply().await;
    assert_eq!(outcome.ended.values().map(|ended| ended.failures.len()).sum::<usize>(), 1, "it was tried again");
    let outcome = town.apply().await;
    assert!(outcome.ended.is_empty() && holds(&outcome) == ["bad-content"], "once: {:?}", holds(&outcome));
}

#[tokio::test]
async fn a_draining_host_is_left_by_what_may_leave_and_lists_the_rest() {
    let mut town = Town::with_the_shop(2).await;
    let with_data = SHOP.replace("'db:1'", "'db:1', volumeMounts: [{source: data, target: /data}]");
    town.repository.write("stacks/shop.yaml", &with_data).push("With data");
    town.apply().await;
    let data = if town.names("host-1").contains(&"shop-db-1".to_owned()) { "host-1" } else { "host-2" };
    let other = if data == "host-1" { "host-2" } else { "host-1" };
    for host in [data, other] {
        let number = &host[5..];
        let text = format!("name: {host}\nipAddress: 10.0.0.{number}\nendpoint: memory://{host}\nstatus: draining\n");
        let text = if host == data { text } else { text.replace("status: draining\n", "") };
        town.repository.write(&format!("hosts/{host}.yaml"), &text);
    }
    let stack = format!(
        "name: more\nplacement: manual\nitemListElement: [{{name: web, position: 1, image: 'web:1', targetHost: {data}}}]\n"
    );
    town.repository.write("stacks/more.yaml", &stack).push("Drain it");
    let outcome = town.apply().await;
    assert_eq!(town.names(data), ["shop-db-1"]);
    assert_eq!(town.names(other), ["shop-web-1"]);
    assert!(holds(&outcome).contains(&"stays-on-draining"), "{:?}", holds(&outcome));
    assert_eq!(outcome.last.ledger.records[&StackSlug::new("shop").unwrap()].status, StackStatus::Running);
}

#[tokio::test]
async fn what_needs_the_volume_of_a_braked_removal_waits_with_it() {
    let mut town = Town::with_the_shop(1).await;
    let stack = |name: &str, services: std::ops::Range<u32>| {
        let service = |n: u32| {
            format!(
                "  - {{name: s{n}, position: {n}, image: 'web:1', volumeMounts: [{{source: data, target: /data}}]}}\n"
            )
        };
        format!("name: {name}\nitemListElement:\n{}", services.map(service).collect::<String>())
    };
    town.repository.write("stacks/old.yaml", &stack("old", 1..7)).push("Six that write");
    town.apply().await;
    town.repository.write("stacks/old.yaml", &stack("old", 7..8)).push("One other that writes");
    let outcome = town.apply().await;
    assert!(holds(&outcome).contains(&"volume-held"), "{:?}", holds(&outcome));
    assert!(!town.names("host-1").contains(&"old-s7-1".to_owned()), "{:?}", town.names("host-1"));
    town.acknowledge(&outcome);
    let outcome = town.apply().await;
    assert_eq!(holds(&outcome), Vec::<&str>::new());
    assert!(town.names("host-1").contains(&"old-s7-1".to_owned()));
}
