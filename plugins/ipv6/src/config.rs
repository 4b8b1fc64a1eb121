//! The configuration of `bulkhead-ipv6`: `ipam`, `prefixPerContainer`, `mtu`, `ipMasq`, `guard`,
//! `multicast`, `portFilter`, `stateDir`, and what the runtime asks for.

use bulkhead_attach::{Addressing, Layer3};
use bulkhead_cni::{Call, CniError};

use crate::PREFIX_LEN;

/// A configuration with nothing wrong in it.
#[derive(Clone, Debug)]
pub struct Config {
    /// `prefixPerContainer`: each container has a /64 of its own, instead of an IPv6 address.
    pub prefixes: bool,
    /// What every network without a segment has.
    pub link: Layer3,
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
    let (prefixes, link) = Layer3::parse(call, prefixes)?;
    Ok(Config { prefixes, link })
}
