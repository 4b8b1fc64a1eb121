//! Every attack of a section, on one ground.

use netns_fixtures::BridgeNetfilter;
use netns_fixtures::packet::{Frame, Ipv6, Udp};

use crate::attack::{Attack, Harm, Moment};
use crate::attacks::Chapter;
use crate::field::{Field, Place};
use crate::ground::Ground;
use crate::judge::{Outcome, judge, judge_together};
use crate::scene::Scene;
use crate::shot::Shot;

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

/// Pieces of a tunnel's datagram, of which the guard drops the first alone where nothing tracks connections, so
/// that nobody joins them on the way. The rest passes and can be made into nothing; what counts is what comes
/// out of the tunnel.
const IN_PIECES: [&str; 2] = ["vxlan-inject-frag", "vxlan-inject-frag8"];

/// On another plugin's port, and of a network that neither masquerades nor declares host ports.
const UNTRACKED: [Ground; 2] = [Ground::Chained, Ground::Shaped];

/// The other node's IPv6 address, where nothing listens: its VTEP is at the IPv4 one.
const BEYOND_AN_OVERLAY: [&str; 1] = ["vxlan6-inject"];

/// What is for an address of the pool that nobody has: on which node it would be the port does not know. It
/// ends in a blackhole route of the attacker's own node, or at its segment's gateway, and nobody is asked for it.
const ENDS_AT_THE_NODE: [&str; 2] = ["nd-exhaust-node", "arp-exhaust-node"];

/// What a container sends to a VTEP's port as a frame of the tunnel.
const INJECTED: [&str; 9] = [
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

/// Beside what is injected, what a link of its own and the node's filter are proof against without any guard: no bridge counts groups
/// or asks for what nobody has, and the node lets no container's packet to a VXLAN port pass.
const PROOF_WITHOUT_A_GUARD: [&str; 4] = [
    "nd-exhaust-remote",
    "arp-exhaust-remote",
    "mld-flood",
    "igmp-flood",
];

/// What only a bridge drops.
const STOPPED_BY_A_BRIDGE: [&str; 1] = ["mac-group-source"];

/// Why an attack need not work where nothing guards.
fn excuse(attack: &Attack, ground: Ground) -> Option<&'static str> {
    if ground == Ground::BridgedOff {
        return excuse_on_a_segment(attack);
    }
    if ground != Ground::OverlayOff {
        return attack.excuse(ground);
    }
    if [&INJECTED[..], &PROOF_WITHOUT_A_GUARD]
        .concat()
        .contains(&attack.id)
    {
        return Some("the link and the node's filter stop it");
    }
    let by_bridge = STOPPED_BY_A_BRIDGE.contains(&attack.id);
    attack.excuse(ground).filter(|_| !by_bridge)
}

/// What leads into a segment from outside: nothing.
const NOT_LED_IN: [&str; 2] = ["nd-exhaust-remote", "arp-exhaust-remote"];

/// Beside what is injected, what a segment sends out by its link to the node, which is guarded whatever its ports are.
const STOPPED_AT_THE_EXIT: [&str; 8] = [
    "vxlan-legacy-port",
    "geneve-inject",
    "vxlan-gpe-inject",
    "encap-6in4",
    "encap-gre",
    "encap-4in6",
    "encap-4in4",
    "encap-6in6",
];

/// What never gets to a victim behind another node, and to whoever is nearer by chance: the VXLAN device sends
/// neither ARP nor solicitations on, whatever they say.
const STOPPED_BY_THE_VTEP: [&str; 12] = [
    "dad-ns",
    "dad-ns-nonce",
    "ns-gw",
    "ns-peer",
    "ns-mac-spoof",
    "arp-reply",
    "arp-peer",
    "arp-sha-mismatch",
    "arp-mac-spoof",
    "arp-htype6",
    "arp-probe-conflict",
    "arp-inverse",
];

/// Why an attack need not work on a segment without any guard.
fn excuse_on_a_segment(attack: &Attack) -> Option<&'static str> {
    if NOT_LED_IN.contains(&attack.id) {
        return Some("the node leads nothing into the segment");
    }
    if [&INJECTED[..], &STOPPED_AT_THE_EXIT]
        .concat()
        .contains(&attack.id)
    {
        return Some("the segment's link to the node is guarded");
    }
    attack.unproven.or(attack.moot)
}

/// The attacks that a ground is known not to stop: one that it stops has to leave the list.
fn beyond(ground: Ground) -> &'static [&'static str] {
    match ground {
        Ground::Overlay | Ground::Bridged => &BEYOND_AN_OVERLAY,
        _ => &[],
    }
}

/// The attack as it is judged on a ground.
fn judged_on(ground: Ground, attack: Attack) -> Attack {
    if UNTRACKED.contains(&ground) && IN_PIECES.contains(&attack.id) {
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

/// On the ports of a segment over two nodes: on the neighbour first, on the one behind the other node then, while
/// bridged frames pass netfilter.
#[test]
fn over_a_segment() {
    on_either_victim(Ground::Bridged);
}

/// The same ports without their guard.
#[test]
fn over_a_segment_unguarded() {
    on_either_victim(Ground::BridgedOff);
}

/// Every attack, and then those anew that are another one's problem when the victims change places.
fn on_either_victim(ground: Ground) {
    let mut field = Field::new(ground, BridgeNetfilter::Off);
    run_on(&mut field, &Chapter::ALL);
    println!("{ground:?}: the first victim is on the other node");
    if ground.is_guarded() {
        field.lab.set_bridge_netfilter(BridgeNetfilter::On);
    }
    let before = field.lab.scene;
    field.change_victims();
    let frames = |scene: &Scene, attack: &Attack| -> Vec<Vec<Vec<u8>>> {
        let shots = (attack.shots)(scene).into_iter();
        shots.map(|shot| shot.frames).collect()
    };
    let is_of_victim = |attack: &Attack| {
        attack.moment == Moment::VictimProbes
            || frames(&before, attack) != frames(&field.lab.scene, attack)
    };
    let all = Chapter::ALL.iter().flat_map(|chapter| chapter.attacks());
    let all: Vec<Attack> = all.filter(is_of_victim).collect();
    run_these(&mut field, &all);
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

/// How many are carried out together.
const TOGETHER: usize = 16;
/// And of how many shots each of them is.
const FEW: usize = 8;

/// How often what has to work is tried: a machine with other work misses the moment that some have to meet.
const TIMES: usize = 6;

/// Attacks that are carried out together, none of which could be taken for another.
fn batches(scene: &Scene, attacks: Vec<Attack>) -> Vec<Vec<Attack>> {
    let mut batches: Vec<Vec<(Attack, Vec<Shot>)>> = Vec::new();
    for attack in attacks {
        let shots = (attack.shots)(scene);
        let has_room = |batch: &Vec<(Attack, Vec<Shot>)>| {
            let alike = |(_, others): &(Attack, Vec<Shot>)| alike(&shots, others);
            batch.len() < TOGETHER && !batch.iter().any(alike)
        };
        match batches.iter().position(has_room) {
            Some(nth) => batches[nth].push((attack, shots)),
            None => batches.push(vec![(attack, shots)]),
        }
    }
    let attacks = |batch: Vec<(Attack, Vec<Shot>)>| batch.into_iter().map(|it| it.0).collect();
    batches.into_iter().map(attacks).collect()
}

/// Whether one of some is known by what one of the others carries, or the other way round.
fn alike(some: &[Shot], others: &[Shot]) -> bool {
    let is_in = |one: &[Shot], other: &[Shot]| {
        let arrivals: Vec<_> = other.iter().flat_map(|shot| shot.frames.clone()).collect();
        one.iter().any(|shot| shot.arrived(&arrivals))
    };
    is_in(some, others) || is_in(others, some)
}

/// What came of each attack. Several are carried out together, and by themselves again whatever is not told by
/// that: where something guards all of them if one did anything, where nothing does those that did nothing.
fn verdicts(field: &mut Field, attacks: &[Attack]) -> Vec<(Attack, Outcome)> {
    let scene = field.lab.scene;
    let is_brief =
        |attack: &&Attack| attack.may_be_together() && (attack.shots)(&scene).len() <= FEW;
    let (together, mut each): (Vec<Attack>, Vec<Attack>) = attacks.iter().partition(is_brief);
    let guarded = field.lab.ground.is_guarded();
    let mut all = Vec::new();
    for batch in batches(&scene, together) {
        let (outcomes, effects) = judge_together(field, &batch);
        let told: Vec<_> = batch.into_iter().zip(outcomes).collect();
        let works = |(attack, outcome): &(Attack, Outcome)| outcome.is(attack.harm);
        let (known, unknown) = if guarded {
            let is_stopped = effects.is_empty() && !told.iter().any(works);
            told.into_iter().partition(|_| is_stopped)
        } else {
            told.into_iter().partition::<Vec<_>, _>(works)
        };
        all.extend(known);
        each.extend(unknown.into_iter().map(|(attack, _)| attack));
    }
    for attack in each {
        let mut verdict = judge(field, &attack);
        let has_to_work = !guarded && excuse(&attack, field.lab.ground).is_none();
        for _ in 1..TIMES {
            if !has_to_work || verdict.is(attack.harm) {
                break;
            }
            verdict = judge(field, &attack);
        }
        all.push((attack, verdict));
    }
    all
}

fn run_on(field: &mut Field, chapters: &[Chapter]) {
    let attacks = chapters.iter().flat_map(|chapter| chapter.attacks());
    run_these(field, &attacks.collect::<Vec<_>>());
}

fn run_these(field: &mut Field, attacks: &[Attack]) {
    let ground = field.lab.ground;
    let is_far = ground == Ground::BridgedOff && field.lab.is_first_victim_far();
    let mut wrong = Vec::new();
    let attacks: Vec<Attack> = attacks.iter().map(|it| judged_on(ground, *it)).collect();
    let benign = judge(field, &BENIGN);
    for (attack, verdict) in &verdicts(field, &attacks) {
        if std::env::var_os("BULKHEAD_GUARD_VERBOSE").is_some() {
            println!("{attack}: {verdict}");
        }
        if beyond(ground).contains(&attack.id) {
            if !verdict.is(attack.harm) {
                wrong.push(format!("{attack} is stopped now: {verdict}"));
            }
            continue;
        }
        let over_nodes = matches!(ground, Ground::Overlay | Ground::Bridged);
        if over_nodes && ENDS_AT_THE_NODE.contains(&attack.id) {
            let mut places = verdict.delivered.iter();
            if !verdict.effects.is_empty() || places.any(|(place, _)| *place != Place::Node) {
                wrong.push(format!("{attack} goes on: {verdict}"));
            }
            continue;
        }
        if is_far && STOPPED_BY_THE_VTEP.contains(&attack.id) {
            let beyond = [Place::Victim1, Place::Remote, Place::RemoteOverlay];
            let mut places = verdict.delivered.iter();
            if places.any(|(place, _)| beyond.contains(place)) {
                wrong.push(format!("{attack} gets to the other node: {verdict}"));
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
