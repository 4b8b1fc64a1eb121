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

/// Pieces of a tunnel's datagram, of which a guard on another plugin's port drops the first alone: nothing
/// there tracks connections, so that nobody joins them on the way. The rest passes and can be made into
/// nothing; what counts is what comes out of the tunnel.
const IN_PIECES: [&str; 2] = ["vxlan-inject-frag", "vxlan-inject-frag8"];

/// The other node's IPv6 address, where nothing listens: its VTEP is at the IPv4 one.
const BEYOND_AN_OVERLAY: [&str; 1] = ["vxlan6-inject"];

/// What is for an address of the pool that nobody has: on which node it would be the port does not know. It
/// ends in a blackhole route of the attacker's own node, and nobody is asked for it.
const ENDS_AT_THE_NODE: [&str; 2] = ["nd-exhaust-node", "arp-exhaust-node"];

/// What a link of its own and the node's filter are proof against without any guard: no bridge counts groups
/// or asks for what nobody has, and the node lets no container's packet to a VXLAN port pass.
const PROOF_WITHOUT_A_GUARD: [&str; 13] = [
    "nd-exhaust-remote",
    "arp-exhaust-remote",
    "mld-flood",
    "igmp-flood",
    "vxlan-inject-own",
    "vxlan-inject-own-local",
    "vxlan-inject-spoof",
    "vxlan-inject-spoof-local",
    "vxlan-inject-frag",
    "vxlan-inject-frag8",
    "vxlan-inject-frag-local",
    "vxlan-inject-lower-port",
    "vxlan-inject-na",
];

/// What only a bridge drops.
const STOPPED_BY_A_BRIDGE: [&str; 1] = ["mac-group-source"];

/// Why an attack need not work where nothing guards.
fn excuse(attack: &Attack, ground: Ground) -> Option<&'static str> {
    if ground != Ground::OverlayOff {
        return attack.excuse(ground);
    }
    if PROOF_WITHOUT_A_GUARD.contains(&attack.id) {
        return Some("the link and the node's filter stop it");
    }
    let by_bridge = STOPPED_BY_A_BRIDGE.contains(&attack.id);
    attack.excuse(ground).filter(|_| !by_bridge)
}

/// The attacks that a ground is known not to stop: one that it stops has to leave the list.
fn beyond(ground: Ground) -> &'static [&'static str] {
    match ground {
        Ground::Overlay => &BEYOND_AN_OVERLAY,
        _ => &[],
    }
}

/// The attack as it is judged on a ground.
fn judged_on(ground: Ground, attack: Attack) -> Attack {
    if ground == Ground::Chained && IN_PIECES.contains(&attack.id) {
        println!("{attack}: judged on {ground:?} by what comes out of the tunnel");
        return attack.harms(Harm::Injection);
    }
    attack
}

crate::on_each_ground! {
    ground: routers, neighbours, resources, source6, source4, errors, overlay,
}

/// On the ports of an overlay, with the other node and a container there as victims too: one pair of nodes
/// for all of them.
#[test]
fn over_two_nodes() {
    let mut field = Field::new(Ground::Overlay, BridgeNetfilter::Off);
    run_on(&mut field, &Chapter::ALL);
}

/// The same ports without their guard: what only the guard keeps from others gets there.
#[test]
fn over_two_nodes_unguarded() {
    let mut field = Field::new(Ground::OverlayOff, BridgeNetfilter::Off);
    run_on(&mut field, &Chapter::ALL);
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
    run_on(&mut Field::new(ground, setting), &[chapter]);
}

fn run_on(field: &mut Field, chapters: &[Chapter]) {
    let ground = field.lab.ground;
    let mut wrong = Vec::new();
    let attacks = chapters.iter().flat_map(|chapter| chapter.attacks());
    let attacks: Vec<Attack> = attacks.map(|it| judged_on(ground, it)).collect();
    let benign = judge(field, &BENIGN);
    for attack in &attacks {
        let verdict = judge(field, attack);
        if std::env::var_os("BULKHEAD_GUARD_VERBOSE").is_some() {
            println!("{attack}: {verdict}");
        }
        if beyond(ground).contains(&attack.id) {
            if !verdict.is(attack.harm) {
                wrong.push(format!("{attack} is stopped now: {verdict}"));
            }
            continue;
        }
        if ground == Ground::Overlay && ENDS_AT_THE_NODE.contains(&attack.id) {
            let mut places = verdict.delivered.iter();
            if !verdict.effects.is_empty() || places.any(|(place, _)| *place != Place::Node) {
                wrong.push(format!("{attack} goes on: {verdict}"));
            }
            continue;
        }
        if ground.is_guarded() {
            if verdict.is(attack.harm) {
                wrong.push(format!("{attack} got through: {verdict}"));
            }
            continue;
        }
        match (excuse(attack, ground), verdict.is(attack.harm)) {
            (None, false) => wrong.push(format!("{attack} does nothing here: {verdict}")),
            (Some(reason), true) => wrong.push(format!("{attack} works, although {reason}")),
            _ => {}
        }
    }
    for benign in [benign, judge(field, &BENIGN)] {
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
