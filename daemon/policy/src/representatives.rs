//! Endpoints for policies that have none beside them, as in a repository of policies alone: one for everybody whom
//! the selectors can tell from others. What is judged about them holds for whoever is like them, as long as
//!
//! - a namespace that nobody describes has the label of its name alone; those of other labels stand beside it,
//! - an endpoint's addresses are in no prefix that a policy names, but for those that have all of a family,
//! - every endpoint calls a port by each of the names that policies use, another one for each name.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bulkhead_model::{Family, NetworkName, Prefix, Protocol};

use crate::classes::{What, blocks, rules, selectors};
use crate::{
    Endpoint, EndpointId, EndpointSelector, GroupName, Labels, NamedPort, Namespace, Namespaces,
    Place, Port, PortRange, Selector, Stance, Test, World,
};

/// Who stands for whom.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Representatives {
    endpoints: BTreeMap<EndpointId, Endpoint>,
    /// Those that no policy names: the others of whatever labels.
    namespaces: BTreeMap<String, Namespace>,
    names: BTreeMap<(Protocol, u16), String>,
    is_whole: bool,
}

/// Most combinations of labels, groups and networks that are looked at.
const MOST_CHOICES: usize = 4096;
/// Most endpoints that are compared with each other.
const MOST_ENDPOINTS: usize = 120;
/// What those are called of whom nothing is asked.
const OTHERS: &str = "[others]";
/// The label every namespace has, with its name.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

impl Representatives {
    /// Whether they stand for everybody there could be. There may be too many: then some are left out who have
    /// several things at once that policies speak of.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Puts them into a world.
    pub fn stand_in(&self, world: &mut World) {
        world.endpoints.extend(self.endpoints.clone());
        world.namespaces.extend(self.namespaces.clone());
    }

    /// Traffic to a port that has a name alone, such as `http/tcp`.
    #[must_use]
    pub fn name_of(&self, what: What) -> Option<String> {
        let What::Ports(protocol, ports) = what else {
            return None;
        };
        let name = self.names.get(&(protocol, ports.first()))?;
        (ports == PortRange::one(ports.first())).then(|| format!("{name}/{protocol}"))
    }
}

/// Whoever the policies of `worlds` can tell apart.
#[must_use]
pub fn representatives(worlds: &[&World]) -> Representatives {
    let selectors = selectors(worlds);
    let (namespaces, others, all_namespaces) = all_of_namespaces(worlds, &selectors);
    let (choices, all_choices) = combined(&of_endpoints(worlds, &selectors));
    // A namespace may be described otherwise in each.
    let judges: Vec<World> = worlds
        .iter()
        .map(|world| World {
            namespaces: world
                .namespaces
                .clone()
                .into_iter()
                .chain(others.clone())
                .collect(),
            ..World::default()
        })
        .collect();
    let is_strict = worlds.iter().any(|world| is_strict(world));
    let names = named_ports(worlds);
    let ports: BTreeSet<NamedPort> = names
        .iter()
        .map(|((protocol, port), name)| NamedPort {
            name: name.clone(),
            protocol: *protocol,
            port: *port,
        })
        .collect();
    let mut addresses = Addresses::new(worlds);
    let mut endpoints = BTreeMap::new();
    let mut seen: BTreeSet<(String, bool, Vec<bool>)> = BTreeSet::new();
    let mut is_whole = all_namespaces && all_choices;
    // The fewest choices first: of those that nobody tells apart the simplest stands for all.
    for choice in &choices {
        for namespace in namespaces.iter().chain(others.keys()) {
            let (id, mut endpoint) = endpoint(namespace, choice);
            let selected = judges.iter().flat_map(|judge| {
                let selectors = selectors.iter();
                selectors.map(|selector| judge.selects(selector, &id, &endpoint))
            });
            let is_bare = is_strict && endpoint.labels.is_empty() && endpoint.groups.is_empty();
            if !seen.insert((namespace.clone(), is_bare, selected.collect())) {
                continue;
            }
            if endpoints.len() == MOST_ENDPOINTS {
                is_whole = false;
                continue;
            }
            endpoint.addresses = addresses.next().into();
            endpoint.ports.clone_from(&ports);
            endpoints.insert(id, endpoint);
        }
    }
    Representatives {
        endpoints,
        namespaces: others,
        names,
        is_whole,
    }
}

/// Something that an endpoint or a namespace may have, or not.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Trait {
    Label(String, String),
    Group(GroupName),
    Network(NetworkName),
}

/// Of each thing, what it may be; it may also not be at all.
type Choices = Vec<Vec<Trait>>;

/// Every combination, those of the fewest things first, and whether that is all of them. Where they are too many,
/// no more than two things at once.
fn combined(choices: &Choices) -> (Vec<Vec<Trait>>, bool) {
    let count = choices.iter().try_fold(1_usize, |all, of_one| {
        all.checked_mul(of_one.len() + 1)
            .filter(|all| *all <= MOST_CHOICES)
    });
    if count.is_none() {
        return (some(choices), false);
    }
    let mut all: Vec<Vec<Trait>> = vec![Vec::new()];
    for of_one in choices {
        let with = |choice: &Trait| {
            let with = |before: &Vec<Trait>| [&before[..], std::slice::from_ref(choice)].concat();
            all.iter().map(with).collect::<Vec<_>>()
        };
        let more: Vec<Vec<Trait>> = of_one.iter().flat_map(with).collect();
        all.extend(more);
    }
    all.sort_by_key(Vec::len);
    (all, true)
}

/// Nothing, each thing alone, and as many pairs as there is room for.
fn some(choices: &Choices) -> Vec<Vec<Trait>> {
    let one = |choice: &Trait| vec![choice.clone()];
    let mut some = vec![Vec::new()];
    some.extend(choices.iter().flatten().map(one));
    let pairs = choices.iter().enumerate().flat_map(|(nth, of_one)| {
        let others = choices[nth + 1..].iter().flatten();
        others.flat_map(move |other| {
            of_one
                .iter()
                .map(move |choice| vec![choice.clone(), other.clone()])
        })
    });
    some.extend(pairs.take(MOST_CHOICES));
    some
}

/// What selectors ask of labels: by key, the values that make a difference.
fn labels<'s>(selectors: impl IntoIterator<Item = &'s Selector>) -> Choices {
    let mut values: BTreeMap<&str, (BTreeSet<&str>, bool)> = BTreeMap::new();
    let asked = selectors.into_iter().flat_map(Selector::requirements);
    for requirement in asked.filter(|requirement| requirement.key != NAME_LABEL) {
        let (values, any) = values.entry(&requirement.key).or_default();
        match &requirement.test {
            Test::In(of) | Test::NotIn(of) => values.extend(of.iter().map(String::as_str)),
            // Another value than those that are asked for is there all the same.
            Test::Exists | Test::DoesNotExist => *any = true,
        }
    }
    let of_key = |(key, (values, any)): (&str, (BTreeSet<&str>, bool))| {
        let mut other = "other".to_owned();
        while values.contains(other.as_str()) {
            other.push('-');
        }
        let other = any.then_some(other);
        let values = values.into_iter().map(str::to_owned).chain(other);
        values
            .map(|value| Trait::Label(key.to_owned(), value))
            .collect()
    };
    values.into_iter().map(of_key).collect()
}

/// What endpoints may have that policies speak of.
fn of_endpoints(worlds: &[&World], selectors: &BTreeSet<&EndpointSelector>) -> Choices {
    let asked = selectors.iter().filter_map(|selector| match selector {
        EndpointSelector::Labelled { labels, .. } => Some(labels),
        EndpointSelector::Group(_) | EndpointSelector::Network(_) => None,
    });
    let mut choices = labels(asked);
    if worlds.iter().any(|world| is_strict(world)) {
        // Who has a label, whichever it is, is no longer unlabelled.
        choices.push(vec![Trait::Label("other".to_owned(), "other".to_owned())]);
    }
    let groups = selectors.iter().filter_map(|selector| match selector {
        EndpointSelector::Group(group) => Some(vec![Trait::Group(group.clone())]),
        _ => None,
    });
    choices.extend(groups);
    let mut networks: BTreeSet<&NetworkName> = worlds
        .iter()
        .flat_map(|world| world.networks.keys())
        .collect();
    networks.extend(selectors.iter().filter_map(|selector| match selector {
        EndpointSelector::Network(network) => Some(network),
        _ => None,
    }));
    if !networks.is_empty() {
        let networks = networks.into_iter().cloned();
        choices.push(networks.map(Trait::Network).collect());
    }
    choices
}

/// Whether some network says something of its own about endpoints without labels.
fn is_strict(world: &World) -> bool {
    let mut networks = world.networks.values();
    networks.any(|network| [network.ingress, network.egress].contains(&Stance::Closed))
}

/// The namespaces that somebody names, the others by what is asked of their labels, and whether that is all.
fn all_of_namespaces(
    worlds: &[&World],
    selectors: &BTreeSet<&EndpointSelector>,
) -> (BTreeSet<String>, BTreeMap<String, Namespace>, bool) {
    let mut named: BTreeSet<String> = worlds
        .iter()
        .flat_map(|world| world.namespaces.keys().cloned())
        .collect();
    let ids = worlds.iter().flat_map(|world| world.policies.keys());
    named.extend(ids.filter_map(|id| id.namespace.clone()));
    let mut asked: BTreeSet<&Selector> = BTreeSet::new();
    for selector in selectors {
        match selector {
            EndpointSelector::Labelled {
                namespaces: Namespaces::Named(name),
                ..
            } => drop(named.insert(name.clone())),
            EndpointSelector::Labelled {
                namespaces: Namespaces::Selected(selector),
                ..
            } => drop(asked.insert(selector)),
            EndpointSelector::Group(_) | EndpointSelector::Network(_) => {}
        }
    }
    for requirement in asked.iter().flat_map(|selector| selector.requirements()) {
        if let ("kubernetes.io/metadata.name", Test::In(names) | Test::NotIn(names)) =
            (requirement.key.as_str(), &requirement.test)
        {
            named.extend(names.iter().cloned());
        }
    }
    let (choices, is_whole) = combined(&labels(asked.iter().copied()));
    let mut others = BTreeMap::new();
    let mut seen: BTreeSet<Vec<bool>> = BTreeSet::new();
    for choice in choices {
        let labels: Labels = choice.iter().filter_map(as_label).collect();
        let mut with_name = labels.clone();
        let name = called(&choice);
        with_name.set(NAME_LABEL, name.as_str());
        let selected = asked.iter().map(|selector| selector.selects(&with_name));
        if seen.insert(selected.collect()) {
            others.insert(name, Namespace { labels });
        }
    }
    (named, others, is_whole)
}

fn as_label(choice: &Trait) -> Option<(&str, &str)> {
    match choice {
        Trait::Label(key, value) => Some((key, value)),
        Trait::Group(_) | Trait::Network(_) => None,
    }
}

/// As a person may read who is meant: `[app=web,tier=front]`.
fn called(choice: &[Trait]) -> String {
    let said = choice.iter().filter_map(|one| match one {
        Trait::Label(key, value) => Some(format!("{key}={value}")),
        Trait::Group(group) => Some(format!("group {group}")),
        // The endpoint's name has it.
        Trait::Network(_) => None,
    });
    let said: Vec<String> = said.collect();
    if said.is_empty() {
        OTHERS.to_owned()
    } else {
        format!("[{}]", said.join(","))
    }
}

fn endpoint(namespace: &str, choice: &[Trait]) -> (EndpointId, Endpoint) {
    let network = choice.iter().find_map(|one| match one {
        Trait::Network(network) => Some(network.clone()),
        _ => None,
    });
    let groups = choice.iter().filter_map(|one| match one {
        Trait::Group(group) => Some(group.clone()),
        _ => None,
    });
    let endpoint = Endpoint {
        labels: choice.iter().filter_map(as_label).collect(),
        groups: groups.collect(),
        addresses: BTreeSet::new(),
        prefixes: BTreeSet::new(),
        ports: BTreeSet::new(),
        node: None,
        place: Place::Port,
    };
    let id = EndpointId {
        network,
        ..EndpointId::new(namespace, called(choice))
    };
    (id, endpoint)
}

/// A number of its own for each name of a port, that no policy speaks of by itself.
fn named_ports(worlds: &[&World]) -> BTreeMap<(Protocol, u16), String> {
    /// A range of so many ports does not mean one by itself.
    const WIDE: u16 = 1000;
    let ports = || rules(worlds).flat_map(|rule| &rule.ports);
    let mut names: BTreeSet<(Protocol, &str)> = BTreeSet::new();
    for port in ports() {
        if let Port::Named { protocol, name } = port {
            let of = Protocol::ALL.into_iter();
            let of = of.filter(|one| protocol.is_none_or(|protocol| protocol == *one));
            names.extend(of.map(|protocol| (protocol, name.as_str())));
        }
    }
    let is_spoken_of = |protocol: Protocol, number: u16| {
        ports().any(|port| match port {
            Port::Range {
                protocol: of,
                ports,
            } => *of == protocol && ports.contains(number) && ports.last() - ports.first() < WIDE,
            _ => false,
        })
    };
    // Every other one, so that two names are never told as one range.
    let mut free = (1..u16::MAX).rev().step_by(2);
    let mut numbers = BTreeMap::new();
    for (protocol, name) in names {
        if let Some(number) = free.find(|number| !is_spoken_of(protocol, *number)) {
            numbers.insert((protocol, number), name.to_owned());
        }
    }
    numbers
}

/// Addresses that are in no prefix of a policy but those of everything.
struct Addresses {
    named: Vec<Prefix>,
    v4: u32,
    v6: u128,
}

impl Addresses {
    fn new(worlds: &[&World]) -> Self {
        let blocks = blocks(worlds).into_iter();
        let named = blocks.flat_map(|block| block.except.iter().chain([&block.prefix]));
        Self {
            named: named
                .filter(|prefix| !prefix.is_default())
                .copied()
                .collect(),
            // Reserved (RFC 1112 section 4; RFC 9637).
            v4: u32::from_be_bytes([240, 0, 0, 1]),
            v6: 0x3fff << 112 | 1,
        }
    }

    fn next(&mut self) -> [IpAddr; 2] {
        let v4 = self.free(Ipv4Addr::from_bits(self.v4).into());
        let v6 = self.free(Ipv6Addr::from_bits(self.v6).into());
        if let IpAddr::V4(v4) = v4 {
            self.v4 = v4.to_bits().wrapping_add(1);
        }
        if let IpAddr::V6(v6) = v6 {
            self.v6 = v6.to_bits().wrapping_add(1);
        }
        [v4, v6]
    }

    /// The first from here on that no prefix has; whichever, if they have all.
    fn free(&self, mut address: IpAddr) -> IpAddr {
        for _ in 0..=self.named.len() {
            let of_family = |prefix: &&Prefix| prefix.family() == Family::of(address);
            let mut named = self.named.iter().filter(of_family);
            let Some(prefix) = named.find(|prefix| prefix.contains(address)) else {
                break;
            };
            address = match prefix.last() {
                IpAddr::V4(last) => Ipv4Addr::from_bits(last.to_bits().wrapping_add(1)).into(),
                IpAddr::V6(last) => Ipv6Addr::from_bits(last.to_bits().wrapping_add(1)).into(),
            };
        }
        address
    }
}
