//! Where a value comes from: what `explain` tells an operator about each kernel object.

use std::collections::BTreeSet;
use std::net::IpAddr;

use bulkhead_cni::Call;
use bulkhead_model::{Family, IfName, InterfaceAddress};
use bulkhead_nft as nft;
use bulkhead_plan::{
    Advertised, Attached, Guard, Op, Plan, Shape, Sysctl, filter_table, host_port_table,
    segment_table,
};

use crate::{Inspection, Rehearsal, guard_of};

/// A value of an attachment, the object that carries it, and why it is what it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Origin {
    /// The kernel object, in the words of README's table: `port`, `interface`, `route`, ...
    pub object: &'static str,
    /// The value.
    pub value: String,
    /// Where it comes from: a key of the configuration, the lease, the runtime, a digest.
    pub source: String,
}

impl Origin {
    /// A row.
    pub fn new(
        object: &'static str,
        value: impl std::fmt::Display,
        source: impl Into<String>,
    ) -> Self {
        Self {
            object,
            value: value.to_string(),
            source: source.into(),
        }
    }
}

/// What a main plugin alone knows of an attachment.
#[derive(Clone, Debug, Default)]
pub struct Own {
    /// The port's attributes on its bridge.
    pub port: Vec<Origin>,
    /// The bridge.
    pub bridge: Vec<Origin>,
    /// Where the MTU comes from.
    pub mtu: String,
    /// Where a route comes from.
    pub routes: Vec<String>,
    /// Where the network's address translation comes from.
    pub nat: String,
    /// Where the node's sysctls come from.
    pub sysctls: String,
}

/// `key` of the configuration if it is set there, else `default`.
#[must_use]
pub fn configured(call: &Call, key: &str, default: &str) -> String {
    match call.config.root().optional(key) {
        Some(field) => format!("configuration, {}: {}", field.path(), field.value()),
        None => default.to_owned(),
    }
}

/// Every object of an attachment: what all main plugins' have, and `own`.
#[must_use]
pub fn origins(seen: &Inspection, rehearsal: &Rehearsal, own: Own) -> Vec<Origin> {
    let mut rows = identity(seen);
    rows.extend(interface(seen, rehearsal, &own));
    rows.extend(port(seen, rehearsal, &own.mtu));
    rows.extend(own.port);
    rows.extend(filter(seen));
    rows.extend(ifb(seen, rehearsal));
    rows.extend(own.bridge);
    rows.extend(host_ports(&seen.want));
    if let Some(table) = &seen.want.nat {
        rows.push(Origin::new("NAT table", &table.id, own.nat));
    }
    rows.extend(sysctls(seen, rehearsal, &own.sysctls));
    rows
}

fn identity(seen: &Inspection) -> Vec<Origin> {
    let grant = &seen.grant;
    let key = &grant.key;
    let from = "network, CNI_CONTAINERID and CNI_IFNAME";
    vec![
        Origin::new("attachment", key, from),
        Origin::new("attachment id", grant.id, "SHA-256 of the three"),
        Origin::new("namespace", grant.netns(), "CNI_NETNS of ADD, recorded"),
    ]
}

fn interface(seen: &Inspection, rehearsal: &Rehearsal, own: &Own) -> Vec<Origin> {
    let (grant, interface) = (&seen.grant, &seen.want.interface);
    let mut rows = vec![
        Origin::new("interface", interface.name, "CNI_IFNAME"),
        Origin::new("interface MAC", interface.mac, interface_mac(seen)),
    ];
    let link = |ns, name| seen.world.space(ns).links.get(&name);
    if let Some(inside) = link(&interface.ns, interface.name) {
        let port = link(&seen.want.node, seen.want.port.name);
        let source = if port.is_none_or(|port| port.mtu == inside.mtu) {
            own.mtu.as_str()
        } else {
            "changed by a plugin chained later"
        };
        rows.push(Origin::new("interface MTU", inside.mtu, source));
    }
    for address in &interface.addresses {
        let source = format!("lease {} of network {}", grant.sequence, grant.key.network);
        rows.push(Origin::new("address", address, source));
    }
    rows.extend(link_local(seen));
    for (route, source) in interface.routes.iter().zip(&own.routes) {
        rows.push(Origin::new("route", route, source));
    }
    let inside = rehearsal.add.ops().iter().filter_map(|op| match op {
        Op::SetSysctl { ns, sysctl, value } if *ns == interface.ns => Some((sysctl, value)),
        _ => None,
    });
    for (sysctl, value) in inside {
        let text = format!("{sysctl}={value}");
        let source = sysctl_source(sysctl, interface.advertised);
        rows.push(Origin::new("interface sysctl", text, source));
    }
    rows
}

/// One of the MAC it has, or of one it had before a plugin chained later changed that.
fn link_local(seen: &Inspection) -> Option<Origin> {
    let interface = &seen.want.interface;
    let has_v6 = |address: &InterfaceAddress| address.family() == Family::V6;
    if !interface.addresses.iter().any(has_v6) {
        return None;
    }
    let derived = InterfaceAddress::new(interface.mac.link_local().into(), 64)?;
    let is_link_local = |ip: IpAddr| matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
    let standing = seen.world.space(&interface.ns).addresses.keys();
    let mut standing = standing
        .filter(|(on, address)| *on == interface.name && is_link_local(address.address()))
        .map(|(_, address)| *address);
    let other = standing.clone().all(|address| address != derived);
    let (address, source) = match standing.next().filter(|_| other) {
        Some(other) => (other, "link-local address of the MAC it had first"),
        None => (
            derived,
            "link-local address of the MAC (RFC 4291 appendix A)",
        ),
    };
    Some(Origin::new("address", address, source))
}

fn sysctl_source(sysctl: &Sysctl, advertised: Advertised) -> &'static str {
    match sysctl.path().rsplit('/').next() {
        Some("ra_defrtr_metric") => "its own default route goes before the advertised one",
        Some("accept_ra") if advertised != Advertised::Nothing => "routerAdvertisements, recorded",
        Some("autoconf") if advertised == Advertised::Addresses => {
            "routerAdvertisements: addresses of its own prefix"
        }
        Some("disable_ipv6") => "it has IPv6 addresses, whatever the namespace's default is",
        Some("keep_addr_on_down") => "its IPv6 addresses outlive a `down`, as IPv4's do",
        Some("accept_redirects") => "its one gateway has nothing to redirect it to",
        _ => "no router's advertisement gives it addresses or routes",
    }
}

fn interface_mac(seen: &Inspection) -> &'static str {
    let mac = seen.want.interface.mac;
    if mac == seen.grant.id.interface_mac() {
        "digest of the id, recorded"
    } else if seen.want.port.is_told {
        "digest of network, pool and place in it, recorded"
    } else if seen.grant.names.interface_mac == Some(mac) {
        "asked for at ADD, recorded"
    } else {
        "changed by a plugin chained later"
    }
}

fn port(seen: &Inspection, rehearsal: &Rehearsal, mtu: &str) -> Vec<Origin> {
    let port = &seen.want.port;
    let named = "bhp and 12 characters of the id, recorded";
    let mut rows = vec![
        Origin::new("port", port.name, named),
        Origin::new("port MAC", port.mac, "digest of the id, recorded"),
    ];
    if let Some(link) = seen.world.space(&seen.want.node).links.get(&port.name) {
        rows.push(Origin::new("port MTU", link.mtu, mtu));
    }
    if let Some(limit) = seen.want.bandwidth.ingress {
        let source = format!(
            "bandwidth of ADD, recorded: ingress {} bit/s, burst {} bit",
            limit.rate, limit.burst
        );
        rows.extend(
            shape_of(&rehearsal.add, port.name).map(|s| Origin::new("port qdisc", s, source)),
        );
    }
    rows
}

fn filter(seen: &Inspection) -> Vec<Origin> {
    let binding = &seen.want.filter.binding;
    let table = filter_table();
    let mut rows = vec![Origin::new("filter table", &table, "one for the node")];
    rows.extend(own_chain(seen).map(|chain| {
        let source = "of the port alone, drops what is not bound";
        Origin::new("filter chain", format!("{table} {chain}"), source)
    }));
    let row = |set: &str, element: String, source: String| {
        Origin::new(
            "filter element",
            format!("{table} {set} {{ {element} }}"),
            source,
        )
    };
    let settings = guard_of(&seen.grant.names);
    for (set, keys) in binding.entries() {
        let source = match &binding.guard {
            Guard::Off => "the port may send anything: guard off at ADD, recorded".to_owned(),
            Guard::Mac(_) => {
                "the port may send, from this MAC: macspoofchk at ADD, recorded".to_owned()
            }
            Guard::On(_) => {
                format!("what the port may send: lease, and guard {settings} at ADD, recorded")
            }
        };
        let keys = keys.iter();
        rows.extend(keys.map(|key| row(set.as_str(), key.to_string(), source.clone())));
    }
    if let Some(ifb) = binding.ifb {
        let source = "what it sends goes by the ifb device: egress limit";
        let element = format!("\"{}\" : \"{ifb}\"", binding.port);
        rows.push(row("shaped", element, source.to_owned()));
    }
    rows.extend(in_front(seen));
    rows
}

/// What leads to the bridge is judged by.
fn in_front(seen: &Inspection) -> impl Iterator<Item = Origin> {
    let table = segment_table();
    let of_set = |(set, keys): (nft::Name, BTreeSet<nft::Key>)| {
        let elements = keys.into_iter();
        elements.map(move |key| format!("{set} {{ {key} }}"))
    };
    let elements = seen.want.filter.binding.segment_entries();
    let elements = elements.into_iter().flat_map(of_set);
    let source = "held on the bridge: what is for its blocks and for nobody is not asked for there";
    elements.map(move |element| Origin::new("filter element", format!("{table} {element}"), source))
}

/// The port's own base chain: where it has one, it stands or what would mend the attachment adds it.
fn own_chain(seen: &Inspection) -> Option<nft::Name> {
    let binding = &seen.want.filter.binding;
    let is_own = |name: &&nft::Name| name.as_str().ends_with(binding.port.as_str());
    let table = seen
        .world
        .space(&seen.want.node)
        .tables
        .get(&filter_table());
    let standing = table.and_then(|table| table.chains.keys().find(is_own));
    let added = || {
        seen.remainder
            .ops()
            .iter()
            .find_map(|op| added_chain(op, is_own))
    };
    standing.cloned().or_else(added)
}

fn added_chain(op: &Op, is_own: impl Fn(&&nft::Name) -> bool) -> Option<nft::Name> {
    let Op::Nft { transaction, .. } = op else {
        return None;
    };
    let names = transaction.0.iter().flat_map(|command| match command {
        nft::Command::AddChain { chain, .. } => std::slice::from_ref(chain),
        nft::Command::AddTable(table) | nft::Command::ReplaceTable(table) => &table.chains,
        _ => &[],
    });
    names.map(|chain| &chain.name).find(is_own).cloned()
}

fn ifb(seen: &Inspection, rehearsal: &Rehearsal) -> Vec<Origin> {
    let (Some(name), Some(limit)) = (seen.want.filter.binding.ifb, seen.want.bandwidth.egress)
    else {
        return Vec::new();
    };
    let named = "bhi and 12 characters of the id, recorded";
    let source = format!(
        "bandwidth of ADD, recorded: egress {} bit/s, burst {} bit",
        limit.rate, limit.burst
    );
    let shape = shape_of(&rehearsal.add, name).map(|shape| Origin::new("ifb qdisc", shape, source));
    std::iter::once(Origin::new("ifb device", name, named))
        .chain(shape)
        .collect()
}

fn shape_of(add: &Plan, link: IfName) -> Option<Shape> {
    add.ops().iter().find_map(|op| match op {
        Op::SetShape {
            link: on, shape, ..
        } if *on == link => Some(*shape),
        _ => None,
    })
}

fn host_ports(want: &Attached) -> Vec<Origin> {
    let mine = &want.host_ports.mine;
    if mine.is_empty() {
        return Vec::new();
    }
    let mut rows = vec![Origin::new(
        "host port table",
        host_port_table(),
        "one for the node",
    )];
    for forward in mine {
        let value = format!("{} to {}", forward.host, forward.to);
        rows.push(Origin::new(
            "host port",
            value,
            "portMappings of ADD, recorded",
        ));
    }
    rows
}

fn sysctls(seen: &Inspection, rehearsal: &Rehearsal, source: &str) -> Vec<Origin> {
    let row = |(sysctl, value): &(Sysctl, String)| {
        let change = rehearsal.changes.iter().find(|c| c.key == sysctl.path());
        let found = change.map_or_else(String::new, |change| {
            format!("; {} before, put back with the last network", change.before)
        });
        let source = format!("{source}{found}");
        Origin::new("node sysctl", format!("{sysctl}={value}"), source)
    };
    seen.want.sysctls.iter().map(row).collect()
}
