//! Frames: those that hosts send, about addresses that matter, and what becomes of them when somebody
//! means harm.

mod discovery;
mod ip;
mod rare;
mod spoilt;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bulkhead_plan::{Binding, Held, Identity};
use netns_fixtures::packet::{BROADCAST, MacOctets, multicast_mac};

use crate::dice::Dice;
use crate::ports::{
    DEAD4, DEAD6, GATEWAY4, GATEWAY6, LINK_GATEWAY, NODE_LINK, NODE_MACS, NODE4, NODE6,
    TUNNEL_END4, TUNNEL_END6, identity,
};
use crate::reference::Node;

const TUNNELS: [u16; 4] = [4789, 8472, 6081, 4790];

/// A frame that `port` might send.
pub(crate) fn frame(dice: &mut Dice, node: &Node, port: &Binding) -> Vec<u8> {
    let mut sender = Sender::new(dice, node, port);
    let frame = match sender.dice.below(45) {
        20 | 21 => sender.dhcp(),
        22..=24 => sender.joining(),
        25..=28 => sender.narrow(),
        29.. => sender.in_its_role(),
        0 | 1 => sender.arp(),
        2..=6 => sender.ip4(),
        7..=13 => sender.ip6(),
        14..=18 => sender.discovery(),
        _ => sender.report(),
    };
    let frame = sender.wrapped(frame);
    let mut bytes = frame.to_bytes();
    if sender.dice.percent(35) {
        sender.spoil(&mut bytes);
    }
    bytes
}

/// Who sends, and whom it pretends to be.
struct Sender<'a> {
    dice: &'a mut Dice,
    own: Identity,
    peers: Vec<Identity>,
    mac: MacOctets,
    four: Ipv4Addr,
    six: Ipv6Addr,
}

impl<'a> Sender<'a> {
    fn new(dice: &'a mut Dice, node: &Node, port: &Binding) -> Self {
        let own = identity(port);
        let peers: Vec<_> = node.bindings.iter().map(identity).collect();
        let mut sender = Self {
            dice,
            own,
            peers,
            mac: [0; 6],
            four: Ipv4Addr::UNSPECIFIED,
            six: Ipv6Addr::UNSPECIFIED,
        };
        let own = sender.own.clone();
        (sender.mac, sender.four, sender.six) = sender.held_by(&own);
        if sender.dice.percent(8) {
            sender.mac = sender.any_mac();
        }
        if sender.dice.percent(10) {
            sender.four = sender.target4();
        }
        if sender.dice.percent(10) {
            sender.six = sender.target6();
        }
        if sender.dice.percent(12) {
            sender.four = Ipv4Addr::UNSPECIFIED;
        }
        if sender.dice.percent(12) {
            sender.six = Ipv6Addr::UNSPECIFIED;
        }
        sender
    }

    /// A MAC of an identity, and addresses that go with it.
    fn held_by(&mut self, who: &Identity) -> (MacOctets, Ipv4Addr, Ipv6Addr) {
        let macs: Vec<_> = who.macs.iter().copied().collect();
        let mac = self.dice.one(&macs);
        let (mut fours, mut sixes) = (Vec::new(), Vec::new());
        for held in who.held() {
            match held {
                Held::One(with, IpAddr::V4(four)) if *with == mac => fours.push(*four),
                Held::One(with, IpAddr::V6(six)) if *with == mac => sixes.push(*six),
                Held::V6(with, bits) if *with == mac => sixes.push(self.within(*bits)),
                Held::One(..) | Held::V6(..) => {}
            }
        }
        let stranger = (
            Ipv4Addr::new(10, 1, 0, 77),
            Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 0x77),
        );
        fours.is_empty().then(|| fours.push(stranger.0));
        sixes.is_empty().then(|| sixes.push(stranger.1));
        (mac.octets(), self.dice.one(&fours), self.dice.one(&sixes))
    }

    fn within(&mut self, bits: [u8; 8]) -> Ipv6Addr {
        let low = self.dice.one(&[0_u64, 1, 0xffff]);
        let high = u128::from(u64::from_be_bytes(bits)) << 64;
        Ipv6Addr::from_bits(high | u128::from(low))
    }

    fn peer(&mut self) -> (MacOctets, Ipv4Addr, Ipv6Addr) {
        let peers = self.peers.clone();
        let peer = self.dice.one(&peers);
        self.held_by(&peer)
    }

    fn own_mac(&mut self) -> MacOctets {
        if self.dice.percent(20) {
            return self.any_mac();
        }
        let own = self.own.clone();
        self.held_by(&own).0
    }

    fn any_mac(&mut self) -> MacOctets {
        let mut other = self.mac;
        other[self.dice.below(6)] ^= 1 << self.dice.below(8);
        let peer = self.peer().0;
        self.dice.one(&[other, peer, [2, 0, 0, 0, 2, 0], BROADCAST])
    }

    fn target4(&mut self) -> Ipv4Addr {
        let peer = self.peer().1;
        let own = self.own.clone();
        let own = self.held_by(&own).1;
        let octets = |a, b, c, d| Ipv4Addr::new(a, b, c, d);
        let odd = self.dice.one(&[
            octets(0, 0, 0, 0),
            octets(0, 1, 2, 3),
            octets(127, 0, 0, 1),
            octets(240, 0, 0, 1),
            octets(254, 1, 1, 1),
            octets(255, 255, 255, 255),
            octets(255, 1, 2, 3),
            octets(10, 1, 0, 255),
        ]);
        let high = 224 + self.dice.byte() % 32;
        let group = self.dice.one(&[
            octets(high, 0, 0, 18),
            octets(224, 0, 0, 18),
            octets(224, 0, 0, 251),
            octets(224, 0, 1, 1),
            octets(239, 1, 2, 3),
        ]);
        let usual = [peer, peer, GATEWAY4, octets(198, 51, 100, 7), own];
        let usual = self.dice.one(&usual);
        let of_nodes = self.dice.one(&[NODE4, TUNNEL_END4]);
        self.dice
            .one(&[usual, usual, usual, of_nodes, DEAD4, odd, group])
    }

    fn target6(&mut self) -> Ipv6Addr {
        let peer = self.peer().2;
        let own = self.own.clone();
        let own = self.held_by(&own).2;
        let text = |text: &str| text.parse::<Ipv6Addr>().expect("an address");
        let odd = self.dice.one(&[
            "::1",
            "::",
            "::ffff:10.1.0.5",
            "64:ff9b::1",
            "64:ff9b:1::1",
            "64:ff9a::1",
            "fec0::1",
            "febf::1",
            "fe80::9",
        ]);
        let group = self.dice.one(&[
            "ff02::1",
            "ff02::2",
            "ff02::12",
            "ff02::16",
            "ff02::1:2",
            "ff02::fb",
            "ff05::1:3",
            "ff0e::1",
            "ff02::1:ff00:10",
            "ff01::1",
        ]);
        let external = text("2001:db8:9::7");
        let of_node = self.dice.one(&[LINK_GATEWAY, LINK_GATEWAY, NODE_LINK]);
        let usual = [peer, peer, GATEWAY6, of_node, external, own];
        let usual = self.dice.one(&usual);
        let of_nodes = self.dice.one(&[NODE6, TUNNEL_END6]);
        let rare = [
            DEAD6,
            text("fd00:64:ff::1"),
            text(odd),
            text(group),
            text(group),
            of_nodes,
        ];
        let rare = self.dice.one(&rare);
        self.dice.one(&[usual, usual, rare])
    }

    /// Where a packet to the address goes on the link, most of the time.
    fn link_of(&mut self, to: IpAddr) -> MacOctets {
        let broadcast = matches!(to, IpAddr::V4(v4) if v4.octets()[0] == 255);
        let right = if broadcast {
            BROADCAST
        } else if to.is_multicast() {
            multicast_mac(to)
        } else if self.dice.percent(30) {
            self.dice.one(&NODE_MACS)
        } else {
            self.peer().0
        };
        let wrong = self
            .dice
            .one(&[BROADCAST, [0x33, 0x33, 0, 0, 0, 1], self.mac]);
        if self.dice.percent(7) { wrong } else { right }
    }
}
