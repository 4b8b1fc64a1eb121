//! Kubernetes' `ClusterNetworkPolicy`, policy.networking.k8s.io/v1alpha2.

use bulkhead_model::{Protocol, is_port_name};

use crate::{
    Action, Block, EndpointSelector, Mode, Namespaces, Peer, Policy, PolicyId, PolicyKind, Port,
    PortRange, Priority, Rule, Selector, Tier,
};

use super::complaint::Problem;
use super::fields::{At, Log, Map};
use super::network_policy::any_or;
use super::object::Object;
use super::selectors::selector;
use super::{allow_none, deny_all};

const TIER: &str = "a tier (Admin or Baseline)";
const PRIORITY: &str = "a priority (0 to 1000)";
const ACTION: &str = "an action (Accept, Deny or Pass)";
const NUMBER: &str = "a port's number (1 to 65535)";
const NAME: &str =
    "a port's name (up to 15 lower-case letters, digits and '-', one of them a letter)";

/// `MaxItems` of rules, peers, protocols and networks.
const MOST: usize = 25;

/// The policy that `object` is. What of a rule is not understood closes that rule: an accept matches
/// nothing, a deny or a pass is a deny of everything. What of the rest is not is in the policy's `unread`,
/// and the policy is to be closed.
pub(super) fn read(object: &Object<'_>, mode: Mode, log: &mut Log) -> (PolicyId, Policy) {
    let (spec, unread) = log.watched(|log| spec(object, log));
    let spec = spec.unwrap_or_else(Spec::closed);
    let id = PolicyId {
        kind: PolicyKind::ClusterNetworkPolicy,
        namespace: None,
        name: match object.kind.as_str() {
            "ClusterNetworkPolicy" => object.name(),
            // A relative of another version, which may have the same name.
            kind => format!("{kind}/{}", object.name()),
        },
    };
    let policy = Policy {
        tier: spec.tier,
        subject: vec![spec.subject],
        ingress: Some(spec.ingress),
        egress: Some(spec.egress),
        mode,
        origin: object.origin(),
        unread,
    };
    (id, policy)
}

struct Spec {
    tier: Tier,
    subject: EndpointSelector,
    ingress: Vec<Rule>,
    egress: Vec<Rule>,
}

impl Spec {
    /// Of what nothing was understood.
    fn closed() -> Self {
        Self {
            tier: FIRST,
            subject: everyone(),
            ingress: Vec::new(),
            egress: Vec::new(),
        }
    }
}

/// Where a policy is asked whose tier or priority was not understood.
const FIRST: Tier = Tier::Admin(Priority::MIN);

fn everyone() -> EndpointSelector {
    labelled(Namespaces::all(), Selector::everything())
}

const fn labelled(namespaces: Namespaces, labels: Selector) -> EndpointSelector {
    EndpointSelector::Labelled { namespaces, labels }
}

fn spec(object: &Object<'_>, log: &mut Log) -> Option<Spec> {
    let map = object.spec(log, &["tier", "priority", "subject", "ingress", "egress"])?;
    Some(Spec {
        tier: tier(&map, log).unwrap_or(FIRST),
        subject: subject(&map, log).unwrap_or_else(everyone),
        ingress: rules(&map, "ingress", Side::Ingress, log),
        egress: rules(&map, "egress", Side::Egress, log),
    })
}

fn tier(map: &Map<'_>, log: &mut Log) -> Option<Tier> {
    let priority = map.must(log, "priority", PRIORITY);
    let at = map.must(log, "tier", TIER)?;
    let number = priority?.number(log, (0, Priority::MAX.number()), PRIORITY)?;
    let priority = Priority::new(number)?;
    match at.node.text() {
        Some("Admin") => Some(Tier::Admin(priority)),
        Some("Baseline") => Some(Tier::Baseline(priority)),
        _ => {
            at.not(log, TIER);
            None
        }
    }
}

fn subject(map: &Map<'_>, log: &mut Log) -> Option<EndpointSelector> {
    let at = map.must(log, "subject", "pods or namespaces")?;
    let map = at.map(log, &["namespaces", "pods"])?;
    match map.one(log, &["namespaces", "pods"], "namespaces and pods")? {
        ("namespaces", at) => {
            let namespaces = Namespaces::Selected(selector(&at, log)?);
            Some(labelled(namespaces, Selector::everything()))
        }
        (_, at) => pods(&at, log),
    }
}

/// `NamespacedPod`: without a namespace selector, those of every namespace.
fn pods(at: &At<'_>, log: &mut Log) -> Option<EndpointSelector> {
    let map = at.map(log, &["namespaceSelector", "podSelector"])?;
    let namespaces = match map.of("namespaceSelector") {
        Some(at) => Namespaces::Selected(selector(&at, log)?),
        None => Namespaces::all(),
    };
    let labels = selector(&map.must(log, "podSelector", "a label selector")?, log)?;
    Some(labelled(namespaces, labels))
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Side {
    Ingress,
    Egress,
}

fn rules(map: &Map<'_>, key: &str, side: Side, log: &mut Log) -> Vec<Rule> {
    let items = map.items(log, key);
    if let Some(first) = items.first() {
        bounded(first, items.len(), log);
    }
    items.iter().map(|at| rule(at, side, log)).collect()
}

/// More than the API takes is understood, and told.
fn bounded(at: &At<'_>, found: usize, log: &mut Log) {
    if found > MOST {
        at.tell(log, Problem::Many { found, most: MOST });
    }
}

fn rule(at: &At<'_>, side: Side, log: &mut Log) -> Rule {
    let (read, unread) = log.watched(|log| open_rule(at, side, log));
    match read {
        Some(rule) if unread.is_empty() => rule,
        read => {
            let line = Some(at.node.line);
            let closed = match &read {
                Some(rule) if rule.action == Action::Allow => allow_none(line, &unread),
                _ => deny_all(line, &unread),
            };
            let name = read.and_then(|rule| rule.name);
            Rule { name, ..closed }
        }
    }
}

fn open_rule(at: &At<'_>, side: Side, log: &mut Log) -> Option<Rule> {
    let other = if side == Side::Ingress { "from" } else { "to" };
    let map = at.map(log, &["name", "action", other, "protocols"])?;
    let name = map
        .of("name")
        .and_then(|at| at.text(log, "a name").map(str::to_owned));
    let action = map.must(log, "action", ACTION)?;
    let action = match action.node.text() {
        Some("Accept") => Action::Allow,
        Some("Deny") => Action::Deny,
        Some("Pass") => Action::Pass,
        _ => {
            action.not(log, ACTION);
            return None;
        }
    };
    let ports = map.of("protocols").map(|at| {
        let items = listed(&at, log);
        any_or(&items, Port::Any, |at| port(at, log))
    });
    let ports = ports.unwrap_or_else(|| vec![Port::Any]);
    let peers: Vec<Peer> = match map.must(log, other, "at least one peer") {
        Some(at) => {
            let items = listed(&at, log);
            items
                .iter()
                .flat_map(|at| peers(at, side, &ports, log))
                .collect()
        }
        None => Vec::new(),
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

/// The items of a list that must have some.
fn listed<'n>(at: &At<'n>, log: &mut Log) -> Vec<At<'n>> {
    let items = at.list(log).unwrap_or_default();
    if items.is_empty() {
        at.not(log, "a list of at least one item");
    }
    bounded(at, items.len(), log);
    items
}

fn peers(at: &At<'_>, side: Side, ports: &[Port], log: &mut Log) -> Vec<Peer> {
    peers_of(at, side, ports, log).unwrap_or_default()
}

fn peers_of(at: &At<'_>, side: Side, ports: &[Port], log: &mut Log) -> Option<Vec<Peer>> {
    let (known, names): (&[&str], _) = match side {
        Side::Ingress => (&["namespaces", "pods"], "namespaces and pods"),
        Side::Egress => (
            &["namespaces", "pods", "nodes", "networks", "domainNames"],
            "namespaces, pods, nodes, networks and domainNames",
        ),
    };
    let map = at.map(log, known)?;
    let (key, at) = map.one(log, known, names)?;
    let has_names = ports.iter().any(|port| matches!(port, Port::Named { .. }));
    if has_names && !matches!(key, "namespaces" | "pods") {
        at.say(log, Problem::Nameless);
        return None;
    }
    match key {
        "namespaces" => {
            let namespaces = Namespaces::Selected(selector(&at, log)?);
            let endpoints = labelled(namespaces, Selector::everything());
            Some(vec![Peer::Endpoints(endpoints)])
        }
        "pods" => Some(vec![Peer::Endpoints(pods(&at, log)?)]),
        "nodes" => Some(vec![Peer::Nodes(selector(&at, log)?)]),
        "networks" => {
            let items = listed(&at, log);
            let blocks = items.iter().filter_map(|at| at.prefix(log));
            Some(blocks.map(Block::whole).map(Peer::Block).collect())
        }
        _ => {
            at.say(log, Problem::Domains);
            None
        }
    }
}

fn port(at: &At<'_>, log: &mut Log) -> Option<Port> {
    const KNOWN: [&str; 4] = ["tcp", "udp", "sctp", "destinationNamedPort"];
    let map = at.map(log, &KNOWN)?;
    let (key, at) = map.one(log, &KNOWN, "tcp, udp, sctp and destinationNamedPort")?;
    let protocol = match key {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        _ => {
            let name = at.text(log, NAME)?;
            if !is_port_name(name) {
                at.not(log, NAME);
                return None;
            }
            let name = name.to_owned();
            let protocol = None;
            return Some(Port::Named { protocol, name });
        }
    };
    let map = at.map(log, &["destinationPort"])?;
    let at = map.must(log, "destinationPort", "a number or a range")?;
    let map = at.map(log, &["number", "range"])?;
    let ports = match map.one(log, &["number", "range"], "number and range")? {
        ("number", at) => PortRange::one(at.number(log, (1, u16::MAX), NUMBER)?),
        (_, at) => {
            let map = at.map(log, &["start", "end"])?;
            let first = map
                .must(log, "start", NUMBER)?
                .number(log, (1, u16::MAX), NUMBER)?;
            let last = map
                .must(log, "end", NUMBER)?
                .number(log, (1, u16::MAX), NUMBER)?;
            let Some(ports) = PortRange::new(first, last) else {
                at.say(log, Problem::Range { first, last });
                return None;
            };
            ports
        }
    };
    Some(Port::Range { protocol, ports })
}
