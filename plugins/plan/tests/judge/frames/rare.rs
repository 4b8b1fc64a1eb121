//! What few ports send, and what is told from its like by little.

use std::net::{Ipv4Addr, Ipv6Addr};

use bulkhead_plan::Role;
use netns_fixtures::packet::{
    BROADCAST, Extension, Fragment, Frame, Icmpv6, Ipv4, Ipv6, NdOption, Payload, Tcp, Udp,
    igmp_query, igmp3_report, mld_query, mld1_report, mld2_report, multicast_mac, solicited_node,
};

use super::Sender;
use crate::ports::{GATEWAY4, GATEWAY6, NODE6, TUNNEL_END6};

impl Sender<'_> {
    /// What a port of its role sends, if it has one.
    pub(super) fn in_its_role(&mut self) -> Frame {
        let roles: Vec<_> = self.own.roles.iter().copied().collect();
        if roles.is_empty() {
            return self.discovery();
        }
        match self.dice.one(&roles) {
            Role::Router => self.announcement_at(),
            Role::DhcpServer | Role::DhcpClient | Role::Configured => self.dhcp(),
            Role::Vrrp => self.election(),
        }
    }

    /// VRRP to whom it is for, or not.
    pub(super) fn election(&mut self) -> Frame {
        let payload = Payload::other(self.dice.one(&[112, 112, 112, 89]), &[0x31; 12]);
        let (right, wrong) = self.dice.one(&[(255, 254), (255, 255)]);
        let hops = self.dice.one(&[right, right, wrong]);
        if self.dice.percent(50) {
            let to = self
                .dice
                .one(&["ff02::12", "ff02::12", "ff02::1", "ff05::12"]);
            let to: Ipv6Addr = to.parse().expect("an address");
            let mut packet = Ipv6::new(self.six, to, payload);
            packet.hop_limit = hops;
            return Frame::new(self.mac, multicast_mac(to.into()), packet);
        }
        let to = self.dice.one(&[
            [224, 0, 0, 18],
            [224, 0, 0, 18],
            [224, 0, 0, 5],
            [239, 0, 0, 18],
        ]);
        let mut packet = Ipv4::new(self.four, to.into(), payload);
        packet.ttl = hops;
        Frame::new(self.mac, multicast_mac(Ipv4Addr::from(to).into()), packet)
    }

    /// DHCP and `DHCPv6` with one thing other than it should be, or none.
    pub(super) fn dhcp(&mut self) -> Frame {
        let (src_port, dst_port) = self.dice.one(&[(68, 67), (67, 68)]);
        let udp = |src_port, dst_port| Udp {
            src_port,
            dst_port,
            data: vec![0; 24],
        };
        if self.dice.percent(40) {
            let servers = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
            let other = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 3);
            let to = self.dice.one(&[servers, servers, servers, other]);
            let port = self.dice.one(&[547, 547, 546]);
            let mut question = udp(546, port);
            question.data[0] = self.dice.one(&[11, 11, 1, 3]);
            let packet = Ipv6::new(self.six, to, question);
            return Frame::new(self.mac, multicast_mac(to.into()), packet);
        }
        let everybody = Ipv4Addr::BROADCAST;
        let mut packet = Ipv4::new(self.four, everybody, udp(src_port, dst_port));
        if self.dice.percent(60) {
            packet.src = Ipv4Addr::UNSPECIFIED;
        }
        match self.dice.below(8) {
            0 => packet.options = vec![1; 4],
            1 => packet.dst = Ipv4Addr::new(255, 1, 2, 3),
            2 => packet.fragment = self.place(),
            3 => packet.dont_fragment = true,
            4 => {
                let bytes = packet
                    .payload
                    .to_bytes(packet.src.into(), packet.dst.into());
                packet.payload = Payload::other(6, &bytes);
            }
            _ => {}
        }
        Frame::new(self.mac, BROADCAST, packet)
    }

    /// Reports of groups with one thing other than it should be, or none.
    pub(super) fn joining(&mut self) -> Frame {
        if self.dice.percent(40) {
            let to = self
                .dice
                .one(&["ff02::16", "ff02::16", "ff05::16", "ff02::fb"]);
            let to: Ipv6Addr = to.parse().expect("an address");
            let message = Icmpv6::Other {
                kind: self.dice.one(&[131, 132, 143, 143, 130]),
                code: 0,
                bytes: vec![0; 24],
            };
            let alert = self.dice.one(&[
                [5, 2, 0, 0, 1, 0],
                [5, 2, 0, 0, 0, 0],
                [5, 2, 0, 0, 7, 0],
                [5, 2, 0, 1, 1, 0],
            ]);
            let mut packet = Ipv6::new(self.six, to, message).extended(Extension::Options {
                protocol: 0,
                bytes: alert.to_vec(),
            });
            packet.hop_limit = self.dice.one(&[1, 1, 1, 64]);
            return Frame::new(self.mac, multicast_mac(to.into()), packet);
        }
        let kind = self.dice.one(&[0x12, 0x16, 0x17, 0x22, 0x22, 0x11]);
        let to = self.dice.one(&[
            Ipv4Addr::new(224, 0, 0, 22),
            Ipv4Addr::new(239, 1, 2, 3),
            GATEWAY4,
        ]);
        let protocol = self.dice.one(&[2, 2, 2, 17]);
        let bytes = [[kind].as_slice(), &[0; 11]].concat();
        let mut packet = Ipv4::new(self.four, to, Payload::other(protocol, &bytes));
        let options = [
            vec![0x94, 4, 0, 0],
            vec![0x94, 4, 0, 0],
            vec![0x94, 4, 0, 1],
            vec![1; 4],
            Vec::new(),
        ];
        packet.options = self.dice.one(&options);
        if self.dice.percent(10) {
            // More words than there are options for; what comes next is data.
            packet.payload = Payload::other(protocol, &[kind; 12]);
            packet
                .options
                .extend(self.dice.one(&[[kind, 0, 0, 0], [0; 4]]));
        }
        Frame::new(self.mac, multicast_mac(to.into()), packet)
    }

    /// What is told from its like by little.
    pub(super) fn narrow(&mut self) -> Frame {
        let target = self.own_or_any();
        let packet = match self.dice.below(7) {
            // The first of pieces.
            0 => {
                let to = self.dice.one(&[NODE6, TUNNEL_END6, GATEWAY6]);
                let port = self.dice.one(&[4789, 8472, 6081, 4790, 546, 547]);
                let udp = Udp {
                    src_port: 9,
                    dst_port: port,
                    data: vec![0; 16],
                };
                Ipv6::new(self.six, to, udp).split(7, 0, &[16]).remove(0)
            }
            1 => {
                let (kind, protocol) = (
                    self.dice.one(&[128, 129, 133]),
                    self.dice.one(&[58, 58, 4, 59]),
                );
                let piece = Extension::Fragment(Fragment {
                    id: 7,
                    offset: 0,
                    more: true,
                });
                let payload = Payload::other(protocol, &[kind; 16]);
                Ipv6::new(self.six, GATEWAY6, payload).extended(piece)
            }
            // Groups, and what is reserved behind them.
            2 => {
                let to = Ipv4Addr::new(224 + self.dice.byte() % 32, 0, 0, 18);
                let packet = Ipv4::new(self.four, to, self.udp());
                return Frame::new(self.mac, multicast_mac(to.into()), packet);
            }
            3 => return self.probe(),
            4 => {
                let own = self.own.clone();
                let about = self.held_by(&own).2;
                let quoted = Ipv6::new(GATEWAY6, about, Tcp::syn(1, 2)).to_bytes();
                let error = Icmpv6::Other {
                    kind: self.dice.one(&[1, 2, 3, 4]),
                    code: 0,
                    bytes: [&[0; 4], quoted.as_slice()].concat(),
                };
                Ipv6::new(self.six, GATEWAY6, error)
            }
            // Of what has no address yet, questions for routers alone go to them.
            5 => {
                let routers = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
                let kind = self.dice.one(&[133, 133, 134, 135, 128]);
                let message = Icmpv6::Other {
                    kind,
                    code: 0,
                    bytes: vec![0; 4],
                };
                let mut packet = Ipv6::new(Ipv6Addr::UNSPECIFIED, routers, message);
                packet.hop_limit = 255;
                packet
            }
            // Duplicate detection with more than a nonce.
            _ => {
                let option = self.dice.one(&[NdOption::Nonce([7; 6]), NdOption::Mtu(9)]);
                let options = vec![option; self.dice.below(3)];
                let message = Icmpv6::NeighborSolicitation { target, options };
                Ipv6::new(Ipv6Addr::UNSPECIFIED, solicited_node(target), message)
            }
        };
        let link = self.link_of(packet.dst.into());
        Frame::new(self.mac, link, packet)
    }

    pub(super) fn report(&mut self) -> Frame {
        let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);
        let group4 = Ipv4Addr::new(224, 0, 0, 251);
        match self.dice.below(8) {
            0..=2 => mld2_report(self.mac, self.six, &[group]),
            3 => mld1_report(self.mac, self.six, group),
            4 => mld_query(self.mac, self.six),
            5 | 6 => igmp3_report(self.mac, self.four, &[group4]),
            _ => igmp_query(self.mac, self.four),
        }
    }
}
