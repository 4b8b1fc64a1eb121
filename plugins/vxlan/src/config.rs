//! The configuration of `bulkhead-vxlan`: `mode`, `replication`, `vni`, `port`, `underlay`, `directRouting`,
//! `mssClamp`, `txChecksum`, `encryption`, `ipam`, `mtu`, `ipMasq`, `guard`, `multicast`, `portFilter`, `stateDir`, and
//! what the runtime asks for.

use bulkhead_attach::{Addressing, Layer3, OverlayAsk, Source, Tuning, Underlay, keys};
use bulkhead_cni::json::{FieldError, Object};
use bulkhead_cni::{Call, CniError};
use bulkhead_ipam::PoolChoice;
use bulkhead_ipam::cluster::PoolName;
use bulkhead_model::{Encryption, Family, IfName, Mtu, VXLAN_PORT, Vni};

use crate::bridged;

/// A configuration with nothing wrong in it.
#[derive(Clone, Debug)]
pub struct Config {
    /// What every network without a segment has.
    pub link: Layer3,
    /// What is asked of the node's end.
    pub overlay: OverlayAsk,
    /// The bridge that ports join, in a namespace of the network's own, if it is one segment.
    pub bridge: Option<IfName>,
}

/// Reads the configuration of a call.
///
/// # Errors
/// Code 7 naming the key, the value found and what it should be; code 2 for what no overlay has.
pub(crate) fn parse(call: &Call) -> Result<Config, CniError> {
    let root = call.config.root();
    keys::refuse_prefixes(&root)?;
    let named = |addressing| {
        let pools = pools(&addressing)?;
        Ok((pools, addressing))
    };
    let (pools, link, segment) = match mode(&root)? {
        Mode::Routed => {
            refuse_replication(&root)?;
            let (pools, link) = Layer3::parse(call, named)?;
            (pools, link, None)
        }
        Mode::Bridged => {
            let (pools, link) = Layer3::parse_anywhere(call, named)?;
            bridged::refuse_more(&pools)?;
            let segment = bridged::ask(&call.config.name, &root, &link)?;
            (pools, link, Some(segment))
        }
    };
    let encryption = encryption(&root)?;
    let overlay = OverlayAsk {
        vni: vni(&root)?.unwrap_or_else(|| call.config.name.vni()),
        port: port(&root)?,
        pools,
        underlay: underlay(&root)?,
        mtu: link.mtu,
        direct: root.optional_bool("directRouting")?.unwrap_or_default(),
        tuning: Tuning {
            mss_clamp: root.optional_bool("mssClamp")?.unwrap_or_default(),
            own_checksums: !root.optional_bool("txChecksum")?.unwrap_or(true),
        },
        encryption,
        segment,
    };
    refuse_small(&root, link.mtu)?;
    let bridge = segment.map(|_| call.config.name.segment_bridge());
    Ok(Config {
        link,
        overlay,
        bridge,
    })
}

/// How containers are joined.
enum Mode {
    Routed,
    Bridged,
}

fn mode(root: &Object<'_>) -> Result<Mode, FieldError> {
    let Some(mode) = root.optional("mode") else {
        return Ok(Mode::Routed);
    };
    match mode.str()? {
        "routed" => Ok(Mode::Routed),
        "bridged" => Ok(Mode::Bridged),
        _ => Err(mode.invalid("\"routed\" or \"bridged\"")),
    }
}

/// There is no segment whose frames could be replicated.
fn refuse_replication(root: &Object<'_>) -> Result<(), FieldError> {
    match root.optional("replication") {
        Some(field) if field.bool()? => Err(field.unsupported(
            "with \"mode\": \"routed\" there is no segment; remove the key, or set \"mode\": \"bridged\"",
        )),
        _ => Ok(()),
    }
}

/// What is sent to peers as it is would not be encrypted.
fn encryption(root: &Object<'_>) -> Result<Encryption, FieldError> {
    let Some(field) = root.optional("encryption") else {
        return Ok(Encryption::None);
    };
    let encryption: Encryption = field.parse_as("\"none\" or \"ipsec\"")?;
    if !encryption.is_none() && root.optional_bool("directRouting")?.unwrap_or_default() {
        return Err(field.invalid(
            "\"none\" where \"directRouting\" is true: what is sent without encapsulation is sent as it is; leave one of them out",
        ));
    }
    Ok(encryption)
}

fn vni(root: &Object<'_>) -> Result<Option<Vni>, FieldError> {
    let Some(field) = root.optional("vni") else {
        return Ok(None);
    };
    let expected = "a VXLAN network identifier of 1 to 16777215 (RFC 7348 section 5)";
    let number = field.u32().map_err(|_| field.invalid(expected))?;
    Vni::new(number)
        .map(Some)
        .ok_or_else(|| field.invalid(expected))
}

fn port(root: &Object<'_>) -> Result<u16, FieldError> {
    let Some(field) = root.optional("port") else {
        return Ok(VXLAN_PORT);
    };
    let expected = "a UDP port of 1 to 65535, the same on every node";
    let number = field.u32().map_err(|_| field.invalid(expected))?;
    u16::try_from(number)
        .ok()
        .filter(|port| *port != 0)
        .ok_or_else(|| field.invalid(expected))
}

fn underlay(root: &Object<'_>) -> Result<Option<Underlay>, FieldError> {
    let expected = "an address of this node, or the name of a link that has one";
    let Some(field) = root.optional("underlay") else {
        return Ok(None);
    };
    let underlay: Underlay = field.parse_as(expected)?;
    match underlay {
        Underlay::Address(address)
            if address.is_multicast() || address.is_unspecified() || address.is_loopback() =>
        {
            Err(field.invalid(expected))
        }
        underlay => Ok(Some(underlay)),
    }
}

/// A block is behind one node, which the cluster's store alone can say.
fn pools(addressing: &Addressing) -> Result<Vec<PoolName>, CniError> {
    let why = match addressing {
        Addressing::Own(Source::Pools(config)) => match &config.pools {
            PoolChoice::Named(names) => return Ok(names.clone()),
            PoolChoice::Any => "\"*\" leaves open which pools are this network's",
        },
        Addressing::Own(Source::Ranges(_)) => "ranges are this node's alone",
        Addressing::Delegated { .. } | Addressing::None => {
            "another IPAM plugin does not tell which node has which block"
        }
    };
    Err(CniError::invalid_config(format!(
        "ipam: {why}; name pools of the cluster in \"pool\" of \"type\": \"bulkhead-ipam\""
    )))
}

/// What the pools are is not known here; the daemon refuses IPv6 in less than it needs.
fn refuse_small(root: &Object<'_>, mtu: Option<Mtu>) -> Result<(), FieldError> {
    const LEAST: u32 = 576;
    let small = mtu.is_some_and(|mtu| mtu.bytes() < LEAST);
    match root.optional("mtu").filter(|_| small) {
        Some(field) => Err(field.invalid(format_args!(
            "what every IPv4 host takes, {LEAST} (RFC 791), or {} where there is IPv6",
            Mtu::minimum(Family::V6)
        ))),
        None => Ok(()),
    }
}
