//! Firewalls of others: what they drop of what our networks forward, and whether the rules that were
//! added to them still stand.

use bulkhead_model::Family;
use bulkhead_nft::TableFamily;
use bulkhead_nft::foreign::{Dropped, Engine};

use crate::coexist::firewall::{Firewall, behind};
use crate::coexist::network::Bridged;
use crate::coexist::rule::Standing;
use crate::coexist::traffic::{Hindrance, Way, hindrances};
use crate::doctor::finding::{Finding, Id, Severity, or_ok};
use crate::doctor::node::{Coexisting, Node, command};

pub(super) fn check(node: &Node) -> Vec<Finding> {
    let drops = node.networks.iter().flat_map(|network| {
        hindrances(&node.rules.ruleset, network, &node.around)
            .into_iter()
            .flat_map(|hindrance| drops(node, network, &hindrance))
            .collect::<Vec<_>>()
    });
    let mut findings = or_ok(
        drops.collect(),
        Id::ForwardDrop,
        "no firewall drops what networks forward",
    );
    findings.extend(node.rules.unread.iter().map(|unread| {
        let seen = format!(
            "tables of iptables-legacy are loaded ({}: {}) and cannot be read: {}",
            unread.family, unread.tables, unread.why
        );
        Finding::warn(Id::LegacyRulesUnread, seen)
            .why("nothing else shows their rules, which may drop what networks forward")
            .help("install iptables, then run `bulkhead doctor` again")
    }));
    findings.extend(coexisting(node));
    findings
}

/// One finding for the ways through the node, one for frames that do not leave the bridge.
fn drops(node: &Node, network: &Bridged, hindrance: &Hindrance) -> Vec<Finding> {
    let (bridged, routed): (Vec<Way>, Vec<Way>) =
        hindrance.ways.iter().partition(|way| **way == Way::Bridged);
    let mut findings = Vec::new();
    if !routed.is_empty() {
        findings.push(drop_of(node, network, hindrance, &routed, Id::ForwardDrop));
    }
    if !bridged.is_empty() {
        let setting = match hindrance.family {
            Family::V4 => "net/bridge/bridge-nf-call-iptables",
            Family::V6 => "net/bridge/bridge-nf-call-ip6tables",
        };
        let finding = drop_of(node, network, hindrance, &bridged, Id::BridgedDrop);
        findings.push(finding.help(format!(
            "{}, unless Kubernetes runs here, which needs 1",
            command(setting, "0")
        )));
    }
    findings
}

fn drop_of(node: &Node, network: &Bridged, hindrance: &Hindrance, ways: &[Way], id: Id) -> Finding {
    let dropped = &hindrance.dropped;
    let firewall = behind(&node.rules.ruleset, dropped);
    let whose = firewall.map_or(String::new(), |firewall| {
        format!(" ({})", firewall.as_str())
    });
    let by = match dropped.rule {
        None => format!("the policy of chain {} of {}", dropped.chain, dropped.table),
        Some(rule) => format!(
            "rule {} of chain {} of {}",
            rule + 1,
            dropped.chain,
            dropped.table
        ),
    };
    let ways: Vec<_> = ways.iter().map(ToString::to_string).collect();
    let ways = ways.join(" and ");
    let mut finding = if dropped.doubts.is_empty() {
        Finding::problem(id, format!("{by}{whose} drops {ways}"))
    } else {
        let (chain, rule) = &dropped.doubts[0];
        let others = match dropped.doubts.len() {
            1 => String::new(),
            more => format!(" and {} others", more - 1),
        };
        Finding::warn(
            id,
            format!(
                "{by}{whose} drops {ways}, unless rule {} of chain {chain}{others} accepts it",
                rule + 1
            ),
        )
    };
    finding = finding.of([&network.name]).why(format!(
        "every firewall of the node has to let {} packets of bridge {} pass: an accept in a table of ours does not count in this one",
        hindrance.family, network.bridge
    ));
    for help in help(node, network, hindrance, firewall) {
        finding = finding.help(help);
    }
    finding
}

fn help(
    node: &Node,
    network: &Bridged,
    hindrance: &Hindrance,
    firewall: Option<Firewall>,
) -> Vec<String> {
    let dropped = &hindrance.dropped;
    let Some(firewall) = firewall else {
        return by_hand(network, dropped);
    };
    let stands = |coexisting: &&Coexisting| {
        let rules = &coexisting.rules;
        let mut of = rules.iter().filter(|(rule, _)| rule.firewall() == firewall);
        coexisting.record.network == network.name
            && of.next().is_some()
            && of.all(|(_, standing)| *standing == Standing::Present)
    };
    if node.coexist.iter().any(|coexisting| stands(&coexisting)) {
        return match firewall {
            Firewall::Ufw if hindrance.ways.contains(&Way::HostPort) => host_ports(network),
            _ => vec![format!(
                "the rules that `bulkhead coexist` added stand, and another comes first: change {}",
                place(dropped)
            )],
        };
    }
    let mut help = vec![format!(
        "bulkhead coexist add {} --with {}",
        network.name,
        firewall.as_str()
    )];
    if firewall == Firewall::Ufw && hindrance.ways.contains(&Way::HostPort) {
        help.extend(host_ports(network));
    }
    help
}

fn place(dropped: &Dropped) -> String {
    match dropped.rule {
        None => format!("chain {} of {}", dropped.chain, dropped.table),
        Some(rule) => format!(
            "rule {} of chain {} of {}, or put one before it",
            rule + 1,
            dropped.chain,
            dropped.table
        ),
    }
}

/// ufw cannot tell what came by a host port from what was routed.
fn host_ports(network: &Bridged) -> Vec<String> {
    let mut help = Vec::new();
    for record in &network.live {
        for mapping in &record.names.host_ports {
            for leased in &record.addresses {
                let address = leased.address.address();
                if mapping.host.address.has_family(leased.address.family()) {
                    help.push(format!(
                        "ufw route allow out on {} to {address} port {} proto {}",
                        network.bridge, mapping.container_port, mapping.host.protocol
                    ));
                }
            }
        }
    }
    help.push(format!(
        "bulkhead coexist add {} --with ufw --inbound, which lets in whatever is routed to the network",
        network.name
    ));
    help
}

/// Rules for a chain that nobody keeps a place in for the operator.
fn by_hand(network: &Bridged, dropped: &Dropped) -> Vec<String> {
    let bridge = network.bridge;
    let chain = &dropped.base;
    let table = &dropped.table;
    match table.engine {
        Engine::Nftables => {
            let insert = format!("nft insert rule {} {} {chain}", table.family, table.name);
            vec![
                format!("{insert} iifname {bridge} accept"),
                format!("and {insert} oifname {bridge} ct state established,related accept"),
                format!("and, for host ports, {insert} oifname {bridge} ct status dnat accept"),
            ]
        }
        Engine::Legacy => {
            let tool = match table.family {
                TableFamily::Ip6 => "ip6tables-legacy",
                _ => "iptables-legacy",
            };
            let insert = format!("{tool} -t {} -I {chain}", table.name);
            vec![
                format!("{insert} -i {bridge} -j ACCEPT"),
                format!(
                    "and {insert} -o {bridge} -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -j ACCEPT"
                ),
            ]
        }
    }
}

/// Rules of ours in foreign firewalls.
fn coexisting(node: &Node) -> Vec<Finding> {
    let mut findings: Vec<_> = node
        .coexist
        .iter()
        .flat_map(|of| coexisting_of(node, of))
        .collect();
    findings.extend(node.coexist_damaged.iter().map(|told| {
        Finding::problem(Id::CoexistDamaged, told.clone())
            .why("which rules of foreign firewalls are ours is not known any more: `coexist rm` cannot remove them")
            .help("iptables-save | grep 'bulkhead coexist'")
            .help("firewall-cmd --permanent --zone=trusted --list-interfaces")
            .help("ufw show added | grep 'bulkhead coexist'")
    }));
    let all_stand = findings.iter().all(|found| found.severity == Severity::Ok);
    if all_stand && !node.coexist.is_empty() {
        let seen = "the rules that were added to firewalls stand";
        findings.push(Finding::ok(Id::CoexistRuleMissing, seen));
    }
    findings
}

fn coexisting_of(node: &Node, of: &Coexisting) -> Vec<Finding> {
    let name = &of.record.network;
    let mut findings = Vec::new();
    if node.networks.iter().all(|network| network.name != *name) {
        let seen =
            format!("rules are recorded of network {name}, which is neither configured nor used");
        findings.push(
            Finding::warn(Id::CoexistUnneeded, seen)
                .of([name])
                .why(format!(
                    "they let pass whatever comes from a device {}",
                    of.record.bridge
                ))
                .help(format!("bulkhead coexist rm {name}")),
        );
        return findings;
    }
    for (rule, standing) in &of.rules {
        let (how, why) = match standing {
            Standing::Present => continue,
            Standing::Absent => ("is gone", String::new()),
            Standing::Unknown(why) => ("cannot be looked for", format!(": {why}")),
        };
        let seen = format!("the rule `{}` {how}{why}", rule.line());
        let finding = if *standing == Standing::Absent {
            Finding::problem(Id::CoexistRuleMissing, seen)
        } else {
            Finding::warn(Id::CoexistRuleMissing, seen)
        };
        findings.push(
            finding
                .of([name])
                .why(format!(
                    "{} drops what the network forwards without it; a boot takes docker's rules away, a reload those of firewalld that are not permanent",
                    rule.firewall().as_str()
                ))
                .help(format!("bulkhead coexist add {name}")),
        );
    }
    findings
}
