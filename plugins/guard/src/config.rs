//! The configuration of `bulkhead-guard`: `guard`, `multicast`, `blocks`, `portFilter`, `stateDir`, and what the
//! runtime asked of the plugin before.

use std::collections::BTreeSet;
use std::net::IpAddr;

use bulkhead_attach::{GuardConfig, keys, policies};
use bulkhead_cni::json::{Field, FieldError, Object};
use bulkhead_cni::{Call, CniError};
use bulkhead_model::{InterfaceAddress, Mac, Prefix};
use bulkhead_plan::Hook;

/// A configuration with nothing wrong in it.
#[derive(Clone, Debug)]
pub struct Config {
    /// `guard` and `multicast`.
    pub guard: GuardConfig,
    /// `blocks`: of which addresses none is anybody's but a guarded container's of this node.
    pub blocks: BTreeSet<Prefix>,
    /// `portFilter`.
    pub hook: Hook,
    /// The MAC that the runtime asked for.
    pub mac: Option<Mac>,
    /// The addresses it asked for.
    pub addresses: Vec<IpAddr>,
}

/// Reads the configuration of a call.
///
/// # Errors
/// Code 7 naming the key, the value found and what it should be.
pub(crate) fn parse(call: &Call) -> Result<Config, CniError> {
    let root = call.config.root();
    bulkhead_attach::state_dir(call)?;
    if let Some(ipam) = root.optional("ipam") {
        return Err(ipam
            .unsupported("the addresses are those the plugin before it gave; remove the key")
            .into());
    }
    let is_policed = policies::is_asked(&root)?;
    if let Some(field) = root.optional("policy").filter(|_| is_policed) {
        let reason = "policies are enforced for containers of our own main plugins; remove the key";
        return Err(field.unsupported(reason).into());
    }
    Ok(Config {
        guard: GuardConfig::parse(call)?,
        blocks: blocks(&root)?,
        hook: keys::hook(&root)?,
        mac: keys::mac(call)?,
        addresses: requested(call)?,
    })
}

/// Prefixes that do not stand for every address.
fn blocks(root: &Object<'_>) -> Result<BTreeSet<Prefix>, FieldError> {
    let read = |field: &Field<'_>| {
        let prefix: Prefix = field.parse()?;
        if prefix.is_default() {
            return Err(field.invalid("a prefix of the network's own, such as its subnet"));
        }
        Ok(prefix)
    };
    root.items("blocks")?.iter().map(read).collect()
}

/// `runtimeConfig.ips`, `args.cni.ips` and `IP` of `CNI_ARGS`.
fn requested(call: &Call) -> Result<Vec<IpAddr>, CniError> {
    let mut all = addresses(&call.config.runtime_config()?)?;
    all.extend(addresses(&call.config.args_cni()?)?);
    if let Some(text) = call.arg("IP") {
        let read = address(&text).ok_or_else(|| {
            let reason = format!("{text:?} is no IP address");
            CniError::invalid_environment("CNI_ARGS IP", reason)
        });
        all.push(read?);
    }
    Ok(all)
}

fn addresses(object: &Object<'_>) -> Result<Vec<IpAddr>, FieldError> {
    let items = object.items("ips")?;
    let read = items.iter().map(|item| {
        address(item.str()?)
            .ok_or_else(|| item.invalid("an IP address, with its length or without"))
    });
    read.collect()
}

fn address(text: &str) -> Option<IpAddr> {
    let with_length = || {
        text.parse()
            .ok()
            .map(|both: InterfaceAddress| both.address())
    };
    text.parse().ok().or_else(with_length)
}
