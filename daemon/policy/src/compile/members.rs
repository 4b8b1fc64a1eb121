//! Which of many endpoints a selector means. Those that no selector can tell apart are looked at once, and
//! only those that have one of the labels asked for.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bulkhead_model::NetworkName;

use crate::{
    Endpoint, EndpointId, EndpointSelector, GroupName, Labels, Namespaces, Selector, Test, World,
};

/// All that a selector can ask about an endpoint.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Kind<'w> {
    namespace: &'w str,
    network: Option<&'w NetworkName>,
    labels: &'w Labels,
    groups: &'w BTreeSet<GroupName>,
}

/// Kinds of endpoints, each with a number.
#[derive(Debug)]
pub(super) struct Kinds<'w> {
    world: &'w World,
    all: Vec<Kind<'w>>,
    numbers: HashMap<Kind<'w>, usize>,
    namespaces: BTreeMap<&'w str, (Labels, Vec<usize>)>,
    by_label: HashMap<(&'w str, &'w str), Vec<usize>>,
}

impl<'w> Kinds<'w> {
    pub(super) fn new(world: &'w World) -> Self {
        Self {
            world,
            all: Vec::new(),
            numbers: HashMap::new(),
            namespaces: BTreeMap::new(),
            by_label: HashMap::new(),
        }
    }

    /// The number of an endpoint's kind.
    pub(super) fn number(&mut self, id: &'w EndpointId, endpoint: &'w Endpoint) -> usize {
        let kind = Kind {
            namespace: &id.namespace,
            network: id.network.as_ref(),
            labels: &endpoint.labels,
            groups: &endpoint.groups,
        };
        if let Some(number) = self.numbers.get(&kind) {
            return *number;
        }
        let number = self.all.len();
        self.all.push(kind);
        self.numbers.insert(kind, number);
        for label in kind.labels.iter() {
            self.by_label.entry(label).or_default().push(number);
        }
        let world = self.world;
        let labels = || (world.labels_of(kind.namespace), Vec::new());
        let namespace = self.namespaces.entry(kind.namespace).or_insert_with(labels);
        namespace.1.push(number);
        number
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// The kinds that `selector` means.
    pub(super) fn selected(&self, selector: &EndpointSelector) -> Vec<usize> {
        match selector {
            EndpointSelector::Labelled { namespaces, labels } => self.labelled(namespaces, labels),
            EndpointSelector::Group(group) => self.having(|kind| kind.groups.contains(group)),
            EndpointSelector::Network(network) => self.having(|kind| kind.network == Some(network)),
        }
    }

    fn having(&self, has: impl Fn(&Kind<'w>) -> bool) -> Vec<usize> {
        let all = self.all.iter().enumerate();
        all.filter(|(_, kind)| has(kind))
            .map(|(nth, _)| nth)
            .collect()
    }

    fn labelled(&self, namespaces: &Namespaces, labels: &Selector) -> Vec<usize> {
        let in_namespaces: BTreeSet<&str> = match namespaces {
            Namespaces::Named(name) => {
                let known = self.namespaces.get_key_value(name.as_str());
                known.map(|(name, _)| *name).into_iter().collect()
            }
            Namespaces::Selected(selector) => {
                let all = self.namespaces.iter();
                let selected = all.filter(|(_, (labels, _))| selector.selects(labels));
                selected.map(|(name, _)| *name).collect()
            }
        };
        let is_meant = |number: &usize| {
            let kind = &self.all[*number];
            in_namespaces.contains(kind.namespace) && labels.selects(kind.labels)
        };
        if let Some(few) = self.candidates(labels) {
            let few: BTreeSet<usize> = few.filter(is_meant).collect();
            return few.into_iter().collect();
        }
        let of_all = in_namespaces.iter().map(|name| &self.namespaces[name].1);
        let mut meant: Vec<usize> = of_all.flatten().copied().filter(is_meant).collect();
        meant.sort_unstable();
        meant
    }

    /// Who has one of the values that a requirement asks for; `None` if none asks for a value.
    fn candidates<'s>(&'s self, labels: &'s Selector) -> Option<impl Iterator<Item = usize> + 's> {
        let asked = labels.requirements().filter_map(|requirement| {
            let Test::In(values) = &requirement.test else {
                return None;
            };
            let having = values.iter().filter_map(|value| {
                self.by_label
                    .get(&(requirement.key.as_str(), value.as_str()))
            });
            let having: Vec<&Vec<usize>> = having.collect();
            Some((having.iter().map(|some| some.len()).sum::<usize>(), having))
        });
        let (_, fewest) = asked.min_by_key(|(count, _)| *count)?;
        Some(fewest.into_iter().flatten().copied())
    }
}
