//! Classes: all that is said about an endpoint in one direction, the same for all about whom the same is
//! said.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bulkhead_model::{NetworkName, Protocol};

use super::digest::Digest;
use super::spans::{Span, spans};
use crate::{
    Action, Block, Direction, Endpoint, EndpointId, EndpointSelector, Entity, Mode, NamedPort,
    NodeName, Peer, Policy, PolicyId, Port, PortRange, Rule, Selector, Stance, Tier, World,
};

/// Somebody that a class speaks of. What is relative to the endpoint is resolved.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) enum Target {
    /// Endpoints.
    Endpoints(EndpointSelector),
    /// Addresses.
    Block(Block),
    /// A node's addresses, and the gateways that every node has.
    Node(Option<NodeName>),
    /// Those of all nodes.
    AnyNode,
    /// What is nobody's that is known.
    World,
    /// A network's gateways.
    Gateway(NetworkName),
    /// Addresses of nodes with such labels.
    Nodes(Selector),
}

impl Target {
    fn with_digest(self) -> (Digest, Self) {
        (Digest::of(&self), self)
    }
}

/// Whom a step is about.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) enum Peers {
    /// Whoever it is.
    All,
    /// These of the part's targets, maybe none.
    Of(BTreeSet<Digest>),
}

/// When a step is taken.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Stage {
    Admin,
    Middle,
    Baseline,
}

/// One rule.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Step {
    pub(super) action: Action,
    pub(super) peers: Peers,
    pub(super) spans: Vec<Span>,
    /// Ports that the other end has a name for.
    pub(super) named: Vec<Named>,
}

/// A port by its name, of one protocol or any.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Named {
    protocol: Option<Protocol>,
    pub(super) name: String,
}

impl Named {
    /// Where it is for somebody who has such ports.
    pub(super) fn spans(&self, ports: &BTreeSet<NamedPort>) -> impl Iterator<Item = Span> {
        let fits = |port: &&NamedPort| {
            port.name == self.name
                && self
                    .protocol
                    .is_none_or(|protocol| protocol == port.protocol)
        };
        let found = ports.iter().filter(fits);
        found.map(|port| Span::port(port.protocol, PortRange::one(port.port)))
    }
}

/// What one policy says about an endpoint.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Part {
    pub(super) stage: Stage,
    pub(super) policy: PolicyId,
    pub(super) mode: Mode,
    /// Its rules, in order.
    pub(super) steps: Vec<Step>,
    /// Everybody that they speak of.
    targets: BTreeMap<Digest, Target>,
}

/// What is said about an endpoint.
#[derive(Clone, Debug)]
pub(super) struct Class {
    pub(super) direction: Direction,
    /// Who may always reach it.
    pub(super) own_node: Option<(Digest, Target)>,
    /// By policy, in the order of asking.
    pub(super) parts: Vec<Arc<Part>>,
    /// The network that closes what nobody decided.
    pub(super) closes: Option<NetworkName>,
}

impl Class {
    /// Everything it says, with its place.
    pub(super) fn steps(&self) -> impl Iterator<Item = (Place, &Step)> {
        let parts = self.parts.iter().enumerate();
        parts.flat_map(|(part, of)| {
            let steps = of.steps.iter().enumerate();
            steps.map(move |(rule, step)| (Place { part, rule }, step))
        })
    }

    /// Everybody it speaks of, each once.
    pub(super) fn targets(&self) -> BTreeMap<Digest, &Target> {
        let of_parts = self.parts.iter().flat_map(|part| &part.targets);
        let own_node = self.own_node.iter();
        let own_node = own_node.map(|(digest, target)| (digest, target));
        let all = of_parts.chain(own_node);
        all.map(|(digest, target)| (*digest, target)).collect()
    }

    /// The names of ports that the other end is asked for, each once.
    pub(super) fn names(&self) -> BTreeSet<&str> {
        let named = self.steps().flat_map(|(_, step)| &step.named);
        named.map(|named| named.name.as_str()).collect()
    }
}

/// Where a step is in its class. Their order is the order of asking.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct Place {
    pub(super) part: usize,
    /// Its place in the policy.
    pub(super) rule: usize,
}

/// What rules may ask of the endpoint that they are about, besides its labels.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Context {
    direction: Direction,
    /// Its own node, if one speaks of it.
    node: Option<Target>,
    /// If one speaks of its gateways.
    network: Option<NetworkName>,
    /// If one asks for ports that it has names for.
    ports: Option<BTreeSet<NamedPort>>,
}

/// Parts of classes, with their digests, each made once.
#[derive(Clone, Debug, Default)]
pub(super) struct Parts {
    made: HashMap<PolicyId, HashMap<Context, (Digest, Arc<Part>)>>,
    /// How many there are, and were when those that nobody needs were thrown away.
    count: usize,
    swept: usize,
}

impl Parts {
    /// A policy may say something else now.
    pub(super) fn forget(&mut self, policy: &PolicyId) {
        self.count -= self.made.remove(policy).map_or(0, |of| of.len());
    }

    /// Throws away what no class has any more, now and then.
    pub(super) fn sweep(&mut self) {
        if self.count <= self.swept * 2 + 64 {
            return;
        }
        self.made.retain(|_, of| {
            of.retain(|_, (_, part)| Arc::strong_count(part) > 1);
            !of.is_empty()
        });
        self.count = self.made.values().map(HashMap::len).sum();
        self.swept = self.count;
    }

    /// What `policies`, in the order of asking, say about an endpoint, and the digest of it.
    pub(super) fn class(
        &mut self,
        world: &World,
        policies: &[(&PolicyId, &Policy)],
        (id, endpoint): (&EndpointId, &Endpoint),
        direction: Direction,
    ) -> (Digest, Class) {
        let is_bare = endpoint.labels.is_empty() && endpoint.groups.is_empty();
        let closes = id.network.as_ref().filter(|name| {
            let network = world.networks.get(*name);
            is_bare && network.is_some_and(|network| network.stance(direction) == Stance::Closed)
        });
        let is_to = direction == Direction::Ingress;
        let mut class = Class {
            direction,
            own_node: is_to.then(|| Target::Node(endpoint.node.clone()).with_digest()),
            parts: Vec::new(),
            closes: closes.cloned(),
        };
        let head = Digest::of(&(direction, &class.own_node, &class.closes));
        let mut digests = vec![head];
        for (policy_id, policy) in policies {
            let Some(rules) = policy.rules(direction) else {
                continue;
            };
            let context = Context::of(rules, (id, endpoint), direction);
            if !self.made.contains_key(*policy_id) {
                self.made.insert((*policy_id).clone(), HashMap::new());
            }
            let of_policy = self.made.get_mut(*policy_id).expect("it is there");
            let (digest, part) = of_policy.entry(context).or_insert_with_key(|context| {
                self.count += 1;
                let part = context.part(policy_id, policy, rules);
                (Digest::of(&part), Arc::new(part))
            });
            digests.push(*digest);
            class.parts.push(Arc::clone(part));
        }
        (Digest::of_all(digests), class)
    }
}

impl Context {
    fn of(rules: &[Rule], (id, endpoint): (&EndpointId, &Endpoint), direction: Direction) -> Self {
        let asks = |entity| {
            let mut peers = rules.iter().flat_map(|rule| &rule.peers);
            peers.any(|peer| *peer == Peer::Entity(entity))
        };
        let mut ports = rules.iter().flat_map(|rule| &rule.ports);
        let names =
            direction == Direction::Ingress && ports.any(|port| matches!(port, Port::Named { .. }));
        Self {
            direction,
            node: asks(Entity::OwnNode).then(|| Target::Node(endpoint.node.clone())),
            network: id.network.clone().filter(|_| asks(Entity::Gateway)),
            ports: names.then(|| endpoint.ports.clone()),
        }
    }

    fn part(&self, id: &PolicyId, policy: &Policy, rules: &[Rule]) -> Part {
        let mut targets = BTreeMap::new();
        let steps = rules.iter().map(|rule| Step {
            action: rule.action,
            peers: self.peers(rule, &mut targets),
            spans: self.spans(rule),
            named: match self.direction {
                Direction::Ingress => Vec::new(),
                Direction::Egress => rule.ports.iter().filter_map(named).collect(),
            },
        });
        Part {
            stage: match policy.tier {
                Tier::Admin(_) => Stage::Admin,
                Tier::Middle => Stage::Middle,
                Tier::Baseline(_) => Stage::Baseline,
            },
            policy: id.clone(),
            mode: policy.mode,
            steps: steps.collect(),
            targets,
        }
    }

    fn peers(&self, rule: &Rule, targets: &mut BTreeMap<Digest, Target>) -> Peers {
        if rule.peers.contains(&Peer::Any) {
            return Peers::All;
        }
        let of_rule = rule.peers.iter().filter_map(|peer| match peer {
            Peer::Any => None,
            Peer::Endpoints(selector) => Some(Target::Endpoints(selector.clone())),
            Peer::Block(block) => Some(Target::Block(block.clone())),
            Peer::Entity(Entity::OwnNode) => self.node.clone(),
            Peer::Entity(Entity::AnyNode) => Some(Target::AnyNode),
            Peer::Entity(Entity::World) => Some(Target::World),
            Peer::Entity(Entity::Gateway) => self.network.clone().map(Target::Gateway),
            Peer::Nodes(labels) => Some(Target::Nodes(labels.clone())),
        });
        let of_rule: BTreeMap<Digest, Target> = of_rule.map(Target::with_digest).collect();
        let digests = of_rule.keys().copied().collect();
        targets.extend(of_rule);
        Peers::Of(digests)
    }

    /// Where the rule's ports are, with those that the endpoint itself has names for.
    fn spans(&self, rule: &Rule) -> Vec<Span> {
        let mut all: Vec<Span> = rule.ports.iter().flat_map(spans).collect();
        if let Some(ports) = &self.ports {
            let own = rule.ports.iter().filter_map(named);
            all.extend(own.flat_map(|named| named.spans(ports).collect::<Vec<_>>()));
        }
        all
    }
}

fn named(port: &Port) -> Option<Named> {
    match port {
        Port::Named { protocol, name } => Some(Named {
            protocol: *protocol,
            name: name.clone(),
        }),
        _ => None,
    }
}

/// Classes that endpoints have, by their digests, from one world to the next.
#[derive(Debug, Default)]
pub(super) struct Turnover {
    pub(super) new: BTreeMap<Digest, Class>,
    pub(super) gone: BTreeSet<Digest>,
}
