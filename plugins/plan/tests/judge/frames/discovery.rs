//! ARP, neighbour and router discovery.

use std::net::{Ipv4Addr, Ipv6Addr};

use bulkhead_plan::Held;
use netns_fixtures::packet::{
    Advertised, Arp, ArpOp, BROADCAST, Body, Frame, Icmpv6, Ipv6, MacOctets, NdOption,
    RouterAdvertisement, solicited_node,
};

use super::Sender;
use crate::ports::GATEWAY6;

impl Sender<'_> {
    pub(super) fn arp(&mut self) -> Frame {
        let target_ip = if self.dice.percent(25) {
            self.four
        } else {
            self.target4()
        };
        let op = self.dice.one(&[1, 1, 1, 2, 2, 3]);
        let own = self.own.clone();
        let held = self.held_by(&own);
        let sender_mac = if self.dice.percent(15) {
            self.own_mac()
        } else {
            self.mac
        };
        let arp = Arp {
            op: match op {
                1 => ArpOp::Request,
                2 => ArpOp::Reply,
                other => ArpOp::Other(other),
            },
            sender_mac,
            sender_ip: self.four,
            target_mac: [0; 6],
            target_ip: if self.four.is_unspecified() && self.dice.percent(60) {
                held.1
            } else {
                target_ip
            },
        };
        let to = self.peer().0;
        let to = self.dice.one(&[BROADCAST, to]);
        Frame::new(self.mac, to, arp)
    }

    /// A probe for an address of its own, in a header that may say it is of something else.
    pub(super) fn probe(&mut self) -> Frame {
        let own = self.own.clone();
        let target = self.held_by(&own).1;
        let frame = Arp::request(self.mac, Ipv4Addr::UNSPECIFIED, target);
        let mut bytes = frame.to_bytes().split_off(14);
        if self.dice.percent(60) {
            let at = self.dice.below(8);
            bytes[at] ^= 1 << self.dice.below(4);
        }
        let body = Body::Other {
            ethertype: 0x0806,
            bytes,
        };
        let mac = if self.dice.percent(10) {
            self.any_mac()
        } else {
            self.mac
        };
        Frame::new(mac, BROADCAST, body)
    }

    pub(super) fn option(&mut self) -> NdOption {
        let mac = self.own_mac();
        match self.dice.below(8) {
            0..=2 => NdOption::SourceMac(mac),
            3..=5 => NdOption::TargetMac(mac),
            6 => NdOption::Nonce([7; 6]),
            _ => NdOption::Mtu(1280),
        }
    }

    /// Options of a message in whose place that one belongs.
    pub(super) fn options(&mut self, right: fn(MacOctets) -> NdOption) -> Vec<NdOption> {
        let mac = self.own_mac();
        match self.dice.below(10) {
            0..=2 => Vec::new(),
            3..=7 => vec![right(mac)],
            8 => vec![self.option()],
            _ => vec![self.option(), right(mac)],
        }
    }

    pub(super) fn own_or_any(&mut self) -> Ipv6Addr {
        let own = self.own.clone();
        let own = self.held_by(&own).2;
        if self.dice.percent(60) {
            own
        } else {
            self.target6()
        }
    }

    pub(super) fn discovery(&mut self) -> Frame {
        let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
        let all_routers = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
        let target = self.own_or_any();
        let (message, to) = match self.dice.below(10) {
            0 | 1 if self.six.is_unspecified() => {
                let nonce = vec![NdOption::Nonce([7; 6])];
                let options = self.options(NdOption::SourceMac);
                let options = self.dice.one(&[Vec::new(), nonce.clone(), nonce, options]);
                let message = Icmpv6::NeighborSolicitation { target, options };
                (message, solicited_node(target))
            }
            0..=2 => {
                let target = self.target6();
                let options = self.options(NdOption::SourceMac);
                let to = self.dice.one(&[target, solicited_node(target)]);
                (Icmpv6::NeighborSolicitation { target, options }, to)
            }
            3..=5 => {
                let options = self.options(NdOption::TargetMac);
                let flags = Advertised::OVERRIDE;
                let peer = self.target6();
                let to = self.dice.one(&[all_nodes, peer, GATEWAY6]);
                (
                    Icmpv6::NeighborAdvertisement {
                        target,
                        flags,
                        options,
                    },
                    to,
                )
            }
            6 | 7 => {
                let options = if self.six.is_unspecified() && self.dice.percent(80) {
                    Vec::new()
                } else {
                    self.options(NdOption::SourceMac)
                };
                (
                    Icmpv6::RouterSolicitation { options },
                    self.dice.one(&[all_routers, all_routers, GATEWAY6]),
                )
            }
            _ => {
                let options = self.announced();
                let peer = self.target6();
                let message = Icmpv6::RouterAdvertisement(RouterAdvertisement {
                    hop_limit: 64,
                    flags: 0,
                    lifetime_secs: 1800,
                    reachable_ms: 0,
                    retrans_ms: 0,
                    options,
                });
                (message, self.dice.one(&[all_nodes, all_nodes, peer]))
            }
        };
        let rare = self.target6();
        let to = if self.dice.percent(8) { rare } else { to };
        let mut packet = Ipv6::new(self.six, to, message);
        if self.dice.percent(8) {
            packet.hop_limit = self.dice.one(&[64, 254, 1]);
        }
        if self.dice.percent(4) {
            packet.extensions = self.extensions();
        }
        let link = self.link_of(to.into());
        Frame::new(self.mac, link, packet)
    }

    /// Options of a router advertisement, wherever they come to lie.
    pub(super) fn announced(&mut self) -> Vec<NdOption> {
        let count = self.dice.one(&[0, 1, 1, 2, 3, 4, 6]);
        (0..count).map(|_| self.announcement()).collect()
    }

    pub(super) fn announcement(&mut self) -> NdOption {
        let own: Vec<_> = self.own.held().copied().collect();
        let own: Vec<_> = own
            .into_iter()
            .filter_map(|held| match held {
                Held::V6(_, bits) => Some(bits),
                Held::One(..) => None,
            })
            .collect();
        let bits = match own.as_slice() {
            [] => [0xfd, 0, 0, 0x99, 0, 0, 0, 0],
            own if self.dice.percent(65) => self.dice.one(own),
            _ => [0xfd, 0, 0, 1, 0, 0, 0, 0],
        };
        let prefix = self.within(bits);
        match self.dice.below(12) {
            0..=3 => NdOption::Prefix {
                prefix,
                len: self.dice.one(&[64, 64, 64, 48, 65]),
                flags: 0xc0,
                valid_secs: 3600,
                preferred_secs: 3600,
            },
            4 | 5 | 11 => {
                let (own, any) = (self.mac, self.any_mac());
                NdOption::SourceMac(self.dice.one(&[own, any]))
            }
            6 => NdOption::Mtu(1500),
            7 => NdOption::Rdnss {
                lifetime_secs: 60,
                servers: vec![GATEWAY6],
            },
            // Longer than the RFC has it.
            8 => NdOption::Other {
                kind: 3,
                bytes: [&[64, 0xc0], [0; 12].as_slice(), &prefix.octets(), &[0; 8]].concat(),
            },
            _ => {
                let len = self.dice.one(&[6, 14, 22, 30]);
                NdOption::Other {
                    kind: self.dice.one(&[24, 24, 31, 37]),
                    bytes: vec![0; len],
                }
            }
        }
    }

    /// An advertisement of a router with an option that matters somewhere among others.
    pub(super) fn announcement_at(&mut self) -> Frame {
        let (before, last) = (self.dice.below(21), 19);
        let before = self.dice.one(&[before, before, before, before, last]);
        let mut options = vec![NdOption::Mtu(1500); before];
        options.push(self.announcement());
        options.extend(vec![NdOption::Mtu(1500); self.dice.one(&[0, 0, 1, 4])]);
        let message = Icmpv6::RouterAdvertisement(RouterAdvertisement {
            hop_limit: 64,
            flags: 0,
            lifetime_secs: 1800,
            reachable_ms: 0,
            retrans_ms: 0,
            options,
        });
        let to = self.target6();
        let to = self
            .dice
            .one(&[Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1), to]);
        let link = self.link_of(to.into());
        Frame::new(self.mac, link, Ipv6::new(self.six, to, message))
    }
}
