//! Settings of the kernel that contradict a network.

use bulkhead_model::{Family, IfName};

use crate::coexist::network::{Bridged, HostPorts};
use crate::doctor::finding::{Finding, Id, or_ok};
use crate::doctor::node::{Conf, Linked, Node, command, path_of};

pub(super) fn check(node: &Node) -> Vec<Finding> {
    let mut findings = or_ok(
        strict_filters(node),
        Id::RpFilterStrict,
        "no uplink drops what comes another way than it would answer",
    );
    findings.extend(or_ok(
        loose_filters(node).into_iter().collect(),
        Id::RpFilterLoose,
        "nothing loosens the reverse path filter of links to containers",
    ));
    findings.extend(unfiltered(node));
    findings.extend(or_ok(
        localnet(node),
        Id::RouteLocalnetAll,
        "127.0.0.0/8 is routed by no device but bridges",
    ));
    findings.extend(or_ok(
        no_ipv6(node),
        Id::Ipv6Disabled,
        "IPv6 is on wherever a network has it",
    ));
    findings.extend(flows(node));
    findings
}

/// RFC 3704 §2.2, strict: the larger of `all`'s and the device's (`ip-sysctl.rst`).
fn strict_filters(node: &Node) -> Vec<Finding> {
    let mut uplinks: Vec<_> = node
        .routes
        .iter()
        .filter(|route| route.family == Family::V4)
        .map(|route| route.link)
        .collect();
    uplinks.dedup();
    if uplinks.len() < 2 {
        return Vec::new();
    }
    let filter = |conf| {
        let value = node.sysctls.of(Family::V4, conf, "rp_filter");
        value.unwrap_or_default()
    };
    let strict = uplinks
        .iter()
        .filter(|link| filter(Conf::All).max(filter(Conf::Device(**link))) == 1);
    let findings = strict.map(|link| {
        let path = path_of(Family::V4, Conf::Device(*link), "rp_filter");
        let seen = format!(
            "{link} filters by reverse path strictly, and {} links have a default route",
            uplinks.len()
        );
        Finding::warn(Id::RpFilterStrict, seen)
            .of(node.networks.iter().map(|network| &network.name))
            .why(format!(
                "what is sent out by one of them and answered by {link} is dropped there, and so are connections to host ports that come in by it"
            ))
            .help(command(&path, "2"))
    });
    findings.collect()
}

/// The larger of `all`'s and the port's counts (`ip-sysctl.rst`), and 2 is looser than 1: it lets every
/// source pass that is routed to anywhere.
fn loose_filters(node: &Node) -> Option<Finding> {
    let has_ipv4 = |linked: &&Linked| linked.ports(Family::V4).next().is_some();
    let of_ipv4: Vec<_> = node.linked.iter().filter(has_ipv4).collect();
    let path = path_of(Family::V4, Conf::All, "rp_filter");
    if of_ipv4.is_empty() || node.sysctls.number(&path) != Some(2) {
        return None;
    }
    Some(
        Finding::warn(Id::RpFilterLoose, format!("{path} is 2"))
            .of(of_ipv4.into_iter().map(|linked| &linked.name))
            .why("links to containers ask for 1, which drops IPv4 sources that are not routed to them (RFC 3704); of both the kernel takes the larger, and 2 lets them pass. The guard drops them still, where it is on")
            .help(command(&path, "0"))
            .help("and set the links that need it to 2 one by one: net/ipv4/conf/LINK/rp_filter"),
    )
}

/// Links to containers that somebody has switched it off on.
fn unfiltered(node: &Node) -> Vec<Finding> {
    let value = |conf| node.sysctls.of(Family::V4, conf, "rp_filter");
    let all = value(Conf::All).unwrap_or_default();
    let mut findings = Vec::new();
    for linked in &node.linked {
        let off = |port: &IfName| value(Conf::Device(*port)).is_some_and(|own| own.max(all) == 0);
        let ports: Vec<_> = linked.ports(Family::V4).filter(off).collect();
        if let [first, ..] = ports[..] {
            let seen = format!(
                "rp_filter is 0 on {} links to containers, {first} among them",
                ports.len()
            );
            findings.push(
                Finding::warn(Id::RpFilterPort, seen)
                    .of([&linked.name])
                    .why("they were made with 1, which drops IPv4 sources that are not routed to them (RFC 3704); something has written to net.ipv4.conf since")
                    .help("bulkhead check --repair")
                    .help("and look for who sets net.ipv4.conf.*.rp_filter in /etc/sysctl.d"),
            );
        }
    }
    findings
}

/// Host ports on 127.0.0.1 need it of their bridge alone, where packets to 127.0.0.0/8 from ports are
/// dropped.
fn localnet(node: &Node) -> Vec<Finding> {
    let uplinks = node.routes.iter().map(|route| Conf::Device(route.link));
    let mut seen: Vec<_> = [Conf::All, Conf::Default]
        .into_iter()
        .chain(uplinks)
        .collect();
    seen.dedup();
    let on = seen
        .into_iter()
        .filter(|conf| node.sysctls.of(Family::V4, *conf, "route_localnet") == Some(1));
    let with_ports = || {
        let declared = |network: &&Bridged| network.host_ports == HostPorts::Declared;
        node.networks
            .iter()
            .filter(declared)
            .map(|network| &network.name)
    };
    let findings = on.map(|conf| {
        let path = path_of(Family::V4, conf, "route_localnet");
        Finding::warn(Id::RouteLocalnetAll, format!("{path} is 1"))
            .of(with_ports())
            .why("hosts on the same segment reach services of the node that listen on 127.0.0.1 alone (CVE-2020-8558); our host ports need it of their own bridge only")
            .help(format!(
                "{}, unless kube-proxy serves node ports on 127.0.0.1",
                command(&path, "0")
            ))
    });
    findings.collect()
}

fn no_ipv6(node: &Node) -> Vec<Finding> {
    let with_ipv6 = node
        .networks
        .iter()
        .filter(|network| network.families.contains(&Family::V6));
    let networks: Vec<&Bridged> = with_ipv6.collect();
    if networks.is_empty() {
        return Vec::new();
    }
    let is_off = |conf| node.sysctls.of(Family::V6, conf, "disable_ipv6") == Some(1);
    let why = "a bridge without IPv6 carries no IPv6 gateway: ADD fails, or containers have no way out by IPv6";
    let mut findings = Vec::new();
    for conf in [Conf::All, Conf::Default] {
        if is_off(conf) {
            let path = path_of(Family::V6, conf, "disable_ipv6");
            findings.push(
                Finding::problem(Id::Ipv6Disabled, format!("{path} is 1"))
                    .of(networks.iter().map(|network| &network.name))
                    .why(why)
                    .help(command(&path, "0"))
                    .help("or leave the IPv6 ranges out of the configuration"),
            );
        }
    }
    for network in networks {
        let conf = Conf::Device(network.bridge);
        if is_off(conf) {
            let path = path_of(Family::V6, conf, "disable_ipv6");
            findings.push(
                Finding::problem(Id::Ipv6Disabled, format!("{path} is 1"))
                    .of([&network.name])
                    .why(why)
                    .help(command(&path, "0")),
            );
        }
    }
    findings
}

/// Tracked flows against their limit: at the limit new ones are dropped.
fn flows(node: &Node) -> Vec<Finding> {
    const FEW_LEFT: u64 = 80;
    const FULL: u64 = 95;
    let number = |name: &str| {
        node.sysctls
            .number(&format!("net/netfilter/nf_conntrack_{name}"))
    };
    let (Some(count), Some(max)) = (number("count"), number("max")) else {
        return Vec::new();
    };
    let percent = count
        .saturating_mul(100)
        .checked_div(max)
        .unwrap_or_default();
    let seen = format!("{count} of {max} flows are tracked");
    if percent < FEW_LEFT {
        return vec![Finding::ok(Id::ConntrackFull, seen)];
    }
    let finding = if percent < FULL {
        Finding::warn(Id::ConntrackFull, seen)
    } else {
        Finding::problem(Id::ConntrackFull, seen)
    };
    vec![
        finding
            .of(node.networks.iter().map(|network| &network.name))
            .why("at the limit the first packet of every new connection is dropped, of every network and of the node itself")
            .help(command(
                "net/netfilter/nf_conntrack_max",
                &max.saturating_mul(2).to_string(),
            ))
            .help("see what they are: conntrack -L | awk '{print $1, $4}' | sort | uniq -c"),
    ]
}
