//! From the elements that are there to those that should be.

use std::collections::BTreeSet;

use bulkhead_model::Prefix;

use crate::datum::Key;
use crate::found::FoundRanges;
use crate::name::Name;
use crate::prefixes::PrefixSet;
use crate::set::Elements;
use crate::table::TableId;
use crate::transaction::Command;

/// The commands that turn a set holding `observed` into one holding `desired`: first what goes, then
/// what comes; nothing if they are equal. For sets of exact keys.
#[must_use]
pub fn difference(
    table: &TableId,
    set: &Name,
    observed: &BTreeSet<Key>,
    desired: &BTreeSet<Key>,
) -> Vec<Command> {
    let of = |left: &BTreeSet<Key>, right| Elements::keys(left.difference(right).cloned());
    commands(table, set, of(observed, desired), of(desired, observed))
}

/// As [`difference`] for a set of prefixes: what goes goes first, so that what comes may overlap it.
#[must_use]
pub fn difference_of_prefixes(
    table: &TableId,
    set: &Name,
    observed: &BTreeSet<Prefix>,
    desired: &PrefixSet,
) -> Vec<Command> {
    let wanted: BTreeSet<Prefix> = desired.iter().collect();
    let of = |left: &BTreeSet<Prefix>, right| {
        let prefixes = left.difference(right).copied();
        Elements::Prefixes(PrefixSet::new(desired.family(), prefixes))
    };
    commands(table, set, of(observed, &wanted), of(&wanted, observed))
}

/// As [`difference_of_prefixes`] for a map of ranges.
#[must_use]
pub fn difference_of_ranges(
    table: &TableId,
    set: &Name,
    observed: &FoundRanges,
    desired: &FoundRanges,
) -> Vec<Command> {
    let of = |left: &FoundRanges, right: &FoundRanges| {
        let ranges = left.iter();
        let ranges = ranges.filter(|(first, rest)| right.get(*first) != Some(*rest));
        Elements::Ranges(ranges.map(|(first, rest)| (*first, rest.clone())).collect())
    };
    commands(table, set, of(observed, desired), of(desired, observed))
}

fn commands(table: &TableId, set: &Name, gone: Elements, new: Elements) -> Vec<Command> {
    let gone = (!gone.is_empty()).then(|| Command::DeleteElements {
        table: table.clone(),
        set: set.clone(),
        elements: gone,
    });
    let new = (!new.is_empty()).then(|| Command::AddElements {
        table: table.clone(),
        set: set.clone(),
        elements: new,
    });
    gone.into_iter().chain(new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datum::Datum;
    use crate::set::Data;
    use crate::table::TableFamily;
    use crate::transaction::Transaction;

    #[test]
    fn only_what_differs_changes() {
        let table = TableId {
            family: TableFamily::Netdev,
            name: Name::literal("bulkhead"),
        };
        let set = Name::literal("marks");
        let keys = |marks: &[u32]| marks.iter().map(|m| Key::from(Datum::Mark(*m))).collect();
        let between = |a: &[u32], b: &[u32]| {
            Transaction(difference(&table, &set, &keys(a), &keys(b))).to_string()
        };
        assert_eq!(
            between(&[1, 2], &[2, 3]),
            "delete element netdev bulkhead marks { 0x00000001 }\n\
             add element netdev bulkhead marks { 0x00000003 }\n"
        );
        assert_eq!(between(&[1], &[1]), "");
    }

    #[test]
    fn a_range_that_maps_to_another_value_goes_before_it_comes() {
        let table = TableId {
            family: TableFamily::Inet,
            name: Name::literal("bulkhead"),
        };
        let set = Name::literal("owners");
        let owned = |all: &[(&str, u32)]| -> FoundRanges {
            let range = |(prefix, owner): &(&str, u32)| {
                let prefix: Prefix = prefix.parse().unwrap();
                let owner = Data::Value(Datum::ClassId(*owner).into());
                (prefix.address(), (prefix.last(), owner))
            };
            all.iter().map(range).collect()
        };
        let (before, after) = (
            owned(&[("10.0.0.0/30", 1), ("10.0.0.4/30", 2)]),
            owned(&[("10.0.0.0/30", 1), ("10.0.0.4/30", 3)]),
        );
        let commands = difference_of_ranges(&table, &set, &before, &after);
        assert_eq!(
            Transaction(commands).to_string(),
            "delete element inet bulkhead owners { 10.0.0.4-10.0.0.7 : 0:2 }\n\
             add element inet bulkhead owners { 10.0.0.4-10.0.0.7 : 0:3 }\n"
        );
        assert_eq!(difference_of_ranges(&table, &set, &after, &after), []);
    }

    #[test]
    fn a_prefix_that_grows_goes_before_it_comes() {
        let table = TableId {
            family: TableFamily::Netdev,
            name: Name::literal("bulkhead"),
        };
        let set = Name::literal("pools");
        let prefixes = |all: &[&str]| all.iter().map(|one| one.parse().unwrap()).collect();
        let between = |a: &[&str], b: &[&str]| {
            let a: BTreeSet<Prefix> = prefixes(a);
            let b: BTreeSet<Prefix> = prefixes(b);
            let desired = PrefixSet::new(bulkhead_model::Family::V4, b);
            Transaction(difference_of_prefixes(&table, &set, &a, &desired)).to_string()
        };
        assert_eq!(
            between(
                &["10.0.0.0/25", "10.1.0.0/24"],
                &["10.0.0.0/24", "10.1.0.0/24"]
            ),
            "delete element netdev bulkhead pools { 10.0.0.0/25 }\n\
             add element netdev bulkhead pools { 10.0.0.0/24 }\n"
        );
        assert_eq!(between(&["10.0.0.0/25"], &["10.0.0.0/25"]), "");
    }
}
