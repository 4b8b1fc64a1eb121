//! From the elements that are there to those that should be.

use std::collections::BTreeSet;

use crate::datum::Key;
use crate::name::Name;
use crate::table::{Elements, TableId};
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
    let of = |left: &BTreeSet<Key>, right| {
        let keys: BTreeSet<Key> = left.difference(right).cloned().collect();
        (!keys.is_empty()).then_some(Elements::Keys(keys))
    };
    let gone = of(observed, desired).map(|elements| Command::DeleteElements {
        table: table.clone(),
        set: set.clone(),
        elements,
    });
    let new = of(desired, observed).map(|elements| Command::AddElements {
        table: table.clone(),
        set: set.clone(),
        elements,
    });
    gone.into_iter().chain(new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datum::Datum;
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
}
