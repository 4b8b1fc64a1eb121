//! A pool as it is drawn: cells of one block's size in the order of the addresses, rows of nothing left
//! out, so that it is as large as what is claimed and not as the pool.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bulkhead_ipam::wire::admin::{ListedBlock, ListedPool, NodeName};
use bulkhead_model::Prefix;

use crate::block::size;
use crate::output::count;
use crate::pool::ls::free;
use crate::pool::show::{Share, shares};

/// Cells in a row: 80 columns on a terminal.
pub(super) const ROW: u64 = 16;
/// 64 addresses.
const USUAL_BITS: u8 = 6;
/// The largest pool (2 to the power of it), where only IPv6 counts.
const LARGEST_BITS: u8 = 40;

/// A pool as it is drawn.
#[derive(Debug)]
pub(super) struct Drawing<'a> {
    pub(super) pool: &'a ListedPool,
    /// By name; a cell names its place in it.
    pub(super) nodes: Vec<Share>,
    pub(super) lines: Vec<Line<'a>>,
}

/// From top to bottom.
#[derive(Debug)]
pub(super) enum Line<'a> {
    /// [`ROW`] cells, fewer in the last row of a small pool.
    Cells {
        /// The first address of the first.
        address: Option<IpAddr>,
        cells: Vec<Cell<'a>>,
    },
    /// Rows in which nothing is claimed, and how many cells they have.
    Left(u64),
}

/// Addresses of one block's size.
#[derive(Debug, Default)]
pub(super) struct Cell<'a> {
    /// The blocks in it, by address; empty if nobody has any of it.
    pub(super) parts: Vec<Part<'a>>,
}

/// A block, or as much of it as lies in a cell.
#[derive(Debug)]
pub(super) struct Part<'a> {
    pub(super) block: &'a ListedBlock,
    /// Its owner's place among the nodes.
    pub(super) node: usize,
    /// Where in the cell it begins, and how much of that it is: parts of 1.
    pub(super) from: f64,
    pub(super) share: f64,
}

impl<'a> Drawing<'a> {
    pub(super) fn of(pool: &'a ListedPool, blocks: &'a [ListedBlock]) -> Self {
        let of_pool = blocks.iter().filter(|block| block.pool == pool.spec.name);
        let mut blocks: Vec<_> = of_pool.collect();
        blocks.sort_by_key(|block| block.first);
        let owned: Vec<_> = blocks.iter().copied().cloned().collect();
        let nodes = shares(&owned);
        let cells = cells(pool, &blocks, &nodes);
        Self {
            lines: lines(pool, cells),
            pool,
            nodes,
        }
    }

    /// What is used of the pool, in a sentence.
    pub(super) fn summary(&self) -> String {
        let usage = &self.pool.usage;
        format!(
            "{} addresses: {} held, {} cooling, {} free; {} blocks with {} addresses on {} nodes",
            count(usage.size.into()),
            usage.held,
            usage.cooling,
            count(free(usage).into()),
            usage.blocks,
            count(usage.claimed.into()),
            self.nodes.len(),
        )
    }

    /// The pool's prefixes.
    pub(super) fn prefixes(&self) -> String {
        let prefixes = self.pool.spec.v4.iter().chain(&self.pool.spec.v6);
        let prefixes: Vec<_> = prefixes.map(ToString::to_string).collect();
        prefixes.join(" ")
    }

    /// What a node's blocks are marked with: one letter or digit while that tells all of them apart.
    pub(super) fn mark(&self, node: usize) -> String {
        const MARKS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        let mut mark = String::new();
        let (mut rest, mut room) = (node, self.nodes.len().max(1) - 1);
        loop {
            mark.insert(0, char::from(MARKS[rest % MARKS.len()]));
            (rest, room) = (rest / MARKS.len(), room / MARKS.len());
            if room == 0 {
                return mark;
            }
        }
    }
}

impl Part<'_> {
    /// How much of the block is leased, and how much cools down: parts of 1.
    pub(super) fn fill(&self) -> (f64, f64) {
        let of = |number: u64| ratio(number, size(self.block));
        (
            of(self.block.held),
            of(self.block.cooling.unwrap_or_default()),
        )
    }
}

/// Lossy, for drawing only.
#[allow(clippy::cast_precision_loss)]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

/// Cells of which something is claimed, by their number.
fn cells<'a>(
    pool: &ListedPool,
    blocks: &[&'a ListedBlock],
    nodes: &[Share],
) -> BTreeMap<u64, Cell<'a>> {
    let cell = cell_size(pool);
    let mut cells: BTreeMap<u64, Cell<'_>> = BTreeMap::new();
    for block in blocks {
        let node = place(nodes, &block.node);
        let end = block.first.saturating_add(size(block));
        // What claims more than there is was refused when it was claimed.
        for nth in block.first / cell..end.div_ceil(cell).min(number_of_cells(pool)) {
            let (from, until) = (block.first.max(nth * cell), end.min((nth + 1) * cell));
            cells.entry(nth).or_default().parts.push(Part {
                block,
                node,
                from: ratio(from - nth * cell, cell),
                share: ratio(until - from, cell),
            });
        }
    }
    cells
}

fn lines<'a>(pool: &ListedPool, mut cells: BTreeMap<u64, Cell<'a>>) -> Vec<Line<'a>> {
    let total = number_of_cells(pool);
    let rows = total.div_ceil(ROW);
    let mut lines = Vec::new();
    let mut next = 0;
    let mut claimed: Vec<_> = cells.keys().map(|nth| nth / ROW).collect();
    claimed.dedup();
    for row in claimed {
        if row > next {
            lines.push(Line::Left((row - next) * ROW));
        }
        let nths = row * ROW..((row + 1) * ROW).min(total);
        lines.push(Line::Cells {
            address: address(pool, row * ROW * cell_size(pool)),
            cells: nths
                .map(|nth| cells.remove(&nth).unwrap_or_default())
                .collect(),
        });
        next = row + 1;
    }
    if next < rows {
        lines.push(Line::Left(total - next * ROW));
    }
    lines
}

fn place(nodes: &[Share], node: &NodeName) -> usize {
    let found = nodes.iter().position(|share| share.node == *node);
    found.expect("the nodes are those of the blocks")
}

fn cell_size(pool: &ListedPool) -> u64 {
    let bits = pool.spec.block_bits.unwrap_or(USUAL_BITS);
    1 << bits.min(host_bits(pool))
}

fn number_of_cells(pool: &ListedPool) -> u64 {
    (1 << host_bits(pool)) / cell_size(pool)
}

/// The pool has 2 to the power of it ordinals: those of its smaller family.
fn host_bits(pool: &ListedPool) -> u8 {
    let prefixes = pool.spec.v4.iter().chain(&pool.spec.v6);
    let bits = prefixes.map(|prefix| prefix.family().bits() - prefix.len());
    bits.min().unwrap_or(0).min(LARGEST_BITS)
}

/// The address of an ordinal in the pool's first family.
fn address(pool: &ListedPool, ordinal: u64) -> Option<IpAddr> {
    let prefix: &Prefix = pool.spec.v4.iter().chain(&pool.spec.v6).next()?;
    Some(match prefix.address() {
        IpAddr::V4(v4) => IpAddr::V4((v4.to_bits() + u32::try_from(ordinal).ok()?).into()),
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() + u128::from(ordinal)).into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::map::sample;

    #[test]
    fn rows_of_nothing_are_left_out() {
        let mut pool = sample::pool();
        pool.spec.v4 = Some("10.0.0.0/8".parse().unwrap());
        pool.spec.v6 = None;
        let mut blocks = sample::blocks();
        blocks[3].first = 5 * ROW * 64;
        let drawing = Drawing::of(&pool, &blocks);
        let told: Vec<_> = drawing
            .lines
            .iter()
            .map(|line| match line {
                Line::Cells { address, cells } => {
                    let used = cells.iter().filter(|cell| !cell.parts.is_empty()).count();
                    format!("{}: {used} of {}", address.unwrap(), cells.len())
                }
                Line::Left(cells) => format!("{cells} left out"),
            })
            .collect();
        assert_eq!(
            told,
            [
                "10.0.0.0: 3 of 16",
                "64 left out",
                "10.0.20.0: 1 of 16",
                "262048 left out"
            ]
        );
    }

    #[test]
    fn a_block_of_another_size_is_in_every_cell_it_has_a_part_of() {
        let pool = sample::pool();
        let mut blocks = sample::blocks();
        blocks.truncate(2);
        blocks[0].bits = 7;
        blocks[1].first = 130;
        blocks[1].bits = 0;
        let drawing = Drawing::of(&pool, &blocks);
        let Line::Cells { cells, .. } = &drawing.lines[0] else {
            panic!("the first row has blocks");
        };
        let parts: Vec<Vec<_>> = cells[..4]
            .iter()
            .map(|cell| {
                cell.parts
                    .iter()
                    .map(|part| (part.from, part.share))
                    .collect()
            })
            .collect();
        let whole = vec![(0.0, 1.0)];
        let one = vec![(2.0 / 64.0, 1.0 / 64.0)];
        assert_eq!(parts, [whole.clone(), whole, one, vec![]]);
    }

    #[test]
    fn marks_tell_nodes_apart() {
        let pool = sample::pool();
        let of = |number: usize| {
            let blocks: Vec<_> = (0..number)
                .map(|nth| ListedBlock {
                    node: NodeName {
                        id: format!("{nth:05}"),
                        name: format!("n{nth:05}"),
                    },
                    ..sample::blocks().remove(0)
                })
                .collect();
            let drawing = Drawing::of(&pool, &blocks);
            let mut marks: Vec<_> = (0..number).map(|nth| drawing.mark(nth)).collect();
            let last = marks.last().unwrap().clone();
            marks.sort();
            marks.dedup();
            assert_eq!(marks.len(), number);
            last
        };
        assert_eq!(of(1), "A");
        assert_eq!(of(62), "9");
        assert_eq!(of(63), "BA");
        assert_eq!(of(5000).len(), 3);
    }

    #[test]
    fn a_pool_of_one_address_and_a_block_past_its_end_are_drawn() {
        let mut pool = sample::pool();
        pool.spec.v4 = Some("10.4.0.7/32".parse().unwrap());
        let mut blocks = sample::blocks();
        blocks[0].first = u64::MAX - 10;
        blocks[1].first = 0;
        let drawing = Drawing::of(&pool, &blocks[..2]);
        assert_eq!(drawing.lines.len(), 1);
    }
}
