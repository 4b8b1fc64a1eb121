//! The picture as a drawing (SVG 1.1): one file that needs no other, on light and on dark ground. Each
//! network is a line that goes by every node, each node a card that hangs on the lines of its networks.

use std::fmt::Write;

use super::picture::{End, Health, Node, Picture, addresses, endpoint};
use crate::svg::{escaped, rect, text};

const MARGIN: f64 = 24.0;
const LINE: f64 = 20.0;
/// A card's width, the gap beside it, and how many stand in a row.
const CARD: f64 = 400.0;
const GAP: f64 = 28.0;
const ROW: usize = 3;
/// Characters of 13 px that a card's line has room for.
const ROOM: usize = 48;
/// Endpoints of one end that are told one by one.
const SHOWN: usize = 6;

/// Told apart by most eyes (P. Tol, "Colour Schemes", muted).
const PALETTE: [&str; 8] = [
    "#332288", "#117733", "#cc6677", "#88ccee", "#ddcc77", "#aa4499", "#44aa99", "#882255",
];

const HEAD: &str = "<style>
text{font-family:ui-monospace,monospace;font-size:13px;fill:#1a1a1a}
.title{font-size:20px;font-weight:bold}.name{font-size:15px;font-weight:bold}.dim{fill:#595959}.fault{fill:#b00020}
.ground{fill:#fff}.card{fill:#f6f6f6;stroke:#8c8c8c}.lost{fill:#f6f6f6;stroke:#8c8c8c;stroke-dasharray:5 4}
@media (prefers-color-scheme:dark){text{fill:#f2f2f2}.dim{fill:#b3b3b3}.fault{fill:#ff8a80}.ground{fill:#1a1a1a}.card{fill:#2a2a2a;stroke:#8c8c8c}.lost{fill:#2a2a2a;stroke:#8c8c8c;stroke-dasharray:5 4}}
</style>
";

pub(super) fn draw(picture: &Picture<'_>) -> String {
    let mut body = String::new();
    let columns = picture.nodes.len().clamp(1, ROW);
    #[allow(clippy::cast_precision_loss)] // for drawing only
    let width = 2.0 * MARGIN + columns as f64 * (CARD + GAP) - GAP;
    let mut y = MARGIN + LINE;
    text(&mut body, "title", MARGIN, y, &picture.summary());
    y += LINE;
    for (nth, network) in picture.networks.iter().enumerate() {
        let sign = format!("fill=\"{}\"", colour(nth));
        rect(&mut body, &sign, (MARGIN, y + 7.0), (24.0, 5.0));
        let prefixes: Vec<_> = network.prefixes.iter().map(ToString::to_string).collect();
        let said = format!(
            "{}  VNI {}  UDP {}  {}",
            network.network,
            network.vni,
            network.port,
            prefixes.join(" ")
        );
        text(&mut body, "", MARGIN + 34.0, y + 14.0, &said);
        y += LINE;
    }
    y += GAP / 2.0;
    for row in picture.nodes.chunks(ROW) {
        y = draw_row(&mut body, picture, row, y, width);
    }
    y += MARGIN;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{y:.0}\" viewBox=\"0 0 {width:.0} {y:.0}\" role=\"img\">
<title>Nodes and the networks that they have together</title>
{HEAD}<rect class=\"ground\" width=\"{width:.0}\" height=\"{y:.0}\"/>
{body}</svg>\n"
    )
}

/// Draws nodes beside each other and the lines of the networks above them; where they end.
fn draw_row(
    body: &mut String,
    picture: &Picture<'_>,
    row: &[Node<'_>],
    top: f64,
    width: f64,
) -> f64 {
    let of_row = |nth: usize| {
        row.iter()
            .any(|node| node.ends.iter().any(|end| end.network == nth))
    };
    let lines: Vec<usize> = (0..picture.networks.len())
        .filter(|nth| of_row(*nth))
        .collect();
    let mut y = top;
    let mut at = Vec::new();
    for nth in lines {
        let sign = format!("fill=\"{}\"", colour(nth));
        rect(body, &sign, (MARGIN, y), (width - 2.0 * MARGIN, 4.0));
        at.push((nth, y));
        y += 10.0;
    }
    let cards = y + GAP / 2.0;
    let mut x = MARGIN;
    let mut bottom = cards;
    for node in row {
        for (place, end) in node.ends.iter().enumerate() {
            let line = at.iter().find(|(nth, _)| *nth == end.network);
            #[allow(clippy::cast_precision_loss)] // for drawing only
            let tap = x + 30.0 + place as f64 * 14.0;
            if let Some((_, from)) = line {
                let sign = format!("fill=\"{}\"", colour(end.network));
                rect(body, &sign, (tap, *from), (4.0, cards - from));
            }
        }
        bottom = bottom.max(card(body, picture, node, (x, cards)));
        x += CARD + GAP;
    }
    bottom + GAP
}

/// Draws a node; where it ends.
fn card(body: &mut String, picture: &Picture<'_>, node: &Node<'_>, (x, y): (f64, f64)) -> f64 {
    let lines = lines(picture, node);
    #[allow(clippy::cast_precision_loss)] // for drawing only
    let height = 2.0 * LINE + 8.0 + lines.len() as f64 * LINE;
    let class = if node.health == Health::Lost {
        "class=\"lost\" rx=\"6\""
    } else {
        "class=\"card\" rx=\"6\""
    };
    rect(body, class, (x, y), (CARD, height));
    let dot = match node.health {
        Health::Alive => "#117733",
        Health::Expected | Health::Silent | Health::Unknown => "#e69f00",
        Health::Lost => "#b00020",
    };
    let (cx, cy) = (x + 18.0, y + 20.0);
    // Writing to a string does not fail.
    let _ = writeln!(
        body,
        "<circle cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"6\" fill=\"{dot}\"><title>{}</title></circle>",
        escaped(node.health.word())
    );
    let here = if node.here { " (here)" } else { "" };
    let name = fitting(&format!("{}{here}", node.name.name), ROOM - 6);
    text(body, "name", x + 32.0, y + 25.0, &name);
    let said = format!("{}{}  {}", node.health.word(), node.since(), node.version);
    text(
        body,
        "dim",
        x + 32.0,
        y + 25.0 + LINE,
        &fitting(&said, ROOM),
    );
    let mut at = y + 25.0 + 2.0 * LINE;
    for line in &lines {
        if let Some(network) = line.network {
            let sign = format!("fill=\"{}\"", colour(network));
            rect(body, &sign, (x + 14.0, at - 10.0), (10.0, 10.0));
        }
        text(body, line.class, x + 32.0, at, &fitting(&line.said, ROOM));
        at += LINE;
    }
    y + height
}

/// A line of a card.
struct Line {
    class: &'static str,
    said: String,
    /// Whose sign stands before it.
    network: Option<usize>,
}

fn lines(picture: &Picture<'_>, node: &Node<'_>) -> Vec<Line> {
    node.ends
        .iter()
        .flat_map(|end| lines_of(picture, end))
        .collect()
}

fn lines_of(picture: &Picture<'_>, end: &End<'_>) -> Vec<Line> {
    let plain = |class, said| Line {
        class,
        said,
        network: None,
    };
    let network = &picture.networks[end.network].network;
    let mut lines = vec![Line {
        class: "",
        said: format!("{network}  at {}  MTU {}", end.underlay, end.mtu),
        network: Some(end.network),
    }];
    lines.extend(end.fault.map(|fault| plain("fault", fault.to_owned())));
    let blocks = end.blocks.iter();
    lines.extend(blocks.map(|block| plain("dim", format!("  {block}"))));
    let shown = end.endpoints.iter().take(SHOWN);
    lines.extend(shown.map(|lease| {
        let said = format!("    {}  {}", endpoint(lease), addresses(lease));
        plain("", said)
    }));
    if end.endpoints.len() > SHOWN {
        let more = end.endpoints.len() - SHOWN;
        lines.push(plain("dim", format!("    and {more} more")));
    }
    lines
}

/// As much of a text as there is room for.
fn fitting(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    let kept: String = text.chars().take(room - 1).collect();
    format!("{kept}…")
}

fn colour(network: usize) -> &'static str {
    PALETTE[network % PALETTE.len()]
}

#[cfg(test)]
mod tests {
    use roxmltree::Document;

    use super::*;
    use crate::topology::sample;

    fn texts(drawn: &str) -> Vec<String> {
        let document = Document::parse(drawn).unwrap();
        let texts = document.descendants().filter(|it| it.has_tag_name("text"));
        texts
            .map(|it| it.text().unwrap_or_default().to_owned())
            .collect()
    }

    #[test]
    fn a_drawing_is_well_formed_and_says_what_the_text_says() {
        let topology = sample::topology();
        let drawn = draw(&Picture::of(&topology, sample::NOW));
        let texts = texts(&drawn);
        for said in [
            "3 nodes, 1 network, 2 endpoints",
            "pods  VNI 4096  UDP 4789  10.4.0.0/16 fd00:4::/64",
            "n1 (here)",
            "pods  at 192.0.2.12  MTU 1450",
            "  10.4.11.0/26",
            "    web/shop-0  10.4.11.1 fd00:4::b01",
            "lost, heard of 10 min ago  0.1.0",
        ] {
            assert!(texts.iter().any(|text| text == said), "{said}: {texts:?}");
        }
        for foreign in ["href", "@import", "<script", "<image", "url("] {
            assert!(!drawn.contains(foreign), "{foreign}");
        }
    }

    #[test]
    fn names_cannot_break_out_and_long_ones_not_reach_beyond_the_card() {
        let mut topology = sample::topology();
        let name = "</text><script>\"'&\u{1b}".to_owned() + &"x".repeat(90);
        for network in &mut topology.networks {
            network.network.clone_from(&name);
            for end in &mut network.ends {
                end.name.name.clone_from(&name);
            }
        }
        let drawn = draw(&Picture::of(&topology, sample::NOW));
        let document = Document::parse(&drawn).unwrap();
        let has_script = document.descendants().any(|it| it.has_tag_name("script"));
        assert!(!has_script);
        let cards = texts(&drawn);
        let longest = cards.iter().filter(|text| text.ends_with('…'));
        assert!(longest.clone().all(|text| text.chars().count() <= ROOM));
        assert!(longest.count() >= 2);
    }

    #[test]
    fn nothing_is_drawn_outside() {
        let topology = sample::topology();
        for drawn in [
            draw(&Picture::of(&topology, sample::NOW)),
            draw(&Picture {
                networks: &[],
                nodes: Vec::new(),
            }),
        ] {
            let document = Document::parse(&drawn).unwrap();
            let number = |it: roxmltree::Node<'_, '_>, name| {
                it.attribute(name)
                    .map_or(0.0, |text| text.parse::<f64>().unwrap())
            };
            let root = document.root_element();
            let (width, height) = (number(root, "width"), number(root, "height"));
            for it in document.descendants().filter(|it| it.has_tag_name("rect")) {
                assert!(number(it, "x") + number(it, "width") <= width, "{it:?}");
                assert!(number(it, "y") + number(it, "height") <= height, "{it:?}");
            }
        }
    }
}
