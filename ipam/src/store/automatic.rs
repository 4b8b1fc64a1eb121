//! Automatic pools: chosen once for a network, away from what the host reaches and from every other
//! network, and remembered.

use std::net::IpAddr;
use std::sync::MutexGuard;

use bulkhead_model::{Family, NetworkName, Prefix};

use super::dir::{FileLock, LockMode, Reach, networks};
use super::locked::LockedStore;
use super::network::NetworkStore;
use crate::config::{Automatic, AutomaticV6, PoolConfig, PoolSource};
use crate::error::{AcquireError, FileError};
use crate::pool::{Pool, Range, RangeSet};
use crate::span::{from_bits, to_bits};

/// Length of an automatic IPv6 subnet.
const V6_LEN: u8 = 64;

impl LockedStore {
    /// Whether the configuration's pool is automatic and not chosen yet.
    #[must_use]
    pub fn needs_pool(&self, config: &PoolConfig) -> bool {
        let chosen = self.pool().is_some_and(|pool| pool.automatic);
        matches!(config.source, PoolSource::Automatic(_)) && !chosen
    }

    /// Chooses an automatic pool away from `avoid` (the host's routes; those of the whole internet
    /// or half of it are passed over) and from every other network's pool, and records it. Does
    /// nothing if [`LockedStore::needs_pool`] is false.
    ///
    /// # Errors
    /// `NoFreeSubnet`, or the store's.
    pub fn choose_pool(
        &mut self,
        config: &PoolConfig,
        avoid: &[Prefix],
    ) -> Result<(), AcquireError> {
        let PoolSource::Automatic(automatic) = &config.source else {
            return Ok(());
        };
        if !self.needs_pool(config) {
            return Ok(());
        }
        let store = self.store.clone();
        // One network chooses at a time, so that each sees what the others chose.
        let _alone = store.choice()?;
        let name = self.store.name.clone();
        let mut taken: Vec<Prefix> = avoid
            .iter()
            .copied()
            .filter(|prefix| prefix.len() > 1)
            .collect();
        let others = networks(&store.state_dir)?;
        for other in others.iter().filter(|other| **other != name) {
            if let Some(other) = store.other(other).read()? {
                let pool = other.pool().into_iter();
                taken.extend(pool.flat_map(Pool::ranges).map(|(_, range)| range.subnet));
            }
        }
        let pool = chosen(&name, automatic, &taken)?;
        self.set_pool(&pool)?;
        Ok(self.settle()?)
    }
}

/// Held while a network chooses its pool.
#[derive(Debug)]
enum Choice<'a> {
    Among(#[expect(dead_code, reason = "held, not read")] FileLock),
    Inside(#[expect(dead_code, reason = "held, not read")] MutexGuard<'a, ()>),
}

impl NetworkStore {
    fn choice(&self) -> Result<Choice<'_>, FileError> {
        match &self.reach {
            Reach::Memory(warm) => Ok(Choice::Inside(warm.choice())),
            Reach::Files | Reach::Beside => {
                let path = self.state_dir.join("networks").join(".choice.lock");
                FileLock::take(&path, LockMode::Exclusive, true).map(Choice::Among)
            }
        }
    }
}

fn chosen(
    network: &NetworkName,
    automatic: &Automatic,
    taken: &[Prefix],
) -> Result<Pool, AcquireError> {
    let mut subnets = Vec::new();
    if !automatic.ipv4.is_empty() {
        let found = automatic
            .ipv4
            .iter()
            .find_map(|parent| free_subnet(*parent, automatic.ipv4_len, 0, taken));
        subnets.push(found.ok_or_else(|| none_free(network, &automatic.ipv4))?);
    }
    let (parent, start) = match automatic.ipv6 {
        AutomaticV6::Off => (None, 0),
        AutomaticV6::UniqueLocal => (Some(unique_local(network)), name_bits(network)),
        AutomaticV6::Inside(parent) => (Some(parent), name_bits(network)),
    };
    if let Some(parent) = parent {
        let found = free_subnet(parent, V6_LEN, start, taken);
        subnets.push(found.ok_or_else(|| none_free(network, &[parent]))?);
    }
    let set = |subnet| RangeSet {
        ranges: vec![Range::of(subnet)],
    };
    Ok(Pool {
        sets: subnets.into_iter().map(set).collect(),
        exclude: automatic.exclude.clone(),
        cooldown_secs: automatic.cooldown_secs,
        automatic: true,
    })
}

fn none_free(network: &NetworkName, parents: &[Prefix]) -> AcquireError {
    let texts: Vec<String> = parents.iter().map(Prefix::to_string).collect();
    AcquireError::NoFreeSubnet {
        network: network.clone(),
        parents: texts.join(", "),
    }
}

/// The first subnet of `len` bits inside `parent` that overlaps nothing taken, counted from
/// number `start` on and round.
fn free_subnet(parent: Prefix, len: u8, start: u128, taken: &[Prefix]) -> Option<Prefix> {
    let family = parent.family();
    let shift = u32::from(family.bits() - len);
    let count = 1_u128 << (len - parent.len());
    let subnet = |nth: u128| {
        let address = from_bits(family, to_bits(parent.address()) | nth << shift)?;
        Prefix::new(address, len)
    };
    // Each taken prefix is met once on the way up and once on the second half of the round.
    let (mut nth, mut rounded) = (start % count, false);
    loop {
        if nth >= count {
            if rounded {
                return None;
            }
            (nth, rounded) = (0, true);
        }
        let candidate = subnet(nth)?;
        match taken.iter().find(|taken| taken.overlaps(candidate)) {
            None => return Some(candidate),
            Some(taken) if !parent.contains(taken.last()) => nth = count,
            Some(taken) => {
                let behind = (to_bits(taken.last()) - to_bits(parent.address())) >> shift;
                nth = behind.max(nth) + 1;
            }
        }
    }
}

/// The network's unique local /48: `fd` and 40 bits of its name's digest (RFC 4193 §3.2.2 asks for
/// pseudo-random bits; these are the same on every node).
fn unique_local(network: &NetworkName) -> Prefix {
    let global_id = name_bits(network) >> 16 & 0xff_ffff_ffff;
    let bits = 0xfd << 120 | global_id << 80;
    let address: IpAddr = from_bits(Family::V6, bits).expect("IPv6 takes 128 bits");
    Prefix::new(address, 48).expect("the lower 80 bits are zero")
}

/// 60 bits of the name's digest.
fn name_bits(network: &NetworkName) -> u128 {
    let digit = |byte: u8| match byte {
        b'a'..=b'z' => byte - b'a',
        _ => byte - b'2' + 26,
    };
    let text = network.derived("");
    text.bytes()
        .fold(0, |bits, byte| bits << 5 | u128::from(digit(byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    #[test]
    fn the_first_free_subnet_is_taken() {
        let parent = prefix("10.128.0.0/9");
        let taken = ["10.128.0.0/24", "10.128.1.0/26", "10.128.2.0/23"].map(prefix);
        let free = free_subnet(parent, 24, 0, &taken);
        assert_eq!(free, Some(prefix("10.128.4.0/24")));
        assert_eq!(free_subnet(parent, 24, 0, &[prefix("10.0.0.0/8")]), None);
    }

    #[test]
    fn the_search_goes_round_once() {
        let parent = prefix("10.0.0.0/30");
        let taken = ["10.0.0.2/31", "10.0.0.0/32"].map(prefix);
        assert_eq!(
            free_subnet(parent, 32, 3, &taken),
            Some(prefix("10.0.0.1/32"))
        );
        let taken = ["10.0.0.2/31", "10.0.0.0/31"].map(prefix);
        assert_eq!(free_subnet(parent, 32, 3, &taken), None);
        assert_eq!(free_subnet(parent, 30, 7, &[]), Some(parent));
    }

    #[test]
    fn a_networks_unique_local_prefix_is_its_own() {
        let of = |name: &str| unique_local(&name.parse().unwrap());
        assert!(prefix("fd00::/8").contains(of("blue").address()));
        assert_ne!(of("blue"), of("red"));
        assert_eq!(of("blue"), of("blue"));
    }
}
