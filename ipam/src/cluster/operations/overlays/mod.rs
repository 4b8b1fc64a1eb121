//! Networks that nodes have together. The first node that has one of a network's containers says what the
//! network is, which every later one must agree with; each says where it is reached itself. Whether a
//! node lives is nothing that these rows tell.

mod decide;
mod error;
mod keys;

pub use error::{OverlayError, RekeyError};
pub use keys::{REKEY_REST, REKEY_WAIT};

use super::commit::{Decision, Draft, ROUNDS, Settled};
use super::{Operations, Operator, StoreTrouble};
use crate::cluster::kv::{Compare, Txn, Write};
use crate::cluster::name::{NodeId, OverlayName};
use crate::cluster::schema::{FenceRow, FenceState, OverlayRow, Place, Secret, VtepRow, encode};

/// What a node asks of a network.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OverlayAsk {
    /// The network.
    pub network: OverlayName,
    /// What it is, as the node's configuration says.
    pub overlay: OverlayRow,
    /// What it is keyed by if it is encrypted and has no key yet.
    pub secret: Option<Secret>,
}

/// A node's end of a network.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct End {
    /// The node.
    pub node: NodeId,
    /// What it says of itself.
    pub row: VtepRow,
}

impl Operations<'_> {
    /// Has the network, with others or as the first, and tells them where the node is reached.
    ///
    /// # Errors
    /// [`OverlayError`]; the node has no end of it then, unless it had one before.
    pub fn join_overlay(
        &self,
        operator: &Operator,
        ask: &OverlayAsk,
        end: &VtepRow,
    ) -> Result<(), OverlayError> {
        self.agree(operator, ask, end)?;
        self.put_end(operator, &ask.network, end)
    }

    /// Takes the node's end of a network back; with the last one the network is nobody's.
    ///
    /// # Errors
    /// [`StoreTrouble`].
    pub fn leave_overlay(
        &self,
        operator: &Operator,
        network: &OverlayName,
    ) -> Result<(), StoreTrouble> {
        let place = Place::Vtep {
            network: network.clone(),
            node: operator.writer.clone(),
        };
        let key = self.schema.key(&place);
        for _ in 0..ROUNDS {
            let open = self.open()?;
            let Some(row) = self.row(&key)? else {
                return self.forget(network);
            };
            let txn = Txn {
                when: vec![open, Compare::Modified(key.clone(), row.modified)],
                writes: vec![Write::Delete(key.clone())],
            };
            if self.settle(&txn, &key)? == Settled::Made {
                return self.forget(network);
            }
        }
        Err(self.contended())
    }

    /// Every network that nodes have together.
    ///
    /// # Errors
    /// [`StoreTrouble`].
    pub fn overlays(&self) -> Result<Vec<(OverlayName, OverlayRow)>, StoreTrouble> {
        let rows = self.values::<OverlayRow>(&self.schema.kind("overlays"))?;
        let network = |(place, row, _)| match place {
            Place::Overlay(network) => (network, row),
            _ => unreachable!("an overlay's row stands at an overlay's place"),
        };
        Ok(rows.into_iter().map(network).collect())
    }

    /// The ends of a network.
    ///
    /// # Errors
    /// [`StoreTrouble`].
    pub fn ends_of(&self, network: &OverlayName) -> Result<Vec<End>, StoreTrouble> {
        let rows = self.values::<VtepRow>(&self.schema.vteps_of(network))?;
        let end = |(place, row, _)| match place {
            Place::Vtep { node, .. } => End { node, row },
            _ => unreachable!("an end's row stands at an end's place"),
        };
        Ok(rows.into_iter().map(end).collect())
    }

    /// Makes the network's row, or compares it.
    fn agree(
        &self,
        operator: &Operator,
        ask: &OverlayAsk,
        end: &VtepRow,
    ) -> Result<(), OverlayError> {
        let network = &ask.network;
        // A network that others have needs no change that all of the cluster waits for.
        let (known, _) = self.one::<OverlayRow>(&Place::Overlay(network.clone()))?;
        let is_keyed = known
            .as_ref()
            .is_none_or(|known| known.encryption.is_none())
            || self.keys_of(network)?.0.is_some();
        if let Some(known) = &known
            && is_keyed
            && ask.overlay.pools.iter().all(|it| known.pools.contains(it))
        {
            return self.fits(ask, known, end);
        }
        self.change(operator, |_| {
            let others = self.overlays()?;
            let pools = self.pools_now()?;
            let names = |node: &NodeId| self.name_of(node);
            let row = decide::row(ask, &others, &pools, names)?;
            self.fits(ask, &row, end)?;
            let key = self.schema.key(&Place::Overlay(network.clone()));
            let found = others.iter().find(|(other, _)| other == network);
            let keys = self.first_keys(operator, ask, &row)?;
            if keys.is_none() && found.is_some_and(|(_, found)| *found == row) {
                return Ok(Decision::Stands(()));
            }
            let mut draft = Draft {
                what: format!("network {network} with VNI {}", row.vni),
                when: Vec::new(),
                writes: vec![Write::Put(key, encode(&row))],
            };
            if let Some((compare, write)) = keys {
                draft.when.push(compare);
                draft.writes.push(write);
            }
            Ok(Decision::Write(draft, ()))
        })
    }

    fn fits(
        &self,
        ask: &OverlayAsk,
        known: &OverlayRow,
        end: &VtepRow,
    ) -> Result<(), OverlayError> {
        decide::same(ask, known, |node| self.name_of(node))?;
        decide::carries(&ask.network, known, &self.pools_now()?, end)
    }

    /// Writes where the node is reached, if that is not what stands there.
    fn put_end(
        &self,
        operator: &Operator,
        network: &OverlayName,
        end: &VtepRow,
    ) -> Result<(), OverlayError> {
        let node = &operator.writer;
        let place = Place::Vtep {
            network: network.clone(),
            node: node.clone(),
        };
        let (key, overlay) = (
            self.schema.key(&place),
            self.schema.key(&Place::Overlay(network.clone())),
        );
        for _ in 0..ROUNDS {
            let open = self.open()?;
            let fence = Place::Fence(node.clone());
            let (state, fenced) = self.one::<FenceRow>(&fence)?;
            let epoch = state.filter(|fence| fence.state == FenceState::Active);
            let Some(fence) = epoch else {
                return Err(OverlayError::Unregistered {
                    network: network.clone(),
                    node: end.name.clone(),
                });
            };
            let ends = self.ends_of(network)?;
            decide::alone(network, node, end, &ends)?;
            let (found, revision) = self.one::<VtepRow>(&place)?;
            let row = VtepRow {
                epoch: fence.epoch,
                at_unix_ms: operator.at_unix_ms,
                attempt: operator.attempt.clone(),
                ..end.clone()
            };
            if found.is_some_and(|found| decide::says_the_same(&found, &row)) {
                return Ok(());
            }
            let stands = match self.row(&overlay).map_err(StoreTrouble::from)? {
                Some(stands) => stands.modified,
                // Its last node left in between.
                None => return Err(self.contended().into()),
            };
            let txn = Txn {
                when: vec![
                    open,
                    Compare::Modified(self.schema.key(&Place::Fence(node.clone())), fenced),
                    Compare::Modified(overlay.clone(), stands),
                    Compare::Modified(key.clone(), revision),
                ],
                writes: vec![Write::Put(key.clone(), encode(&row))],
            };
            if self.settle(&txn, &key).map_err(StoreTrouble::from)? == Settled::Made {
                return Ok(());
            }
        }
        Err(self.contended().into())
    }

    /// Removes the row of a network that no node has.
    fn forget(&self, network: &OverlayName) -> Result<(), StoreTrouble> {
        let key = self.schema.key(&Place::Overlay(network.clone()));
        let ends = self.schema.vteps_of(network);
        for _ in 0..ROUNDS {
            let open = self.open()?;
            let Some(row) = self.row(&key)? else {
                return Ok(());
            };
            if !self.all(&ends)?.is_empty() {
                return Ok(());
            }
            let txn = Txn {
                when: vec![
                    open,
                    Compare::Modified(key.clone(), row.modified),
                    Compare::NoneIn(ends.clone()),
                ],
                writes: vec![
                    Write::Delete(key.clone()),
                    Write::Delete(self.schema.key(&Place::Keys(network.clone()))),
                ],
            };
            if self.settle(&txn, &key)? == Settled::Made {
                return Ok(());
            }
        }
        Err(self.contended())
    }

    /// What a node is called, for people.
    fn name_of(&self, node: &NodeId) -> String {
        let fence = self.one::<FenceRow>(&Place::Fence(node.clone()));
        let named = fence.ok().and_then(|(row, _)| row).map(|row| row.name);
        named.unwrap_or_else(|| node.to_string())
    }
}
