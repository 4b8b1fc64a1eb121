//! Classes: all that is said about an endpoint in one direction, the same for all about whom the same is
//! said.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bulkhead_model::{NetworkName, Protocol};

use super::digest::Digest;
use super::local::Ends;
use super::members::Kinds;
use super::spans::{Span, spans};
use crate::{
    Action, Block, Direction, Endpoint, EndpointId, EndpointSelector, Entity, Mode, NamedPort,
    NodeName, Peer, Policy, PolicyId, Port, PortRange, Rule, Selector, Stance, Tier, World,
};

/// Somebody that a class speaks of. What is relative to the endpoint is resolved.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) enum Target<'w> {
    /// Endpoints.
    Endpoints(&'w EndpointSelector),
    /// Addresses.
    Block(&'w Block),
    /// A node's addresses, and the gateways that every node has.
    Node(Option<&'w NodeName>),
    /// Those of all nodes.
    AnyNode,
    /// What is nobody's that is known.
    World,
    /// A network's gateways.
    Gateway(&'w NetworkName),
    /// Addresses of nodes with such labels.
    Nodes(&'w Selector),
}

/// Whom a step is about.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) enum Peers<'w> {
    /// Whoever it is.
    All,
    /// These, maybe none.
    Of(BTreeSet<Target<'w>>),
}

/// When a step is taken.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) enum Stage {
    Admin,
    Middle,
    Baseline,
}

/// One rule.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct Step<'w> {
    pub(super) stage: Stage,
    pub(super) policy: &'w PolicyId,
    pub(super) mode: Mode,
    /// Its place in the policy.
    pub(super) rule: usize,
    pub(super) action: Action,
    pub(super) peers: Peers<'w>,
    pub(super) spans: Vec<Span>,
    /// Ports that the other end has a name for.
    pub(super) named: Vec<Named<'w>>,
}

/// A port by its name, of one protocol or any.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct Named<'w> {
    pub(super) protocol: Option<Protocol>,
    pub(super) name: &'w str,
}

impl Named<'_> {
    /// Where it is for somebody who has such ports.
    pub(super) fn spans(self, ports: &BTreeSet<NamedPort>) -> impl Iterator<Item = Span> {
        let fits = move |port: &&NamedPort| {
            port.name == self.name
                && self
                    .protocol
                    .is_none_or(|protocol| protocol == port.protocol)
        };
        let found = ports.iter().filter(fits);
        found.map(|port| Span::port(port.protocol, PortRange::one(port.port)))
    }
}

/// What is said about an endpoint.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct Class<'w> {
    pub(super) direction: Direction,
    /// Who may always reach it.
    pub(super) own_node: Option<Target<'w>>,
    /// In order.
    pub(super) steps: Vec<Step<'w>>,
    /// The policies that isolate it.
    pub(super) isolating: Vec<(&'w PolicyId, Mode)>,
    /// The policies in audit.
    pub(super) audits: BTreeSet<&'w PolicyId>,
    /// The network that closes what nobody decided.
    pub(super) closes: Option<&'w NetworkName>,
}

impl<'w> Class<'w> {
    /// Everybody it speaks of.
    pub(super) fn targets(&self) -> impl Iterator<Item = Target<'w>> {
        let of_steps = self.steps.iter().filter_map(|step| match &step.peers {
            Peers::All => None,
            Peers::Of(targets) => Some(targets.iter().copied()),
        });
        of_steps.flatten().chain(self.own_node)
    }

    /// The names of ports that the other end is asked for.
    pub(super) fn names(&self) -> impl Iterator<Item = &'w str> {
        self.steps
            .iter()
            .flat_map(|step| &step.named)
            .map(|named| named.name)
    }
}

/// The classes of a node's endpoints.
#[derive(Debug)]
pub(super) struct Classes<'w> {
    pub(super) all: BTreeMap<Digest, Class<'w>>,
    pub(super) of: HashMap<(&'w EndpointId, Direction), Digest>,
}

pub(super) fn classes<'w>(world: &'w World, ends: &Ends<'w>) -> Classes<'w> {
    let asked = world.asked();
    let about = about(world, ends, &asked);
    let mut classes = Classes {
        all: BTreeMap::new(),
        of: HashMap::new(),
    };
    let mut known: HashMap<(Sight<'w>, Direction), Digest> = HashMap::new();
    for (id, endpoint) in &ends.endpoints {
        let policies = about.get(id).cloned().unwrap_or_default();
        for direction in [Direction::Ingress, Direction::Egress] {
            let sight = Sight::of(world, &asked, (*id, *endpoint), policies.clone(), direction);
            let digest = *known.entry((sight.clone(), direction)).or_insert_with(|| {
                let class = sight.class(&asked, direction);
                let digest = Digest::of(&class);
                classes.all.insert(digest, class);
                digest
            });
            classes.of.insert((*id, direction), digest);
        }
    }
    classes
}

/// The policies about each local endpoint, by their places in the order of asking.
fn about<'w>(
    world: &'w World,
    ends: &Ends<'w>,
    asked: &[(&'w PolicyId, &'w Policy)],
) -> BTreeMap<&'w EndpointId, Vec<usize>> {
    let mut kinds = Kinds::new(world);
    let mut members: Vec<Vec<&EndpointId>> = Vec::new();
    for (id, endpoint) in &ends.endpoints {
        let kind = kinds.number(id, endpoint);
        members.resize(kinds.len(), Vec::new());
        members[kind].push(*id);
    }
    let mut about: BTreeMap<&EndpointId, Vec<usize>> = BTreeMap::new();
    for (nth, (_, policy)) in asked.iter().enumerate() {
        let subjects = policy.subject.iter();
        let selected: BTreeSet<usize> = subjects.flat_map(|one| kinds.selected(one)).collect();
        for id in selected.into_iter().flat_map(|kind| &members[kind]) {
            about.entry(*id).or_default().push(nth);
        }
    }
    about
}

/// All that a class follows from.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Sight<'w> {
    policies: Vec<usize>,
    node: Option<&'w NodeName>,
    /// If a policy speaks of its gateways.
    network: Option<&'w NetworkName>,
    closes: Option<&'w NetworkName>,
    /// If a policy asks for ports that it has names for.
    ports: Option<&'w BTreeSet<NamedPort>>,
}

impl<'w> Sight<'w> {
    fn of(
        world: &'w World,
        asked: &[(&'w PolicyId, &'w Policy)],
        (id, endpoint): (&'w EndpointId, &'w Endpoint),
        policies: Vec<usize>,
        direction: Direction,
    ) -> Self {
        let rules = || {
            let policies = policies.iter().filter_map(|nth| asked.get(*nth));
            policies.flat_map(|(_, policy)| policy.rules(direction).unwrap_or_default())
        };
        let is_gateway = |peer: &Peer| *peer == Peer::Entity(Entity::Gateway);
        let asks_gateway = rules().any(|rule| rule.peers.iter().any(is_gateway));
        let is_named = |port: &Port| matches!(port, Port::Named { .. });
        let asks_names = rules().any(|rule| rule.ports.iter().any(is_named));
        let is_bare = endpoint.labels.is_empty() && endpoint.groups.is_empty();
        let network = id.network.as_ref();
        let closes = network.filter(|name| {
            let network = world.networks.get(*name);
            is_bare && network.is_some_and(|network| network.stance(direction) == Stance::Closed)
        });
        let is_to = direction == Direction::Ingress;
        Self {
            node: endpoint.node.as_ref(),
            network: network.filter(|_| asks_gateway),
            closes,
            ports: (asks_names && is_to).then_some(&endpoint.ports),
            policies,
        }
    }

    fn class(&self, asked: &[(&'w PolicyId, &'w Policy)], direction: Direction) -> Class<'w> {
        let mut class = Class {
            direction,
            own_node: (direction == Direction::Ingress).then_some(Target::Node(self.node)),
            steps: Vec::new(),
            isolating: Vec::new(),
            audits: BTreeSet::new(),
            closes: self.closes,
        };
        for (id, policy) in self.policies.iter().filter_map(|nth| asked.get(*nth)) {
            let Some(rules) = policy.rules(direction) else {
                continue;
            };
            if policy.mode == Mode::Audit {
                class.audits.insert(*id);
            }
            let stage = match policy.tier {
                Tier::Admin(_) => Stage::Admin,
                Tier::Middle => Stage::Middle,
                Tier::Baseline(_) => Stage::Baseline,
            };
            if stage == Stage::Middle {
                class.isolating.push((*id, policy.mode));
            }
            for (nth, rule) in rules.iter().enumerate() {
                let step = Step {
                    stage,
                    policy: id,
                    mode: policy.mode,
                    rule: nth,
                    action: rule.action,
                    peers: self.peers(rule),
                    spans: self.spans(rule),
                    named: asked_names(rule, direction),
                };
                class.steps.push(step);
            }
        }
        class
    }

    fn peers(&self, rule: &'w Rule) -> Peers<'w> {
        if rule.peers.contains(&Peer::Any) {
            return Peers::All;
        }
        let targets = rule.peers.iter().filter_map(|peer| match peer {
            Peer::Any => None,
            Peer::Endpoints(selector) => Some(Target::Endpoints(selector)),
            Peer::Block(block) => Some(Target::Block(block)),
            Peer::Entity(Entity::OwnNode) => Some(Target::Node(self.node)),
            Peer::Entity(Entity::AnyNode) => Some(Target::AnyNode),
            Peer::Entity(Entity::World) => Some(Target::World),
            Peer::Entity(Entity::Gateway) => self.network.map(Target::Gateway),
            Peer::Nodes(labels) => Some(Target::Nodes(labels)),
        });
        Peers::Of(targets.collect())
    }

    /// Where the rule's ports are, with those that the endpoint itself has names for.
    fn spans(&self, rule: &'w Rule) -> Vec<Span> {
        let mut all: Vec<Span> = rule.ports.iter().flat_map(spans).collect();
        if let Some(ports) = self.ports {
            let own = rule.ports.iter().filter_map(named);
            all.extend(own.flat_map(|named| named.spans(ports)));
        }
        all
    }
}

/// The names of ports that the other end is asked for.
fn asked_names(rule: &Rule, direction: Direction) -> Vec<Named<'_>> {
    match direction {
        Direction::Ingress => Vec::new(),
        Direction::Egress => rule.ports.iter().filter_map(named).collect(),
    }
}

fn named(port: &Port) -> Option<Named<'_>> {
    match port {
        Port::Named { protocol, name } => Some(Named {
            protocol: *protocol,
            name,
        }),
        _ => None,
    }
}
