//! What policies say in vain, against each other, or otherwise than they look.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use bulkhead_model::Family;

use crate::classes::{Classes, What, Who};
use crate::{
    Action, Direction, EndpointSelector, Matcher, Mode, Packet, Peer, PolicyId, Port, Rule, Tier,
    World,
};

/// Something about a policy, or a rule of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// The policy.
    pub policy: PolicyId,
    /// The rule: its direction and its place there, from 0; `None` for the policy as a whole.
    pub rule: Option<(Direction, usize)>,
    /// Where it is written.
    pub place: Option<String>,
    /// What is found.
    pub matter: Matter,
}

/// What is found.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Matter {
    /// It is about nobody.
    #[error("it selects no endpoint")]
    SelectsNobody,
    /// It says nothing in either direction.
    #[error("it has no rules and isolates nobody, so it says nothing")]
    Empty,
    /// A peer that is nobody.
    #[error("no endpoint is {0}")]
    NoPeer(String),
    /// A rule that can never match.
    #[error("it never matches: {0}")]
    Never(&'static str),
    /// What it matches is decided before it is asked.
    #[error("it never decides: {0} comes first for all it matches")]
    Shadowed(String),
    /// Whatever it allows is allowed without it.
    #[error("whatever it allows, {0} allows too")]
    Redundant(String),
    /// The order of names decides.
    #[error(
        "{0} has the same priority and says {1} where this says {2}: the order of their names decides"
    )]
    Conflict(String, Action, Action),
    /// Addresses of endpoints.
    #[error(
        "{block} has addresses of {whose}: it means whoever has them then, use labels for endpoints"
    )]
    Pods {
        /// The block.
        block: String,
        /// Whose they are.
        whose: String,
    },
    /// A name of no port.
    #[error("no endpoint that it is about calls a port {0}")]
    Name(String),
    /// It decides nothing.
    #[error("it is in audit and decides nothing")]
    Audit,
}

impl Matter {
    /// A short name, for programs.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::SelectsNobody => "selects-nobody",
            Self::Empty => "empty",
            Self::NoPeer(_) => "no-peer",
            Self::Never(_) => "never-matches",
            Self::Shadowed(_) => "shadowed",
            Self::Redundant(_) => "redundant",
            Self::Conflict(..) => "conflict",
            Self::Pods { .. } => "prefix-over-pods",
            Self::Name(_) => "unknown-port-name",
            Self::Audit => "audit",
        }
    }
}

/// Everything there is to say about the policies of `world`, by policy and rule.
#[must_use]
pub fn lint(world: &World) -> Vec<Finding> {
    let mut linter = Linter {
        world,
        findings: Vec::new(),
    };
    for id in world.policies.keys() {
        linter.policy(id);
    }
    linter.meanings();
    let mut findings = linter.findings;
    findings.sort_by(|one, other| (&one.policy, one.rule).cmp(&(&other.policy, other.rule)));
    findings
}

struct Linter<'w> {
    world: &'w World,
    findings: Vec<Finding>,
}

type Place<'w> = (&'w PolicyId, Direction, usize);

impl<'w> Linter<'w> {
    fn find(&mut self, policy: &PolicyId, rule: Option<(Direction, usize)>, matter: Matter) {
        let written = self.world.policies.get(policy);
        let line = rule.and_then(|(direction, nth)| written?.rules(direction)?.get(nth)?.line);
        self.findings.push(Finding {
            policy: policy.clone(),
            rule,
            place: written.and_then(|written| written.origin.at(line)),
            matter,
        });
    }

    /// What can be seen of a policy by itself.
    fn policy(&mut self, id: &'w PolicyId) {
        let policy = &self.world.policies[id];
        if policy.mode == Mode::Audit {
            self.find(id, None, Matter::Audit);
        }
        let mut endpoints = self.world.endpoints.iter();
        let is_about_somebody =
            endpoints.any(|(of, endpoint)| self.world.is_about(policy, of, endpoint));
        if !is_about_somebody {
            self.find(id, None, Matter::SelectsNobody);
        }
        let is_silent = |direction| match policy.rules(direction) {
            None => true,
            Some(rules) => rules.is_empty() && policy.tier != Tier::Middle,
        };
        if is_silent(Direction::Ingress) && is_silent(Direction::Egress) {
            self.find(id, None, Matter::Empty);
        }
        for direction in [Direction::Ingress, Direction::Egress] {
            for (nth, rule) in policy
                .rules(direction)
                .unwrap_or_default()
                .iter()
                .enumerate()
            {
                self.rule(id, (direction, nth), rule);
            }
        }
    }

    fn rule(&mut self, id: &'w PolicyId, at: (Direction, usize), rule: &'w Rule) {
        if !rule.unread.is_empty() {
            // Told by the reader.
            return;
        }
        for peer in &rule.peers {
            match peer {
                Peer::Endpoints(selector) if !self.is_anybody(selector) => {
                    self.find(id, Some(at), Matter::NoPeer(selector.to_string()));
                }
                Peer::Block(block) => {
                    if let Some(whose) = self.holder(block) {
                        let block = block.to_string();
                        self.find(id, Some(at), Matter::Pods { block, whose });
                    }
                }
                _ => {}
            }
        }
        for port in &rule.ports {
            if let Port::Named { name, .. } = port
                && !self.is_named(id, at.0, rule, port)
            {
                self.find(id, Some(at), Matter::Name(name.clone()));
            }
        }
    }

    fn is_anybody(&self, selector: &EndpointSelector) -> bool {
        let mut endpoints = self.world.endpoints.iter();
        endpoints.any(|(id, endpoint)| self.world.selects(selector, id, endpoint))
    }

    /// An endpoint with an address in the block, or a pool that overlaps it. Blocks of everything are how
    /// anyone is said.
    fn holder(&self, block: &crate::Block) -> Option<String> {
        if block.prefix.is_default() {
            return None;
        }
        let mut endpoints = self.world.endpoints.iter();
        let held = endpoints.find(|(_, endpoint)| {
            endpoint.place == crate::Place::Port && endpoint.is_within(block)
        });
        let mut networks = self.world.networks.iter();
        let mut pool = || {
            networks.find(|(_, network)| {
                let mut pools = network.pools.iter();
                pools.any(|pool| pool.overlaps(block.prefix))
            })
        };
        match held {
            Some((id, _)) => Some(id.to_string()),
            None => pool().map(|(name, _)| format!("network {name}'s pool")),
        }
    }

    /// Whether any destination that the rule is about has a port of the name.
    fn is_named(&self, id: &PolicyId, direction: Direction, rule: &Rule, port: &Port) -> bool {
        let Port::Named { protocol, name } = port else {
            return true;
        };
        let policy = &self.world.policies[id];
        let is_destination = |of: &crate::EndpointId, endpoint: &crate::Endpoint| match direction {
            Direction::Ingress => self.world.is_about(policy, of, endpoint),
            Direction::Egress => rule.peers.iter().any(|peer| match peer {
                Peer::Any => true,
                Peer::Endpoints(selector) => self.world.selects(selector, of, endpoint),
                Peer::Block(block) => endpoint.is_within(block),
                Peer::Entity(_) | Peer::Nodes(_) => false,
            }),
        };
        let mut endpoints = self.world.endpoints.iter();
        endpoints.any(|(of, endpoint)| {
            let mut ports = endpoint.ports.iter();
            is_destination(of, endpoint)
                && ports.any(|p| {
                    p.name == *name && protocol.is_none_or(|protocol| protocol == p.protocol)
                })
        })
    }

    /// What only shows when everything is asked: shadows, redundancy and conflicts.
    fn meanings(&mut self) {
        let matched = self.matched();
        for (id, policy) in &self.world.policies {
            if policy.mode == Mode::Audit
                || self
                    .findings
                    .iter()
                    .any(|f| f.policy == *id && f.matter == Matter::SelectsNobody)
            {
                continue;
            }
            for direction in [Direction::Ingress, Direction::Egress] {
                let rules = policy.rules(direction).unwrap_or_default();
                for (nth, rule) in rules
                    .iter()
                    .enumerate()
                    .filter(|(_, rule)| rule.unread.is_empty())
                {
                    self.meaning((id, direction, nth), policy.tier, rule, &matched);
                }
            }
        }
        self.conflicts(&matched);
    }

    fn meaning(&mut self, place: Place<'w>, tier: Tier, rule: &Rule, matched: &Matched<'w>) {
        let (id, direction, nth) = place;
        let at = Some((direction, nth));
        let Some(seen) = matched.rules.get(&place) else {
            // With a peer or a name of nobody it has been said already.
            let is_said = self.findings.iter().any(|f| {
                f.policy == *id
                    && f.rule == at
                    && matches!(f.matter, Matter::NoPeer(_) | Matter::Name(_))
            });
            if !is_said {
                let why = if rule.ports.is_empty() || rule.peers.is_empty() {
                    "it is about nobody or nothing"
                } else {
                    "no traffic of the endpoints among the objects is what it is about"
                };
                self.find(id, at, Matter::Never(why));
            }
            return;
        };
        if seen.alone {
            return;
        }
        let others: Vec<String> = seen.others.iter().map(called).collect();
        let others = others.join(" or ");
        let matter = match tier {
            Tier::Middle => Matter::Redundant(others),
            Tier::Admin(_) | Tier::Baseline(_) => Matter::Shadowed(others),
        };
        self.find(id, at, matter);
    }

    fn conflicts(&mut self, matched: &Matched<'w>) {
        for ((first, second), (one, other)) in &matched.conflicts {
            let matter = Matter::Conflict(called(first), *one, *other);
            let (id, direction, nth) = *second;
            self.find(id, Some((direction, nth)), matter);
        }
    }

    /// Asks about everything there is, and notes who else matches what a rule matches.
    fn matched(&self) -> Matched<'w> {
        let classes = Classes::of(&[self.world]);
        let judge = Matcher::new(self.world);
        let mut matched = Matched::default();
        for source in &classes.who {
            for destination in classes
                .who
                .iter()
                .filter(|destination| source.meets(destination))
            {
                for family in [Family::V4, Family::V6] {
                    self.between(
                        &judge,
                        &classes.what,
                        [source, destination],
                        family,
                        &mut matched,
                    );
                }
            }
        }
        matched
    }

    /// Asks about all kinds of traffic from one to another.
    fn between(
        &self,
        judge: &Matcher<'w>,
        what: &[What],
        [source, destination]: [&Who; 2],
        family: Family,
        matched: &mut Matched<'w>,
    ) {
        let traffic = || what.iter().filter_map(|what| what.traffic(family));
        let ends = [source, destination].map(|who| who.addresses[0].get(&family).copied());
        let ([Some(from), Some(to)], Some(any)) = (ends, traffic().next()) else {
            return;
        };
        let packet = Packet {
            space: source.space.clone(),
            source: from,
            destination: to,
            traffic: any,
        };
        for direction in [Direction::Ingress, Direction::Egress] {
            for places in judge.matching(&packet, direction, traffic()) {
                matched.note(self.world, places);
            }
        }
    }
}

#[derive(Default)]
struct Matched<'w> {
    /// What matched some packet: of most packets it is the same as of others.
    noted: HashSet<Vec<Place<'w>>>,
    rules: BTreeMap<Place<'w>, Seen<'w>>,
    /// Two rules of the same priority that say different things, the one that is asked first in front.
    conflicts: BTreeMap<(Place<'w>, Place<'w>), (Action, Action)>,
}

/// What was seen of a rule that matched.
#[derive(Default)]
struct Seen<'w> {
    /// Whether it has decided, or, in the middle tier, was the only one to allow.
    alone: bool,
    /// Who did when it did not.
    others: BTreeSet<Place<'w>>,
}

impl<'w> Matched<'w> {
    /// Notes what matched one packet at one end, in the order it is asked in.
    fn note(&mut self, world: &'w World, places: Vec<Place<'w>>) {
        if self.noted.contains(&places) {
            return;
        }
        let tier = |place: &Place<'w>| world.policies[place.0].tier;
        let action = |place: &Place<'w>| -> Action {
            let rules = world.policies[place.0].rules(place.1).unwrap_or_default();
            rules[place.2].action
        };
        for place in &places {
            let is_before = |other: &&Place<'w>| match (tier(place), tier(other)) {
                (Tier::Admin(_), Tier::Admin(_)) | (Tier::Baseline(_), Tier::Baseline(_)) => {
                    *other < place || tier(other) < tier(place)
                }
                (Tier::Middle, Tier::Middle) => other != &place,
                _ => false,
            };
            let mut before = places.iter().filter(is_before);
            let seen = self.rules.entry(*place).or_default();
            match before.next() {
                None => seen.alone = true,
                Some(other) => {
                    seen.others.insert(*other);
                }
            }
            let twins = places.iter().take_while(|other| *other != place);
            for other in twins.filter(|other| {
                tier(other) == tier(place) && tier(place) != Tier::Middle && other.0 != place.0
            }) {
                if action(other) != action(place) {
                    self.conflicts
                        .insert((*other, *place), (action(other), action(place)));
                }
            }
        }
        self.noted.insert(places);
    }
}

fn called((id, direction, nth): &Place<'_>) -> String {
    format!("{direction} rule {} of {id}", nth + 1)
}
