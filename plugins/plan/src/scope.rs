//! What to observe: by key, so that a call costs the same beside none and a thousand attachments.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bulkhead_model::{IfName, Mac, Prefix};
use bulkhead_nft as nft;

use crate::{Ns, Sysctl};

/// The part of every namespace that a plan needs to see.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Scope {
    /// One entry per namespace.
    pub spaces: BTreeMap<Ns, SpaceScope>,
}

impl Scope {
    /// What both see.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        for (ns, theirs) in other.spaces {
            let ours = self.space(&ns);
            ours.links.extend(theirs.links);
            ours.ports_of.extend(theirs.ports_of);
            ours.owned_links |= theirs.owned_links;
            ours.vxlans |= theirs.vxlans;
            ours.routes |= theirs.routes;
            ours.own_routes |= theirs.own_routes;
            ours.strangers.extend(theirs.strangers);
            ours.routes_to.extend(theirs.routes_to);
            ours.blackholes |= theirs.blackholes;
            ours.neighbours.extend(theirs.neighbours);
            ours.neighbours_of.extend(theirs.neighbours_of);
            ours.fdb_of.extend(theirs.fdb_of);
            ours.tx_checksum_of.extend(theirs.tx_checksum_of);
            ours.ipsec |= theirs.ipsec;
            ours.stations.extend(theirs.stations);
            ours.reach.extend(theirs.reach);
            ours.local.extend(theirs.local);
            ours.flows.extend(theirs.flows);
            ours.sysctls.extend(theirs.sysctls);
            for (id, table) in theirs.tables {
                ours.tables.entry(id).or_default().extend(table);
            }
        }
        self
    }

    /// What is seen where `ns` plays the node's part.
    pub(crate) fn within(mut self, ns: &Ns) -> Self {
        if let Some(node) = self.spaces.remove(&Ns::Host) {
            self.spaces.insert(ns.clone(), node);
        }
        self
    }

    /// The entry of `ns`, made if missing.
    pub fn space(&mut self, ns: &Ns) -> &mut SpaceScope {
        self.spaces.entry(ns.clone()).or_default()
    }
}

/// The part of one namespace.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "kinds of objects, each wanted on its own"
)]
pub struct SpaceScope {
    /// Links by name, with their addresses.
    pub links: BTreeSet<IfName>,
    /// Bridges whose ports are wanted too.
    pub ports_of: BTreeSet<IfName>,
    /// Every link in the groups we own.
    pub owned_links: bool,
    /// Every VXLAN device.
    pub vxlans: bool,
    /// Routes of the main table.
    pub routes: bool,
    /// Routes of the main table with our protocol number.
    pub own_routes: bool,
    /// Destinations to which routes of others in the main table are wanted, of whatever kind.
    pub strangers: BTreeSet<Prefix>,
    /// The best route of the main table to each of these destinations.
    pub routes_to: BTreeSet<Prefix>,
    /// Blackhole routes of ours.
    pub blackholes: bool,
    /// Neighbour entries by link and address.
    pub neighbours: BTreeSet<(IfName, IpAddr)>,
    /// Links all of whose neighbour entries are wanted.
    pub neighbours_of: BTreeSet<IfName>,
    /// VXLAN devices whose FDB entries are wanted.
    pub fdb_of: BTreeSet<IfName>,
    /// Links of which it is wanted whether they leave checksums to others.
    pub tx_checksum_of: BTreeSet<IfName>,
    /// States and policies of `IPsec`.
    pub ipsec: bool,
    /// MACs that a bridge may have been told to be behind one of its ports, by port.
    pub stations: BTreeSet<(IfName, Mac)>,
    /// Addresses to which the way is wanted.
    pub reach: BTreeSet<IpAddr>,
    /// Addresses that may be the namespace's own.
    pub local: BTreeSet<IpAddr>,
    /// UDP ports of the namespace's own addresses whose flows are wanted.
    pub flows: BTreeSet<u16>,
    /// Sysctls by path.
    pub sysctls: BTreeSet<Sysctl>,
    /// Tables by name.
    pub tables: BTreeMap<nft::TableId, TableScope>,
}

/// The part of one table.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TableScope {
    /// Chains to look up, with the number of their rules.
    pub chains: BTreeSet<nft::Name>,
    /// Elements to look up, per set.
    pub elements: BTreeMap<nft::Name, BTreeSet<nft::Key>>,
    /// Sets to read whole.
    pub whole_sets: BTreeSet<nft::Name>,
    /// Maps to look into.
    pub maps: BTreeMap<nft::Name, MapScope>,
}

impl TableScope {
    pub(crate) fn extend(&mut self, other: Self) {
        self.chains.extend(other.chains);
        for (set, keys) in other.elements {
            self.elements.entry(set).or_default().extend(keys);
        }
        self.whole_sets.extend(other.whole_sets);
        for (name, map) in other.maps {
            match self.maps.entry(name) {
                Entry::Vacant(place) => {
                    place.insert(map);
                }
                Entry::Occupied(mut known) => match (&mut known.get_mut().entries, map.entries) {
                    (Entries::Of(keys), Entries::Of(more)) => keys.extend(more),
                    (entries, Entries::All) => *entries = Entries::All,
                    (Entries::All, Entries::Of(_)) => {}
                },
            }
        }
    }
}

/// The part of one map.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MapScope {
    /// The types of its key's parts.
    pub keys: Vec<nft::KeyType>,
    /// What it maps to.
    pub data: nft::DataType,
    /// What to look up.
    pub entries: Entries,
}

/// Which entries of a map.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Entries {
    /// Those of these keys.
    Of(BTreeSet<nft::Key>),
    /// Every one.
    All,
}
