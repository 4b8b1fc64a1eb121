//! Pools are apart.

use super::rows::World;
use super::say::store;
use super::{Rule, Violation};
use crate::cluster::schema::PoolRow;

pub(super) fn check(world: &World<'_>, found: &mut Vec<Violation>) {
    let pools: Vec<_> = world.pools.iter().collect();
    for (nth, (name, (key, row))) in pools.iter().enumerate() {
        for (other, (other_key, other_row)) in &pools[nth + 1..] {
            let overlap = row.geometry.overlap(&other_row.geometry);
            let Some((ours, theirs)) = overlap.filter(|_| row.excludes(other_row)) else {
                continue;
            };
            found.push(Violation {
                rule: Rule::PoolsOverlap,
                subject: format!("pools {name} and {other}"),
                text: format!(
                    "{ours} of pool {name} overlaps {theirs} of pool {other}; drain one of them, and add it anew elsewhere"
                ),
                evidence: vec![
                    store(key, prefixes(row)),
                    store(other_key, prefixes(other_row)),
                ],
                pool: Some((*name).clone()),
                nodes: Vec::new(),
            });
        }
    }
}

fn prefixes(row: &PoolRow) -> String {
    let texts: Vec<String> = row.geometry.prefixes().map(|p| p.to_string()).collect();
    texts.join(" and ")
}
