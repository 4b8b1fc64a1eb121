//! What is recorded of an attachment. The same JSON is the journal's payload and a cluster store's
//! value: unknown keys are ignored and missing ones have defaults, so that releases can be mixed.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use bulkhead_model::{
    AttachmentId, AttachmentKey, Bandwidth, IfName, InterfaceAddress, Mac, PortMapping,
};
use serde::{Deserialize, Serialize};

use crate::cluster::schema::PortName;

/// Labels, by key.
pub type Labels = BTreeMap<String, String>;

/// An attachment as recorded, with its lease and every name that was used for it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct AttachmentRecord {
    /// Network, container and interface.
    pub key: AttachmentKey,
    /// The store's number of the record that made this lease: unique in the network, rising. A
    /// release carries it, so that a late one cannot free what was given out anew.
    pub sequence: u64,
    /// The boot it was made in (`/proc/sys/kernel/random/boot_id`).
    pub boot_id: BootId,
    /// When, in milliseconds since 1970 (wall clock; for people, never for decisions).
    pub created_at_unix_ms: u64,
    /// The plugin that made it: `bridge`, `ipam`, ...
    pub kind: String,
    /// The container's network namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns: Option<Netns>,
    /// The names actually used.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    pub names: Names,
    /// A digest of the configuration it was made with; empty if the caller keeps none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub config_digest: String,
    /// Its addresses, in the order of the range sets; empty for layer 2 only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<LeasedAddress>,
    /// Who gave the addresses.
    pub ipam: Ipam,
    /// Whose container it is, if the runtime said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodRef>,
    /// Its labels, as the runtime passed them; empty in records of releases that kept none.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// Its ports that have names, as the runtime passed them, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortName>,
    /// The cluster's pool that the addresses come from; `None` where the network has ranges of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolLease>,
}

impl AttachmentRecord {
    /// The digest of the key.
    #[must_use]
    pub fn id(&self) -> AttachmentId {
        self.key.id()
    }
}

/// What a caller knows of an attachment before it has addresses.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Draft {
    /// Network, container and interface.
    pub key: AttachmentKey,
    /// The plugin that makes it: `bridge`, `ipam`, ...
    pub kind: String,
    /// The container's network namespace.
    pub netns: Option<Netns>,
    /// The names that will be used.
    pub names: Names,
    /// A digest of the configuration; may be empty.
    pub config_digest: String,
    /// Whose container it is, if the runtime says so.
    pub pod: Option<PodRef>,
    /// Its labels, as far as the runtime passes them.
    pub labels: Labels,
    /// Its ports that have names, as far as the runtime passes them, in order.
    pub ports: Vec<PortName>,
    /// The cluster's pool that its addresses come from.
    pub pool: Option<PoolLease>,
}

/// A pod of an orchestrator.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct PodRef {
    /// Its namespace.
    pub namespace: String,
    /// Its name, unique in the namespace at any time.
    pub name: String,
    /// Unique for ever: a pod that is made anew under the same name has another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
}

/// A place in a cluster's pool. The addresses of every family follow from the ordinal.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct PoolLease {
    /// The pool's name.
    pub pool: String,
    /// Which address of it, counted from 0.
    pub ordinal: u64,
}

/// A network namespace: its path, and what the path led to.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Netns {
    /// `CNI_NETNS`.
    pub path: PathBuf,
    /// `st_dev` of the namespace file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<u64>,
    /// `st_ino` of the namespace file: the kernel's number of the namespace while it lives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inode: Option<u64>,
}

/// Names and addresses of kernel objects as they were made. Derivation is for new attachments; an
/// old one is taken down by what is written here.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct Names {
    /// The host end of the veth.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<IfName>,
    /// The MAC of the host end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port_mac: Option<Mac>,
    /// The MAC of the container end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface_mac: Option<Mac>,
    /// The bridge that the port joined.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bridge: Option<IfName>,
    /// The ifb device that shapes what the container sends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ifb: Option<IfName>,
    /// The host ports that lead to the container.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub host_ports: Vec<PortMapping>,
    /// How fast the container may receive and send.
    #[serde(skip_serializing_if = "Bandwidth::is_unlimited")]
    pub bandwidth: Bandwidth,
    /// nftables tables with something of this attachment's: `family name`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<String>,
    /// Anything else, by a name of the plugin's.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub other: BTreeMap<String, String>,
}

impl Names {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// One address of a lease.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct LeasedAddress {
    /// The address, with the length of its subnet.
    pub address: InterfaceAddress,
    /// The subnet's gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// The range set it was taken from, counted from 0; 0 for a foreign IPAM's.
    #[serde(default)]
    pub range: u32,
}

/// Who gave an attachment its addresses.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Ipam {
    /// This store.
    Own,
    /// An IPAM plugin that has to be asked to release them.
    Delegated {
        /// Its `type`.
        plugin: String,
    },
    /// Nobody: layer 2 only.
    None,
}

/// A boot of the machine: the kernel's random id for it.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct BootId(pub(crate) String);

impl BootId {
    /// The id as the kernel writes it, a UUID.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
