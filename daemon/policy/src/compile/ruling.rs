//! Rulings: what a class says about an identity, for every kind of traffic.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use bulkhead_model::NetworkName;

use super::Said;
use super::class::{Class, Part, Peers, Place, Stage, Step};
use super::digest::Digest;
use super::identity::{Identity, People};
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

/// The name of an outcome, and what it decides.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct Word {
    pub(super) outcome: Digest,
    pub(super) decision: Decision,
}

/// What becomes of all traffic between two ends.
#[derive(Clone, Debug)]
pub(super) struct Ruling {
    pub(super) lines: Lines<Word>,
    /// Each outcome in it.
    pub(super) said: BTreeMap<Digest, Arc<Said>>,
}

/// What one class says.
#[derive(Clone, Debug)]
pub(super) struct OfClass {
    /// Of whom nothing else is said.
    pub(super) default: Digest,
    /// By identity.
    pub(super) others: BTreeMap<Digest, Digest>,
}

/// A class, and what it says about everybody.
#[derive(Clone, Debug)]
pub(super) struct Bench {
    pub(super) class: Class,
    /// By target, the steps that are about it.
    about: HashMap<usize, Vec<Place>>,
    /// The steps that are about everybody.
    always: Vec<Place>,
    own_node: Option<usize>,
    asks_names: bool,
    /// Rulings by what they follow from.
    made: HashMap<Matched, (Digest, Arc<Ruling>)>,
    /// Outcomes by who decides, and which parts would have denied it.
    words: HashMap<(Short, Vec<usize>), (Word, Arc<Said>)>,
    pub(super) of: Arc<OfClass>,
    /// Of how many identities each ruling is said.
    pub(super) uses: BTreeMap<Digest, usize>,
}

/// All that a ruling follows from.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Matched {
    steps: Vec<Place>,
    own_node: bool,
    ports: BTreeSet<NamedPort>,
}

impl Bench {
    /// For a class whose targets `people` have been asked about.
    pub(super) fn new(class: Class, people: &People) -> Self {
        let mut about: HashMap<usize, Vec<Place>> = HashMap::new();
        let mut always = Vec::new();
        for (place, step) in class.steps() {
            match &step.peers {
                Peers::All => always.push(place),
                Peers::Of(targets) => {
                    let numbers = targets.iter().filter_map(|target| people.number(*target));
                    numbers.for_each(|number| about.entry(number).or_default().push(place));
                }
            }
        }
        let own_node = class.own_node.as_ref();
        let mut bench = Self {
            own_node: own_node.and_then(|(target, _)| people.number(*target)),
            asks_names: !class.names().is_empty(),
            class,
            about,
            always,
            made: HashMap::new(),
            words: HashMap::new(),
            of: Arc::new(OfClass {
                default: Digest::of_bytes(&[]),
                others: BTreeMap::new(),
            }),
            uses: BTreeMap::new(),
        };
        let default = bench.ruling(None);
        Arc::make_mut(&mut bench.of).default = default;
        let asked: BTreeSet<Digest> = bench.asked(people).collect();
        for identity in asked {
            bench.say(identity, people.get(identity));
        }
        bench
    }

    /// Whether it asks who the other end is.
    pub(super) fn asks(&self) -> bool {
        self.asks_names || self.own_node.is_some() || !self.about.is_empty()
    }

    /// The targets that it speaks of.
    pub(super) fn targets(&self) -> impl Iterator<Item = usize> {
        self.about.keys().copied().chain(self.own_node)
    }

    pub(super) const fn asks_names(&self) -> bool {
        self.asks_names
    }

    /// Those about whom it may say something else than about everybody.
    fn asked<'p>(&'p self, people: &'p People) -> impl Iterator<Item = Digest> + 'p {
        people.asked(self.targets(), self.asks_names)
    }

    /// Says what it has to say about an identity, or nothing any more; the rulings before and now, if they are other
    /// ones than what is said about everybody.
    pub(super) fn say(
        &mut self,
        digest: Digest,
        identity: Option<&Identity>,
    ) -> [Option<Digest>; 2] {
        let ruling = identity.map(|identity| self.ruling(Some(identity)));
        let ruling = ruling.filter(|ruling| *ruling != self.of.default);
        let others = &mut Arc::make_mut(&mut self.of).others;
        let before = match ruling {
            Some(ruling) => others.insert(digest, ruling),
            None => others.remove(&digest),
        };
        if let Some(ruling) = ruling {
            *self.uses.entry(ruling).or_default() += 1;
        }
        if let Some(before) = before
            && let Some(uses) = self.uses.get_mut(&before)
        {
            *uses -= 1;
            if *uses == 0 {
                self.uses.remove(&before);
            }
        }
        [before, ruling]
    }

    /// The rulings that it gives, each once.
    pub(super) fn rulings(&self) -> BTreeSet<Digest> {
        let others = self.uses.keys().copied();
        others.chain([self.of.default]).collect()
    }

    /// One of the rulings that it gives.
    pub(super) fn find(&self, rulings: &BTreeSet<Digest>) -> BTreeMap<Digest, Arc<Ruling>> {
        let made = self.made.values();
        let asked = made.filter(|(digest, _)| rulings.contains(digest));
        asked
            .map(|(digest, ruling)| (*digest, Arc::clone(ruling)))
            .collect()
    }

    /// Forgets rulings that it gives no more, if they are many.
    pub(super) fn sweep(&mut self) {
        if self.made.len() > self.uses.len() * 2 + 16 {
            let used: HashSet<Digest> = self.rulings().into_iter().collect();
            self.made.retain(|_, (digest, _)| used.contains(digest));
        }
    }

    /// The ruling about an identity, or about somebody of whom nothing is known.
    fn ruling(&mut self, identity: Option<&Identity>) -> Digest {
        let numbers = identity.into_iter().flat_map(|known| known.marks.iter());
        let asked = numbers.filter_map(|number| self.about.get(&number));
        let mut steps: Vec<Place> = asked.flatten().chain(&self.always).copied().collect();
        steps.sort_unstable();
        steps.dedup();
        let follows = Matched {
            steps,
            own_node: identity
                .zip(self.own_node)
                .is_some_and(|(identity, number)| identity.marks.has(number)),
            ports: match identity {
                Some(identity) if self.asks_names => identity.ports.clone(),
                _ => BTreeSet::new(),
            },
        };
        if let Some((made, _)) = self.made.get(&follows) {
            return *made;
        }
        let ruling = self.make(&follows);
        let digest = Digest::of(&(self.class.direction, &ruling.lines));
        self.made.insert(follows, (digest, Arc::new(ruling)));
        digest
    }

    fn make(&mut self, matched: &Matched) -> Ruling {
        let in_force = self.class.judged(matched, None);
        // Of each place, who would have denied.
        let mut lines = in_force.map(|short| (*short, Vec::new()));
        for (nth, audit) in self.class.audits() {
            let with_it = self.class.judged(matched, Some(audit));
            lines = lines.both(&with_it, |(short, would_deny), other| {
                let mut would_deny = would_deny.clone();
                if (short.decision(), other.decision()) == (Decision::Allow, Decision::Deny) {
                    would_deny.push(nth);
                }
                (*short, would_deny)
            });
        }
        let mut said = BTreeMap::new();
        let (class, words) = (&self.class, &mut self.words);
        let lines = lines.map(|why| {
            if !words.contains_key(why) {
                words.insert(why.clone(), class.word(why));
            }
            let (word, what) = &words[why];
            said.insert(word.outcome, Arc::clone(what));
            *word
        });
        Ruling { lines, said }
    }
}

/// Who decides, and what, in as few words as a place can have.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Short {
    Rule(Place, Decision),
    Isolated,
    OwnNode,
    Network,
    Nobody,
}

impl Short {
    const fn decision(self) -> Decision {
        match self {
            Self::Rule(_, decision) => decision,
            Self::Isolated | Self::Network => Decision::Deny,
            Self::OwnNode | Self::Nobody => Decision::Allow,
        }
    }
}

/// What is said about a kind of traffic so far.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum SoFar {
    Nothing,
    /// Nothing, and the tier that is asked is not to be asked any more.
    Passed,
    Decided(Short),
}

impl Class {
    /// The policies in audit, and which parts they are.
    fn audits(&self) -> impl Iterator<Item = (usize, &PolicyId)> {
        let parts = self.parts.iter().enumerate();
        let in_audit = parts.filter(|(_, part)| part.mode == Mode::Audit);
        in_audit.map(|(nth, part)| (nth, &part.policy))
    }

    /// The policies in force that isolate it.
    fn isolating(&self) -> impl Iterator<Item = &Arc<Part>> {
        let isolating = self.parts.iter();
        isolating.filter(|part| part.stage == Stage::Middle)
    }

    fn word(&self, (short, would_deny): &(Short, Vec<usize>)) -> (Word, Arc<Said>) {
        let would_deny = would_deny.iter();
        let said = Said {
            direction: self.direction,
            outcome: Outcome {
                decision: short.decision(),
                cause: self.cause(*short),
                would_deny: would_deny
                    .map(|nth| self.parts[*nth].policy.clone())
                    .collect(),
            },
        };
        let word = Word {
            outcome: Digest::of(&said),
            decision: said.decision(),
        };
        (word, Arc::new(said))
    }

    fn cause(&self, short: Short) -> Cause {
        match short {
            Short::Rule(place, _) => Cause::Rule {
                policy: self.parts[place.part].policy.clone(),
                rule: place.rule,
            },
            Short::Isolated => {
                let in_force = self.isolating().filter(|part| part.mode == Mode::Enforce);
                Cause::Isolated(in_force.map(|part| part.policy.clone()).collect())
            }
            Short::OwnNode => Cause::OwnNode,
            Short::Network => match &self.closes {
                Some(network) => Cause::Network(network.clone()),
                None => Cause::Nobody,
            },
            Short::Nobody => Cause::Nobody,
        }
    }

    /// The ruling, as if `also` were in force too.
    fn judged(&self, matched: &Matched, also: Option<&PolicyId>) -> Lines<Short> {
        if matched.own_node {
            return Lines::all(&Short::OwnNode);
        }
        let is_asked = |part: &Part| part.mode == Mode::Enforce || also == Some(&part.policy);
        let steps = matched.steps.iter().filter_map(|place| {
            let part = &self.parts[place.part];
            is_asked(part).then(|| (part.stage, *place, &part.steps[place.rule]))
        });
        let steps: Vec<(Stage, Place, &Step)> = steps.collect();
        let of = |asked| {
            let steps = steps.iter().filter(move |(stage, ..)| *stage == asked);
            steps.map(|(_, place, step)| (*place, *step))
        };
        let mut lines = Lines::all(&SoFar::Nothing);
        take(&mut lines, of(Stage::Admin), matched);
        take(&mut lines, of(Stage::Middle), matched);
        if self.isolating().any(|part| is_asked(part)) {
            fill(&mut lines, Short::Isolated);
        }
        take(&mut lines, of(Stage::Baseline), matched);
        let rest = match self.closes {
            Some(_) => Short::Network,
            None => Short::Nobody,
        };
        fill(&mut lines, rest);
        lines.map(|said| match said {
            SoFar::Decided(short) => *short,
            SoFar::Nothing | SoFar::Passed => Short::Nobody,
        })
    }
}

/// Takes steps of one tier, in order, where nobody has decided yet.
fn take<'s>(
    lines: &mut Lines<SoFar>,
    steps: impl Iterator<Item = (Place, &'s Step)>,
    matched: &Matched,
) {
    for (place, step) in steps {
        let said = match step.action {
            Action::Allow => SoFar::Decided(Short::Rule(place, Decision::Allow)),
            Action::Deny => SoFar::Decided(Short::Rule(place, Decision::Deny)),
            Action::Pass => SoFar::Passed,
        };
        let named = step.named.iter();
        let named = named.flat_map(|named| named.spans(&matched.ports));
        for span in step.spans.iter().copied().chain(named) {
            lines.change(span, |before| (*before == SoFar::Nothing).then_some(said));
        }
    }
    // The next tier begins anew.
    everywhere(lines, |said| {
        (*said == SoFar::Passed).then_some(SoFar::Nothing)
    });
}

/// Decides what nobody has.
fn fill(lines: &mut Lines<SoFar>, short: Short) {
    everywhere(lines, |said| {
        (*said == SoFar::Nothing).then_some(SoFar::Decided(short))
    });
}

fn everywhere(lines: &mut Lines<SoFar>, change: impl Fn(&SoFar) -> Option<SoFar>) {
    for line in Line::ALL {
        let whole = Span {
            line,
            first: 0,
            last: line.last(),
        };
        lines.change(whole, &change);
    }
}
