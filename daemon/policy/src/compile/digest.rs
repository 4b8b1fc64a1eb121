//! Names and numbers that follow from what something is.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::ops::Bound::{Excluded, Unbounded};

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

    /// The number that it has if nobody else wants it.
    fn head_number(self) -> u32 {
        let head = u32::try_from(self.0 >> 32).expect("32 bits are left");
        head.clamp(1, HIGHEST)
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
        let mut number = digest.head_number();
        while !taken.insert(number) {
            number = if number == HIGHEST { 1 } else { number + 1 };
        }
        numbers.insert(digest, number);
    }
    numbers
}

/// The [`numbers`] of digests that come and go.
#[derive(Clone, Debug, Default)]
pub(super) struct Numbers(BTreeMap<Digest, u32>);

impl Numbers {
    pub(super) fn of(digests: impl IntoIterator<Item = Digest>) -> Self {
        Self(numbers(digests))
    }

    /// The number of a digest, if that is there.
    pub(super) fn get(&self, digest: Digest) -> Option<u32> {
        self.0.get(&digest).copied()
    }

    /// One more, whose number this is; `None` if somebody else has to get another one.
    pub(super) fn add(&mut self, digest: Digest) -> Option<u32> {
        let number = self.first_free(digest)?;
        let next = self.0.range((Excluded(digest), Unbounded)).next();
        if let Some((_, taken)) = next
            && *taken <= number
        {
            return None;
        }
        self.0.insert(digest, number);
        Some(number)
    }

    /// One less; `None` if somebody else has to get another number.
    pub(super) fn remove(&mut self, digest: Digest) -> Option<()> {
        self.0.remove(&digest)?;
        let next = self.0.range((Excluded(digest), Unbounded)).next();
        match next.map(|(next, number)| (*next, *number)) {
            Some((next, number)) => (self.first_free(next)? == number).then_some(()),
            None => Some(()),
        }
    }

    /// What follows from those below; `None` where the highest numbers are so crowded that others begin anew.
    fn first_free(&self, digest: Digest) -> Option<u32> {
        let is_crowded = |(highest, number): (&Digest, &u32)| *number < highest.head_number();
        if self.0.last_key_value().is_some_and(is_crowded) {
            return None;
        }
        let below = self.0.range(..digest).next_back();
        let free = below.map_or(1, |(_, number)| number + 1);
        let number = digest.head_number().max(free);
        (number <= HIGHEST).then_some(number)
    }
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

    #[test]
    fn numbers_stay_what_they_are_as_digests_come_and_go_or_it_is_said_that_they_do_not() {
        let crowded = [
            Digest(5 << 32),
            Digest(5 << 32 | 7),
            Digest(6 << 32),
            Digest(9 << 32),
            Digest(u64::MAX),
        ];
        let (mut done, mut refused) = (0, 0);
        for there in 0_u32..1 << crowded.len() {
            let of = |mask: u32| {
                let all = crowded.into_iter().enumerate();
                let those = all.filter(move |(nth, _)| mask & 1 << nth != 0);
                those.map(|(_, digest)| digest)
            };
            for (nth, digest) in crowded.into_iter().enumerate() {
                let mut kept = Numbers::of(of(there));
                let changed = if there & 1 << nth == 0 {
                    kept.add(digest).map(drop)
                } else {
                    kept.remove(digest)
                };
                let fresh = numbers(of(there ^ 1 << nth));
                match changed {
                    Some(()) => {
                        assert_eq!(kept.0, fresh);
                        done += 1;
                    }
                    None => refused += 1,
                }
            }
        }
        assert!(done > 100 && refused > 10, "{done} done, {refused} refused");
    }
}
