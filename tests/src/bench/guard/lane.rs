//! One way from a container to another over a bridge, and how what is sent on it is judged.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bulkhead_model::{IfName, Mac};
use netns_fixtures::packet::{Frame, Ipv4, Ipv6, Payload, Tcp, TcpFlags, Udp};
use netns_fixtures::{BridgeNetfilter, Feature, NsError, PacketSocket};

use super::ports as rules;
use crate::Suite;
use crate::bench::contestant::Contestant;
use crate::bench::field::{Field, Slot};
use crate::bench::plugins::Plugins;
use crate::bench::rounds::in_node;

/// Frames by which a lane shows that it judges as it should.
const PROOF: usize = 100;

/// How a port is judged.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Judged {
    /// Not at all: the guard's table is taken out.
    Not,
    /// By the guard.
    ByGuard,
    /// By a few rules for each port, one after the other.
    Linearly,
}

impl fmt::Display for Judged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Not => "no rules",
            Self::ByGuard => "guard",
            Self::Linearly => "rules for each port",
        })
    }
}

/// What is sent: frames of at most 62 bytes.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Packet {
    /// A datagram from the port's own address.
    Udp4,
    /// The same.
    Udp6,
    /// A segment of a connection.
    Tcp4,
    /// The same.
    Tcp6,
    /// A datagram from another's address.
    Spoofed4,
    /// The same.
    Spoofed6,
}

impl Packet {
    /// Every kind.
    pub(crate) const ALL: [Self; 6] = [
        Self::Udp4,
        Self::Udp6,
        Self::Tcp4,
        Self::Tcp6,
        Self::Spoofed4,
        Self::Spoofed6,
    ];

    /// Whether rules let it pass.
    pub(crate) const fn is_true(self) -> bool {
        !matches!(self, Self::Spoofed4 | Self::Spoofed6)
    }

    /// The same from the port's own address.
    pub(crate) const fn forwarded(self) -> Self {
        match self {
            Self::Spoofed4 => Self::Udp4,
            Self::Spoofed6 => Self::Udp6,
            forwarded => forwarded,
        }
    }
}

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp4 => "IPv4 UDP",
            Self::Udp6 => "IPv6 UDP",
            Self::Tcp4 => "IPv4 TCP",
            Self::Tcp6 => "IPv6 TCP",
            Self::Spoofed4 => "IPv4 spoofed",
            Self::Spoofed6 => "IPv6 spoofed",
        })
    }
}

/// One lane and what was measured on it.
#[derive(Clone, Debug)]
pub(crate) struct Lane {
    /// How it is judged.
    pub(crate) judged: Judged,
    /// Of how many ports; 0 without rules.
    pub(crate) ports: usize,
    /// Nanoseconds for each frame, by kind of packet, of each turn.
    pub(crate) nanos: Vec<(Packet, Vec<f64>)>,
}

/// A container's side of its port.
#[derive(Clone, Debug)]
pub(super) struct Stop {
    pub(super) port: IfName,
    pub(super) mac: Mac,
    pub(super) v4: Ipv4Addr,
    pub(super) v6: Ipv6Addr,
}

/// A node with two containers, from the first of which everything is sent to the second.
pub(super) struct Road {
    plugins: Plugins,
    socket: PacketSocket,
    frames: Vec<(Packet, Vec<u8>)>,
}

impl Road {
    pub(super) fn new(judged: Judged, ports: usize) -> io::Result<Self> {
        let field = Field::new(2, 0).map_err(io::Error::other)?;
        let plugins = Plugins::new("bulkhead", Suite::ours(), field);
        let slots = &plugins.field().timed;
        in_node(&plugins, || slots.iter().for_each(|slot| plugins.add(slot)));
        let [from, to] = [0, 1].map(|nth| stop(&plugins, &slots[nth]));
        prepare(&plugins).map_err(io::Error::other)?;
        judge(&plugins, judged, ports, [&from, &to])?;
        let sender = &slots[0];
        let socket = PacketSocket::open(&sender.container, &sender.ifname);
        let road = Self {
            socket: socket.map_err(io::Error::other)?,
            frames: frames(&from, &to),
            plugins,
        };
        road.prove(judged)?;
        Ok(road)
    }

    /// Sends `count` frames of a kind; they have come, or are dropped, when it returns.
    pub(super) fn send(&self, packet: Packet, count: usize) -> io::Result<()> {
        let frame = self.frames.iter().find(|(kind, _)| *kind == packet);
        let (_, bytes) = frame.expect("there is one of each kind");
        self.socket
            .send_many(bytes, count)
            .map_err(io::Error::other)
    }

    /// What is true comes, what is spoofed does not if there are rules.
    fn prove(&self, judged: Judged) -> io::Result<()> {
        for packet in Packet::ALL {
            let before = self.received().map_err(io::Error::other)?;
            self.send(packet, PROOF)?;
            let came = self.received().map_err(io::Error::other)? - before;
            let comes = packet.is_true() || judged == Judged::Not;
            let expected = if comes { PROOF as u64 } else { 0 };
            // Neighbour discovery of the containers themselves may come between.
            if !(expected..expected + 10).contains(&came) {
                return Err(io::Error::other(format!(
                    "{judged}: {came} of {PROOF} frames came of {packet}"
                )));
            }
        }
        Ok(())
    }

    /// Frames that the second container's interface got.
    fn received(&self) -> Result<u64, NsError> {
        let receiver = &self.plugins.field().timed[1];
        let show = format!("-s link show dev {}", receiver.ifname);
        let links = receiver.container.ip_json(&show)?;
        Ok(links[0]["stats64"]["rx"]["packets"]
            .as_u64()
            .expect("every link counts"))
    }
}

/// The second container drops what it gets where it gets it, and the node's bridge hands nothing to
/// the IP stack's hooks: neither is what is measured.
fn prepare(plugins: &Plugins) -> Result<(), NsError> {
    let field = plugins.field();
    if Feature::BrNetfilter
        .is_present()
        .is_ok_and(|present| present)
    {
        field.host.set_bridge_netfilter(BridgeNetfilter::Off)?;
    }
    let receiver = &field.timed[1];
    let sink = format!(
        "table netdev sink {{ chain in {{ type filter hook ingress device \"{}\" priority 0; \
         policy drop; }}\n}}",
        receiver.ifname
    );
    receiver.container.nft(&sink).map(drop)
}

fn judge(plugins: &Plugins, judged: Judged, ports: usize, real: [&Stop; 2]) -> io::Result<()> {
    let host = &plugins.field().host;
    let others = (real.len()..ports).map(other);
    match judged {
        Judged::ByGuard => in_node(plugins, || rules::fill_guard(&others.collect::<Vec<_>>())),
        Judged::Not => host
            .nft("delete table netdev bulkhead")
            .map(drop)
            .map_err(io::Error::other),
        Judged::Linearly => {
            host.nft("delete table netdev bulkhead")
                .map_err(io::Error::other)?;
            let script = rules::script(&others.collect::<Vec<_>>(), real);
            host.nft(&script).map(drop).map_err(io::Error::other)
        }
    }
}

/// A port that is not there.
fn other(nth: usize) -> Stop {
    let nth = u32::try_from(nth).expect("thousands of ports");
    let [_, high, middle, low] = nth.to_be_bytes();
    Stop {
        port: format!("bhpx{nth:011}").parse().expect("15 characters"),
        mac: Mac::new([2, 1, 0, high, middle, low]).expect("a unicast MAC"),
        v4: Ipv4Addr::from_bits(Ipv4Addr::new(10, 78, 0, 0).to_bits() + nth),
        v6: Ipv6Addr::from_bits(
            Ipv6Addr::new(0xfd78, 0, 0, 0, 0, 0, 0, 0).to_bits() + u128::from(nth),
        ),
    }
}

/// As the slot's ADD answered.
fn stop(plugins: &Plugins, slot: &Slot) -> Stop {
    let answer = plugins.answer_of(slot).expect("it is attached");
    let interfaces = answer["interfaces"]
        .as_array()
        .expect("ADD names interfaces");
    let named = |inside: bool| {
        let is_it = |one: &&serde_json::Value| {
            one["sandbox"].is_string() == inside
                && (inside
                    || one["name"]
                        .as_str()
                        .is_some_and(|name| name.starts_with("bhp")))
        };
        interfaces
            .iter()
            .find(is_it)
            .expect("a port and an interface")
    };
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let ips = answer["ips"].as_array().expect("ADD names addresses");
    let addresses = ips.iter().filter_map(|ip| {
        let (address, _) = ip["address"].as_str()?.split_once('/')?;
        address.parse::<IpAddr>().ok()
    });
    let (mut v4, mut v6) = (Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED);
    for address in addresses {
        match address {
            IpAddr::V4(address) => v4 = address,
            IpAddr::V6(address) => v6 = address,
        }
    }
    Stop {
        port: text(&named(false)["name"]).parse().expect("a name"),
        mac: text(&named(true)["mac"]).parse().expect("a MAC"),
        v4,
        v6,
    }
}

fn frames(from: &Stop, to: &Stop) -> Vec<(Packet, Vec<u8>)> {
    let datagram = || Udp {
        src_port: 40_000,
        dst_port: 40_001,
        data: Vec::new(),
    };
    let segment = || Tcp {
        flags: TcpFlags::ACK,
        ..Tcp::syn(40_000, 40_001)
    };
    let spoofed4 = Ipv4Addr::from_bits(from.v4.to_bits() | 0x9999);
    let spoofed6 = Ipv6Addr::from_bits(from.v6.to_bits() | 0x9999);
    let frame = |body: netns_fixtures::packet::Body| {
        Frame::new(from.mac.octets(), to.mac.octets(), body).to_bytes()
    };
    let v4 = |src, payload: Payload| frame(Ipv4::new(src, to.v4, payload).into());
    let v6 = |src, payload: Payload| frame(Ipv6::new(src, to.v6, payload).into());
    Packet::ALL
        .into_iter()
        .map(|packet| {
            let bytes = match packet {
                Packet::Udp4 => v4(from.v4, datagram().into()),
                Packet::Udp6 => v6(from.v6, datagram().into()),
                Packet::Tcp4 => v4(from.v4, segment().into()),
                Packet::Tcp6 => v6(from.v6, segment().into()),
                Packet::Spoofed4 => v4(spoofed4, datagram().into()),
                Packet::Spoofed6 => v6(spoofed6, datagram().into()),
            };
            (packet, bytes)
        })
        .collect()
}
