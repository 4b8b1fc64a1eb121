//! IPv6 (RFC 8200).

use std::net::Ipv6Addr;

use bulkhead_model::Mac;
use bulkhead_plan::{Multicast, Reason, Role};

use super::{
    ESP, FRAGMENT, ICMP6, IP6_HEADER, SCTP, Sentence, Suspect, TCP, TUNNELS, UDP, VRRP, bytes_at,
    require, u16_at,
};

impl Suspect<'_> {
    pub(super) fn ip6(&self) -> Sentence {
        let Some(source) = bytes_at::<16>(self.packet, 8).map(Ipv6Addr::from) else {
            return Err(Reason::Source6);
        };
        if self.holds_with(self.source_mac(), source.into()) {
            return self.ip6_from_itself();
        }
        require(self.has_mac(self.source_mac()), Reason::Source6)?;
        if source.is_unspecified() {
            return self.ip6_from_nowhere();
        }
        require(self.may_be_anybody(), Reason::Source6)?;
        self.ip6_from_itself()
    }

    fn next(&self) -> u8 {
        self.packet[6]
    }

    pub(super) fn hop_limit(&self) -> u8 {
        self.packet[7]
    }

    pub(super) fn ip6_length(&self) -> u16 {
        u16_at(self.packet, 4).unwrap_or_default()
    }

    pub(super) fn ip6_destination(&self) -> Ipv6Addr {
        bytes_at(self.packet, 24).unwrap_or([0; 16]).into()
    }

    /// What the fixed header carries; none in what contradicts itself.
    fn ip6_upper(&self) -> &[u8] {
        let end = IP6_HEADER + usize::from(self.ip6_length());
        let is_whole = self.packet[0] >> 4 == 6 && self.packet.len() >= end;
        let upper = self.packet.get(IP6_HEADER..).filter(|_| is_whole);
        upper.unwrap_or_default()
    }

    fn ip6_from_itself(&self) -> Sentence {
        let destination = self.ip6_destination();
        let octets = destination.octets();
        match octets[0] {
            0xff => return self.ip6_group(destination),
            // Of ::/8 translated IPv4 alone is anybody's: 64:ff9b::/32 (RFC 6052, RFC 8215).
            0 => require(octets[..4] == [0, 0x64, 0xff, 0x9b], Reason::Source6)?,
            _ => {}
        }
        require(!self.is_group_frame(), Reason::Multicast)?;
        require(!self.node.is_dead(destination.into()), Reason::Dead)?;
        require(!self.is_for_nobody_on_the_link(destination), Reason::Dead)?;
        match self.next() {
            TCP | ESP | SCTP => Ok(()),
            UDP => self.ip6_udp(),
            ICMP6 => self.ip6_icmp(),
            FRAGMENT => self.ip6_piece(),
            _ => Err(Reason::Protocol),
        }
    }

    /// Link-local, sent to the node, and none of the node's: it would look on the link for whose it is.
    fn is_for_nobody_on_the_link(&self, destination: Ipv6Addr) -> bool {
        let around = &self.port.around;
        let is_nodes =
            self.node.is_gateway(destination.into()) || around.node_links.contains(&destination);
        let to_node = |mac: &Mac| self.frame[..6] == mac.octets();
        destination.is_unicast_link_local() && !is_nodes && around.node_macs.iter().any(to_node)
    }

    fn ip6_group(&self, group: Ipv6Addr) -> Sentence {
        let of_link = group.octets()[1] == 0x02;
        match self.next() {
            ICMP6 => {
                self.within_its_share_of_all()?;
                let message = self.ip6_upper();
                let is_discovery = matches!(message.first(), Some(133..=136));
                require(is_discovery && of_link, Reason::Multicast)?;
                self.discovery(message)
            }
            0 => self.listener_report(),
            UDP => {
                // RFC 9915 section 7.1.
                let to_servers = group.segments() == [0xff02, 0, 0, 0, 0, 0, 1, 2];
                let asks = to_servers && u16_at(self.ip6_upper(), 2) == Some(547);
                if asks && self.plays(Role::DhcpClient) {
                    return Ok(());
                }
                // RFC 8415 section 7.3: Information-request.
                let asks_no_address = asks && self.ip6_upper().get(8) == Some(&11);
                if asks_no_address && self.plays(Role::Configured) {
                    return self.within_its_share_of_the_node();
                }
                let may = match self.who.multicast {
                    Multicast::None => false,
                    Multicast::LinkLocal => group.octets()[..2] == [0xff, 2],
                    Multicast::All => true,
                };
                require(may, Reason::Multicast)?;
                self.ip6_udp()
            }
            VRRP => {
                // RFC 9568 section 5.1.2.
                let to_routers = group.segments() == [0xff02, 0, 0, 0, 0, 0, 0, 0x12];
                let may = self.plays(Role::Vrrp) && self.hop_limit() == 255;
                require(to_routers && may, Reason::Multicast)
            }
            _ => Err(Reason::Multicast),
        }
    }

    /// RFC 2710, RFC 9777: one hop, a router alert (RFC 2711) and two bytes of padding, a report.
    fn listener_report(&self) -> Sentence {
        self.within_its_share_of_all()?;
        let options = self.packet.get(IP6_HEADER..IP6_HEADER + 8);
        let is_alert = matches!(options, Some([ICMP6, 0, 5, 2, 0, 0, 1 | 0, 0]));
        let is_report = matches!(self.packet.get(IP6_HEADER + 8), Some(131 | 132 | 143));
        let of_link = self.ip6_destination().octets()[..2] == [0xff, 2];
        let is_plain = is_alert && is_report && of_link && self.hop_limit() == 1;
        require(is_plain, Reason::Multicast)
    }

    /// Before an address is its own for sure: duplicate detection (RFC 4862), a question for routers
    /// (RFC 4861 section 6.1.1), reports of groups joined (RFC 9777 section 5.2.14).
    fn ip6_from_nowhere(&self) -> Sentence {
        let destination = self.ip6_destination();
        let message = self.ip6_upper();
        let is_discovery = (self.next(), self.hop_limit()) == (ICMP6, 255);
        let solicited = destination.segments()[..6] == [0xff02, 0, 0, 0, 0, 1]
            && destination.octets()[12] == 0xff;
        let routers = destination.segments() == [0xff02, 0, 0, 0, 0, 0, 0, 2];
        match message.first() {
            Some(135) if is_discovery && solicited => {
                self.within_its_share_of_all()?;
                let target = bytes_at::<16>(message, 8);
                let own = target.is_some_and(|it| self.owns(Ipv6Addr::from(it).into()));
                // Without options, or with a nonce (RFC 7527 section 4).
                let shaped = match self.ip6_length() {
                    24 => true,
                    32 => message.get(24..26) == Some(&[14, 1]),
                    _ => false,
                };
                require((own || self.may_be_anybody()) && shaped, Reason::Discovery)
            }
            Some(133) if is_discovery && routers && self.ip6_length() == 8 => {
                self.within_its_share_of_all()?;
                self.within_its_share_of_the_node()
            }
            _ if self.next() == 0 && self.packet.get(IP6_HEADER + 8) == Some(&143) => {
                self.listener_report()
            }
            _ => Err(Reason::Source6),
        }
    }

    fn ip6_udp(&self) -> Sentence {
        let datagram = self.ip6_upper();
        match u16_at(datagram, 0) {
            Some(547) if self.plays(Role::DhcpServer) => return Ok(()),
            Some(547) => return Err(Reason::Dhcp),
            _ => {}
        }
        match u16_at(datagram, 2) {
            Some(546) => Err(Reason::Dhcp),
            Some(547) => require(self.plays(Role::DhcpClient), Reason::Dhcp),
            Some(to) if TUNNELS.contains(&to) => self.tunnel(self.ip6_destination().into()),
            _ => Ok(()),
        }
    }

    /// A fragment (RFC 8200 section 4.5): none that could be discovery (RFC 6980), with all headers in
    /// the first (RFC 7112).
    fn ip6_piece(&self) -> Sentence {
        let destination = self.ip6_destination().octets();
        let of_link = destination[0] == 0xfe && destination[1] & 0xc0 == 0x80;
        require(self.hop_limit() != 255 && !of_link, Reason::Fragment)?;
        let next = self.packet.get(40).ok_or(Reason::Fragment)?;
        let place = u16_at(self.packet, 42).unwrap_or_default();
        let carried = self.packet.get(48..).unwrap_or_default();
        match *next {
            TCP | ESP | SCTP | UDP | ICMP6 if place & 0xfff8 != 0 => Ok(()),
            TCP => require(self.ip6_length() >= 8 + 20, Reason::Fragment),
            ESP | SCTP => Ok(()),
            UDP => match (u16_at(carried, 0), u16_at(carried, 2)) {
                (Some(547), _) | (_, Some(546 | 547)) => Err(Reason::Dhcp),
                (_, Some(to)) if TUNNELS.contains(&to) => {
                    self.tunnel(self.ip6_destination().into())
                }
                _ => Ok(()),
            },
            ICMP6 => require(matches!(carried.first(), Some(128 | 129)), Reason::Fragment),
            _ => Err(Reason::Fragment),
        }
    }

    fn ip6_icmp(&self) -> Sentence {
        let message = self.ip6_upper();
        match message.first() {
            Some(128 | 129) => Ok(()),
            // RFC 4443 section 3: the packet it is about comes after 8 bytes.
            Some(1..=4) => {
                self.error(bytes_at::<16>(message, 8 + 24).map(|to| Ipv6Addr::from(to).into()))
            }
            Some(133..=136) => self.discovery(message),
            _ => Err(Reason::Icmp),
        }
    }
}
