//! `bulkhead-vxlan`: a network over many nodes. Each container has a link of its own to its node, or all are on
//! one segment, and each node has a VXLAN device (RFC 7348) that is told by the cluster's store which block of
//! addresses is behind which other node. Two pure functions: from a call to a typed [`Config`], and from that and what the
//! attachment was granted to what the kernel should hold. The device and the peers are the node
//! daemon's.

mod bridged;
mod config;

use bulkhead_attach::{
    Addressing, Capabilities, Grant, Inspection, Layer3, Network, Origin, OverlayAsk, OverlayEnd,
    Rehearsal, policies,
};
use bulkhead_cni::{Call, CniError};
use bulkhead_ipam::Names;
use bulkhead_model::{AttachmentKey, IfName};
use bulkhead_plan::Attached;

pub use bridged::bridge as segment_bridge;
pub use config::Config;

impl Network for Config {
    const KIND: &'static str = "vxlan";
    const ABOUT: &'static str =
        "one network over many nodes: a link for each container, a route for each node's block";

    fn parse(call: &Call) -> Result<Self, CniError> {
        config::parse(call)
    }

    fn addressing(&self) -> &Addressing {
        &self.link.addressing
    }

    fn capabilities(&self) -> &Capabilities {
        &self.link.capabilities
    }

    fn bridge(&self) -> Option<IfName> {
        self.bridge
    }

    fn overlay(&self) -> Option<&OverlayAsk> {
        Some(&self.overlay)
    }

    fn needs_daemon(&self) -> Option<&'static str> {
        self.link.policed.then_some(policies::NEEDED)
    }

    fn is_policed(&self) -> bool {
        self.link.policed
    }

    fn names(&self, key: &AttachmentKey) -> Names {
        let names = self.link.names(key);
        if self.bridge.is_none() {
            return names;
        }
        Names {
            port_mac: Some(key.id().port_mac()),
            bridge: self.bridge,
            ..names
        }
    }

    fn want(&self, grant: &Grant) -> Result<Attached, CniError> {
        if self.bridge.is_some() {
            return bridged::want(&self.link, grant);
        }
        let recorded = OverlayEnd::of_names(&grant.names);
        let mtu = recorded.map(|end| end.mtu).or(self.link.mtu);
        let link = Layer3 {
            mtu,
            ..self.link.clone()
        };
        // Of the pools' addresses those that no node has are looked for nowhere, this node's own and
        // everybody's; a route to a block or a container is longer.
        link.want(grant, grant.subnets.clone())
    }

    fn origins(&self, call: &Call, seen: &Inspection, rehearsal: &Rehearsal) -> Vec<Origin> {
        if self.bridge.is_some() {
            return bridged::origins(call, seen, rehearsal);
        }
        Layer3::origins(call, seen, rehearsal, Vec::new())
    }
}
