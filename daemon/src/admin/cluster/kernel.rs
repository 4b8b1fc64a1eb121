//! What the node's kernel has of attachments that are recorded, for a check.

use std::net::IpAddr;

use bulkhead_ipam::cluster::check::{Container, Kernel as Seen, Port};
use bulkhead_ipam::{AttachmentRecord, Netns as Recorded};
use bulkhead_kernel::{Deletion, Kernel, Netns, NetnsError};
use bulkhead_plan::{Ns, Scope};

use super::journal::Records;
use crate::admin::Admin;
use crate::loops;

impl Admin {
    /// Looked at from a worker, which enters the containers' namespaces; `None` if the daemon is ending.
    pub(super) fn kernel(&self, records: &Records) -> Option<Seen> {
        let records: Vec<AttachmentRecord> = records.all.clone();
        let containers = self.workers.run(move |_| {
            let containers = records.iter().filter_map(container);
            containers.collect()
        })?;
        Some(Seen {
            node: self.node.cluster.node.clone(),
            containers,
        })
    }
}

/// A container as the kernel has it; `None` if there is nothing of it.
fn container(record: &AttachmentRecord) -> Option<Container> {
    let recorded = record.netns.as_ref()?;
    let interface = record.key.interface;
    let addresses = match Netns::open(&recorded.path) {
        Ok(netns) if is_same(&netns, recorded) => addresses(netns, recorded, record),
        Ok(_) | Err(NetnsError::Missing { .. } | NetnsError::NotANamespace { .. }) => return None,
        Err(_) => None,
    };
    let port = record.names.port.map(|_| loops::stands_of(record));
    Some(Container {
        attachment: Some(record.key.clone()),
        place: format!("{} {interface}", recorded.path.display()),
        addresses,
        port: match port {
            Some(Some(true)) => Port::Present,
            Some(Some(false)) => Port::Missing,
            Some(None) | None => Port::Unasked,
        },
    })
}

fn is_same(netns: &Netns, recorded: &Recorded) -> bool {
    let found = netns.identity();
    recorded.inode.is_none_or(|inode| inode == found.ino)
        && recorded.device.is_none_or(|device| device == found.dev)
}

/// The interface's addresses; `None` if the kernel does not say.
fn addresses(netns: Netns, recorded: &Recorded, record: &AttachmentRecord) -> Option<Vec<IpAddr>> {
    let ns = Ns::Container(recorded.path.display().to_string());
    let mut scope = Scope::default();
    let space = scope.spaces.entry(ns.clone()).or_default();
    space.links.insert(record.key.interface);
    let mut kernel = Kernel::new(Deletion::Blocking).with(ns.clone(), netns);
    let world = kernel.observe(&scope).ok()?;
    let seen = world.spaces.get(&ns)?.addresses.keys();
    Some(seen.map(|(_, address)| address.address()).collect())
}
