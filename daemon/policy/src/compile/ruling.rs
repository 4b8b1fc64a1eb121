//! Rulings: what a class says about an identity, for every kind of traffic.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use bulkhead_model::NetworkName;

use super::class::{Class, Classes, Peers, Stage, Step, Target};
use super::digest::Digest;
use super::identity::{Identities, Identity, Marks};
use super::spans::{Line, Lines, Span};
use crate::{Action, Decision, Mode, NamedPort, PolicyId};

/// What becomes of traffic, and why.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Outcome {
    /// What becomes of it.
    pub decision: Decision,
    /// Who says so.
    pub cause: Cause,
    /// Policies in audit that would have denied it.
    pub would_deny: BTreeSet<PolicyId>,
}

/// Who decided.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Cause {
    /// A rule.
    Rule {
        /// Its policy.
        policy: PolicyId,
        /// Its place among the policy's rules of the direction, from 0.
        rule: usize,
    },
    /// Policies that select the endpoint and allow nothing of this.
    Isolated(Vec<PolicyId>),
    /// The endpoint's own node may always reach it.
    OwnNode,
    /// Its network, for an endpoint without labels.
    Network(NetworkName),
    /// Nobody: it goes on.
    Nobody,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule { policy, rule } => write!(f, "{policy} rule {rule}"),
            Self::Isolated(policies) => {
                f.write_str("isolated by ")?;
                for (nth, policy) in policies.iter().enumerate() {
                    write!(f, "{}{policy}", if nth == 0 { "" } else { ", " })?;
                }
                Ok(())
            }
            Self::OwnNode => f.write_str("own node"),
            Self::Network(network) => write!(f, "default of network {network}"),
            Self::Nobody => f.write_str("no policy"),
        }
    }
}

/// What becomes of all traffic between two ends.
pub(super) type Ruling = Lines<Outcome>;

/// What the classes say.
#[derive(Debug)]
pub(super) struct Rulings {
    pub(super) all: BTreeMap<Digest, Arc<Ruling>>,
    pub(super) of: BTreeMap<Digest, OfClass>,
}

/// What one class says.
#[derive(Debug)]
pub(super) struct OfClass {
    /// Of whom nothing else is said.
    pub(super) default: Digest,
    /// By identity.
    pub(super) others: BTreeMap<Digest, Digest>,
}

/// The rulings of each class in the last world.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory(HashMap<Digest, Made>);

/// Rulings by what they follow from.
type Made = HashMap<Matched, (Digest, Arc<Ruling>)>;

pub(super) fn rulings(
    memory: &mut Memory,
    classes: &Classes<'_>,
    identities: &Identities<'_>,
) -> Rulings {
    let mut rulings = Rulings {
        all: BTreeMap::new(),
        of: BTreeMap::new(),
    };
    let places = identities.targets.iter().copied().zip(0..).collect();
    let mut before = std::mem::take(&mut memory.0);
    for (digest, class) in &classes.all {
        let mut bench = Bench::new(class, &places, before.remove(digest).unwrap_or_default());
        let default = bench.ruling(None);
        let mut others = BTreeMap::new();
        for (identity, known) in &identities.all {
            if bench.asks_nothing_of(known) {
                continue;
            }
            let ruling = bench.ruling(Some(known));
            if ruling != default {
                others.insert(*identity, ruling);
            }
        }
        let made = bench.made.values();
        rulings
            .all
            .extend(made.map(|(ruling, what)| (*ruling, Arc::clone(what))));
        memory.0.insert(*digest, bench.made);
        rulings.of.insert(*digest, OfClass { default, others });
    }
    let used = rulings.of.values();
    let used = used.flat_map(|of| of.others.values().chain([&of.default]));
    let used: BTreeSet<Digest> = used.copied().collect();
    rulings.all.retain(|ruling, _| used.contains(ruling));
    rulings
}

/// Where the rulings of one class are made, each once.
struct Bench<'c, 'w> {
    class: &'c Class<'w>,
    /// Of each step, which marks it asks for; `None` for none.
    asked: Vec<Option<Vec<usize>>>,
    /// All of them.
    all_asked: Marks,
    own_node: Option<usize>,
    asks_names: bool,
    before: Made,
    made: Made,
}

/// All that a ruling follows from.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Matched {
    steps: Vec<usize>,
    own_node: bool,
    ports: BTreeSet<NamedPort>,
}

impl<'c, 'w> Bench<'c, 'w> {
    fn new(class: &'c Class<'w>, places: &HashMap<Target<'w>, usize>, before: Made) -> Self {
        let asked = class.steps.iter().map(|step| match &step.peers {
            Peers::All => None,
            Peers::Of(targets) => Some(targets.iter().map(|target| places[target]).collect()),
        });
        let mut all_asked = Marks::none(places.len());
        for target in class.targets() {
            all_asked.set(places[&target]);
        }
        Self {
            class,
            asked: asked.collect(),
            all_asked,
            own_node: class.own_node.map(|target| places[&target]),
            asks_names: class.names().next().is_some(),
            before,
            made: HashMap::new(),
        }
    }

    /// Whether the class says of it what it says of everybody.
    fn asks_nothing_of(&self, identity: &Identity) -> bool {
        let has_names = self.asks_names && !identity.ports.is_empty();
        !has_names && !identity.marks.meets(&self.all_asked)
    }

    /// The ruling about an identity, or about somebody of whom nothing is known.
    fn ruling(&mut self, identity: Option<&Identity>) -> Digest {
        let has = |nth: usize| identity.is_some_and(|identity| identity.marks.has(nth));
        let matches = |(_, asked): &(usize, &Option<Vec<usize>>)| match asked {
            None => true,
            Some(asked) => asked.iter().any(|nth| has(*nth)),
        };
        let steps = self.asked.iter().enumerate().filter(matches);
        let follows = Matched {
            steps: steps.map(|(nth, _)| nth).collect(),
            own_node: self.own_node.is_some_and(has),
            ports: match identity {
                Some(identity) if self.asks_names => identity.ports.clone(),
                _ => BTreeSet::new(),
            },
        };
        if let Some((made, _)) = self.made.get(&follows) {
            return *made;
        }
        let made = self.before.remove(&follows).unwrap_or_else(|| {
            let ruling = self.class.ruling(&follows);
            let digest = Digest::of(&(self.class.direction, &ruling));
            (digest, Arc::new(ruling))
        });
        let digest = made.0;
        self.made.insert(follows, made);
        digest
    }
}

/// What is said about a kind of traffic so far.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Said {
    Nothing,
    /// Nothing, and the tier that is asked is not to be asked any more.
    Passed,
    Decided(Outcome),
}

impl Class<'_> {
    fn ruling(&self, matched: &Matched) -> Ruling {
        let in_force = self.judged(matched, None);
        self.audits.iter().fold(in_force.clone(), |ruling, audit| {
            let with_it = self.judged(matched, Some(audit));
            ruling.both(&with_it, |outcome, other| {
                let mut outcome = outcome.clone();
                if (outcome.decision, other.decision) == (Decision::Allow, Decision::Deny) {
                    outcome.would_deny.insert((*audit).clone());
                }
                outcome
            })
        })
    }

    /// The ruling, as if `also` were in force too.
    fn judged(&self, matched: &Matched, also: Option<&PolicyId>) -> Ruling {
        if matched.own_node {
            return Lines::all(&outcome(Decision::Allow, Cause::OwnNode));
        }
        let is_asked = |policy: &PolicyId, mode| mode == Mode::Enforce || also == Some(policy);
        let steps = matched.steps.iter().map(|nth| &self.steps[*nth]);
        let steps: Vec<&Step> = steps
            .filter(|step| is_asked(step.policy, step.mode))
            .collect();
        let of = |stage| {
            steps
                .iter()
                .copied()
                .filter(move |step| step.stage == stage)
        };
        let mut lines = Lines::all(&Said::Nothing);
        take(&mut lines, of(Stage::Admin), matched);
        take(&mut lines, of(Stage::Middle), matched);
        let isolating = self.isolating.iter();
        let isolating = isolating.filter(|(policy, mode)| is_asked(policy, *mode));
        let isolating: Vec<PolicyId> = isolating.map(|(policy, _)| (*policy).clone()).collect();
        if !isolating.is_empty() {
            let isolated = outcome(Decision::Deny, Cause::Isolated(isolating));
            fill(&mut lines, &isolated);
        }
        take(&mut lines, of(Stage::Baseline), matched);
        fill(
            &mut lines,
            &match self.closes {
                Some(network) => outcome(Decision::Deny, Cause::Network(network.clone())),
                None => outcome(Decision::Allow, Cause::Nobody),
            },
        );
        lines.map(|said| match said {
            Said::Decided(outcome) => outcome.clone(),
            Said::Nothing | Said::Passed => outcome(Decision::Allow, Cause::Nobody),
        })
    }
}

/// Takes steps of one tier, in order, where nobody has decided yet.
fn take<'a, 'w: 'a>(
    lines: &mut Lines<Said>,
    steps: impl Iterator<Item = &'a Step<'w>>,
    matched: &Matched,
) {
    for step in steps {
        let said = match step.action {
            Action::Allow => Said::Decided(outcome(Decision::Allow, rule_of(step))),
            Action::Deny => Said::Decided(outcome(Decision::Deny, rule_of(step))),
            Action::Pass => Said::Passed,
        };
        let named = step.named.iter();
        let named = named.flat_map(|named| named.spans(&matched.ports));
        for span in step.spans.iter().copied().chain(named) {
            lines.change(span, |before| {
                (*before == Said::Nothing).then(|| said.clone())
            });
        }
    }
    // The next tier begins anew.
    everywhere(lines, |said| {
        (*said == Said::Passed).then_some(Said::Nothing)
    });
}

/// Decides what nobody has.
fn fill(lines: &mut Lines<Said>, outcome: &Outcome) {
    everywhere(lines, |said| {
        (*said == Said::Nothing).then(|| Said::Decided(outcome.clone()))
    });
}

fn everywhere(lines: &mut Lines<Said>, change: impl Fn(&Said) -> Option<Said>) {
    for line in Line::ALL {
        let whole = Span {
            line,
            first: 0,
            last: line.last(),
        };
        lines.change(whole, &change);
    }
}

fn rule_of(step: &Step<'_>) -> Cause {
    Cause::Rule {
        policy: step.policy.clone(),
        rule: step.rule,
    }
}

fn outcome(decision: Decision, cause: Cause) -> Outcome {
    Outcome {
        decision,
        cause,
        would_deny: BTreeSet::new(),
    }
}
