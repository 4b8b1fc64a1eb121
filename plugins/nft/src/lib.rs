//! nftables as values: tables, their text, their netlink encoding, their difference. Pure.

mod datum;
mod field;
mod name;
mod prefixes;
mod rule;
mod table;
mod text;
mod transaction;

pub use datum::{Datum, Key, KeyType};
pub use field::{Field, PayloadBase};
pub use name::{Label, Name, NameError};
pub use prefixes::PrefixSet;
pub use rule::{Log, Match, Op, Operand, Rule, SourcePorts, Statement, Verdict};
pub use table::{
    Base, Chain, ChainKind, Data, DataType, Devices, Elements, Hook, Part, Policy, Set, Table,
    TableFamily, TableId,
};
pub use transaction::{Command, Transaction};
