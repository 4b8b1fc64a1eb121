//! What encrypted networks are keyed by: made with the network by its first node, and changed by operators,
//! one epoch after the other.

use super::error::RekeyError;
use super::{End, OverlayAsk};
use crate::cluster::kv::{Compare, Revision, Txn, Write};
use crate::cluster::name::OverlayName;
use crate::cluster::operations::commit::{ROUNDS, Settled};
use crate::cluster::operations::{Operations, Operator, StoreTrouble};
use crate::cluster::schema::{EpochKey, KeysRow, OverlayRow, Place, Secret, encode};

/// How long after a key the next may come, in milliseconds, if every node receives by it: longer than what
/// they sent by before is kept.
pub const REKEY_REST: u64 = 30_000;
/// If some do not: longer than they are waited for.
pub const REKEY_WAIT: u64 = 720_000;

/// Epochs that a row has: the one that nodes come from, and the one that they go to.
const EPOCHS: usize = 2;

impl Operations<'_> {
    /// Gives an encrypted network another key, and returns the epoch that it begins.
    ///
    /// # Errors
    /// [`RekeyError`]; nothing has changed then.
    pub fn rekey_overlay(
        &self,
        operator: &Operator,
        network: &OverlayName,
        secret: &Secret,
    ) -> Result<u64, RekeyError> {
        let place = Place::Keys(network.clone());
        let key = self.schema.key(&place);
        for _ in 0..ROUNDS {
            let open = self.open()?;
            let (overlay, _) = self.one::<OverlayRow>(&Place::Overlay(network.clone()))?;
            let overlay = overlay.ok_or_else(|| RekeyError::NotFound(network.clone()))?;
            if overlay.encryption.is_none() {
                return Err(RekeyError::NotEncrypted(network.clone()));
            }
            let (found, revision) = self.keys_of(network)?;
            let mut epochs = found.map(|row| row.epochs).unwrap_or_default();
            epochs.sort_by_key(|key| key.epoch);
            let last = epochs.last();
            if let Some(last) = last.filter(|last| last.secret == *secret) {
                return Ok(last.epoch);
            }
            // The first is nobody's to go over to.
            if let Some(last) = last.filter(|last| last.epoch > 1) {
                self.has_rested(operator, network, last)?;
            }
            let epoch = last.map_or(1, |last| last.epoch + 1);
            epochs.push(EpochKey {
                epoch,
                secret: secret.clone(),
                by: operator.writer.clone(),
                at_unix_ms: operator.at_unix_ms,
            });
            let epochs = epochs.split_off(epochs.len().saturating_sub(EPOCHS));
            let row = KeysRow {
                epochs,
                attempt: operator.attempt.clone(),
            };
            let txn = Txn {
                when: vec![open, Compare::Modified(key.clone(), revision)],
                writes: vec![Write::Put(key.clone(), encode(&row))],
            };
            if self.settle(&txn, &key).map_err(StoreTrouble::from)? == Settled::Made {
                return Ok(epoch);
            }
        }
        Err(self.contended().into())
    }

    /// Whether nodes have gone over to a key.
    fn has_rested(
        &self,
        operator: &Operator,
        network: &OverlayName,
        last: &EpochKey,
    ) -> Result<(), RekeyError> {
        let ends = self.ends_of(network)?;
        let is_behind = |end: &&End| end.row.seal.is_none_or(|seal| seal.applied < last.epoch);
        let behind = ends.iter().filter(is_behind).map(|end| &*end.row.name);
        let behind: Vec<&str> = behind.collect();
        let (who, rest) = if behind.is_empty() {
            ("all have it".to_owned(), REKEY_REST)
        } else {
            (format!("{} not yet", behind.join(", ")), REKEY_WAIT)
        };
        let rested = operator.at_unix_ms.saturating_sub(last.at_unix_ms);
        if rested >= rest {
            return Ok(());
        }
        Err(RekeyError::UnderWay {
            network: network.clone(),
            epoch: last.epoch,
            who,
            wait_secs: (rest - rested).div_ceil(1000),
        })
    }

    pub(super) fn keys_of(
        &self,
        network: &OverlayName,
    ) -> Result<(Option<KeysRow>, Revision), StoreTrouble> {
        self.one::<KeysRow>(&Place::Keys(network.clone()))
    }

    /// The first key of an encrypted network, if it has none: never written over another.
    pub(super) fn first_keys(
        &self,
        operator: &Operator,
        ask: &OverlayAsk,
        row: &OverlayRow,
    ) -> Result<Option<(Compare, Write)>, StoreTrouble> {
        let (false, Some(secret)) = (row.encryption.is_none(), &ask.secret) else {
            return Ok(None);
        };
        let (None, _) = self.keys_of(&ask.network)? else {
            return Ok(None);
        };
        let keys = KeysRow {
            epochs: vec![EpochKey {
                epoch: 1,
                secret: secret.clone(),
                by: operator.writer.clone(),
                at_unix_ms: operator.at_unix_ms,
            }],
            attempt: operator.attempt.clone(),
        };
        let key = self.schema.key(&Place::Keys(ask.network.clone()));
        let absent = Compare::Modified(key.clone(), Revision(0));
        Ok(Some((absent, Write::Put(key, encode(&keys)))))
    }
}
