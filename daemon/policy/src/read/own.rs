//! Our own objects, `bulkhead/v1`: policies and security groups for those without Kubernetes, and what a
//! file tells of networks and endpoints.

use std::collections::BTreeSet;
use std::net::IpAddr;

use bulkhead_model::NetworkName;

use crate::{
    Action, Block, Endpoint, EndpointId, EndpointSelector, Entity, GroupName, Mode, NamedPort,
    Namespaces, Network, NodeName, OwnPrefix, Peer, Place, Policy, PolicyId, PolicyKind, Port,
    PortRange, Priority, Rule, Selector, Space, Stance, Tier,
};

use super::complaint::Problem;
use super::fields::{At, Log, Map};
use super::object::Object;
use super::pods::own_labels;
use super::selectors::selector;
use super::{allow_none, deny_all};

/// The version of what is described here.
pub(super) const VERSION: &str = "bulkhead/v1";

const TIER: &str = "a tier (admin, middle or baseline)";
const PRIORITY: &str = "a priority (0 to 1000)";
const MODE: &str = "a mode (enforce or audit)";
const ACTION: &str = "an action (allow, deny or pass)";
const ENTITY: &str = "an entity (own-node, any-node, world or gateway)";
const GROUP: &str = "a group's name (1 to 63 lower-case letters, digits and '-', such as web-1)";
const NETWORK: &str = "a network name (a letter or digit, then letters, digits, '_', '.' or '-')";
const PORT: &str =
    "a port (such as 80/tcp, 8000-8080/udp, sctp, http/tcp, icmp/8, icmpv6/128/0 or protocol/47)";
const NAMED: &str = "one port with its protocol (such as 80/tcp)";
const STANCE: &str = "a stance (open or closed)";
const ADDRESS: &str = "an address such as 10.0.0.1 or fd00::1";
const OWN_PREFIX: &str = "an IPv6 prefix of 64 bits such as fd00:1:2:3::/64";
const PEERS: &str = "endpoints, group, network, cidr, entity and nodes";
const SUBJECTS: &str = "endpoints, group and network";

/// A policy, or a security group, whose policy is about its members. What of a rule is not understood
/// closes that rule; what of the rest is not is in the policy's `unread`, and the policy is to be closed.
pub(super) fn policy(object: &Object<'_>, log: &mut Log) -> (PolicyId, Policy) {
    let is_group = object.kind == "SecurityGroup";
    let (spec, unread) = log.watched(|log| {
        if is_group {
            group(object, log)
        } else {
            spec(object, log)
        }
    });
    let spec = spec.unwrap_or_else(|| Spec::closed(is_group));
    let kind = if is_group {
        PolicyKind::SecurityGroup
    } else {
        PolicyKind::Policy
    };
    let id = PolicyId {
        kind,
        namespace: None,
        name: object.name(),
    };
    let policy = Policy {
        tier: spec.tier,
        subject: spec.subject,
        ingress: spec.ingress,
        egress: spec.egress,
        mode: spec.mode,
        origin: object.origin(),
        unread,
    };
    (id, policy)
}

struct Spec {
    tier: Tier,
    subject: Vec<EndpointSelector>,
    mode: Mode,
    ingress: Option<Vec<Rule>>,
    egress: Option<Vec<Rule>>,
}

impl Spec {
    /// Of what nothing was understood: everyone's first word, or a group that has no members.
    fn closed(is_group: bool) -> Self {
        Self {
            tier: if is_group { Tier::Middle } else { FIRST },
            subject: if is_group { Vec::new() } else { everyone() },
            mode: Mode::Enforce,
            ingress: None,
            egress: None,
        }
    }
}

const FIRST: Tier = Tier::Admin(Priority::MIN);

fn everyone() -> Vec<EndpointSelector> {
    vec![EndpointSelector::Labelled {
        namespaces: Namespaces::all(),
        labels: Selector::everything(),
    }]
}

fn spec(object: &Object<'_>, log: &mut Log) -> Option<Spec> {
    const KNOWN: [&str; 6] = ["tier", "priority", "subject", "mode", "ingress", "egress"];
    let map = object.spec(log, &KNOWN)?;
    let tier = tier(&map, log).unwrap_or(FIRST);
    let subject = map.must(log, "subject", "a list of whom it is about");
    let items = subject.map(|at| some(&at, log)).unwrap_or_default();
    let known = ["endpoints", "group", "network"];
    let read = |at: &At<'_>| endpoints(&at.map(log, &known)?, &known, SUBJECTS, log);
    // Whom it is about must be known as a whole.
    let subject: Option<Vec<_>> = items.iter().map(read).collect();
    let subject = subject.filter(|subject| !subject.is_empty());
    Some(Spec {
        tier,
        subject: subject.unwrap_or_else(everyone),
        mode: mode(&map, log),
        ingress: rules(&map, "ingress", "from", tier, log),
        egress: rules(&map, "egress", "to", tier, log),
    })
}

fn group(object: &Object<'_>, log: &mut Log) -> Option<Spec> {
    let map = object.spec(log, &["mode", "ingress", "egress"])?;
    let name = object.name().parse();
    if name.is_err() {
        let found = format!("{:?}", object.name());
        let expected = GROUP;
        log.say(
            object.line(),
            "metadata.name",
            Problem::Value { expected, found },
        );
    }
    let tier = Tier::Middle;
    Some(Spec {
        tier,
        subject: name.into_iter().map(EndpointSelector::Group).collect(),
        mode: mode(&map, log),
        ingress: rules(&map, "ingress", "from", tier, log).or(Some(Vec::new())),
        egress: rules(&map, "egress", "to", tier, log).or(Some(Vec::new())),
    })
}

fn tier(map: &Map<'_>, log: &mut Log) -> Option<Tier> {
    let at = map.must(log, "tier", TIER)?;
    let priority = map.of("priority");
    let tier: fn(Priority) -> Tier = match at.node.text() {
        Some("admin") => Tier::Admin,
        Some("baseline") => Tier::Baseline,
        Some("middle") => {
            if let Some(priority) = priority {
                priority.say(log, Problem::Priority);
            }
            return Some(Tier::Middle);
        }
        _ => {
            at.not(log, TIER);
            return None;
        }
    };
    let at = map.must(log, "priority", PRIORITY)?;
    let number = at.number(log, (0, Priority::MAX.number()), PRIORITY)?;
    Priority::new(number).map(tier)
}

fn mode(map: &Map<'_>, log: &mut Log) -> Mode {
    match map.of("mode") {
        None => Mode::Enforce,
        Some(at) => self::mode_of(&at, log),
    }
}

/// What is not understood is in force.
pub(super) fn mode_of(at: &At<'_>, log: &mut Log) -> Mode {
    match at.node.text() {
        Some("enforce") => Mode::Enforce,
        Some("audit") => Mode::Audit,
        _ => {
            at.not(log, MODE);
            Mode::Enforce
        }
    }
}

/// The rules of a direction; `None` if the policy says nothing about it.
fn rules(map: &Map<'_>, key: &str, other: &str, tier: Tier, log: &mut Log) -> Option<Vec<Rule>> {
    if !map.has(key) {
        return None;
    }
    let items = map.items(log, key);
    Some(items.iter().map(|at| rule(at, other, tier, log)).collect())
}

fn rule(at: &At<'_>, other: &str, tier: Tier, log: &mut Log) -> Rule {
    let (read, unread) = log.watched(|log| open_rule(at, other, tier, log));
    let is_allow = tier == Tier::Middle
        || read
            .as_ref()
            .is_some_and(|rule| rule.action == Action::Allow);
    match read {
        Some(rule) if unread.is_empty() => rule,
        read => {
            let line = Some(at.node.line);
            let closed = if is_allow {
                allow_none(line, &unread)
            } else {
                deny_all(line, &unread)
            };
            let name = read.and_then(|rule| rule.name);
            Rule { name, ..closed }
        }
    }
}

fn open_rule(at: &At<'_>, other: &str, tier: Tier, log: &mut Log) -> Option<Rule> {
    let map = at.map(log, &["name", "action", other, "ports"])?;
    let name = map
        .of("name")
        .and_then(|at| at.text(log, "a name").map(str::to_owned));
    let action = match map.of("action") {
        None => Action::Allow,
        Some(at) => match at.node.text() {
            Some("allow") => Action::Allow,
            Some("deny") => Action::Deny,
            Some("pass") => Action::Pass,
            _ => {
                at.not(log, ACTION);
                return None;
            }
        },
    };
    if tier == Tier::Middle && action != Action::Allow {
        at.say(log, Problem::Middle);
    }
    let peers = match map.of(other) {
        None => vec![Peer::Any],
        Some(at) => some(&at, log)
            .iter()
            .filter_map(|at| peer(at, log))
            .collect(),
    };
    let ports = match map.of("ports") {
        None => vec![Port::Any],
        Some(at) => {
            let items = some(&at, log);
            items.iter().filter_map(|at| at.parsed(log, PORT)).collect()
        }
    };
    Some(Rule {
        action,
        peers,
        ports,
        name,
        line: Some(at.node.line),
        unread: Vec::new(),
    })
}

/// The items of a list that must have some: to leave it out is how anyone is said.
fn some<'n>(at: &At<'n>, log: &mut Log) -> Vec<At<'n>> {
    let items = at.list(log).unwrap_or_default();
    if at.node.list().is_some_and(<[_]>::is_empty) {
        at.not(log, "a list of at least one item");
    }
    items
}

fn peer(at: &At<'_>, log: &mut Log) -> Option<Peer> {
    const KEYS: [&str; 6] = ["endpoints", "group", "network", "cidr", "entity", "nodes"];
    let known = [&KEYS[..], &["except"]].concat();
    let map = at.map(log, &known)?;
    let (key, at) = map.one(log, &KEYS, PEERS)?;
    if let Some(except) = map.of("except").filter(|_| key != "cidr") {
        except.say(
            log,
            Problem::One("endpoints, group, network, entity, nodes, and cidr with except"),
        );
        return None;
    }
    match key {
        "cidr" => {
            let mut block = Block::whole(at.prefix(log)?);
            for at in map.items(log, "except") {
                let except = at.prefix(log)?;
                let prefix = block.prefix;
                if !prefix.contains(except.address()) || except.len() < prefix.len() {
                    let (except, prefix) = (except.to_string(), prefix.to_string());
                    at.say(log, Problem::Outside { except, prefix });
                    return None;
                }
                block.except.insert(except);
            }
            Some(Peer::Block(block))
        }
        "entity" => {
            let named = |entity: &&Entity| at.node.text() == Some(entity.to_string().as_str());
            let entity = Entity::ALL.iter().find(named);
            if entity.is_none() {
                at.not(log, ENTITY);
            }
            entity.copied().map(Peer::Entity)
        }
        "nodes" => selector(&at, log).map(Peer::Nodes),
        _ => endpoints(&map, &KEYS, PEERS, log).map(Peer::Endpoints),
    }
}

fn endpoints(
    map: &Map<'_>,
    keys: &[&'static str],
    listed: &'static str,
    log: &mut Log,
) -> Option<EndpointSelector> {
    let (key, at) = map.one(log, keys, listed)?;
    match key {
        "group" => at.parsed(log, GROUP).map(EndpointSelector::Group),
        "network" => at.parsed(log, NETWORK).map(EndpointSelector::Network),
        _ => {
            let map = at.map(log, &["labels", "namespace", "namespaces"])?;
            let namespaces = match (map.of("namespace"), map.of("namespaces")) {
                (Some(_), Some(_)) => {
                    at.say(log, Problem::One("namespace and namespaces"));
                    return None;
                }
                (Some(at), None) => Namespaces::Named(at.text(log, "a name")?.to_owned()),
                (None, Some(at)) => Namespaces::Selected(selector(&at, log)?),
                (None, None) => Namespaces::all(),
            };
            let labels = match map.of("labels") {
                Some(at) => selector(&at, log)?,
                None => Selector::everything(),
            };
            Some(EndpointSelector::Labelled { namespaces, labels })
        }
    }
}

/// A network. What is not understood of it is left out, and it stays closed where it does not say open.
pub(super) fn network(object: &Object<'_>, log: &mut Log) -> Option<(NetworkName, Network)> {
    let name: Option<NetworkName> = object.name().parse().ok();
    let Some(name) = name else {
        let found = format!("{:?}", object.name());
        let expected = NETWORK;
        log.say(
            object.line(),
            "metadata.name",
            Problem::Value { expected, found },
        );
        return None;
    };
    let map = object.spec(log, &["gateways", "pools", "overlapping", "unlabelled"])?;
    let gateways = map.items(log, "gateways");
    let pools = map.items(log, "pools");
    let overlapping = map.of("overlapping").map(|at| at.truth(log));
    let [ingress, egress] = match map.of("unlabelled") {
        None => [Stance::Open; 2],
        Some(at) => match at.map(log, &["ingress", "egress"]) {
            None => [Stance::Closed; 2],
            Some(map) => ["ingress", "egress"].map(|key| stance(&map, key, log)),
        },
    };
    let network = Network {
        gateways: gateways
            .iter()
            .filter_map(|at| at.parsed(log, ADDRESS))
            .collect(),
        pools: pools.iter().filter_map(|at| at.prefix(log)).collect(),
        space: match overlapping {
            Some(Some(true)) => Space::Network(name.clone()),
            _ => Space::Node,
        },
        ingress,
        egress,
    };
    Some((name, network))
}

fn stance(map: &Map<'_>, key: &str, log: &mut Log) -> Stance {
    let Some(at) = map.of(key) else {
        return Stance::Open;
    };
    match at.node.text() {
        Some("open") => Stance::Open,
        Some("closed") => Stance::Closed,
        _ => {
            at.not(log, STANCE);
            Stance::Closed
        }
    }
}

/// An endpoint.
pub(super) fn endpoint(object: &Object<'_>, log: &mut Log) -> Option<(EndpointId, Endpoint)> {
    let map = object.spec(
        log,
        &[
            "network",
            "addresses",
            "prefixes",
            "ports",
            "node",
            "groups",
        ],
    )?;
    let at = map.must(log, "network", "the network it is attached to")?;
    let network: NetworkName = at.parsed(log, NETWORK)?;
    let written = object.metadata("namespace").is_some();
    let namespace = if written {
        object.namespace()
    } else {
        network.as_str().to_owned()
    };
    let id = EndpointId {
        namespace,
        name: object.name(),
        network: Some(network),
    };
    let addresses = map.items(log, "addresses");
    let addresses: BTreeSet<IpAddr> = addresses
        .iter()
        .filter_map(|at| at.parsed(log, ADDRESS))
        .collect();
    let prefixes = map.items(log, "prefixes");
    let prefixes: BTreeSet<OwnPrefix> = prefixes
        .iter()
        .filter_map(|at| at.parsed(log, OWN_PREFIX))
        .collect();
    if addresses.is_empty() && prefixes.is_empty() {
        log.tell(object.line(), "spec.addresses", Problem::NoAddress);
    }
    let groups = map.items(log, "groups");
    let groups: BTreeSet<GroupName> = groups
        .iter()
        .filter_map(|at| at.parsed(log, GROUP))
        .collect();
    let ports = map.items(log, "ports");
    let ports = ports.iter().filter_map(|at| named_port(at, log)).collect();
    let node = map.of("node").and_then(|at| at.text(log, "a node's name"));
    let endpoint = Endpoint {
        labels: own_labels(object, log),
        groups,
        addresses,
        prefixes,
        ports,
        node: node.map(NodeName::new),
        place: Place::Port,
    };
    Some((id, endpoint))
}

fn named_port(at: &At<'_>, log: &mut Log) -> Option<NamedPort> {
    let map = at.map(log, &["name", "port"])?;
    let name = map
        .must(log, "name", "a name")?
        .text(log, "a name")?
        .to_owned();
    let at = map.must(log, "port", NAMED)?;
    match at.parsed(log, NAMED)? {
        Port::Range { protocol, ports } if ports == PortRange::one(ports.first()) => {
            let port = ports.first();
            Some(NamedPort {
                name,
                protocol,
                port,
            })
        }
        _ => {
            at.not(log, NAMED);
            None
        }
    }
}
