//! Networks whose containers are fenced one by one: what a call asks of whoever enforces policies on the node.

use std::sync::Arc;

use bulkhead_cni::CniError;
use bulkhead_cni::json::{FieldError, Object};
use bulkhead_ipam::{AttachmentRecord, Names};
use bulkhead_model::{AttachmentKey, IfName};

use crate::Host;

/// Among the other names of a record: present if policies are enforced for the attachment.
const POLICY: &str = "policy";

/// What needs the daemon.
pub const NEEDED: &str = "policy: the node daemon enforces it";

/// Who enforces policies on the node.
pub trait Policies: Send + Sync {
    /// Sees to it that the kernel enforces what is said about a recorded attachment, before it has a port.
    ///
    /// # Errors
    /// Code 11 if the kernel cannot be told now, or it is not known yet what policies there are.
    fn admit(&self, record: &AttachmentRecord) -> Result<(), CniError>;

    /// Takes the attachment's addresses out of everything that is enforced, before anybody else may have them.
    ///
    /// # Errors
    /// Code 11 if the kernel cannot be told now.
    fn dismiss(&self, key: &AttachmentKey) -> Result<(), CniError>;
}

/// `policy`: whether policies are enforced for the network's containers.
///
/// # Errors
/// Neither true nor false.
pub fn is_asked(root: &Object<'_>) -> Result<bool, FieldError> {
    Ok(root.optional_bool(POLICY)?.unwrap_or_default())
}

/// The device by which an attachment is reached, if policies are enforced for it.
#[must_use]
pub fn device(names: &Names) -> Option<IfName> {
    names.other.get(POLICY)?;
    names.bridge.or(names.port)
}

/// Notes it among the names of an attachment that is about to be recorded.
pub(crate) fn note(names: &mut Names) {
    names.other.insert(POLICY.to_owned(), "enforced".to_owned());
}

/// Before the attachment has a port.
pub(crate) fn admit(host: &dyn Host, record: &AttachmentRecord) -> Result<(), CniError> {
    match enforcing(host, &record.names) {
        Some(policies) => policies.admit(record),
        None => Ok(()),
    }
}

/// Before its addresses are released.
pub(crate) fn dismiss(host: &dyn Host, record: Option<&AttachmentRecord>) -> Result<(), CniError> {
    let Some(record) = record else {
        return Ok(());
    };
    match enforcing(host, &record.names) {
        Some(policies) => policies.dismiss(&record.key),
        None => Ok(()),
    }
}

/// Without a daemon nothing is enforced, and what one has left it takes back when it runs again.
fn enforcing(host: &dyn Host, names: &Names) -> Option<Arc<dyn Policies>> {
    device(names)?;
    host.policies()
}
