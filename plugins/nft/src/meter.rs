//! Elements that packets make: a limit or a counter for each key, as the kernel's `dynset` expression
//! (`net/netfilter/nft_dynset.c`).

use std::fmt::{self, Display, Formatter};

use crate::expression::{REGISTER, expression};
use crate::name::Name;
use crate::rule::Statement;
use crate::wire::Attributes;

/// `enum nft_dynset_ops` (`linux/netfilter/nf_tables.h`): make the element, or begin its time anew.
const NFT_DYNSET_OP_UPDATE: u32 = 1;
/// `enum nft_limit_flags`.
const NFT_LIMIT_F_INV: u32 = 1 << 0;

/// A token bucket of packets, one for each key.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Rate {
    /// Packets for which tokens come in a second; the kernel refuses 0.
    pub per_second: u32,
    /// Packets in excess of the rate that pass at once.
    pub burst: u32,
}

/// For which packets a rule with a meter goes on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Exceeds {
    /// Those beyond the rate.
    Over,
    /// Those within it.
    Within,
}

/// What an element that packets make carries.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Carried {
    Limit(Rate, Exceeds),
    Counter,
}

impl Carried {
    /// The set of whose elements the statement makes one, and what it makes it with.
    pub(crate) const fn of(statement: &Statement) -> Option<(&Name, Self)> {
        match statement {
            Statement::Meter {
                set, rate, when, ..
            } => Some((set, Self::Limit(*rate, *when))),
            Statement::Tally { set, .. } => Some((set, Self::Counter)),
            _ => None,
        }
    }

    /// The update of the element whose key is in the registers.
    pub(crate) fn encode(self, out: &mut Attributes<'_>, set: &Name) {
        expression(out, "dynset", |data| {
            data.string(1, set.as_str());
            data.u32(3, NFT_DYNSET_OP_UPDATE);
            data.u32(4, REGISTER);
            data.nest(7, |carried| self.encode_expression(carried));
        });
    }

    /// What an element carries.
    pub(crate) fn encode_expression(self, carried: &mut Attributes<'_>) {
        match self {
            Self::Limit(rate, when) => {
                carried.string(1, "limit");
                carried.nest(2, |limit| encode_limit(limit, rate, when));
            }
            Self::Counter => {
                carried.string(1, "counter");
                carried.nest(2, |_| {});
            }
        }
    }
}

pub(crate) fn encode_limit(limit: &mut Attributes<'_>, rate: Rate, when: Exceeds) {
    limit.bytes(1, &u64::from(rate.per_second).to_be_bytes());
    // Seconds.
    limit.bytes(2, &1_u64.to_be_bytes());
    limit.u32(3, rate.burst);
    limit.u32(4, 0);
    limit.u32(
        5,
        match when {
            Exceeds::Over => NFT_LIMIT_F_INV,
            Exceeds::Within => 0,
        },
    );
}

impl Display for Carried {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limit(rate, when) => {
                let over = match when {
                    Exceeds::Over => "over ",
                    Exceeds::Within => "",
                };
                let Rate { per_second, burst } = rate;
                write!(
                    f,
                    "limit rate {over}{per_second}/second burst {burst} packets"
                )
            }
            Self::Counter => f.write_str("counter"),
        }
    }
}
