//! Blocks as buddies: 2^bits ordinals, aligned to their size. Two of them are equal, one inside the
//! other, or apart; they never overlap in part.

use std::fmt;

/// 2^bits ordinals of a pool from `first` on, which is a multiple of 2^bits.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Block {
    first: u64,
    bits: u8,
}

impl Block {
    /// Bits of the largest block, which is the largest pool.
    pub const MOST_BITS: u8 = 40;

    /// `None` if it is not aligned, too large, or ends beyond the largest pool.
    #[must_use]
    pub fn new(first: u64, bits: u8) -> Option<Self> {
        let fits = bits <= Self::MOST_BITS
            && first < 1 << Self::MOST_BITS
            && first.is_multiple_of(1 << bits);
        fits.then_some(Self { first, bits })
    }

    /// The block of 2^bits ordinals that `ordinal` lies in.
    #[must_use]
    pub fn around(ordinal: u64, bits: u8) -> Option<Self> {
        (bits <= Self::MOST_BITS)
            .then(|| Self::new(ordinal >> bits << bits, bits))
            .flatten()
    }

    /// One ordinal.
    #[must_use]
    pub fn one(ordinal: u64) -> Option<Self> {
        Self::new(ordinal, 0)
    }

    /// The first ordinal.
    #[must_use]
    pub const fn first(self) -> u64 {
        self.first
    }

    /// The logarithm of the size.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.bits
    }

    /// Number of ordinals.
    #[must_use]
    pub const fn size(self) -> u64 {
        1 << self.bits
    }

    /// The first ordinal behind it.
    #[must_use]
    pub const fn end(self) -> u64 {
        self.first + self.size()
    }

    /// Its ordinals.
    #[must_use]
    pub const fn ordinals(self) -> std::ops::Range<u64> {
        self.first..self.end()
    }

    /// Whether `ordinal` lies inside.
    #[must_use]
    pub const fn contains(self, ordinal: u64) -> bool {
        self.first <= ordinal && ordinal < self.end()
    }

    /// Whether all of `other` lies inside.
    #[must_use]
    pub const fn covers(self, other: Self) -> bool {
        self.first <= other.first && other.end() <= self.end()
    }

    /// Whether the two share an ordinal.
    #[must_use]
    pub const fn overlaps(self, other: Self) -> bool {
        self.first < other.end() && other.first < self.end()
    }

    /// The two halves; `None` of one ordinal.
    #[must_use]
    pub fn halves(self) -> Option<[Self; 2]> {
        let bits = self.bits.checked_sub(1)?;
        let half = |first| Self { first, bits };
        Some([half(self.first), half(self.first + (1 << bits))])
    }

    /// The block twice the size that it is a half of.
    #[must_use]
    pub fn parent(self) -> Option<Self> {
        Self::around(self.first, self.bits + 1)
    }

    /// The other half of its parent.
    #[must_use]
    pub fn buddy(self) -> Option<Self> {
        self.parent().map(|_| Self {
            first: self.first ^ self.size(),
            bits: self.bits,
        })
    }

    /// The fewest blocks that are this one without `inner`, in order; nothing if `inner` is all of
    /// it, the whole if `inner` lies elsewhere.
    #[must_use]
    pub fn without(self, inner: Self) -> Vec<Self> {
        if !self.overlaps(inner) {
            return vec![self];
        }
        let mut rest = Vec::new();
        let mut at = self;
        while at.bits > inner.bits {
            let [left, right] = at.halves().expect("it is larger than another block");
            let (within, beside) = if left.covers(inner) {
                (left, right)
            } else {
                (right, left)
            };
            rest.push(beside);
            at = within;
        }
        rest.sort_unstable();
        rest
    }

    /// The larger blocks that could cover it and begin at another ordinal, up to 2^most: one for each
    /// such first ordinal.
    pub fn ancestors(self, most: u8) -> impl Iterator<Item = Self> {
        let larger = (self.bits + 1)..=most.min(Self::MOST_BITS);
        let mut last = self.first;
        larger.filter_map(move |bits| {
            let block = Self::around(self.first, bits)?;
            let moved = block.first != last;
            last = block.first;
            moved.then_some(block)
        })
    }
}

impl fmt::Display for Block {
    /// Its ordinals: `64-127`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.end() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(first: u64, bits: u8) -> Block {
        Block::new(first, bits).unwrap()
    }

    #[test]
    fn a_block_is_aligned_to_its_size() {
        assert_eq!(Block::new(32, 6), None);
        assert_eq!(Block::new(0, 41), None);
        assert_eq!(Block::new(1 << 40, 6), None);
        assert_eq!(Block::around(100, 6), Block::new(64, 6));
        assert_eq!(Block::around(u64::MAX, 6), None);
        assert_eq!(Block::around(u64::MAX, 200), None);
        assert_eq!(block((1 << 40) - 1, 0).end(), 1 << 40);
    }

    #[test]
    fn what_is_left_of_a_block_and_what_is_taken_are_the_whole() {
        let whole = block(128, 6);
        for bits in 0..=6 {
            for first in (128..192).step_by(1 << bits) {
                let inner = block(first, bits);
                let mut parts = whole.without(inner);
                assert_eq!(parts.len(), usize::from(6 - bits));
                parts.push(inner);
                parts.sort_unstable();
                let ordinals: Vec<u64> = parts.iter().flat_map(|part| part.ordinals()).collect();
                assert_eq!(ordinals, (128..192).collect::<Vec<_>>());
            }
        }
        assert_eq!(whole.without(block(0, 6)), [whole]);
    }

    #[test]
    fn buddies_are_the_halves_of_their_parent() {
        let [left, right] = block(64, 6).halves().unwrap();
        assert_eq!(left.buddy(), Some(right));
        assert_eq!(right.buddy(), Some(left));
        assert_eq!(right.parent(), Some(block(64, 6)));
        assert_eq!(block(5, 0).halves(), None);
        assert_eq!(block(0, Block::MOST_BITS).buddy(), None);
    }

    #[test]
    fn every_block_that_covers_begins_at_its_first_or_at_an_ancestor() {
        for ordinal in [0, 1, 63, 100, 1000] {
            let one = block(ordinal, 0);
            let mut firsts: Vec<u64> = one.ancestors(10).map(Block::first).collect();
            firsts.push(one.first());
            for bits in 0..=10 {
                let cover = Block::around(ordinal, bits).unwrap();
                assert!(firsts.contains(&cover.first()), "{ordinal} {bits}");
            }
        }
    }
}
