//! `bulkhead-ipv6`: layer 3 only. Each container has a link of its own to the node, and no segment:
//! gateway `fe80::1` and, where there is IPv4, `169.254.1.1`; a /128 and a /32, or a whole /64
//! (RFC 8273); permanent neighbours on both sides. Two pure functions: from a call to a typed
//! [`Config`], and from that and what the attachment was granted to what the kernel should hold.

mod config;

use bulkhead_attach::{
    Addressing, Capabilities, Grant, Inspection, Layer3, Network, Origin, PREFIX, Rehearsal,
};
use bulkhead_cni::{Call, CniError};
use bulkhead_ipam::Names;
use bulkhead_model::{AttachmentKey, IfName};
use bulkhead_plan::Attached;

pub use config::Config;

/// The prefix that a container gets whole, if it gets one (RFC 8273 section 4).
const PREFIX_LEN: u8 = 64;

impl Network for Config {
    const KIND: &'static str = "ipv6";
    const ABOUT: &'static str =
        "layer 3 only: a link, a /128 or a /64 for each container, no segment";

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
        None
    }

    fn names(&self, key: &AttachmentKey) -> Names {
        let mut names = self.link.names(key);
        let yes = |name: &str| (name.to_owned(), "yes".to_owned());
        names.other.extend(self.prefixes.then(|| yes(PREFIX)));
        names
    }

    fn want(&self, grant: &Grant) -> Result<Attached, CniError> {
        let blackholes = self.link.addressing.own_blocks(&grant.subnets);
        self.link.want(grant, blackholes)
    }

    fn origins(&self, call: &Call, seen: &Inspection, rehearsal: &Rehearsal) -> Vec<Origin> {
        Layer3::origins(call, seen, rehearsal)
    }
}
