//! What we changed on the node itself (sysctls), with the value found and the networks that need
//! it, so that the last one puts it back. Records of an earlier boot are void: the boot undid them.

use bulkhead_model::NetworkName;
use serde::{Deserialize, Serialize};

use crate::error::StoreError;

/// The journal of changes to the node, locked.
#[derive(Debug)]
pub struct HostStore {}

/// One change to the node.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct HostChange {
    /// What was changed: a sysctl's path.
    pub key: String,
    /// The value found.
    pub before: String,
    /// The value set.
    pub set: String,
}

impl HostStore {
    /// Records that `network` needs `key` to be `set`, before it is written. The first claim's
    /// `before` stays.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn claim(&mut self, network: &NetworkName, change: &HostChange) -> Result<(), StoreError> {
        let _ = (network, change);
        todo!()
    }

    /// What nobody but `network` needs: to be put back, if the value is still ours, before
    /// [`HostStore::drop_network`] forgets it.
    #[must_use]
    pub fn last_needed_by(&self, network: &NetworkName) -> Vec<HostChange> {
        let _ = network;
        todo!()
    }

    /// Forgets every claim of `network`; what nobody needs any more is returned.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn drop_network(&mut self, network: &NetworkName) -> Result<Vec<HostChange>, StoreError> {
        let _ = network;
        todo!()
    }
}
