//! What node and container know of each other for good. The kernel's table of neighbours is one for all
//! namespaces, and what is permanent in it is not pushed out by who fills it (`neigh_forced_gc`,
//! `net/core/neighbour.c`). It is recorded with the guard, so that DEL and CHECK find it again.

use std::net::IpAddr;

use bulkhead_ipam::{AttachmentRecord, Names};
use bulkhead_kernel::{Kernel, Netns};
use bulkhead_model::{IfName, Mac};
use bulkhead_plan::{Known, Neighbour, Ns};

/// Among the other names of a guarded port's record: the link of the node that is the container's gateway, its
/// MAC and the gateway's addresses.
const GATEWAY: &str = "gateway";

/// The node as a container's gateway.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Gateway {
    /// The link that has its addresses: the bridge, or the port.
    pub link: IfName,
    /// That one's MAC, which does not change by itself.
    pub mac: Mac,
    /// The addresses.
    pub addresses: Vec<IpAddr>,
}

impl Gateway {
    pub(super) fn note(&self, names: &mut Names) {
        let addresses: Vec<_> = self.addresses.iter().map(ToString::to_string).collect();
        let text = format!("{} {} {}", self.link, self.mac, addresses.join(" "));
        names.other.insert(GATEWAY.to_owned(), text);
    }

    /// As recorded; `None` where neither side knows the other for good.
    #[must_use]
    pub fn of_names(names: &Names) -> Option<Self> {
        let mut words = names.other.get(GATEWAY)?.split(' ');
        let (link, mac) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let addresses = words.filter_map(|word| word.parse().ok()).collect();
        Some(Self {
            link,
            mac,
            addresses,
        })
    }
}

/// What a record says that node and container know. The container's side is left out if its namespace is not
/// the recorded one any more, or cannot be entered.
pub(super) fn known(kernel: &mut Kernel, record: &AttachmentRecord) -> Vec<Known> {
    let names = &record.names;
    let Some((gateway, mac)) = Gateway::of_names(names).zip(names.interface_mac) else {
        return Vec::new();
    };
    let addresses = record.addresses.iter();
    let held = addresses.map(|leased| leased.address.address());
    let at = |mac: Mac| move |address| Neighbour { address, mac };
    let of_node = Known {
        ns: Ns::Host,
        link: gateway.link,
        neighbours: held.map(at(mac)).collect(),
    };
    let of_container = container(kernel, record).map(|ns| Known {
        ns,
        link: record.key.interface,
        neighbours: gateway.addresses.into_iter().map(at(gateway.mac)).collect(),
    });
    [of_node].into_iter().chain(of_container).collect()
}

/// The container's namespace, opened.
fn container(kernel: &mut Kernel, record: &AttachmentRecord) -> Option<Ns> {
    let recorded = record.netns.as_ref()?;
    let netns = Netns::open(&recorded.path).ok()?;
    let found = netns.identity();
    if (recorded.device, recorded.inode) != (Some(found.dev), Some(found.ino)) {
        return None;
    }
    let ns = Ns::Container(recorded.path.display().to_string());
    kernel.admit(ns.clone(), netns);
    Some(ns)
}
