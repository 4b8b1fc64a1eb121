//! Networks whose containers have links of their own, as doctor sees them: by what is recorded.

use bulkhead_ipam::AttachmentRecord;
use bulkhead_model::{Family, IfName, NetworkName};

use crate::coexist::network::Recorded;

/// The kind of their attachments.
const KIND: &str = "ipv6";

/// A network with live attachments that have a link of their own.
#[derive(Clone, Debug)]
pub(crate) struct Linked {
    pub(crate) name: NetworkName,
    pub(crate) live: Vec<AttachmentRecord>,
}

impl Linked {
    /// `None` if none is recorded.
    pub(super) fn of(name: &NetworkName, recorded: &Recorded) -> Option<Self> {
        let of_kind = |record: &&AttachmentRecord| record.kind == KIND;
        let live: Vec<_> = recorded.live.iter().filter(of_kind).cloned().collect();
        (!live.is_empty()).then(|| Self {
            name: name.clone(),
            live,
        })
    }

    /// The ports of those with an address of `family`.
    pub(crate) fn ports(&self, family: Family) -> impl Iterator<Item = IfName> {
        let has = move |record: &&AttachmentRecord| {
            let mut held = record.addresses.iter();
            held.any(|leased| leased.address.family() == family)
        };
        let of_family = self.live.iter().filter(has);
        of_family.filter_map(|record| record.names.port)
    }
}
