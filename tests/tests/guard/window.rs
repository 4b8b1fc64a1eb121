//! There is no moment at which a port forwards what it may not: a container that sends from before its
//! ADD until after its DEL.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use netns_fixtures::packet::{Arp, Frame, Icmpv6, Ipv6};
use netns_fixtures::{BridgeNetfilter, Capture, Captured, Direction, Ns, PacketSocket, wait_for};

use crate::ground::Ground;
use crate::lab::{ETH0, LIMIT, Lab};
use crate::scene::{EVIL, Scene};

// Not on a port of another plugin: a chained guard protects from its own ADD on, and before it there is
// such a moment.
crate::on_each_ground! { but_chained, ground: from_before_its_add_until_after_its_del }

/// How often a container comes and goes.
const TIMES: usize = 5;
/// Frames that are sent while it is attached.
const SENT: usize = 200;

/// The gateway is at a MAC that nobody has, from that MAC.
fn lie(s: &Scene) -> Frame {
    Arp::announcement(EVIL, s.gateway.v4)
}

/// Sends as soon as there is an interface, and as long as there is one, until told to stop.
fn lie_until(ns: &Ns, frame: &Frame, stop: &AtomicBool, sent: &AtomicUsize) {
    while !stop.load(Ordering::Relaxed) {
        let Ok(socket) = PacketSocket::open(ns, ETH0) else {
            continue;
        };
        // Down, not yet up, or gone: the next one may be sent.
        while !stop.load(Ordering::Relaxed) {
            match socket.send(frame) {
                Ok(()) => {
                    sent.fetch_add(1, Ordering::Relaxed);
                }
                Err(_) if ns.has_link(ETH0).unwrap_or_default() => {}
                Err(_) => break,
            }
        }
    }
}

fn from_before_its_add_until_after_its_del(ground: Ground, setting: BridgeNetfilter) {
    let lab = Lab::new(ground, setting);
    let lie = lie(&lab.scene);
    let places: [(&Ns, &str); 2] = [(&lab.victims[0].ns, ETH0), (&lab.victims[1].ns, ETH0)];
    let captures = places.map(|(ns, device)| Capture::start(ns, device).unwrap());
    for nth in 0..TIMES {
        let (stop, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
        let container = lab.sandbox.container(&format!("late{nth}")).unwrap();
        thread::scope(|scope| {
            scope.spawn(|| lie_until(&container, &lie, &stop, &sent));
            let late = lab.attach(container.clone());
            wait_for("lies to be told", LIMIT, || {
                (sent.load(Ordering::Relaxed) > SENT).then_some(())
            });
            lab.detach(&late);
            stop.store(true, Ordering::Relaxed);
        });
    }
    // What the victims themselves say shows that the paths deliver, and ends the wait.
    let [one, two] = &lab.victims;
    let gateway = lab.scene.gateway;
    let told = |frame: &Captured| {
        let arp = frame.ok().and_then(Frame::arp);
        frame.direction == Direction::In && arp.is_some_and(|arp| arp.sender_mac == EVIL)
    };
    for (seat, capture) in [one, two].into_iter().zip(&captures) {
        let own = seat.station;
        let echo = Icmpv6::EchoRequest {
            id: 0x1e55,
            seq: 1,
            data: Vec::new(),
        };
        let packet = Ipv6::new(own.lla, gateway.lla, echo);
        let ask = Frame::new(own.mac, gateway.mac, packet);
        capture.socket().send(&ask).unwrap();
        let answer = |frame: &Captured| {
            let message = frame.ok().and_then(Frame::icmpv6);
            matches!(message, Some(Icmpv6::EchoReply { id: 0x1e55, .. }))
        };
        let slipped = capture.none_before("a lie", LIMIT, told, answer);
        if ground.is_guarded() {
            slipped.unwrap();
        } else {
            slipped.expect_err("a lie is told where nothing stops it");
        }
    }
}
