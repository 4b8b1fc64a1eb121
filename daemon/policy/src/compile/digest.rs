//! Names and numbers that follow from what something is.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};

use sha2::{Digest as _, Sha256};

/// 64 bits of a digest: enough for names in one table.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct Digest(u64);

impl Digest {
    /// Of bytes.
    pub(super) fn of_bytes(bytes: &[u8]) -> Self {
        Self::head(&Sha256::digest(bytes))
    }

    fn head(digest: &[u8]) -> Self {
        let head = digest[..8].iter();
        Self(head.fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// Of a value, by all that is in it: none of ours leaves a part of itself out there. Another release of the
    /// compiler may come to another one, and then makes a table anew that means the same.
    pub(super) fn of(value: &impl Hash) -> Self {
        let mut feed = Feed(Sha256::new());
        value.hash(&mut feed);
        Self::head(&feed.0.finalize())
    }

    /// Of several, in their order.
    pub(super) fn of_all(digests: impl IntoIterator<Item = Self>) -> Self {
        let bytes: Vec<u8> = digests
            .into_iter()
            .flat_map(|digest| digest.0.to_be_bytes())
            .collect();
        Self::of_bytes(&bytes)
    }

    /// 16 hexadecimal digits.
    pub(super) fn hex(self) -> String {
        format!("{:016x}", self.0)
    }
}

/// Hands on what is hashed.
struct Feed(Sha256);

impl Hasher for Feed {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        // Nobody asks: a digest has more bits.
        0
    }
}

/// The number that a packet has which was let go: none of [`numbers`].
pub(super) const ALLOWED: u32 = u32::MAX - 1;
const HIGHEST: u32 = ALLOWED - 1;

/// A number for each digest, none of which is 0 or the highest of all, for which nft has words: its first 32
/// bits, or the next number that no lower digest has. It follows from the digests alone.
pub(super) fn numbers(digests: impl IntoIterator<Item = Digest>) -> BTreeMap<Digest, u32> {
    let sorted: BTreeSet<Digest> = digests.into_iter().collect();
    let mut taken = BTreeSet::new();
    let mut numbers = BTreeMap::new();
    for digest in sorted {
        let head = u32::try_from(digest.0 >> 32).expect("32 bits are left");
        let mut number = head.clamp(1, HIGHEST);
        while !taken.insert(number) {
            number = if number == HIGHEST { 1 } else { number + 1 };
        }
        numbers.insert(digest, number);
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_each_ones_own_and_follow_from_the_digests() {
        let digests = [
            Digest(5 << 32 | 7),
            Digest(5 << 32),
            Digest(0),
            Digest(u64::MAX),
        ];
        let found = numbers(digests);
        let number = |of| found[&of];
        assert_eq!(number(Digest(5 << 32)), 5);
        assert_eq!(number(Digest(5 << 32 | 7)), 6);
        assert_eq!(number(Digest(0)), 1);
        assert_eq!(number(Digest(u64::MAX)), HIGHEST);
        let turned = digests.into_iter().rev();
        assert_eq!(numbers(turned), found);
    }
}
