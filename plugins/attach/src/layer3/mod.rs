//! A network without a segment: each container has a link of its own to the node, which routes everything.
//! Gateway `fe80::1` and, where there is IPv4, `169.254.1.1`; permanent neighbours on both sides.

mod origins;
mod want;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bulkhead_cni::json::{FieldError, Object};
use bulkhead_cni::{Call, CniError};
use bulkhead_ipam::Names;
use bulkhead_model::{AttachmentKey, Family, Mac, Mtu, Prefix};
use bulkhead_plan::{Attached, Hook};

pub(crate) use want::{gateways, inward, known, node_seen, to_node};

use crate::{
    Addressing, Capabilities, GUARD, Grant, GuardConfig, Inspection, Masquerade, Origin, Rehearsal,
    keys, policies,
};

/// What every container calls its IPv6 gateway: the same on each link, so that nothing in a container
/// depends on where it runs.
pub const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
/// What it calls its IPv4 gateway: an address of no subnet (RFC 3927), which no interface has.
const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// The MAC of every port: locally administered (RFC 7042 section 2.1), and not of any container.
const PORT_MAC: [u8; 6] = [0xfe, 0x62, 0x68, 0, 0, 1];

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

/// What such a network's configuration has, whatever else it is.
#[derive(Clone, Debug)]
pub struct Layer3 {
    /// `ipMasq`.
    pub masquerade: Masquerade,
    /// `mtu`; `None` is Ethernet's.
    pub mtu: Option<Mtu>,
    /// `guard`.
    pub guard: GuardConfig,
    /// `portFilter`.
    pub hook: Hook,
    /// `runtimeConfig.mac`, else `args.cni.mac`, else `MAC` of `CNI_ARGS`.
    pub mac: Option<Mac>,
    /// `ipam`; not [`Addressing::None`].
    pub addressing: Addressing,
    /// `runtimeConfig`.
    pub capabilities: Capabilities,
    /// `policy`.
    pub policed: bool,
}

impl Layer3 {
    /// Reads the configuration of a call. `addressing` has the last word on where addresses come from,
    /// and may learn something of its own there.
    ///
    /// # Errors
    /// Code 7 naming the key, the value found and what it should be; code 2 for what a link of two has
    /// not.
    pub fn parse<T>(
        call: &Call,
        addressing: impl FnOnce(Addressing) -> Result<(T, Addressing), CniError>,
    ) -> Result<(T, Self), CniError> {
        refuse_segment(&call.config.root())?;
        let (learnt, link) = Self::parse_anywhere(call, addressing)?;
        let guard = link.guard.refuse_groups()?;
        Ok((learnt, Self { guard, ..link }))
    }

    /// The same, of an attachment that may be on a segment for all it says.
    ///
    /// # Errors
    /// As [`Layer3::parse`].
    pub fn parse_anywhere<T>(
        call: &Call,
        addressing: impl FnOnce(Addressing) -> Result<(T, Addressing), CniError>,
    ) -> Result<(T, Self), CniError> {
        let root = call.config.root();
        crate::state_dir(call)?;
        let parsed = Addressing::parse(call)?;
        if matches!(parsed, Addressing::None) {
            let text =
                "ipam: missing, and nothing but addresses is routed to a container: add \"ipam\"";
            return Err(CniError::invalid_config(text));
        }
        let (learnt, addressing) = addressing(parsed)?;
        let link = Self {
            masquerade: keys::masquerade(&root)?,
            mtu: keys::mtu(&root, &addressing)?,
            guard: GuardConfig::parse(call)?,
            hook: keys::hook(&root)?,
            mac: keys::mac(call)?,
            addressing,
            capabilities: Capabilities::parse(call)?,
            policed: policies::is_asked(&root)?,
        };
        Ok((learnt, link))
    }

    /// The names to be used for a new attachment.
    #[must_use]
    pub fn names(&self, key: &AttachmentKey) -> Names {
        let id = key.id();
        Names {
            port: Some(id.port()),
            port_mac: Some(port_mac()),
            interface_mac: Some(self.mac.unwrap_or_else(|| id.interface_mac())),
            other: [(GUARD.to_owned(), self.guard.to_string())].into(),
            ..Names::default()
        }
    }

    /// What the kernel should hold for an attachment. What is for an address of `blackholes` that no
    /// attachment holds is looked for nowhere.
    ///
    /// # Errors
    /// Code 7 if what an IPAM plugin granted contradicts the configuration: no address, IPv6 under too
    /// small an MTU, or a route whose gateway is on no link of the container.
    pub fn want(&self, grant: &Grant, blackholes: Vec<Prefix>) -> Result<Attached, CniError> {
        want::link(self, grant, blackholes)
    }

    /// Where each value of such an attachment comes from; `besides` is what a plugin has on the port of its
    /// own.
    #[must_use]
    pub fn origins(
        call: &Call,
        seen: &Inspection,
        rehearsal: &Rehearsal,
        besides: Vec<Origin>,
    ) -> Vec<Origin> {
        origins::of(call, seen, rehearsal, besides)
    }
}

/// There is no segment that a group's frames could be sent to, and no bridge to name.
fn refuse_segment(root: &Object<'_>) -> Result<(), FieldError> {
    if let Some(multicast) = root.optional("multicast") {
        match multicast.str()? {
            "none" => {}
            "link-local" | "all" => {
                return Err(multicast.unsupported(
                    "a container's link ends at the node, and nothing sends groups on; set \"none\", or use bulkhead-bridge",
                ));
            }
            _ => return Err(multicast.invalid("\"none\"")),
        }
    }
    match root.optional("bridge") {
        Some(bridge) => Err(bridge.unsupported(
            "each container has a link of its own; remove the key, or use bulkhead-bridge",
        )),
        None => Ok(()),
    }
}
