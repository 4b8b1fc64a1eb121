//! `bulkhead-ipv6`: layer 3 only. Each container has a link of its own to the node, and no segment:
//! gateway `fe80::1` and, where there is IPv4, `169.254.1.1`; a /128 and a /32, or a whole /64
//! (RFC 8273); permanent neighbours on both sides. Two pure functions: from a call to a typed
//! [`Config`], and from that and what the attachment was granted to what the kernel should hold.

mod advertisements;
mod config;

use bulkhead_attach::{
    Addressing, Capabilities, Grant, Inspection, Layer3, Network, Origin, PREFIX, Rehearsal,
    policies,
};
use bulkhead_cni::{Call, CniError};
use bulkhead_ipam::Names;
use bulkhead_model::{AttachmentKey, Family, IfName};
use bulkhead_plan::{Advertised, Attached};

use advertisements::ADVERTISEMENTS;

pub use advertisements::{Advertisements, Domain, OwnAddresses, OwnPrefix, Preference};
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
        let advertised = self.advertisements.as_ref();
        let advertised = advertised.map(|all| (ADVERTISEMENTS.to_owned(), all.to_string()));
        names.other.extend(self.prefixes.then(|| yes(PREFIX)));
        names.other.extend(advertised);
        names
    }

    fn needs_daemon(&self) -> Option<&'static str> {
        let advertised = self.advertisements.as_ref();
        let advertised = advertised.map(|_| "routerAdvertisements: the node daemon advertises");
        advertised.or(self.link.policed.then_some(policies::NEEDED))
    }

    fn is_policed(&self) -> bool {
        self.link.policed
    }

    fn want(&self, grant: &Grant) -> Result<Attached, CniError> {
        let blackholes = self.link.addressing.own_blocks(&grant.subnets);
        let mut want = self.link.want(grant, blackholes)?;
        let advertised = advertised(&grant.names);
        if advertised != Advertised::Nothing && !grant.has(Family::V6) {
            return Err(config::no_ipv6());
        }
        want.interface.advertised = advertised;
        Ok(want)
    }

    fn origins(&self, call: &Call, seen: &Inspection, rehearsal: &Rehearsal) -> Vec<Origin> {
        let advertised = Advertisements::recorded(&seen.grant.names);
        let advertised = advertised.map(|advertised| {
            let source = "routerAdvertisements, recorded; sent by bulkheadd from fe80::1";
            Origin::new("router advertisement", advertised, source)
        });
        let besides = advertised.into_iter().collect();
        Layer3::origins(call, seen, rehearsal, besides)
    }
}

/// What the interface takes from what is advertised: addresses only of a prefix that is its own, which
/// the guard lets it use.
fn advertised(names: &Names) -> Advertised {
    match Advertisements::recorded(names).map(|recorded| recorded.prefix) {
        None => Advertised::Nothing,
        Some(Some(prefix)) if prefix.addresses == OwnAddresses::Autonomous => Advertised::Addresses,
        Some(_) => Advertised::Parameters,
    }
}
