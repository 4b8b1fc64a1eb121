//! Kubernetes' `NetworkPolicy`, networking.k8s.io/v1.

use bulkhead_model::{Protocol, is_port_name};

use crate::{
    Action, Block, Direction, EndpointSelector, Mode, Namespaces, Peer, Policy, PolicyId,
    PolicyKind, Port, PortRange, Rule, Selector, Tier,
};

use super::allow_none;
use super::complaint::Problem;
use super::fields::{At, Log, Map};
use super::node::Value;
use super::object::Object;
use super::selectors::selector;

const PORT: &str = "a port (1 to 65535, or a name of up to 15 lower-case letters, digits and '-', one of them a letter)";
const NUMBER: &str = "a port's number (1 to 65535)";
const PROTOCOL: &str = "a protocol (TCP, UDP or SCTP)";
const TYPES: &str = "a policy type (Ingress or Egress)";

/// The policy that `object` is. What of a rule is not understood makes that rule allow nothing; what of
/// the rest is not is in the policy's `unread`, and the policy is to be closed.
pub(super) fn read(object: &Object<'_>, mode: Mode, log: &mut Log) -> (PolicyId, Policy) {
    let namespace = object.namespace();
    let (spec, unread) = log.watched(|log| spec(object, &namespace, log));
    let spec = spec.unwrap_or_default();
    let id = PolicyId {
        kind: PolicyKind::NetworkPolicy,
        namespace: Some(namespace.clone()),
        name: object.name(),
    };
    let policy = Policy {
        tier: Tier::Middle,
        subject: vec![EndpointSelector::Labelled {
            namespaces: Namespaces::Named(namespace),
            // If it was not understood, the whole namespace is meant.
            labels: spec.subject,
        }],
        ingress: spec.ingress,
        egress: spec.egress,
        mode,
        origin: object.origin(),
        unread,
    };
    (id, policy)
}

#[derive(Default)]
struct Spec {
    subject: Selector,
    ingress: Option<Vec<Rule>>,
    egress: Option<Vec<Rule>>,
}

fn spec(object: &Object<'_>, namespace: &str, log: &mut Log) -> Option<Spec> {
    let map = object.spec(log, &["podSelector", "policyTypes", "ingress", "egress"])?;
    let subject = match map.of("podSelector") {
        Some(at) => selector(&at, log),
        // The API's zero value: without a selector, all pods.
        None => Some(Selector::everything()),
    };
    let ingress = rules(&map, "ingress", "from", namespace, log);
    let egress = rules(&map, "egress", "to", namespace, log);
    let types = types(&map, !egress.is_empty(), log);
    let of = |direction, rules: Vec<Rule>, name, log: &mut Log| {
        if types.contains(&direction) {
            return Some(rules);
        }
        if let Some(line) = rules.first().and_then(|rule| rule.line) {
            log.tell(line, &format!("spec.{direction}"), Problem::Unused(name));
        }
        None
    };
    Some(Spec {
        subject: subject.unwrap_or_default(),
        ingress: of(Direction::Ingress, ingress, "Ingress", log),
        egress: of(Direction::Egress, egress, "Egress", log),
    })
}

/// `SetDefaults_NetworkPolicy`, `pkg/apis/networking/v1/defaults.go`: without types, ingress, and egress
/// if there are rules for it.
fn types(map: &Map<'_>, has_egress: bool, log: &mut Log) -> Vec<Direction> {
    let mut types = Vec::new();
    let items = map.items(log, "policyTypes");
    for at in &items {
        match at.node.text() {
            Some("Ingress") => types.push(Direction::Ingress),
            Some("Egress") => types.push(Direction::Egress),
            _ => at.not(log, TYPES),
        }
    }
    if items.is_empty() {
        types.push(Direction::Ingress);
        types.extend(has_egress.then_some(Direction::Egress));
    }
    types
}

fn rules(map: &Map<'_>, key: &str, other: &str, namespace: &str, log: &mut Log) -> Vec<Rule> {
    let items = map.items(log, key);
    items
        .iter()
        .map(|at| rule(at, other, namespace, log))
        .collect()
}

fn rule(at: &At<'_>, other: &str, namespace: &str, log: &mut Log) -> Rule {
    let (read, unread) = log.watched(|log| {
        let map = at.map(log, &[other, "ports"])?;
        let peers = map.items(log, other);
        let ports = map.items(log, "ports");
        let peers = any_or(&peers, Peer::Any, |at| peer(at, namespace, log));
        let ports = any_or(&ports, Port::Any, |at| port(at, log));
        Some((peers, ports))
    });
    let line = Some(at.node.line);
    match read {
        Some((peers, ports)) if unread.is_empty() => Rule {
            action: Action::Allow,
            peers,
            ports,
            name: None,
            line,
            unread,
        },
        _ => allow_none(line, &unread),
    }
}

/// What each item is; `any` if there are none.
pub(super) fn any_or<T>(
    items: &[At<'_>],
    any: T,
    read: impl FnMut(&At<'_>) -> Option<T>,
) -> Vec<T> {
    if items.is_empty() {
        return vec![any];
    }
    items.iter().filter_map(read).collect()
}

fn peer(at: &At<'_>, namespace: &str, log: &mut Log) -> Option<Peer> {
    let map = at.map(log, &["podSelector", "namespaceSelector", "ipBlock"])?;
    let pods = map.of("podSelector");
    let namespaces = map.of("namespaceSelector");
    if let Some(block) = map.of("ipBlock") {
        if pods.is_some() || namespaces.is_some() {
            at.say(
                log,
                Problem::One("ipBlock, or podSelector and namespaceSelector"),
            );
            return None;
        }
        return self::block(&block, log).map(Peer::Block);
    }
    let namespaces = match &namespaces {
        Some(at) => Namespaces::Selected(selector(at, log)?),
        None if pods.is_some() => Namespaces::Named(namespace.to_owned()),
        None => {
            at.say(
                log,
                Problem::One("ipBlock, or podSelector and namespaceSelector"),
            );
            return None;
        }
    };
    let labels = match &pods {
        Some(at) => selector(at, log)?,
        None => Selector::everything(),
    };
    Some(Peer::Endpoints(EndpointSelector::Labelled {
        namespaces,
        labels,
    }))
}

fn block(at: &At<'_>, log: &mut Log) -> Option<Block> {
    let map = at.map(log, &["cidr", "except"])?;
    let prefix = map
        .must(log, "cidr", "a prefix such as 10.0.0.0/24")?
        .prefix(log)?;
    let mut block = Block::whole(prefix);
    for at in map.items(log, "except") {
        let except = at.prefix(log)?;
        if !prefix.contains(except.address()) || except.len() <= prefix.len() {
            let (except, prefix) = (except.to_string(), prefix.to_string());
            at.say(log, Problem::Outside { except, prefix });
            return None;
        }
        block.except.insert(except);
    }
    Some(block)
}

fn port(at: &At<'_>, log: &mut Log) -> Option<Port> {
    let map = at.map(log, &["protocol", "port", "endPort"])?;
    let protocol = match map.of("protocol") {
        Some(at) => protocol(&at, log)?,
        None => Protocol::Tcp,
    };
    let end = map.of("endPort");
    let Some(port) = map.of("port") else {
        if let Some(end) = end {
            end.say(log, Problem::EndPort);
            return None;
        }
        let ports = PortRange::ALL;
        return Some(Port::Range { protocol, ports });
    };
    if let Value::Text(name) = &port.node.value {
        if !is_port_name(name) {
            port.not(log, PORT);
            return None;
        }
        if let Some(end) = end {
            end.say(log, Problem::EndPort);
            return None;
        }
        let protocol = Some(protocol);
        let name = name.clone();
        return Some(Port::Named { protocol, name });
    }
    let first = port.number(log, (1, u16::MAX), PORT)?;
    let last = match end {
        Some(end) => end.number(log, (1, u16::MAX), NUMBER)?,
        None => first,
    };
    let Some(ports) = PortRange::new(first, last) else {
        at.say(log, Problem::Range { first, last });
        return None;
    };
    Some(Port::Range { protocol, ports })
}

/// As the API has it, in capitals.
pub(super) fn protocol(at: &At<'_>, log: &mut Log) -> Option<Protocol> {
    match at.node.text() {
        Some("TCP") => Some(Protocol::Tcp),
        Some("UDP") => Some(Protocol::Udp),
        Some("SCTP") => Some(Protocol::Sctp),
        _ => {
            at.not(log, PROTOCOL);
            None
        }
    }
}
