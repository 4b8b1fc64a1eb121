//! The configuration of `bulkhead-ipv6`: `ipam`, `prefixPerContainer`, `mtu`, `ipMasq`, `guard`,
//! `multicast`, `routerAdvertisements`, `portFilter`, `stateDir`, and what the runtime asks for.

use bulkhead_attach::{Addressing, Capabilities, GuardConfig, Masquerade, keys};
use bulkhead_cni::json::{FieldError, Object};
use bulkhead_cni::{Call, CniError};
use bulkhead_model::{Family, Mac, Mtu};
use bulkhead_plan::Hook;

use crate::PREFIX_LEN;
use crate::advertisements::Advertisements;
use crate::advertisements::keys::Around;

/// A configuration with nothing wrong in it.
#[derive(Clone, Debug)]
pub struct Config {
    /// `prefixPerContainer`: each container has a /64 of its own, instead of an IPv6 address.
    pub prefixes: bool,
    /// `ipMasq`.
    pub masquerade: Masquerade,
    /// `mtu`; `None` is Ethernet's.
    pub mtu: Option<Mtu>,
    /// `guard`.
    pub guard: GuardConfig,
    /// `routerAdvertisements`.
    pub advertisements: Option<Advertisements>,
    /// `portFilter`.
    pub hook: Hook,
    /// `runtimeConfig.mac`, else `args.cni.mac`, else `MAC` of `CNI_ARGS`.
    pub mac: Option<Mac>,
    /// `ipam`; not [`Addressing::None`].
    pub addressing: Addressing,
    /// `runtimeConfig`.
    pub capabilities: Capabilities,
}

/// Reads the configuration of a call.
///
/// # Errors
/// Code 7 naming the key, the value found and what it should be; code 2 for what a link of two has not.
pub(crate) fn parse(call: &Call) -> Result<Config, CniError> {
    let root = call.config.root();
    bulkhead_attach::state_dir(call)?;
    refuse_segment(&root)?;
    let prefixes = root
        .optional_bool("prefixPerContainer")?
        .unwrap_or_default();
    let addressing = Addressing::parse(call)?;
    if matches!(addressing, Addressing::None) {
        let text =
            "ipam: missing, and nothing but addresses is routed to a container: add \"ipam\"";
        return Err(CniError::invalid_config(text));
    }
    let addressing = if prefixes {
        addressing.per_prefix(call, PREFIX_LEN)?
    } else {
        addressing
    };
    let mtu = keys::mtu(&root, &addressing)?;
    let capabilities = Capabilities::parse(call)?;
    let advertisements = advertisements(call, prefixes, mtu, &capabilities)?;
    let guard = GuardConfig {
        configured: advertisements
            .as_ref()
            .is_some_and(|all| all.refresh_secs.is_some()),
        ..GuardConfig::parse(call)?
    };
    if advertisements.is_some() && has_ipv4_alone(&addressing) {
        return Err(no_ipv6());
    }
    Ok(Config {
        prefixes,
        masquerade: keys::masquerade(&root)?,
        mtu,
        guard,
        advertisements,
        hook: keys::hook(&root)?,
        mac: keys::mac(call)?,
        addressing,
        capabilities,
    })
}

fn advertisements(
    call: &Call,
    prefixes: bool,
    mtu: Option<Mtu>,
    asked: &Capabilities,
) -> Result<Option<Advertisements>, FieldError> {
    let around = Around {
        prefixes,
        mtu: mtu.unwrap_or(Mtu::ETHERNET),
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
