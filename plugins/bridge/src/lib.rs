//! `bulkhead-bridge`: one Linux bridge per network and node. It reads the keys of the reference
//! `bridge` plugin, so that a configuration moves over by changing `type`. Two pure functions: from a
//! call to a typed [`Config`], and from that and what the attachment was granted to what the kernel
//! should hold.

mod config;
mod origins;
mod want;

use bulkhead_attach::{
    Addressing, Capabilities, GUARD, Grant, Inspection, Network, Origin, Rehearsal, policies,
};
use bulkhead_cni::{Call, CniError};
use bulkhead_ipam::Names;
use bulkhead_model::{AttachmentKey, IfName};
use bulkhead_plan::Attached;

pub use config::{Config, Gateway, Segmentation};

/// Among the other names of a record: present if its port is in hairpin mode for its host ports, had or
/// waited for. With `br_netfilter` a container's packet to its own host port is turned round on the
/// bridge, and has to leave by the port it came in by. A promiscuous bridge takes it up instead.
pub(crate) const REFLECTS: &str = "reflects";

impl Network for Config {
    const KIND: &'static str = "bridge";
    const ABOUT: &'static str = "a Linux bridge per network, dual stack, filtered ports";

    fn parse(call: &Call) -> Result<Self, CniError> {
        config::parse(call)
    }

    fn addressing(&self) -> &Addressing {
        &self.addressing
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn bridge(&self) -> Option<IfName> {
        Some(self.bridge)
    }

    fn needs_daemon(&self) -> Option<&'static str> {
        self.policed.then_some(policies::NEEDED)
    }

    fn is_policed(&self) -> bool {
        self.policed
    }

    fn names(&self, key: &AttachmentKey) -> Names {
        let id = key.id();
        let yes = |name: &str| (name.to_owned(), "yes".to_owned());
        let guard = (GUARD.to_owned(), self.guard.to_string());
        let asked = !self.capabilities.host_ports.is_empty();
        let reflects = (asked && !self.promiscuous).then(|| yes(REFLECTS));
        Names {
            port: Some(id.port()),
            port_mac: Some(id.port_mac()),
            interface_mac: Some(self.mac.unwrap_or_else(|| id.interface_mac())),
            bridge: Some(self.bridge),
            other: reflects.into_iter().chain([guard]).collect(),
            ..Names::default()
        }
    }

    fn want(&self, grant: &Grant) -> Result<Attached, CniError> {
        want::bridge(self, grant)
    }

    fn origins(&self, call: &Call, seen: &Inspection, rehearsal: &Rehearsal) -> Vec<Origin> {
        origins::of(call, seen, rehearsal)
    }
}
