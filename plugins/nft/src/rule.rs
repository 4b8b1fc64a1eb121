//! Rules: what is compared and what follows.

use std::collections::{BTreeMap, BTreeSet};

use bulkhead_model::{Family, Prefix};

use crate::datum::{Datum, Key};
use crate::field::Field;
use crate::meter::{Exceeds, Rate};
use crate::name::{Label, Name};
use crate::prefixes::PrefixSet;

/// Statements in order; the first match that fails ends the rule. The kernel takes at most 128
/// expressions (`NFT_RULE_MAXEXPRS`); a statement is one to a handful.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rule {
    /// What is compared and done.
    pub statements: Vec<Statement>,
    /// What a listing shows behind the rule.
    pub comment: Option<Label>,
}

impl Rule {
    /// A rule without a comment.
    pub fn new(statements: impl IntoIterator<Item = Statement>) -> Self {
        Self {
            statements: statements.into_iter().collect(),
            comment: None,
        }
    }

    /// The same rule with a comment.
    #[must_use]
    pub fn commented(self, comment: Label) -> Self {
        Self {
            comment: Some(comment),
            ..self
        }
    }
}

/// One step of a rule.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Statement {
    /// Goes on only if the comparison holds.
    Match(Match),
    /// Counts packets and bytes.
    Counter,
    /// Has connection tracking pass the packet over. Only before it: priority below -200.
    Untracked,
    /// Writes to the kernel log or, with a group, to a listener.
    Log(Log),
    /// Lowers the largest segment that a TCP option announces (RFC 9293 section 3.7.1) to what the
    /// packet's way carries, and the way back (`get_tcpmss`, `net/netfilter/nft_rt.c`); never raises it.
    /// Where packets are forwarded or sent, of TCP, and not of a later fragment.
    ClampMss,
    /// Sets the packet's mark.
    SetMark(u32),
    /// Sets bits of the packet's mark and leaves the others.
    SetMarkBits(u32),
    /// Clears bits of the packet's mark and leaves the others.
    ClearMarkBits(u32),
    /// Sets the packet's priority; 0 is that of most packets.
    SetPriority(u32),
    /// Sets the packet's priority to what `fields` map to; goes on if something is found.
    PriorityOf {
        /// The concatenation looked up.
        fields: Vec<Field>,
        /// A map of the same table to priorities.
        map: Name,
    },
    /// Goes on for packets within the rate, all that the rule sees together.
    Limit(Rate),
    /// Ends the rule with a verdict.
    Verdict(Verdict),
    /// Looks `fields` up in a named verdict map; goes on if nothing is found.
    VerdictMap {
        /// The concatenation looked up.
        fields: Vec<Field>,
        /// A set of the same table with verdicts as data.
        map: Name,
    },
    /// Looks `fields` up in entries written in the rule; goes on if nothing is found.
    Vmap {
        /// The concatenation looked up.
        fields: Vec<Field>,
        /// Key to verdict.
        entries: BTreeMap<Key, Verdict>,
    },
    /// Source NAT to the address of the interface the packet leaves by; ends the rule.
    Masquerade(SourcePorts),
    /// Destination NAT to the address and port that `fields` map to; goes on if nothing is found or
    /// the packet is of the other family, else ends the rule.
    Dnat {
        /// The family of the packets and of the map's addresses.
        family: Family,
        /// The concatenation looked up.
        fields: Vec<Field>,
        /// A map of the same table to address and port.
        map: Name,
    },
    /// Sends the frame out of the device that `fields` map to, past every later chain, or drops it if
    /// the device is gone; goes on if nothing is found. The rule's last word: nft refuses any after
    /// it. Only in tables of family netdev.
    Forward {
        /// The concatenation looked up.
        fields: Vec<Field>,
        /// A map of the same table to devices.
        map: Name,
    },
    /// Spends of the rate of the element that `fields` name, which is made if it is not there, and goes
    /// on if the packet is in or beyond it. Does not go on if the packet lacks a field, or if the
    /// element is to be made and the set is full.
    Meter {
        /// The concatenation looked up.
        fields: Vec<Field>,
        /// A [`Set::meter`](crate::Set::meter) of the same table.
        set: Name,
        /// What each element may spend.
        rate: Rate,
        /// When to go on. Both are kept in the element, by the rule that makes it: a set is for rules
        /// that agree on them, and not for a tally too.
        when: Exceeds,
    },
    /// Counts packets and bytes in the element that `fields` name, which is made if it is not there,
    /// and goes on. Does not go on where [`Statement::Meter`] never does.
    Tally {
        /// The concatenation looked up.
        fields: Vec<Field>,
        /// A [`Set::meter`](crate::Set::meter) of the same table.
        set: Name,
    },
}

impl Statement {
    /// `field value`.
    pub fn is(field: Field, value: impl Into<Datum>) -> Self {
        Self::Match(Match::new([field], Op::Eq, Operand::Value(value.into())))
    }

    /// `field != value`.
    pub fn is_not(field: Field, value: impl Into<Datum>) -> Self {
        Self::Match(Match::new([field], Op::Ne, Operand::Value(value.into())))
    }

    /// `fields @set`.
    pub fn in_set(fields: impl IntoIterator<Item = Field>, set: Name) -> Self {
        Self::Match(Match::new(fields, Op::Eq, Operand::Set(set)))
    }

    /// `field prefix`.
    #[must_use]
    pub fn in_prefix(field: Field, prefix: Prefix) -> Self {
        Self::Match(Match::new([field], Op::Eq, Operand::Prefix(prefix)))
    }

    /// `field != { prefixes }`; outside of nothing is every value, said as `field 0.0.0.0/0`.
    #[must_use]
    pub fn outside(field: Field, prefixes: PrefixSet) -> Self {
        if prefixes.is_empty() {
            Self::in_prefix(field, prefixes.everything())
        } else {
            Self::Match(Match::new([field], Op::Ne, Operand::Prefixes(prefixes)))
        }
    }

    /// `field & mask == value`, or `!=`. A value with bits outside of the mask equals nothing.
    pub fn masked(field: Field, mask: impl Into<Datum>, op: Op, value: impl Into<Datum>) -> Self {
        let (mask, value) = (mask.into(), value.into());
        Self::Match(Match::new([field], op, Operand::Masked { mask, value }))
    }

    /// `field first-last`, both included.
    pub fn within(field: Field, first: impl Into<Datum>, last: impl Into<Datum>) -> Self {
        let (first, last) = (first.into(), last.into());
        Self::Match(Match::new([field], Op::Eq, Operand::Range { first, last }))
    }

    /// `meta priority set fields map @map`.
    pub fn priority_of(fields: impl IntoIterator<Item = Field>, map: Name) -> Self {
        Self::PriorityOf {
            fields: fields.into_iter().collect(),
            map,
        }
    }

    /// `field bit`: at least one of the bits of a [`Field::CtStatus`], [`Field::CtState`] or
    /// [`Field::Mark`] is set.
    #[must_use]
    pub fn has_any(field: Field, bits: Datum) -> Self {
        Self::Match(Match::new([field], Op::Eq, Operand::AnyBit(bits)))
    }

    /// `accept`.
    #[must_use]
    pub const fn accept() -> Self {
        Self::Verdict(Verdict::Accept)
    }

    /// `drop`.
    #[must_use]
    pub const fn drop() -> Self {
        Self::Verdict(Verdict::Drop)
    }

    /// `goto chain`.
    #[must_use]
    pub const fn goto(chain: Name) -> Self {
        Self::Verdict(Verdict::Goto(chain))
    }

    /// `jump chain`.
    #[must_use]
    pub const fn jump(chain: Name) -> Self {
        Self::Verdict(Verdict::Jump(chain))
    }
}

/// A comparison. A field the packet does not have fails both `Eq` and `Ne`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Match {
    /// One field, or a concatenation.
    pub fields: Vec<Field>,
    /// Whether it must hold or must not.
    pub op: Op,
    /// What the fields are compared with.
    pub with: Operand,
}

impl Match {
    /// The comparison of `fields` with `with`.
    pub fn new(fields: impl IntoIterator<Item = Field>, op: Op, with: Operand) -> Self {
        Self {
            fields: fields.into_iter().collect(),
            op,
            with,
        }
    }
}

/// The sense of a comparison.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Op {
    /// Equal, or inside.
    Eq,
    /// Not equal, or outside.
    Ne,
}

/// The right side of a comparison. Single values and prefixes are for single fields.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Operand {
    /// One value.
    Value(Datum),
    /// Bits of a [`Field::CtStatus`], [`Field::CtState`] or [`Field::Mark`] of which at least one is set.
    AnyBit(Datum),
    /// What is left of the field under the mask; both as long as the field.
    Masked {
        /// The bits compared.
        mask: Datum,
        /// What they should be.
        value: Datum,
    },
    /// The values from the first to the last, both of the field's type, which is one in network order.
    Range {
        /// The first.
        first: Datum,
        /// The last.
        last: Datum,
    },
    /// One prefix.
    Prefix(Prefix),
    /// The beginning of an interface name (`"bhp*"`); a name cannot hold the star itself.
    NamePrefix(bulkhead_model::IfName),
    /// A named set of the same table.
    Set(Name),
    /// Keys written in the rule; not empty, which nft cannot say.
    Keys(BTreeSet<Key>),
    /// Prefixes written in the rule; not empty, which nft cannot say.
    Prefixes(PrefixSet),
}

/// What becomes of a packet.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Verdict {
    /// Passes this hook's chain; a later base chain may still drop it.
    Accept,
    /// Gone.
    Drop,
    /// Continues in the chain and comes back.
    Jump(Name),
    /// Continues in the chain and does not come back.
    Goto(Name),
    /// Back to the caller; in a base chain, its policy.
    Return,
}

/// A log entry.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Log {
    /// Printed before the packet.
    pub prefix: Option<Label>,
    /// The `nfnetlink_log` group that gets it; `None` is the kernel log.
    pub group: Option<u16>,
    /// Bytes of the packet that the group gets; `None` is what the group's listener asked for. Of no
    /// effect without a group.
    pub snaplen: Option<u32>,
}

/// How masquerade picks source ports (`NF_NAT_RANGE_PROTO_RANDOM*`, `linux/netfilter/nf_nat.h`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SourcePorts {
    /// The original one if it is free.
    Keep,
    /// A random offset.
    Random,
    /// A random port.
    FullyRandom,
}
