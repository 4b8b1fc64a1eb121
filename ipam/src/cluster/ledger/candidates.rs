//! Which blocks a node tries to claim. Pure.

use crate::cluster::geometry::{Block, Geometry};

/// How many blocks of the pool's size a window has, as a logarithm: what one look reads of a pool.
const WINDOW_BITS: u8 = 8;

/// The windows that a pool is looked through by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Windows {
    bits: u8,
    count: u64,
}

impl Windows {
    /// No block of the pool, of whatever size it was once claimed, lies in two of them.
    pub(super) fn of(geometry: &Geometry, largest_bits: u8) -> Self {
        let bits = (geometry.block_bits() + WINDOW_BITS)
            .max(largest_bits)
            .min(geometry.size_bits());
        Self {
            bits,
            count: 1 << (geometry.size_bits() - bits),
        }
    }

    pub(super) const fn count(self) -> u64 {
        self.count
    }

    /// The nth window, counted around.
    pub(super) fn nth(self, nth: u64) -> Block {
        Block::new((nth % self.count) << self.bits, self.bits).expect("a window lies in its pool")
    }

    /// The window that a block lies in.
    pub(super) fn around(self, block: Block) -> Block {
        Block::around(block.first(), self.bits.max(block.bits())).expect("a block lies in its pool")
    }
}

/// The largest blocks of at most 2^`bits` ordinals that are nobody's, in order. `taken` are blocks in
/// order of which none overlaps another.
pub(super) fn unowned(window: Block, taken: &[Block], bits: u8) -> Vec<Block> {
    let mut free = Vec::new();
    let mut at = window.first();
    let inside = taken.iter().filter(|block| block.overlaps(window));
    for block in inside {
        fill(&mut free, at, block.first(), bits);
        at = at.max(block.end());
    }
    fill(&mut free, at, window.end(), bits);
    free
}

/// The fewest aligned blocks from `at` on that end at `end`.
fn fill(free: &mut Vec<Block>, mut at: u64, end: u64, bits: u8) {
    while at < end {
        let aligned = u8::try_from(at.trailing_zeros()).unwrap_or(Block::MOST_BITS);
        let mut size = aligned.min(bits);
        while at + (1 << size) > end {
            size -= 1;
        }
        free.push(Block::new(at, size).expect("it is aligned and lies in a window"));
        at += 1 << size;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::geometry::{Layout, Subnet};

    fn block(first: u64, bits: u8) -> Block {
        Block::new(first, bits).unwrap()
    }

    #[test]
    fn what_is_unowned_and_what_is_taken_are_the_window() {
        let window = block(0, 8);
        for taken in [
            vec![],
            vec![block(0, 6)],
            vec![block(64, 6), block(128, 0), block(129, 0), block(192, 5)],
            vec![block(5, 0), block(255, 0)],
            vec![window],
        ] {
            let free = unowned(window, &taken, 6);
            let mut all: Vec<Block> = free.iter().chain(&taken).copied().collect();
            all.sort_unstable();
            let ordinals: Vec<u64> = all.iter().flat_map(|block| block.ordinals()).collect();
            assert_eq!(ordinals, (0..256).collect::<Vec<_>>());
            assert!(free.iter().all(|block| block.bits() <= 6));
        }
        assert_eq!(unowned(window, &[], 6).len(), 4);
        assert_eq!(unowned(block(64, 6), &[block(0, 8)], 6), []);
    }

    #[test]
    fn no_block_lies_in_two_windows() {
        let geometry = Geometry::new(Layout {
            v4: Some(Subnet::of("10.0.0.0/12".parse().unwrap())),
            block_bits: 6,
            ..Layout::default()
        })
        .unwrap();
        let windows = Windows::of(&geometry, 16);
        assert_eq!(windows.count(), 16);
        let large = block(3 << 16, 16);
        assert!(windows.around(large).covers(large));
        assert_eq!(
            windows.around(block((3 << 16) + 64, 6)),
            windows.nth(3 + 16)
        );
        assert_eq!(Windows::of(&geometry, 6).count(), 64);
    }
}
