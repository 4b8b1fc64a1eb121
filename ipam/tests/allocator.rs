//! Laws of the pure allocator, over pools and leases chosen by chance (the same ones each time).

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bulkhead_ipam::allocate::{AllocateError, Cursor, Freed, Pick, Slot, Source, View, allocate};
use bulkhead_ipam::config::PoolSource;
use bulkhead_ipam::{Pool, PoolConfig, Range, Refusal, Span};
use bulkhead_model::AttachmentKey;
use serde_json::{Value, json};

/// Leases in memory, as a daemon has them.
#[derive(Default)]
struct Memory {
    held: BTreeMap<IpAddr, AttachmentKey>,
    freed: Vec<Freed>,
    cursors: BTreeMap<Span, Option<IpAddr>>,
}

impl View for Memory {
    type Error = Infallible;

    fn slot(&self, address: IpAddr) -> Result<Slot, Infallible> {
        let freed = self.freed.iter().find(|freed| freed.address == address);
        Ok(match (self.held.contains_key(&address), freed) {
            (true, _) => Slot::Held,
            (false, Some(freed)) => Slot::Freed {
                cooling_ms: freed.cooling_ms,
            },
            (false, None) => Slot::Unused,
        })
    }

    fn holder(&self, address: IpAddr) -> Result<Option<AttachmentKey>, Infallible> {
        Ok(self.held.get(&address).cloned())
    }

    fn cursor(&self, range: &Range) -> Cursor {
        match self.cursors.get(&range.span) {
            None => Cursor::At(range.span.first()),
            Some(Some(next)) => Cursor::At(*next),
            Some(None) => Cursor::End { forgotten: false },
        }
    }

    fn freed<'a>(
        &'a self,
        range: &'a Range,
    ) -> Box<dyn Iterator<Item = Result<Freed, Infallible>> + 'a> {
        let inside = self.freed.iter().filter(|f| range.span.contains(f.address));
        Box::new(inside.map(|freed| Ok(*freed)))
    }

    fn held(&self, span: Span) -> Result<u64, Infallible> {
        let inside = self.held.keys().filter(|address| span.contains(**address));
        Ok(u64::try_from(inside.count()).unwrap())
    }
}

impl Memory {
    fn take(&mut self, pool: &Pool, picks: &[Pick], nth: u32) {
        for pick in picks {
            let address = pick.leased.address.address();
            assert!(
                self.held.insert(address, key(nth)).is_none(),
                "{address} is given twice"
            );
            self.freed.retain(|freed| freed.address != address);
            if pick.source == Source::Cursor {
                let span = pool.range_of(address).unwrap().1.span;
                let next = Some(after(address)).filter(|next| span.contains(*next));
                self.cursors.insert(span, next);
            }
        }
    }
}

fn after(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits() + 1).into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() + 1).into(),
    }
}

fn key(nth: u32) -> AttachmentKey {
    AttachmentKey {
        network: "blue".parse().unwrap(),
        container: format!("c{nth}").parse().unwrap(),
        interface: "eth0".parse().unwrap(),
    }
}

fn pool(ipam: &Value) -> Option<Pool> {
    let config = PoolConfig::from_cni(&"blue".parse().unwrap(), ipam, None, &[]).ok()?;
    match config.source {
        PoolSource::Named(pool) => Some(pool),
        PoolSource::Automatic(_) => None,
    }
}

/// A pool of /64s.
fn prefixes(ipam: &Value) -> Pool {
    let network = "blue".parse().unwrap();
    let config = PoolConfig::from_cni(&network, ipam, None, &[]).unwrap();
    match config.per_prefix(&network, 64).unwrap().source {
        PoolSource::Named(pool) => pool,
        PoolSource::Automatic(_) => panic!("it is named"),
    }
}

#[test]
fn every_prefix_is_given_once_but_those_that_are_partly_excluded() {
    let pool = prefixes(&json!({
        "ranges": [[{"subnet": "fd01::/60"}]],
        "exclude": ["fd01::", "fd01:0:0:3::5", "fd01:0:0:7:ffff::-fd01:0:0:8::"],
    }));
    let mut memory = Memory::default();
    let mut given = BTreeSet::new();
    for nth in 0.. {
        let Ok(picks) = allocate(&memory, &pool, &[]) else {
            break;
        };
        let leased = picks[0].leased.address;
        assert_eq!(leased.len(), 64);
        assert!(given.insert(leased.prefix().to_string()), "{leased}");
        memory.take(&pool, &picks, nth);
    }
    let of = |nth: u16| format!("fd01:0:0:{nth:x}::/64").parse().unwrap();
    let expected = (1..16).filter(|nth| ![3, 7, 8].contains(nth)).map(of);
    let expected: BTreeSet<String> = expected
        .map(|prefix: bulkhead_model::Prefix| prefix.to_string())
        .collect();
    assert_eq!(given, expected);
    assert_eq!(pool.size(&pool.sets[0]), 12);
}

#[test]
fn a_prefix_is_asked_for_by_any_of_its_addresses() {
    let pool = prefixes(&json!({
        "ranges": [[{"subnet": "fd01::/48"}]],
        "exclude": ["fd01:0:0:9::1"],
    }));
    let mut memory = Memory::default();
    let ask = |memory: &Memory, text: &str| allocate(memory, &pool, &[text.parse().unwrap()]);
    let picks = ask(&memory, "fd01:0:0:5:6:7:8:9").unwrap();
    assert_eq!(picks[0].leased.address.to_string(), "fd01:0:0:5::1/64");
    memory.take(&pool, &picks, 0);
    for (asked, why) in [
        ("fd01:0:0:5::", "is held by attachment"),
        ("fd01:0:0:9::2", "is excluded by fd01:0:0:9::1"),
        ("fd02::1", "is in no range"),
    ] {
        match ask(&memory, asked) {
            Err(AllocateError::Refused(refusal)) => {
                assert!(refusal.to_string().contains(why), "{asked}: {refusal}");
            }
            other => panic!("{asked}: {other:?}"),
        }
    }
}

/// xorshift64 (Marsaglia 2003).
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// A small pool: one or two IPv4 ranges, perhaps IPv6, perhaps exclusions, perhaps a gateway.
fn some_pool(chance: &mut Chance) -> Option<Pool> {
    let len = 27 + chance.below(6);
    let mut first = json!({ "subnet": format!("10.1.0.0/{len}") });
    if chance.below(2) == 0 {
        first["gateway"] = json!(format!("10.1.0.{}", chance.below(30)));
    }
    let mut set = vec![first];
    if chance.below(2) == 0 {
        set.push(json!({ "subnet": "10.2.0.0/30" }));
    }
    let mut sets = vec![json!(set)];
    if chance.below(2) == 0 {
        sets.push(json!([{ "subnet": format!("fd00::/{}", 120 + chance.below(9)) }]));
    }
    let mut exclude = Vec::new();
    for _ in 0..chance.below(3) {
        let from = chance.below(4);
        exclude.push(format!("10.1.0.{from}-10.1.0.{}", from + chance.below(6)));
    }
    pool(&json!({ "ranges": sets, "exclude": exclude }))
}

#[test]
fn every_address_of_a_pool_is_given_once_before_it_is_exhausted() {
    let mut pools = 0;
    for seed in 1..400_u64 {
        let mut chance = Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let Some(pool) = some_pool(&mut chance) else {
            continue;
        };
        pools += 1;
        let mut memory = Memory::default();
        let mut given = 0;
        let refusal = loop {
            match allocate(&memory, &pool, &[]) {
                Ok(picks) => {
                    judge(&pool, &picks);
                    memory.take(&pool, &picks, given);
                    given += 1;
                }
                Err(AllocateError::Refused(refusal)) => break refusal,
            }
        };
        let smallest = pool.sets.iter().map(|set| pool.size(set)).min().unwrap();
        assert_eq!(u128::from(given), smallest, "seed {seed}: {pool:?}");
        assert!(matches!(refusal, Refusal::Exhausted { size, .. } if size == smallest));
        churn(&pool, &mut memory, &mut chance);
    }
    assert!(pools > 200, "only {pools} of the pools made are valid");
}

/// One address of every set, none of them kept back.
fn judge(pool: &Pool, picks: &[Pick]) {
    assert_eq!(picks.len(), pool.sets.len());
    for (set, pick) in (0..).zip(picks) {
        let address = pick.leased.address.address();
        let (found, range) = pool.range_of(address).unwrap();
        assert_eq!((found, pick.leased.range), (set, set));
        assert_eq!(pick.leased.address.prefix(), range.subnet);
        assert_eq!(pick.leased.gateway, range.gateway);
        assert!(pool.excluded(address).is_none() && pool.gateway_of(address).is_none());
    }
}

/// Frees some attachments of a full pool and takes as many again: the oldest freed come first, and
/// what cools is not given.
fn churn(pool: &Pool, memory: &mut Memory, chance: &mut Chance) {
    let holders: BTreeSet<AttachmentKey> = memory.held.values().cloned().collect();
    let gone: Vec<_> = holders
        .into_iter()
        .filter(|_| chance.below(2) == 0)
        .collect();
    for key in &gone {
        let cooling_ms = 5 * chance.below(2);
        let freed = memory.held.iter().filter(|(_, holder)| *holder == key);
        let freed: Vec<IpAddr> = freed.map(|(address, _)| *address).collect();
        for address in freed {
            memory.held.remove(&address);
            memory.freed.push(Freed {
                address,
                cooling_ms,
            });
        }
    }
    let cool = memory.freed.iter().filter(|freed| freed.cooling_ms == 0);
    let expected: Vec<IpAddr> = cool.map(|freed| freed.address).collect();
    let mut nth = 10_000;
    let mut taken = Vec::new();
    while let Ok(picks) = allocate(memory, pool, &[]) {
        let picked = picks.iter().filter(|pick| pick.source == Source::Freed);
        taken.extend(picked.map(|pick| pick.leased.address.address()));
        memory.take(pool, &picks, nth);
        nth += 1;
    }
    for set in 0..pool.sets.len() {
        let set = u32::try_from(set).unwrap();
        let of = |all: &[IpAddr]| -> Vec<IpAddr> {
            let inside = all.iter().filter(|a| pool.range_of(**a).unwrap().0 == set);
            inside.copied().collect()
        };
        // Ranges are used up in order, so the oldest of the first range comes before any other.
        let (mut taken, mut expected) = (of(&taken), of(&expected));
        if pool.sets[set as usize].ranges.len() > 1 {
            taken.sort();
            expected.sort();
        }
        expected.truncate(taken.len());
        assert_eq!(taken, expected, "{pool:?}");
    }
}

#[test]
fn the_largest_range_is_allocated_from_at_once() {
    let pool = pool(&json!({ "subnet": "fd00::/8", "exclude": ["fd00::/64"] })).unwrap();
    let picks = allocate(&Memory::default(), &pool, &[]).unwrap();
    assert_eq!(picks[0].leased.address.to_string(), "fd00:0:0:1::/8");
    let far = "fdff::ffff".parse().unwrap();
    let picks = allocate(&Memory::default(), &pool, &[far]).unwrap();
    assert_eq!(picks[0].leased.address.address(), far);
}
