//! What the kernel and nft must be able to do for the networks there are.

use std::collections::BTreeMap;

use bulkhead_model::NetworkName;
use bulkhead_plan::Hook;

use crate::coexist::network::{Bridged, HostPorts};
use crate::doctor::finding::{Finding, Id};
use crate::doctor::node::Node;

/// The oldest kernel.
const OLDEST: (u32, u32) = (5, 14);
/// `NFTA_DEVICE_PREFIX`.
const PREFIXES: (u32, u32) = (6, 17);
/// The first nft that lists a ruleset with chains bound to a prefix.
const NFT: (u32, u32, u32) = (1, 1, 6);

pub(super) fn check(node: &Node) -> Vec<Finding> {
    let mut findings: Vec<_> = release(node).into_iter().collect();
    findings.extend(prefixes(node));
    findings.extend(group_limit(node));
    findings.extend(modules(node));
    findings
}

fn release(node: &Node) -> Option<Finding> {
    let (major, minor) = node.software.kernel?;
    let seen = format!("the kernel is {major}.{minor}");
    if (major, minor) >= OLDEST {
        return Some(Finding::ok(Id::KernelTooOld, seen));
    }
    Some(
        Finding::problem(Id::KernelTooOld, seen)
            .of(node.networks.iter().map(|network| &network.name))
            .why("before 5.14 a port cannot be filtered before it carries a frame, so ADD is refused")
            .help("boot a kernel of 5.14 or later"),
    )
}

fn prefixes(node: &Node) -> Vec<Finding> {
    let bound: Vec<&NetworkName> = node
        .networks
        .iter()
        .filter(|network| {
            network
                .config
                .as_ref()
                .is_some_and(|config| config.hook == Hook::Prefix)
        })
        .map(|network| &network.name)
        .collect();
    if bound.is_empty() {
        return Vec::new();
    }
    let mut findings = Vec::new();
    if let Some((major, minor)) = node.software.kernel.filter(|kernel| *kernel < PREFIXES) {
        let seen = format!("\"portFilter\" is \"prefix\", and the kernel is {major}.{minor}");
        findings.push(
            Finding::problem(Id::KernelPrefixFilter, seen)
                .of(bound.iter().copied())
                .why("chains are bound to a prefix since 6.17: ADD is refused")
                .help("remove \"portFilter\" from the configuration: \"auto\" does without"),
        );
    }
    if let Some((major, minor, patch)) = node.software.nft.filter(|nft| *nft < NFT) {
        let seen = format!("\"portFilter\" is \"prefix\", and nft is {major}.{minor}.{patch}");
        findings.push(
            Finding::problem(Id::NftTooOld, seen)
                .of(bound)
                .why("before 1.1.6 nft does not know chains bound to a prefix: `nft list ruleset`, and every tool that lists by libnftables, never returns")
                .help("update nftables to 1.1.6 or later")
                .help("or set \"portFilter\" to \"perPort\", after the last container of the node's networks is gone"),
        );
    }
    findings
}

/// `IFLA_BRPORT_MCAST_MAX_GROUPS`, which an older kernel passes over without a word.
fn group_limit(node: &Node) -> Option<Finding> {
    let features = node.features.filter(|_| !node.networks.is_empty())?;
    if features.group_limit {
        let seen = "the kernel limits how many multicast groups a port joins";
        return Some(Finding::ok(Id::KernelGroupLimit, seen));
    }
    Some(
        Finding::warn(
            Id::KernelGroupLimit,
            "the kernel does not limit how many multicast groups a port of a bridge joins",
        )
        .of(node.networks.iter().map(|network| &network.name))
        .why("one container can fill its bridge's table of groups (mcast_hash_max, 4096 entries), after which multicast is flooded to all ports")
        .help("boot a kernel of 6.3 or later")
        .help("or use bulkhead-ipv6, where containers share no bridge"),
    )
}

/// Modules that are neither built in nor there to be loaded. Says nothing of a kernel that does not
/// tell its modules.
fn modules(node: &Node) -> Vec<Finding> {
    let Some(known) = &node.software.modules else {
        return Vec::new();
    };
    let mut missing: BTreeMap<(&str, &str), Vec<&NetworkName>> = BTreeMap::new();
    for network in &node.networks {
        for (module, what) in needed(network) {
            if !known.contains(module) {
                missing
                    .entry((module, what))
                    .or_default()
                    .push(&network.name);
            }
        }
    }
    if missing.is_empty() {
        return vec![Finding::ok(
            Id::KernelModule,
            "the kernel has every module that the networks need",
        )];
    }
    let findings = missing.into_iter().map(|((module, what), networks)| {
        let seen = format!("the kernel has no module {module}");
        Finding::problem(Id::KernelModule, seen)
            .of(networks)
            .why(format!("{what} needs it: ADD names what the kernel refused"))
            .help(format!(
                "install the package with the kernel's other modules (linux-modules-extra, kernel-modules), then: modprobe {module}"
            ))
    });
    findings.collect()
}

/// README, "Kernel".
fn needed(network: &Bridged) -> Vec<(&'static str, &'static str)> {
    let mut needed = vec![
        ("bridge", "every network"),
        ("veth", "every network"),
        ("nf_tables", "the filter on ports"),
    ];
    let masquerades = network
        .config
        .as_ref()
        .is_some_and(|config| config.masquerade.v4 || config.masquerade.v6);
    if masquerades || network.host_ports == HostPorts::Declared {
        needed.push(("nf_nat", "masquerade and host ports"));
    }
    let shaped = network
        .config
        .as_ref()
        .is_some_and(|config| !config.capabilities.bandwidth.is_unlimited());
    if shaped {
        needed.push(("ifb", "bandwidth"));
        needed.push(("sch_tbf", "bandwidth"));
    }
    needed
}
