//! The attacks of the Hackers' Choice (`thc-ipv6`), which share no code with ours.

use std::process::Command;
use std::time::Duration;

use netns_fixtures::packet::{Body, Extension, Frame, Icmpv6, Ipv6, mac_text};
use netns_fixtures::{BridgeNetfilter, Ns};

use crate::field::Field;
use crate::ground::Ground;
use crate::judge::{Outcome, conclude};
use crate::lab::ETH0;
use crate::scene::Scene;

/// A program that sends for ever is ended after this; the others end by themselves. Each sends at once.
const PERIOD: Duration = Duration::from_secs(1);
/// How long one may take that ends by itself.
const LIMIT: Duration = Duration::from_secs(20);
/// IANA's number of PIM (RFC 7761 §4.9).
const PIM: u8 = 103;
/// `ICMPv6` type of an `MLDv2` report (RFC 3810 §5.2).
const MULTICAST_REPORT: u8 = 143;
const EVIL_PREFIX: &str = "2001:db8:bad::/64";

/// One run: its arguments, and whether it has to change something on an unguarded port.
struct Run {
    words: String,
    works: bool,
}

fn run(words: String) -> Run {
    Run { words, works: true }
}

/// What a receiver of this kernel does not take (see "Attack catalogue", A).
fn delivered_only(words: String) -> Run {
    Run {
        words,
        works: false,
    }
}

fn runs(s: &Scene) -> Vec<Run> {
    let (gw, gw_lla, v1, v2) = (s.gateway.v6, s.gateway.lla, s.v1().v6, s.v2().v6);
    let (me, mac) = (s.me.lla, mac_text(s.me.mac));
    let far = s.upstream.1;
    let mut all = vec![run(format!("fake_router6 {ETH0} {EVIL_PREFIX}"))];
    for evasion in ["1", "H", "H111"] {
        all.push(run(format!(
            "fake_router26 -E {evasion} -A {EVIL_PREFIX} -n 1 {ETH0}"
        )));
    }
    for evasion in ["D", "O", "o"] {
        let words = format!("fake_router26 -E {evasion} -A {EVIL_PREFIX} -n 1 {ETH0}");
        all.push(delivered_only(words));
    }
    all.extend([
        run(format!(
            "fake_advertise6 -Or -n 1 {ETH0} {gw} ff02::1 02:ba:d0:ba:d0:02"
        )),
        run(format!(
            "fake_advertise6 -H -Or -n 1 {ETH0} {gw} ff02::1 02:ba:d0:ba:d0:03"
        )),
        delivered_only(format!(
            "fake_advertise6 -O -n 1 {ETH0} {v2} {v1} {mac} {me}"
        )),
        run(format!(
            "fake_solicitate6 {ETH0} {v1} {v1} 02:ba:d0:ba:d0:04 {v2}"
        )),
        run(format!("redir6 {ETH0} {v1} {far} {gw_lla} {me} {mac}")),
        run(format!("toobig6 -u {ETH0} {v1} {far} 1300")),
        delivered_only(format!("kill_router6 {ETH0} {gw_lla}")),
        delivered_only(format!("fake_mldrouter6 {ETH0} advertise")),
        delivered_only(format!("fake_pim6 {ETH0} hello")),
        delivered_only(format!("smurf6 -i 100000 {ETH0} {v1}")),
    ]);
    all
}

fn carry_out(field: &mut Field, run: &Run) -> Outcome {
    let limit = PERIOD.as_secs_f64().to_string();
    let mut command = Command::new("timeout");
    command
        .arg(limit)
        .args(format!("atk6-{}", run.words).split_whitespace());
    let ns: Ns = (*field.lab.attacker.ns).clone();
    // However it ends: what counts is what came of it.
    ns.output(&mut command, b"", LIMIT).unwrap();
    let whose = field.lab.scene;
    conclude(field, move |arrivals| {
        arrivals
            .iter()
            .filter(|bytes| is_forbidden(&whose, bytes))
            .count()
    })
}

/// Whether a host may not send it: by where it comes from or by what it is.
fn is_forbidden(s: &Scene, bytes: &[u8]) -> bool {
    let Ok(frame) = Frame::parse(bytes) else {
        // Nobody honest sends what cannot be read.
        return true;
    };
    let of_attacker = frame.src == s.me.mac;
    let ours = s.me.addresses();
    let another_s = frame
        .addresses()
        .is_some_and(|(src, _)| of_attacker && !ours.contains(&src));
    let in_pieces = |ip: &Ipv6| {
        let piece = |header: &Extension| matches!(header, Extension::Fragment(_));
        ip.hop_limit == 255 && ip.extensions.iter().any(piece)
    };
    if let Body::Ipv6(ip) = &frame.body
        && of_attacker
        && (in_pieces(ip) || ip.payload.protocol() == PIM)
    {
        return true;
    }
    match frame.icmpv6() {
        Some(Icmpv6::RouterAdvertisement(_)) => true,
        // Which groups the attacker's own kernel is in, told from no address (RFC 3810 §5.2.13): a legitimate
        // exchange that may come at any time.
        Some(Icmpv6::Other {
            kind: MULTICAST_REPORT,
            ..
        }) if is_from_nobody(&frame) => false,
        Some(Icmpv6::NeighborAdvertisement { target, .. }) => {
            of_attacker && !ours.contains(&(*target).into())
        }
        Some(Icmpv6::Other { kind, .. }) => of_attacker && matches!(kind, 2 | 130 | 137 | 151),
        _ => another_s,
    }
}

fn is_from_nobody(frame: &Frame) -> bool {
    let source = frame.addresses().map(|(source, _)| source);
    source.is_some_and(|source| source.is_unspecified())
}

crate::on_each_ground! { ground: thc_ipv6 }

/// On an unguarded port each does what it is for, on a guarded one none does anything.
fn thc_ipv6(ground: Ground, setting: BridgeNetfilter) {
    let mut field = Field::new(ground, setting);
    let mut wrong = Vec::new();
    for run in runs(&field.lab.scene) {
        let outcome = carry_out(&mut field, &run);
        let words = &run.words;
        if ground.is_guarded() {
            if !outcome.is_harmless() {
                wrong.push(format!("atk6-{words}: {outcome}"));
            }
        } else if run.works && outcome.effects.is_empty() || outcome.is_harmless() {
            wrong.push(format!("atk6-{words} does nothing here: {outcome}"));
        }
    }
    assert!(wrong.is_empty(), "{ground:?}:\n   {}", wrong.join("\n   "));
}
