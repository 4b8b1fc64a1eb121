//! What a port may and may not send, in words, each with its source.

use std::fmt;
use std::net::IpAddr;

use super::identity::{Binding, Guard, Held, Holds, Identity, Multicast, Role};
use super::reason::Reason;
use super::rules::{TO_ALL, TO_NODE};

/// One thing a port may or may not do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Clause {
    /// Whether it may.
    pub may: bool,
    /// What.
    pub what: String,
    /// Why: RFC and section, or what configuration says so.
    pub source: &'static str,
    /// The reason it is counted under if it does nevertheless.
    pub reason: Option<Reason>,
}

impl fmt::Display for Clause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let may = if self.may { "may" } else { "may not" };
        write!(f, "{may} {} ({})", self.what, self.source)
    }
}

fn may(what: impl Into<String>, source: &'static str) -> Clause {
    Clause {
        may: true,
        what: what.into(),
        source,
        reason: None,
    }
}

fn may_not(what: impl Into<String>, source: &'static str, reason: Reason) -> Clause {
    Clause {
        may: false,
        what: what.into(),
        source,
        reason: Some(reason),
    }
}

impl Binding {
    /// Each thing that the port may and may not send.
    #[must_use]
    pub fn clauses(&self) -> Vec<Clause> {
        match &self.guard {
            Guard::Off => vec![may("send anything", "\"guard\": false")],
            Guard::Mac(mac) => vec![
                may(
                    format!("send anything from {mac}"),
                    "\"guard\": false with macspoofchk",
                ),
                may_not("send from another MAC", "macspoofchk", Reason::EtherType),
            ],
            Guard::On(identity) => on(identity),
        }
    }
}

fn on(identity: &Identity) -> Vec<Clause> {
    let (to_node, to_all) = (
        identity.budgets.to_node.unwrap_or(TO_NODE),
        identity.budgets.to_all.unwrap_or(TO_ALL),
    );
    let mut all = sources(identity);
    all.extend(discovery(identity));
    all.extend(dhcp(identity));
    all.extend(groups(identity));
    all.extend([
        may(
            "send TCP, UDP, SCTP, ESP and ping, in fragments too",
            "RFC 8200, RFC 791",
        ),
        may(
            "send ICMP errors that quote a packet sent to it",
            "RFC 4443 section 3, RFC 1122 section 3.2.2",
        ),
        may_not(
            "send an ICMP error about somebody else's packet, a packet-too-big among them",
            "RFC 4443 section 5.2",
            Reason::Icmp,
        ),
        may_not(
            "send tagged, LLC or any other frames than IPv4, IPv6 and ARP",
            "CVE-2021-27853, CVE-2021-27862",
            Reason::EtherType,
        ),
        may_not(
            "send routing headers, hop-by-hop or destination options, IPv4 options or tunnels",
            "RFC 5095, RFC 7126, RFC 8504 section 5.3",
            Reason::Protocol,
        ),
        may_not(
            "send fragments that could become neighbour discovery or hide a port",
            "RFC 6980, RFC 7112",
            Reason::Fragment,
        ),
        may_not(
            "send VXLAN or Geneve to this node or to another one's tunnel end",
            "RFC 7348 section 7",
            Reason::Tunnel,
        ),
        may_not(
            "send to an address of this node's own blocks that nobody holds",
            "RFC 6583 section 5",
            Reason::Dead,
        ),
        may_not(
            "have the node look on the link for a link-local address that is not the node's",
            "RFC 4291 section 2.5.6, RFC 6583 section 5",
            Reason::Dead,
        ),
        may_not(
            format!(
                "ask the node's own addresses by ARP or discovery more than {} times a second (burst {})",
                to_node.per_second, to_node.burst
            ),
            "budget",
            Reason::Budget,
        ),
        may_not(
            format!(
                "send more than {} broadcasts and discovery messages to groups a second (burst {})",
                to_all.per_second, to_all.burst
            ),
            "budget",
            Reason::Budget,
        ),
    ]);
    all
}

fn sources(identity: &Identity) -> Vec<Clause> {
    let macs: Vec<_> = identity.macs.iter().map(ToString::to_string).collect();
    let mut all = vec![may(
        format!("send from MAC {}", macs.join(", ")),
        "the lease",
    )];
    match &identity.holds {
        Holds::Any => all.push(may(
            "send from any address: nobody gave it any",
            "no ipam, or \"role\": \"trusted\"",
        )),
        Holds::These(held) => {
            all.extend(
                held.iter()
                    .map(|held| may(source(*held), "the lease, allowedAddresses, prefixes")),
            );
            all.push(may_not(
                "send from another IPv4 address",
                "RFC 2827, RFC 7039",
                Reason::Source4,
            ));
            all.push(may_not(
                "send from another IPv6 address",
                "RFC 2827, RFC 7039",
                Reason::Source6,
            ));
            all.push(may_not(
                "say in ARP that it has another address or MAC",
                "RFC 826",
                Reason::Arp,
            ));
        }
    }
    all
}

fn source(held: Held) -> String {
    match held {
        Held::One(mac, IpAddr::V6(address)) if address.is_unicast_link_local() => {
            format!("send from its own link-local {address} with {mac}")
        }
        Held::One(mac, address) => format!("send from {address} with {mac}"),
        Held::V6(mac, bits) => {
            let bits = u128::from(u64::from_be_bytes(bits)) << 64;
            let first = std::net::Ipv6Addr::from_bits(bits);
            format!("send from {first}/64 with {mac}")
        }
    }
}

fn discovery(identity: &Identity) -> Vec<Clause> {
    let mut all = vec![
        may(
            "look for neighbours and routers, and answer for its own addresses",
            "RFC 4861",
        ),
        may(
            "detect duplicates of its own addresses, with a nonce or without",
            "RFC 4862, RFC 7527",
        ),
        may_not(
            "answer or detect for another address, or name another MAC",
            "RFC 4861 section 7.2, RFC 3756",
            Reason::Discovery,
        ),
        may_not("send a redirect", "RFC 4861 section 8", Reason::Icmp),
    ];
    all.push(if identity.roles.contains(&Role::Router) {
        may(
            "announce itself as a router, with its own /64 prefixes and no routes",
            "\"role\": \"router\"; RFC 4861 section 6.2",
        )
    } else {
        may_not(
            "announce itself as a router",
            "RFC 6105, RFC 7113",
            Reason::Discovery,
        )
    });
    all
}

fn dhcp(identity: &Identity) -> Vec<Clause> {
    let mut all = Vec::new();
    if identity.roles.contains(&Role::DhcpServer) {
        all.push(may("answer DHCP and DHCPv6", "\"role\": \"dhcp-server\""));
    } else {
        all.push(may_not("answer DHCP and DHCPv6", "RFC 7610", Reason::Dhcp));
    }
    if identity.roles.contains(&Role::DhcpClient) {
        all.push(may(
            "ask by DHCP and DHCPv6",
            "\"dhcpClient\": true, or no ipam",
        ));
    }
    if identity.roles.contains(&Role::Configured) {
        all.push(may(
            "ask the node by DHCPv6 for configuration, not for addresses",
            "\"dhcpv6\" of \"routerAdvertisements\"; RFC 8415 section 6.1",
        ));
    }
    all
}

fn groups(identity: &Identity) -> Vec<Clause> {
    let mut all = vec![may(
        "send what discovery and listener reports need to groups",
        "RFC 4861, RFC 9777",
    )];
    if identity.roles.contains(&Role::Vrrp) {
        all.push(may("speak VRRP", "allowedAddresses; RFC 9568"));
    }
    all.push(match identity.multicast {
        Multicast::None => may_not(
            "send to other groups",
            "\"multicast\": \"none\"",
            Reason::Multicast,
        ),
        Multicast::LinkLocal => may(
            "send UDP to link-local groups",
            "\"multicast\": \"link-local\"",
        ),
        Multicast::All => may("send UDP to any group", "\"multicast\": \"all\""),
    });
    all
}
