//! The cluster as operators change it, through this node.

use bulkhead_ipam::cluster::Attempt;
use bulkhead_ipam::cluster::operations::{Operations, Operator};

use super::{Cluster, session};
use crate::clock::unix_ms;

impl Cluster {
    /// What can be done to it.
    pub(crate) fn operations(&self) -> Operations<'_> {
        Operations::new(self.backend.store(), &self.schema)
    }

    /// Somebody who does something now.
    pub(crate) fn operator(&self, by: &str) -> Operator {
        Operator {
            by: by.to_owned(),
            writer: self.node.clone(),
            at_unix_ms: unix_ms(),
            attempt: Attempt(format!("{}-operator", session(&self.node))),
        }
    }
}
