//! The sets of the table, whole or in part.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bulkhead_nft as nft;
use nft::{Data, DataType, Datum, Elements, Entry, Key, KeyType, Name, Set, Verdict};

use super::chains::{
    AROUND4, AROUND6, DELEGATED6, FROM_PREFIX, FROM4, FROM6, PEERS4, PEERS6, POLICED, PREFIXES6,
    RECEIVERS, SENDERS, TO_PREFIX, TO4, TO6, named,
};
use super::digest::{Digest, numbers};
use super::local::Ends;
use super::own::Owns;
use super::ruling::Bench;
use crate::{Direction, OwnPrefix};

/// Raised when the meaning of the table changes, so that an older one is replaced.
const SCHEMA: &str = "bulkhead policy 2";

/// The table's name.
#[must_use]
pub const fn table_id() -> nft::TableId {
    nft::TableId {
        family: nft::TableFamily::Inet,
        name: Name::literal("bulkhead-policy"),
    }
}

/// The table of these sets and chains.
pub(super) fn of(mut sets: Vec<Set>, mut chains: Vec<nft::Chain>) -> nft::Table {
    sets.sort_by(|one, other| one.name.cmp(&other.name));
    chains.sort_by(|one, other| one.name.cmp(&other.name));
    nft::Table {
        comment: Some(nft::Label::new(SCHEMA).expect("a short text")),
        sets,
        chains,
        ..nft::Table::new(table_id())
    }
}

fn number(number: u32) -> Data {
    Data::Value(Datum::ClassId(number).into())
}

fn numbered(name: Name, key: impl IntoIterator<Item = KeyType>) -> Set {
    Set::live_map(name, key, DataType::Value(vec![KeyType::ClassId]))
}

/// The node's own ends: which devices are closed, who is on them, and what class each is of.
pub(super) fn local_sets(
    ends: &Ends<'_>,
    owns: &Owns,
    classes: &BTreeMap<Digest, Bench>,
) -> Vec<Set> {
    let numbers = numbers(classes.keys().copied());
    let mut devices = Set::live(POLICED, [KeyType::IfName]);
    devices.elements = Elements::keys(ends.devices.iter().map(|device| Key::from(*device)));
    let mut maps: [(Name, KeyType, BTreeMap<Key, Entry>); 4] = [
        (FROM4, KeyType::Ipv4Addr, BTreeMap::new()),
        (FROM6, KeyType::Ipv6Addr, BTreeMap::new()),
        (TO4, KeyType::Ipv4Addr, BTreeMap::new()),
        (TO6, KeyType::Ipv6Addr, BTreeMap::new()),
    ];
    for ((device, address), (id, _)) in &ends.at {
        let [from, to] = owns.of(id).expect("every end has classes");
        let key = Key::new([Datum::from(*device), Datum::from(*address)]);
        let six = usize::from(address.is_ipv6());
        maps[six]
            .2
            .insert(key.clone(), number(numbers[&from]).into());
        maps[2 + six].2.insert(key, number(numbers[&to]).into());
    }
    let mut sets = vec![devices];
    for (name, direction) in [
        (SENDERS, Direction::Egress),
        (RECEIVERS, Direction::Ingress),
    ] {
        let of_direction = classes.iter();
        let of_direction = of_direction.filter(|(_, bench)| bench.class.direction == direction);
        let chains = of_direction.map(|(class, _)| {
            let chain = Verdict::Jump(named("class", *class));
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
    if !ends.prefixed.is_empty() {
        sets.extend(prefix_sets(ends, owns, &numbers));
    }
    sets
}

/// Prefixes that are an endpoint's of the node's as a whole: the number of each, and the class of whoever has it on
/// its device. A prefix and a device in one key would be a concatenation of intervals, which must not churn.
fn prefix_sets(ends: &Ends<'_>, owns: &Owns, classes: &BTreeMap<Digest, u32>) -> [Set; 3] {
    let of = |own: &OwnPrefix| Digest::of(own);
    let prefixes = numbers(ends.prefixed.keys().map(of));
    let mut ranges: BTreeMap<IpAddr, (IpAddr, Data)> = BTreeMap::new();
    let mut maps: [BTreeMap<Key, Entry>; 2] = [BTreeMap::new(), BTreeMap::new()];
    for (own, (device, id)) in &ends.prefixed {
        let prefix = prefixes[&of(own)];
        ranges.insert(own.first(), (own.last(), number(prefix)));
        let both = owns.of(id).expect("every end has classes");
        let key = Key::new([Datum::ClassId(prefix), Datum::from(*device)]);
        for (map, class) in maps.iter_mut().zip(both) {
            map.insert(key.clone(), number(classes[&class]).into());
        }
    }
    let [from, to] = maps;
    let map = |name, elements| Set {
        elements: Elements::Map(elements),
        ..numbered(name, [KeyType::ClassId, KeyType::IfName])
    };
    [
        ranged(PREFIXES6, KeyType::Ipv6Addr, ranges),
        map(FROM_PREFIX, from),
        map(TO_PREFIX, to),
    ]
}

/// Addresses with the numbers of who they are.
pub(super) fn peers(known: impl Iterator<Item = (IpAddr, u32)>) -> [Set; 2] {
    let mut exact = [BTreeMap::new(), BTreeMap::new()];
    for (address, identity) in known {
        let entry: Entry = number(identity).into();
        exact[usize::from(address.is_ipv6())].insert(Key::from(address), entry);
    }
    let [v4, v6] = exact;
    let map = |name, key, elements| Set {
        elements: Elements::Map(elements),
        ..numbered(name, [key])
    };
    [
        map(PEERS4, KeyType::Ipv4Addr, v4),
        map(PEERS6, KeyType::Ipv6Addr, v6),
    ]
}

/// Ranges of addresses with the numbers of who everybody else in them is.
pub(super) fn around(known: impl Iterator<Item = (IpAddr, (IpAddr, u32))>) -> [Set; 2] {
    let mut ranges: [BTreeMap<IpAddr, (IpAddr, Data)>; 2] = [BTreeMap::new(), BTreeMap::new()];
    for (first, (last, identity)) in known {
        ranges[usize::from(first.is_ipv6())].insert(first, (last, number(identity)));
    }
    let [v4, v6] = ranges;
    [
        ranged(AROUND4, KeyType::Ipv4Addr, v4),
        ranged(AROUND6, KeyType::Ipv6Addr, v6),
    ]
}

/// Ranges in prefixes that are an endpoint's as a whole, with the numbers of who that is there.
pub(super) fn delegated(known: impl Iterator<Item = (IpAddr, (IpAddr, u32))>) -> Set {
    let ranges = known.map(|(first, (last, identity))| (first, (last, number(identity))));
    ranged(DELEGATED6, KeyType::Ipv6Addr, ranges.collect())
}

fn ranged(name: Name, key: KeyType, ranges: BTreeMap<IpAddr, (IpAddr, Data)>) -> Set {
    Set {
        elements: Elements::Ranges(ranges),
        ..Set::live_ranges(name, key, DataType::Value(vec![KeyType::ClassId]))
    }
}

/// What a class says: the number of a ruling for each identity, and the chain of each of these. There are fewer
/// rulings than identities, and a chain behind an element is looked after by the kernel at every change.
pub(super) fn of_class(
    class: Digest,
    identities: impl Iterator<Item = (u32, Digest)>,
    rulings: &BTreeMap<Digest, u32>,
) -> [Set; 2] {
    let of_identities = identities.map(|(identity, ruling)| {
        let key = Datum::ClassId(identity);
        (Key::from(key), number(rulings[&ruling]).into())
    });
    let of_rulings = rulings.iter().map(|(ruling, number)| {
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
