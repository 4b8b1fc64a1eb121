//! The model of the kernel: an operation's effect on a world. The only fake there is; the same cases
//! run on it and on the kernel and are compared, so that it cannot drift.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bulkhead_model::{IfName, InterfaceAddress, LinkGroup, Mac, Mtu, Prefix};
use bulkhead_nft as nft;

use crate::{
    AddressState, Dad, FdbEntry, Link, LinkKind, LinkSetting, MAIN_TABLE, NeighbourState, Ns, Op,
    Plan, PolicyState, PortFlags, Route, SaState, Space, Switch, Sysctl, TableState, Vxlan, World,
    world::next_generation,
};

/// The same of IPv4 (`ipv4_devconf_dflt`, `net/ipv4/devinet.c`).
const IPV4_DEFAULTS: [(&str, &str); 5] = [
    ("accept_redirects", "1"),
    ("forwarding", "0"),
    ("route_localnet", "0"),
    ("rp_filter", "0"),
    ("send_redirects", "1"),
];
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

impl Space {
    /// What a bridge was told of a port that leaves it.
    fn unlearn(&mut self, port: IfName) {
        self.stations.retain(|(on, _)| *on != port);
    }

    fn forget(&mut self, link: IfName) {
        self.unlearn(link);
        self.drop_addresses(|on, _| on == link);
        self.drop_routes(|route| route.link == link);
        self.forget_neighbours(link);
        self.fdb.retain(|(on, _), _| *on != link);
        self.tx_checksums.remove(&link);
        let of_link = format!("/conf/{link}/");
        self.sysctls
            .retain(|sysctl, _| !sysctl.path().contains(&of_link));
        // A map keeps the index of a device that is gone.
        let maps = self
            .tables
            .values_mut()
            .flat_map(|table| table.maps.values_mut());
        for entry in maps.flat_map(BTreeMap::values_mut) {
            if entry.data == Some(nft::Data::Device(link)) {
                entry.data = None;
            }
        }
    }

    /// The route that stands where this one would: there is one for each destination, table and metric.
    fn standing(&self, route: &Route) -> Option<&Route> {
        let key = |route: &Route| (route.destination, route.table, route.priority);
        // In the order of routes, destinations come first.
        let first = Route {
            destination: route.destination,
            gateway: None,
            link: "!".parse().expect("the lowest name"),
            priority: None,
            table: 0,
            scope: None,
            mtu: None,
            advmss: None,
        };
        let there = self.routes.range(first..);
        let mut there = there.take_while(|found| found.destination == route.destination);
        there.find(|found| key(found) == key(route))
    }

    fn has_stranger_like(&self, route: &Route) -> bool {
        let priority = route.priority.unwrap_or_default();
        let mut strangers = self.strangers.iter();
        route.table == MAIN_TABLE
            && strangers.any(|it| (it.destination, it.priority) == (route.destination, priority))
    }

    fn drop_standing(&mut self, route: &Route) {
        if let Some(found) = self.standing(route).cloned() {
            self.drop_route(&found);
        }
    }

    fn drop_route(&mut self, route: &Route) {
        self.routes.remove(route);
        self.own_routes.remove(route);
    }

    fn drop_routes(&mut self, goes: impl Fn(&Route) -> bool) {
        self.routes.retain(|route| !goes(route));
        self.own_routes.retain(|route| !goes(route));
    }

    fn drop_addresses(&mut self, goes: impl Fn(IfName, IpAddr) -> bool) {
        let (gone, left) = std::mem::take(&mut self.addresses)
            .into_iter()
            .partition::<BTreeMap<_, _>, _>(|((on, address), _)| goes(*on, address.address()));
        self.addresses = left;
        for (_, address) in gone.into_keys() {
            self.disown(address.address());
        }
    }

    /// The switch for the whole namespace sets every link's too (`inet_forward_change`,
    /// `net/ipv4/devinet.c`; `addrconf_forward_change`, `net/ipv6/addrconf.c`).
    fn set_sysctl(&mut self, sysctl: &Sysctl, value: &str) {
        for link in self.links.keys() {
            for (switch, of_link) in forwarding(link.as_str()) {
                if switch == *sysctl && self.sysctls.contains_key(&of_link) {
                    self.sysctls.insert(of_link, value.to_owned());
                }
            }
        }
        self.sysctls.insert(sysctl.clone(), value.to_owned());
    }

    fn forget_neighbours(&mut self, link: IfName) {
        self.neighbours.retain(|(on, _), _| *on != link);
    }

    /// No more local, unless another link has it too.
    fn disown(&mut self, address: IpAddr) {
        let mut held = self.addresses.keys().map(|(_, held)| held.address());
        if !held.any(|held| held == address) {
            self.local.remove(&address);
        }
    }
}

/// The switches for forwarding of the whole namespace, and a link's own of each.
fn forwarding(link: &str) -> [(Sysctl, Sysctl); 2] {
    [
        (
            Sysctl::ipv4_forwarding(),
            Sysctl::ipv4_conf(link, "forwarding"),
        ),
        (
            Sysctl::ipv6_forwarding(),
            Sysctl::ipv6_conf(link, "forwarding"),
        ),
    ]
}

type Tables = BTreeMap<nft::TableId, TableState>;

fn run_on_set(tables: &mut Tables, command: &nft::Command) -> Result<(), Refusal> {
    let done = match command {
        nft::Command::AddSet { table, set } => {
            tables.get_mut(table).map(|table| table.add_set(set))
        }
        nft::Command::DeleteSet { table, set } => {
            let table = tables.get_mut(table);
            table.and_then(|table| table.delete_set(set).then_some(()))
        }
        _ => Some(()),
    };
    done.ok_or(Refusal::Missing)
}

fn run_on_chain(
    chains: &mut BTreeMap<nft::Name, usize>,
    command: &nft::Command,
) -> Result<(), Refusal> {
    match command {
        nft::Command::AddChain { chain, .. } => {
            match chains.insert(chain.name.clone(), chain.rules.len()) {
                Some(_) => Err(Refusal::Exists),
                None => Ok(()),
            }
        }
        nft::Command::SetRules { chain, .. } => {
            let found = chains.get_mut(&chain.name).ok_or(Refusal::Missing)?;
            *found = chain.rules.len();
            Ok(())
        }
        nft::Command::DeleteChain { chain, .. } => {
            chains.remove(chain).map(drop).ok_or(Refusal::Missing)
        }
        _ => Ok(()),
    }
}

fn run_command(tables: &mut Tables, command: &nft::Command) -> Result<(), Refusal> {
    let missing = |ok: bool| if ok { Ok(()) } else { Err(Refusal::Missing) };
    match command {
        nft::Command::AddTable(table) if tables.contains_key(&table.id) => Err(Refusal::Exists),
        nft::Command::AddTable(table) | nft::Command::ReplaceTable(table) => {
            tables.insert(table.id.clone(), TableState::of(table));
            Ok(())
        }
        nft::Command::AddElements {
            table,
            set,
            elements: nft::Elements::Map(map),
        } => {
            let table = tables.get_mut(table).ok_or(Refusal::Missing)?;
            table.add_entries(set, map)
        }
        nft::Command::AddElements {
            table,
            set,
            elements: nft::Elements::Prefixes(prefixes),
        } => {
            let table = tables.get_mut(table).ok_or(Refusal::Missing)?;
            table.add_prefixes(set, prefixes)
        }
        nft::Command::DeleteElements {
            table,
            set,
            elements: nft::Elements::Prefixes(prefixes),
        } => {
            let table = tables.get_mut(table).ok_or(Refusal::Missing)?;
            let held = table.prefixes.entry(set.clone()).or_default();
            prefixes
                .iter()
                .try_for_each(|prefix| missing(held.remove(&prefix)))
        }
        nft::Command::AddElements {
            table,
            set,
            elements: nft::Elements::Ranges(ranges),
        } => {
            let table = tables.get_mut(table).ok_or(Refusal::Missing)?;
            table.add_ranges(set, ranges)
        }
        nft::Command::DeleteElements {
            table,
            set,
            elements: nft::Elements::Ranges(ranges),
        } => {
            let table = tables.get_mut(table).ok_or(Refusal::Missing)?;
            let held = table.ranges.entry(set.clone()).or_default();
            let mut gone = ranges.iter();
            gone.try_for_each(|(first, rest)| missing(held.remove(first).as_ref() == Some(rest)))
        }
        nft::Command::AddElements {
            table,
            set,
            elements,
        } => {
            let table = tables.get_mut(table).ok_or(Refusal::Missing)?;
            table
                .elements
                .entry(set.clone())
                .or_default()
                .extend(keys(elements));
            Ok(())
        }
        nft::Command::DeleteElements {
            table,
            set,
            elements,
        } => {
            let table = tables.get_mut(table).ok_or(Refusal::Missing)?;
            if let Some(found) = table.maps.get_mut(set) {
                return keys(elements)
                    .iter()
                    .try_for_each(|key| missing(found.remove(key).is_some()));
            }
            let found = table.elements.entry(set.clone()).or_default();
            keys(elements)
                .iter()
                .try_for_each(|key| missing(found.remove(key)))
        }
        nft::Command::AddChain { table, .. }
        | nft::Command::SetRules { table, .. }
        | nft::Command::DeleteChain { table, .. } => {
            let table = tables.get_mut(table).ok_or(Refusal::Missing)?;
            run_on_chain(&mut table.chains, command)
        }
        nft::Command::AddSet { .. } | nft::Command::DeleteSet { .. } => run_on_set(tables, command),
        nft::Command::DeleteTable(table) => missing(tables.remove(table).is_some()),
    }
}

impl TableState {
    fn add_entries(
        &mut self,
        set: &nft::Name,
        new: &BTreeMap<nft::Key, nft::Entry>,
    ) -> Result<(), Refusal> {
        let found = self.maps.entry(set.clone()).or_default();
        new.iter().try_for_each(|(key, entry)| {
            let entry = as_found(entry);
            match found.get(key) {
                Some(other) if other.data != entry.data => Err(Refusal::Exists),
                Some(_) => Ok(()),
                None => {
                    found.insert(key.clone(), entry);
                    Ok(())
                }
            }
        })
    }

    fn add_prefixes(&mut self, set: &nft::Name, new: &nft::PrefixSet) -> Result<(), Refusal> {
        let held = self.prefixes.entry(set.clone()).or_default();
        new.iter().try_for_each(|prefix| {
            let clashes = |other: &Prefix| *other != prefix && other.overlaps(prefix);
            if held.iter().any(clashes) {
                return Err(Refusal::Exists);
            }
            held.insert(prefix);
            Ok(())
        })
    }

    fn add_ranges(&mut self, set: &nft::Name, new: &nft::FoundRanges) -> Result<(), Refusal> {
        let held = self.ranges.entry(set.clone()).or_default();
        new.iter().try_for_each(|(first, rest)| {
            let before = held.range(..=rest.0).next_back();
            if before.is_some_and(|(_, (last, _))| last >= first) {
                return Err(Refusal::Exists);
            }
            held.insert(*first, rest.clone());
            Ok(())
        })
    }

    fn add_set(&mut self, set: &nft::Set) {
        let family = nft::TableFamily::Inet;
        let name = set.name.clone();
        let mut alone = nft::Table::new(nft::TableId { family, name });
        alone.sets.push(set.clone());
        let alone = Self::of(&alone);
        self.elements.extend(alone.elements);
        self.prefixes.extend(alone.prefixes);
        self.ranges.extend(alone.ranges);
        self.maps.extend(alone.maps);
    }

    /// Whether it was there.
    fn delete_set(&mut self, set: &nft::Name) -> bool {
        let exact = self.elements.remove(set).is_some();
        let prefixes = self.prefixes.remove(set).is_some();
        let ranges = self.ranges.remove(set).is_some();
        self.maps.remove(set).is_some() || exact || prefixes || ranges
    }

    /// What an observer of everything would see of `table`.
    fn of(table: &nft::Table) -> Self {
        let sets = table.sets.iter().filter_map(|set| match &set.elements {
            nft::Elements::Map(_) | nft::Elements::Prefixes(_) | nft::Elements::Ranges(_) => None,
            exact => Some((set.name.clone(), keys(exact))),
        });
        let prefixes = table.sets.iter().filter_map(|set| match &set.elements {
            nft::Elements::Prefixes(prefixes) => {
                Some((set.name.clone(), prefixes.iter().collect()))
            }
            _ => None,
        });
        let ranges = table.sets.iter().filter_map(|set| match &set.elements {
            nft::Elements::Ranges(ranges) => Some((set.name.clone(), ranges.clone())),
            _ => None,
        });
        let maps = table.sets.iter().filter_map(|set| match &set.elements {
            nft::Elements::Map(map) => {
                let found = map
                    .iter()
                    .map(|(key, entry)| (key.clone(), as_found(entry)));
                Some((set.name.clone(), found.collect()))
            }
            _ => None,
        });
        let chains = table
            .chains
            .iter()
            .map(|chain| (chain.name.clone(), chain.rules.len()));
        let comment = table
            .comment
            .as_ref()
            .map(|comment| comment.as_str().to_owned());
        Self {
            comment,
            chains: chains.collect(),
            elements: sets.collect(),
            prefixes: prefixes.collect(),
            ranges: ranges.collect(),
            maps: maps.collect(),
        }
    }
}

fn as_found(entry: &nft::Entry) -> nft::FoundEntry {
    nft::FoundEntry {
        data: Some(entry.data.clone()),
        comment: entry.comment.as_ref().map(|text| text.as_str().to_owned()),
    }
}

fn keys(elements: &nft::Elements) -> BTreeSet<nft::Key> {
    match elements {
        nft::Elements::Keys(keys) => keys.clone(),
        nft::Elements::Map(map) => map.keys().cloned().collect(),
        nft::Elements::Limits(limits) => limits.keys().cloned().collect(),
        nft::Elements::Prefixes(_) | nft::Elements::Ranges(_) => BTreeSet::new(),
    }
}

/// A link as the kernel makes it: down, and ready to form a link-local address.
/// A namespace as the kernel makes it: the loopback interface, down, and nothing that forwards.
fn new_space(ipv6: bool) -> Space {
    let loopback = Link {
        mac: None,
        mtu: Mtu::new(65_535).expect("the largest"),
        forms_link_local: false,
        ..new_link(
            LinkKind::Other(String::new()),
            Mac::new([2, 0, 0, 0, 0, 0]).expect("a unicast address"),
            Mtu::ETHERNET,
            LinkGroup(0),
        )
    };
    let mut switches = vec![Sysctl::ipv4_forwarding()];
    switches.extend(ipv6.then(Sysctl::ipv6_forwarding));
    let off = |switch: Sysctl| (switch, "0".to_owned());
    Space {
        ipv6,
        links: [(crate::link::lo(), loopback)].into(),
        sysctls: switches.into_iter().map(off).collect(),
        ..Space::default()
    }
}

fn new_link(kind: LinkKind, mac: Mac, mtu: Mtu, group: LinkGroup) -> Link {
    let is_bridge = kind == LinkKind::Bridge;
    Link {
        kind,
        mac: Some(mac),
        mtu,
        up: false,
        promiscuous: false,
        group,
        bridge: None,
        port: PortFlags::default(),
        forms_link_local: true,
        learns_link_local: is_bridge,
        shape: None,
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
