//! IPv4 and IPv6 packets of all kinds, whole and in pieces.

use std::net::{Ipv4Addr, Ipv6Addr};

use netns_fixtures::packet::{
    Extension, Fragment, Frame, Icmp, Icmpv6, Ipv4, Ipv6, Payload, Tcp, Udp,
};

use super::{Sender, TUNNELS};

impl Sender<'_> {
    pub(super) fn udp(&mut self) -> Payload {
        let known = [67, 68, 546, 547];
        let src_port = if self.dice.percent(30) {
            self.dice.one(&known)
        } else {
            40_000
        };
        let dst_port = match self.dice.below(10) {
            0..=4 => self.dice.one(&known),
            5 | 6 => self.dice.one(&TUNNELS),
            _ => self.dice.one(&[53, 80, 5353]),
        };
        let (src_port, dst_port) = match self.dice.below(6) {
            0 => (68, 67),
            1 => (67, 68),
            _ => (src_port, dst_port),
        };
        let data = vec![0; self.dice.below(40)];
        Udp {
            src_port,
            dst_port,
            data,
        }
        .into()
    }

    pub(super) fn some_bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.dice.byte()).collect()
    }

    pub(super) fn ip4(&mut self) -> Frame {
        let dst = match self.dice.below(10) {
            0 => Ipv4Addr::BROADCAST,
            1 => self
                .dice
                .one(&[Ipv4Addr::new(224, 0, 0, 251), Ipv4Addr::new(239, 1, 2, 3)]),
            _ => self.target4(),
        };
        let payload = self.payload4();
        let mut packet = Ipv4::new(self.four, dst, payload);
        packet.ttl = self.dice.one(&[1, 64, 64, 255]);
        packet.dont_fragment = self.dice.percent(30);
        if dst == Ipv4Addr::new(224, 0, 0, 18) && self.dice.percent(70) {
            packet.payload = Payload::other(112, &[0x31; 12]);
            packet.ttl = self.dice.one(&[255, 255, 254]);
        }
        if self.dice.percent(20) {
            packet.fragment = self.place();
            let len = self.dice.one(&[0, 3, 8, 12, 16, 19, 20, 24, 64]);
            let bytes = packet.payload.to_bytes(self.four.into(), dst.into());
            let bytes: Vec<_> = bytes.into_iter().chain([0; 64]).take(len).collect();
            packet.payload = Payload::other(packet.payload.protocol(), &bytes);
        }
        if self.dice.percent(6) {
            packet.options = self.dice.one(&[
                vec![0x94, 4, 0, 0],
                vec![1; 4],
                vec![0x83, 7, 4, 10, 1, 0, 5, 0],
            ]);
        }
        let to = self.link_of(dst.into());
        Frame::new(self.mac, to, packet)
    }

    pub(super) fn place(&mut self) -> Fragment {
        let offset = self.dice.one(&[0, 0, 1, 2, 64]);
        Fragment {
            id: 7,
            offset,
            more: offset == 0 && self.dice.percent(90) || self.dice.percent(50),
        }
    }

    pub(super) fn payload4(&mut self) -> Payload {
        match self.dice.below(12) {
            0 | 1 => Tcp::syn(40_000, 80).into(),
            2..=5 => self.udp(),
            6..=8 => self.icmp4(),
            _ => {
                let protocols = [2, 4, 6, 17, 1, 41, 47, 50, 51, 112, 132, 253];
                let (protocol, bytes) = (self.dice.one(&protocols), self.some_bytes(24));
                Payload::other(protocol, &bytes)
            }
        }
    }

    pub(super) fn icmp4(&mut self) -> Payload {
        if self.dice.percent(30) {
            let (id, seq, data) = (1, 1, vec![0; 8]);
            return if self.dice.percent(50) {
                Icmp::EchoRequest { id, seq, data }.into()
            } else {
                Icmp::EchoReply { id, seq, data }.into()
            };
        }
        let about = if self.dice.percent(50) {
            self.four
        } else {
            self.target4()
        };
        let quoted = Ipv4::new(Ipv4Addr::new(198, 51, 100, 7), about, Tcp::syn(1, 2)).to_bytes();
        let kinds = [3, 3, 11, 12, 4, 5, 9, 10, 13, 17, 0, 8, 42];
        Icmp::Other {
            kind: self.dice.one(&kinds),
            code: 0,
            bytes: [&[0; 4], quoted.as_slice()].concat(),
        }
        .into()
    }

    pub(super) fn ip6(&mut self) -> Frame {
        let dst = match self.dice.below(10) {
            0 => self
                .dice
                .one(&["ff02::fb", "ff05::1:3", "ff02::1:2", "ff02::12"])
                .parse()
                .expect("an address"),
            _ => self.target6(),
        };
        let payload = self.payload6();
        let mut packet = Ipv6::new(self.six, dst, payload);
        packet.hop_limit = self.dice.one(&[1, 64, 64, 64, 255]);
        if dst == Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12) && self.dice.percent(70) {
            packet.payload = Payload::other(112, &[0x31; 12]);
            packet.hop_limit = self.dice.one(&[255, 255, 254]);
        }
        match self.dice.below(10) {
            0 | 1 => self.in_a_piece(&mut packet),
            2 => packet.extensions = self.extensions(),
            _ => {}
        }
        let to = self.link_of(dst.into());
        Frame::new(self.mac, to, packet)
    }

    pub(super) fn in_a_piece(&mut self, packet: &mut Ipv6) {
        let bytes = packet
            .payload
            .to_bytes(packet.src.into(), packet.dst.into());
        let len = self.dice.one(&[0, 3, 8, 8, 12, 16, 19, 20, 24, 64]);
        let bytes: Vec<_> = bytes.into_iter().chain([0; 64]).take(len).collect();
        packet.payload = Payload::other(packet.payload.protocol(), &bytes);
        packet.extensions = vec![Extension::Fragment(self.place())];
        if self.dice.percent(10) {
            let more = self.extensions();
            packet.extensions.extend(more);
        }
    }

    pub(super) fn extensions(&mut self) -> Vec<Extension> {
        let count = self.dice.one(&[1, 1, 2, 6]);
        (0..count).map(|_| self.extension()).collect()
    }

    pub(super) fn extension(&mut self) -> Extension {
        let pad = vec![1, 4, 0, 0, 0, 0];
        match self.dice.below(7) {
            0 => Extension::router_alert(),
            1 => Extension::Options {
                protocol: 0,
                bytes: pad,
            },
            2 => Extension::Options {
                protocol: 60,
                bytes: pad,
            },
            3 => Extension::routing(self.dice.one(&[0, 2, 4]), 1, &[0; 20]),
            4 => Extension::Authentication { bytes: vec![0; 10] },
            5 => Extension::Options {
                protocol: self.dice.one(&[135, 139, 140]),
                bytes: pad,
            },
            _ => Extension::Fragment(self.place()),
        }
    }

    pub(super) fn payload6(&mut self) -> Payload {
        match self.dice.below(12) {
            0 | 1 => Tcp::syn(40_000, 80).into(),
            2..=5 => self.udp(),
            6..=8 => self.icmp6(),
            _ => {
                let protocols = [4, 6, 17, 41, 47, 50, 51, 58, 59, 89, 103, 112, 132, 253];
                let (protocol, bytes) = (self.dice.one(&protocols), self.some_bytes(24));
                Payload::other(protocol, &bytes)
            }
        }
    }

    pub(super) fn icmp6(&mut self) -> Payload {
        if self.dice.percent(30) {
            let (id, seq, data) = (1, 1, vec![0; 8]);
            return if self.dice.percent(50) {
                Icmpv6::EchoRequest { id, seq, data }.into()
            } else {
                Icmpv6::EchoReply { id, seq, data }.into()
            };
        }
        let about = if self.dice.percent(50) {
            self.six
        } else {
            self.own_or_any()
        };
        let external = Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 7);
        let quoted = Ipv6::new(external, about, Tcp::syn(1, 2)).to_bytes();
        let kinds = [
            1, 2, 3, 4, 5, 100, 127, 128, 130, 137, 138, 139, 143, 148, 151, 155,
        ];
        Icmpv6::Other {
            kind: self.dice.one(&kinds),
            code: 0,
            bytes: [&[0; 4], quoted.as_slice()].concat(),
        }
        .into()
    }
}
