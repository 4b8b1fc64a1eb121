//! The one fact that the kernel alone can say: whether a port stands. It goes with its container's
//! network namespace, whoever else held that open.

use bulkhead_attach::recorded_node;
use bulkhead_ipam::AttachmentRecord;
use bulkhead_kernel::{Netns, NetnsError};
use bulkhead_model::IfName;
use bulkhead_plan::Ns;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, netdevice, socket_with};

/// Whether a link of that name is in the node's namespace; `None` if the kernel does not say.
pub(crate) fn stands(port: IfName) -> Option<bool> {
    let socket = socket_with(
        AddressFamily::UNIX,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    );
    match netdevice::name_to_index(socket.ok()?, port.as_str()) {
        Ok(_) => Some(true),
        Err(Errno::NODEV) => Some(false),
        Err(_) => None,
    }
}

/// The same where `ns` plays the node's part: with a namespace that is gone every link in it is.
pub(crate) fn stands_in(ns: &Ns, port: IfName) -> Option<bool> {
    let Ns::Network(path) = ns else {
        return stands(port);
    };
    match Netns::open(path) {
        Ok(netns) => netns.within(|| stands(port)).ok()?,
        Err(NetnsError::Missing { .. } | NetnsError::NotANamespace { .. }) => Some(false),
        Err(_) => None,
    }
}

/// Whether the port of a recorded attachment is there; `None` if it has none, or the kernel does not say.
pub(crate) fn stands_of(record: &AttachmentRecord) -> Option<bool> {
    stands_in(&recorded_node(record), record.names.port?)
}

/// The index of a link in the node's namespace; `None` if it is not there, or the kernel does not say.
pub(crate) fn index_of(link: IfName) -> Option<u32> {
    let socket = socket_with(
        AddressFamily::UNIX,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    );
    netdevice::name_to_index(socket.ok()?, link.as_str()).ok()
}

/// The name of a link in the node's namespace; `None` if it is not there, or the kernel does not say.
pub(crate) fn name_of(link: u32) -> Option<IfName> {
    let socket = socket_with(
        AddressFamily::UNIX,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    );
    let name = netdevice::index_to_name(socket.ok()?, link).ok()?;
    name.parse().ok()
}
