//! IPv4 (RFC 791).

use std::net::{IpAddr, Ipv4Addr};

use bulkhead_plan::{Multicast, Reason, Role};

use super::{
    ESP, ICMP, IGMP, SCTP, Sentence, Suspect, TCP, TUNNELS, UDP, VRRP, bytes_at, require, u16_at,
};

impl Suspect<'_> {
    pub(super) fn ip4(&self) -> Sentence {
        let Some(source) = bytes_at::<4>(self.packet, 12).map(Ipv4Addr::from) else {
            return Err(Reason::Source4);
        };
        if self.holds_with(self.source_mac(), source.into()) {
            return self.ip4_from_itself();
        }
        require(self.has_mac(self.source_mac()), Reason::Source4)?;
        if source.is_unspecified() {
            require(self.plays(Role::DhcpClient), Reason::Source4)?;
            return self.broadcast();
        }
        require(self.may_be_anybody(), Reason::Source4)?;
        self.ip4_from_itself()
    }

    fn ip4_destination(&self) -> Ipv4Addr {
        bytes_at(self.packet, 16).unwrap_or_default().into()
    }

    fn ip4_from_itself(&self) -> Sentence {
        if self.packet[0] != 0x45 {
            return self.ip4_with_options();
        }
        let destination = self.ip4_destination();
        match destination.octets()[0] {
            // This network, loopback, reserved: nobody's (RFC 6890).
            0 | 127 | 240..=254 => return Err(Reason::Source4),
            255 => return self.broadcast(),
            224..=239 => return self.ip4_group(destination),
            _ => {}
        }
        require(!self.is_group_frame(), Reason::Multicast)?;
        require(!self.node.is_dead(destination.into()), Reason::Dead)?;
        self.ip4_payload()
    }

    /// IGMP reports with a router alert (RFC 2236, RFC 9776), of who may send to groups, alone have
    /// options.
    fn ip4_with_options(&self) -> Sentence {
        if self.is_group_frame() {
            self.within_its_share_of_all()?;
        }
        let may_join = self.who.multicast != Multicast::None;
        let is_report = self.packet[0] == 0x46
            && self.packet[9] == IGMP
            && self.packet.get(20..24) == Some(&[0x94, 0x04, 0, 0])
            && matches!(self.packet.get(24), Some(0x12 | 0x16 | 0x17 | 0x22))
            && self.ip4_destination().is_multicast();
        require(may_join && is_report, Reason::Protocol)
    }

    fn ip4_group(&self, group: Ipv4Addr) -> Sentence {
        let (ttl, protocol) = (self.packet[8], self.packet[9]);
        // RFC 9568 section 5.1.1.
        let is_vrrp = group.octets() == [224, 0, 0, 18] && (ttl, protocol) == (255, VRRP);
        if is_vrrp && self.plays(Role::Vrrp) {
            return Ok(());
        }
        let may = match self.who.multicast {
            Multicast::None => false,
            Multicast::LinkLocal => group.octets()[..3] == [224, 0, 0],
            Multicast::All => true,
        };
        require(may && protocol == UDP, Reason::Multicast)?;
        self.ip4_payload()
    }

    /// To everybody: DHCP (RFC 2131) in the port's role.
    fn broadcast(&self) -> Sentence {
        self.within_its_share_of_all()?;
        let is_datagram = self.packet[0] == 0x45
            && self.packet[9] == UDP
            && !self.ip4_is_piece()
            && self.ip4_destination().is_broadcast();
        let ports = self.ip4_upper().and_then(ports);
        let is_dhcp = match ports {
            Some((68, 67)) => self.plays(Role::DhcpClient),
            Some((67, 68)) => self.plays(Role::DhcpServer),
            _ => false,
        };
        require(is_datagram && is_dhcp, Reason::Multicast)
    }

    fn ip4_fragment_word(&self) -> u16 {
        u16_at(self.packet, 6).unwrap_or_default()
    }

    /// Of a packet that is put together from several.
    fn ip4_is_piece(&self) -> bool {
        self.ip4_fragment_word() & 0x3fff != 0
    }

    fn ip4_is_later(&self) -> bool {
        self.ip4_fragment_word() & 0x1fff != 0
    }

    /// What the header carries directly; none in what contradicts itself, or in a later fragment.
    fn ip4_upper(&self) -> Option<&[u8]> {
        let header = usize::from(self.packet[0] & 0xf) * 4;
        let total = usize::from(u16_at(self.packet, 2)?);
        let true_lengths = header >= 20 && total >= header && self.packet.len() >= total;
        let is_whole = self.packet[0] >> 4 == 4 && true_lengths && !self.ip4_is_later();
        if is_whole {
            self.packet.get(header..)
        } else {
            None
        }
    }

    fn ip4_payload(&self) -> Sentence {
        let protocol = self.packet[9];
        if self.ip4_is_piece() {
            return self.ip4_piece(protocol);
        }
        match protocol {
            TCP | ESP | SCTP => Ok(()),
            UDP => self.ip4_udp(),
            ICMP => self.ip4_icmp(),
            _ => Err(Reason::Protocol),
        }
    }

    fn ip4_piece(&self, protocol: u8) -> Sentence {
        let total = u16_at(self.packet, 2).unwrap_or_default();
        match protocol {
            // A later one is put together with a first one alone, which was judged.
            TCP | ESP | SCTP | UDP | ICMP if self.ip4_is_later() => Ok(()),
            // All of TCP's header is in the first one (RFC 1858 section 3).
            TCP => require(total >= 40, Reason::Fragment),
            ESP | SCTP => Ok(()),
            UDP => self.ip4_udp(),
            ICMP => {
                let kind = self.ip4_upper().and_then(|message| message.first());
                require(matches!(kind, Some(0 | 8)), Reason::Fragment)
            }
            _ => Err(Reason::Fragment),
        }
    }

    fn ip4_udp(&self) -> Sentence {
        let Some(datagram) = self.ip4_upper() else {
            return Ok(());
        };
        let to = u16_at(datagram, 2);
        match u16_at(datagram, 0) {
            Some(67) if self.plays(Role::DhcpServer) => return Ok(()),
            Some(67) => return Err(Reason::Dhcp),
            _ => {}
        }
        match to {
            Some(68) => Err(Reason::Dhcp),
            Some(67) => require(self.plays(Role::DhcpClient), Reason::Dhcp),
            Some(to) if TUNNELS.contains(&to) => self.tunnel(self.ip4_destination().into()),
            _ => Ok(()),
        }
    }

    pub(super) fn tunnel(&self, end: IpAddr) -> Sentence {
        let is_end = self.node.own.contains(&end) || self.node.tunnel_ends.contains(&end);
        require(!is_end, Reason::Tunnel)
    }

    fn ip4_icmp(&self) -> Sentence {
        let message = self.ip4_upper().unwrap_or_default();
        match message.first() {
            Some(0 | 8) => Ok(()),
            // RFC 1122 section 3.2.2: the header of the packet it is about comes after 8 bytes.
            Some(3 | 11 | 12) => {
                self.error(bytes_at::<4>(message, 8 + 16).map(|to| Ipv4Addr::from(to).into()))
            }
            _ => Err(Reason::Icmp),
        }
    }

    /// An error is about a packet that was sent to the port, or through it.
    pub(super) fn error(&self, quoted: Option<IpAddr>) -> Sentence {
        let about_own = quoted.is_some_and(|to| self.owns(to));
        let passes_on = self.plays(Role::Router) || self.may_be_anybody();
        require(about_own || passes_on, Reason::Icmp)
    }
}

fn ports(datagram: &[u8]) -> Option<(u16, u16)> {
    Some((u16_at(datagram, 0)?, u16_at(datagram, 2)?))
}
