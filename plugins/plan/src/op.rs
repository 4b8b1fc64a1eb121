//! Operations: one change to one object, named by namespace and name. Each prints as the `ip`,
//! `bridge`, `nft` or `sysctl` line with the same effect, or as a `# netlink:` comment where no tool
//! has the word.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;

use bulkhead_model::{IfName, InterfaceAddress, LinkGroup, Mac, Mtu, Prefix, ROUTE_PROTOCOL};
use bulkhead_nft as nft;

use crate::{
    BLACKHOLE_PRIORITY, DontFragment, Flow, MulticastRouter, Neighbour, Ns, OnLink, PolicyKey,
    PortFlags, Route, Sa, Shape, Sysctl, Vxlan, ipsec,
};

/// An ordered list of operations. Applying stops at the first refusal; what ran stands.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Plan {
    ops: Vec<Op>,
}

impl Plan {
    /// A plan of these operations in this order.
    #[must_use]
    pub fn new(ops: Vec<Op>) -> Self {
        Self { ops }
    }

    /// The operations in order.
    #[must_use]
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// The same where `ns` plays the node's part.
    pub(crate) fn within(self, ns: &Ns) -> Self {
        let ops = self.ops.into_iter().map(|op| op.within(ns));
        Self::new(ops.collect())
    }

    /// Whether world and want agree.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for op in &self.ops {
            writeln!(f, "{op}")?;
        }
        Ok(())
    }
}

/// One change.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Op {
    /// Makes a namespace of a network's own and mounts it at its path; one that is open already is
    /// mounted there again.
    AddNetns {
        /// Which.
        ns: Ns,
    },
    /// Takes the path of such a namespace away. With whatever else holds it, it is gone.
    DelNetns {
        /// Which.
        ns: Ns,
    },
    /// Creates a bridge, down, in the owned group, with a fixed MAC so that it does not float with
    /// its ports and no link manager rewrites it.
    AddBridge {
        /// Where.
        ns: Ns,
        /// Its name.
        name: IfName,
        /// Its MAC.
        mac: Mac,
        /// Its MTU.
        mtu: Mtu,
    },
    /// Creates a veth pair in one message, each end in its namespace, both down, the port in the
    /// owned group, one queue each.
    AddVeth {
        /// Where the port lives.
        ns: Ns,
        /// The host end.
        port: IfName,
        /// The port's MAC.
        port_mac: Mac,
        /// The bridge the port joins.
        bridge: Option<IfName>,
        /// Where the interface lives.
        container: Ns,
        /// The container end.
        interface: IfName,
        /// The interface's MAC.
        mac: Mac,
        /// The MTU of both ends.
        mtu: Mtu,
    },
    /// Creates an ifb device (`drivers/net/ifb.c`), down, in the owned group, one queue: what a
    /// chain forwards to it comes back, shaped, as if received where it first was.
    AddIfb {
        /// Where.
        ns: Ns,
        /// Its name.
        name: IfName,
        /// Its MAC, which nothing carries; given so that no link manager chooses another.
        mac: Mac,
        /// Its MTU.
        mtu: Mtu,
    },
    /// Creates a VXLAN device, down, in the owned group. UDP checksums are the kernel's own choice, on
    /// (RFC 6936 is about leaving them out over IPv6); so is the hop limit.
    AddVxlan {
        /// Where.
        ns: Ns,
        /// Where its socket is, and the underlay.
        below: Ns,
        /// Its name.
        name: IfName,
        /// Its MAC.
        mac: Mac,
        /// Its MTU.
        mtu: Mtu,
        /// The rest.
        vxlan: Vxlan,
    },
    /// Puts a token bucket filter at a link's root, in place of what is there.
    SetShape {
        /// Where.
        ns: Ns,
        /// Which.
        link: IfName,
        /// Rate, burst and queue.
        shape: Shape,
    },
    /// Forgets a UDP flow, so that its next packet is judged as a first one; gone is no error.
    DelFlow {
        /// Where.
        ns: Ns,
        /// Which.
        flow: Flow,
    },
    /// Changes one property of a link.
    SetLink {
        /// Where.
        ns: Ns,
        /// Which.
        name: IfName,
        /// What.
        set: LinkSetting,
    },
    /// Sets the attributes of a bridge port.
    SetPort {
        /// Where.
        ns: Ns,
        /// Which.
        port: IfName,
        /// The attributes.
        flags: PortFlags,
    },
    /// Deletes a link; the other end of a veth pair goes with it.
    DelLink {
        /// Where.
        ns: Ns,
        /// Which.
        name: IfName,
    },
    /// Adds an address.
    AddAddress {
        /// Where.
        ns: Ns,
        /// On which link.
        link: IfName,
        /// Which.
        address: InterfaceAddress,
        /// Whether IPv6 probes it first.
        dad: Dad,
        /// Whether its prefix is on the link.
        on_link: OnLink,
    },
    /// Removes an address.
    DelAddress {
        /// Where.
        ns: Ns,
        /// From which link.
        link: IfName,
        /// Which.
        address: InterfaceAddress,
    },
    /// Adds a route with our protocol number.
    AddRoute {
        /// Where.
        ns: Ns,
        /// Which; `priority` is set.
        route: Route,
    },
    /// Puts a route with our protocol number in place of one of ours with the same destination and metric,
    /// in one step.
    ReplaceRoute {
        /// Where.
        ns: Ns,
        /// Which; `priority` is set.
        route: Route,
    },
    /// Removes a route with our protocol number; gone is no error.
    DelRoute {
        /// Where.
        ns: Ns,
        /// Which; `priority` is set.
        route: Route,
    },
    /// Adds a blackhole route with our protocol number and the last metric.
    AddBlackhole {
        /// Where.
        ns: Ns,
        /// To what.
        destination: Prefix,
    },
    /// Removes a blackhole route of ours.
    DelBlackhole {
        /// Where.
        ns: Ns,
        /// To what.
        destination: Prefix,
    },
    /// Makes a neighbour entry permanent, in place of what is believed.
    SetNeighbour {
        /// Where.
        ns: Ns,
        /// On which link.
        link: IfName,
        /// Who, and where.
        neighbour: Neighbour,
    },
    /// Forgets what the namespace believes about a neighbour; gone is no error.
    DelNeighbour {
        /// Where.
        ns: Ns,
        /// On which link.
        link: IfName,
        /// Whose address.
        address: IpAddr,
    },
    /// Makes a permanent FDB entry of a VXLAN device, in place of the one that leads to one other remote.
    SetFdb {
        /// Where.
        ns: Ns,
        /// Of which device.
        link: IfName,
        /// The MAC inside.
        mac: Mac,
        /// The address outside.
        remote: IpAddr,
    },
    /// Removes what a VXLAN device's FDB has of a MAC, to whatever remotes; gone is no error.
    DelFdb {
        /// Where.
        ns: Ns,
        /// Of which device.
        link: IfName,
        /// The MAC inside; all zeros is where goes what has no entry.
        mac: [u8; 6],
    },
    /// Adds a state of `IPsec` for UDP to one port, one way, with sequence numbers of 64 bits.
    AddSa {
        /// Where.
        ns: Ns,
        /// Who sends.
        source: IpAddr,
        /// To whom.
        destination: IpAddr,
        /// The UDP port.
        port: u16,
        /// Index and key.
        sa: Sa,
    },
    /// Removes a state of `IPsec`.
    DelSa {
        /// Where.
        ns: Ns,
        /// To whom.
        destination: IpAddr,
        /// Its index.
        spi: u32,
    },
    /// Adds a policy that asks for ESP by a state of ours.
    AddPolicy {
        /// Where.
        ns: Ns,
        /// Of which packets.
        policy: PolicyKey,
    },
    /// Removes a policy of ours.
    DelPolicy {
        /// Where.
        ns: Ns,
        /// Of which packets.
        policy: PolicyKey,
    },
    /// Makes what has no entry in a VXLAN device's FDB go to one more remote: broadcasts, groups, and MACs
    /// that nobody has.
    AddFlood {
        /// Where.
        ns: Ns,
        /// Of which device.
        link: IfName,
        /// The address outside.
        remote: IpAddr,
    },
    /// Tells a bridge for good that a MAC is behind one of its ports.
    SetStation {
        /// Where.
        ns: Ns,
        /// Which port.
        port: IfName,
        /// The MAC.
        mac: Mac,
    },
    /// Writes a sysctl.
    SetSysctl {
        /// Where.
        ns: Ns,
        /// Which.
        sysctl: Sysctl,
        /// The value, without newline.
        value: String,
    },
    /// Commits an nftables transaction.
    Nft {
        /// Where.
        ns: Ns,
        /// What.
        transaction: nft::Transaction,
        /// The ruleset generation it was decided on: a commit in between refuses it. `None` where
        /// any generation will do.
        generation: Option<u32>,
    },
    /// Waits, at most a second, until a port that just came up carries frames, on a bridge until that
    /// forwards them: the kernel notices the carrier in a work queue (`linkwatch_event`, `net/core/link_watch.c`).
    AwaitForwarding {
        /// Where.
        ns: Ns,
        /// Which.
        port: IfName,
    },
    /// Waits, at most five seconds, until no address of a link is tentative; a duplicate found by
    /// duplicate address detection refuses it (RFC 4862 §5.4.5).
    AwaitAddresses {
        /// Where.
        ns: Ns,
        /// Which.
        link: IfName,
    },
    /// Tells the segment who holds these addresses now: gratuitous ARP (RFC 5227 §3) and
    /// unsolicited NA with the override flag (RFC 4861 §7.2.6).
    Announce {
        /// The container.
        ns: Ns,
        /// Its interface.
        interface: IfName,
        /// Its MAC.
        mac: Mac,
        /// The addresses.
        addresses: Vec<IpAddr>,
    },
}

/// One property of a link.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LinkSetting {
    /// `IFF_UP` on.
    Up,
    /// `IFF_UP` off.
    Down,
    /// The MTU.
    Mtu(Mtu),
    /// The MAC.
    Mac(Mac),
    /// The bridge it is a port of.
    Bridge(IfName),
    /// It is no bridge's port.
    NoBridge,
    /// `IFF_PROMISC`.
    Promiscuous(Switch),
    /// `IFLA_INET6_ADDR_GEN_MODE` none: no link-local address of the kernel's making.
    NoLinkLocal,
    /// Whether checksums of what it sends are left to whoever sends it on; off, they are there before it
    /// takes a packet.
    TxChecksum(Switch),
    /// The bridge learns nothing from frames to link-local groups, which no hook of the bridge's sees
    /// (`br_handle_local_finish`, `net/bridge/br_input.c`).
    NoLinkLocalLearning,
    /// How many multicast groups may be joined through it (`IFLA_BRPORT_MCAST_MAX_GROUPS`), whatever else
    /// whoever made the port has set.
    Groups(NonZeroU32),
}

/// On or off.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Switch {
    /// On.
    On,
    /// Off.
    Off,
}

impl From<bool> for Switch {
    fn from(on: bool) -> Self {
        if on { Self::On } else { Self::Off }
    }
}

impl fmt::Display for Switch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::On => "on",
            Self::Off => "off",
        })
    }
}

/// Duplicate address detection (RFC 4862 §5.4) for an IPv6 address; IPv4 has none in the kernel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Dad {
    /// `IFA_F_NODAD`: IPAM vouches for the address and it is usable at once.
    Skip,
    /// The kernel probes it; it is tentative meanwhile.
    Probe,
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddNetns { ns } => write!(f, "ip netns add {}", ns.name()),
            Self::DelNetns { ns } => write!(f, "ip netns del {}", ns.name()),
            Self::AddBridge { .. }
            | Self::AddVeth { .. }
            | Self::AddIfb { .. }
            | Self::AddVxlan { .. }
            | Self::SetShape { .. }
            | Self::SetLink { .. }
            | Self::SetPort { .. }
            | Self::DelLink { .. } => self.link_line(f),
            Self::AddAddress { .. }
            | Self::DelAddress { .. }
            | Self::AddRoute { .. }
            | Self::ReplaceRoute { .. }
            | Self::DelRoute { .. }
            | Self::AddBlackhole { .. }
            | Self::DelBlackhole { .. }
            | Self::SetNeighbour { .. }
            | Self::DelNeighbour { .. }
            | Self::SetFdb { .. }
            | Self::DelFdb { .. }
            | Self::AddFlood { .. }
            | Self::SetStation { .. }
            | Self::DelFlow { .. } => self.address_line(f),
            Self::AddSa { .. }
            | Self::DelSa { .. }
            | Self::AddPolicy { .. }
            | Self::DelPolicy { .. } => self.ipsec_line(f),
            Self::SetSysctl { ns, sysctl, value } => {
                write!(f, "{}sysctl -w {sysctl}={value}", ns.enter())
            }
            Self::Nft {
                ns, transaction, ..
            } => {
                write!(f, "{}nft -f - <<'END'\n{transaction}END", ns.enter())
            }
            Self::AwaitForwarding { port, .. } => {
                write!(f, "# netlink: wait until port {port} forwards")
            }
            Self::AwaitAddresses { link, .. } => {
                write!(f, "# netlink: wait until no address of {link} is tentative")
            }
            Self::Announce {
                interface,
                mac,
                addresses,
                ..
            } => {
                write!(f, "# netlink: announce from {interface} ({mac})")?;
                addresses
                    .iter()
                    .try_for_each(|address| write!(f, " {address}"))
            }
        }
    }
}

impl Op {
    /// The same where `node` plays the node's part.
    fn within(mut self, node: &Ns) -> Self {
        let ns = self.ns_mut();
        if *ns == Ns::Host {
            ns.clone_from(node);
        }
        self
    }

    const fn ns_mut(&mut self) -> &mut Ns {
        match self {
            Self::AddNetns { ns }
            | Self::DelNetns { ns }
            | Self::AddBridge { ns, .. }
            | Self::AddVeth { ns, .. }
            | Self::AddIfb { ns, .. }
            | Self::AddVxlan { ns, .. }
            | Self::SetShape { ns, .. }
            | Self::DelFlow { ns, .. }
            | Self::SetLink { ns, .. }
            | Self::SetPort { ns, .. }
            | Self::DelLink { ns, .. }
            | Self::AddAddress { ns, .. }
            | Self::DelAddress { ns, .. }
            | Self::AddRoute { ns, .. }
            | Self::ReplaceRoute { ns, .. }
            | Self::DelRoute { ns, .. }
            | Self::AddBlackhole { ns, .. }
            | Self::DelBlackhole { ns, .. }
            | Self::SetNeighbour { ns, .. }
            | Self::DelNeighbour { ns, .. }
            | Self::SetFdb { ns, .. }
            | Self::DelFdb { ns, .. }
            | Self::AddFlood { ns, .. }
            | Self::SetStation { ns, .. }
            | Self::AddSa { ns, .. }
            | Self::DelSa { ns, .. }
            | Self::AddPolicy { ns, .. }
            | Self::DelPolicy { ns, .. }
            | Self::SetSysctl { ns, .. }
            | Self::Nft { ns, .. }
            | Self::AwaitForwarding { ns, .. }
            | Self::AwaitAddresses { ns, .. }
            | Self::Announce { ns, .. } => ns,
        }
    }

    /// A change to a link, in `ip`'s, `bridge`'s or `tc`'s words.
    fn link_line(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let owned = LinkGroup::OWNED.0;
        match self {
            Self::AddBridge { ns, name, mac, mtu } => write!(
                f,
                "{ip} link add name {name} address {mac} mtu {mtu} group {owned} type bridge",
                ip = ns.tool("ip")
            ),
            Self::AddVeth {
                ns,
                port,
                port_mac,
                bridge,
                container,
                interface,
                mac,
                mtu,
            } => {
                write!(
                    f,
                    "{ip} link add name {port} address {port_mac} mtu {mtu} group {owned} numtxqueues 1 numrxqueues 1",
                    ip = ns.tool("ip")
                )?;
                if let Some(bridge) = bridge {
                    write!(f, " master {bridge}")?;
                }
                write!(
                    f,
                    " type veth peer name {interface} address {mac} mtu {mtu} numtxqueues 1 numrxqueues 1"
                )?;
                f.write_str(&container.operand())
            }
            Self::AddIfb { ns, name, mac, mtu } => write!(
                f,
                "{ip} link add name {name} address {mac} mtu {mtu} group {owned} numtxqueues 1 numrxqueues 1 type ifb",
                ip = ns.tool("ip")
            ),
            Self::AddVxlan {
                ns,
                below,
                name,
                mac,
                mtu,
                vxlan,
            } => write!(
                f,
                "{ip} link add name {name}{netns} address {mac} mtu {mtu} group {owned} type vxlan {vxlan}",
                ip = below.tool("ip"),
                netns = if ns == below {
                    String::new()
                } else {
                    ns.operand()
                },
            ),
            Self::SetShape { ns, link, shape } => {
                let tc = ns.tool("tc");
                write!(f, "{tc} qdisc replace dev {link} root {shape}")
            }
            Self::SetLink {
                ns,
                name,
                set: LinkSetting::TxChecksum(switch),
            } => write!(
                f,
                "{}ethtool -K {name} tx-checksum-ip-generic {switch}",
                ns.enter()
            ),
            Self::SetLink { ns, name, set } => {
                write!(f, "{ip} link set dev {name} {set}", ip = ns.tool("ip"))
            }
            Self::SetPort { ns, port, flags } => {
                let (hairpin, isolated) =
                    (Switch::from(flags.hairpin), Switch::from(flags.isolated));
                let router = match flags.multicast_router {
                    MulticastRouter::Never => 0,
                    MulticastRouter::Learned => 1,
                    MulticastRouter::Always => 2,
                };
                write!(
                    f,
                    "{bridge} link set dev {port} hairpin {hairpin} isolated {isolated} mcast_router {router}",
                    bridge = ns.tool("bridge")
                )?;
                for (word, off) in [("learning", flags.untaught), ("flood", flags.known_only)] {
                    if off {
                        write!(f, " {word} off")?;
                    }
                }
                // iproute2 has a word for it since 6.3.
                match flags.max_groups {
                    Some(groups) => write!(f, " # netlink: mcast_max_groups {groups}"),
                    None => Ok(()),
                }
            }
            Self::DelLink { ns, name } => write!(f, "{ip} link del dev {name}", ip = ns.tool("ip")),
            // `fmt` hands on no other.
            _ => Ok(()),
        }
    }

    /// A change to `IPsec`, in `ip`'s words, but for keys.
    fn ipsec_line(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddSa {
                ns,
                source,
                destination,
                port,
                sa,
            } => {
                let between = (*source, *destination);
                ipsec::state_line(f, &ns.tool("ip"), between, *port, sa.spi)
            }
            Self::DelSa {
                ns,
                destination,
                spi,
            } => write!(
                f,
                "{ip} xfrm state delete dst {destination} proto esp spi {spi:#x}",
                ip = ns.tool("ip")
            ),
            Self::AddPolicy { ns, policy } => ipsec::policy_line(f, &ns.tool("ip"), policy),
            Self::DelPolicy { ns, policy } => {
                write!(f, "{ip} xfrm policy delete {policy}", ip = ns.tool("ip"))
            }
            // `fmt` hands on no other.
            _ => Ok(()),
        }
    }

    /// A change to what is known of an address, in `ip`'s or `conntrack`'s words.
    fn address_line(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddAddress {
                ns,
                link,
                address,
                dad,
                on_link,
            } => {
                let nodad = if *dad == Dad::Skip && address.address().is_ipv6() {
                    " nodad"
                } else {
                    ""
                };
                let noprefixroute = if *on_link == OnLink::Nothing {
                    " noprefixroute"
                } else {
                    ""
                };
                write!(
                    f,
                    "{ip} addr add {address} dev {link}{nodad}{noprefixroute}",
                    ip = ns.tool("ip")
                )
            }
            Self::DelAddress { ns, link, address } => {
                write!(f, "{ip} addr del {address} dev {link}", ip = ns.tool("ip"))
            }
            Self::AddRoute { ns, route } => route_line(f, ns, "add", route),
            Self::ReplaceRoute { ns, route } => route_line(f, ns, "replace", route),
            Self::DelRoute { ns, route } => route_line(f, ns, "del", route),
            Self::AddBlackhole { ns, destination } => blackhole_line(f, ns, "add", *destination),
            Self::DelBlackhole { ns, destination } => blackhole_line(f, ns, "del", *destination),
            Self::SetNeighbour {
                ns,
                link,
                neighbour: Neighbour { address, mac },
            } => write!(
                f,
                "{ip} neigh replace {address} lladdr {mac} dev {link} nud permanent",
                ip = ns.tool("ip")
            ),
            Self::DelNeighbour { ns, link, address } => {
                write!(f, "{ip} neigh del {address} dev {link}", ip = ns.tool("ip"))
            }
            Self::SetFdb {
                ns,
                link,
                mac,
                remote,
            } => write!(
                f,
                "{bridge} fdb replace {mac} dev {link} dst {remote} self permanent",
                bridge = ns.tool("bridge")
            ),
            Self::DelFdb { ns, link, mac } => {
                let octets = mac.map(|octet| format!("{octet:02x}")).join(":");
                let bridge = ns.tool("bridge");
                write!(f, "{bridge} fdb del {octets} dev {link} self")
            }
            Self::AddFlood { ns, link, remote } => write!(
                f,
                "{bridge} fdb append 00:00:00:00:00:00 dev {link} dst {remote} self permanent",
                bridge = ns.tool("bridge")
            ),
            Self::SetStation { ns, port, mac } => write!(
                f,
                "{bridge} fdb replace {mac} dev {port} master static",
                bridge = ns.tool("bridge")
            ),
            Self::DelFlow { ns, flow } => {
                let (enter, from, to) = (ns.enter(), flow.source, flow.destination);
                write!(
                    f,
                    "{enter}conntrack -D -p udp -s {} -d {} --sport {} --dport {}",
                    from.ip(),
                    to.ip(),
                    from.port(),
                    to.port()
                )
            }
            // `fmt` hands on no other.
            _ => Ok(()),
        }
    }
}

/// What `ip` is told of the family where the words alone do not say it.
fn family_option(destination: Prefix) -> &'static str {
    if destination.address().is_ipv6() {
        "-6 "
    } else {
        ""
    }
}

fn route_line(f: &mut fmt::Formatter<'_>, ns: &Ns, verb: &str, route: &Route) -> fmt::Result {
    let (ip, family) = (ns.tool("ip"), family_option(route.destination));
    write!(
        f,
        "{ip} {family}route {verb} {route} proto {ROUTE_PROTOCOL}"
    )
}

fn blackhole_line(
    f: &mut fmt::Formatter<'_>,
    ns: &Ns,
    verb: &str,
    destination: Prefix,
) -> fmt::Result {
    let (ip, family) = (ns.tool("ip"), family_option(destination));
    write!(
        f,
        "{ip} {family}route {verb} blackhole {destination} metric {BLACKHOLE_PRIORITY} proto {ROUTE_PROTOCOL}"
    )
}

impl fmt::Display for LinkSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Up => f.write_str("up"),
            Self::Down => f.write_str("down"),
            Self::Mtu(mtu) => write!(f, "mtu {mtu}"),
            Self::Mac(mac) => write!(f, "address {mac}"),
            Self::Bridge(bridge) => write!(f, "master {bridge}"),
            Self::NoBridge => f.write_str("nomaster"),
            Self::Groups(groups) => {
                write!(f, "type bridge_slave # netlink: mcast_max_groups {groups}")
            }
            Self::Promiscuous(switch) => write!(f, "promisc {switch}"),
            Self::NoLinkLocal => f.write_str("addrgenmode none"),
            Self::TxChecksum(switch) => write!(f, "tx-checksum-ip-generic {switch}"),
            Self::NoLinkLocalLearning => f.write_str("type bridge no_linklocal_learn 1"),
        }
    }
}

impl fmt::Display for Vxlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "id {} dstport {}", self.vni, self.port)?;
        if let Some(local) = self.local {
            write!(f, " local {local}")?;
        }
        if let Some(flood) = self.flood {
            let word = if flood.is_multicast() {
                "group"
            } else {
                "remote"
            };
            write!(f, " {word} {flood}")?;
        }
        f.write_str(if self.learning {
            " learning"
        } else {
            " nolearning"
        })?;
        if self.proxy {
            f.write_str(" proxy")?;
        }
        match self.df {
            DontFragment::Unset => Ok(()),
            DontFragment::Set => f.write_str(" df set"),
            DontFragment::Inherit => f.write_str(" df inherit"),
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.destination)?;
        match self.gateway {
            Some(IpAddr::V6(gateway)) if self.destination.address().is_ipv4() => {
                write!(f, " via inet6 {gateway}")?;
            }
            Some(gateway) => write!(f, " via {gateway}")?,
            None => {}
        }
        write!(f, " dev {}", self.link)?;
        if self.table != crate::MAIN_TABLE {
            write!(f, " table {}", self.table)?;
        }
        let fields = [
            ("metric", self.priority),
            ("scope", self.scope.map(u32::from)),
            ("mtu", self.mtu),
            ("advmss", self.advmss),
        ];
        for (name, value) in fields {
            if let Some(value) = value {
                write!(f, " {name} {value}")?;
            }
        }
        Ok(())
    }
}
