//! MTU of networks against the links that carry what they send.

use bulkhead_kernel::HostLink;
use bulkhead_model::{Family, Mtu};

use crate::coexist::network::{Bridged, Routed};
use crate::doctor::finding::{Finding, Id, or_ok};
use crate::doctor::node::Node;

pub(super) fn check(node: &Node) -> Vec<Finding> {
    let mut findings = or_ok(
        node.networks
            .iter()
            .flat_map(|network| above_uplink(node, network))
            .collect(),
        Id::MtuAboveUplink,
        "no network has larger packets than its uplink",
    );
    findings.extend(
        node.networks
            .iter()
            .filter_map(|network| below_ipv6(node, network)),
    );
    findings
}

/// What the configuration asks for, and what the bridge has.
fn above_uplink(node: &Node, network: &Bridged) -> Vec<Finding> {
    if network.routed == Routed::No {
        return Vec::new();
    }
    let uplinks = network
        .families
        .iter()
        .filter_map(|family| uplink(node, *family));
    let Some(uplink) = uplinks.min_by_key(|uplink| uplink.mtu) else {
        return Vec::new();
    };
    let stands = bridge(node, network).map(|bridge| bridge.mtu);
    let configured = network.config.as_ref().and_then(|config| config.mtu);
    let seen = [
        configured.map(|mtu| (mtu, "its configuration asks for")),
        stands.map(|mtu| (mtu, "its bridge has")),
    ];
    let largest = seen
        .into_iter()
        .flatten()
        .filter(|(mtu, _)| *mtu > uplink.mtu)
        .max_by_key(|(mtu, _)| *mtu);
    let Some((mtu, what)) = largest else {
        return Vec::new();
    };
    let (ours, theirs, link) = (mtu.bytes(), uplink.mtu.bytes(), uplink.name);
    let mut finding = Finding::problem(
        Id::MtuAboveUplink,
        format!("{what} an MTU of {ours} bytes, and uplink {link} one of {theirs}"),
    )
    .of([&network.name])
    .why("larger packets are answered with an ICMP error or dropped without a word: where ICMP is filtered, connections hang once they carry data");
    if let Some(file) = &network.file {
        finding = finding.help(format!(
            "\"mtu\": {theirs} beside \"bridge\" in {}, then restart the network's containers",
            file.display()
        ));
    }
    if stands.is_some_and(|mtu| mtu > uplink.mtu) {
        finding = finding.help(format!(
            "until then: ip link set {} mtu {theirs}",
            network.bridge
        ));
    }
    vec![finding]
}

/// The kernel takes IPv6 off a device below 1280 bytes (RFC 8200 §5).
fn below_ipv6(node: &Node, network: &Bridged) -> Option<Finding> {
    let least = Mtu::minimum(Family::V6);
    let bridge = bridge(node, network)?;
    if bridge.mtu >= least || !network.families.contains(&Family::V6) {
        return None;
    }
    let (mtu, least, name) = (bridge.mtu.bytes(), least.bytes(), bridge.name);
    let seen = format!("bridge {name} has an MTU of {mtu} bytes");
    Some(
        Finding::problem(Id::MtuBelowIpv6, seen)
            .of([&network.name])
            .why(format!("the kernel runs no IPv6 on a device below {least}"))
            .help(format!(
                "ip link set {name} mtu {least}, after that of every port of it"
            )),
    )
}

fn bridge<'a>(node: &'a Node, network: &Bridged) -> Option<&'a HostLink> {
    let link = node.link(network.bridge);
    link.filter(|link| link.kind == "bridge")
}

/// The link of the default route that is taken.
fn uplink(node: &Node, family: Family) -> Option<&HostLink> {
    let route = node.routes.iter().find(|route| route.family == family)?;
    node.link(route.link)
}
