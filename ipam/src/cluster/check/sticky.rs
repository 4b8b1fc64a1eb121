//! What is kept for a name is kept in both directions, and given to nobody else.

use super::rows::World;
use super::say::{lease, ordinal, store};
use super::{Rule, Violation};
use crate::cluster::name::StickyId;

pub(super) fn check(world: &World<'_>, found: &mut Vec<Violation>) {
    for (key, id, row) in &world.sticky {
        let kept = world.kept.get(&(row.pool.clone(), row.ordinal));
        if kept.is_some_and(|(_, of)| of == id) {
            continue;
        }
        let mut evidence = vec![store(
            key,
            format!("ordinal {} of pool {}", row.ordinal, row.pool),
        )];
        evidence.extend(kept.map(|(key, of)| store(key, format!("kept for {of}"))));
        found.push(Violation {
            rule: Rule::StickyUnkept,
            subject: ordinal(world, &row.pool, row.ordinal),
            text: format!(
                "{id} keeps it, and it is not kept for that; release the name's address once nobody has it"
            ),
            evidence,
            pool: Some(row.pool.clone()),
            nodes: Vec::new(),
        });
    }
    for (place, (key, id)) in &world.kept {
        let Some(leased) = world.leases.get(place) else {
            continue;
        };
        let row = &leased.row;
        let own = row
            .pod
            .as_ref()
            .map(|pod| StickyId::of(pod, &row.attachment));
        let is_its = own.is_some_and(|own| own.is_ok_and(|own| own == *id));
        if is_its || world.is_queued(&row.node, place) {
            continue;
        }
        found.push(Violation {
            rule: Rule::KeptViolated,
            subject: ordinal(world, &place.0, place.1),
            text: format!(
                "it is kept for {id} and leased to another; delete the container that has it"
            ),
            evidence: vec![store(key, format!("kept for {id}")), lease(world, leased)],
            pool: Some(place.0.clone()),
            nodes: vec![row.node.clone()],
        });
    }
}
