//! The table, put together.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bulkhead_nft as nft;
use nft::{Data, DataType, Datum, Elements, Entry, Key, KeyType, Name, Set, Verdict};

use super::chains::{
    AROUND4, AROUND6, FROM4, FROM6, PEERS4, PEERS6, POLICED, RECEIVERS, SENDERS, TO4, TO6, fixed,
    named, of_class, of_outcome, of_ruling,
};
use super::class::Classes;
use super::digest::{Digest, numbers};
use super::identity::Identities;
use super::judge::Judge;
use super::local::Ends;
use super::ruling::Rulings;
use super::{Ruleset, Said};
use crate::Direction;

/// Raised when the meaning of the table changes, so that an older one is replaced.
const SCHEMA: &str = "bulkhead policy 1";

/// The table's name.
#[must_use]
pub const fn table_id() -> nft::TableId {
    nft::TableId {
        family: nft::TableFamily::Inet,
        name: Name::literal("bulkhead-policy"),
    }
}

/// The chains of rulings and outcomes in the last world.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory(BTreeMap<Digest, (nft::Chain, BTreeMap<Digest, Said>)>);

pub(super) fn assemble(
    memory: &mut Memory,
    ends: &Ends<'_>,
    classes: &Classes<'_>,
    (identities, identity_numbers): (&Identities<'_>, &BTreeMap<Digest, u32>),
    rulings: &Rulings,
) -> Ruleset {
    let class_numbers = numbers(classes.all.keys().copied());
    let mut sets = local_sets(ends, classes, &class_numbers);
    sets.extend(peer_sets(identities, identity_numbers));
    let mut chains = fixed(ends.told);
    let mut outcomes = BTreeMap::new();
    let mut before = std::mem::take(&mut memory.0);
    for (class, of_it) in &rulings.of {
        let direction = classes.all[class].direction;
        let has_others = !of_it.others.is_empty();
        chains.push(of_class(*class, direction, of_it.default, has_others));
        if has_others {
            sets.extend(sets_of_class(*class, &of_it.others, identity_numbers));
        }
        for ruling in of_it.others.values().chain([&of_it.default]) {
            if memory.0.contains_key(ruling) {
                continue;
            }
            let made = before
                .remove(ruling)
                .unwrap_or_else(|| of_ruling(*ruling, &rulings.all[ruling], direction));
            chains.push(made.0.clone());
            outcomes.extend(made.1.clone());
            memory.0.insert(*ruling, made);
        }
    }
    chains.extend(
        outcomes
            .iter()
            .map(|(digest, said)| of_outcome(*digest, said, ends.told)),
    );
    sets.sort_by(|one, other| one.name.cmp(&other.name));
    chains.sort_by(|one, other| one.name.cmp(&other.name));
    let outcomes: BTreeMap<String, Said> = outcomes
        .into_iter()
        .map(|(digest, said)| (digest.hex(), said))
        .collect();
    Ruleset {
        table: nft::Table {
            comment: Some(nft::Label::new(SCHEMA).expect("a short text")),
            sets,
            chains,
            ..nft::Table::new(table_id())
        },
        outcomes,
        closed: ends.closed.iter().map(|id| (*id).clone()).collect(),
        judge: Judge::default(),
    }
}

fn number(number: u32) -> Data {
    Data::Value(Datum::ClassId(number).into())
}

fn numbered(name: Name, key: impl IntoIterator<Item = KeyType>) -> Set {
    Set::live_map(name, key, DataType::Value(vec![KeyType::ClassId]))
}

/// The node's own ends: which devices are closed, who is on them, and what class each is of.
fn local_sets(ends: &Ends<'_>, classes: &Classes<'_>, numbers: &BTreeMap<Digest, u32>) -> Vec<Set> {
    let mut devices = Set::live(POLICED, [KeyType::IfName]);
    devices.elements = Elements::keys(ends.devices.iter().map(|device| Key::from(*device)));
    let class_of = |id, direction| numbers[&classes.of[&(id, direction)]];
    let mut maps: [(Name, KeyType, BTreeMap<Key, Entry>); 4] = [
        (FROM4, KeyType::Ipv4Addr, BTreeMap::new()),
        (FROM6, KeyType::Ipv6Addr, BTreeMap::new()),
        (TO4, KeyType::Ipv4Addr, BTreeMap::new()),
        (TO6, KeyType::Ipv6Addr, BTreeMap::new()),
    ];
    for ((device, address), (id, _)) in &ends.at {
        let key = Key::new([Datum::from(*device), Datum::from(*address)]);
        let six = usize::from(address.is_ipv6());
        let (from, to) = (
            class_of(*id, Direction::Egress),
            class_of(*id, Direction::Ingress),
        );
        maps[six].2.insert(key.clone(), number(from).into());
        maps[2 + six].2.insert(key, number(to).into());
    }
    let mut sets = vec![devices];
    for (name, direction) in [
        (SENDERS, Direction::Egress),
        (RECEIVERS, Direction::Ingress),
    ] {
        let of_direction = classes.all.iter();
        let of_direction = of_direction.filter(|(_, class)| class.direction == direction);
        let chains = of_direction.map(|(class, _)| {
            let chain = Verdict::Goto(named("class", *class));
            (
                Datum::ClassId(numbers[class]).into(),
                Data::Verdict(chain).into(),
            )
        });
        sets.push(Set {
            elements: Elements::Map(chains.collect()),
            ..Set::live_map(name, [KeyType::ClassId], DataType::Verdict)
        });
    }
    sets.extend(maps.map(|(name, address, elements)| Set {
        elements: Elements::Map(elements),
        ..numbered(name, [KeyType::IfName, address])
    }));
    sets
}

/// Who everybody else is.
fn peer_sets(identities: &Identities<'_>, numbers: &BTreeMap<Digest, u32>) -> Vec<Set> {
    let mut exact = [BTreeMap::new(), BTreeMap::new()];
    for (address, identity) in &identities.exact {
        let entry: Entry = number(numbers[identity]).into();
        exact[usize::from(address.is_ipv6())].insert(Key::from(*address), entry);
    }
    let mut ranges: [BTreeMap<IpAddr, (IpAddr, Data)>; 2] = [BTreeMap::new(), BTreeMap::new()];
    for (first, (last, identity)) in &identities.ranges {
        let range = (*last, number(numbers[identity]));
        ranges[usize::from(first.is_ipv6())].insert(*first, range);
    }
    let [v4, v6] = exact;
    let [around4, around6] = ranges;
    let map = |name, key, elements| Set {
        elements: Elements::Map(elements),
        ..numbered(name, [key])
    };
    let around = |name, key, elements| Set {
        elements: Elements::Ranges(elements),
        ..Set::live_ranges(name, key, DataType::Value(vec![KeyType::ClassId]))
    };
    vec![
        map(PEERS4, KeyType::Ipv4Addr, v4),
        map(PEERS6, KeyType::Ipv6Addr, v6),
        around(AROUND4, KeyType::Ipv4Addr, around4),
        around(AROUND6, KeyType::Ipv6Addr, around6),
    ]
}

/// What a class says: the number of a ruling for each identity, and the chain of each of these. There are fewer
/// rulings than identities, and a chain behind an element is looked after by the kernel at every change.
fn sets_of_class(
    class: Digest,
    others: &BTreeMap<Digest, Digest>,
    identities: &BTreeMap<Digest, u32>,
) -> [Set; 2] {
    let ruling_numbers = numbers(others.values().copied());
    let of_identities = others.iter().map(|(identity, ruling)| {
        let key = Datum::ClassId(identities[identity]);
        (Key::from(key), number(ruling_numbers[ruling]).into())
    });
    let of_rulings = ruling_numbers.iter().map(|(ruling, number)| {
        let chain = Verdict::Goto(named("ruling", *ruling));
        (Datum::ClassId(*number).into(), Data::Verdict(chain).into())
    });
    [
        Set {
            elements: Elements::Map(of_identities.collect()),
            ..numbered(named("rulings", class), [KeyType::ClassId])
        },
        Set {
            elements: Elements::Map(of_rulings.collect()),
            ..Set::live_map(
                named("chains", class),
                [KeyType::ClassId],
                DataType::Verdict,
            )
        },
    ]
}
