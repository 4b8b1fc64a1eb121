//! The picture as text.

use std::fmt::Write;

use super::picture::{End, Health, Node, Picture, addresses, endpoint};
use crate::colour::Paint;
use crate::output::visible;

/// Told apart on dark and on light ground.
const PALETTE: [u8; 8] = [33, 208, 35, 170, 37, 160, 100, 99];
const GREEN: u8 = 35;
const AMBER: u8 = 178;
const RED: u8 = 160;
/// Endpoints of one end that are told one by one.
const SHOWN: usize = 8;

pub(super) fn draw(picture: &Picture<'_>, paint: Paint) -> String {
    let mut text = format!("{}\n", picture.summary());
    for (nth, network) in picture.networks.iter().enumerate() {
        let mark = paint.text(colour(nth), "━━");
        let prefixes: Vec<_> = network.prefixes.iter().map(ToString::to_string).collect();
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{mark} {}  VNI {}  UDP {}  {}",
            visible(&network.network),
            network.vni,
            network.port,
            prefixes.join(" ")
        );
    }
    for node in &picture.nodes {
        text.push('\n');
        draw_node(&mut text, picture, node, paint);
    }
    text
}

fn draw_node(text: &mut String, picture: &Picture<'_>, node: &Node<'_>, paint: Paint) {
    let health = paint.text(
        match node.health {
            Health::Alive => GREEN,
            Health::Expected | Health::Silent | Health::Unknown => AMBER,
            Health::Lost => RED,
        },
        node.health.word(),
    );
    let here = if node.here { " (here)" } else { "" };
    let _ = writeln!(
        text,
        "┌ {}{here}  {health}{}  {}",
        visible(&node.name.name),
        node.since(),
        visible(node.version)
    );
    for end in &node.ends {
        draw_end(text, picture, end, paint);
    }
    text.push_str("└\n");
}

fn draw_end(text: &mut String, picture: &Picture<'_>, end: &End<'_>, paint: Paint) {
    let network = &picture.networks[end.network];
    let colour = colour(end.network);
    let tap = paint.text(colour, "┝━");
    let bar = paint.text(colour, "│");
    let _ = writeln!(
        text,
        "{tap} {}  at {}  MTU {}",
        visible(&network.network),
        end.underlay,
        end.mtu
    );
    if let Some(fault) = end.fault {
        let _ = writeln!(text, "{bar}    {}", paint.text(RED, &visible(fault)));
    }
    let blocks: Vec<_> = end.blocks.iter().map(ToString::to_string).collect();
    if blocks.is_empty() {
        let _ = writeln!(text, "{bar}    no block");
    } else {
        let _ = writeln!(text, "{bar}    {}", blocks.join("  "));
    }
    for lease in end.endpoints.iter().take(SHOWN) {
        let _ = writeln!(
            text,
            "{bar}      {}  {}",
            visible(&endpoint(lease)),
            addresses(lease)
        );
    }
    if end.endpoints.len() > SHOWN {
        let more = end.endpoints.len() - SHOWN;
        let _ = writeln!(text, "{bar}      and {more} more");
    }
}

fn colour(network: usize) -> u8 {
    PALETTE[network % PALETTE.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::sample;

    #[test]
    fn a_cluster_is_drawn_node_by_node() {
        let topology = sample::topology();
        assert_eq!(
            draw(&Picture::of(&topology, sample::NOW), Paint::Plain),
            "\
3 nodes, 1 network, 2 endpoints
━━ pods  VNI 4096  UDP 4789  10.4.0.0/16 fd00:4::/64

┌ n1 (here)  alive, heard of 4 s ago  0.1.0
┝━ pods  at 192.0.2.11  MTU 1450
│    10.4.11.0/26  fd00:4::b00/122
│      web/shop-0  10.4.11.1 fd00:4::b01
│      c2 eth0  10.4.11.2 fd00:4::b02
└

┌ n2  not heard of yet  0.1.0
┝━ pods  at 192.0.2.12  MTU 1450
│    no block
└

┌ n3  lost, heard of 10 min ago  0.1.0
└
"
        );
    }

    #[test]
    fn a_node_that_was_heard_of_long_ago_is_silent() {
        let mut topology = sample::topology();
        topology.nodes[1].seen_at_unix_ms = Some(sample::NOW - 600_000);
        let drawn = draw(&Picture::of(&topology, sample::NOW), Paint::Plain);
        let line = "┌ n2  silent, heard of 10 min ago  0.1.0\n";
        assert!(drawn.contains(line), "{drawn}");
    }

    #[test]
    fn nobody_is_said_to_be_silent_while_the_store_is() {
        let mut topology = sample::topology();
        topology.nodes.clear();
        topology.leases.clear();
        topology.store_answers = false;
        let drawn = draw(&Picture::of(&topology, sample::NOW), Paint::Plain);
        let line = "┌ n2  not known, the store does not answer  0.1.0\n";
        assert!(drawn.contains(line), "{drawn}");
    }

    #[test]
    fn what_is_wrong_is_said_and_obeyed_by_no_terminal() {
        let mut topology = sample::topology();
        let own = topology.networks[0].here.as_mut().unwrap();
        own.fault = Some("\u{1b}]0;x".to_owned());
        let drawn = draw(&Picture::of(&topology, sample::NOW), Paint::Plain);
        assert!(drawn.contains("│    \u{fffd}]0;x\n"), "{drawn}");
        let coloured = draw(&Picture::of(&topology, sample::NOW), Paint::Coloured);
        assert!(coloured.contains("\u{1b}[38;5;35malive\u{1b}[0m"));
    }
}
