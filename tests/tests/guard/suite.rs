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
    let attacks = chapter.attacks().into_iter();
    let attacks: Vec<_> = attacks.map(|it| judged_on(ground, it)).collect();
    let benign = judge(&mut field, &BENIGN);
    for attack in &attacks {
        let verdict = judge(&mut field, attack);
        if std::env::var_os("BULKHEAD_GUARD_VERBOSE").is_some() {
            println!("{attack}: {verdict}");
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
