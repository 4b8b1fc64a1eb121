//! The map as a drawing (SVG 1.1): one file that needs no other, on light and on dark ground.

use std::fmt::Write;

use super::drawing::{Cell, Drawing, Line, Part};
use crate::output::count;
use crate::pool::ls::state;
use crate::pool::show::Share;
use crate::svg::{escaped, rect, text};

/// A cell's side and the gap beside it, in user units.
const SIDE: f64 = 40.0;
const GAP: f64 = 4.0;
const MARGIN: f64 = 24.0;
/// What addresses need at the left of their row.
const LABEL: f64 = 190.0;
const WIDTH: f64 = 2.0 * MARGIN + LABEL + 16.0 * (SIDE + GAP);
const LINE: f64 = 22.0;
/// A node's bar in the legend.
const BAR: f64 = 260.0;

/// Told apart by most eyes (P. Tol, "Colour Schemes", muted); beyond that the marks tell.
const PALETTE: [&str; 10] = [
    "#332288", "#117733", "#cc6677", "#88ccee", "#ddcc77", "#aa4499", "#44aa99", "#999933",
    "#882255", "#6699cc",
];

const HEAD: &str = r##"<defs><pattern id="cooling" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect width="3" height="6" fill="#e69f00"/></pattern></defs>
<style>
text{font-family:ui-monospace,monospace;font-size:14px;fill:#1a1a1a}
.title{font-size:20px;font-weight:bold}.dim{fill:#595959}.mark{font-size:13px;text-anchor:middle;stroke:#fff;stroke-width:3px;stroke-opacity:.8;paint-order:stroke}
.ground{fill:#fff}.none{fill:none;stroke:#b3b3b3;stroke-dasharray:2 3}.frame{fill:none;stroke:#595959}
@media (prefers-color-scheme:dark){text{fill:#f2f2f2}.mark{stroke:#1a1a1a}.dim{fill:#b3b3b3}.ground{fill:#1a1a1a}.none{stroke:#666}.frame{stroke:#b3b3b3}}
</style>
"##;

/// All pools, one below the other.
pub(super) fn draw(drawings: &[Drawing<'_>]) -> String {
    let mut body = String::new();
    let mut y = MARGIN;
    if drawings.is_empty() {
        y += LINE;
        text(&mut body, "title", MARGIN, y, "there is no pool");
    }
    for drawing in drawings {
        y = pool(&mut body, drawing, y);
    }
    y = legend(&mut body, y);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{y}\" viewBox=\"0 0 {WIDTH} {y}\" role=\"img\">
<title>Address pools</title>
{HEAD}<rect class=\"ground\" width=\"{WIDTH}\" height=\"{y}\"/>
{body}</svg>\n"
    )
}

/// Draws a pool from `y` on; where it ends.
fn pool(body: &mut String, drawing: &Drawing<'_>, mut y: f64) -> f64 {
    let title = format!("{}  {}", drawing.pool.spec.name, drawing.prefixes());
    y += LINE;
    text(body, "title", MARGIN, y, &title);
    y += LINE;
    let summary = format!("{}; {}", state(drawing.pool.state), drawing.summary());
    text(body, "dim", MARGIN, y, &summary);
    y += GAP + GAP;
    for line in &drawing.lines {
        match line {
            Line::Cells { address, cells } => {
                let address = address.map(|address| address.to_string());
                row_label(body, y + SIDE * 0.65, &address.unwrap_or_default());
                let mut x = MARGIN + LABEL;
                for one in cells {
                    cell(body, drawing, one, x, y);
                    x += SIDE + GAP;
                }
                y += SIDE + GAP;
            }
            Line::Left(cells) => {
                let said = format!("{} blocks nobody has", count((*cells).into()));
                text(body, "dim", MARGIN + LABEL, y + LINE * 0.75, &said);
                y += LINE + GAP;
            }
        }
    }
    y += GAP + GAP;
    for (nth, share) in drawing.nodes.iter().enumerate() {
        node(body, drawing, nth, share, y);
        y += LINE;
    }
    y + LINE
}

fn cell(body: &mut String, drawing: &Drawing<'_>, cell: &Cell<'_>, x: f64, y: f64) {
    if cell.parts.is_empty() {
        rect(body, "class=\"none\"", (x, y), (SIDE, SIDE));
        return;
    }
    for part in &cell.parts {
        block(body, drawing, part, x, y);
    }
    rect(body, "class=\"frame\"", (x, y), (SIDE, SIDE));
    let mut marks: Vec<_> = cell.parts.iter().map(|part| part.node).collect();
    marks.dedup();
    let mark = match marks[..] {
        [one] => drawing.mark(one),
        _ => "+".to_owned(),
    };
    text(body, "mark", x + SIDE / 2.0, y + 15.0, &mark);
}

/// A block from left to right in its cell; filled from below, what cools down on top of what is held.
fn block(body: &mut String, drawing: &Drawing<'_>, part: &Part<'_>, x: f64, y: f64) {
    let colour = colour(part.node);
    let (x, width) = (x + part.from * SIDE, (part.share * SIDE).max(1.0));
    let (held, cooling) = part.fill();
    let (held, cooling) = (
        held.min(1.0) * SIDE,
        cooling.min(1.0 - held.min(1.0)) * SIDE,
    );
    // Writing to a string does not fail.
    let _ = write!(body, "<g><title>{}</title>", escaped(&told(drawing, part)));
    let ground = format!("fill=\"{colour}\" fill-opacity=\"0.2\"");
    rect(body, &ground, (x, y), (width, SIDE));
    let fill = format!("fill=\"{colour}\" fill-opacity=\"0.75\"");
    rect(body, &fill, (x, y + SIDE - held), (width, held));
    let top = y + SIDE - held - cooling;
    rect(body, "fill=\"url(#cooling)\"", (x, top), (width, cooling));
    body.push_str("</g>\n");
}

/// What a reader is told who points at a block.
fn told(drawing: &Drawing<'_>, part: &Part<'_>) -> String {
    let block = part.block;
    let prefixes: Vec<_> = block.prefixes.iter().map(ToString::to_string).collect();
    let what = if prefixes.is_empty() {
        format!("{} from {}", drawing.pool.spec.name, block.first)
    } else {
        prefixes.join(" ")
    };
    let cooling = block.cooling.map_or_else(
        || "cooling not known".to_owned(),
        |number| format!("{number} cooling"),
    );
    format!(
        "{what}: {}, {} of {} held, {cooling}",
        block.node.name,
        block.held,
        crate::block::size(block),
    )
}

fn node(body: &mut String, drawing: &Drawing<'_>, nth: usize, share: &Share, y: f64) {
    let colour = colour(nth);
    #[allow(clippy::cast_precision_loss)] // for drawing only
    let length = |number: u64| BAR * (number as f64 / share.claimed.max(1) as f64).min(1.0);
    let (held, cooling) = (length(share.held), length(share.cooling));
    text(body, "", MARGIN, y + LINE * 0.7, &drawing.mark(nth));
    let x = MARGIN + 3.0 * 14.0;
    let (top, height) = (y + 4.0, LINE - 8.0);
    let ground = format!("fill=\"{colour}\" fill-opacity=\"0.2\"");
    rect(body, &ground, (x, top), (BAR, height));
    let fill = format!("fill=\"{colour}\" fill-opacity=\"0.75\"");
    rect(body, &fill, (x, top), (held, height));
    let cooling = cooling.min(BAR - held);
    rect(
        body,
        "fill=\"url(#cooling)\"",
        (x + held, top),
        (cooling, height),
    );
    let said = format!(
        "{}: {} of {} held, {} cooling, {} blocks",
        share.node.name, share.held, share.claimed, share.cooling, share.blocks,
    );
    text(body, "", x + BAR + 12.0, y + LINE * 0.7, &said);
}

fn legend(body: &mut String, y: f64) -> f64 {
    let middle = y + LINE * 0.7;
    let mut x = MARGIN;
    let signs = [
        ("fill=\"#595959\" fill-opacity=\"0.75\"", "held"),
        ("fill=\"url(#cooling)\"", "cooling"),
        ("fill=\"#595959\" fill-opacity=\"0.2\"", "free or reserved"),
        ("class=\"none\"", "nobody's"),
    ];
    for (sign, said) in signs {
        rect(body, sign, (x, y + 3.0), (16.0, 16.0));
        text(body, "dim", x + 24.0, middle, said);
        x += 180.0;
    }
    text(body, "dim", x, middle, "+ several nodes'");
    y + LINE + MARGIN
}

fn colour(node: usize) -> &'static str {
    PALETTE[node % PALETTE.len()]
}

/// An address at the left of its row; a long one is drawn narrower.
fn row_label(body: &mut String, y: f64, address: &str) {
    /// Characters of 14 px that there is room for.
    const ROOM: usize = 21;
    if address.len() <= ROOM {
        text(body, "", MARGIN, y, address);
        return;
    }
    let width = LABEL - GAP - GAP;
    let _ = writeln!(
        body,
        "<text x=\"{MARGIN:.1}\" y=\"{y:.1}\" textLength=\"{width:.1}\" lengthAdjust=\"spacingAndGlyphs\">{}</text>",
        escaped(address)
    );
}

#[cfg(test)]
mod tests {
    use roxmltree::Document;

    use super::*;
    use crate::pool::map::sample;

    fn texts(drawn: &str) -> Vec<String> {
        let document = Document::parse(drawn).unwrap();
        let texts = document
            .descendants()
            .filter(|node| node.has_tag_name("text"));
        texts
            .map(|node| node.text().unwrap_or_default().to_owned())
            .collect()
    }

    #[test]
    fn a_drawing_is_well_formed_and_says_all_it_shows() {
        let (pool, blocks) = (sample::pool(), sample::blocks());
        let drawn = draw(&[Drawing::of(&pool, &blocks)]);
        let texts = texts(&drawn);
        for said in [
            "default  10.4.0.0/22 fd00:4::/118",
            "node-1: 62 of 65 held, 2 cooling, 2 blocks",
            "held",
            "cooling",
            "10.4.0.0",
        ] {
            assert!(texts.iter().any(|text| text == said), "{said}: {texts:?}");
        }
        let document = Document::parse(&drawn).unwrap();
        let titles: Vec<_> = document
            .descendants()
            .filter(|node| node.has_tag_name("title"))
            .filter_map(|node| node.text())
            .collect();
        assert_eq!(titles.len(), 1 + blocks.len());
        assert!(titles.contains(&"default from 64: node-2, 30 of 64 held, 3 cooling"));
    }

    #[test]
    fn a_long_address_does_not_reach_into_its_row() {
        let (mut pool, blocks) = (sample::pool(), sample::blocks());
        pool.spec.v4 = None;
        pool.spec.v6 = Some("fd00:1234:5678:9abc:def0:1234:5678:0/118".parse().unwrap());
        let drawn = draw(&[Drawing::of(&pool, &blocks)]);
        assert!(
            drawn.contains(
                "lengthAdjust=\"spacingAndGlyphs\">fd00:1234:5678:9abc:def0:1234:5678:0<"
            )
        );
        Document::parse(&drawn).unwrap();
    }

    #[test]
    fn a_drawing_needs_no_other_file() {
        let (pool, blocks) = (sample::pool(), sample::blocks());
        let drawn = draw(&[Drawing::of(&pool, &blocks)]);
        for foreign in ["href", "@import", "<script", "<image", "url(http"] {
            assert!(!drawn.contains(foreign), "{foreign}");
        }
    }

    #[test]
    fn names_cannot_break_out_of_the_text() {
        let mut pool = sample::pool();
        let mut blocks = sample::blocks();
        let name = "</text><script>\"'&\u{1b}\u{0}\u{ffff}";
        pool.spec.name = name.to_owned();
        for block in &mut blocks {
            name.clone_into(&mut block.pool);
            name.clone_into(&mut block.node.name);
        }
        let drawn = draw(&[Drawing::of(&pool, &blocks)]);
        let document = Document::parse(&drawn).unwrap();
        assert!(
            !document
                .descendants()
                .any(|node| node.has_tag_name("script"))
        );
        let shown = "</text><script>\"'&\u{fffd}\u{fffd}\u{fffd}";
        assert!(texts(&drawn).iter().any(|text| text.starts_with(shown)));
    }

    #[test]
    fn nothing_is_drawn_outside() {
        let (pool, mut blocks) = (sample::pool(), sample::blocks());
        blocks[0].held = 1000;
        blocks[0].cooling = Some(1000);
        let drawn = draw(&[Drawing::of(&pool, &blocks), Drawing::of(&pool, &[])]);
        let document = Document::parse(&drawn).unwrap();
        let number = |node: roxmltree::Node<'_, '_>, name| {
            node.attribute(name)
                .map_or(0.0, |text| text.parse::<f64>().unwrap())
        };
        let root = document.root_element();
        let (width, height) = (number(root, "width"), number(root, "height"));
        let rects = document
            .descendants()
            .filter(|node| node.has_tag_name("rect"));
        for rect in rects.filter(|rect| rect.parent() != Some(root) || rect.has_attribute("x")) {
            let right = number(rect, "x") + number(rect, "width");
            let bottom = number(rect, "y") + number(rect, "height");
            assert!(right <= width && bottom <= height, "{rect:?}");
        }
        Document::parse(&draw(&[])).unwrap();
    }
}
