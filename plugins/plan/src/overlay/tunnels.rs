//! What of the underlay may reach the VXLAN ports, and what of a container may not: `table inet
//! bulkhead-overlay`. Sources are looked up, and none is learned: a VXLAN packet carries nothing that
//! would prove where it is from (RFC 7348 section 7).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::OnceLock;
use std::time::Duration;

use bulkhead_model::{Family, Mac, Prefix, Vni};
use bulkhead_nft as nft;
use nft::KeyType::{ClassId, EtherAddr, IfName, InetService, Integer, Ipv4Addr, Ipv6Addr};
use nft::{Datum, Key, KeyType, Name};

use super::Tunnels;
use crate::{Conflict, Ns, Op, Scope, Space, TableScope, TableState, World, filter, guard};

mod rules;

/// UDP ports that are judged.
const PORTS: Name = Name::literal("ports");
/// Port, network and remote VTEP of what is let in.
const KNOWN4: Name = Name::literal("known4");
const KNOWN6: Name = Name::literal("known6");
/// The same without the network: a source that is known, by whatever it asks for.
const SOURCES4: Name = Name::literal("sources4");
const SOURCES6: Name = Name::literal("sources6");
/// Remote VTEPs, which no container sends encapsulated packets to.
const VTEPS4: Name = Name::literal("vteps4");
const VTEPS6: Name = Name::literal("vteps6");
/// What no packet comes from but from where it is routed to.
const POOLS4: Name = Name::literal("pools4");
const POOLS6: Name = Name::literal("pools6");
/// Links on which peers are sent to as they are.
const NEAR_LINKS: Name = Name::literal("near-links");
/// The peers on them, by link, MAC and number.
const NEAR: Name = Name::literal("near");
/// What is behind whom of them, by number.
const OWNERS4: Name = Name::literal("owners4");
const OWNERS6: Name = Name::literal("owners6");
/// UDP ports of encrypted overlays.
const SEALED: Name = Name::literal("sealed");
/// Devices by which connections are told what their way carries.
const CLAMPED: Name = Name::literal("clamped");

const OWNERS: [(Name, KeyType, Family); 2] = [
    (OWNERS4, Ipv4Addr, Family::V4),
    (OWNERS6, Ipv6Addr, Family::V6),
];

/// How long a counter stands after its last packet.
const REMEMBERED: Duration = Duration::from_hours(1);

/// Why a packet is dropped; each has a chain, and a counter for each port or link.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum TunnelDrop {
    /// To a VXLAN port from an address that is no peer's. Counted by port.
    UnknownSource,
    /// To a VXLAN port from a peer, of a network that it is not in. Counted by port.
    WrongVni,
    /// From an address of a pool that is routed elsewhere than to where the packet came in, or by a link of
    /// peers from another than the one that it is behind. Counted by link.
    Misrouted,
    /// From a container to a VXLAN port of a VTEP, remote or the node's own. Counted by link.
    FromContainer,
    /// To the VXLAN port of an encrypted network, and not by `IPsec`. Counted by port.
    Plaintext,
    /// From the node to such a port, and not about to be encrypted. Counted by port.
    Unsealed,
}

impl TunnelDrop {
    /// Every reason.
    pub const ALL: [Self; 6] = [
        Self::UnknownSource,
        Self::WrongVni,
        Self::Misrouted,
        Self::FromContainer,
        Self::Plaintext,
        Self::Unsealed,
    ];

    /// The word for it in counters and metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::UnknownSource => "unknown-source",
            Self::WrongVni => "wrong-vni",
            Self::Misrouted => "misrouted",
            Self::FromContainer => "from-container",
            Self::Plaintext => "plaintext",
            Self::Unsealed => "unsealed",
        }
    }

    /// The chain that counts and drops.
    #[must_use]
    pub fn chain(self) -> Name {
        Name::new(&format!("drop-{}", self.word())).expect("a word of letters")
    }

    /// The set with the counters.
    #[must_use]
    pub fn tally(self) -> Name {
        Name::new(&format!("drops-{}", self.word())).expect("a word of letters")
    }
}

impl fmt::Display for TunnelDrop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// The table's name.
#[must_use]
pub fn table_id() -> nft::TableId {
    nft::TableId {
        family: nft::TableFamily::Inet,
        name: Name::literal("bulkhead-overlay"),
    }
}

/// Appends what makes the table as wanted, element by element where it stands, and tells the guard who
/// the remote VTEPs are.
pub(crate) fn ensure(world: &World, want: &Tunnels, ops: &mut Vec<Op>) -> Result<(), Conflict> {
    let host = world.space(&Ns::Host);
    let found = host.tables.get(&table_id());
    let is_wanted = *want != Tunnels::default();
    if found.is_some_and(|found| !filter::is_ours(found)) {
        return if is_wanted {
            Err(Conflict::ForeignTable(table_id()))
        } else {
            Ok(())
        };
    }
    match found {
        _ if !is_wanted => {
            if found.is_some() {
                filter::delete_table(host, table_id(), ops);
            }
        }
        Some(found) if filter::stands(found, Parts::of(want).definition()) => {
            let commands = changes(found, want);
            if !commands.is_empty() {
                ops.push(filter::commit(commands));
            }
        }
        _ => filter::load(host, filter::signed(Parts::of(want).table(want)), ops),
    }
    tell_guard(host, want, ops);
    Ok(())
}

/// What a plan needs to see.
pub(crate) fn scope(want: &Tunnels) -> Scope {
    let mut scope = Scope::default();
    let parts = Parts::of(want);
    let chains = parts.definition().chains.iter();
    let sets = parts.keys().into_iter().map(|(set, _)| set);
    let own = TableScope {
        chains: chains.map(|chain| chain.name.clone()).collect(),
        whole_sets: sets.chain([POOLS4, POOLS6, OWNERS4, OWNERS6]).collect(),
        ..TableScope::default()
    };
    let of_guard = TableScope {
        whole_sets: guard::VTEPS.into(),
        ..TableScope::default()
    };
    let tables = [(table_id(), own), (filter::table_id(), of_guard)];
    scope.space(&Ns::Host).tables = tables.into();
    scope
}

/// What the table has only where it is asked for: each costs every packet that is forwarded or sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Parts {
    clamps: bool,
    seals: bool,
}

impl Parts {
    fn of(want: &Tunnels) -> Self {
        Self {
            clamps: !want.clamped.is_empty(),
            seals: !want.sealed.is_empty(),
        }
    }

    /// The table with nothing in it.
    fn definition(self) -> &'static nft::Table {
        static DEFINITIONS: [OnceLock<nft::Table>; 4] = [const { OnceLock::new() }; 4];
        let nth = usize::from(self.clamps) + 2 * usize::from(self.seals);
        DEFINITIONS[nth].get_or_init(|| filter::signed(self.table(&Tunnels::default())))
    }

    /// Sets of exact keys, with their types.
    fn keys(self) -> Vec<(Name, Vec<KeyType>)> {
        let mut keys = always();
        if self.clamps {
            keys.push((CLAMPED, vec![IfName]));
        }
        if self.seals {
            keys.push((SEALED, vec![InetService]));
        }
        keys
    }
}

fn always() -> Vec<(Name, Vec<KeyType>)> {
    vec![
        (PORTS, vec![InetService]),
        (KNOWN4, vec![InetService, Integer(4), Ipv4Addr]),
        (KNOWN6, vec![InetService, Integer(4), Ipv6Addr]),
        (SOURCES4, vec![InetService, Ipv4Addr]),
        (SOURCES6, vec![InetService, Ipv6Addr]),
        (VTEPS4, vec![Ipv4Addr]),
        (VTEPS6, vec![Ipv6Addr]),
        (NEAR_LINKS, vec![IfName]),
        (NEAR, vec![IfName, EtherAddr, ClassId]),
    ]
}

/// The elements of the sets of exact keys.
fn elements(want: &Tunnels) -> BTreeMap<Name, BTreeSet<Key>> {
    let mut all: BTreeMap<Name, BTreeSet<Key>> = BTreeMap::new();
    let mut add = |set: Name, key: Key| all.entry(set).or_default().insert(key);
    for port in &want.ports {
        add(PORTS, Datum::InetService(*port).into());
    }
    for (link, mac) in want.near.keys() {
        let link = Datum::from(*link);
        add(NEAR_LINKS, link.clone().into());
        add(NEAR, Key::new([link, Datum::from(*mac), number(*mac)]));
    }
    for (port, vni, remote) in &want.known {
        let (known, sources, vteps) = match remote {
            IpAddr::V4(_) => (KNOWN4, SOURCES4, VTEPS4),
            IpAddr::V6(_) => (KNOWN6, SOURCES6, VTEPS6),
        };
        let (port, remote) = (Datum::InetService(*port), Datum::from(*remote));
        let key = [port.clone(), word(*vni), remote.clone()];
        add(known, Key::new(key));
        add(sources, Key::new([port, remote.clone()]));
        add(vteps, remote.into());
    }
    for port in &want.sealed {
        add(SEALED, Datum::InetService(*port).into());
    }
    for device in &want.clamped {
        add(CLAMPED, Datum::IfName(*device).into());
    }
    all
}

/// The second word of a VXLAN header (RFC 7348 section 5): the identifier, and eight bits that are
/// reserved. The kernel drops a packet that has one of them set (`vxlan_rcv`,
/// `drivers/net/vxlan/vxlan_core.c`), so nothing is lost if they are compared too.
fn word(vni: Vni) -> Datum {
    (vni.get() << 8).to_be_bytes().into()
}

/// The number of a peer that is sent to as it is: four bytes of its MAC, which differ on a link, and never 0,
/// which is nobody's. Blocks lead to it, and it has to be behind the MAC: no look-up takes a range beside
/// other keys, but one whose elements take milliseconds to change.
fn number(mac: Mac) -> Datum {
    let [_, _, number @ ..] = mac.octets();
    Datum::ClassId(u32::from_be_bytes(number).max(1))
}

/// What is behind whom. Of blocks that overlap, while one is on its way to another node, the first counts.
fn owners(want: &Tunnels, family: Family) -> nft::FoundRanges {
    let mut owners = nft::FoundRanges::new();
    for ((_, mac), behind) in &want.near {
        for prefix in behind.iter().filter(|prefix| prefix.family() == family) {
            let (first, last) = (prefix.address(), prefix.last());
            let before = owners.range(..=last).next_back();
            if before.is_none_or(|(_, (end, _))| *end < first) {
                let owner = nft::Data::Value(number(*mac).into());
                owners.insert(first, (last, owner));
            }
        }
    }
    owners
}

fn pools(want: &Tunnels, family: Family) -> nft::PrefixSet {
    let pools = want.pools.iter();
    let pools = pools.filter(|pool| pool.family() == family).copied();
    nft::PrefixSet::new(family, pools)
}

impl Parts {
    /// The whole table, not yet signed.
    fn table(self, want: &Tunnels) -> nft::Table {
        let mut elements = elements(want);
        let mut table = nft::Table::new(table_id());
        for (name, key) in self.keys() {
            let mut set = nft::Set::live(name, key);
            set.elements = nft::Elements::Keys(elements.remove(&set.name).unwrap_or_default());
            table.sets.push(set);
        }
        for (name, key, family) in [
            (POOLS4, Ipv4Addr, Family::V4),
            (POOLS6, Ipv6Addr, Family::V6),
        ] {
            let mut set = nft::Set::live_prefixes(name, key);
            set.elements = nft::Elements::Prefixes(pools(want, family));
            table.sets.push(set);
        }
        for (name, key, family) in OWNERS {
            let of = nft::DataType::Value(vec![ClassId]);
            let mut map = nft::Set::live_ranges(name, key, of);
            map.elements = nft::Elements::Ranges(owners(want, family));
            table.sets.push(map);
        }
        for reason in TunnelDrop::ALL {
            let key = match reason {
                TunnelDrop::UnknownSource
                | TunnelDrop::WrongVni
                | TunnelDrop::Plaintext
                | TunnelDrop::Unsealed => InetService,
                TunnelDrop::Misrouted | TunnelDrop::FromContainer => IfName,
            };
            let tally = nft::Set::meter(reason.tally(), [key], REMEMBERED);
            table.sets.push(tally);
        }
        table.chains = rules::chains(self);
        table
    }
}

/// What makes the sets of a table that stands as wanted.
fn changes(found: &TableState, want: &Tunnels) -> Vec<nft::Command> {
    let mut wanted = elements(want);
    let mut commands = Vec::new();
    for (set, _) in Parts::of(want).keys() {
        let wanted = wanted.remove(&set).unwrap_or_default();
        commands.extend(difference(&table_id(), found, &set, &wanted));
    }
    let none = BTreeSet::<Prefix>::new();
    for (set, family) in [(POOLS4, Family::V4), (POOLS6, Family::V6)] {
        let there = found.prefixes.get(&set).unwrap_or(&none);
        let desired = pools(want, family);
        let change = nft::difference_of_prefixes(&table_id(), &set, there, &desired);
        commands.extend(change);
    }
    let none = nft::FoundRanges::new();
    for (map, _, family) in OWNERS {
        let there = found.ranges.get(&map).unwrap_or(&none);
        let desired = owners(want, family);
        commands.extend(nft::difference_of_ranges(
            &table_id(),
            &map,
            there,
            &desired,
        ));
    }
    commands
}

/// What makes a set of exact keys as wanted: what is missing comes first.
fn difference(
    table: &nft::TableId,
    found: &TableState,
    set: &Name,
    wanted: &BTreeSet<Key>,
) -> impl Iterator<Item = nft::Command> {
    let none = BTreeSet::new();
    let there = found.elements.get(set).unwrap_or(&none);
    let missing: BTreeSet<_> = wanted.difference(there).cloned().collect();
    let surplus: BTreeSet<_> = there.difference(wanted).cloned().collect();
    let add = (!missing.is_empty()).then(|| nft::Command::AddElements {
        table: table.clone(),
        set: set.clone(),
        elements: nft::Elements::Keys(missing),
    });
    let delete = (!surplus.is_empty()).then(|| nft::Command::DeleteElements {
        table: table.clone(),
        set: set.clone(),
        elements: nft::Elements::Keys(surplus),
    });
    add.into_iter().chain(delete)
}

/// Appends what the ports' filter has to know of remote VTEPs, if it stands and has sets for them.
fn tell_guard(host: &Space, want: &Tunnels, ops: &mut Vec<Op>) {
    let id = filter::table_id();
    let Some(found) = host.tables.get(&id).filter(|found| filter::is_ours(found)) else {
        return;
    };
    let mut wanted = elements(want);
    let sets = guard::VTEPS.into_iter().zip([VTEPS4, VTEPS6]);
    let sets = sets.filter(|(set, _)| found.elements.contains_key(set));
    let mut commands = Vec::new();
    for (set, own) in sets {
        let wanted = wanted.remove(&own).unwrap_or_default();
        commands.extend(difference(&id, found, &set, &wanted));
    }
    if !commands.is_empty() {
        ops.push(filter::commit(commands));
    }
}
