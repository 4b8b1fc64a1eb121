//! How many rows claim an address, or all addresses of a prefix.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::IpAddr;

use bulkhead_policy::OwnPrefix;

use super::super::row::Held;

/// Rows that claim something.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Claims {
    /// Of the node itself.
    pub(super) own: u32,
    /// Of all others.
    pub(super) others: u32,
}

/// What is claimed.
#[derive(Debug, Default)]
pub(super) struct Claimed {
    addresses: BTreeMap<IpAddr, Claims>,
    prefixes: BTreeMap<OwnPrefix, Claims>,
}

impl Claimed {
    /// One more or one less of all that `held` says.
    pub(super) fn change(&mut self, held: &Held, change: impl Fn(&mut Claims)) {
        for address in &held.addresses {
            one(&mut self.addresses, *address, &change);
        }
        for own in &held.prefixes {
            one(&mut self.prefixes, *own, &change);
        }
    }

    /// Of an address, and of the prefix that it is in.
    pub(super) fn of(&self, address: IpAddr) -> impl Iterator<Item = &Claims> {
        let around = OwnPrefix::around(address);
        let around = around.and_then(|around| self.prefixes.get(&around));
        self.addresses.get(&address).into_iter().chain(around)
    }

    /// Of a prefix, and of the addresses in it.
    pub(super) fn within(&self, own: OwnPrefix) -> impl Iterator<Item = &Claims> {
        let within = self.addresses.range(own.first()..=own.last());
        let within = within.map(|(_, claims)| claims);
        self.prefixes.get(&own).into_iter().chain(within)
    }

    /// Whether rows of other nodes claim something of it.
    pub(super) fn is_elsewhere(&self, held: &Held) -> bool {
        let addresses = held.addresses.iter();
        let addresses = addresses.flat_map(|address| self.of(*address));
        let prefixes = held.prefixes.iter();
        let prefixes = prefixes.flat_map(|own| self.within(*own));
        let mut claims = addresses.chain(prefixes);
        claims.any(|claims| claims.others > 0)
    }
}

fn one<K: Ord>(all: &mut BTreeMap<K, Claims>, what: K, change: impl Fn(&mut Claims)) {
    match all.entry(what) {
        Entry::Vacant(new) => change(new.insert(Claims::default())),
        Entry::Occupied(mut known) => {
            change(known.get_mut());
            let Claims { own, others } = known.get();
            if (*own, *others) == (0, 0) {
                known.remove();
            }
        }
    }
}
