//! The interpreter and the kernel agree on which frames leave by a device, and those come back from an
//! ifb device as received on their port.

mod common;

use std::time::Duration;

use bulkhead_nft::{
    Base, Chain, Command, Datum, Elements, Field, Hook, Name, Packet, Policy, Rule, Statement,
    Table, evaluate,
};
use common::frame::{BOUND, ethernet, frames};
use common::{BULKHEAD, Nfnl, SHAPED, bound, device, port_chain, shaped, shaped_guard};
use netns_fixtures::{Feature, Ns, PacketSocket, Sandbox, skip_without, wait_for};

const LIMIT: Duration = Duration::from_secs(40);
/// IEEE 802 local experimental `EtherType`: the frame that shows that those before it are through.
const SENTINEL: u16 = 0x88b5;

/// A bridge port of which frames are counted on entry into the bridge, and an ifb device with a tbf.
struct Bench {
    near: Ns,
    far: Ns,
    socket: Nfnl,
    _sandbox: Sandbox,
}

impl Bench {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let (near, far) = (sandbox.ns("near").unwrap(), sandbox.ns("far").unwrap());
        for ns in [&near, &far] {
            // No router solicitations among the frames counted.
            ns.set_sysctl("net/ipv6/conf/default/disable_ipv6", "1")
                .unwrap();
        }
        let peer = format!(
            "link add bhpa type veth peer name bhpa netns {}",
            far.name()
        );
        near.ip_batch(&[
            "link add br0 type bridge",
            "link add ifb0 type ifb",
            &peer,
            "link set bhpa master br0",
            "link set br0 up",
            "link set ifb0 up",
            "link set bhpa up",
        ])
        .unwrap();
        far.ip("link set bhpa up").unwrap();
        near.sh("tc qdisc add dev ifb0 root tbf rate 1gbit burst 64kb limit 640kb")
            .unwrap();
        near.nft(&format!(
            "table bridge witness {{\n chain c {{\n\
             type filter hook prerouting priority -300;\n\
             iifname bhpa ether type {SENTINEL} counter accept\n\
             iifname bhpa counter\n }}\n}}"
        ))
        .unwrap();
        Self {
            socket: Nfnl::open(&near),
            near,
            far,
            _sandbox: sandbox,
        }
    }

    /// (sentinels, other frames) in the bridge
    fn counters(&self) -> (u64, u64) {
        let text = self.near.sh("nft list table bridge witness").unwrap();
        let mut words = text.split_whitespace();
        let mut next = || {
            words.find(|word| *word == "packets").unwrap();
            words.next().unwrap().parse().unwrap()
        };
        (next(), next())
    }

    /// Frames that the tbf has let through.
    fn by_ifb(&self) -> u64 {
        let text = self.near.sh("tc -s qdisc show dev ifb0").unwrap();
        let words: Vec<&str> = text.split_whitespace().collect();
        let sent = words.windows(2).find(|pair| pair[1] == "pkt").unwrap();
        sent[0].parse().unwrap()
    }

    fn send(&self, frame: &[u8]) {
        let socket = PacketSocket::open(&self.far, "bhpa").unwrap();
        socket.send_bytes(frame).unwrap();
    }

    /// What reaches the bridge of a frame, and how many frames went by the ifb device.
    fn judge(&self, frame: &[u8]) -> (Policy, u64) {
        let ((sentinels, passed), by_ifb) = (self.counters(), self.by_ifb());
        self.send(frame);
        // Goes the way that the frame goes if it passes.
        self.send(&ethernet(BOUND, SENTINEL, &[0; 46]));
        let now = wait_for("the sentinel", LIMIT, || {
            let (now, passed) = self.counters();
            (now > sentinels).then_some(passed)
        });
        let verdict = match now - passed {
            0 => Policy::Drop,
            1 => Policy::Accept,
            more => panic!("{more} frames from one"),
        };
        (verdict, self.by_ifb() - by_ifb)
    }
}

/// The guard, and after it a chain that drops all but sentinels.
fn guard() -> Table {
    let mut table = shaped_guard();
    table.sets[0].elements = Elements::keys([bound("bhpa", 1)]);
    let port = port_chain("bhpa");
    let late = Chain {
        name: Name::literal("late"),
        base: port.base.clone().map(|base| Base {
            priority: 100,
            ..base
        }),
        rules: vec![Rule::new([
            Statement::is(Field::EtherType, Datum::EtherType(SENTINEL)),
            Statement::accept(),
        ])],
        ..port
    };
    table.chains.extend([port, late]);
    table
}

#[test]
fn what_is_sent_by_the_ifb_device_comes_back_past_the_hook_and_what_is_dropped_never_gets_there() {
    skip_without!(Feature::Ifb);
    skip_without!(Feature::Tbf);
    let bench = Bench::new();
    let mut table = guard();
    let commit = |command| bench.socket.commit(&[command]).unwrap();
    commit(Command::ReplaceTable(table.clone()));
    for way in [None, Some(device("ifb0"))] {
        if way.is_some() {
            let elements = shaped("bhpa", "ifb0");
            table.sets[2].elements = elements.clone();
            commit(Command::AddElements {
                table: BULKHEAD,
                set: SHAPED,
                elements,
            });
        }
        for frame in frames().into_iter().step_by(5) {
            let packet = Packet::frame(&frame, device("bhpa")).unwrap();
            let model = evaluate(&table, Hook::Ingress, &packet).unwrap();
            let is_bound = frame[6..12] == BOUND;
            assert_eq!(model.forwarded_to, way.filter(|_| is_bound));
            let passes = model.verdict == Policy::Accept;
            assert_eq!(passes, model.forwarded_to.is_some());

            let (verdict, by_ifb) = bench.judge(&frame);
            assert_eq!(verdict, model.verdict, "{way:?} {frame:02x?}");
            // The sentinel's way is that of what is bound.
            let expected = u64::from(way.is_some()) + u64::from(passes);
            assert_eq!(by_ifb, expected, "{way:?} {frame:02x?}");
        }
    }
}

#[test]
fn a_device_that_is_gone_takes_the_frames_with_it() {
    skip_without!(Feature::Ifb);
    skip_without!(Feature::Tbf);
    let bench = Bench::new();
    let mut table = guard();
    table.sets[2].elements = shaped("bhpa", "ifb0");
    let replace = Command::ReplaceTable(table.clone());
    bench.socket.commit(&[replace]).unwrap();
    bench.near.ip("link del ifb0").unwrap();
    let lost = ethernet(BOUND, 0x88cc, &[0; 46]);
    let packet = Packet::frame(&lost, device("bhpa")).unwrap();
    let model = evaluate(&table, Hook::Ingress, &packet).unwrap();
    assert_eq!(model.forwarded_to, Some(device("ifb0")));

    // The sentinel's way does not pass the table.
    bench
        .near
        .ip_batch(&["link add ifb1 type ifb", "link set ifb1 up"])
        .unwrap();
    bench
        .near
        .nft(&format!(
            "table netdev detour {{\n chain c {{\n\
             type filter hook ingress device bhpa priority -400;\n\
             ether type {SENTINEL} fwd to ifb1\n }}\n}}"
        ))
        .unwrap();
    let (sentinels, passed) = bench.counters();
    bench.send(&lost);
    bench.send(&ethernet(BOUND, SENTINEL, &[0; 46]));
    let (_, now) = wait_for("the sentinel", LIMIT, || {
        Some(bench.counters()).filter(|(now, _)| *now > sentinels)
    });
    assert_eq!(now, passed);
}
