//! The sets of the guard, and what of them a binding stands in. Every key begins with the port, but for
//! those of addresses that somebody holds.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use bulkhead_model::{Family, IfName, Prefix};
use bulkhead_nft as nft;
use nft::KeyType::{EtherAddr, IfName as IfNameKey, Integer, Ipv4Addr, Ipv6Addr};
use nft::{Datum, Key, KeyType, Name, Rate};

use super::identity::{
    Binding, Budgets, Guard, Held, Holds, Identity, Multicast, Role, Surroundings,
};
use super::reason::Reason;

/// Ports whose frames are not judged.
pub(super) const OPEN: Name = Name::literal("open");
/// Ports judged by their source MAC alone.
pub(super) const MACS: Name = Name::literal("macs");
/// Ports for which an address that is not among `id4` and `id6` is to be looked at further: those of the two
/// sets above and of `any`, holders of whole prefixes, and DHCP clients. Any other port's is forged, and
/// what a port forges should cost as little as one look can.
pub(super) const LOOSE: Name = Name::literal("loose");
/// The source MACs of ports.
pub(super) const ID2: Name = Name::literal("id2");
/// The IPv4 source addresses of ports, with the MAC.
pub(super) const ID4: Name = Name::literal("id4");
/// The IPv6 source addresses of ports, link-local ones too.
pub(super) const ID6: Name = Name::literal("id6");
/// The IPv6 source prefixes of ports: 64 bits.
pub(super) const ID64: Name = Name::literal("id64");
/// The options of neighbour discovery that name a MAC of a port (RFC 4861 section 4.6.1), whole.
pub(super) const LLA: Name = Name::literal("lla");
/// The addresses of ports without the MAC: what a port may say that it has, and what an ICMP error may
/// quote. Numbers, as all that is compared with bytes at a place: nft takes no other types there.
pub(super) const OWN4: Name = Name::literal("own4");
pub(super) const OWN6: Name = Name::literal("own6");
/// The prefixes of ports without the MAC: what ICMP errors quote, and routers announce.
pub(super) const OWN64: Name = Name::literal("own64");
/// Ports whose addresses are not judged.
pub(super) const ANY: Name = Name::literal("any");
/// Ports with a role.
pub(super) const ROUTERS: Name = Name::literal("routers");
pub(super) const DHCP_SERVERS: Name = Name::literal("dhcp-servers");
pub(super) const DHCP_CLIENTS: Name = Name::literal("dhcp-clients");
pub(super) const CONFIGURED: Name = Name::literal("dhcp-configured");
pub(super) const VRRP: Name = Name::literal("vrrp");
/// Ports that may send to link-local groups, or to all.
pub(super) const LINK_LOCAL_GROUPS: Name = Name::literal("groups-link-local");
pub(super) const ALL_GROUPS: Name = Name::literal("groups-all");
/// Addresses that a port of this node or the node itself holds.
pub(super) const LIVE4: Name = Name::literal("live4");
pub(super) const LIVE6: Name = Name::literal("live6");
/// The same, of 64 bits.
pub(super) const LIVE64: Name = Name::literal("live64");
/// Blocks of this node: what is in them and not live is dead.
pub(super) const BLOCKS4: Name = Name::literal("blocks4");
pub(super) const BLOCKS6: Name = Name::literal("blocks6");
/// The node's own addresses on its networks.
pub(super) const GATES4: Name = Name::literal("gates4");
pub(super) const GATES6: Name = Name::literal("gates6");
/// MACs by which the node takes in what a port sends, and its link-local addresses there.
pub(super) const NODE_MACS: Name = Name::literal("node-macs");
pub(super) const NODE_LINKS: Name = Name::literal("node-links");
/// Addresses that take in encapsulated traffic on other nodes.
pub(super) const VTEPS4: Name = Name::literal("vteps4");
pub(super) const VTEPS6: Name = Name::literal("vteps6");
/// The same, of either family.
pub(crate) const VTEPS: [Name; 2] = [VTEPS4, VTEPS6];
/// Ports with budgets of their own: what they may ask of the node and send to everybody.
pub(super) const OWN_TO_NODE: Name = Name::literal("own-to-node");
pub(super) const OWN_TO_ALL: Name = Name::literal("own-to-all");
/// How much a port asks of the node, sends to everybody, and has logged.
pub(super) const TO_NODE: Name = Name::literal("to-node");
pub(super) const TO_ALL: Name = Name::literal("to-all");
pub(super) const SAMPLES: Name = Name::literal("samples");

/// How long a port's counters and budgets stand after its last frame.
const REMEMBERED: Duration = Duration::from_hours(1);

/// The elements that make a binding, by set.
pub(crate) type Entries = BTreeMap<Name, BTreeSet<Key>>;

/// Sets of exact keys, with their types.
pub(super) fn exact() -> Vec<(Name, Vec<KeyType>)> {
    let port = || vec![IfNameKey];
    vec![
        (OPEN, port()),
        (MACS, vec![IfNameKey, EtherAddr]),
        (LOOSE, port()),
        (ID2, vec![IfNameKey, EtherAddr]),
        (ID4, vec![IfNameKey, EtherAddr, Ipv4Addr]),
        (ID6, vec![IfNameKey, EtherAddr, Ipv6Addr]),
        (ID64, vec![IfNameKey, EtherAddr, Integer(8)]),
        (LLA, vec![IfNameKey, Integer(8)]),
        (OWN4, vec![IfNameKey, Integer(4)]),
        (OWN6, vec![IfNameKey, Integer(16)]),
        (OWN64, vec![IfNameKey, Integer(8)]),
        (ANY, port()),
        (ROUTERS, port()),
        (DHCP_SERVERS, port()),
        (DHCP_CLIENTS, port()),
        (CONFIGURED, port()),
        (VRRP, port()),
        (LINK_LOCAL_GROUPS, port()),
        (ALL_GROUPS, port()),
        (OWN_TO_NODE, port()),
        (OWN_TO_ALL, port()),
        (LIVE4, vec![Ipv4Addr]),
        (LIVE6, vec![Ipv6Addr]),
        (LIVE64, vec![Integer(8)]),
        (GATES4, vec![Ipv4Addr]),
        (GATES6, vec![Integer(16)]),
        (NODE_MACS, vec![IfNameKey, EtherAddr]),
        (NODE_LINKS, vec![IfNameKey, Ipv6Addr]),
        (VTEPS4, vec![Ipv4Addr]),
        (VTEPS6, vec![Ipv6Addr]),
    ]
}

/// Every set of the guard with these bindings in it.
pub(super) fn all(bindings: &[&Binding]) -> Vec<nft::Set> {
    let mut entries = Entries::new();
    for binding in bindings {
        for (set, keys) in of(binding) {
            entries.entry(set).or_default().extend(keys);
        }
    }
    let exact = exact().into_iter().map(|(name, key)| {
        let mut set = nft::Set::live(name, key);
        let keys = entries.remove(&set.name).unwrap_or_default();
        set.elements = match of_budget(&set.name) {
            None => nft::Elements::Keys(keys),
            Some(_) => nft::Elements::Limits(limits(bindings, &set.name).collect()),
        };
        set
    });
    let mut sets: Vec<_> = exact.collect();
    for (key, family) in [(Ipv4Addr, Family::V4), (Ipv6Addr, Family::V6)] {
        let blocks = bindings.iter();
        let blocks = blocks.flat_map(|binding| &binding.around.own_blocks);
        let blocks = blocks.filter(|block| block.family() == family).copied();
        let mut set = nft::Set::live_prefixes(blocks_of(family), key);
        set.elements = nft::Elements::Prefixes(nft::PrefixSet::new(family, blocks));
        sets.push(set);
    }
    let meters = [TO_NODE, TO_ALL, SAMPLES].into_iter();
    let meters = meters.chain(Reason::ALL.map(Reason::tally));
    sets.extend(meters.map(|name| nft::Set::meter(name, [IfNameKey], REMEMBERED)));
    sets
}

/// The elements with those keys of a binding.
pub(crate) fn elements(binding: &Binding, set: &Name, keys: BTreeSet<Key>) -> nft::Elements {
    match of_budget(set) {
        None => nft::Elements::Keys(keys),
        Some(_) => nft::Elements::Limits(limits(&[binding], set).collect()),
    }
}

/// Which of a port's own budgets the set has.
fn of_budget(set: &Name) -> Option<fn(&Budgets) -> Option<Rate>> {
    if *set == OWN_TO_NODE {
        Some(|budgets| budgets.to_node)
    } else if *set == OWN_TO_ALL {
        Some(|budgets| budgets.to_all)
    } else {
        None
    }
}

fn limits(bindings: &[&Binding], set: &Name) -> impl Iterator<Item = (Key, Rate)> {
    let budget = of_budget(set);
    bindings.iter().filter_map(move |binding| {
        let Guard::On(identity) = &binding.guard else {
            return None;
        };
        Some((binding.port.into(), budget?(&identity.budgets)?))
    })
}

/// What makes a binding.
pub(crate) fn of(binding: &Binding) -> Entries {
    let mut made = Made {
        port: binding.port,
        entries: Entries::new(),
    };
    match &binding.guard {
        Guard::Off => {
            made.port_in(OPEN);
            made.port_in(LOOSE);
        }
        Guard::Mac(mac) => {
            made.add(MACS, [(*mac).into()]);
            made.port_in(LOOSE);
        }
        Guard::On(identity) => made.identity(identity),
    }
    for address in &binding.around.granted {
        made.granted(*address);
    }
    if matches!(binding.guard, Guard::On(_)) {
        made.link(&binding.around);
    }
    for address in &binding.around.gateways {
        for (set, keys) in gateway(*address) {
            made.entries.entry(set).or_default().extend(keys);
        }
    }
    made.entries
}

/// What makes an address the node's own.
pub(crate) fn gateway(address: IpAddr) -> Entries {
    let (gates, live, gate) = match address {
        IpAddr::V4(v4) => (GATES4, LIVE4, Datum::Ipv4Addr(v4)),
        IpAddr::V6(v6) => (GATES6, LIVE6, Datum::Integer(v6.octets().to_vec())),
    };
    let held = Datum::from(address);
    [(gates, [gate.into()].into()), (live, [held.into()].into())].into()
}

/// Whether a set's elements may be there for several ports.
pub(crate) fn is_shared(set: &Name) -> bool {
    [GATES4, GATES6, LIVE4, LIVE6, LIVE64, VTEPS4, VTEPS6].contains(set)
}

/// The blocks that are missing in a table's sets of blocks.
pub(crate) fn missing_blocks(
    table: &nft::TableId,
    blocks: &BTreeSet<Prefix>,
    found: &BTreeMap<Name, BTreeSet<Prefix>>,
) -> Vec<nft::Command> {
    change_blocks(table, blocks, found, |there| {
        there.iter().chain(blocks).copied().collect()
    })
}

/// What takes a block that is nobody's any more out of the set.
pub(crate) fn drop_block(
    table: &nft::TableId,
    block: Prefix,
    found: &BTreeMap<Name, BTreeSet<Prefix>>,
) -> Vec<nft::Command> {
    change_blocks(table, &BTreeSet::from([block]), found, |there| {
        there.iter().copied().filter(|one| *one != block).collect()
    })
}

/// The set of blocks of a family.
pub(crate) fn blocks_of(family: Family) -> Name {
    match family {
        Family::V4 => BLOCKS4,
        Family::V6 => BLOCKS6,
    }
}

fn change_blocks(
    table: &nft::TableId,
    blocks: &BTreeSet<Prefix>,
    found: &BTreeMap<Name, BTreeSet<Prefix>>,
    change: impl Fn(&BTreeSet<Prefix>) -> Vec<Prefix>,
) -> Vec<nft::Command> {
    let none = BTreeSet::new();
    let families: BTreeSet<_> = blocks.iter().map(|block| block.family()).collect();
    let of = |family| {
        let set = blocks_of(family);
        let there = found.get(&set).unwrap_or(&none);
        let desired = nft::PrefixSet::new(family, change(there));
        nft::difference_of_prefixes(table, &set, there, &desired)
    };
    families.into_iter().flat_map(of).collect()
}

/// Of addresses that somebody holds.
pub(crate) const LIVE: [Name; 3] = [LIVE4, LIVE6, LIVE64];

/// Of what was found, the addresses that a port alone holds: not those that its binding says are
/// another one's too, nor those that were found to be.
pub(crate) fn live_of(port: IfName, binding: Option<&Binding>, found: &Entries) -> Entries {
    let mut live = Entries::new();
    let shared = binding.into_iter().flat_map(|it| &it.around.shared);
    let shared: BTreeSet<_> = shared.map(|address| Datum::from(*address)).collect();
    for (own, set) in [(OWN4, LIVE4), (OWN6, LIVE6), (OWN64, LIVE64)] {
        let keys = found.get(&own).into_iter().flatten();
        let held = keys.filter_map(|key| match key.parts() {
            [Datum::IfName(of), Datum::Integer(bytes)] => Some((*of, address_of(&set, bytes)?)),
            _ => None,
        });
        let (mine, others): (Vec<_>, Vec<_>) = held.partition(|(of, _)| *of == port);
        let others: BTreeSet<_> = others.into_iter().map(|(_, address)| address).collect();
        let alone = mine.into_iter().map(|(_, address)| address);
        for address in alone.filter(|it| !others.contains(it) && !shared.contains(it)) {
            live.entry(set.clone()).or_default().insert(address.into());
        }
    }
    live
}

/// Bytes as the set of living addresses has them.
fn address_of(set: &Name, bytes: &[u8]) -> Option<Datum> {
    Some(if *set == LIVE4 {
        Datum::Ipv4Addr(<[u8; 4]>::try_from(bytes).ok()?.into())
    } else if *set == LIVE6 {
        Datum::Ipv6Addr(<[u8; 16]>::try_from(bytes).ok()?.into())
    } else {
        Datum::Integer(bytes.to_vec())
    })
}

/// The sets whose keys begin with a port.
pub(crate) fn of_ports() -> impl Iterator<Item = Name> {
    let names = exact().into_iter().map(|(name, _)| name);
    names.filter(|name| !is_shared(name))
}

struct Made {
    port: IfName,
    entries: Entries,
}

impl Made {
    fn insert(&mut self, set: Name, key: Key) {
        self.entries.entry(set).or_default().insert(key);
    }

    /// A key that begins with the port.
    fn add<const N: usize>(&mut self, set: Name, rest: [Datum; N]) {
        let parts = std::iter::once(Datum::from(self.port)).chain(rest);
        self.insert(set, Key::new(parts));
    }

    fn port_in(&mut self, set: Name) {
        self.insert(set, self.port.into());
    }

    fn address(&mut self, v4: Name, v6: Name, address: IpAddr) {
        match address {
            IpAddr::V4(address) => self.insert(v4, Datum::Ipv4Addr(address).into()),
            IpAddr::V6(address) => self.insert(v6, Datum::Ipv6Addr(address).into()),
        }
    }

    fn granted(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(v4) => self.add(OWN4, [Datum::Integer(v4.octets().to_vec())]),
            IpAddr::V6(v6) => self.add(OWN6, [Datum::Integer(v6.octets().to_vec())]),
        }
        self.address(LIVE4, LIVE6, address);
    }

    /// The node as the port's frames reach it.
    fn link(&mut self, around: &Surroundings) {
        for mac in &around.node_macs {
            self.add(NODE_MACS, [(*mac).into()]);
        }
        for address in &around.node_links {
            self.add(NODE_LINKS, [Datum::Ipv6Addr(*address)]);
        }
    }

    fn identity(&mut self, identity: &Identity) {
        for mac in &identity.macs {
            self.add(ID2, [(*mac).into()]);
            for kind in [1, 2] {
                let option = [&[kind, 1], mac.octets().as_slice()].concat();
                self.add(LLA, [Datum::Integer(option)]);
            }
        }
        for held in identity.held() {
            self.held(*held);
        }
        if identity.holds == Holds::Any {
            self.port_in(ANY);
            self.port_in(LOOSE);
        }
        for role in &identity.roles {
            if *role == Role::DhcpClient {
                self.port_in(LOOSE);
            }
            self.port_in(match role {
                Role::Router => ROUTERS,
                Role::DhcpServer => DHCP_SERVERS,
                Role::DhcpClient => DHCP_CLIENTS,
                Role::Configured => CONFIGURED,
                Role::Vrrp => VRRP,
            });
        }
        if identity.budgets.to_node.is_some() {
            self.port_in(OWN_TO_NODE);
        }
        if identity.budgets.to_all.is_some() {
            self.port_in(OWN_TO_ALL);
        }
        match identity.multicast {
            Multicast::None => {}
            Multicast::LinkLocal => self.port_in(LINK_LOCAL_GROUPS),
            Multicast::All => self.port_in(ALL_GROUPS),
        }
    }

    fn held(&mut self, held: Held) {
        match held {
            Held::One(mac, IpAddr::V4(address)) => {
                self.add(OWN4, [Datum::Integer(address.octets().to_vec())]);
                let address = Datum::Ipv4Addr(address);
                self.add(ID4, [mac.into(), address.clone()]);
                self.insert(LIVE4, address.into());
            }
            Held::One(mac, IpAddr::V6(address)) => {
                let of_link = address.is_unicast_link_local();
                self.add(OWN6, [Datum::Integer(address.octets().to_vec())]);
                let address = Datum::Ipv6Addr(address);
                self.add(ID6, [mac.into(), address.clone()]);
                if !of_link {
                    self.insert(LIVE6, address.into());
                }
            }
            Held::V6(mac, bits) => {
                let bits = Datum::Integer(bits.to_vec());
                self.port_in(LOOSE);
                self.add(ID64, [mac.into(), bits.clone()]);
                self.add(OWN64, [bits.clone()]);
                self.insert(LIVE64, bits.into());
            }
        }
    }
}
