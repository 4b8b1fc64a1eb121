//! The configuration of `bulkhead-ipv6`: `ipam`, `prefixPerContainer`, `mtu`, `ipMasq`, `guard`,
//! `multicast`, `routerAdvertisements`, `portFilter`, `stateDir`, and what the runtime asks for.

use bulkhead_attach::{Addressing, Layer3};
use bulkhead_cni::json::FieldError;
use bulkhead_cni::{Call, CniError};
use bulkhead_model::{Family, Mtu};

use crate::PREFIX_LEN;
use crate::advertisements::Advertisements;
use crate::advertisements::keys::Around;

/// A configuration with nothing wrong in it.
#[derive(Clone, Debug)]
pub struct Config {
    /// `prefixPerContainer`: each container has a /64 of its own, instead of an IPv6 address.
    pub prefixes: bool,
    /// What every network without a segment has.
    pub link: Layer3,
    /// `routerAdvertisements`.
    pub advertisements: Option<Advertisements>,
}

/// Reads the configuration of a call.
///
/// # Errors
/// Code 7 naming the key, the value found and what it should be; code 2 for what a link of two has not.
pub(crate) fn parse(call: &Call) -> Result<Config, CniError> {
    let root = call.config.root();
    let prefixes = |addressing: Addressing| {
        if root
            .optional_bool("prefixPerContainer")?
            .unwrap_or_default()
        {
            Ok((true, addressing.per_prefix(call, PREFIX_LEN)?))
        } else {
            Ok((false, addressing))
        }
    };
    let (prefixes, mut link) = Layer3::parse(call, prefixes)?;
    let advertisements = advertisements(call, prefixes, &link)?;
    if advertisements.is_some() && has_ipv4_alone(&link.addressing) {
        return Err(no_ipv6());
    }
    link.guard.configured = advertisements
        .as_ref()
        .is_some_and(|all| all.refresh_secs.is_some());
    Ok(Config {
        prefixes,
        link,
        advertisements,
    })
}

fn advertisements(
    call: &Call,
    prefixes: bool,
    link: &Layer3,
) -> Result<Option<Advertisements>, FieldError> {
    let asked = &link.capabilities;
    let around = Around {
        prefixes,
        mtu: link.mtu.unwrap_or(Mtu::ETHERNET),
        dns: if asked.dns.is_empty() {
            &call.config.dns
        } else {
            &asked.dns
        },
    };
    Advertisements::parse(&call.config.root(), &around)
}

/// Whether that is known before an address is granted.
fn has_ipv4_alone(addressing: &Addressing) -> bool {
    addressing.has_family(Family::V4) && !addressing.has_family(Family::V6)
}

/// What is advertised is IPv6.
pub(crate) fn no_ipv6() -> CniError {
    let text = "routerAdvertisements: the container has no IPv6 address, and they are of IPv6: add an IPv6 range to \"ipam\", or remove the key";
    CniError::invalid_config(text)
}
