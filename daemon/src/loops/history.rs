//! The audit log goes back as far as the configuration says.

use bulkhead_ipam::AuditBounds;

use crate::node::Node;

/// Forgets what is older, or too much.
pub(super) fn trim(node: &Node) {
    let audit = node.config().audit;
    node.state.keep_audit(AuditBounds {
        bytes: audit.bytes,
        age_secs: Some(audit.age.as_secs()),
    });
    if let Err(error) = node.state.trim_audit() {
        node.failed("old history is not forgotten", &crate::told::chain(&error));
    }
}
