//! Which of many endpoints a selector means. Those that no selector can tell apart are looked at once, and
//! only those that have one of the labels asked for.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bulkhead_model::NetworkName;

use super::slots::Slots;
use crate::{
    Endpoint, EndpointId, EndpointSelector, GroupName, Labels, Namespaces, Selector, Test, World,
};

/// All that a selector can ask about an endpoint.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Kind {
    namespace: String,
    network: Option<NetworkName>,
    labels: Labels,
    groups: BTreeSet<GroupName>,
}

impl Kind {
    pub(super) fn of(id: &EndpointId, endpoint: &Endpoint) -> Self {
        Self {
            namespace: id.namespace.clone(),
            network: id.network.clone(),
            labels: endpoint.labels.clone(),
            groups: endpoint.groups.clone(),
        }
    }
}

/// A kind, and the numbers of those who are of it.
#[derive(Clone, Debug)]
struct Row {
    kind: Arc<Kind>,
    members: BTreeSet<usize>,
}

/// Kinds of endpoints, each with a number.
#[derive(Clone, Debug, Default)]
pub(super) struct Kinds {
    rows: Slots<Row>,
    numbers: HashMap<Arc<Kind>, usize>,
    /// The labels of a namespace, with the one of its name, and the kinds in it.
    namespaces: BTreeMap<String, (Labels, BTreeSet<usize>)>,
    by_label: HashMap<String, HashMap<String, BTreeSet<usize>>>,
    /// Kinds that were nobody's for a while.
    left: Vec<usize>,
}

impl Kinds {
    /// The number of a kind, and whether nobody was of it before.
    pub(super) fn number(&mut self, world: &World, kind: Kind) -> (usize, bool) {
        if let Some(number) = self.numbers.get(&kind) {
            return (*number, false);
        }
        let kind = Arc::new(kind);
        let number = self.rows.put(Row {
            kind: Arc::clone(&kind),
            members: BTreeSet::new(),
        });
        for (key, value) in kind.labels.iter() {
            let values = self.by_label.entry(key.to_owned()).or_default();
            values.entry(value.to_owned()).or_default().insert(number);
        }
        let name = &kind.namespace;
        let labels = || (world.labels_of(name), BTreeSet::new());
        let namespace = self.namespaces.entry(name.clone()).or_insert_with(labels);
        namespace.1.insert(number);
        self.numbers.insert(kind, number);
        (number, true)
    }

    pub(super) fn join(&mut self, number: usize, member: usize) {
        if let Some(row) = self.rows.get_mut(number) {
            row.members.insert(member);
        }
    }

    pub(super) fn leave(&mut self, number: usize, member: usize) {
        if let Some(row) = self.rows.get_mut(number) {
            row.members.remove(&member);
            if row.members.is_empty() {
                self.left.push(number);
            }
        }
    }

    /// Gives back the numbers of kinds that are nobody's any more.
    pub(super) fn sweep(&mut self) -> Vec<usize> {
        let mut left = std::mem::take(&mut self.left);
        left.sort_unstable();
        left.dedup();
        left.retain(|number| self.members(*number).next().is_none());
        for number in &left {
            self.forget(*number);
        }
        left
    }

    fn forget(&mut self, number: usize) {
        let Some(Row { kind, .. }) = self.rows.take(number) else {
            return;
        };
        self.numbers.remove(&kind);
        for (key, value) in kind.labels.iter() {
            if let Some(values) = self.by_label.get_mut(key) {
                if let Some(numbers) = values.get_mut(value) {
                    numbers.remove(&number);
                    if numbers.is_empty() {
                        values.remove(value);
                    }
                }
                if values.is_empty() {
                    self.by_label.remove(key);
                }
            }
        }
        if let Some((_, kinds)) = self.namespaces.get_mut(&kind.namespace) {
            kinds.remove(&number);
            if kinds.is_empty() {
                self.namespaces.remove(&kind.namespace);
            }
        }
    }

    /// A namespace may have other labels now: the kinds in it, which may be meant by others.
    pub(super) fn relabel(&mut self, world: &World, namespace: &str) -> Vec<usize> {
        let Some((labels, kinds)) = self.namespaces.get_mut(namespace) else {
            return Vec::new();
        };
        let now = world.labels_of(namespace);
        if *labels == now {
            return Vec::new();
        }
        *labels = now;
        kinds.iter().copied().collect()
    }

    /// Whoever is of the kind.
    pub(super) fn members(&self, number: usize) -> impl Iterator<Item = usize> {
        let row = self.rows.get(number);
        row.into_iter().flat_map(|row| row.members.iter().copied())
    }

    /// Every kind.
    pub(super) fn iter(&self) -> impl Iterator<Item = usize> {
        self.rows.iter().map(|(number, _)| number)
    }

    /// Whether `selector` means the kind.
    pub(super) fn is_selected(&self, selector: &EndpointSelector, number: usize) -> bool {
        let Some(Row { kind, .. }) = self.rows.get(number) else {
            return false;
        };
        match selector {
            EndpointSelector::Labelled { namespaces, labels } => {
                self.is_in(namespaces, &kind.namespace) && labels.selects(&kind.labels)
            }
            EndpointSelector::Group(group) => kind.groups.contains(group),
            EndpointSelector::Network(network) => kind.network.as_ref() == Some(network),
        }
    }

    fn is_in(&self, namespaces: &Namespaces, namespace: &str) -> bool {
        match namespaces {
            Namespaces::Named(name) => name == namespace,
            Namespaces::Selected(selector) => {
                let known = self.namespaces.get(namespace);
                known.is_some_and(|(labels, _)| selector.selects(labels))
            }
        }
    }

    /// The kinds that `selector` means.
    pub(super) fn selected(&self, selector: &EndpointSelector) -> Vec<usize> {
        let EndpointSelector::Labelled { namespaces, labels } = selector else {
            let all = self.iter();
            return all
                .filter(|number| self.is_selected(selector, *number))
                .collect();
        };
        let is_meant = |number: &usize| self.is_selected(selector, *number);
        let mut meant: Vec<usize> = match self.candidates(labels) {
            Some(few) => few.filter(is_meant).collect(),
            None => self.kinds_in(namespaces).filter(is_meant).collect(),
        };
        meant.sort_unstable();
        meant.dedup();
        meant
    }

    fn kinds_in<'s>(&'s self, namespaces: &'s Namespaces) -> impl Iterator<Item = usize> + 's {
        let (named, all) = match namespaces {
            Namespaces::Named(name) => (self.namespaces.get(name), None),
            Namespaces::Selected(selector) => {
                let all = self.namespaces.values();
                let selected = all.filter(|(labels, _)| selector.selects(labels));
                (None, Some(selected))
            }
        };
        let all = named.into_iter().chain(all.into_iter().flatten());
        all.flat_map(|(_, kinds)| kinds.iter().copied())
    }

    /// Who has one of the values that a requirement asks for; `None` if none asks for a value.
    fn candidates<'s>(&'s self, labels: &'s Selector) -> Option<impl Iterator<Item = usize> + 's> {
        let asked = labels.requirements().filter_map(|requirement| {
            let Test::In(values) = &requirement.test else {
                return None;
            };
            let known = self.by_label.get(&requirement.key);
            let having = values.iter().filter_map(|value| known?.get(value));
            let having: Vec<&BTreeSet<usize>> = having.collect();
            Some((having.iter().map(|some| some.len()).sum::<usize>(), having))
        });
        let (_, fewest) = asked.min_by_key(|(count, _)| *count)?;
        Some(fewest.into_iter().flatten().copied())
    }
}
