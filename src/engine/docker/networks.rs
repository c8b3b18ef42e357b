//! Networks of an engine: finding, making, and the names that a container answers to.
//!
//! Never connects by name where an id is known: some engines hold two networks of one name and then refuse to start.
//!
//! Because an address can only be kept on a network whose subnet was given when it was made, ours always have one.

use std::net::Ipv4Addr;

use bollard::models::{
    Ipam, IpamConfig, Network, NetworkConnectRequest, NetworkCreateRequest, NetworkDisconnectRequest,
};
use bollard::query_parameters::ListNetworksOptionsBuilder;
use std::collections::HashMap;

use super::{Docker, answer, body, failure, named};
use crate::engine::{EngineError, deadline};
use crate::model::request::{LABEL_OWNER, NetworkRequest};
use crate::model::world::NetworkSeen;
use crate::name::NetworkName;

/// Another process may take the range between the probe and the making; it will not do so three times.
const ATTEMPTS: u32 = 3;

/// The one network that `name` means: of two, the one that carries `owner`'s label, else the older one.
pub async fn find(door: &Docker, name: &str, owner: Option<&str>) -> Result<Option<NetworkSeen>, EngineError> {
    let filters = HashMap::from([("name", vec![name])]);
    let options = ListNetworksOptionsBuilder::default().filters(&filters).build();
    let listed = door.ask("list networks", deadline::READ, door.api().list_networks(Some(options))).await?;
    // The engine's filter also finds names that only contain the text.
    let mut found: Vec<Network> = listed.into_iter().filter(|n| n.name.as_deref() == Some(name)).collect();
    let is_ours = |n: &Network| {
        owner.is_some() && n.labels.as_ref().and_then(|l| l.get(LABEL_OWNER).map(String::as_str)) == owner
    };
    found.sort_by(|a, b| (!is_ours(a), &a.created).cmp(&(!is_ours(b), &b.created)));
    Ok(found.into_iter().next().map(answer::network))
}

/// Makes the network unless there is one of its name. Gives its id.
pub async fn create(door: &Docker, request: &NetworkRequest) -> Result<String, EngineError> {
    let _one_at_a_time = door.network_making().lock().await;
    let owner = request.labels.get(LABEL_OWNER).map(String::as_str);
    if let Some(found) = find(door, request.name.as_str(), owner).await? {
        return Ok(found.id);
    }
    if let Some(subnet) = &request.subnet {
        return make(door, request, request.name.as_str(), Some(subnet)).await;
    }
    let mut attempt = 1;
    loop {
        let subnet = free_subnet(door, request).await?;
        match make(door, request, request.name.as_str(), Some(&subnet)).await {
            Err(EngineError::Refused { why, .. } | EngineError::Failed { why, .. })
                if why.contains("overlap") && attempt < ATTEMPTS =>
            {
                attempt += 1;
            }
            other => return other,
        }
    }
}

async fn make(
    door: &Docker,
    request: &NetworkRequest,
    name: &str,
    subnet: Option<&str>,
) -> Result<String, EngineError> {
    let range = |subnet: &str| Ipam {
        config: Some(vec![IpamConfig { subnet: Some(subnet.to_owned()), ..Default::default() }]),
        ..Default::default()
    };
    let wanted = NetworkCreateRequest {
        name: name.to_owned(),
        driver: Some("bridge".to_owned()),
        labels: Some(request.labels.iter().map(|(k, v)| (k.clone(), v.clone())).collect()),
        ipam: subnet.map(range),
        ..Default::default()
    };
    let made = door.ask("create network", deadline::CHANGE, door.api().create_network(wanted)).await?;
    Ok(made.id)
}

// Only the engine knows which ranges its machine routes elsewhere, so it is asked by making a network and removing it.
// It has a name of its own: a crash in between must not leave a network that looks finished.
async fn free_subnet(door: &Docker, request: &NetworkRequest) -> Result<String, EngineError> {
    let name = format!("{}.probe", request.name);
    let owner = request.labels.get(LABEL_OWNER);
    if let Some(left) = find(door, &name, owner.map(String::as_str)).await?
        && owner.is_some()
        && left.labels.get(LABEL_OWNER) == owner
    {
        remove(door, &left.id).await?;
    }
    let id = make(door, request, &name, None).await?;
    let look = door.ask("look at network", deadline::READ, door.api().inspect_network(&id, None)).await?;
    remove(door, &id).await?;
    let ranges = look.ipam.and_then(|ipam| ipam.config).unwrap_or_default();
    ranges.into_iter().filter_map(|range| range.subnet).find_map(|subnet| at_most_24(&subnet)).ok_or(
        EngineError::NotUnderstood { call: "create network", why: "the engine gave it no IPv4 subnet".to_owned() },
    )
}

/// The first /24 of an IPv4 range, or the range itself if it is smaller.
fn at_most_24(subnet: &str) -> Option<String> {
    let (address, length) = subnet.split_once('/')?;
    let address: Ipv4Addr = address.parse().ok()?;
    let length: u8 = length.parse().ok()?;
    Some(format!("{address}/{}", length.max(24)))
}

/// A missing one is fine.
pub async fn remove(door: &Docker, id: &str) -> Result<(), EngineError> {
    named::network("remove network", id)?;
    let removed = door.ask("remove network", deadline::CHANGE, door.api().remove_network(id));
    match removed.await {
        Err(EngineError::NotFound { .. }) => Ok(()),
        other => other,
    }
}

/// Changes the names by disconnecting and connecting under the same address.
///
/// A crash in between leaves the container unconnected; the next call connects it. Published ports do not survive.
pub async fn set_aliases(door: &Docker, id: &str, network: &str, aliases: &[String]) -> Result<(), EngineError> {
    const CALL: &str = "set aliases";
    named::container(CALL, id)?;
    named::network(CALL, network)?;
    let look = door.ask(CALL, deadline::READ, door.api().inspect_container(id, None)).await?;
    let full_id = look.id.unwrap_or_default();
    let mut endpoints = look.network_settings.and_then(|n| n.networks).unwrap_or_default();
    let endpoint = endpoints.remove(network);
    let mut wanted = aliases.to_vec();
    wanted.sort();
    wanted.dedup();
    if let Some(endpoint) = &endpoint
        && answer::aliases(endpoint, &full_id) == wanted
    {
        return Ok(());
    }
    let labels = look.config.and_then(|c| c.labels).unwrap_or_default();
    let known = endpoint.as_ref().and_then(|e| e.network_id.clone()).filter(|n| !n.is_empty());
    let network_id = match known {
        Some(id) => id,
        None => {
            let owner = labels.get(LABEL_OWNER).map(String::as_str);
            let found = find(door, network, owner).await?;
            found
                .map(|n| n.id)
                .ok_or_else(|| EngineError::NotFound { call: CALL, thing: format!("network {network}") })?
        }
    };
    let mut address = None;
    if let Some(endpoint) = &endpoint {
        address = answer::address(endpoint);
        let off = NetworkDisconnectRequest { container: full_id.clone(), force: None };
        door.ask(CALL, deadline::CHANGE, door.api().disconnect_network(&network_id, off)).await?;
    }
    let connect = |address| {
        let on = NetworkConnectRequest {
            container: full_id.clone(),
            endpoint_config: Some(body::endpoint(wanted.clone(), address)),
        };
        door.ask_or(deadline::CHANGE, CALL, door.api().connect_network(&network_id, on), |error| {
            failure::of(CALL, error)
        })
    };
    match connect(address).await {
        // A network that somebody made without a subnet keeps no address; being connected at all matters more.
        Err(EngineError::Refused { .. } | EngineError::Failed { .. }) if address.is_some() => connect(None).await,
        other => other,
    }
}

/// All networks.
pub async fn list(door: &Docker) -> Result<Vec<NetworkSeen>, EngineError> {
    let listed = door.ask("list networks", deadline::READ, door.api().list_networks(None)).await?;
    Ok(listed.into_iter().map(answer::network).collect())
}

/// The id of the network to attach a new container to.
pub async fn to_attach(door: &Docker, name: &NetworkName, owner: Option<&str>) -> Result<String, EngineError> {
    let found = find(door, name.as_str(), owner).await?;
    found.map(|n| n.id).ok_or_else(|| EngineError::NotFound { call: "create", thing: format!("network {name}") })
}

#[cfg(test)]
mod tests {
    use super::at_most_24;

    #[test]
    fn a_subnet_is_the_first_24_of_what_the_engine_found() {
        assert_eq!(at_most_24("172.18.0.0/16").as_deref(), Some("172.18.0.0/24"));
        assert_eq!(at_most_24("10.1.2.128/26").as_deref(), Some("10.1.2.128/26"));
        assert_eq!(at_most_24("fd00::/64"), None);
    }
}
