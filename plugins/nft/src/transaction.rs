//! What changes together: commands, their text, and the batch that carries them.

use std::collections::BTreeSet;
use std::fmt;

use bulkhead_model::IfName;

use crate::name::Name;
use crate::set::{Elements, Set};
use crate::table::{Chain, Table, TableId};

/// Commands the kernel commits together or not at all. Displays as the nft script with that effect.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Transaction(pub Vec<Command>);

/// One change.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Command {
    /// Creates this table; one of its name already there refuses the transaction (`EEXIST`). Unlike
    /// a replacement it never shows half made.
    AddTable(Table),
    /// Puts exactly this table there, whatever stood before: add, delete, add whole. Repeatable.
    ReplaceTable(Table),
    /// Puts elements into a set; those already there are no error. For a map, a key there with other
    /// data is refused (`EEXIST`), and one with other words beside it keeps them. A prefix that
    /// overlaps another there is refused (`EEXIST`), also for a moment: what is to go goes first.
    AddElements {
        /// The set's table.
        table: TableId,
        /// The set.
        set: Name,
        /// What to add, of the set's own kind.
        elements: Elements,
    },
    /// Takes elements out of a set; one that is not there refuses the whole transaction (`ENOENT`).
    /// `AddElements` of the same elements before it in the same transaction makes it repeatable, as it
    /// must be for what packets made: that may be gone by then.
    DeleteElements {
        /// The set's table.
        table: TableId,
        /// The set.
        set: Name,
        /// What to take out; of a map, the keys.
        elements: Elements,
    },
    /// Creates a chain with its rules; one there already refuses the transaction (`EEXIST`).
    AddChain {
        /// The chain's table.
        table: TableId,
        /// The chain.
        chain: Chain,
    },
    /// Gives a chain these rules instead of those it has; refused if it is not there (`ENOENT`). A packet sees
    /// the ones or the others, never none. Their counters begin anew.
    SetRules {
        /// The chain's table.
        table: TableId,
        /// The chain as it is to be: all but its rules is what it is already.
        chain: Chain,
    },
    /// Removes a chain and its rules; refused while a rule jumps to it (`EBUSY`) or if it is not
    /// there (`ENOENT`).
    DeleteChain {
        /// The chain's table.
        table: TableId,
        /// The chain.
        chain: Name,
    },
    /// Creates a set with its elements; one there already refuses the transaction (`EEXIST`).
    AddSet {
        /// The set's table.
        table: TableId,
        /// The set. Verdicts in it go to chains that are there by then.
        set: Set,
    },
    /// Removes a set; refused while a rule looks into it (`EBUSY`) or if it is not there (`ENOENT`).
    DeleteSet {
        /// The set's table.
        table: TableId,
        /// The set.
        set: Name,
    },
    /// Removes a table with everything in it; refused if it is not there (`ENOENT`).
    DeleteTable(TableId),
}

impl Transaction {
    /// Whether it puts the table of that name there whole.
    #[must_use]
    pub fn loads(&self, id: &TableId) -> bool {
        self.0.iter().any(|command| {
            matches!(command, Command::AddTable(table) | Command::ReplaceTable(table) if table.id == *id)
        })
    }
}

impl Transaction {
    /// The devices that elements name: the kernel keeps their indexes.
    #[must_use]
    pub fn devices(&self) -> BTreeSet<IfName> {
        let mut all = BTreeSet::new();
        for command in &self.0 {
            match command {
                Command::AddTable(table) | Command::ReplaceTable(table) => {
                    let sets = table.sets.iter();
                    all.extend(sets.flat_map(|set| set.elements.devices()));
                }
                Command::AddElements { elements, .. }
                | Command::AddSet {
                    set: Set { elements, .. },
                    ..
                } => all.extend(elements.devices()),
                _ => {}
            }
        }
        all
    }
}

impl fmt::Display for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|command| command.fmt(f))
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddTable(table) => {
                // A comment that comes once the table is there is lost.
                write!(f, "create table {}", table.id)?;
                if let Some(comment) = &table.comment {
                    write!(f, " {{ comment \"{comment}\"; }}")?;
                }
                write!(f, "\n{table}")
            }
            Self::ReplaceTable(table) => {
                write!(f, "table {0}\ndelete table {0}\n{table}", table.id)
            }
            Self::AddElements {
                table,
                set,
                elements,
            } => write_elements(f, "add", table, set, elements),
            Self::DeleteElements {
                table,
                set,
                elements,
            } => write_elements(f, "delete", table, set, &elements.bare()),
            Self::AddChain { table, chain } => write_chain(f, table, chain),
            Self::SetRules { table, chain } => {
                writeln!(f, "flush chain {table} {}", chain.name)?;
                write_rules(f, table, chain)
            }
            Self::DeleteChain { table, chain } => writeln!(f, "delete chain {table} {chain}"),
            Self::AddSet { table, set } => write!(f, "table {table} {{\n{set}}}\n"),
            Self::DeleteSet { table, set } => writeln!(f, "delete set {table} {set}"),
            Self::DeleteTable(id) => writeln!(f, "delete table {id}"),
        }
    }
}

fn write_elements(
    f: &mut fmt::Formatter<'_>,
    verb: &str,
    table: &TableId,
    set: &Name,
    elements: &Elements,
) -> fmt::Result {
    if elements.is_empty() {
        return Ok(());
    }
    writeln!(f, "{verb} element {table} {set} {{ {elements} }}")
}

fn write_chain(f: &mut fmt::Formatter<'_>, table: &TableId, chain: &Chain) -> fmt::Result {
    let name = &chain.name;
    match &chain.base {
        Some(base) => writeln!(f, "create chain {table} {name} {{ {base} }}")?,
        None => writeln!(f, "create chain {table} {name}")?,
    }
    write_rules(f, table, chain)
}

fn write_rules(f: &mut fmt::Formatter<'_>, table: &TableId, chain: &Chain) -> fmt::Result {
    let (name, mut rules) = (&chain.name, chain.rules.iter());
    rules.try_for_each(|rule| writeln!(f, "add rule {table} {name} {rule}"))
}
