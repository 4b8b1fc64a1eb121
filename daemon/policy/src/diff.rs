//! What a change of policies means: who may now reach whom and could not before, and the reverse. Not what
//! differs in the text.

use bulkhead_model::Family;

use crate::classes::{Classes, What, Who};
use crate::matrix::End;
use crate::{Decision, Matcher, Packet, PortRange, World};

/// Pairs that are told otherwise.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Change {
    /// Who sends.
    pub source: Who,
    /// Who is to get it.
    pub destination: Who,
    /// What is said now.
    pub now: Decision,
    /// About which traffic.
    pub what: Vec<What>,
    /// By which families.
    pub families: Vec<Family>,
}

/// What differs between two worlds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Difference {
    /// Pairs of ends of both.
    pub changes: Vec<Change>,
    /// Endpoints of the old one alone.
    pub gone: Vec<End>,
    /// Endpoints of the new one alone.
    pub new: Vec<End>,
}

/// What is told otherwise in `new` than in `old`.
#[must_use]
pub fn diff(old: &World, new: &World) -> Difference {
    let classes = Classes::of(&[old, new]);
    let matchers = [Matcher::new(old), Matcher::new(new)];
    let mut changes: Vec<Change> = Vec::new();
    for source in &classes.who {
        for destination in &classes.who {
            if !source.meets(destination) {
                continue;
            }
            for family in [Family::V4, Family::V6] {
                let told = |what: &What| told(&matchers, source, destination, family, *what);
                let told: Vec<(What, Decision)> = classes
                    .what
                    .iter()
                    .filter_map(|what| Some((*what, told(what)?)))
                    .collect();
                for now in [Decision::Allow, Decision::Deny] {
                    let of_now = told.iter().filter(|(_, decision)| *decision == now);
                    let what = joined(of_now.map(|(what, _)| *what));
                    if what.is_empty() {
                        continue;
                    }
                    let same = changes.iter_mut().find(|change| {
                        change.now == now
                            && change.source == *source
                            && change.destination == *destination
                            && is_same(&change.what, &what)
                    });
                    match same {
                        Some(change) => {
                            change.families.push(family);
                            change
                                .what
                                .extend(what.iter().filter(|what| matches!(what, What::Icmp(..))));
                        }
                        None => changes.push(Change {
                            source: source.clone(),
                            destination: destination.clone(),
                            now,
                            what,
                            families: vec![family],
                        }),
                    }
                }
            }
        }
    }
    let only = |of: &World, other: &World| {
        let ids = of
            .endpoints
            .keys()
            .filter(|id| !other.endpoints.contains_key(*id));
        ids.cloned().map(End::Endpoint).collect()
    };
    Difference {
        changes,
        gone: only(old, new),
        new: only(new, old),
    }
}

/// What the new world says, if it is not what the old one says.
fn told(
    matchers: &[Matcher<'_>; 2],
    source: &Who,
    destination: &Who,
    family: Family,
    what: What,
) -> Option<Decision> {
    let traffic = what.traffic(family)?;
    let mut decisions = [Decision::Allow; 2];
    for (nth, matcher) in matchers.iter().enumerate() {
        let packet = Packet {
            space: source.space.clone(),
            source: *source.addresses[nth].get(&family)?,
            destination: *destination.addresses[nth].get(&family)?,
            traffic,
        };
        decisions[nth] = matcher.evaluate(&packet).decision;
    }
    let [old, new] = decisions;
    (old != new).then_some(new)
}

/// Whether both are the same but for what only one family has.
fn is_same(one: &[What], other: &[What]) -> bool {
    let common = |what: &&What| !matches!(what, What::Icmp(..));
    one.iter().filter(common).eq(other.iter().filter(common))
}

/// Ranges that touch as one.
fn joined(what: impl Iterator<Item = What>) -> Vec<What> {
    let mut joined: Vec<What> = Vec::new();
    for next in what {
        if let (Some(What::Ports(protocol, before)), What::Ports(of, ports)) =
            (joined.last_mut(), next)
            && *protocol == of
            && before.last().checked_add(1) == Some(ports.first())
            && let Some(both) = PortRange::new(before.first(), ports.last())
        {
            *before = both;
        } else {
            joined.push(next);
        }
    }
    joined
}
