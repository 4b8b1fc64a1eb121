//! What Kubernetes knows of who is there: pods, namespaces and nodes. Of these only what policies need is
//! looked at, and nothing else is asked for: they are not policies.

use std::collections::BTreeSet;
use std::net::IpAddr;

use bulkhead_model::Protocol;

use crate::{
    Endpoint, EndpointId, Labels, NamedPort, Namespace, Node as ClusterNode, NodeName, Place,
};

use super::complaint::Problem;
use super::fields::{At, Log};
use super::node::{Node, Value};
use super::object::Object;
use super::selectors::labels;

const ADDRESS: &str = "an address such as 10.0.0.1 or fd00::1";
const PORT: &str = "a port's number (1 to 65535)";
const PROTOCOL: &str = "a protocol (TCP, UDP or SCTP)";

/// A pod, and what it tells of its node.
pub(super) struct Pod {
    pub(super) id: EndpointId,
    pub(super) endpoint: Endpoint,
    /// The addresses of its node.
    pub(super) host: BTreeSet<IpAddr>,
}

/// `None` for one that has ended: its containers are gone, and its address may be another's
/// (`podutils.IsPodTerminal`). One that is being deleted still runs.
pub(super) fn pod(object: &Object<'_>, log: &mut Log) -> Option<Pod> {
    let status = object.node.get("status");
    let of_status = |key| status.and_then(|status| status.get(key));
    if let Some(phase @ ("Succeeded" | "Failed")) = of_status("phase").and_then(Node::text) {
        log.tell(
            object.line(),
            "status.phase",
            Problem::Ended(phase.to_owned()),
        );
        return None;
    }
    let spec = object.node.get("spec");
    let of_spec = |key| spec.and_then(|spec| spec.get(key));
    let is_host = of_spec("hostNetwork").is_some_and(|at| at.value == Value::Bool(true));
    let mut addresses = listed(of_status("podIPs"), "status.podIPs", log);
    addresses.extend(address(of_status("podIP"), "status.podIP", log));
    let mut host = listed(of_status("hostIPs"), "status.hostIPs", log);
    host.extend(address(of_status("hostIP"), "status.hostIP", log));
    if is_host {
        host.extend(&addresses);
    }
    if addresses.is_empty() {
        log.tell(object.line(), "status.podIPs", Problem::NoAddress);
    }
    let mut ports = BTreeSet::new();
    for (key, node) in [
        ("spec.containers", of_spec("containers")),
        ("spec.initContainers", of_spec("initContainers")),
    ] {
        for container in node.and_then(Node::list).unwrap_or_default() {
            // Of those that run before the others, only sidecars are there afterwards (KEP-753).
            let is_sidecar = container.get("restartPolicy").and_then(Node::text) == Some("Always");
            if key == "spec.containers" || is_sidecar {
                ports.extend(named_ports(container, key, log));
            }
        }
    }
    let endpoint = Endpoint {
        labels: own_labels(object, log),
        groups: BTreeSet::new(),
        addresses,
        prefixes: BTreeSet::new(),
        ports,
        node: of_spec("nodeName").and_then(Node::text).map(NodeName::new),
        place: if is_host { Place::Host } else { Place::Port },
    };
    let id = EndpointId::new(object.namespace(), object.name());
    Some(Pod { id, endpoint, host })
}

pub(super) fn namespace(object: &Object<'_>, log: &mut Log) -> (String, Namespace) {
    let labels = own_labels(object, log);
    (object.name(), Namespace { labels })
}

pub(super) fn node(object: &Object<'_>, log: &mut Log) -> (NodeName, ClusterNode) {
    let status = object
        .node
        .get("status")
        .and_then(|status| status.get("addresses"));
    let mut addresses = BTreeSet::new();
    for at in status.and_then(Node::list).unwrap_or_default() {
        // The others are names.
        let kind = at.get("type").and_then(Node::text);
        if matches!(kind, Some("InternalIP" | "ExternalIP")) {
            addresses.extend(address(at.get("address"), "status.addresses", log));
        }
    }
    let labels = own_labels(object, log);
    let node = ClusterNode { addresses, labels };
    (NodeName::new(object.name()), node)
}

pub(super) fn own_labels(object: &Object<'_>, log: &mut Log) -> Labels {
    let written = object.metadata("labels");
    written.map_or_else(Labels::default, |at| labels(at, "metadata.labels", log))
}

/// A list of `{ip: ADDRESS}`.
fn listed(node: Option<&Node>, path: &str, log: &mut Log) -> BTreeSet<IpAddr> {
    let items = node.and_then(Node::list).unwrap_or_default();
    let found = items
        .iter()
        .filter_map(|item| address(item.get("ip"), path, log));
    found.collect()
}

pub(super) fn address(node: Option<&Node>, path: &str, log: &mut Log) -> Option<IpAddr> {
    let node = node?;
    // What has no address yet has an empty one.
    if node.text() == Some("") {
        return None;
    }
    let path = path.to_owned();
    At { node, path }.parsed(log, ADDRESS)
}

fn named_ports(container: &Node, path: &str, log: &mut Log) -> Vec<NamedPort> {
    let ports = container
        .get("ports")
        .and_then(Node::list)
        .unwrap_or_default();
    let mut named = |port: &Node| {
        let name = port.get("name").and_then(Node::text)?.to_owned();
        let path = format!("{path}[].ports[]");
        let node = port.get("containerPort").unwrap_or(port);
        let at = At {
            node,
            path: format!("{path}.containerPort"),
        };
        let number = at.number(log, (1, u16::MAX), PORT)?;
        let protocol = match port.get("protocol") {
            None => Protocol::Tcp,
            Some(node) => At {
                node,
                path: format!("{path}.protocol"),
            }
            .parsed(log, PROTOCOL)?,
        };
        let port = number;
        Some(NamedPort {
            name,
            protocol,
            port,
        })
    };
    ports.iter().filter_map(&mut named).collect()
}
