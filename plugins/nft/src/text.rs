//! The text of tables, as `nft -f` loads it. Each form means what the encoder sends: where nft adds a
//! dependency to a field, so does the encoder.

use std::fmt::{self, Display, Formatter, Write};
use std::net::IpAddr;
use std::time::Duration;

use bulkhead_model::Family;

use crate::datum::{Datum, Key};
use crate::example::example;
use crate::field::Field;
use crate::meter::{Carried, Exceeds, Rate};
use crate::name::Name;
use crate::rule::{Log, Match, Op, Operand, Rule, SourcePorts, Statement, Verdict};
use crate::set::{Data, DataType, Elements, Entry, METER_SIZE, Set};
use crate::table::{Base, Chain, Devices, Table};

/// `items` with `separator` between them.
pub(crate) fn joined<T: Display>(
    f: &mut Formatter<'_>,
    items: impl IntoIterator<Item = T>,
    separator: &str,
) -> fmt::Result {
    for (nth, item) in items.into_iter().enumerate() {
        if nth > 0 {
            f.write_str(separator)?;
        }
        write!(f, "{item}")?;
    }
    Ok(())
}

impl Display for Table {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "table {} {{", self.id)?;
        if let Some(comment) = &self.comment {
            writeln!(f, "\tcomment \"{comment}\"")?;
        }
        for set in &self.sets {
            set.fmt(f)?;
        }
        for chain in &self.chains {
            chain.fmt(f)?;
        }
        writeln!(f, "}}")
    }
}

impl Display for Set {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let word = if self.data.is_some() { "map" } else { "set" };
        write!(f, "\t{word} {} {{\n\t\t", self.name)?;
        if let (Some(fields), None) = (example(&self.key), &self.data) {
            f.write_str("typeof ")?;
            joined(f, fields, " . ")?;
        } else {
            f.write_str("type ")?;
            joined(f, &self.key, " . ")?;
        }
        match &self.data {
            Some(DataType::Value(kinds)) => {
                f.write_str(" : ")?;
                joined(f, kinds, " . ")?;
            }
            Some(DataType::Verdict) => f.write_str(" : verdict")?,
            Some(DataType::Device) => f.write_str(" : iface_index")?,
            None => {}
        }
        f.write_char('\n')?;
        if matches!(self.elements, Elements::Prefixes(_) | Elements::Ranges(_)) {
            writeln!(f, "\t\tflags interval")?;
        }
        if let Some(timeout) = self.timeout {
            writeln!(f, "\t\tsize {METER_SIZE}\n\t\tflags dynamic,timeout")?;
            write_timeout(f, timeout)?;
        }
        if !self.elements.is_empty() {
            writeln!(f, "\t\telements = {{ {} }}", self.elements)?;
        }
        writeln!(f, "\t}}")
    }
}

/// In words that nft reads; it knows no part of a second but milliseconds.
fn write_timeout(f: &mut Formatter<'_>, timeout: Duration) -> fmt::Result {
    match (timeout.as_secs(), timeout.subsec_millis()) {
        (secs, 0) => writeln!(f, "\t\ttimeout {secs}s"),
        (secs, millis) => writeln!(f, "\t\ttimeout {secs}s{millis}ms"),
    }
}

impl Display for Elements {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keys(keys) => joined(f, keys, ", "),
            Self::Map(map) => joined(f, map.iter().map(|(key, entry)| Mapped(key, entry)), ", "),
            Self::Limits(limits) => joined(f, limits.iter().map(Limited), ", "),
            Self::Ranges(ranges) => joined(f, ranges.iter().map(Ranged), ", "),
            Self::Prefixes(prefixes) => prefixes.fmt(f),
        }
    }
}

struct Limited<'a>((&'a Key, &'a Rate));

impl Display for Limited<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (key, rate) = self.0;
        write!(f, "{key} {}", Carried::Limit(*rate, Exceeds::Over))
    }
}

struct Ranged<'a>((&'a IpAddr, &'a (IpAddr, Data)));

impl Display for Ranged<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (first, (last, data)) = self.0;
        write!(f, "{first}-{last} : {data}")
    }
}

struct Mapped<K, V>(K, V);

impl<K: Display> Display for Mapped<K, &Entry> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        if let Some(comment) = &self.1.comment {
            write!(f, " comment \"{comment}\"")?;
        }
        write!(f, " : {}", self.1.data)
    }
}

impl<K: Display> Display for Mapped<K, &Verdict> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} : {}", self.0, self.1)
    }
}

impl Display for Data {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(value) => value.fmt(f),
            Self::Verdict(verdict) => verdict.fmt(f),
            Self::Device(name) => write!(f, "\"{name}\""),
        }
    }
}

impl Display for Chain {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "\tchain {} {{", self.name)?;
        if let Some(base) = &self.base {
            writeln!(f, "\t\t{base}")?;
        }
        for rule in &self.rules {
            writeln!(f, "\t\t{rule}")?;
        }
        writeln!(f, "\t}}")
    }
}

impl Display for Base {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "type {} hook {} ", self.kind.as_str(), self.hook)?;
        match &self.devices {
            Devices::None => {}
            Devices::Names(names) => {
                f.write_str("devices = { ")?;
                joined(f, names.iter().map(|name| format!("\"{name}\"")), ", ")?;
                f.write_str(" } ")?;
            }
            Devices::Prefix(prefix) => write!(f, "devices = {{ \"{prefix}*\" }} ")?,
        }
        write!(f, "priority {}; policy {};", self.priority, self.policy)
    }
}

impl Display for Rule {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        joined(f, &self.statements, " ")?;
        match &self.comment {
            Some(comment) => write!(f, " comment \"{comment}\""),
            None => Ok(()),
        }
    }
}

impl Display for Statement {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Match(comparison) => comparison.fmt(f),
            Self::Counter => f.write_str("counter"),
            Self::Untracked => f.write_str("notrack"),
            Self::ClampMss => f.write_str("tcp option maxseg size set rt mtu"),
            Self::Log(log) => log.fmt(f),
            Self::SetMark(mark) => write!(f, "meta mark set 0x{mark:08x}"),
            Self::SetMarkBits(bits) => write!(f, "meta mark set meta mark | 0x{bits:08x}"),
            Self::ClearMarkBits(bits) => write!(f, "meta mark set meta mark & 0x{:08x}", !bits),
            Self::SetPriority(priority) => {
                write!(f, "meta priority set {}", Datum::ClassId(*priority))
            }
            Self::PriorityOf { fields, map } => {
                f.write_str("meta priority set ")?;
                joined(f, fields, " . ")?;
                write!(f, " map @{map}")
            }
            Self::Limit(rate) => Carried::Limit(*rate, Exceeds::Within).fmt(f),
            Self::Verdict(verdict) => verdict.fmt(f),
            Self::VerdictMap { fields, map } => {
                joined(f, fields, " . ")?;
                write!(f, " vmap @{map}")
            }
            Self::Vmap { fields, entries } => {
                joined(f, fields, " . ")?;
                f.write_str(" vmap { ")?;
                joined(f, entries.iter().map(|(key, to)| Mapped(key, to)), ", ")?;
                f.write_str(" }")
            }
            Self::Masquerade(SourcePorts::Keep) => f.write_str("masquerade"),
            Self::Masquerade(SourcePorts::Random) => f.write_str("masquerade random"),
            Self::Masquerade(SourcePorts::FullyRandom) => f.write_str("masquerade fully-random"),
            Self::Dnat {
                family,
                fields,
                map,
            } => {
                f.write_str(match family {
                    Family::V4 => "dnat ip to ",
                    Family::V6 => "dnat ip6 to ",
                })?;
                joined(f, fields, " . ")?;
                write!(f, " map @{map}")
            }
            Self::Forward { fields, map } => {
                f.write_str("fwd to ")?;
                joined(f, fields, " . ")?;
                write!(f, " map @{map}")
            }
            Self::Meter {
                fields,
                set,
                rate,
                when,
            } => update(f, set, fields, Carried::Limit(*rate, *when)),
            Self::Tally { fields, set } => update(f, set, fields, Carried::Counter),
        }
    }
}

fn update(f: &mut Formatter<'_>, set: &Name, fields: &[Field], carried: Carried) -> fmt::Result {
    write!(f, "update @{set} {{ ")?;
    joined(f, fields, " . ")?;
    write!(f, " {carried} }}")
}

impl Display for Match {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        joined(f, &self.fields, " . ")?;
        if let Operand::AnyBit(bits @ Datum::Mark(_)) = &self.with {
            let sign = if self.op == Op::Eq { "!=" } else { "==" };
            return write!(f, " & {bits} {sign} 0x00000000");
        }
        if let Operand::Masked { mask, value } = &self.with {
            let sign = if self.op == Op::Eq { "==" } else { "!=" };
            return write!(f, " & {mask} {sign} {value}");
        }
        f.write_str(match (&self.with, self.op) {
            (Operand::AnyBit(_), Op::Ne) => " ! ",
            // Without a sign nft would take it for any of the bits.
            (Operand::Value(Datum::CtStatus(_)), Op::Eq) => " == ",
            (_, Op::Eq) => " ",
            (_, Op::Ne) => " != ",
        })?;
        match &self.with {
            // A mask stands before the sign.
            Operand::Masked { value, .. } | Operand::Value(value) | Operand::AnyBit(value) => {
                value.fmt(f)
            }
            Operand::Range { first, last } => write!(f, "{first}-{last}"),
            Operand::Prefix(prefix) => prefix.fmt(f),
            Operand::NamePrefix(prefix) => write!(f, "\"{prefix}*\""),
            Operand::Set(name) => write!(f, "@{name}"),
            Operand::Keys(keys) => {
                f.write_str("{ ")?;
                joined(f, keys, ", ")?;
                f.write_str(" }")
            }
            Operand::Prefixes(prefixes) => write!(f, "{{ {prefixes} }}"),
        }
    }
}

impl Display for Log {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("log")?;
        if let Some(prefix) = &self.prefix {
            write!(f, " prefix \"{prefix}\"")?;
        }
        if let Some(group) = self.group {
            write!(f, " group {group}")?;
        }
        match self.snaplen {
            Some(snaplen) => write!(f, " snaplen {snaplen}"),
            None => Ok(()),
        }
    }
}

impl Display for Verdict {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept => f.write_str("accept"),
            Self::Drop => f.write_str("drop"),
            Self::Jump(chain) => write!(f, "jump {chain}"),
            Self::Goto(chain) => write!(f, "goto {chain}"),
            Self::Return => f.write_str("return"),
        }
    }
}
