//! Endpoints as a node publishes them for others' policies, and what each node says that it enforces. A
//! node writes only its own rows, each in a transaction that compares its fence, and the row's last change:
//! what arrives late finds that its condition is gone.

use super::{Operations, StoreTrouble};
use crate::cluster::kv::{Compare, Key, KvError, Revision, Txn, Write};
use crate::cluster::name::{NodeId, ObjectPart};
use crate::cluster::schema::{
    AppliedRow, EndpointRow, FenceRow, FenceState, Place, RowError, encode,
};

/// Most endpoints that are published together: the fence and the store's own row are compared beside.
pub const MOST_ENDPOINTS: usize = Txn::MOST_WRITES - 2;

/// What is published of an endpoint: the row, or that there is none any more.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EndpointWrite {
    /// Its network.
    pub network: ObjectPart,
    /// Its id.
    pub id: ObjectPart,
    /// The row's last change as it is known; 0 if there is none.
    pub seen: Revision,
    /// What it is now.
    pub row: Option<EndpointRow>,
}

/// A published endpoint.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EndpointListed {
    /// Its network.
    pub network: ObjectPart,
    /// Its node.
    pub node: NodeId,
    /// Its id.
    pub id: ObjectPart,
    /// What is published.
    pub row: EndpointRow,
    /// Its last change.
    pub modified: Revision,
}

/// That a node is registered as it was looked up, and the store open: what each of its publications compares.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Standing {
    node: NodeId,
    when: Vec<Compare>,
}

/// What became of a publication.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Published {
    /// It is made, by the store's revision.
    Made(Revision),
    /// Something is otherwise than it was known to be, the node's standing for one, or the answer did not
    /// come: look up the standing and list anew.
    Unknown,
}

/// What a node says that it enforces.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AppliedListed {
    /// The node.
    pub node: NodeId,
    /// What it says; `None` if it enforces no policies.
    pub row: Option<AppliedRow>,
    /// What it is called.
    pub name: String,
    /// What its fence says.
    pub state: FenceState,
}

impl AppliedListed {
    /// Whether the node enforces every change up to `revision` of the store, or need not: it was declared
    /// lost, or enforces nothing.
    #[must_use]
    pub fn has_passed(&self, revision: Revision) -> bool {
        match (&self.row, self.state) {
            (None, _) | (_, FenceState::Lost) => true,
            (Some(row), FenceState::Active) => row.store_revision >= revision.0,
        }
    }
}

impl Operations<'_> {
    /// How a node stands, which is good for any number of publications; `None` if it is not registered with
    /// this epoch.
    ///
    /// # Errors
    /// [`StoreTrouble`].
    pub fn standing_as(&self, node: &NodeId, epoch: u64) -> Result<Option<Standing>, StoreTrouble> {
        let when = self.standing_of(node, epoch)?;
        let node = node.clone();
        Ok(when.map(|when| Standing { node, when }))
    }

    /// Publishes some of a node's endpoints.
    ///
    /// # Errors
    /// [`StoreTrouble`]; nothing is published then.
    pub fn publish_endpoints(
        &self,
        standing: &Standing,
        writes: &[EndpointWrite],
    ) -> Result<Published, StoreTrouble> {
        let (node, mut when) = (&standing.node, standing.when.clone());
        let key = |write: &EndpointWrite| self.endpoint_key(&write.network, node, &write.id);
        when.extend(
            writes
                .iter()
                .map(|write| Compare::Modified(key(write), write.seen)),
        );
        let writes = writes.iter().map(|write| match &write.row {
            Some(row) => Write::Put(key(write), encode(row)),
            None => Write::Delete(key(write)),
        });
        let txn = Txn {
            when,
            writes: writes.collect(),
        };
        match self.store.commit(&txn) {
            Ok(committed) if committed.held => Ok(Published::Made(committed.revision)),
            Ok(_) | Err(KvError::Ambiguous { .. }) => Ok(Published::Unknown),
            Err(error) => Err(error.into()),
        }
    }

    /// What is published of a network, by all nodes or by one. Rows that are not understood are left out.
    ///
    /// # Errors
    /// [`StoreTrouble`].
    pub fn endpoints_of(
        &self,
        network: &ObjectPart,
        node: Option<&NodeId>,
    ) -> Result<(Vec<EndpointListed>, Revision), StoreTrouble> {
        let range = match node {
            Some(node) => self.schema.endpoints_on(network, node),
            None => self.schema.endpoints_of(network),
        };
        let listing = self.store.range(&range, 0)?;
        let read = |row| -> Result<EndpointListed, RowError> {
            let (place, value) = self.schema.read::<EndpointRow>(row)?;
            let Place::Endpoint { network, node, id } = place else {
                unreachable!("an endpoint's row stands at an endpoint's place");
            };
            Ok(EndpointListed {
                network,
                node,
                id,
                row: value,
                modified: row.modified,
            })
        };
        let rows = listing.rows.iter().filter_map(|row| read(row).ok());
        Ok((rows.collect(), listing.revision))
    }

    /// Says what a node enforces; whether it was registered with this epoch and the answer came.
    ///
    /// # Errors
    /// [`StoreTrouble`].
    pub fn put_applied(&self, node: &NodeId, row: &AppliedRow) -> Result<bool, StoreTrouble> {
        let Some(when) = self.standing_of(node, row.epoch)? else {
            return Ok(false);
        };
        let key = self.schema.key(&Place::Applied(node.clone()));
        let txn = Txn {
            when,
            writes: vec![Write::Put(key, encode(row))],
        };
        match self.store.commit(&txn) {
            Ok(committed) => Ok(committed.held),
            Err(KvError::Ambiguous { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Every node that ever registered, with what it says that it enforces.
    ///
    /// # Errors
    /// [`StoreTrouble`].
    pub fn applied(&self) -> Result<Vec<AppliedListed>, StoreTrouble> {
        let fences = self.values::<FenceRow>(&self.schema.kind("fences"))?;
        let mut applied = self.values::<AppliedRow>(&self.schema.kind("applied"))?;
        // A revision of the store that is later than the row's own is of the store that this one was moved
        // from, and says nothing.
        for (_, row, modified) in &mut applied {
            if row.store_revision > modified.0 {
                row.store_revision = 0;
            }
        }
        let said = |(place, fence, _): (Place, FenceRow, Revision)| {
            let Place::Fence(node) = place else {
                unreachable!("a fence's row stands at a fence's place");
            };
            let its = Place::Applied(node.clone());
            let row = applied.iter().find(|(place, row, _)| {
                *place == its && (row.epoch == fence.epoch || fence.state == FenceState::Lost)
            });
            AppliedListed {
                row: row.map(|(_, row, _)| row.clone()),
                name: if fence.name.is_empty() {
                    node.to_string()
                } else {
                    fence.name
                },
                state: fence.state,
                node,
            }
        };
        Ok(fences.into_iter().map(said).collect())
    }

    /// That the node stands as it was registered, and the store open; `None` if it does not.
    fn standing_of(&self, node: &NodeId, epoch: u64) -> Result<Option<Vec<Compare>>, StoreTrouble> {
        let open = self.open()?;
        let place = Place::Fence(node.clone());
        let (fence, revision) = self.one::<FenceRow>(&place)?;
        let stands =
            fence.is_some_and(|fence| fence.state == FenceState::Active && fence.epoch == epoch);
        let fence = Compare::Modified(self.schema.key(&place), revision);
        Ok(stands.then(|| vec![open, fence]))
    }

    fn endpoint_key(&self, network: &ObjectPart, node: &NodeId, id: &ObjectPart) -> Key {
        self.schema.key(&Place::Endpoint {
            network: network.clone(),
            node: node.clone(),
            id: id.clone(),
        })
    }
}
