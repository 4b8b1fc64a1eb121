//! nftables as values: tables and transactions, their text as `nft -f` loads it, their nfnetlink
//! bytes, the questions and answers about what stands in the kernel, the difference between sets, and
//! an interpreter of what we emit.
//!
//! The planner builds [`Table`]s and [`Transaction`]s; `bulkhead-kernel` owns the socket. Nothing here
//! touches a file, a clock, a socket or a process.
//!
//! One field table ([`Field`]) drives the text, the encoding and the interpreter, so that they cannot
//! disagree about a field.

mod change;
mod datum;
mod difference;
mod elements;
mod encode;
mod evaluate;
mod example;
mod expression;
mod field;
pub mod foreign;
mod found;
mod loadable;
mod meter;
mod name;
pub mod observe;
mod packet;
mod prefixes;
mod rule;
mod set;
pub mod standing;
mod table;
mod text;
mod transaction;
mod wire;

pub use change::{change, changed, follow};
pub use datum::{Datum, Key, KeyType};
pub use difference::{difference, difference_of_prefixes, difference_of_ranges};
pub use encode::Batch;
pub use evaluate::{Evaluation, Places, Step, Undefined, evaluate, evaluate_at, evaluate_over};
pub use field::{Field, PayloadBase};
pub use meter::{Exceeds, Rate};
pub use name::{Label, Name, NameError};
pub use observe::{Count, FoundEntry, FoundRanges};
pub use packet::Packet;
pub use prefixes::PrefixSet;
pub use rule::{Log, Match, Op, Operand, Rule, SourcePorts, Statement, Verdict};
pub use set::{Data, DataType, Elements, Entry, Set};
pub use standing::Standing;
pub use table::{Base, Chain, ChainKind, Devices, Hook, Part, Policy, Table, TableFamily, TableId};
pub use transaction::{Command, Transaction};
pub use wire::{Errno, Received, Reply, received};
