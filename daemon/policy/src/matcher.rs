//! The reference: what is written, read word by word. Slow, and short enough to be believed; whatever is
//! loaded into the kernel must do as this says.
//!
//! It judges the first packet of a connection, where it leaves its source and where it reaches its
//! destination. Replies, and ICMP errors that belong to an allowed one, pass with it; connection tracking
//! sees to that. What an endpoint sends to itself never leaves it; what comes back to it by way of a
//! service has left it, and is judged as anything else (`CNPAdminTierHairpin`, network-policy-api).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;

use bulkhead_model::Family;

use crate::{
    Action, Block, Considered, Decision, Direction, Endpoint, EndpointId, Entity, Mode, NodeName,
    Outcome, OwnPrefix, Packet, Peer, Place, Policy, PolicyId, Port, Reason, Rule, Side, Space,
    Stance, Tier, Traffic, Verdict, World,
};

/// What `world` says about `packet`. For many packets of one world, make a [`Matcher`] of it.
#[must_use]
pub fn evaluate(world: &World, packet: &Packet) -> Verdict {
    Matcher::new(world).evaluate(packet)
}

/// A world, with what is the same for every packet looked up once: who has an address, and which policies
/// are about whom, in the order they are asked in.
#[derive(Debug)]
pub struct Matcher<'a> {
    world: &'a World,
    holders: BTreeMap<(Space, IpAddr), Vec<End<'a>>>,
    /// Who has all addresses of a prefix.
    prefixed: BTreeMap<(Space, OwnPrefix), Vec<End<'a>>>,
    about: BTreeMap<&'a EndpointId, Vec<(&'a PolicyId, &'a Policy)>>,
}

type End<'a> = (&'a EndpointId, &'a Endpoint);

impl<'a> Matcher<'a> {
    /// Of what is known now.
    #[must_use]
    pub fn new(world: &'a World) -> Self {
        let mut holders: BTreeMap<(Space, IpAddr), Vec<End<'a>>> = BTreeMap::new();
        let mut prefixed: BTreeMap<(Space, OwnPrefix), Vec<End<'a>>> = BTreeMap::new();
        let mut about = BTreeMap::new();
        let asked = world.asked();
        for (id, endpoint) in &world.endpoints {
            if endpoint.place == Place::Host {
                continue;
            }
            for address in &endpoint.addresses {
                let key = (world.space_of(id), *address);
                holders.entry(key).or_default().push((id, endpoint));
            }
            for own in &endpoint.prefixes {
                let key = (world.space_of(id), *own);
                prefixed.entry(key).or_default().push((id, endpoint));
            }
            let policies = asked.iter().copied();
            let policies = policies.filter(|(_, policy)| world.is_about(policy, id, endpoint));
            about.insert(id, policies.collect());
        }
        Self {
            world,
            holders,
            prefixed,
            about,
        }
    }

    /// What is said about `packet`.
    #[must_use]
    pub fn evaluate(&self, packet: &Packet) -> Verdict {
        let judge = self.judge(packet);
        let egress = judge
            .from
            .iter()
            .map(|end| judge.side(Direction::Egress, *end));
        let ingress = judge
            .to
            .iter()
            .map(|end| judge.side(Direction::Ingress, *end));
        let because: Vec<Side> = egress.chain(ingress).collect();
        let decisions = because.iter().map(|side| side.decision);
        let decision = decisions.fold(Decision::Allow, Decision::and);
        Verdict { decision, because }
    }

    fn judge<'j>(&'j self, packet: &'j Packet) -> Judge<'j> {
        Judge {
            matcher: self,
            packet,
            from: self.at(&packet.space, packet.source),
            to: self.at(&packet.space, packet.destination),
        }
    }

    /// Who has an address.
    fn at(&self, space: &Space, address: IpAddr) -> Cow<'_, [End<'a>]> {
        let alone = self.holders.get(&(space.clone(), address));
        let alone = alone.map_or(&[][..], Vec::as_slice);
        let around = OwnPrefix::around(address).filter(|_| !self.prefixed.is_empty());
        let prefixed = around.and_then(|around| self.prefixed.get(&(space.clone(), around)));
        let Some(prefixed) = prefixed else {
            return Cow::Borrowed(alone);
        };
        // Most have their first address by itself too.
        let is_alone = |(id, _): &End<'a>| alone.iter().any(|(other, _)| other == id);
        let others = prefixed.iter().filter(|end| !is_alone(end));
        Cow::Owned(alone.iter().chain(others).copied().collect())
    }

    /// For each kind of traffic the rules that match it at one end of `packet`, whether they decide or not, in the order
    /// they are asked in. Policies in audit are left out. Whose peer the other end is is asked once for all traffic.
    pub(crate) fn matching(
        &self,
        packet: &Packet,
        direction: Direction,
        traffic: impl Iterator<Item = Traffic>,
    ) -> Vec<Vec<(&'a PolicyId, Direction, usize)>> {
        let judge = self.judge(packet);
        let ends = match direction {
            Direction::Egress => &judge.from,
            Direction::Ingress => &judge.to,
        };
        let views: Vec<View<'_>> = ends.iter().map(|end| judge.view(direction, *end)).collect();
        let mut meeting = Vec::new();
        for view in &views {
            let known = self.about.get(view.id).into_iter().flatten();
            for (id, policy) in known.filter(|(_, policy)| policy.mode == Mode::Enforce) {
                let rules = policy.rules(direction).unwrap_or_default();
                let met = rules.iter().enumerate();
                let met = met.filter(|(_, rule)| view.is_met(rule));
                meeting.extend(met.map(|(nth, rule)| (view, (*id, direction, nth), rule)));
            }
        }
        if meeting.is_empty() {
            return Vec::new();
        }
        let matching = traffic.map(|traffic| {
            let rules = meeting.iter();
            let matched = rules.filter(|(view, _, rule)| view.is_about(rule, traffic));
            matched.map(|(_, place, _)| *place).collect()
        });
        matching.collect()
    }
}

struct Judge<'a> {
    matcher: &'a Matcher<'a>,
    packet: &'a Packet,
    from: Cow<'a, [End<'a>]>,
    to: Cow<'a, [End<'a>]>,
}

/// One end of the packet, as the policies about it see it.
struct View<'a> {
    judge: &'a Judge<'a>,
    direction: Direction,
    id: &'a EndpointId,
    endpoint: &'a Endpoint,
    /// The other end's address, and who has it.
    other: IpAddr,
    others: &'a [End<'a>],
}

impl<'a> Judge<'a> {
    fn view(&'a self, direction: Direction, (id, endpoint): End<'a>) -> View<'a> {
        let (other, others) = match direction {
            Direction::Egress => (self.packet.destination, &self.to),
            Direction::Ingress => (self.packet.source, &self.from),
        };
        View {
            judge: self,
            direction,
            id,
            endpoint,
            other,
            others,
        }
    }

    fn side(&'a self, direction: Direction, end: End<'a>) -> Side {
        let view = self.view(direction, end);
        let (decision, reason, considered) = view.decide(None);
        Side {
            endpoint: view.id.clone(),
            direction,
            decision,
            reason,
            considered,
            would_deny: view.would_deny(decision),
        }
    }
}

impl View<'_> {
    /// What is said at this end, if the policies in force and `also` are.
    fn decide(&self, also: Option<&PolicyId>) -> (Decision, Reason, Vec<Considered>) {
        if is_discovery(self.judge.packet) {
            return (Decision::Allow, Reason::Discovery, Vec::new());
        }
        if self.direction == Direction::Ingress && self.is_own_node() {
            return (Decision::Allow, Reason::OwnNode, Vec::new());
        }
        let mut asked = Asked::default();
        let (decision, reason) = self.ask(also, &mut asked);
        (decision, reason, asked.considered)
    }

    /// Goes through the tiers.
    fn ask(&self, also: Option<&PolicyId>, asked: &mut Asked) -> (Decision, Reason) {
        let mut policies: Vec<(&PolicyId, &Policy)> = Vec::new();
        for (id, policy) in self.about() {
            if policy.mode == Mode::Audit && also != Some(id) {
                asked.note(id, None, Outcome::Audited);
            } else {
                policies.push((id, policy));
            }
        }
        let of = |is_of: fn(Tier) -> bool| {
            let policies = policies.iter();
            policies
                .filter(move |(_, policy)| is_of(policy.tier))
                .copied()
        };
        if let Some(decided) = self.first(of(|tier| matches!(tier, Tier::Admin(_))), asked) {
            return decided;
        }
        if let Some(decided) = self.union(of(|tier| tier == Tier::Middle), asked) {
            return decided;
        }
        if let Some(decided) = self.first(of(|tier| matches!(tier, Tier::Baseline(_))), asked) {
            return decided;
        }
        self.undecided()
    }

    /// Admin and baseline: the first rule that matches. `None` if it passes, or if there is none.
    fn first<'p>(
        &self,
        policies: impl Iterator<Item = (&'p PolicyId, &'p Policy)>,
        asked: &mut Asked,
    ) -> Option<(Decision, Reason)> {
        for (id, policy) in policies {
            let rules = policy.rules(self.direction).unwrap_or_default();
            if rules.is_empty() {
                asked.note(id, None, Outcome::Silent);
            }
            for (nth, rule) in rules.iter().enumerate() {
                let outcome = self.outcome(rule);
                asked.note(id, Some(nth), outcome);
                let decision = match outcome {
                    Outcome::Matched(Action::Allow) => Decision::Allow,
                    Outcome::Matched(Action::Deny) => Decision::Deny,
                    Outcome::Matched(Action::Pass) => return None,
                    _ => continue,
                };
                return Some((decision, rule_of(id, nth)));
            }
        }
        None
    }

    /// The middle tier: what any of them allows. `None` if nobody isolates the endpoint.
    fn union<'p>(
        &self,
        policies: impl Iterator<Item = (&'p PolicyId, &'p Policy)>,
        asked: &mut Asked,
    ) -> Option<(Decision, Reason)> {
        let mut isolating = Vec::new();
        for (id, policy) in policies {
            let Some(rules) = policy.rules(self.direction) else {
                asked.note(id, None, Outcome::Silent);
                continue;
            };
            asked.note(id, None, Outcome::Isolates);
            isolating.push(id.clone());
            for (nth, rule) in rules.iter().enumerate() {
                let outcome = self.outcome(rule);
                asked.note(id, Some(nth), outcome);
                if matches!(outcome, Outcome::Matched(_)) {
                    return Some((Decision::Allow, rule_of(id, nth)));
                }
            }
        }
        (!isolating.is_empty()).then_some((Decision::Deny, Reason::Isolated(isolating)))
    }

    /// What becomes of what nobody decided.
    fn undecided(&self) -> (Decision, Reason) {
        let is_unlabelled = self.endpoint.labels.is_empty() && self.endpoint.groups.is_empty();
        let name = self.id.network.as_ref().filter(|_| is_unlabelled);
        let Some(network) = name.and_then(|name| self.judge.matcher.world.networks.get(name))
        else {
            return (Decision::Allow, Reason::Nobody);
        };
        match (network.stance(self.direction), name) {
            (Stance::Closed, Some(name)) => (Decision::Deny, Reason::Network(name.clone())),
            _ => (Decision::Allow, Reason::Nobody),
        }
    }

    fn would_deny(&self, decided: Decision) -> Vec<PolicyId> {
        let in_audit = self
            .about()
            .filter(|(_, policy)| policy.mode == Mode::Audit);
        in_audit
            .filter(|(id, _)| {
                decided == Decision::Allow && self.decide(Some(id)).0 == Decision::Deny
            })
            .map(|(id, _)| id.clone())
            .collect()
    }

    /// The policies about this end.
    fn about(&self) -> impl Iterator<Item = (&PolicyId, &Policy)> {
        let known = self.judge.matcher.about.get(self.id);
        known.into_iter().flatten().copied()
    }

    fn outcome(&self, rule: &Rule) -> Outcome {
        if !self.is_met(rule) {
            Outcome::OtherPeer
        } else if !self.is_about(rule, self.judge.packet.traffic) {
            Outcome::OtherPort
        } else {
            Outcome::Matched(rule.action)
        }
    }

    /// Whether the other end is a peer of the rule.
    fn is_met(&self, rule: &Rule) -> bool {
        rule.peers.iter().any(|peer| self.is_peer(peer))
    }

    /// Whether traffic between the two is of a port of the rule.
    fn is_about(&self, rule: &Rule, traffic: Traffic) -> bool {
        rule.ports.iter().any(|port| self.is_port(port, traffic))
    }

    /// Whether the other end is `peer`.
    fn is_peer(&self, peer: &Peer) -> bool {
        let world = self.judge.matcher.world;
        match peer {
            Peer::Any => true,
            Peer::Endpoints(selector) => {
                let mut others = self.others.iter();
                others.any(|(id, endpoint)| world.selects(selector, id, endpoint))
            }
            Peer::Block(block) => Block::contains(block, self.other),
            Peer::Entity(Entity::OwnNode) => self.is_own_node(),
            Peer::Entity(Entity::AnyNode) => self.is_any_node(),
            Peer::Entity(Entity::World) => self.is_world(),
            Peer::Entity(Entity::Gateway) => self.is_own_gateway(),
            Peer::Nodes(labels) => world
                .nodes
                .values()
                .any(|node| labels.selects(&node.labels) && node.addresses.contains(&self.other)),
        }
    }

    /// Whether it is such traffic.
    fn is_port(&self, port: &Port, traffic: Traffic) -> bool {
        match (port, traffic) {
            (Port::Any, _) => true,
            (Port::Range { protocol, ports }, Traffic::Port { protocol: of, port }) => {
                *protocol == of && ports.contains(port)
            }
            (Port::Named { protocol, name }, Traffic::Port { protocol: of, port }) => {
                let mut receivers = self.judge.to.iter();
                protocol.is_none_or(|protocol| protocol == of)
                    && receivers.any(|(_, endpoint)| {
                        let mut named = endpoint.ports.iter();
                        named.any(|p| p.name == *name && p.protocol == of && p.port == port)
                    })
            }
            (Port::Icmp { family, kind, code }, Traffic::Icmp { kind: k, code: c }) => {
                *family == self.judge.packet.family()
                    && kind.is_none_or(|kind| kind == k)
                    && code.is_none_or(|code| code == c)
            }
            (Port::Protocol(number), Traffic::Other(of)) => *number == of,
            _ => false,
        }
    }

    fn is_own_node(&self) -> bool {
        let node = self.endpoint.node.as_ref().and_then(|name| self.node(name));
        node.is_some_and(|node| node.addresses.contains(&self.other)) || self.is_gateway()
    }

    fn node(&self, name: &NodeName) -> Option<&crate::Node> {
        self.judge.matcher.world.nodes.get(name)
    }

    fn is_any_node(&self) -> bool {
        let mut nodes = self.judge.matcher.world.nodes.values();
        nodes.any(|node| node.addresses.contains(&self.other)) || self.is_gateway()
    }

    /// Whether it is the address of a gateway of some network in the packet's space. Every node has those
    /// for itself, so who sends from one is the own node.
    fn is_gateway(&self) -> bool {
        self.networks()
            .any(|network| network.gateways.contains(&self.other))
    }

    fn is_own_gateway(&self) -> bool {
        let name = self.id.network.as_ref();
        let network = name.and_then(|name| self.judge.matcher.world.networks.get(name));
        network.is_some_and(|network| network.gateways.contains(&self.other))
    }

    fn is_world(&self) -> bool {
        let is_in_pool = |network: &crate::Network| {
            let mut pools = network.pools.iter();
            pools.any(|pool| pool.contains(self.other))
        };
        self.others.is_empty() && !self.is_any_node() && !self.networks().any(is_in_pool)
    }

    /// The networks in the packet's space.
    fn networks(&self) -> impl Iterator<Item = &crate::Network> {
        let space: &Space = &self.judge.packet.space;
        let networks = self.judge.matcher.world.networks.values();
        networks.filter(move |network| network.space == *space)
    }
}

/// `ICMPv6` that an interface on a link cannot do without: multicast listener and neighbour discovery
/// (RFC 2710, RFC 3810, RFC 4861; of RFC 4890 §4.4.1 what Linux sends). Redirects are not among them.
fn is_discovery(packet: &Packet) -> bool {
    let Traffic::Icmp { kind, .. } = packet.traffic else {
        return false;
    };
    packet.family() == Family::V6 && matches!(kind, 130..=136 | 143)
}

fn rule_of(policy: &PolicyId, rule: usize) -> Reason {
    Reason::Rule {
        policy: policy.clone(),
        rule,
    }
}

#[derive(Default)]
struct Asked {
    considered: Vec<Considered>,
}

impl Asked {
    fn note(&mut self, policy: &PolicyId, rule: Option<usize>, outcome: Outcome) {
        self.considered.push(Considered {
            policy: policy.clone(),
            rule,
            outcome,
        });
    }
}
