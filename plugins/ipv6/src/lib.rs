//! `bulkhead-ipv6`: layer 3 only. Each container has a link of its own to the node, and no segment:
//! gateway `fe80::1` and, where there is IPv4, `169.254.1.1`; a /128 and a /32, or a whole /64
//! (RFC 8273); permanent neighbours on both sides. Two pure functions: from a call to a typed
//! [`Config`], and from that and what the attachment was granted to what the kernel should hold.

mod advertisements;
mod config;
mod origins;
mod want;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bulkhead_attach::{
    Addressing, Capabilities, GUARD, Grant, Inspection, Network, Origin, PREFIX, Rehearsal,
};
use bulkhead_cni::{Call, CniError};
use bulkhead_ipam::Names;
use bulkhead_model::{AttachmentKey, Family, IfName, Mac};
use bulkhead_plan::Attached;

use advertisements::ADVERTISEMENTS;

pub use advertisements::{Advertisements, Domain, OwnAddresses, OwnPrefix, Preference};
pub use config::Config;

/// What every container calls its IPv6 gateway: the same on each link, so that nothing in a container
/// depends on where it runs.
pub const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
/// What it calls its IPv4 gateway: an address of no subnet (RFC 3927), which no interface has.
const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// The MAC of every port: locally administered (RFC 7042 section 2.1), and not of any container.
const PORT_MAC: [u8; 6] = [0xfe, 0x62, 0x68, 0, 0, 1];
/// The prefix that a container gets whole, if it gets one (RFC 8273 section 4).
const PREFIX_LEN: u8 = 64;

fn gateway(family: Family) -> IpAddr {
    match family {
        Family::V4 => GATEWAY_V4.into(),
        Family::V6 => GATEWAY_V6.into(),
    }
}

/// The MAC of every port.
#[must_use]
pub fn port_mac() -> Mac {
    Mac::new(PORT_MAC).expect("a unicast MAC")
}

impl Network for Config {
    const KIND: &'static str = "ipv6";
    const ABOUT: &'static str =
        "layer 3 only: a link, a /128 or a /64 for each container, no segment";

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
        None
    }

    fn names(&self, key: &AttachmentKey) -> Names {
        let id = key.id();
        let yes = |name: &str| (name.to_owned(), "yes".to_owned());
        let prefix = self.prefixes.then(|| yes(PREFIX));
        let guard = (GUARD.to_owned(), self.guard.to_string());
        let advertised = self.advertisements.as_ref();
        let advertised = advertised.map(|all| (ADVERTISEMENTS.to_owned(), all.to_string()));
        Names {
            port: Some(id.port()),
            port_mac: Some(port_mac()),
            interface_mac: Some(self.mac.unwrap_or_else(|| id.interface_mac())),
            other: prefix
                .into_iter()
                .chain([guard])
                .chain(advertised)
                .collect(),
            ..Names::default()
        }
    }

    fn needs_daemon(&self) -> Option<&'static str> {
        let advertised = self.advertisements.as_ref();
        advertised.map(|_| "routerAdvertisements: the node daemon advertises")
    }

    fn want(&self, grant: &Grant) -> Result<Attached, CniError> {
        want::link(self, grant)
    }

    fn origins(&self, call: &Call, seen: &Inspection, rehearsal: &Rehearsal) -> Vec<Origin> {
        origins::of(call, seen, rehearsal)
    }
}
