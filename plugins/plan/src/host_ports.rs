//! Host ports: `table inet bulkhead-ports`, one for the node. A new connection to an address of the
//! host is looked up in hash maps, so that it costs the same beside ten host ports and a thousand;
//! what is for another machine is never looked at (CVE-2025-67499).
//!
//! The host reaches containers from 127.0.0.1 too, for which their bridge must route it
//! (`route_localnet`): then only the rule against 127.0.0.0/8 from any other link than the loopback
//! keeps neighbours from the host's own sockets there. It stands before the bridge routes, and goes
//! with the node's last attachment. IPv6 has no such switch: `::1` stays what it is.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};

use bulkhead_model::{Family, HostAddress, IfName, Prefix, Protocol};
use bulkhead_nft as nft;

use crate::{
    Attached, Conflict, Detached, Entries, Forward, HostPorts, Link, Localnet, MapScope, Ns, Op,
    Place, Space, SpaceScope, Switch, TableScope, TableState, World, bridge, filter,
};

/// Before other programs' destination NAT (`NF_IP_PRI_NAT_DST`, -100): what a container was given is
/// not a service's.
const PRIORITY: i32 = -110;
/// `NF_IP_PRI_RAW` (`linux/netfilter_ipv4.h`): before connections are tracked.
const RAW: i32 = -300;
/// The bit of the packet's mark by which postrouting knows a connection that was sent on here from one
/// that another program translated. Only a connection's first packet has it. Not 13 to 15, which the
/// reference `portmap` and kube-proxy masquerade by.
pub(crate) const MARK: u32 = 1 << 12;
/// The chain with the lookups.
const HOST: nft::Name = nft::Name::literal("host");
/// The host's own (RFC 1122 section 3.2.1.3): on no wire.
const LOOPBACK: &str = "127.0.0.0/8";

/// A map: host ports of one family, open on every address or on one.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Map {
    family: Family,
    by_address: bool,
}

impl Map {
    /// In the order they are looked up.
    const ALL: [Self; 4] = [
        Self::of(Family::V4, true),
        Self::of(Family::V4, false),
        Self::of(Family::V6, true),
        Self::of(Family::V6, false),
    ];

    const fn of(family: Family, by_address: bool) -> Self {
        Self { family, by_address }
    }

    const fn name(self) -> nft::Name {
        nft::Name::literal(match (self.family, self.by_address) {
            (Family::V4, true) => "one4",
            (Family::V4, false) => "every4",
            (Family::V6, true) => "one6",
            (Family::V6, false) => "every6",
        })
    }

    const fn address(self) -> nft::KeyType {
        match self.family {
            Family::V4 => nft::KeyType::Ipv4Addr,
            Family::V6 => nft::KeyType::Ipv6Addr,
        }
    }

    fn keys(self) -> Vec<nft::KeyType> {
        let address = self.by_address.then(|| self.address());
        let keys = [Some(nft::KeyType::InetProto), address];
        keys.into_iter()
            .flatten()
            .chain([nft::KeyType::InetService])
            .collect()
    }

    fn fields(self) -> Vec<nft::Field> {
        let address = match self.family {
            Family::V4 => nft::Field::Ip4Daddr,
            Family::V6 => nft::Field::Ip6Daddr,
        };
        let fields = [
            Some(nft::Field::L4Proto),
            self.by_address.then_some(address),
        ];
        fields
            .into_iter()
            .flatten()
            .chain([nft::Field::TransportDport])
            .collect()
    }

    fn data(self) -> nft::DataType {
        nft::DataType::Value(vec![self.address(), nft::KeyType::InetService])
    }

    fn holding(forward: &Forward) -> Self {
        let family = Family::of(forward.to.ip());
        Self::of(family, matches!(forward.host.address, HostAddress::One(_)))
    }
}

fn key(forward: &Forward) -> nft::Key {
    let address = match forward.host.address {
        HostAddress::One(one) => Some(nft::Datum::from(one)),
        HostAddress::Any | HostAddress::Every(_) => None,
    };
    let protocol = nft::Datum::InetProto(forward.host.protocol.number());
    let number = nft::Datum::InetService(forward.host.number.get());
    let parts = [Some(protocol), address, Some(number)];
    nft::Key::new(parts.into_iter().flatten())
}

fn entry(forward: &Forward) -> nft::Entry {
    let to = forward.to;
    let data = nft::Key::new([to.ip().into(), nft::Datum::InetService(to.port())]);
    nft::Entry {
        data: nft::Data::Value(data),
        comment: Some(owner(forward.owner)),
    }
}

/// What the entries of an attachment carry, so that they are found without its record.
fn owner(port: IfName) -> nft::Label {
    nft::Label::new(port.as_str()).expect("a port of ours is bhp and base32")
}

/// The table's name.
#[must_use]
pub fn table_id() -> nft::TableId {
    nft::TableId {
        family: nft::TableFamily::Inet,
        name: nft::Name::literal("bulkhead-ports"),
    }
}

/// What a plan needs to see of it for these; `None` searches all entries.
pub(crate) fn scope(forwards: Option<&[Forward]>) -> TableScope {
    let mut maps = BTreeMap::new();
    for map in Map::ALL {
        let entries = match forwards {
            None => Entries::All,
            Some(forwards) => {
                let here = forwards.iter().filter(|one| Map::holding(one) == map);
                Entries::Of(here.map(key).collect())
            }
        };
        if entries != Entries::Of(BTreeSet::new()) {
            let (keys, data) = (map.keys(), map.data());
            maps.insert(
                map.name(),
                MapScope {
                    keys,
                    data,
                    entries,
                },
            );
        }
    }
    let chains = table(&[]).chains;
    TableScope {
        chains: chains.into_iter().map(|chain| chain.name).collect(),
        maps,
        ..TableScope::default()
    }
}

/// Widens a scope by what a plan for these needs to see.
pub(crate) fn see(host: &mut SpaceScope, forwards: &[Forward]) {
    if !forwards.is_empty() {
        host.tables.insert(table_id(), scope(Some(forwards)));
        host.local.extend(addresses(forwards));
        host.flows.extend(flows(forwards));
    }
}

/// Appends what sends host ports that another attachment had on to this one. A table that does not
/// stand as it should is left to who loads it whole, and with it the flows that go past.
pub(crate) fn inherit(host: &Space, link: Option<IfName>, forwards: &[Forward], ops: &mut Vec<Op>) {
    if standing(host).is_none() {
        return;
    }
    let ours = |link: &IfName| host.links.get(link).is_some_and(Link::is_ours);
    let needed = Localnet::needed_by(forwards) != Localnet::Unclaimed;
    if let Some(link) = link.filter(|link| needed && ours(link))
        && !bridge::routes_localnet(host, link)
    {
        ops.push(bridge::route_localnet(link, Switch::On));
    }
    let commands = missing(host, forwards);
    if !commands.is_empty() {
        ops.push(filter::commit(commands));
    }
    redirect(host, forwards, ops);
}

/// The UDP ports whose flows a plan needs to see.
pub(crate) fn flows(forwards: &[Forward]) -> impl Iterator<Item = u16> {
    let udp = forwards
        .iter()
        .filter(|forward| forward.host.protocol == Protocol::Udp);
    udp.map(|forward| forward.host.number.get())
}

/// The host addresses that must be the host's own.
fn addresses(forwards: &[Forward]) -> impl Iterator<Item = IpAddr> {
    forwards
        .iter()
        .filter_map(|forward| match forward.host.address {
            HostAddress::One(address) => Some(address),
            HostAddress::Any | HostAddress::Every(_) => None,
        })
}

/// Refuses host ports that could not be reached.
pub(crate) fn refuse(host: &Space, want: &Attached) -> Result<(), Conflict> {
    let mine = &want.host_ports.mine;
    let own = match &want.place {
        Place::Bridge(bridge) => &bridge.gateways,
        Place::PointToPoint(link) => &link.gateways,
    };
    let gateways = || own.iter().map(|gateway| gateway.address());
    let is_local =
        |it: &IpAddr| host.local.contains(it) || gateways().any(|gateway| gateway == *it);
    if let Some(address) = addresses(mine).find(|address| !is_local(address)) {
        return Err(Conflict::NoHostAddress(address));
    }
    // Over a link of its own a container is reached by its host routes.
    let Some(bridge) = want.place.bridge().map(|bridge| bridge.name) else {
        return Ok(());
    };
    let reachable = |to: IpAddr| {
        let standing = host.addresses.keys().filter(|(on, _)| *on == bridge);
        own.iter()
            .chain(standing.map(|(_, address)| address))
            .any(|address| address.prefix().contains(to))
    };
    match mine.iter().find(|forward| !reachable(forward.to.ip())) {
        Some(forward) => Err(Conflict::HostOffLink {
            bridge,
            address: forward.to.ip(),
        }),
        None => Ok(()),
    }
}

/// Appends what puts the table there, with every live attachment's host ports if it is loaded anew.
pub(crate) fn ensure(world: &World, want: &Attached, ops: &mut Vec<Op>) -> Result<(), Conflict> {
    if want.host_ports.mine.is_empty() {
        return Ok(());
    }
    let host = world.space(&Ns::Host);
    let found = host.tables.get(&table_id());
    if found.is_some_and(|table| !filter::is_ours(table)) {
        return Err(Conflict::ForeignTable(table_id()));
    }
    if standing(host).is_none() {
        let HostPorts { mine, others } = &want.host_ports;
        // Mine come last: what a dead one's record lists of them is not its any more.
        let all = [others.as_slice(), mine.as_slice()].concat();
        filter::load(host, table(&all), ops);
    }
    Ok(())
}

/// What the attachment's host ports lack in a table that stands.
pub(crate) fn missing(host: &Space, mine: &[Forward]) -> Vec<nft::Command> {
    let Some(table) = standing(host) else {
        return Vec::new();
    };
    let mut surplus: BTreeMap<Map, Vec<nft::Key>> = BTreeMap::new();
    let mut lacking: BTreeMap<Map, BTreeMap<nft::Key, nft::Entry>> = BTreeMap::new();
    for forward in mine {
        let (map, key, entry) = (Map::holding(forward), key(forward), entry(forward));
        let found = table
            .maps
            .get(&map.name())
            .and_then(|found| found.get(&key));
        if found.is_some_and(|found| is(found, &entry)) {
            continue;
        }
        // Left from one that is gone: the port is reserved for this attachment.
        if found.is_some() {
            surplus.entry(map).or_default().push(key.clone());
        }
        lacking.entry(map).or_default().insert(key, entry);
    }
    let gone = surplus.into_iter().map(|(map, keys)| delete(map, keys));
    let new = lacking
        .into_iter()
        .map(|(map, entries)| nft::Command::AddElements {
            table: table_id(),
            set: map.name(),
            elements: nft::Elements::Map(entries),
        });
    gone.chain(new).collect()
}

/// What takes an attachment's host ports away.
pub(crate) fn unbind(host: &Space, want: &Detached) -> Vec<nft::Command> {
    let Some(table) = host.tables.get(&table_id()).filter(|t| filter::is_ours(t)) else {
        return Vec::new();
    };
    let owner = owner(want.port);
    let is_mine = |found: &nft::FoundEntry| found.comment.as_deref() == Some(owner.as_str());
    let mut commands = Vec::new();
    for map in Map::ALL {
        let found = table.maps.get(&map.name()).into_iter().flatten();
        let mine: Vec<_> = found
            .filter(|(_, entry)| is_mine(entry))
            .map(|(key, _)| key.clone())
            .collect();
        if !mine.is_empty() {
            commands.push(delete(map, mine));
        }
    }
    commands
}

/// Appends the table's removal if nobody else's host port is in it.
pub(crate) fn remove(host: &Space, want: &Detached, ops: &mut Vec<Op>) {
    let Some(table) = host.tables.get(&table_id()).filter(|t| filter::is_ours(t)) else {
        return;
    };
    let owner = owner(want.port);
    let others = table
        .maps
        .values()
        .flat_map(BTreeMap::values)
        .any(|entry| entry.comment.as_deref() != Some(owner.as_str()));
    if !others {
        filter::delete_table(host, table_id(), ops);
    }
}

/// Appends the end of flows that go past a host port of the attachment: begun before it was there,
/// they would for ever be sent where their first packet was.
pub(crate) fn redirect(host: &Space, mine: &[Forward], ops: &mut Vec<Op>) {
    let udp = |forward: &&Forward| forward.host.protocol == Protocol::Udp;
    for flow in &host.flows {
        let mut mine = mine.iter().filter(udp);
        let Some(forward) = mine.find(|forward| forward.covers(flow.destination)) else {
            continue;
        };
        let reaches_host_only = flow.destination.ip() == IpAddr::V6(Ipv6Addr::LOCALHOST);
        if flow.answerer != forward.to && !reaches_host_only {
            ops.push(Op::DelFlow {
                ns: Ns::Host,
                flow: *flow,
            });
        }
    }
}

/// Appends the end of flows that lead to the attachment.
pub(crate) fn cut(host: &Space, want: &Detached, ops: &mut Vec<Op>) {
    let forwards = want.host_ports.as_deref().unwrap_or_default();
    for flow in &host.flows {
        if forwards.iter().any(|forward| forward.to == flow.answerer) {
            ops.push(Op::DelFlow {
                ns: Ns::Host,
                flow: *flow,
            });
        }
    }
}

fn standing(host: &Space) -> Option<&TableState> {
    let found = host.tables.get(&table_id())?;
    filter::stands(found, &table(&[])).then_some(found)
}

fn is(found: &nft::FoundEntry, wanted: &nft::Entry) -> bool {
    found.data.as_ref() == Some(&wanted.data)
        && found.comment.as_deref() == wanted.comment.as_ref().map(nft::Label::as_str)
}

fn delete(map: Map, keys: Vec<nft::Key>) -> nft::Command {
    nft::Command::DeleteElements {
        table: table_id(),
        set: map.name(),
        elements: nft::Elements::keys(keys),
    }
}

/// The whole table with these host ports in it.
fn table(forwards: &[Forward]) -> nft::Table {
    let maps = Map::ALL.map(|map| {
        let mut set = nft::Set::live_map(map.name(), map.keys(), map.data());
        let here = forwards.iter().filter(|one| Map::holding(one) == map);
        set.elements = nft::Elements::Map(here.map(|one| (key(one), entry(one))).collect());
        set
    });
    let nat = |hook| nft::Base {
        kind: nft::ChainKind::Nat,
        hook,
        devices: nft::Devices::None,
        priority: PRIORITY,
        policy: nft::Policy::Accept,
    };
    let to_host = nft::Rule::new([
        nft::Statement::is(nft::Field::FibDaddrType, nft::Datum::LOCAL),
        nft::Statement::jump(HOST),
    ]);
    let martians = nft::Base {
        kind: nft::ChainKind::Filter,
        priority: RAW,
        ..nat(nft::Hook::Prerouting)
    };
    let table = nft::Table {
        sets: maps.into(),
        chains: vec![
            chain("host", None, lookups()),
            chain("martians", Some(martians), no_loopback()),
            chain(
                "prerouting",
                Some(nat(nft::Hook::Prerouting)),
                vec![to_host.clone()],
            ),
            chain("output", Some(nat(nft::Hook::Output)), vec![to_host]),
        ],
        ..nft::Table::new(table_id())
    };
    filter::signed(table)
}

fn chain(name: &'static str, base: Option<nft::Base>, rules: Vec<nft::Rule>) -> nft::Chain {
    nft::Chain {
        name: nft::Name::literal(name),
        base,
        part: nft::Part::Fixed,
        rules,
    }
}

fn lookups() -> Vec<nft::Rule> {
    let lookup = |map: Map| {
        nft::Rule::new([nft::Statement::Dnat {
            family: map.family,
            fields: map.fields(),
            map: map.name(),
        }])
    };
    let localhost = nft::Rule::new([
        nft::Statement::is(
            nft::Field::Ip6Daddr,
            nft::Datum::Ipv6Addr(Ipv6Addr::LOCALHOST),
        ),
        nft::Statement::Verdict(nft::Verdict::Return),
    ]);
    let rule = |statement| nft::Rule::new([statement]);
    let marked = rule(nft::Statement::SetMarkBits(MARK));
    let unmarked = rule(nft::Statement::ClearMarkBits(MARK));
    [localhost, marked]
        .into_iter()
        .chain(Map::ALL.map(lookup))
        .chain([unmarked])
        .collect()
}

fn no_loopback() -> Vec<nft::Rule> {
    let loopback: Prefix = LOOPBACK.parse().expect("a prefix");
    let lo: IfName = "lo".parse().expect("two letters");
    [nft::Field::Ip4Daddr, nft::Field::Ip4Saddr]
        .map(|address| {
            nft::Rule::new([
                nft::Statement::is_not(nft::Field::Iifname, lo),
                nft::Statement::in_prefix(address, loopback),
                nft::Statement::Counter,
                nft::Statement::drop(),
            ])
        })
        .into()
}
