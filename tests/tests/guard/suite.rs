//! Every attack of a section, on one ground.

use netns_fixtures::BridgeNetfilter;
use netns_fixtures::packet::{Frame, Ipv6, Udp};

use crate::attack::{Attack, Harm};
use crate::attacks::Chapter;
use crate::field::{Field, Place};
use crate::ground::Ground;
use crate::judge::judge;

/// What anybody may do, to show that an effect is the attack's and that each left the field clean.
const BENIGN: Attack = Attack::new("benign", "RFC 768", |s| {
    let udp = Udp {
        src_port: 9,
        dst_port: 9,
        data: b"nothing to see here".to_vec(),
    };
    let packet = Ipv6::new(s.me.v6, s.v1().v6, udp);
    vec![Frame::new(s.me.mac, s.towards(0), packet).into()]
})
.harms(Harm::Effect);

/// What a guard on another plugin's port cannot stop: it does not know which addresses nobody holds, sets no
/// attribute of a bridge that is not ours, and joins no pieces where nothing tracks connections, so that
/// those behind a dropped first one pass.
const BEYOND_A_CHAINED_GUARD: [&str; 7] = [
    "nd-exhaust-node",
    "nd-exhaust-remote",
    "arp-exhaust-node",
    "arp-exhaust-remote",
    "mld-flood",
    "vxlan-inject-frag",
    "vxlan-inject-frag8",
];

/// What no ingress of a port sees: packets from outside to addresses that nobody holds, for which the
/// node asks on its bridge. `neigh/default/gc_thresh3` is the node's own bound; without a bridge a
/// blackhole route is.
const BEYOND_A_BRIDGE: [&str; 2] = ["nd-exhaust-remote", "arp-exhaust-remote"];

/// The attacks that a ground is known not to stop: one that it stops has to leave the list.
fn beyond(ground: Ground) -> &'static [&'static str] {
    match ground {
        Ground::Chained => &BEYOND_A_CHAINED_GUARD,
        Ground::BridgeL2 | Ground::BridgeL3 | Ground::Shaped => &BEYOND_A_BRIDGE,
        Ground::Unguarded | Ground::SwitchedOff | Ground::Layer3 => &[],
    }
}

crate::on_each_ground! {
    ground: routers, neighbours, resources, source6, source4, errors, overlay,
}

fn routers(ground: Ground, setting: BridgeNetfilter) {
    run(ground, Chapter::Routers, setting);
}

fn neighbours(ground: Ground, setting: BridgeNetfilter) {
    run(ground, Chapter::Neighbours, setting);
}

fn resources(ground: Ground, setting: BridgeNetfilter) {
    run(ground, Chapter::Resources, setting);
}

fn source6(ground: Ground, setting: BridgeNetfilter) {
    run(ground, Chapter::Source6, setting);
}

fn source4(ground: Ground, setting: BridgeNetfilter) {
    run(ground, Chapter::Source4, setting);
}

fn errors(ground: Ground, setting: BridgeNetfilter) {
    run(ground, Chapter::Errors, setting);
}

fn overlay(ground: Ground, setting: BridgeNetfilter) {
    run(ground, Chapter::Overlay, setting);
}

/// On an unguarded port each works, on a guarded one none.
fn run(ground: Ground, chapter: Chapter, setting: BridgeNetfilter) {
    let mut field = Field::new(ground, setting);
    let mut wrong = Vec::new();
    let attacks = chapter.attacks();
    let benign = judge(&mut field, &BENIGN);
    for attack in &attacks {
        let verdict = judge(&mut field, attack);
        if std::env::var_os("BULKHEAD_GUARD_VERBOSE").is_some() {
            println!("{attack}: {verdict}");
        }
        if beyond(ground).contains(&attack.id) {
            if !verdict.is(attack.harm) {
                wrong.push(format!("{attack} is stopped now: {verdict}"));
            }
            continue;
        }
        if ground.is_guarded() {
            if verdict.is(attack.harm) {
                wrong.push(format!("{attack} got through: {verdict}"));
            }
            continue;
        }
        match (attack.excuse(ground), verdict.is(attack.harm)) {
            (None, false) => wrong.push(format!("{attack} does nothing here: {verdict}")),
            (Some(reason), true) => wrong.push(format!("{attack} works, although {reason}")),
            _ => {}
        }
    }
    for benign in [benign, judge(&mut field, &BENIGN)] {
        let reached = benign
            .delivered
            .iter()
            .any(|(place, _)| *place == Place::Victim1);
        assert!(reached && !benign.is(BENIGN.harm), "{ground:?}: {benign}");
    }
    assert!(
        wrong.is_empty(),
        "{ground:?}: {} of {} attacks:\n   {}",
        wrong.len(),
        attacks.len(),
        wrong.join("\n   ")
    );
}
