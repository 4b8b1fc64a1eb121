//! Matches of iptables, by the bytes it gives the kernel. Those that are not here are not understood.

use super::{Field, Loaded, Polarity, Relation, Test};

/// `struct xt_conntrack_mtinfo3` (`linux/netfilter/xt_conntrack.h`), as far as it asks for the state
/// alone.
pub(super) fn conntrack(info: &[u8]) -> Test {
    const XT_CONNTRACK_STATE: u16 = 1;
    const MATCH_FLAGS: usize = 146;
    let word = |at: usize| {
        let bytes = info.get(at..at + 2)?;
        Some(u16::from_ne_bytes(bytes.try_into().ok()?))
    };
    match (
        word(MATCH_FLAGS),
        word(MATCH_FLAGS + 2),
        word(MATCH_FLAGS + 4),
    ) {
        (Some(XT_CONNTRACK_STATE), Some(inverted), Some(bits)) => Test::States {
            bits: bits.into(),
            polarity: if inverted & XT_CONNTRACK_STATE == 0 {
                Polarity::Is
            } else {
                Polarity::IsNot
            },
        },
        _ => Test::Unknown,
    }
}

/// `struct xt_state_info` (`linux/netfilter/xt_state.h`).
pub(super) fn state(info: &[u8]) -> Test {
    match info.get(..4).and_then(|bytes| bytes.try_into().ok()) {
        Some(bytes) => Test::States {
            bits: u32::from_ne_bytes(bytes),
            polarity: Polarity::Is,
        },
        None => Test::Unknown,
    }
}

/// `struct xt_mark_mtinfo1` (`linux/netfilter/xt_mark.h`).
pub(super) fn mark(info: &[u8]) -> Test {
    let [wanted, mask] = [0, 4].map(|at| info.get(at..at + 4).map(<[u8]>::to_vec));
    let (Some(value), Some(bits), Some(inverted)) = (wanted, mask, info.get(8)) else {
        return Test::Unknown;
    };
    Test::Compare {
        what: Loaded {
            field: Field::Mark,
            mask: Some((bits, vec![0; 4])),
        },
        relation: if *inverted == 0 {
            Relation::Equal
        } else {
            Relation::NotEqual
        },
        value,
    }
}
