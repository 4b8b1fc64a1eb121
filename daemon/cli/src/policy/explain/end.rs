//! The ends of a packet: whose they are, and how they are attached.

use std::fmt::Write;
use std::net::IpAddr;

use bulkhead_ipam::wire::admin::SeenAttachment;
use bulkhead_policy::matrix::{End, Probe};
use bulkhead_policy::{Endpoint, EndpointId, NodeName, Place};

use super::answer::Step;
use super::scene::Scene;

/// Where it comes from.
pub(super) fn source(scene: &Scene<'_>) -> Step {
    let end = &scene.asked.real.source;
    step(scene, "binding", end, scene.packet.source)
}

/// Where it goes to.
pub(super) fn destination(scene: &Scene<'_>) -> Step {
    let end = &scene.asked.real.destination;
    step(scene, "destination", end, scene.packet.destination)
}

fn step(scene: &Scene<'_>, at: &'static str, end: &End, address: IpAddr) -> Step {
    let Some((id, endpoint)) = scene.endpoint(end, address) else {
        return Step::said(at, format!("{address} is {}", nobodys(scene, address)));
    };
    let mut step = Step::said(at, whose(id, endpoint, address));
    if scene.seen.is_none() || endpoint.place == Place::Host {
        return step;
    }
    if !scene.is_here(endpoint) {
        let node = endpoint.node.as_ref().map(NodeName::as_str);
        let node = node.map_or_else(|| "its node".to_owned(), |node| format!("node {node}"));
        step.unknown
            .push(format!("its port is {node}'s, which is to be asked for it"));
        return step;
    }
    match scene.attachment(id, address) {
        Some(seen) => attached(scene, seen, &mut step),
        None => {
            step.notes
                .push("no attachment with this address is recorded on this node".to_owned());
        }
    }
    step
}

/// How it is attached, and whether its links are there.
fn attached(scene: &Scene<'_>, seen: &SeenAttachment, step: &mut Step) {
    let names = &seen.record.names;
    let Some(port) = names.port else {
        let network = &seen.record.key.network;
        let says = format!("network {network} has a port that another plugin made");
        return step.notes.push(says);
    };
    let mut said = format!("port {port}");
    // Writing to a string does not fail.
    if let Some(bridge) = names.bridge {
        let _ = write!(said, " on bridge {bridge}");
    }
    if let Some(mac) = names.interface_mac {
        let _ = write!(said, ", MAC {mac}");
    }
    let _ = write!(said, "{}", scene.mtu_of(port));
    let others = seen.record.addresses.iter();
    let all: Vec<String> = others.map(|leased| leased.address.to_string()).collect();
    let key = &seen.record.key;
    step.notes
        .push(format!("{said}; {key} has the lease of {}", all.join(", ")));
    let is_read = scene.seen.is_some_and(|seen| !seen.links.is_empty());
    for link in [Some(port), names.bridge].into_iter().flatten() {
        let why = match scene.link(link) {
            Some(found) if found.up => continue,
            Some(_) => "is down",
            None if is_read => "is not there",
            None => continue,
        };
        let mend = format!("link {link} {why}: `bulkhead check --repair` mends it");
        step.notes.push(mend);
        step.allowed = Some(false);
    }
}

/// The host port that it was sent to.
pub(super) fn host_port(scene: &Scene<'_>) -> Option<Step> {
    let asked = scene.asked;
    let End::Address(to) = asked.posed.destination else {
        return None;
    };
    if let (Some(port), Some(here)) = (asked.port, scene.here()) {
        let says = format!(
            "{} of node {here} is {}'s: sent on to {} {}, by which policies judge it",
            port.host, asked.real.destination, scene.packet.destination, scene.packet.traffic
        );
        return Some(Step::said("host port", says));
    }
    // Without a view of any node, nothing is said of translations at all.
    let here = scene.here()?;
    let is_port = matches!(asked.posed.probe, Probe::Port(..));
    if !is_port || scene.destination().is_some() {
        return None;
    }
    if scene.is_own(to) {
        let says = format!("{} of node {here} leads to no container", asked.posed.probe);
        return Some(Step::said("host port", says));
    }
    let node = scene.node_at(to)?;
    let why = format!(
        "whether {} of node {node} leads to a container is that node's to tell",
        asked.posed.probe
    );
    Some(Step::unknown("host port", why))
}

/// What an address is that no endpoint has.
fn nobodys(scene: &Scene<'_>, address: IpAddr) -> String {
    if let Some(node) = scene.node_at(address) {
        return format!("node {node}'s");
    }
    let mut networks = scene.world.networks.iter();
    if let Some((name, _)) = networks.find(|(_, it)| it.gateways.contains(&address)) {
        return format!(
            "the gateway's of network {name}, which every node has for its own endpoints"
        );
    }
    let mut networks = scene.world.networks.iter();
    let pool = networks.find(|(_, it)| it.pools.iter().any(|pool| pool.contains(address)));
    match pool {
        Some((name, _)) => format!("in a pool of network {name}, and nobody is known to have it"),
        None => "no endpoint's".to_owned(),
    }
}

fn whose(id: &EndpointId, endpoint: &Endpoint, address: IpAddr) -> String {
    let mut said = format!("{address} is {id}'s{}", on(endpoint));
    // Writing to a string does not fail.
    if !endpoint.labels.is_empty() {
        let _ = write!(said, ", labels {}", endpoint.labels);
    }
    for (nth, group) in endpoint.groups.iter().enumerate() {
        let _ = write!(said, "{}{group}", if nth == 0 { ", groups " } else { "," });
    }
    said
}

fn on(endpoint: &Endpoint) -> String {
    let is_host = endpoint.place == Place::Host;
    match (&endpoint.node, is_host) {
        (Some(node), false) => format!(", on node {node}"),
        (Some(node), true) => format!(", on the network of node {node}"),
        (None, true) => ", on its node's network".to_owned(),
        (None, false) => String::new(),
    }
}
