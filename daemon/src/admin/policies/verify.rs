//! What the kernel enforces, read back.

use bulkhead_ipam::wire::admin::{Reply, RequestError};

use crate::admin::{Admin, failed};

impl Admin {
    pub(in crate::admin) fn policy_verify(&self) -> Result<Reply, RequestError> {
        let verified = self.node.policy.verify();
        let verified = verified.map_err(|trouble| failed(&crate::told::chain(&trouble)))?;
        Ok(Reply::PolicyVerified(verified))
    }
}
