//! The map as text: each cell is a node's mark, how full the block is, and whether something in it
//! cools down. Without colours nothing is lost.

use std::fmt::Write;

use super::drawing::{Cell, Drawing, Line};
use crate::colour::Paint;
use crate::output::visible;
use crate::pool::ls::state;
use crate::pool::show::Share;

/// From empty to full.
const FILL: [char; 9] = ['_', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Told apart on dark and on light ground.
const PALETTE: [u8; 12] = [33, 208, 35, 170, 37, 160, 100, 99, 172, 71, 205, 67];
const COOLING: u8 = 178;
/// Characters of a node's bar.
const BAR: usize = 32;

const LEGEND: &str = "a block: its node's mark (+ several nodes), how full (_ empty, ▁ to █), ~ something cools down; · nobody's
a node: █ held, ▒ cooling, ░ free or reserved\n";

pub(super) fn draw(drawings: &[Drawing<'_>], paint: Paint) -> String {
    if drawings.is_empty() {
        return "there is no pool, `bulkhead pool add` makes one\n".to_owned();
    }
    let mut text = String::new();
    for drawing in drawings {
        pool(&mut text, drawing, paint);
        text.push('\n');
    }
    text.push_str(LEGEND);
    text
}

fn pool(text: &mut String, drawing: &Drawing<'_>, paint: Paint) {
    let spec = &drawing.pool.spec;
    // Writing to a string does not fail.
    let _ = writeln!(
        text,
        "{}  {}  {}\n{}",
        visible(&spec.name),
        state(drawing.pool.state),
        drawing.prefixes(),
        drawing.summary(),
    );
    let marks = drawing.mark(0).len();
    let addresses = drawing.lines.iter().filter_map(|line| match line {
        Line::Cells { address, .. } => address.map(|address| address.to_string()),
        Line::Left(_) => None,
    });
    let label = addresses.map(|text| text.len()).max().unwrap_or_default();
    for line in &drawing.lines {
        match line {
            Line::Cells { address, cells } => {
                let address = address.map(|address| address.to_string());
                let cells: Vec<_> = cells
                    .iter()
                    .map(|cell| drawn(drawing, cell, marks, paint))
                    .collect();
                let row = format!(
                    "  {:label$}  {}",
                    address.unwrap_or_default(),
                    cells.join(" ")
                );
                let _ = writeln!(text, "{}", row.trim_end());
            }
            Line::Left(cells) => {
                let _ = writeln!(text, "  {:label$}  · {cells} blocks nobody has", "");
            }
        }
    }
    let name = drawing
        .nodes
        .iter()
        .map(|share| visible(&share.node.name).chars().count());
    let name = name.max().unwrap_or_default();
    for (nth, share) in drawing.nodes.iter().enumerate() {
        let mark = paint.text(colour(nth), &drawing.mark(nth));
        let _ = writeln!(
            text,
            "  {mark}  {:name$}  {}",
            visible(&share.node.name),
            node(share, nth, paint)
        );
    }
}

/// A node's mark, one character for how full, one for what cools down.
fn drawn(drawing: &Drawing<'_>, cell: &Cell<'_>, marks: usize, paint: Paint) -> String {
    let Some(first) = cell.parts.first() else {
        return format!("{:1$}", "·", marks + 2);
    };
    let is_one = cell.parts.iter().all(|part| part.node == first.node);
    let whole: f64 = cell.parts.iter().map(|part| part.share).sum();
    let sum = |of: fn((f64, f64)) -> f64| -> f64 {
        let parts = cell.parts.iter();
        parts.map(|part| of(part.fill()) * part.share).sum()
    };
    let (held, cooling) = (sum(|fill| fill.0) / whole, sum(|fill| fill.1));
    let mark = if is_one {
        drawing.mark(first.node)
    } else {
        "+".to_owned()
    };
    let body = format!("{mark:marks$}{}", fill(held));
    let body = if is_one {
        paint.text(colour(first.node), &body)
    } else {
        body
    };
    let cools = if cooling > 0.0 {
        paint.text(COOLING, "~")
    } else {
        " ".to_owned()
    };
    body + &cools
}

/// Only what is empty looks empty, and only what is full looks full.
fn fill(held: f64) -> char {
    let steps = FILL.len() - 1;
    let nth = if held <= 0.0 {
        0
    } else if held >= 1.0 {
        steps
    } else {
        parts_of(held, steps).clamp(1, steps - 1)
    };
    FILL[nth]
}

/// The nearest number of `whole` parts; `share` is 0 to 1.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss
)]
fn parts_of(share: f64, whole: usize) -> usize {
    (share * whole as f64).round() as usize
}

fn colour(node: usize) -> u8 {
    PALETTE[node % PALETTE.len()]
}

fn node(share: &Share, nth: usize, paint: Paint) -> String {
    let free = share
        .claimed
        .saturating_sub(share.held + share.cooling + share.reserved);
    let length = |number| bar_length(number, share.claimed);
    let (held, cooling) = (length(share.held), length(share.cooling));
    let cooling = cooling.min(BAR - held);
    let bar = [
        paint.text(colour(nth), &"█".repeat(held)),
        paint.text(COOLING, &"▒".repeat(cooling)),
        "░".repeat(BAR - held - cooling),
    ];
    format!(
        "{}  {} blocks, {} addresses: {} held, {} cooling, {free} free",
        bar.concat(),
        share.blocks,
        share.claimed,
        share.held,
        share.cooling,
    )
}

/// What there is shows, however little.
fn bar_length(number: u64, whole: u64) -> usize {
    if number == 0 || whole == 0 {
        return 0;
    }
    let length = u128::from(number) * BAR as u128 / u128::from(whole);
    usize::try_from(length).unwrap_or(BAR).clamp(1, BAR)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::map::sample;

    #[test]
    fn a_pool_is_drawn_as_text() {
        let (pool, blocks) = (sample::pool(), sample::blocks());
        let drawn = draw(&[Drawing::of(&pool, &blocks)], Paint::Plain);
        assert_eq!(
            drawn,
            format!(
                "\
default  enabled  10.4.0.0/22 fd00:4::/118
1021 addresses: 93 held, 5 cooling, 923 free; 4 blocks with 193 addresses on 3 nodes
  10.4.0.0  A▇~ B▄~ ·   C▁  ·   ·   ·   ·   A█  ·   ·   ·   ·   ·   ·   ·
  A  node-1  ██████████████████████████████▒░  2 blocks, 65 addresses: 62 held, 2 cooling, 0 free
  B  node-2  ███████████████▒░░░░░░░░░░░░░░░░  1 blocks, 64 addresses: 30 held, 3 cooling, 31 free
  C  node-3  █░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░  1 blocks, 64 addresses: 1 held, 0 cooling, 63 free

{LEGEND}"
            )
        );
    }

    #[test]
    fn colours_change_no_character() {
        let (pool, blocks) = (sample::pool(), sample::blocks());
        let drawing = [Drawing::of(&pool, &blocks)];
        let mut coloured = draw(&drawing, Paint::Coloured);
        assert!(coloured.contains("\u{1b}[38;5;33mA▇\u{1b}[0m\u{1b}[38;5;178m~\u{1b}[0m"));
        while let Some(at) = coloured.find('\u{1b}') {
            let end = at + coloured[at..].find('m').unwrap();
            coloured.replace_range(at..=end, "");
        }
        assert_eq!(coloured, draw(&drawing, Paint::Plain));
    }

    #[test]
    fn a_cell_of_two_nodes_is_marked_so() {
        let pool = sample::pool();
        let mut blocks = sample::blocks();
        blocks.truncate(2);
        for (nth, block) in blocks.iter_mut().enumerate() {
            block.first = 32 * nth as u64;
            block.bits = 5;
            block.held = 32;
            block.cooling = None;
        }
        let drawn = draw(&[Drawing::of(&pool, &blocks)], Paint::Plain);
        assert!(drawn.contains("10.4.0.0  +█  ·"), "{drawn}");
    }

    #[test]
    fn only_what_is_empty_or_full_looks_so() {
        let filled: String = [0.0, 0.001, 0.5, 0.999, 1.0].map(fill).iter().collect();
        assert_eq!(filled, "_▁▄▇█");
        assert_eq!(bar_length(1, 1 << 40), 1);
        assert_eq!(bar_length(u64::MAX, u64::MAX), BAR);
        assert_eq!(bar_length(5, 0), 0);
    }

    #[test]
    fn without_a_pool_it_says_how_to_make_one() {
        assert!(draw(&[], Paint::Plain).contains("bulkhead pool add"));
    }
}
