//! The model of the kernel: an operation's effect on a world. The only fake there is; the same cases
//! run on it and on the kernel and are compared, so that it cannot drift.

mod space;
mod tables;

use std::collections::BTreeSet;
use std::net::IpAddr;

use bulkhead_model::{IfName, InterfaceAddress, LinkGroup, Mac, Mtu};
use bulkhead_nft as nft;

use crate::{
    AddressState, Dad, FdbEntry, Link, LinkKind, LinkSetting, MAIN_TABLE, NeighbourState, Ns, Op,
    Plan, PolicyState, PortFlags, Route, SaState, Space, Switch, Sysctl, Vxlan, World,
    world::next_generation,
};
use space::{forwarding, new_link, new_space};
use tables::run_command;

/// What a new link's sysctls are unless `conf/default` says otherwise (`ipv6_devconf_dflt`,
/// `net/ipv6/addrconf.c`); only those a plan looks at.
const IPV6_DEFAULTS: [(&str, &str); 7] = [
    ("accept_ra", "1"),
    ("accept_redirects", "1"),
    ("autoconf", "1"),
    ("disable_ipv6", "0"),
    ("forwarding", "0"),
    ("keep_addr_on_down", "0"),
    ("ra_defrtr_metric", "1024"),
];
/// The same of IPv4 (`ipv4_devconf_dflt`, `net/ipv4/devinet.c`).
const IPV4_DEFAULTS: [(&str, &str); 5] = [
    ("accept_redirects", "1"),
    ("forwarding", "0"),
    ("route_localnet", "0"),
    ("rp_filter", "0"),
    ("send_redirects", "1"),
];

/// Why the kernel would refuse an operation.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// `EEXIST`: it is there already.
    #[error("object exists")]
    Exists,
    /// `ENOENT`, `ENODEV`: what it names is not there.
    #[error("no such object")]
    Missing,
    /// `ENETDOWN`, `ENETUNREACH`: a route over a link that is down.
    #[error("link is down")]
    Down,
    /// `ERESTART`: the ruleset changed since it was read.
    #[error("ruleset generation changed")]
    Restart,
}

impl World {
    /// Runs `plan` in order.
    ///
    /// # Errors
    /// The first operation's [`Refusal`]; what ran before it stands.
    pub fn apply(&mut self, plan: &Plan) -> Result<(), Refusal> {
        plan.ops().iter().try_for_each(|op| self.run(op))
    }

    /// Runs one operation.
    ///
    /// # Errors
    /// What the kernel would answer.
    pub fn run(&mut self, op: &Op) -> Result<(), Refusal> {
        match op {
            Op::AddBridge { ns, name, mac, mtu } => self.add_link(
                ns,
                *name,
                new_link(LinkKind::Bridge, *mac, *mtu, LinkGroup::OWNED),
            ),
            Op::AddVeth { .. } => self.add_veth(op),
            Op::AddIfb { ns, name, mac, mtu } => {
                let ifb = LinkKind::Other("ifb".to_owned());
                self.add_link(ns, *name, new_link(ifb, *mac, *mtu, LinkGroup::OWNED))
            }
            Op::AddNetns { ns } => {
                self.add_netns(ns);
                Ok(())
            }
            Op::DelNetns { ns } => {
                self.spaces.remove(ns);
                self.named.remove(ns);
                Ok(())
            }
            Op::AddVxlan {
                ns,
                below: _,
                name,
                mac,
                mtu,
                vxlan,
            } => self.add_vxlan(ns, *name, *mac, *mtu, *vxlan),
            Op::SetShape { ns, link, shape } => {
                self.link(ns, *link)?.shape = Some(*shape);
                Ok(())
            }
            Op::DelFlow { ns, flow } => {
                self.space_mut(ns).flows.remove(flow);
                Ok(())
            }
            Op::SetLink { ns, name, set } => self.set_link(ns, *name, *set),
            Op::SetPort { ns, port, flags } => {
                self.link(ns, *port)?.port = *flags;
                Ok(())
            }
            Op::DelLink { ns, name } => self.del_link(ns, *name),
            Op::AddAddress {
                ns,
                link,
                address,
                dad,
                on_link,
            } => {
                let tentative = *dad == Dad::Probe && address.address().is_ipv6();
                let state = AddressState {
                    tentative,
                    unrouted: false,
                    on_link: *on_link,
                };
                self.add_address(ns, *link, *address, state)
            }
            Op::DelAddress { ns, link, address } => {
                let space = self.space_mut(ns);
                let removed = space.addresses.remove(&(*link, *address));
                space.disown(address.address());
                removed.map(drop).ok_or(Refusal::Missing)
            }
            Op::AddRoute { .. }
            | Op::ReplaceRoute { .. }
            | Op::DelRoute { .. }
            | Op::AddBlackhole { .. }
            | Op::DelBlackhole { .. } => self.run_route(op),
            Op::SetNeighbour { .. }
            | Op::DelNeighbour { .. }
            | Op::SetFdb { .. }
            | Op::AddFlood { .. }
            | Op::SetStation { .. }
            | Op::DelFdb { .. } => self.run_neighbour(op),
            Op::AddSa { .. } | Op::DelSa { .. } | Op::AddPolicy { .. } | Op::DelPolicy { .. } => {
                self.run_ipsec(op)
            }
            Op::SetSysctl { ns, sysctl, value } => {
                self.space_mut(ns).set_sysctl(sysctl, value);
                Ok(())
            }
            Op::Nft {
                ns,
                transaction,
                generation,
            } => self.commit(ns, transaction, *generation),
            Op::AwaitAddresses { ns, link } => {
                let addresses = &mut self.space_mut(ns).addresses;
                addresses
                    .iter_mut()
                    .filter(|((on, _), _)| on == link)
                    .for_each(|(_, a)| a.tentative = false);
                Ok(())
            }
            // It sets the MAC, and a change of that drops every entry (`neigh_changeaddr`).
            Op::Announce { ns, interface, .. } => {
                self.space_mut(ns).forget_neighbours(*interface);
                Ok(())
            }
            Op::AwaitForwarding { .. } => Ok(()),
        }
    }

    fn add_netns(&mut self, ns: &Ns) {
        let ipv6 = self.space(&Ns::Host).ipv6;
        let space = self.spaces.entry(ns.clone());
        space.or_insert_with(|| new_space(ipv6));
        self.named.insert(ns.clone());
    }

    /// One of those that change where packets go.
    fn run_route(&mut self, op: &Op) -> Result<(), Refusal> {
        match op {
            Op::AddRoute { ns, route } => self.add_route(ns, route),
            Op::ReplaceRoute { ns, route } => {
                if self.link(ns, route.link)?.up {
                    self.space_mut(ns).drop_standing(route);
                }
                self.add_route(ns, route)
            }
            Op::DelRoute { ns, route } => {
                self.space_mut(ns).drop_route(&as_observed(route));
                Ok(())
            }
            Op::AddBlackhole { ns, destination } => {
                let added = self.space_mut(ns).blackholes.insert(*destination);
                if added { Ok(()) } else { Err(Refusal::Exists) }
            }
            Op::DelBlackhole { ns, destination } => {
                let removed = self.space_mut(ns).blackholes.remove(destination);
                if removed {
                    Ok(())
                } else {
                    Err(Refusal::Missing)
                }
            }
            // `run` hands on no other.
            _ => Ok(()),
        }
    }

    /// One of those that change what is known of others.
    fn run_neighbour(&mut self, op: &Op) -> Result<(), Refusal> {
        match op {
            Op::SetNeighbour {
                ns,
                link,
                neighbour,
            } => {
                self.link(ns, *link)?;
                let state = NeighbourState {
                    mac: neighbour.mac,
                    permanent: true,
                };
                let key = (*link, neighbour.address);
                self.space_mut(ns).neighbours.insert(key, state);
                Ok(())
            }
            Op::DelNeighbour { ns, link, address } => {
                self.space_mut(ns).neighbours.remove(&(*link, *address));
                Ok(())
            }
            Op::SetFdb {
                ns,
                link,
                mac,
                remote,
            } => {
                self.link(ns, *link)?;
                let entry = FdbEntry {
                    remotes: [*remote].into(),
                    plain: true,
                };
                let key = (*link, mac.octets());
                self.space_mut(ns).fdb.insert(key, entry);
                Ok(())
            }
            Op::DelFdb { ns, link, mac } => {
                self.space_mut(ns).fdb.remove(&(*link, *mac));
                Ok(())
            }
            Op::AddFlood { ns, link, remote } => {
                self.link(ns, *link)?;
                let entry = self.space_mut(ns).fdb.entry((*link, [0; 6]));
                let entry = entry.or_insert_with(|| FdbEntry {
                    remotes: BTreeSet::new(),
                    plain: true,
                });
                entry.remotes.insert(*remote);
                Ok(())
            }
            Op::SetStation { ns, port, mac } => {
                if self.link(ns, *port)?.bridge.is_none() {
                    return Err(Refusal::Missing);
                }
                self.space_mut(ns).stations.insert((*port, *mac));
                Ok(())
            }
            // `run` hands on no other.
            _ => Ok(()),
        }
    }

    /// One of those that change what of `IPsec` there is.
    fn run_ipsec(&mut self, op: &Op) -> Result<(), Refusal> {
        let added = |before: bool| if before { Err(Refusal::Exists) } else { Ok(()) };
        let removed = |before: bool| {
            if before {
                Ok(())
            } else {
                Err(Refusal::Missing)
            }
        };
        match op {
            Op::AddSa {
                ns,
                source,
                destination,
                port,
                sa,
            } => {
                let states = &mut self.space_mut(ns).ipsec.states;
                added(states.contains_key(&(*destination, sa.spi)))?;
                let state = SaState {
                    source: *source,
                    port: Some(*port),
                };
                states.insert((*destination, sa.spi), state);
                Ok(())
            }
            Op::DelSa {
                ns,
                destination,
                spi,
            } => {
                let states = &mut self.space_mut(ns).ipsec.states;
                removed(states.remove(&(*destination, *spi)).is_some())
            }
            Op::AddPolicy { ns, policy } => {
                let policies = &mut self.space_mut(ns).ipsec.policies;
                added(policies.contains_key(policy))?;
                policies.insert(*policy, PolicyState::Ours);
                Ok(())
            }
            Op::DelPolicy { ns, policy } => {
                let policies = &mut self.space_mut(ns).ipsec.policies;
                removed(policies.remove(policy).is_some())
            }
            // `run` hands on no other.
            _ => Ok(()),
        }
    }

    fn space_mut(&mut self, ns: &Ns) -> &mut Space {
        self.spaces.entry(ns.clone()).or_default()
    }

    fn link(&mut self, ns: &Ns, name: IfName) -> Result<&mut Link, Refusal> {
        self.space_mut(ns)
            .links
            .get_mut(&name)
            .ok_or(Refusal::Missing)
    }

    fn add_link(&mut self, ns: &Ns, name: IfName, link: Link) -> Result<(), Refusal> {
        let space = self.space_mut(ns);
        if space.links.contains_key(&name) {
            return Err(Refusal::Exists);
        }
        space.links.insert(name, link);
        let (link, own) = (name.as_str(), str::to_owned);
        let ipv4 = IPV4_DEFAULTS.map(|(leaf, value)| (Sysctl::ipv4_conf(link, leaf), own(value)));
        space.sysctls.extend(ipv4);
        if space.ipv6 {
            let ipv6 = IPV6_DEFAULTS;
            let ipv6 = ipv6.map(|(leaf, value)| (Sysctl::ipv6_conf(link, leaf), own(value)));
            space.sysctls.extend(ipv6);
        }
        for (switch, of_link) in forwarding(link) {
            let inherited = space.sysctls.get(&switch).cloned();
            let known = space.sysctls.get_mut(&of_link);
            if let (Some(known), Some(inherited)) = (known, inherited) {
                *known = inherited;
            }
        }
        Ok(())
    }

    fn add_vxlan(
        &mut self,
        ns: &Ns,
        name: IfName,
        mac: Mac,
        mtu: Mtu,
        vxlan: Vxlan,
    ) -> Result<(), Refusal> {
        let mut links = self.space_mut(ns).links.values();
        let in_the_way =
            |link: &Link| matches!(link.kind, LinkKind::Vxlan(other) if vxlan.excludes(&other));
        if links.any(in_the_way) {
            return Err(Refusal::Exists);
        }
        let link = new_link(LinkKind::Vxlan(vxlan), mac, mtu, LinkGroup::OWNED);
        self.add_link(ns, name, link)?;
        self.space_mut(ns).tx_checksums.insert(name, Switch::On);
        Ok(())
    }

    fn add_veth(&mut self, op: &Op) -> Result<(), Refusal> {
        let Op::AddVeth {
            ns,
            port,
            port_mac,
            bridge,
            container,
            interface,
            mac,
            mtu,
        } = op
        else {
            return Ok(());
        };
        if let Some(bridge) = bridge {
            self.link(ns, *bridge)?;
        }
        if self.space_mut(container).links.contains_key(interface) {
            return Err(Refusal::Exists);
        }
        let end = |ns: &Ns, name| LinkKind::Veth {
            peer: Some((ns.clone(), name)),
        };
        let mut host_end = new_link(
            end(container, *interface),
            *port_mac,
            *mtu,
            LinkGroup::OWNED,
        );
        host_end.bridge = *bridge;
        self.add_link(ns, *port, host_end)?;
        self.add_link(
            container,
            *interface,
            new_link(end(ns, *port), *mac, *mtu, LinkGroup(0)),
        )
    }

    fn set_link(&mut self, ns: &Ns, name: IfName, set: LinkSetting) -> Result<(), Refusal> {
        if let LinkSetting::Bridge(bridge) = set {
            self.link(ns, bridge)?;
        }
        let link = self.link(ns, name)?;
        match set {
            LinkSetting::Up => link.up = true,
            LinkSetting::Down => return self.lower(ns, name),
            LinkSetting::Mtu(mtu) => link.mtu = mtu,
            LinkSetting::Mac(mac) => {
                link.mac = Some(mac);
                self.space_mut(ns).forget_neighbours(name);
            }
            LinkSetting::Bridge(bridge) => {
                link.bridge = Some(bridge);
                link.port = PortFlags::default();
                self.space_mut(ns).unlearn(name);
            }
            LinkSetting::NoBridge => {
                link.bridge = None;
                link.port = PortFlags::default();
                self.space_mut(ns).unlearn(name);
            }
            LinkSetting::Promiscuous(switch) => link.promiscuous = switch == Switch::On,
            LinkSetting::TxChecksum(switch) => {
                self.space_mut(ns).tx_checksums.insert(name, switch);
            }
            LinkSetting::Groups(groups) => link.port.max_groups = Some(groups),
            LinkSetting::NoLinkLocal => link.forms_link_local = false,
            LinkSetting::NoLinkLocalLearning => link.learns_link_local = false,
        }
        Ok(())
    }

    fn lower(&mut self, ns: &Ns, name: IfName) -> Result<(), Refusal> {
        self.link(ns, name)?.up = false;
        let space = self.space_mut(ns);
        space.drop_routes(|route| route.link == name);
        space.forget_neighbours(name);
        let kept = space
            .sysctls
            .get(&Sysctl::ipv6_conf(name.as_str(), "keep_addr_on_down"));
        let keeps = kept.is_some_and(|value| value == "1");
        let goes = |on: IfName, address: IpAddr| match address {
            IpAddr::V6(v6) => on == name && (!keeps || v6.is_unicast_link_local()),
            IpAddr::V4(_) => false,
        };
        space.drop_addresses(goes);
        // The kernel makes those to its addresses' prefixes again when it comes up.
        let of_link = space
            .addresses
            .iter_mut()
            .filter(|((on, _), _)| *on == name);
        of_link.for_each(|(_, address)| address.unrouted = false);
        Ok(())
    }

    fn del_link(&mut self, ns: &Ns, name: IfName) -> Result<(), Refusal> {
        let space = self.space_mut(ns);
        let link = space.links.remove(&name).ok_or(Refusal::Missing)?;
        space.forget(name);
        if link.kind == LinkKind::Bridge {
            for port in space
                .links
                .values_mut()
                .filter(|port| port.bridge == Some(name))
            {
                port.bridge = None;
                port.port = PortFlags::default();
            }
            let ports: BTreeSet<_> = space
                .links
                .iter()
                .filter_map(|(name, link)| link.bridge.map(|_| *name))
                .collect();
            space.stations.retain(|(port, _)| ports.contains(port));
        }
        if let LinkKind::Veth {
            peer: Some((peer_ns, peer)),
        } = link.kind
        {
            let space = self.space_mut(&peer_ns);
            space.links.remove(&peer);
            space.forget(peer);
        }
        Ok(())
    }

    fn add_address(
        &mut self,
        ns: &Ns,
        link: IfName,
        address: InterfaceAddress,
        state: AddressState,
    ) -> Result<(), Refusal> {
        self.link(ns, link)?;
        let space = self.space_mut(ns);
        if space.addresses.contains_key(&(link, address)) {
            return Err(Refusal::Exists);
        }
        space.addresses.insert((link, address), state);
        space.local.insert(address.address());
        Ok(())
    }

    fn add_route(&mut self, ns: &Ns, route: &Route) -> Result<(), Refusal> {
        if !self.link(ns, route.link)?.up {
            return Err(Refusal::Down);
        }
        let space = self.space_mut(ns);
        if space.standing(route).is_some() || space.has_stranger_like(route) {
            return Err(Refusal::Exists);
        }
        space.routes.insert(as_observed(route));
        if route.table == MAIN_TABLE {
            space.own_routes.insert(as_observed(route));
        }
        let addresses = &mut space.addresses;
        for ((on, address), state) in addresses {
            state.unrouted &= *on != route.link || address.prefix() != route.destination;
        }
        Ok(())
    }

    fn commit(
        &mut self,
        ns: &Ns,
        transaction: &nft::Transaction,
        generation: Option<u32>,
    ) -> Result<(), Refusal> {
        let space = self.space_mut(ns);
        if generation.is_some() && generation != space.generation {
            return Err(Refusal::Restart);
        }
        let mut devices = transaction.devices().into_iter();
        if !devices.all(|device| space.links.contains_key(&device)) {
            return Err(Refusal::Missing);
        }
        let mut tables = space.tables.clone();
        for command in &transaction.0 {
            run_command(&mut tables, command)?;
        }
        space.tables = tables;
        space.generation = space.generation.map(next_generation);
        Ok(())
    }
}

/// What the kernel reports of a route it was asked for: scope filled in (`fib_semantics.c`; IPv6
/// has none and reports 0).
fn as_observed(route: &Route) -> Route {
    let default = match (route.gateway, route.destination.address().is_ipv6()) {
        (_, true) | (Some(_), false) => 0,
        (None, false) => 253,
    };
    Route {
        scope: Some(route.scope.unwrap_or(default)),
        ..route.clone()
    }
}
