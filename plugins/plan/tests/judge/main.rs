//! The guard's rules do what its documents say: over many frames, of every kind and spoilt in every
//! way, of ports of every role, the rules' interpreter and a judge written from the documents come to
//! the same verdict, for the same reason. And there is no rule that no frame needs.
//!
//! One seed is one run, and is printed; `BULKHEAD_JUDGE_SEED` replays it. `BULKHEAD_SOAK` runs many.

#![expect(
    clippy::disallowed_methods,
    reason = "the environment says how long to run"
)]

mod dice;
mod frames;
mod mutants;

mod ports;
mod reference;

use std::collections::BTreeMap;
use std::env;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bulkhead_nft as nft;
use bulkhead_plan::{Binding, Reason};
use dice::Dice;
use reference::{Node, Sentence, Shares, Spent, judge};

/// Frames of a seed.
const FRAMES: usize = 8000;

fn seeds() -> std::ops::RangeInclusive<u64> {
    let named = env::var("BULKHEAD_JUDGE_SEED");
    match named.ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => seed..=seed,
        None if env::var_os("BULKHEAD_SOAK").is_some() => 1..=200,
        None => 1..=20,
    }
}

/// A frame, who sends it, and what is spent of its budgets.
struct Sent {
    frame: Vec<u8>,
    /// Of the node's bindings.
    port: usize,
    spent: Spent,
}

impl Sent {
    fn any(dice: &mut Dice, node: &Node) -> Self {
        let port = if dice.percent(45) {
            dice.one(&ports::WITH_ROLES)
        } else {
            dice.below(node.bindings.len())
        };
        Self {
            frame: frames::frame(dice, node, &node.bindings[port]),
            port,
            spent: Spent {
                shared: shares(dice),
                own: shares(dice),
            },
        }
    }

    fn binding<'n>(&self, node: &'n Node) -> &'n Binding {
        &node.bindings[self.port]
    }
}

fn shares(dice: &mut Dice) -> Shares {
    Shares {
        node: dice.percent(20),
        all: dice.percent(12),
    }
}

/// What the table does to a frame.
fn ruled(table: &nft::Table, node: &Node, sent: &Sent) -> Result<nft::Evaluation, nft::Undefined> {
    let port = sent.binding(node).port;
    let mut packet = nft::Packet::frame(&sent.frame, port).expect("it has an Ethernet header");
    if destination(&sent.frame).is_some_and(|to| node.own.contains(&to)) {
        packet = packet.for_host();
    }
    let budgets = [
        ("to-node", sent.spent.shared.node),
        ("to-all", sent.spent.shared.all),
        ("own-to-node", sent.spent.own.node),
        ("own-to-all", sent.spent.own.all),
    ];
    let exceeded = budgets.into_iter().filter(|(_, is)| *is);
    let exceeded = exceeded.map(|(set, _)| nft::Name::literal(set)).collect();
    nft::evaluate_over(table, nft::Hook::Ingress, &packet, &exceeded)
}

/// Whether the frame passed, and the reason if not; `None` if it was dropped for none.
fn sentence(evaluation: &nft::Evaluation) -> Option<Sentence> {
    match evaluation.verdict {
        nft::Policy::Accept => Some(Ok(())),
        nft::Policy::Drop => {
            let chain = evaluation.trail.last()?.chain.as_str();
            Reason::of_word(chain.strip_prefix("drop-")?).map(Err)
        }
    }
}

/// What a route is looked up for.
fn destination(frame: &[u8]) -> Option<IpAddr> {
    let at = |place: std::ops::Range<usize>| frame.get(place);
    match frame.get(12..14)? {
        [0x08, 0x00] => Some(Ipv4Addr::from(<[u8; 4]>::try_from(at(30..34)?).ok()?).into()),
        [0x86, 0xdd] => Some(Ipv6Addr::from(<[u8; 16]>::try_from(at(38..54)?).ok()?).into()),
        _ => None,
    }
}

fn shown(sent: &Sent, node: &Node) -> String {
    let read = netns_fixtures::packet::Frame::parse(&sent.frame);
    let read = read.map_or_else(|error| error.to_string(), |frame| frame.to_string());
    format!(
        "{read}\n{:02x?}\n{:?}\nfrom {:?}",
        sent.frame,
        sent.spent,
        sent.binding(node)
    )
}

#[test]
fn soak_the_rules_and_the_documents_agree_on_every_frame() {
    let mut passed = 0;
    let mut dropped: BTreeMap<Reason, usize> = BTreeMap::new();
    for seed in seeds() {
        let mut dice = Dice::new(seed);
        let node = ports::node(&mut dice);
        let table = ports::table(&node);
        for _ in 0..FRAMES {
            let sent = Sent::any(&mut dice, &node);
            let binding = sent.binding(&node);
            let said = judge(&node, binding, &sent.frame, sent.spent);
            let done = ruled(&table, &node, &sent)
                .unwrap_or_else(|undefined| panic!("{undefined}: {}", shown(&sent, &node)));
            assert_eq!(
                sentence(&done),
                Some(said),
                "seed {seed}: left: the rules; right: the documents\n{}\n{:?}",
                shown(&sent, &node),
                done.trail
            );
            let tallied = done.metered.iter();
            let tallied: Vec<_> = tallied
                .filter(|(set, _)| set.as_str().starts_with("drops-"))
                .cloned()
                .collect();
            let counted = said
                .err()
                .map(|reason| (reason.tally(), binding.port.into()));
            assert_eq!(tallied, Vec::from_iter(counted), "seed {seed}");
            match said {
                Ok(()) => passed += 1,
                Err(reason) => *dropped.entry(reason).or_default() += 1,
            }
        }
    }
    println!("seeds {:?}: {passed} passed, {dropped:?}", seeds());
    for reason in Reason::ALL {
        assert!(
            dropped.contains_key(&reason),
            "no frame was dropped: {reason}"
        );
    }
}
