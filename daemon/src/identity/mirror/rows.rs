//! Rows of endpoints, of the node itself and of others, and whose an address, or a prefix, is that several claim.

use std::collections::BTreeSet;

use bulkhead_ipam::cluster::operations::EndpointListed;
use bulkhead_ipam::cluster::schema::{EndpointRow, Place, Schema};
use bulkhead_ipam::cluster::{Event, NodeId, Revision};
use bulkhead_model::{AttachmentId, NetworkName};
use bulkhead_policy::EndpointId;

use super::super::row::{Held, id_of};
use super::{At, Mirror, told};

impl Mirror {
    pub(super) fn own_at(&self, network: &NetworkName, id: &AttachmentId) -> At {
        (network.clone(), self.own.clone(), id.to_string())
    }

    pub(super) fn rows_of(&self, network: &NetworkName) -> impl Iterator<Item = &At> {
        let from: At = (network.clone(), lowest(), String::new());
        let rows = self.rows.range(from..).map(|(at, _)| at);
        rows.take_while(move |(of, _, _)| of == network)
    }

    /// Takes in all rows of a network.
    pub(in crate::identity) fn list_endpoints(
        &mut self,
        network: &NetworkName,
        listed: Vec<EndpointListed>,
        revision: Revision,
    ) {
        // The node has left it meanwhile, or somebody has listed it later.
        match self.networks.get(network) {
            Some(listed) if listed.is_none_or(|listed| listed < revision) => {}
            _ => return,
        }
        self.networks.insert(network.clone(), Some(revision));
        self.followed(revision);
        let there: BTreeSet<At> = listed
            .iter()
            .map(|one| (network.clone(), one.node.clone(), one.id.to_string()))
            .collect();
        let gone = self.rows_of(network);
        let gone = gone.filter(|at| at.1 != self.own && !there.contains(*at));
        let gone: Vec<At> = gone.cloned().collect();
        for at in &gone {
            self.remove_row(at);
        }
        for one in listed {
            let at = (network.clone(), one.node, one.id.to_string());
            if at.1 != self.own {
                self.put_row(&at, one.row, one.modified);
            }
        }
    }

    /// Takes in changes of endpoints.
    pub(in crate::identity) fn observe_endpoints(&mut self, schema: &Schema, events: &[Event]) {
        if let Some(last) = events.last() {
            self.followed(last.revision);
        }
        for event in events {
            let Some(Place::Endpoint { network, node, id }) = schema.place(&event.key) else {
                continue;
            };
            let Ok(network) = network.as_str().parse::<NetworkName>() else {
                continue;
            };
            let listed = self.networks.get(&network).copied().flatten();
            // What it says of networks that are not listed yet the list will say, and what came before it is
            // in it.
            if node == self.own || listed.is_none_or(|listed| event.revision <= listed) {
                continue;
            }
            let at = (network, node, id.to_string());
            match &event.row {
                Some(row) => match schema.read::<EndpointRow>(row) {
                    Ok((_, value)) => self.put_row(&at, value, row.modified),
                    Err(error) => told(Err(error)),
                },
                None => self.remove_row(&at),
            }
        }
    }

    /// How far the store was seen, with the last change that came of it.
    pub(in crate::identity) const fn seen(&self) -> (u64, Revision) {
        (self.mark.change, self.seen)
    }

    /// Every change of endpoints up to this revision of the store is known, or is taken in now.
    pub(in crate::identity) fn followed(&mut self, revision: Revision) {
        if self.unlisted().is_empty() {
            self.seen = self.seen.max(revision);
        }
    }

    pub(super) fn put_row(&mut self, at: &At, row: EndpointRow, modified: Revision) {
        let (id, held) = (id_of(&row), Held::of_row(&row));
        self.claim(at, &held, |count| *count += 1);
        let before = self.rows.insert(at.clone(), (row, modified));
        let before = before.map(|(row, _)| row);
        let had = before.as_ref().map(Held::of_row).unwrap_or_default();
        self.claim(at, &had, |count| *count -= 1);
        if let Some(before) = before.map(|row| id_of(&row)).filter(|it| *it != id) {
            self.unname(&before, at);
            self.settle(before);
        }
        self.named.entry(id.clone()).or_default().insert(at.clone());
        self.settle(id);
        for held in [had, held] {
            self.settle_others(at, &held);
        }
    }

    pub(super) fn remove_row(&mut self, at: &At) {
        if let Some((row, _)) = self.rows.remove(at) {
            let had = Held::of_row(&row);
            self.claim(at, &had, |count| *count -= 1);
            let id = id_of(&row);
            self.unname(&id, at);
            self.settle(id);
            self.settle_others(at, &had);
        }
    }

    fn claim(&mut self, at: &At, held: &Held, change: impl Fn(&mut u32)) {
        let is_own = at.1 == self.own;
        self.claimed.change(held, |claims| {
            change(if is_own {
                &mut claims.own
            } else {
                &mut claims.others
            });
        });
    }

    /// What the node's own endpoints have, or had, may be claimed by others' rows.
    fn settle_others(&mut self, at: &At, held: &Held) {
        if at.1 != self.own || !self.claimed.is_elsewhere(held) {
            return;
        }
        let rows = self.rows.values().map(|(row, _)| row);
        let meant = rows.filter(|row| Held::of_row(row).overlaps(held));
        let meant: BTreeSet<EndpointId> = meant.map(id_of).collect();
        for id in meant {
            self.settle(id);
        }
    }

    /// What a row's endpoint has. What the node's own endpoints have, in the same space, nobody has elsewhere: two
    /// nodes may each give out the same range for themselves, and a pod that moves takes its address along. Of a
    /// prefix in which one of them has an address only those addresses are left that the row has by themselves.
    pub(super) fn had_of(&self, at: &At, row: &EndpointRow) -> Held {
        let mut held = Held::of_row(row);
        if at.1 == self.own {
            return held;
        }
        held.addresses.retain(|address| {
            let mut claims = self.claimed.of(*address);
            claims.all(|claims| claims.own == 0) || !self.is_own(&at.0, &Held::address(*address))
        });
        held.prefixes.retain(|own| {
            let mut claims = self.claimed.within(*own);
            claims.all(|claims| claims.own == 0) || !self.is_own(&at.0, &Held::prefix(*own))
        });
        held
    }

    /// Whether an endpoint of the node itself has something of it, in the space of `network`.
    fn is_own(&self, network: &NetworkName, held: &Held) -> bool {
        let space = self.space_of(network);
        let networks = self.networks.keys();
        let mut alike = networks.filter(|of| self.space_of(of) == space);
        alike.any(|of| {
            let from: At = (of.clone(), self.own.clone(), String::new());
            let rows = self.rows.range(from..);
            let mut own = rows.take_while(|(at, _)| at.0 == *of && at.1 == self.own);
            own.any(|(_, (row, _))| Held::of_row(row).overlaps(held))
        })
    }

    pub(super) fn unname(&mut self, id: &EndpointId, at: &At) {
        if let Some(all) = self.named.get_mut(id) {
            all.remove(at);
            if all.is_empty() {
                self.named.remove(id);
            }
        }
    }
}

/// The first id of a node that there can be.
fn lowest() -> NodeId {
    "0".parse().expect("a digit is an id")
}
