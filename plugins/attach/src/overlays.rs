//! Networks that nodes have together: what a call asks of whoever keeps the node's end of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use bulkhead_cni::{Call, CniError};
use bulkhead_ipam::Names;
use bulkhead_ipam::cluster::PoolName;
use bulkhead_model::{AttachmentKey, Encryption, IfName, Mtu, NetworkName, Vni};
use serde::{Deserialize, Serialize};

use crate::{Host, state_dir};

/// Among the other names of a record: [`OverlayEnd`].
const OVERLAY: &str = "overlay";

/// Among the other names of a record whose MTU was followed: those of before, which ADD may have answered.
const FORMER_MTUS: &str = "formerMtus";

/// The node's ends of overlays.
pub trait Overlays: Send + Sync {
    /// Sees to it that the node has its end of a network and knows the others, before an attachment of it
    /// is recorded. It may wait for the cluster's store if the node has none of the network's attachments
    /// yet.
    ///
    /// # Errors
    /// Code 7 if the network cannot be had as it is asked for, 11 if the same call later may succeed.
    fn join(&self, key: &AttachmentKey, ask: &OverlayAsk) -> Result<OverlayEnd, CniError>;

    /// Whether [`Overlays::join`] would succeed now.
    ///
    /// # Errors
    /// As it.
    fn serves(&self, network: &NetworkName, ask: &OverlayAsk) -> Result<(), CniError>;

    /// What the kernel has of a network otherwise than the others and the node itself say, and goes on to
    /// have: the lines that mend it, and at most so many. Nothing is said of a network whose others are not
    /// known yet.
    ///
    /// # Errors
    /// Code 102 if something is in the way, 5 if the kernel does not say.
    fn differs(&self, network: &NetworkName) -> Result<Vec<String>, CniError>;
}

/// What a network asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OverlayAsk {
    /// Its identifier.
    pub vni: Vni,
    /// The UDP port.
    pub port: u16,
    /// Its pools; no other overlay has one of them.
    pub pools: Vec<PoolName>,
    /// What the underlay is reached by on this node, if not by what the daemon's configuration says.
    pub underlay: Option<Underlay>,
    /// The MTU, if it is to be less than the underlay leaves.
    pub mtu: Option<Mtu>,
    /// Whether peers on a link of the node's are sent to without encapsulation.
    pub direct: bool,
    /// What the device does to packets.
    pub tuning: Tuning,
    /// How packets between nodes are protected.
    pub encryption: Encryption,
    /// What is asked of the segment, if the network is one over all nodes; else each container has a link
    /// of its own.
    pub segment: Option<SegmentAsk>,
}

/// What a VXLAN device does to packets that not every underlay needs.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct Tuning {
    /// Whether TCP connections over it are told what their way carries (`mssClamp`).
    pub mss_clamp: bool,
    /// Whether checksums are there before it takes a packet, and left to no link below (`txChecksum` off).
    pub own_checksums: bool,
}

/// What a network asks for that is one segment over all nodes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SegmentAsk {
    /// Whether IPv4 leaves it, behind the node's address.
    pub v4: bool,
    /// Whether IPv6 does.
    pub v6: bool,
    /// Whether what is for everybody or a group is sent to every node.
    pub replicate: bool,
}

/// What a node is reached by from the others.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Underlay {
    /// One of its addresses.
    Address(IpAddr),
    /// The first address of a link: IPv4 before IPv6, none of its link alone.
    Link(IfName),
}

impl FromStr for Underlay {
    type Err = bulkhead_model::ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(address) => Ok(Self::Address(address)),
            Err(_) => text.parse().map(Self::Link),
        }
    }
}

impl fmt::Display for Underlay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Link(link) => link.fmt(f),
        }
    }
}

/// A node's end of a network, as it is recorded with each attachment: whoever finds one knows what the
/// node has to have for it, also while the store is not there.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct OverlayEnd {
    /// The network's identifier.
    pub vni: Vni,
    /// The UDP port.
    pub port: u16,
    /// The network's pools, as this node knows them.
    pub pools: Vec<PoolName>,
    /// What the node is reached by, if that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub underlay: Option<Underlay>,
    /// The node's address in the underlay.
    pub local: IpAddr,
    /// What a packet of a container may have, in bytes.
    pub mtu: Mtu,
    /// The most that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most: Option<Mtu>,
    /// Whether peers on a link of the node's are sent to without encapsulation.
    pub direct: bool,
    /// What the device does to packets.
    #[serde(default)]
    pub tuning: Tuning,
    /// How packets between nodes are protected.
    #[serde(default, skip_serializing_if = "Encryption::is_none")]
    pub encryption: Encryption,
    /// The node's part of the segment, if the network is one over all nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment: Option<SegmentEnd>,
}

/// A node's part of a network's segment.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct SegmentEnd {
    /// The path of the namespace that the network has for itself.
    pub netns: String,
    /// The number of its exit among those of the node, from 1 on.
    pub exit: u16,
    /// The node's link-local address there, by which other nodes ask whether it is reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<Ipv6Addr>,
    /// Whether IPv4 leaves the segment.
    pub v4: bool,
    /// Whether IPv6 does.
    pub v6: bool,
    /// Whether what is for everybody or a group is sent to every node.
    pub replicate: bool,
}

impl SegmentEnd {
    /// What it was asked for.
    #[must_use]
    pub const fn ask(&self) -> SegmentAsk {
        SegmentAsk {
            v4: self.v4,
            v6: self.v6,
            replicate: self.replicate,
        }
    }
}

impl OverlayEnd {
    /// The end in an attachment's names.
    #[must_use]
    pub fn of_names(names: &Names) -> Option<Self> {
        serde_json::from_str(names.other.get(OVERLAY)?).ok()
    }

    /// Notes it among the names of an attachment that is about to be recorded.
    pub(crate) fn note(&self, names: &mut Names) {
        let text = serde_json::to_string(self).expect("a struct with text keys");
        names.other.insert(OVERLAY.to_owned(), text);
    }
}

/// The MTUs that an attachment had before it followed the underlay's.
pub(crate) fn former_mtus(names: &Names) -> BTreeSet<Mtu> {
    let noted = names.other.get(FORMER_MTUS).map_or("", String::as_str);
    let parsed = noted.split(' ').filter_map(|text| text.parse().ok());
    parsed.filter_map(Mtu::new).collect()
}

/// The other names of an attachment whose network's end on this node is by now as `end` says.
pub(crate) fn followed(names: &Names, end: &OverlayEnd) -> BTreeMap<String, String> {
    let mut followed = names.clone();
    let mut former = former_mtus(names);
    former.extend(OverlayEnd::of_names(names).map(|before| before.mtu));
    let former: Vec<String> = former.iter().map(ToString::to_string).collect();
    let noted = former.join(" ");
    followed.other.insert(FORMER_MTUS.to_owned(), noted);
    end.note(&mut followed);
    followed.other
}

/// The node's ends of overlays.
///
/// # Errors
/// Code 11 without a node daemon.
pub(crate) fn of(host: &dyn Host, call: &Call) -> Result<std::sync::Arc<dyn Overlays>, CniError> {
    let Some(overlays) = host.overlays() else {
        return Err(CniError::try_again(format!(
            "network {}: what nodes have together is kept up by the node daemon, and none manages state directory {}: start bulkheadd, with an etcd as its store",
            call.config.name,
            state_dir(call)?.display()
        )));
    };
    Ok(overlays)
}
