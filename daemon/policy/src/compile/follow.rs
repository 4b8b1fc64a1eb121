//! From one world to the next: what has changed is asked about anew, and nothing else. A world compiled from
//! scratch is one of which everything has changed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bulkhead_nft as nft;
use nft::{Chain, Command, Set};

use super::chains::{Prefixes, fixed, of_class, of_outcome, of_ruling};
use super::class::Turnover;
use super::digest::{Digest, numbers};
use super::identity::{Moves, People, Touched};
use super::judge::{Judge, Known};
use super::local::{Ends, Told, ends};
use super::own::Owns;
use super::ruling::Bench;
use super::sayings::{News, Otherwise, Sayings};
use super::{Ruleset, Said, table, targets};
use crate::{EndpointId, Local, OwnPrefix, PolicyId, World};

/// What is otherwise in a world than in the one before: no more than this, maybe less. Networks are the same.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Changes {
    /// Endpoints that came, went, or are otherwise.
    pub endpoints: BTreeSet<EndpointId>,
    /// Policies that came, went, or say something else.
    pub policies: BTreeSet<PolicyId>,
    /// Namespaces that came, went, or have other labels.
    pub namespaces: BTreeSet<String>,
    /// Whether nodes came, went, or have other addresses or labels.
    pub nodes: bool,
}

impl Changes {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What is asked about anew.
#[derive(Clone, Copy, Debug)]
pub(super) enum What<'c> {
    Everything,
    These(&'c Changes),
}

impl What<'_> {
    pub(super) fn is_about(self, id: &EndpointId) -> bool {
        match self {
            Self::Everything => true,
            Self::These(changes) => changes.endpoints.contains(id),
        }
    }

    pub(super) const fn is_about_nodes(self) -> bool {
        match self {
            Self::Everything => true,
            Self::These(changes) => changes.nodes,
        }
    }
}

/// From one table to the next.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// What is to be committed.
    pub commands: Vec<Command>,
    /// What verdict chains stand for that are new.
    said: BTreeMap<String, Said>,
    /// The verdict chains that are gone.
    silent: BTreeSet<String>,
}

impl Change {
    /// Does it to what the table was compiled to before, too.
    pub fn apply(self, table: &mut nft::Table, outcomes: &mut BTreeMap<String, Said>) {
        nft::follow(table, &self.commands);
        outcomes.retain(|id, _| !self.silent.contains(id));
        outcomes.extend(self.said);
    }
}

/// What is known of a world, so that it is not asked again about the next one.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept {
    local: Local,
    people: People,
    owns: Owns,
    sayings: Sayings,
    /// Who is where.
    at: BTreeMap<IpAddr, EndpointId>,
    prefixed: BTreeMap<OwnPrefix, EndpointId>,
    /// The sets that are made whole each time: the node's own, and the ranges.
    own_sets: Vec<Set>,
    range_sets: Vec<Set>,
    closed: Vec<EndpointId>,
}

/// What has come of it.
#[derive(Debug, Default)]
struct Came {
    moves: Moves,
    news: News,
    /// The sets before, if they may be others.
    own_sets: Option<Vec<Set>>,
    range_sets: Option<Vec<Set>>,
    /// What was told before, if that is something else.
    told: Option<Told>,
    /// Whether endpoints had prefixes before.
    prefixes: Prefixes,
}

impl Kept {
    /// All of a world.
    pub(super) fn of(world: &World, local: &Local) -> Self {
        let mut kept = Self::default();
        let came = kept.take_in(world, local, What::Everything);
        debug_assert!(came.is_some(), "nothing had a number before");
        kept
    }

    /// Goes on to the next world. `None` if that is to be compiled from scratch: then this is of no use any more.
    pub(super) fn follow(
        &mut self,
        world: &World,
        local: &Local,
        changes: &Changes,
    ) -> Option<Change> {
        let came = self.take_in(world, local, What::These(changes))?;
        self.change(&came)
    }

    fn take_in(&mut self, world: &World, local: &Local, what: What<'_>) -> Option<Came> {
        let mut came = Came {
            prefixes: self.prefixes(),
            ..Came::default()
        };
        let mut touched = match what {
            What::Everything => Touched::All,
            What::These(_) => Touched::none(),
        };
        self.people.take_in(world, what, &mut touched);
        let mut turnover = Turnover::default();
        let concerns_own = self.concerns_own(local, what);
        let ends = concerns_own.then(|| ends(world, local));
        if let Some(ends) = &ends {
            turnover = self.owns.take_in(world, ends, what);
            let known = &self.sayings.classes;
            turnover.new.retain(|class, _| !known.contains_key(class));
        }
        let mut asked = targets::News::default();
        for class in turnover.new.values() {
            self.people.begin(class, &mut asked, &mut touched);
        }
        for bench in turnover
            .gone
            .iter()
            .filter_map(|gone| self.sayings.classes.get(gone))
        {
            self.people.end(&bench.class, &mut asked, &mut touched);
        }
        let ranges = self.people.ask(world, what, &asked, &mut touched);
        came.moves = self.people.settle(what, &touched, ranges)?;
        came.news = self.sayings.take_in(turnover, &self.people, &came.moves);
        self.people.bury(&came.moves, &asked);
        came.told = (local.told != self.local.told).then_some(self.local.told);
        if let Some(ends) = ends {
            came.own_sets = Some(self.place(&ends));
            self.local = local.clone();
        }
        if ranges {
            let ranges = self.people.ranges().into_iter();
            let ranges = ranges.map(|(first, (last, identity))| {
                (first, (last, self.people.numbered(identity, &came.moves)))
            });
            let sets = table::around(ranges).to_vec();
            came.range_sets = Some(std::mem::replace(&mut self.range_sets, sets));
        }
        Some(came)
    }

    /// Whether the node's own endpoints, or what is said about them, may be otherwise.
    fn concerns_own(&self, local: &Local, what: What<'_>) -> bool {
        let What::These(changes) = what else {
            return true;
        };
        let is_own = |id: &EndpointId| self.owns.contains(id) || local.endpoints.contains_key(id);
        !changes.policies.is_empty()
            || !changes.namespaces.is_empty()
            || changes.endpoints.iter().any(is_own)
            || *local != self.local
    }

    /// Puts the node's own endpoints where they are; the sets before.
    fn place(&mut self, ends: &Ends<'_>) -> Vec<Set> {
        let at = ends.at.iter();
        self.at = at
            .map(|((_, address), (id, _))| (*address, (*id).clone()))
            .collect();
        let prefixed = ends.prefixed.iter();
        self.prefixed = prefixed
            .map(|(own, (_, id))| (*own, (*id).clone()))
            .collect();
        self.closed = ends.closed.iter().map(|id| (*id).clone()).collect();
        let sets = table::local_sets(ends, &self.owns, &self.sayings.classes);
        std::mem::replace(&mut self.own_sets, sets)
    }

    /// Whether endpoints have prefixes.
    fn prefixes(&self) -> Prefixes {
        Prefixes {
            own: !self.prefixed.is_empty(),
            any: self.people.has_prefixes(),
        }
    }

    /// What is to be committed. `None` if numbers have to be others.
    fn change(&self, came: &Came) -> Option<Change> {
        let mut pieces = Pieces::default();
        for side in Side::BOTH {
            let known = came.moves.moved.iter().filter_map(|(address, identity)| {
                let identity = identity[side as usize]?;
                Some((*address, self.people.numbered(identity, &came.moves)))
            });
            pieces.sets(side).extend(table::peers(known));
            let ranges = came.moves.ranges.iter().filter_map(|(first, range)| {
                let (last, identity) = range[side as usize]?;
                Some((*first, (last, self.people.numbered(identity, &came.moves))))
            });
            let prefixes = [came.prefixes, self.prefixes()][side as usize];
            if prefixes.any {
                pieces.sets(side).push(table::delegated(ranges));
            }
        }
        for (before, now) in [
            (&came.own_sets, &self.own_sets),
            (&came.range_sets, &self.range_sets),
        ] {
            if let Some(before) = before {
                pieces.sets(Side::Before).extend(before.iter().cloned());
                pieces.sets(Side::Now).extend(now.iter().cloned());
            }
        }
        for (class, bench) in &came.news.gone {
            let (sets, chain) = self.of_class(*class, bench, &came.moves);
            pieces.sets(Side::Before).extend(sets);
            pieces.chains(Side::Before).push(chain);
        }
        for class in &came.news.new {
            let bench = &self.sayings.classes[class];
            let (sets, chain) = self.of_class(*class, bench, &came.moves);
            pieces.sets(Side::Now).extend(sets);
            pieces.chains(Side::Now).push(chain);
        }
        for (class, otherwise) in &came.news.otherwise {
            self.differs(*class, otherwise, &came.moves, &mut pieces)?;
        }
        let rulings = &came.news.rulings;
        let said = &came.news.said;
        for (side, rulings, said) in [
            (Side::Before, &rulings.gone, &said.gone),
            (Side::Now, &rulings.new, &said.new),
        ] {
            let rulings = rulings.iter();
            let rulings = rulings.map(|(digest, ruling)| of_ruling(*digest, &ruling.lines));
            let said = said.iter();
            let said = said.map(|(digest, said)| of_outcome(*digest, said, self.local.told));
            pieces.chains(side).extend(rulings.chain(said));
        }
        let told = (came.told.unwrap_or(self.local.told), self.local.told);
        let prefixes = (came.prefixes, self.prefixes());
        if told.0 != told.1 || prefixes.0 != prefixes.1 {
            pieces
                .chains(Side::Before)
                .extend(fixed(told.0, prefixes.0));
            pieces.chains(Side::Now).extend(fixed(told.1, prefixes.1));
        }
        if told.0 != told.1 {
            for (side, told) in [(Side::Before, told.0), (Side::Now, told.1)] {
                let stay = self.sayings.said();
                let stay = stay.filter(|(digest, _)| !said.new.contains_key(digest));
                let stay = stay.map(|(digest, said)| of_outcome(digest, said, told));
                pieces.chains(side).extend(stay);
            }
        }
        let new = said.new.iter();
        Some(Change {
            commands: pieces.commands()?,
            said: new
                .map(|(digest, said)| (digest.hex(), (**said).clone()))
                .collect(),
            silent: said.gone.keys().map(|digest| digest.hex()).collect(),
        })
    }

    /// The sets of a class, if it asks anything, and its chain.
    fn of_class(&self, class: Digest, bench: &Bench, moves: &Moves) -> (Vec<Set>, Chain) {
        let direction = bench.class.direction;
        let chain = of_class(class, direction, bench.of.default, bench.asks());
        if !bench.asks() {
            return (Vec::new(), chain);
        }
        let others = bench.of.others.iter();
        let others =
            others.map(|(identity, ruling)| (self.people.numbered(*identity, moves), *ruling));
        let rulings = numbers(bench.uses.keys().copied());
        (table::of_class(class, others, &rulings).to_vec(), chain)
    }

    /// What is otherwise in the sets of a class that stays.
    fn differs(
        &self,
        class: Digest,
        otherwise: &Otherwise,
        moves: &Moves,
        pieces: &mut Pieces,
    ) -> Option<()> {
        let bench = &self.sayings.classes[&class];
        let before = numbers(otherwise.before.iter().copied());
        let now = numbers(bench.uses.keys().copied());
        let is_same = |(ruling, number)| now.get(ruling).is_none_or(|other| other == number);
        if !before.iter().all(is_same) {
            return None;
        }
        for (side, rulings) in [(Side::Before, before), (Side::Now, now)] {
            let said = otherwise.said.iter().filter_map(|(identity, rulings)| {
                let number = self.people.numbered(*identity, moves);
                Some((number, rulings[side as usize]?))
            });
            let sets = table::of_class(class, said, &rulings);
            pieces.sets(side).extend(sets);
        }
        Some(())
    }

    /// All that the kernel should hold.
    pub(super) fn ruleset(&self) -> Ruleset {
        let none = Moves::default();
        let exact = self.people.exact().iter();
        let exact = exact.map(|(address, identity)| {
            let number = self.people.numbered(*identity, &none);
            (*address, number)
        });
        let mut sets = table::peers(exact).to_vec();
        sets.extend(self.own_sets.iter().chain(&self.range_sets).cloned());
        if self.people.has_prefixes() {
            let ranges = self.people.delegated().iter();
            let ranges = ranges.map(|(first, (last, identity))| {
                (first, (last, self.people.numbered(identity, &none)))
            });
            sets.push(table::delegated(ranges));
        }
        let mut chains = fixed(self.local.told, self.prefixes());
        for (class, bench) in &self.sayings.classes {
            let (of_class, chain) = self.of_class(*class, bench, &none);
            sets.extend(of_class);
            chains.push(chain);
        }
        let rulings = self.sayings.rulings();
        chains.extend(rulings.map(|(digest, ruling)| of_ruling(digest, &ruling.lines)));
        let said = self.sayings.said();
        chains.extend(said.map(|(digest, said)| of_outcome(digest, said, self.local.told)));
        let said = self.sayings.said();
        Ruleset {
            table: table::of(sets, chains),
            outcomes: said
                .map(|(digest, said)| (digest.hex(), (**said).clone()))
                .collect(),
            closed: self.closed.clone(),
            judge: self.judge(),
        }
    }

    /// The same, for whoever has packets to look at.
    pub(super) fn judge(&self) -> Judge {
        let ends = self.at.iter();
        let ends = ends.filter_map(|(address, id)| Some((*address, self.owns.of(id)?)));
        let classes = self.sayings.classes.iter();
        let rulings = self.sayings.rulings();
        let prefixed = self.prefixed.iter();
        let prefixed = prefixed.filter_map(|(own, id)| Some((*own, self.owns.of(id)?)));
        Judge::new(Known {
            ends: ends.collect(),
            prefixed: prefixed.collect(),
            exact: self.people.exact().clone(),
            delegated: self.people.delegated().clone(),
            ranges: self.people.ranges(),
            classes: classes
                .map(|(class, bench)| (*class, bench.of.clone()))
                .collect(),
            rulings: rulings
                .map(|(digest, ruling)| (digest, ruling.clone()))
                .collect(),
        })
    }
}

/// Before or now.
#[derive(Clone, Copy, Debug)]
enum Side {
    Before,
    Now,
}

impl Side {
    const BOTH: [Self; 2] = [Self::Before, Self::Now];
}

/// What may be otherwise in the table: sets and chains that come or go, and of the other sets the elements that do.
#[derive(Debug, Default)]
struct Pieces([(Vec<Set>, Vec<Chain>); 2]);

impl Pieces {
    fn sets(&mut self, side: Side) -> &mut Vec<Set> {
        &mut self.0[side as usize].0
    }

    fn chains(&mut self, side: Side) -> &mut Vec<Chain> {
        &mut self.0[side as usize].1
    }

    /// `None` if the table is to be replaced.
    fn commands(self) -> Option<Vec<Command>> {
        let [before, now] = self.0.map(|(sets, chains)| table::of(sets, chains));
        let commands = nft::change(&before, &now);
        let replaces = |command: &Command| matches!(command, Command::ReplaceTable(_));
        (!commands.iter().any(replaces)).then_some(commands)
    }
}
