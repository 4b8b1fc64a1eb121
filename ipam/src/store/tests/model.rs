//! The store against a model of it, over many calls chosen by chance (and the same ones each time).

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// xorshift64 (Marsaglia 2003).
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn seeded(seed: u64) -> Self {
        Self(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed))
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

#[test]
fn no_address_is_held_twice_and_none_is_lost() {
    for seed in 1..=6 {
        let dir = TempDir::new("model");
        let mut chance = Chance::seeded(seed);
        let limits = Limits {
            tail_records: usize::try_from(3 + chance.below(20)).unwrap(),
            freed: usize::try_from(1 + chance.below(8)).unwrap(),
            journal_bytes: 4000,
        };
        let network = blue(&state(dir.path(), "a", 0)).with_limits(limits);
        let config = small();
        let mut model: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for step in 0..300 {
            let mut store = network.lock().unwrap();
            let name = format!("c{}", chance.below(9));
            match chance.below(5) {
                0 | 1 => {
                    let released = release(&mut store, &name);
                    let known = model.remove(&name).is_some();
                    assert_eq!(
                        matches!(released, Released::Freed(_)),
                        known,
                        "{seed} {step}"
                    );
                }
                kind => {
                    let wanted = format!("10.1.0.{}", 10 + chance.below(6));
                    let asked = if kind == 2 {
                        asking(&config, &[&wanted])
                    } else {
                        config.clone()
                    };
                    take(&mut store, &mut model, &name, &asked, &wanted);
                }
            }
            assert_eq!(store.live_count(), u64::try_from(model.len()).unwrap());
            let held: BTreeSet<&String> = model.values().flatten().collect();
            assert_eq!(held.len(), model.len() * 2, "an address is held twice");
            let usage = store.usage().unwrap();
            let count = u64::try_from(model.len()).unwrap();
            assert!(
                usage
                    .iter()
                    .all(|set| set.held == count && set.free == 6 - u128::from(count))
            );
        }
        let store = network.lock().unwrap();
        for (name, addresses) in &model {
            let record = store.find(&draft(name).key.id()).unwrap().unwrap();
            assert_eq!(&super::addresses(&Acquired::Existing(record)), addresses);
        }
    }
}

/// One acquire, judged by the model: it may be refused only if the model says so.
fn take(
    store: &mut LockedStore,
    model: &mut BTreeMap<String, Vec<String>>,
    name: &str,
    asked: &PoolConfig,
    wanted: &String,
) {
    let result = store.acquire(draft(name), asked);
    let is_asked = !asked.requested.is_empty();
    let taken = model.values().any(|held| held.contains(wanted));
    let may = match model.get(name) {
        Some(held) => !is_asked || held.contains(wanted),
        None if is_asked => !taken,
        None => model.len() < 6,
    };
    // The IPv6 set has room whenever the IPv4 one has: every attachment takes one of each.
    assert_eq!(result.is_ok(), may, "{name} {wanted} {result:?} {model:?}");
    if let Ok(acquired) = result {
        let addresses = addresses(&acquired);
        assert!(!is_asked || addresses.contains(wanted));
        if let Some(before) = model.insert(name.to_owned(), addresses.clone()) {
            assert_eq!(before, addresses);
        }
    }
}

#[test]
fn opening_reads_as_much_with_ten_thousand_leases_as_with_ten() {
    let wide = config(&json!({"ranges": [[{"subnet": "10.0.0.0/8"}], [{"subnet": "fd00::/64"}]]}));
    let cost = |leases: u32| {
        let dir = TempDir::new("constant");
        let limits = Limits {
            tail_records: 4096,
            ..Limits::FILES
        };
        let network = blue(&state(dir.path(), "a", 0)).with_limits(limits);
        let mut store = network.lock().unwrap();
        fill(&mut store, leases);
        drop(store);
        let mut store = blue(&state(dir.path(), "a", 0)).lock().unwrap();
        let open = store.read_cost();
        acquire(&mut store, "one-more", &wide);
        release(&mut store, "one-more");
        let call = store.read_cost();
        (open, call.checkpoint_bytes - open.checkpoint_bytes)
    };
    let (few, many) = (cost(10), cost(10_000));
    // The counts themselves are longer in text.
    assert!(
        many.0.checkpoint_bytes <= few.0.checkpoint_bytes + 64,
        "{few:?} {many:?}"
    );
    assert_eq!(few.0.journal_records, many.0.journal_records);
    // A look-up is a binary search: ten steps more, of 64 bytes, for each of a handful.
    assert!(many.1 <= few.1 + 10 * 64 * 12, "{few:?} {many:?}");
}

/// Puts many leases straight into a checkpoint.
fn fill(store: &mut LockedStore, leases: u32) {
    store.fill(
        &config(&json!({
            "ranges": [[{"subnet": "10.0.0.0/8"}], [{"subnet": "fd00::/64"}]]
        })),
        leases,
        draft,
    );
}
