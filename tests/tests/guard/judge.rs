//! An attack carried out, and what came of it.

use std::fmt;

use netns_fixtures::packet::{Frame, Icmpv6};
use netns_fixtures::{Capture, Captured, Direction, Ns, wait_for};

use crate::attack::{Attack, Harm, Moment, Sender};
use crate::field::{Field, Place};
use crate::lab::{ETH0, LIMIT};
use crate::scene::CANDIDATE;
use crate::shot::Shot;

/// Lines of effects that are printed; a flood makes hundreds.
const SHOWN: usize = 4;

/// What came of messages that were sent together; nothing, when they were stopped.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// How many arrived whole, by place.
    pub(crate) delivered: Vec<(Place, usize)>,
    /// What changed in anybody's tables.
    pub(crate) effects: Vec<String>,
}

impl Outcome {
    pub(crate) fn is_harmless(&self) -> bool {
        self.delivered.is_empty() && self.effects.is_empty()
    }

    /// Whether it is what must not come about.
    pub(crate) fn is(&self, harm: Harm) -> bool {
        let counts = self
            .delivered
            .iter()
            .filter(|(place, _)| match harm {
                Harm::Passage => *place != Place::Node,
                Harm::Injection => matches!(place, Place::NodeOverlay | Place::RemoteOverlay),
                _ => true,
            })
            .map(|(_, whole)| *whole);
        let most = counts.max().unwrap_or(0);
        let changed = !self.effects.is_empty();
        match harm {
            Harm::Delivery | Harm::Passage | Harm::Injection => most > 0 || changed,
            Harm::Effect => changed,
            Harm::Above(allowed) => most > allowed || changed,
            Harm::Groups(allowed) => {
                let (groups, others): (Vec<&String>, Vec<&String>) = self
                    .effects
                    .iter()
                    .partition(|line| line.contains("+ group "));
                groups.len() > allowed || !others.is_empty()
            }
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.delivered.is_empty() {
            write!(f, "delivered to {:?}", self.delivered)?;
        }
        for effect in self.effects.iter().take(SHOWN) {
            write!(f, "\n      {effect}")?;
        }
        if self.effects.len() > SHOWN {
            write!(f, "\n      and {} more", self.effects.len() - SHOWN)?;
        }
        Ok(())
    }
}

/// Carries `attack` out on a prepared field and leaves it prepared again.
pub(crate) fn judge(field: &mut Field, attack: &Attack) -> Outcome {
    let shots = (attack.shots)(&field.lab.scene);
    let me = field.lab.scene.me.mac;
    let probing = begin(field, attack.moment);
    // Who is asking may only at the second time be at it.
    let times = if attack.moment == Moment::Any { 1 } else { 2 };
    for shot in std::iter::repeat_n(&shots, times).flatten() {
        send(field, attack.sender, shot);
    }
    let taken = probing.and_then(|(ns, device)| taken(&ns, &device));
    let count = |arrivals: &[Vec<u8>]| match attack.harm {
        // The shots of a flood are all the same.
        Harm::Above(_) => {
            let arrived = |bytes: &&Vec<u8>| shots[0].arrived(std::slice::from_ref(*bytes));
            arrivals.iter().filter(arrived).count()
        }
        _ if attack.moment == Moment::Any => {
            shots.iter().filter(|shot| shot.arrived(arrivals)).count()
        }
        // Who probes sends what some attacks imitate.
        _ => {
            let sent = arrivals.iter().filter(|bytes| bytes[6..12] == me);
            let sent: Vec<Vec<u8>> = sent.cloned().collect();
            shots.iter().filter(|shot| shot.arrived(&sent)).count()
        }
    };
    let mut outcome = conclude(field, count);
    outcome.effects.extend(taken);
    outcome
}

/// Carries attacks out one right after the other, each of which [`may_be_together`](Attack::may_be_together):
/// what of each arrived, and what all of them have changed. Leaves the field prepared.
pub(crate) fn judge_together(field: &mut Field, attacks: &[Attack]) -> (Vec<Outcome>, Vec<String>) {
    let all: Vec<Vec<Shot>> = attacks
        .iter()
        .map(|attack| (attack.shots)(&field.lab.scene))
        .collect();
    for shot in all.iter().flatten() {
        send(field, Sender::Container, shot);
    }
    let (arrivals, effects) = settled(field);
    let of = |shots: &Vec<Shot>| {
        let count = |arrivals: &[Vec<u8>]| shots.iter().filter(|it| it.arrived(arrivals)).count();
        Outcome {
            delivered: delivered(&arrivals, count),
            effects: Vec::new(),
        }
    };
    (all.iter().map(of).collect(), effects)
}

/// Sends messages none of which may arrive, and leaves the field prepared again.
pub(crate) fn carry_out<'a>(
    field: &mut Field,
    shots: impl IntoIterator<Item = &'a Shot>,
) -> Outcome {
    let shots: Vec<&Shot> = shots.into_iter().collect();
    for shot in &shots {
        send(field, Sender::Container, shot);
    }
    conclude(field, |arrivals| {
        shots.iter().filter(|shot| shot.arrived(arrivals)).count()
    })
}

/// What came of what was sent last; `count` says how much of it some arrivals are.
pub(crate) fn conclude(field: &mut Field, count: impl Fn(&[Vec<u8>]) -> usize) -> Outcome {
    let (arrivals, effects) = settled(field);
    Outcome {
        delivered: delivered(&arrivals, count),
        effects,
    }
}

/// What arrived where.
type Arrivals = Vec<(Place, Vec<Vec<u8>>)>;

/// What arrived and what changed, once the field is prepared again.
fn settled(field: &mut Field) -> (Arrivals, Vec<String>) {
    let aftermath = field.settle();
    let mut effects = field.effects();
    // Where nothing guards attacks do break paths, which proves nothing.
    if field.lab.ground.is_guarded() {
        for place in &aftermath.unreached {
            effects.push(format!("{place:?} is no longer reached"));
        }
    }
    if !effects.is_empty() {
        field.restore();
    }
    (aftermath.arrivals, effects)
}

fn delivered(arrivals: &Arrivals, count: impl Fn(&[Vec<u8>]) -> usize) -> Vec<(Place, usize)> {
    let counts = arrivals
        .iter()
        .map(|(place, arrivals)| (*place, count(arrivals)));
    counts.filter(|(_, whole)| *whole > 0).collect()
}

fn send(field: &Field, sender: Sender, shot: &Shot) {
    let socket = match sender {
        Sender::Container => &field.socket,
        Sender::Upstream => &field.upstream,
    };
    for frame in &shot.frames {
        socket.send_bytes(frame).unwrap();
    }
}

/// Makes somebody ask for what the attack answers; where to look for the outcome, if it is an address
/// that is taken or not.
fn begin(field: &Field, moment: Moment) -> Option<(Ns, String)> {
    let lab = &field.lab;
    match moment {
        Moment::Any => None,
        // Without a segment the node knows the victim by the victim's own port.
        Moment::NodeVerifies if lab.ground.bridge().is_none() => None,
        Moment::NodeVerifies => {
            let victim = lab.scene.v1();
            let device = lab.node_device();
            let standing = lab
                .home()
                .ip(&format!("neigh show {} dev {device}", victim.v6))
                .unwrap();
            if !standing.contains("PERMANENT") {
                let line = crate::lab::neighbour_line(victim.v6.into(), victim.mac, device, "");
                lab.home().ip(&line.replace("reachable", "probe")).unwrap();
            }
            None
        }
        Moment::VictimProbes => Some(probe(&lab.victims[0].ns, ETH0)),
        Moment::NodeProbes => Some(probe(lab.home(), lab.node_device())),
    }
}

/// Returns once the probe is sent: before, the kernel takes no answer (`addrconf_dad_end` in
/// net/ipv6/addrconf.c).
fn probe(ns: &Ns, device: &str) -> (Ns, String) {
    let capture = Capture::start(ns, device).unwrap();
    ns.ip(&format!("addr add {CANDIDATE}/128 dev {device}"))
        .unwrap();
    let asked = |frame: &Captured| {
        let message = frame.ok().and_then(Frame::icmpv6);
        matches!(message, Some(Icmpv6::NeighborSolicitation { target, .. }) if *target == CANDIDATE)
    };
    let sent = |frame: &Captured| frame.direction == Direction::Out && asked(frame);
    capture
        .expect("a probe for a duplicate", LIMIT, sent)
        .unwrap();
    (ns.clone(), device.to_owned())
}

/// Waits for the end of duplicate address detection and removes the address.
fn taken(ns: &Ns, device: &str) -> Option<String> {
    let show = format!("-6 addr show dev {device} to {CANDIDATE}");
    let failed = wait_for("the end of duplicate address detection", LIMIT, || {
        let address = &ns.ip_json(&show).unwrap()[0]["addr_info"][0];
        if address.get("dadfailed").is_some() {
            return Some(true);
        }
        address.get("tentative").is_none().then_some(false)
    });
    ns.ip(&format!("addr del {CANDIDATE}/128 dev {device}"))
        .unwrap();
    // The route of the address goes behind the caller.
    wait_for("the address to be gone", LIMIT, || {
        let routes = ns
            .ip(&format!("-6 route show table local {CANDIDATE}"))
            .unwrap();
        routes.is_empty().then_some(())
    });
    failed.then(|| format!("{}: {CANDIDATE} is taken for a duplicate", ns.name()))
}
