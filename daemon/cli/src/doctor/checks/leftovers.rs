//! What other plugins left on the node.

use std::collections::BTreeSet;

use bulkhead_kernel::{HostLink, OtherEnd};
use bulkhead_model::{Family, LinkGroup};
use bulkhead_nft::TableFamily;
use bulkhead_nft::foreign::{Engine, TableName};

use crate::doctor::finding::{Finding, Id, or_ok};
use crate::doctor::node::{Node, is_ours};

/// Names that the reference bridge plugin and kubenet give their bridges.
const REFERENCE_BRIDGES: [&str; 2] = ["cni0", "cbr0"];
/// Tables of the reference plugins `portmap` and `bridge` with their nftables backends.
const REFERENCE_TABLES: [(&str, &str); 2] = [
    ("cni_hostport", "portmap"),
    ("cni_plugins_masquerade", "bridge"),
];

pub(super) fn check(node: &Node) -> Vec<Finding> {
    let mut findings = bridges(node);
    findings.extend(leases(node));
    findings.extend(tables(node));
    findings.extend(chains(node));
    findings.extend(veths(node));
    or_ok(
        findings,
        Id::ReferenceBridge,
        "nothing of other plugins is left",
    )
}

/// The plugins that configurations of the directory run, ours and others'.
fn configured(node: &Node) -> BTreeSet<&str> {
    let plugins = node.directory.lists().flat_map(|list| &list.plugins);
    plugins.map(|plugin| plugin.plugin_type.as_str()).collect()
}

/// Bridges without a port whose plugin is configured no more.
fn bridges(node: &Node) -> Vec<Finding> {
    let is_named = |link: &&HostLink| REFERENCE_BRIDGES.contains(&link.name.as_str());
    let is_used = |link: &HostLink| {
        let has_port = node.links.iter().any(|port| port.bridge == Some(link.name));
        let is_ours = node
            .networks
            .iter()
            .any(|network| network.bridge == link.name);
        has_port || is_ours
    };
    let is_configured = configured(node).contains("bridge");
    let bridges = node
        .links
        .iter()
        .filter(|link| link.kind == "bridge")
        .filter(is_named);
    let idle = bridges.filter(|link| !is_used(link) && !is_configured);
    let findings = idle.map(|link| {
        let seen = format!(
            "bridge {} has no port, and no configuration names its plugin",
            link.name
        );
        Finding::warn(Id::ReferenceBridge, seen)
            .why("its address and route stay: a network whose subnet overlaps them is not reached")
            .help(format!("ip link del {}", link.name))
    });
    findings.collect()
}

/// Leases of host-local for networks that it serves no more.
fn leases(node: &Node) -> Vec<Finding> {
    let serves = |network: &str| {
        let mut lists = node
            .directory
            .lists()
            .filter(|list| list.name.as_str() == network);
        lists.any(|list| {
            list.plugins.iter().any(|plugin| {
                let ipam = plugin.config.get("ipam").and_then(|ipam| ipam.get("type"));
                ipam.and_then(|name| name.as_str()) == Some("host-local")
            })
        })
    };
    let findings = node.leases.iter().filter(|leases| !serves(&leases.network)).map(|leases| {
        let is_ours = node.directory.lists().any(|list| {
            list.name.as_str() == leases.network && is_ours(list)
        });
        let now = if is_ours { "is ours now" } else { "is not configured" };
        let seen = format!(
            "{} holds {} leases of host-local, and network {} {now}",
            leases.dir.display(),
            leases.addresses,
            leases.network
        );
        Finding::warn(Id::HostLocalLeases, seen)
            .why("nobody releases them; a container that was attached before the change may still use its address, which may be given out again")
            .help(format!("when no container of before is left: rm -r {}", leases.dir.display()))
    });
    findings.collect()
}

fn tables(node: &Node) -> Vec<Finding> {
    let configured = configured(node);
    let found = node.rules.ruleset.tables.keys().filter_map(|table| {
        let (_, plugin) = REFERENCE_TABLES
            .iter()
            .find(|(name, _)| table.name == *name)?;
        (!configured.contains(plugin)).then_some((table, *plugin))
    });
    let findings = found.map(|(table, plugin)| {
        Finding::warn(
            Id::ReferenceTable,
            format!("{table} is of plugin {plugin}, which no configuration names"),
        )
        .why("a host port in it leads to an address that may be another container's by now, before any host port of ours")
        .help(format!("nft delete {table}"))
    });
    findings.collect()
}

/// `CNI-...` chains of portmap, bridge and firewall.
fn chains(node: &Node) -> Vec<Finding> {
    let configured = configured(node);
    if ["bridge", "ptp", "portmap", "firewall"]
        .iter()
        .any(|plugin| configured.contains(plugin))
    {
        return Vec::new();
    }
    let findings = node.rules.ruleset.tables.iter().filter_map(|(name, table)| {
        let number = table.chains.keys().filter(|chain| chain.starts_with("CNI-")).count();
        (number > 0).then(|| {
            let (save, restore) = tools(name);
            Finding::warn(
                Id::ReferenceChains,
                format!("{name} has {number} chains CNI-*, and no configuration names a plugin that makes them"),
            )
            .why("they translate and forward for containers that are gone, before anything of ours")
            .help(format!(
                "{save} -t {0} | grep -v CNI- | {restore} -T {0}",
                name.name
            ))
        })
    });
    findings.collect()
}

fn tools(table: &TableName) -> (String, String) {
    let family = match table.family {
        TableFamily::Ip6 => Family::V6,
        _ => Family::V4,
    };
    let tool = match family {
        Family::V4 => "iptables",
        Family::V6 => "ip6tables",
    };
    let suffix = match table.engine {
        Engine::Nftables => "",
        Engine::Legacy => "-legacy",
    };
    (
        format!("{tool}{suffix}-save"),
        format!("{tool}{suffix}-restore"),
    )
}

/// Ports of bridges whose other end never got into a container, or came back.
fn veths(node: &Node) -> Vec<Finding> {
    let is_looked_at = |link: &&HostLink| {
        let Some(bridge) = link.bridge else {
            return false;
        };
        let of_ours = node.networks.iter().any(|network| network.bridge == bridge);
        of_ours || REFERENCE_BRIDGES.contains(&bridge.as_str())
    };
    let is_ours = |group| group == LinkGroup::OWNED || group == LinkGroup::DOOMED;
    let stray = node
        .links
        .iter()
        .filter(is_looked_at)
        .filter(|link| link.other_end == Some(OtherEnd::Here) && !is_ours(link.group));
    let findings = stray.map(|link| {
        let bridge = link.bridge.map_or(String::new(), |bridge| bridge.to_string());
        let seen = format!("both ends of {}, a port of {bridge}, are on the node", link.name);
        Finding::warn(Id::StrayVeth, seen)
            .of(node.networks.iter().filter(|network| Some(network.bridge) == link.bridge).map(|network| &network.name))
            .why("no container is behind it: an ADD died before it moved the other end, or somebody wired the node into the bridge on purpose")
            .help(format!("ip link del {}, unless it is meant", link.name))
    });
    findings.collect()
}
