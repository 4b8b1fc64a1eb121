//! What all classes of a node say, and what of it is new from one world to the next.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::Said;
use super::class::Turnover;
use super::digest::Digest;
use super::identity::{Moves, People};
use super::ruling::{Bench, Ruling};

/// Something that is needed as long as somebody refers to it.
#[derive(Clone, Debug)]
struct Held<T> {
    what: Arc<T>,
    uses: usize,
}

/// Who is held by how many, by digest.
#[derive(Clone, Debug)]
struct Holding<T>(BTreeMap<Digest, Held<T>>);

impl<T> Default for Holding<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T> Holding<T> {
    /// One more refers to it; whether that is the first.
    fn hold(&mut self, digest: Digest, what: &Arc<T>) -> bool {
        let held = self.0.entry(digest).or_insert_with(|| Held {
            what: Arc::clone(what),
            uses: 0,
        });
        held.uses += 1;
        held.uses == 1
    }

    /// One less refers to it; what that was, if it was the last.
    fn release(&mut self, digest: Digest) -> Option<Arc<T>> {
        let held = self.0.get_mut(&digest)?;
        held.uses -= 1;
        if held.uses > 0 {
            return None;
        }
        self.0.remove(&digest).map(|held| held.what)
    }

    fn iter(&self) -> impl Iterator<Item = (Digest, &Arc<T>)> {
        self.0.iter().map(|(digest, held)| (*digest, &held.what))
    }
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Sayings {
    pub(super) classes: BTreeMap<Digest, Bench>,
    rulings: Holding<Ruling>,
    said: Holding<Said>,
    /// The classes that ask about each target, and those that ask for ports by name.
    askers: HashMap<usize, BTreeSet<Digest>>,
    name_askers: BTreeSet<Digest>,
}

/// What one class says otherwise than before.
#[derive(Debug, Default)]
pub(super) struct Otherwise {
    /// The rulings of identities, before and now.
    pub(super) said: BTreeMap<Digest, [Option<Digest>; 2]>,
    /// The rulings that it gave to somebody before.
    pub(super) before: BTreeSet<Digest>,
}

/// What is new, and what is not said any more. Something may be both, and then is neither.
#[derive(Debug, Default)]
pub(super) struct News {
    pub(super) gone: BTreeMap<Digest, Bench>,
    pub(super) new: BTreeSet<Digest>,
    /// By class.
    pub(super) otherwise: BTreeMap<Digest, Otherwise>,
    pub(super) rulings: Pair<Ruling>,
    pub(super) said: Pair<Said>,
}

/// What is new, and what is gone.
#[derive(Debug)]
pub(super) struct Pair<T> {
    pub(super) new: BTreeMap<Digest, Arc<T>>,
    pub(super) gone: BTreeMap<Digest, Arc<T>>,
}

impl<T> Default for Pair<T> {
    fn default() -> Self {
        Self {
            new: BTreeMap::new(),
            gone: BTreeMap::new(),
        }
    }
}

impl<T> Pair<T> {
    fn come(&mut self, digest: Digest, what: &Arc<T>) {
        if self.gone.remove(&digest).is_none() {
            self.new.insert(digest, Arc::clone(what));
        }
    }

    fn go(&mut self, digest: Digest, what: Arc<T>) {
        if self.new.remove(&digest).is_none() {
            self.gone.insert(digest, what);
        }
    }
}

impl Sayings {
    pub(super) fn rulings(&self) -> impl Iterator<Item = (Digest, &Arc<Ruling>)> {
        self.rulings.iter()
    }

    pub(super) fn said(&self) -> impl Iterator<Item = (Digest, &Arc<Said>)> {
        self.said.iter()
    }

    /// Takes in classes that have come and gone, and identities.
    pub(super) fn take_in(&mut self, turnover: Turnover, people: &People, moves: &Moves) -> News {
        let mut news = News::default();
        self.say_of(people, moves, &turnover.gone, &mut news);
        for (digest, class) in turnover.new {
            let bench = Bench::new(class, people);
            for number in bench.targets() {
                self.askers.entry(number).or_default().insert(digest);
            }
            if bench.asks_names() {
                self.name_askers.insert(digest);
            }
            let rulings = bench.rulings();
            self.hold(&bench.find(&rulings), &mut news);
            news.new.insert(digest);
            self.classes.insert(digest, bench);
        }
        for digest in turnover.gone {
            if let Some(bench) = self.classes.remove(&digest) {
                self.forget(digest, &bench);
                self.release(&bench.rulings(), &mut news);
                news.gone.insert(digest, bench);
            }
        }
        news
    }

    /// Has every class that stays say what it says about who has come, and nothing about who has gone.
    fn say_of(
        &mut self,
        people: &People,
        moves: &Moves,
        leaving: &BTreeSet<Digest>,
        news: &mut News,
    ) {
        let mut asked: BTreeMap<Digest, Vec<Digest>> = BTreeMap::new();
        for identity in moves.born.iter().chain(moves.died.keys()) {
            let Some(known) = people.get(*identity) else {
                continue;
            };
            let askers = known.marks.iter();
            let askers = askers.filter_map(|number| self.askers.get(&number));
            let named = (!known.ports.is_empty()).then_some(&self.name_askers);
            let classes: BTreeSet<Digest> = askers.chain(named).flatten().copied().collect();
            for class in classes.into_iter().filter(|class| !leaving.contains(class)) {
                asked.entry(class).or_default().push(*identity);
            }
        }
        for (class, identities) in asked {
            let Some(bench) = self.classes.get_mut(&class) else {
                continue;
            };
            let mut otherwise = Otherwise {
                before: bench.uses.keys().copied().collect(),
                ..Otherwise::default()
            };
            for identity in identities {
                let is_there = !moves.died.contains_key(&identity);
                let known = people.get(identity).filter(|_| is_there);
                let said = bench.say(identity, known);
                if said[0] != said[1] {
                    otherwise.said.insert(identity, said);
                }
            }
            let now: BTreeSet<Digest> = bench.uses.keys().copied().collect();
            let new: BTreeSet<Digest> = now.difference(&otherwise.before).copied().collect();
            let gone: BTreeSet<Digest> = otherwise.before.difference(&now).copied().collect();
            let made = bench.find(&new);
            bench.sweep();
            self.hold(&made, news);
            self.release(&gone, news);
            news.otherwise.insert(class, otherwise);
        }
    }

    fn hold(&mut self, rulings: &BTreeMap<Digest, Arc<Ruling>>, news: &mut News) {
        for (digest, ruling) in rulings {
            if self.rulings.hold(*digest, ruling) {
                news.rulings.come(*digest, ruling);
                for (digest, said) in &ruling.said {
                    if self.said.hold(*digest, said) {
                        news.said.come(*digest, said);
                    }
                }
            }
        }
    }

    fn release(&mut self, rulings: &BTreeSet<Digest>, news: &mut News) {
        for digest in rulings {
            let Some(ruling) = self.rulings.release(*digest) else {
                continue;
            };
            for digest in ruling.said.keys() {
                if let Some(said) = self.said.release(*digest) {
                    news.said.go(*digest, said);
                }
            }
            news.rulings.go(*digest, ruling);
        }
    }

    fn forget(&mut self, class: Digest, bench: &Bench) {
        for number in bench.targets() {
            if let Some(askers) = self.askers.get_mut(&number) {
                askers.remove(&class);
                if askers.is_empty() {
                    self.askers.remove(&number);
                }
            }
        }
        self.name_askers.remove(&class);
    }
}
