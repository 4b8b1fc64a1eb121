//! A map whose clones share what neither has changed since, so that a snapshot of a store of any size
//! costs one reference count, and a change after it a few small copies.

use std::array;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::entry::IdKey;
use crate::span::to_bits;

/// Entries of a leaf; one more splits it.
const LEAF_MAX: usize = 32;
/// Children of a branch: five bits of the hash choose one.
const FANOUT: usize = 32;
const BITS: u32 = FANOUT.trailing_zeros();

/// A key that is spread over the whole range of hashes.
pub(crate) trait Spread: Clone + Ord {
    fn spread(&self) -> u64;
}

/// The map.
#[derive(Clone, Debug)]
pub(crate) struct Trie<K, V> {
    root: Arc<Node<K, V>>,
}

#[derive(Clone, Debug)]
enum Node<K, V> {
    Leaf(BTreeMap<K, V>),
    Branch(Box<[Arc<Self>; FANOUT]>),
}

impl<K, V> Default for Trie<K, V> {
    fn default() -> Self {
        Self {
            root: Arc::new(Node::Leaf(BTreeMap::new())),
        }
    }
}

impl<K: Spread, V: Clone> Trie<K, V> {
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        let mut hash = key.spread();
        let mut node = &*self.root;
        loop {
            match node {
                Node::Leaf(leaf) => return leaf.get(key),
                Node::Branch(children) => node = &children[child(&mut hash)],
            }
        }
    }

    pub(crate) fn contains(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    /// Returns what was there.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        Arc::make_mut(&mut self.root).insert(key, value, 0)
    }

    /// Returns what was there.
    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        self.get(key)?;
        let mut hash = key.spread();
        let mut node = Arc::make_mut(&mut self.root);
        loop {
            match node {
                Node::Leaf(leaf) => return leaf.remove(key),
                Node::Branch(children) => node = Arc::make_mut(&mut children[child(&mut hash)]),
            }
        }
    }

    /// Every entry, in no order that means anything.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.leaves().flat_map(BTreeMap::iter)
    }

    /// The entries whose keys lie in `span`, in no order that means anything.
    pub(crate) fn range(&self, span: RangeInclusive<K>) -> impl Iterator<Item = (&K, &V)> {
        self.leaves().flat_map(move |leaf| leaf.range(span.clone()))
    }

    fn leaves(&self) -> impl Iterator<Item = &BTreeMap<K, V>> {
        let mut todo = vec![&*self.root];
        std::iter::from_fn(move || {
            loop {
                match todo.pop()? {
                    Node::Leaf(leaf) => return Some(leaf),
                    Node::Branch(children) => todo.extend(children.iter().map(|child| &**child)),
                }
            }
        })
    }
}

impl<K: Spread, V: Clone> Node<K, V> {
    fn insert(&mut self, key: K, value: V, depth: u32) -> Option<V> {
        match self {
            Self::Branch(children) => {
                let mut hash = key.spread().checked_shr(depth * BITS).unwrap_or(0);
                Arc::make_mut(&mut children[child(&mut hash)]).insert(key, value, depth + 1)
            }
            Self::Leaf(leaf) => {
                let before = leaf.insert(key, value);
                // Below the hash's last bits nothing tells keys apart: a leaf there may grow.
                if leaf.len() > LEAF_MAX && (depth + 1) * BITS <= u64::BITS {
                    *self = Self::split(std::mem::take(leaf), depth);
                }
                before
            }
        }
    }

    fn split(leaf: BTreeMap<K, V>, depth: u32) -> Self {
        let mut children: [BTreeMap<K, V>; FANOUT] = array::from_fn(|_| BTreeMap::new());
        for (key, value) in leaf {
            let mut hash = key.spread() >> (depth * BITS);
            children[child(&mut hash)].insert(key, value);
        }
        Self::Branch(Box::new(children.map(|child| Arc::new(Self::Leaf(child)))))
    }
}

/// The lowest bits of the hash, which are taken off it.
fn child(hash: &mut u64) -> usize {
    let mask = u64::try_from(FANOUT - 1).expect("it is five bits");
    let lowest = usize::try_from(*hash & mask).expect("it is five bits");
    *hash >>= BITS;
    lowest
}

impl Spread for IdKey {
    /// A digest's own bits: five of each character.
    fn spread(&self) -> u64 {
        let digits = self.as_str().bytes().take(12);
        digits.fold(0, |hash, digit| {
            let digit = match digit {
                b'a'..=b'z' => digit - b'a',
                _ => digit - b'2' + 26,
            };
            hash << BITS | u64::from(digit)
        })
    }
}

impl Spread for IpAddr {
    /// Addresses are given out in a row: the last bits differ, and an IPv6 pool's may be anywhere.
    fn spread(&self) -> u64 {
        let bits = to_bits(*self).to_be_bytes();
        let (high, low) = bits.split_at(8);
        let half = |bytes: &[u8]| u64::from_be_bytes(bytes.try_into().expect("it is eight bytes"));
        // Fibonacci hashing (Knuth 6.4); the upper half of a product is the well mixed one.
        let mixed = (half(low) ^ half(high).rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed.rotate_left(32)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    fn address(nth: u32) -> IpAddr {
        if nth.is_multiple_of(3) {
            Ipv6Addr::from_bits(0xfd00 << 112 | u128::from(nth)).into()
        } else {
            Ipv4Addr::from_bits(0x0a00_0000 + nth).into()
        }
    }

    #[test]
    fn a_clone_keeps_what_the_other_changes() {
        let mut trie = Trie::default();
        let mut model = BTreeMap::new();
        let mut kept = Vec::new();
        for nth in 0..5000_u32 {
            let key = address(nth.wrapping_mul(7919) % 1500);
            if nth % 4 == 3 {
                assert_eq!(trie.remove(&key), model.remove(&key));
            } else {
                assert_eq!(trie.insert(key, nth), model.insert(key, nth));
            }
            if nth % 500 == 0 {
                kept.push((trie.clone(), model.clone()));
            }
        }
        kept.push((trie, model));
        for (trie, model) in kept {
            let all: BTreeMap<IpAddr, u32> = trie.iter().map(|(k, v)| (*k, *v)).collect();
            assert_eq!(all, model);
            assert!(
                model
                    .iter()
                    .all(|(key, value)| trie.get(key) == Some(value))
            );
            let span = address(100)..=address(400);
            let inside: BTreeMap<_, _> = trie.range(span.clone()).collect();
            assert!(inside.into_iter().eq(model.range(span)));
        }
    }

    #[test]
    fn addresses_in_a_row_are_spread() {
        let mut trie = Trie::default();
        for nth in 0..100_000 {
            trie.insert(Ipv4Addr::from_bits(0x0a00_0000 + nth).into(), nth);
            let v6 = Ipv6Addr::from_bits(0xfd00 << 112 | u128::from(nth) << 64 | 1);
            trie.insert(IpAddr::from(v6), nth);
        }
        let deepest = trie.leaves().map(BTreeMap::len).max();
        assert!(deepest <= Some(LEAF_MAX));
        assert_eq!(trie.iter().count(), 200_000);
    }
}
