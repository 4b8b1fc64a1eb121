//! The smallest changes that turn a verdict around. Each is tried on a copy of the world before it is told,
//! so that none is told that does not do it.

use std::fmt;

use bulkhead_model::{Family, Prefix, Protocol};

use crate::{
    Action, Block, Considered, Decision, Direction, EndpointId, EndpointSelector, Labels, Mode,
    Namespaces, Origin, Outcome, Packet, Peer, Policy, PolicyId, PolicyKind, Port, PortRange,
    Reason, Requirement, Rule, Selector, Side, Stance, Test, Tier, Traffic, Verdict, World,
    evaluate,
};

/// A change of the world.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Edit {
    /// Put a rule into a policy, in front of all others.
    AddRule {
        /// The policy.
        policy: PolicyId,
        /// Of which direction.
        direction: Direction,
        /// The rule.
        rule: Box<Rule>,
    },
    /// Take a rule out.
    RemoveRule {
        /// Its policy.
        policy: PolicyId,
        /// Of which direction.
        direction: Direction,
        /// Its place among them, from 0.
        rule: usize,
        /// Where it is written.
        place: Option<String>,
    },
    /// Make a policy.
    AddPolicy(PolicyId, Box<Policy>),
    /// Take a policy away.
    RemovePolicy(PolicyId, Option<String>),
    /// Give labels to an endpoint.
    Label(EndpointId, Labels),
    /// Let an endpoint's network allow what nobody decides.
    Open(EndpointId, Direction),
}

/// Changes that together turn a verdict around, the smallest first; at most a few.
#[must_use]
pub fn flips(world: &World, packet: &Packet, verdict: &Verdict) -> Vec<Vec<Edit>> {
    let candidates = match verdict.decision {
        Decision::Deny => {
            // Every end that objects must be changed.
            let objecting = verdict
                .because
                .iter()
                .filter(|side| side.decision == Decision::Deny);
            let mut together: Vec<Vec<Edit>> = vec![Vec::new()];
            for side in objecting {
                let ways = to_allow(world, packet, side);
                let joined = together.iter().flat_map(|before| {
                    ways.iter()
                        .map(move |way| [before.clone(), way.clone()].concat())
                });
                together = joined.collect();
            }
            together
        }
        // One end that objects is enough.
        Decision::Allow => {
            let sides = verdict.because.iter().rev();
            sides
                .flat_map(|side| to_deny(world, packet, side))
                .collect()
        }
    };
    let mut flips: Vec<Vec<Edit>> = Vec::new();
    for candidate in candidates {
        let mut changed = world.clone();
        for edit in &candidate {
            edit.apply(&mut changed);
        }
        let is_other = evaluate(&changed, packet).decision != verdict.decision;
        if is_other && !candidate.is_empty() && !flips.contains(&candidate) {
            flips.push(candidate);
        }
    }
    flips.sort_by_key(Vec::len);
    flips.truncate(MOST);
    flips
}

/// How many ways are told.
const MOST: usize = 4;

/// Ways to have one end allow.
fn to_allow(world: &World, packet: &Packet, side: &Side) -> Vec<Vec<Edit>> {
    let direction = side.direction;
    match &side.reason {
        Reason::Isolated(policies) => {
            let mut ways: Vec<Vec<Edit>> = Vec::new();
            ways.extend(labels_wanted(world, packet, side).map(|edit| vec![edit]));
            for policy in policies {
                let kind = policy.kind;
                let rule = rule_for(world, packet, side, Action::Allow, kind);
                ways.push(vec![Edit::AddRule {
                    policy: policy.clone(),
                    direction,
                    rule: Box::new(rule),
                }]);
            }
            let all = policies
                .iter()
                .map(|id| Edit::RemovePolicy(id.clone(), place(world, id)));
            ways.push(all.collect());
            ways
        }
        Reason::Rule { policy, rule } => {
            let accept = rule_for(world, packet, side, Action::Allow, policy.kind);
            vec![
                vec![Edit::AddRule {
                    policy: policy.clone(),
                    direction,
                    rule: Box::new(accept),
                }],
                vec![removed(world, policy, direction, *rule)],
            ]
        }
        Reason::Network(_) => vec![vec![Edit::Open(side.endpoint.clone(), direction)]],
        Reason::OwnNode | Reason::Discovery | Reason::Nobody => Vec::new(),
    }
}

/// Ways to have one end deny.
fn to_deny(world: &World, packet: &Packet, side: &Side) -> Vec<Vec<Edit>> {
    let direction = side.direction;
    match &side.reason {
        Reason::Rule { policy, rule } => {
            let mut ways = vec![allowing(world, packet, side)];
            if policy.kind != PolicyKind::NetworkPolicy && policy.kind != PolicyKind::SecurityGroup
            {
                ways.push(vec![removed(world, policy, direction, *rule)]);
                let deny = rule_for(world, packet, side, Action::Deny, policy.kind);
                ways.push(vec![Edit::AddRule {
                    policy: policy.clone(),
                    direction,
                    rule: Box::new(deny),
                }]);
            }
            ways
        }
        Reason::Nobody => {
            let (id, policy) = isolation(world, side);
            vec![vec![Edit::AddPolicy(id, Box::new(policy))]]
        }
        Reason::Isolated(_) | Reason::Network(_) | Reason::OwnNode | Reason::Discovery => {
            Vec::new()
        }
    }
}

/// All rules that would allow it one after the other: what is left once each is gone.
fn allowing(world: &World, packet: &Packet, side: &Side) -> Vec<Edit> {
    let mut changed = world.clone();
    let mut edits = Vec::new();
    // Each round takes a rule away, so there are no more than rules.
    loop {
        let verdict = evaluate(&changed, packet);
        let mut sides = verdict.because.into_iter();
        let same = |now: &Side| now.direction == side.direction && now.endpoint == side.endpoint;
        let reason = sides.find(same).map(|now| (now.decision, now.reason));
        let Some((Decision::Allow, Reason::Rule { policy, rule })) = reason else {
            return edits;
        };
        let edit = removed(&changed, &policy, side.direction, rule);
        edit.apply(&mut changed);
        edits.push(edit);
    }
}

fn removed(world: &World, policy: &PolicyId, direction: Direction, rule: usize) -> Edit {
    let written = world.policies.get(policy);
    let line = written
        .and_then(|written| written.rules(direction)?.get(rule))
        .and_then(|rule| rule.line);
    Edit::RemoveRule {
        policy: policy.clone(),
        direction,
        rule,
        place: written.and_then(|written| written.origin.at(line)),
    }
}

fn place(world: &World, policy: &PolicyId) -> Option<String> {
    world.policies.get(policy)?.origin.at(None)
}

/// The rule that says `action` about this packet and as little else as can be said.
fn rule_for(world: &World, packet: &Packet, side: &Side, action: Action, kind: PolicyKind) -> Rule {
    let (other, address) = match side.direction {
        Direction::Ingress => (
            world.endpoints_at(&packet.space, packet.source),
            packet.source,
        ),
        Direction::Egress => (
            world.endpoints_at(&packet.space, packet.destination),
            packet.destination,
        ),
    };
    let own = matches!(kind, PolicyKind::Policy | PolicyKind::SecurityGroup);
    let known = other.first().copied();
    let group = known.and_then(|(_, endpoint)| endpoint.groups.first());
    let labelled = known.filter(|(_, endpoint)| !endpoint.labels.is_empty());
    let peer = if let Some((id, endpoint)) = labelled {
        let labels = endpoint.labels.iter();
        let labels = labels.map(|(key, value)| Requirement::equals(key, value));
        Peer::Endpoints(EndpointSelector::Labelled {
            namespaces: Namespaces::Named(id.namespace.clone()),
            labels: labels.collect(),
        })
    } else if let Some(group) = group.filter(|_| own) {
        Peer::Endpoints(EndpointSelector::Group(group.clone()))
    } else {
        // No labels would mean everybody of its namespace.
        let alone = Prefix::new(address, Family::of(address).bits());
        Peer::Block(Block::whole(
            alone.expect("an address has no bits beyond itself"),
        ))
    };
    let port = match packet.traffic {
        Traffic::Port { protocol, port } => Port::Range {
            protocol,
            ports: PortRange::one(port),
        },
        // Kubernetes has no word for it.
        _ if matches!(
            kind,
            PolicyKind::NetworkPolicy | PolicyKind::ClusterNetworkPolicy
        ) =>
        {
            Port::Any
        }
        Traffic::Icmp { kind, code } => Port::Icmp {
            family: packet.family(),
            kind: Some(kind),
            code: Some(code),
        },
        Traffic::Other(number) => Port::of_protocol(number),
    };
    Rule {
        action,
        peers: vec![peer],
        ports: vec![port],
        name: None,
        line: None,
        unread: Vec::new(),
    }
}

/// Labels that a rule which is about this traffic wants of the other end, if they are all that it lacks.
fn labels_wanted(world: &World, packet: &Packet, side: &Side) -> Option<Edit> {
    let address = match side.direction {
        Direction::Ingress => packet.source,
        Direction::Egress => packet.destination,
    };
    let (id, endpoint) = world
        .endpoints_at(&packet.space, address)
        .into_iter()
        .next()?;
    let mut missed = side
        .considered
        .iter()
        .filter(|seen| seen.outcome == Outcome::OtherPeer);
    missed.find_map(|Considered { policy, rule, .. }| {
        let rules = world.policies.get(policy)?.rules(side.direction)?;
        let mut peers = rules.get((*rule)?)?.peers.iter();
        peers.find_map(|peer| {
            let Peer::Endpoints(EndpointSelector::Labelled { labels, .. }) = peer else {
                return None;
            };
            let mut wanted = Labels::default();
            for requirement in labels
                .requirements()
                .filter(|asked| !asked.is_met(&endpoint.labels))
            {
                match &requirement.test {
                    Test::In(values) => wanted.set(&requirement.key, values.first()?),
                    Test::Exists => wanted.set(&requirement.key, "true"),
                    Test::NotIn(_) | Test::DoesNotExist => return None,
                }
            }
            (!wanted.is_empty()).then(|| Edit::Label(id.clone(), wanted))
        })
    })
}

/// A policy that isolates the endpoint of a side in its direction, and allows nothing.
fn isolation(world: &World, side: &Side) -> (PolicyId, Policy) {
    let id = &side.endpoint;
    let labels = world
        .endpoints
        .get(id)
        .map(|endpoint| endpoint.labels.clone());
    let labels = labels.unwrap_or_default();
    let labels: Selector = labels
        .iter()
        .map(|(key, value)| Requirement::equals(key, value))
        .collect();
    let kind = match &id.network {
        None => PolicyKind::NetworkPolicy,
        Some(_) => PolicyKind::Policy,
    };
    let subject = EndpointSelector::Labelled {
        namespaces: Namespaces::Named(id.namespace.clone()),
        labels,
    };
    let none = |direction| (direction == side.direction).then(Vec::new);
    let policy = Policy {
        tier: Tier::Middle,
        subject: vec![subject],
        ingress: none(Direction::Ingress),
        egress: none(Direction::Egress),
        mode: Mode::Enforce,
        origin: Origin::default(),
        unread: Vec::new(),
    };
    let name = format!("isolate-{}", id.name);
    let namespace = (kind == PolicyKind::NetworkPolicy).then(|| id.namespace.clone());
    let id = PolicyId {
        kind,
        namespace,
        name,
    };
    (id, policy)
}

impl Edit {
    /// Makes the change.
    pub fn apply(&self, world: &mut World) {
        match self {
            Self::AddRule {
                policy,
                direction,
                rule,
            } => {
                if let Some(rules) = rules_of(world, policy, *direction) {
                    rules.insert(0, (**rule).clone());
                }
            }
            Self::RemoveRule {
                policy,
                direction,
                rule,
                ..
            } => {
                if let Some(rules) = rules_of(world, policy, *direction)
                    && *rule < rules.len()
                {
                    rules.remove(*rule);
                }
            }
            Self::AddPolicy(id, policy) => {
                world.policies.insert(id.clone(), (**policy).clone());
            }
            Self::RemovePolicy(id, _) => {
                world.policies.remove(id);
            }
            Self::Label(id, labels) => {
                if let Some(endpoint) = world.endpoints.get_mut(id) {
                    for (key, value) in labels.iter() {
                        endpoint.labels.set(key, value);
                    }
                }
            }
            Self::Open(id, direction) => {
                let name = id.network.as_ref();
                if let Some(network) = name.and_then(|name| world.networks.get_mut(name)) {
                    match direction {
                        Direction::Ingress => network.ingress = Stance::Open,
                        Direction::Egress => network.egress = Stance::Open,
                    }
                }
            }
        }
    }

    /// What is to be written, for what is not only taken away.
    #[must_use]
    pub fn snippet(&self) -> Option<String> {
        match self {
            Self::AddRule {
                policy,
                direction,
                rule,
            } => Some(rule_text(policy.kind, *direction, rule)),
            Self::AddPolicy(id, policy) => Some(policy_text(id, policy)),
            Self::RemoveRule { .. } | Self::RemovePolicy(..) | Self::Label(..) | Self::Open(..) => {
                None
            }
        }
    }
}

fn rules_of<'w>(
    world: &'w mut World,
    policy: &PolicyId,
    direction: Direction,
) -> Option<&'w mut Vec<Rule>> {
    let policy = world.policies.get_mut(policy)?;
    match direction {
        Direction::Ingress => policy.ingress.as_mut(),
        Direction::Egress => policy.egress.as_mut(),
    }
}

impl fmt::Display for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |place: &Option<String>| {
            place
                .as_ref()
                .map_or_else(String::new, |place| format!(" ({place})"))
        };
        match self {
            Self::AddRule {
                policy, direction, ..
            } => write!(f, "put first among the {direction} rules of {policy}"),
            Self::RemoveRule {
                policy,
                direction,
                rule,
                place,
            } => write!(
                f,
                "remove {direction} rule {} of {policy}{}",
                rule + 1,
                at(place)
            ),
            Self::AddPolicy(id, _) => write!(f, "add {id}"),
            Self::RemovePolicy(id, place) => write!(f, "remove {id}{}", at(place)),
            Self::Label(id, labels) => write!(f, "label {id} {labels}"),
            Self::Open(id, direction) => {
                write!(
                    f,
                    "give {id} a label or a group that a policy allows, or let its network say unlabelled: {{{direction}: open}}"
                )
            }
        }
    }
}

/// A rule, as its kind of policy writes it.
fn rule_text(kind: PolicyKind, direction: Direction, rule: &Rule) -> String {
    let other = match direction {
        Direction::Ingress => "from",
        Direction::Egress => "to",
    };
    let peers: Vec<String> = rule
        .peers
        .iter()
        .map(|peer| peer_text(kind, peer))
        .collect();
    let peers = peers.join(", ");
    let ports = rule.ports.iter().filter_map(|port| port_text(kind, port));
    let ports = ports.collect::<Vec<_>>().join(", ");
    let (action, key) = match kind {
        PolicyKind::NetworkPolicy | PolicyKind::SecurityGroup => (String::new(), "ports"),
        PolicyKind::Policy => (format!("action: {}, ", rule.action), "ports"),
        PolicyKind::ClusterNetworkPolicy => {
            let action = match rule.action {
                Action::Allow => "Accept",
                Action::Deny => "Deny",
                Action::Pass => "Pass",
            };
            (format!("action: {action}, "), "protocols")
        }
    };
    let ports = if ports.is_empty() {
        ports
    } else {
        format!(", {key}: [{ports}]")
    };
    format!("- {{{action}{other}: [{peers}]{ports}}}\n")
}

fn peer_text(kind: PolicyKind, peer: &Peer) -> String {
    match (kind, peer) {
        (
            PolicyKind::NetworkPolicy,
            Peer::Endpoints(EndpointSelector::Labelled { namespaces, labels }),
        ) => {
            format!(
                "{{namespaceSelector: {}, podSelector: {}}}",
                namespaces_text(namespaces),
                selector_text(labels)
            )
        }
        (
            PolicyKind::ClusterNetworkPolicy,
            Peer::Endpoints(EndpointSelector::Labelled { namespaces, labels }),
        ) => {
            format!(
                "{{pods: {{namespaceSelector: {}, podSelector: {}}}}}",
                namespaces_text(namespaces),
                selector_text(labels)
            )
        }
        (_, Peer::Endpoints(EndpointSelector::Labelled { namespaces, labels })) => {
            format!(
                "{{endpoints: {{namespaces: {}, labels: {}}}}}",
                namespaces_text(namespaces),
                selector_text(labels)
            )
        }
        (PolicyKind::NetworkPolicy, Peer::Block(block)) => {
            format!("{{ipBlock: {{cidr: '{}'}}}}", block.prefix)
        }
        (PolicyKind::ClusterNetworkPolicy, Peer::Block(block)) => {
            format!("{{networks: ['{}']}}", block.prefix)
        }
        (_, Peer::Endpoints(EndpointSelector::Group(group))) => format!("{{group: {group}}}"),
        (_, Peer::Block(block)) => format!("{{cidr: '{}'}}", block.prefix),
        (_, other) => other.to_string(),
    }
}

fn port_text(kind: PolicyKind, port: &Port) -> Option<String> {
    let (protocol, ports) = match port {
        Port::Any => return None,
        Port::Range { protocol, ports } => (*protocol, *ports),
        other => return Some(other.to_string()),
    };
    Some(match kind {
        PolicyKind::NetworkPolicy => {
            let name = match protocol {
                Protocol::Tcp => "TCP",
                Protocol::Udp => "UDP",
                Protocol::Sctp => "SCTP",
            };
            format!("{{protocol: {name}, port: {}}}", ports.first())
        }
        PolicyKind::ClusterNetworkPolicy => {
            format!(
                "{{{protocol}: {{destinationPort: {{number: {}}}}}}}",
                ports.first()
            )
        }
        PolicyKind::Policy | PolicyKind::SecurityGroup => port.to_string(),
    })
}

fn namespaces_text(namespaces: &Namespaces) -> String {
    match namespaces {
        Namespaces::Named(name) => {
            format!("{{matchLabels: {{kubernetes.io/metadata.name: {name}}}}}")
        }
        Namespaces::Selected(selector) => selector_text(selector),
    }
}

/// A selector that asks for values alone, as those made here do.
fn selector_text(selector: &Selector) -> String {
    let pairs = selector
        .requirements()
        .filter_map(|asked| match &asked.test {
            Test::In(values) => Some(format!("{}: {:?}", asked.key, values.first()?)),
            _ => None,
        });
    let pairs: Vec<String> = pairs.collect();
    if pairs.is_empty() {
        return "{}".to_owned();
    }
    format!("{{matchLabels: {{{}}}}}", pairs.join(", "))
}

fn policy_text(id: &PolicyId, policy: &Policy) -> String {
    let name = &id.name;
    let Some(EndpointSelector::Labelled {
        namespaces: Namespaces::Named(namespace),
        labels,
    }) = policy.subject.first()
    else {
        return String::new();
    };
    let labels = selector_text(labels);
    let direction = if policy.ingress.is_some() {
        Direction::Ingress
    } else {
        Direction::Egress
    };
    if id.kind == PolicyKind::NetworkPolicy {
        let kind = match direction {
            Direction::Ingress => "Ingress",
            Direction::Egress => "Egress",
        };
        format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
             spec: {{podSelector: {labels}, policyTypes: [{kind}]}}\n"
        )
    } else {
        format!(
            "apiVersion: bulkhead/v1\nkind: Policy\nmetadata: {{name: {name}}}\n\
             spec: {{tier: middle, subject: [{{endpoints: {{namespace: {namespace}, labels: {labels}}}}}], {direction}: []}}\n"
        )
    }
}
