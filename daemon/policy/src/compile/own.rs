//! The node's own endpoints: which policies are about each, and what class that makes it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::class::{Parts, Turnover};
use super::digest::Digest;
use super::follow::What;
use super::local::Ends;
use super::members::{Kind, Kinds};
use super::slots::Slots;
use crate::{
    Direction, Endpoint, EndpointId, EndpointSelector, NamedPort, NodeName, Policy, PolicyId, World,
};

/// What an endpoint is: as a source, and as a destination.
pub(super) type Both = [Digest; 2];

/// An endpoint of the node's.
#[derive(Clone, Debug)]
struct Own {
    number: usize,
    kind: usize,
    classes: Option<Both>,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Owns {
    all: BTreeMap<EndpointId, Own>,
    names: Slots<EndpointId>,
    kinds: Kinds,
    /// The policies about each kind.
    about: HashMap<usize, BTreeSet<PolicyId>>,
    parts: Parts,
    /// How many have each class.
    uses: HashMap<Digest, usize>,
}

/// Those of one kind that nothing tells apart have the same classes.
type Alike<'w> = (usize, Option<&'w NodeName>, &'w BTreeSet<NamedPort>);

impl Owns {
    /// The classes of an endpoint.
    pub(super) fn of(&self, id: &EndpointId) -> Option<Both> {
        self.all.get(id)?.classes
    }

    pub(super) fn contains(&self, id: &EndpointId) -> bool {
        self.all.contains_key(id)
    }

    /// Takes in what is otherwise.
    pub(super) fn take_in(&mut self, world: &World, ends: &Ends<'_>, what: What<'_>) -> Turnover {
        let mut left: Vec<Both> = Vec::new();
        let is_other = |id: &EndpointId| !ends.endpoints.contains_key(id) || what.is_about(id);
        let others: Vec<EndpointId> = self.all.keys().filter(|id| is_other(id)).cloned().collect();
        for id in others {
            left.extend(self.leave(&id));
        }
        let kinds = self.asked_anew(world, what);
        for (id, endpoint) in &ends.endpoints {
            if !self.all.contains_key(*id) {
                self.join(world, id, endpoint, what);
            }
        }
        if let What::Everything = what {
            for (id, policy) in &world.policies {
                self.is_now_about(id, policy);
            }
        }
        let turnover = self.settle(world, ends, &kinds, left);
        for kind in self.kinds.sweep() {
            self.about.remove(&kind);
        }
        self.parts.sweep();
        turnover
    }

    fn leave(&mut self, id: &EndpointId) -> Option<Both> {
        let own = self.all.remove(id)?;
        self.names.take(own.number);
        self.kinds.leave(own.kind, own.number);
        own.classes
    }

    fn join(&mut self, world: &World, id: &EndpointId, endpoint: &Endpoint, what: What<'_>) {
        let (kind, is_new) = self.kinds.number(world, Kind::of(id, endpoint));
        if let What::These(_) = what
            && is_new
        {
            self.ask_about(world, kind);
        }
        let number = self.names.put(id.clone());
        self.kinds.join(kind, number);
        let own = Own {
            number,
            kind,
            classes: None,
        };
        self.all.insert(id.clone(), own);
    }

    /// Asks about whom policies are that may be about others now; the kinds of whom something else may be said.
    fn asked_anew(&mut self, world: &World, what: What<'_>) -> BTreeSet<usize> {
        let mut kinds = BTreeSet::new();
        let What::These(changes) = what else {
            return kinds;
        };
        for namespace in &changes.namespaces {
            for kind in self.kinds.relabel(world, namespace) {
                self.ask_about(world, kind);
                kinds.insert(kind);
            }
        }
        for id in &changes.policies {
            self.parts.forget(id);
            for (kind, about) in &mut self.about {
                if about.remove(id) {
                    kinds.insert(*kind);
                }
            }
            if let Some(policy) = world.policies.get(id) {
                kinds.extend(self.is_now_about(id, policy));
            }
        }
        kinds
    }

    /// Asks every policy whether it is about a kind.
    fn ask_about(&mut self, world: &World, kind: usize) {
        let is_meant = |one: &EndpointSelector| self.kinds.is_selected(one, kind);
        let policies = world.policies.iter();
        let about = policies.filter(|(_, policy)| policy.subject.iter().any(is_meant));
        let about = about.map(|(id, _)| id.clone()).collect();
        self.about.insert(kind, about);
    }

    fn is_now_about(&mut self, id: &PolicyId, policy: &Policy) -> BTreeSet<usize> {
        let subjects = policy.subject.iter();
        let kinds: BTreeSet<usize> = subjects.flat_map(|one| self.kinds.selected(one)).collect();
        for kind in &kinds {
            self.about.entry(*kind).or_default().insert(id.clone());
        }
        kinds
    }

    /// Gives classes to whoever has none, and to those of `anew`.
    fn settle(
        &mut self,
        world: &World,
        ends: &Ends<'_>,
        anew: &BTreeSet<usize>,
        mut left: Vec<Both>,
    ) -> Turnover {
        let members = |kind: &usize| self.kinds.members(*kind).collect::<Vec<_>>();
        let members = anew.iter().flat_map(members);
        let asked: Vec<EndpointId> = members
            .filter_map(|nth| self.names.get(nth).cloned())
            .collect();
        for id in &asked {
            if let Some(own) = self.all.get_mut(id) {
                left.extend(own.classes.take());
            }
        }
        let mut turnover = Turnover::default();
        let mut alike: HashMap<Alike<'_>, Both> = HashMap::new();
        let mut all = std::mem::take(&mut self.all);
        for (id, own) in all.iter_mut().filter(|(_, own)| own.classes.is_none()) {
            let Some(endpoint) = ends.endpoints.get(id) else {
                continue;
            };
            let key = (own.kind, endpoint.node.as_ref(), &endpoint.ports);
            let classes = alike.entry(key).or_insert_with(|| {
                let about = self.about.get(&own.kind).into_iter().flatten();
                let mut policies: Vec<(&PolicyId, &Policy)> = about
                    .filter_map(|id| world.policies.get_key_value(id))
                    .collect();
                policies.sort_by_key(|(id, policy)| (policy.tier, *id));
                [Direction::Egress, Direction::Ingress].map(|direction| {
                    let of = (id, *endpoint);
                    let (digest, class) = self.parts.class(world, &policies, of, direction);
                    turnover.new.insert(digest, class);
                    digest
                })
            });
            own.classes = Some(*classes);
            for class in *classes {
                *self.uses.entry(class).or_default() += 1;
            }
        }
        self.all = all;
        for class in left.into_iter().flatten() {
            if let Some(uses) = self.uses.get_mut(&class) {
                *uses -= 1;
                if *uses == 0 {
                    self.uses.remove(&class);
                    turnover.gone.insert(class);
                }
            }
        }
        turnover
    }
}
