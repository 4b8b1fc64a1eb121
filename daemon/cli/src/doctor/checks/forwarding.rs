//! Whether the node forwards for the networks that need it, and keeps its own way out.

use bulkhead_model::Family;

use crate::coexist::network::{Bridged, Routed};
use crate::doctor::finding::{Finding, Id, or_ok};
use crate::doctor::node::{Conf, Node, command, path_of};

pub(super) fn check(node: &Node) -> Vec<Finding> {
    let off = [Family::V4, Family::V6]
        .into_iter()
        .flat_map(|family| off(node, family));
    let mut findings = or_ok(
        off.collect(),
        Id::ForwardingOff,
        "the node forwards for every network that needs it",
    );
    findings.extend(or_ok(
        losing_routes(node),
        Id::AcceptRa,
        "no uplink loses its default route by forwarding",
    ));
    findings
}

/// The networks with attachments that the node forwards for.
fn served(node: &Node, family: Family) -> Vec<&Bridged> {
    let serves = |network: &&Bridged| {
        let routed = network.routed == Routed::Yes && network.families.contains(&family);
        routed && !network.live.is_empty()
    };
    node.networks.iter().filter(serves).collect()
}

fn off(node: &Node, family: Family) -> Vec<Finding> {
    let served = served(node, family);
    if served.is_empty() {
        return Vec::new();
    }
    let path = match family {
        Family::V4 => "net/ipv4/ip_forward".to_owned(),
        Family::V6 => path_of(family, Conf::All, "forwarding"),
    };
    let names = || served.iter().map(|network| &network.name);
    if node.sysctls.number(&path) == Some(0) {
        let finding = Finding::problem(Id::ForwardingOff, format!("{path} is 0"))
            .of(names())
            .why(format!(
                "nothing that containers send by {family} leaves the node, and nothing reaches them; ADD switched it on, and something switched it off again"
            ))
            .help(command(&path, "1"))
            .help("find who sets it: grep -r forward /etc/sysctl.conf /etc/sysctl.d /run/sysctl.d /usr/lib/sysctl.d");
        return vec![finding];
    }
    let mut devices: Vec<_> = served.iter().map(|network| network.bridge).collect();
    let uplinks = node.routes.iter().filter(|route| route.family == family);
    devices.extend(uplinks.map(|route| route.link));
    devices.sort();
    devices.dedup();
    let findings = devices.into_iter().filter_map(|device| {
        let conf = Conf::Device(device);
        let is_off = node.sysctls.of(family, conf, "forwarding") == Some(0);
        is_off.then(|| {
            let path = path_of(family, conf, "forwarding");
            Finding::problem(Id::LinkForwardingOff, format!("{path} is 0"))
                .of(names())
                .why(format!(
                    "packets that come in by {device} are not forwarded, whatever the node's own setting says"
                ))
                .help(command(&path, "1"))
        })
    });
    findings.collect()
}

/// Links whose default route came by a router advertisement, and that take no more of them because
/// they forward (`ip-sysctl.rst`, `accept_ra`).
fn losing_routes(node: &Node) -> Vec<Finding> {
    let advertised = node.routes.iter().filter(|route| route.advertised);
    let findings = advertised.filter_map(|route| {
        let conf = Conf::Device(route.link);
        let of = |name| node.sysctls.of(Family::V6, conf, name);
        let loses = of("accept_ra") == Some(1) && of("forwarding") == Some(1);
        loses.then(|| {
            let path = path_of(Family::V6, conf, "accept_ra");
            let link = route.link;
            Finding::problem(Id::AcceptRa, format!("{path} is 1, and {link} forwards"))
                .of(node.networks.iter().map(|network| &network.name))
                .why(format!(
                    "a link that forwards takes router advertisements only with 2: the node loses its IPv6 default route by {link} when that expires"
                ))
                .help(command(&path, "2"))
        })
    });
    findings.collect()
}
