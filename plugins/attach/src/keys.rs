//! Keys of a network configuration that every main plugin has.

use bulkhead_cni::json::{Field, FieldError, Object};
use bulkhead_cni::{Call, CniError};
use bulkhead_model::{Family, Mac, Mtu, Prefix};
use bulkhead_plan::Hook;

use crate::Addressing;

/// Which families are masqueraded, and towards what not.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Masquerade {
    /// IPv4.
    pub v4: bool,
    /// IPv6.
    pub v6: bool,
    /// Destinations that see the container's own address.
    pub exclude: Vec<Prefix>,
}

impl Masquerade {
    /// Whether `family` is masqueraded.
    #[must_use]
    pub fn covers(&self, family: Family) -> bool {
        match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
    }
}

/// `prefixPerContainer`, where containers have single addresses.
///
/// # Errors
/// It is true.
pub fn refuse_prefixes(root: &Object<'_>) -> Result<(), FieldError> {
    match root.optional("prefixPerContainer") {
        Some(field) if field.bool()? => Err(field.unsupported(
            "a container has single addresses here; remove the key, or set \"type\": \"bulkhead-ipv6\"",
        )),
        _ => Ok(()),
    }
}

/// `true`, `false`, or `{"ipv4": bool, "ipv6": bool, "exclude": [prefix]}`. The backend is ours
/// whatever `ipMasqBackend` says: it is read so that a configuration moves over.
///
/// # Errors
/// Neither of them, or a member that `ipMasq` does not have.
pub fn masquerade(root: &Object<'_>) -> Result<Masquerade, FieldError> {
    if let Some(backend) = root.optional("ipMasqBackend")
        && !["", "iptables", "nftables"].contains(&backend.str()?)
    {
        return Err(backend.invalid("\"iptables\" or \"nftables\""));
    }
    let Some(field) = root.optional("ipMasq") else {
        return Ok(Masquerade::default());
    };
    if let Ok(both) = field.bool() {
        return Ok(Masquerade {
            v4: both,
            v6: both,
            exclude: Vec::new(),
        });
    }
    let expected = "true, false or an object of ipv4, ipv6 and exclude";
    let object = field.object().map_err(|_| field.invalid(expected))?;
    let known = ["ipv4", "ipv6", "exclude"];
    if let Some((_, unknown)) = object.members().find(|(key, _)| !known.contains(key)) {
        return Err(unknown.invalid("known: ipMasq has ipv4, ipv6 and exclude"));
    }
    let exclude = object.items("exclude")?;
    Ok(Masquerade {
        v4: object.optional_bool("ipv4")?.unwrap_or_default(),
        v6: object.optional_bool("ipv6")?.unwrap_or_default(),
        exclude: exclude.iter().map(Field::parse).collect::<Result<_, _>>()?,
    })
}

/// `mtu`: bytes, 0 as if it were not there.
///
/// # Errors
/// Not an MTU, or none that carries the IPv6 the network will have.
pub fn mtu(root: &Object<'_>, addressing: &Addressing) -> Result<Option<Mtu>, FieldError> {
    let Some(field) = root.optional("mtu") else {
        return Ok(None);
    };
    let bytes = field.u32()?;
    if bytes == 0 {
        return Ok(None);
    }
    let mtu = Mtu::new(bytes).ok_or_else(|| field.invalid("an MTU of 68 to 65535 bytes"))?;
    if mtu < Mtu::minimum(Family::V6) && addressing.has_family(Family::V6) {
        return Err(
            field.invalid("an MTU that carries IPv6: 1280 bytes or more (RFC 8200 section 5)")
        );
    }
    Ok(Some(mtu))
}

/// `portFilter`: how the ports' filter is bound to them.
///
/// # Errors
/// Another word than the three.
pub fn hook(root: &Object<'_>) -> Result<Hook, FieldError> {
    let Some(field) = root.optional("portFilter") else {
        return Ok(Hook::Auto);
    };
    match field.str()? {
        "auto" => Ok(Hook::Auto),
        "prefix" => Ok(Hook::Prefix),
        "perPort" => Ok(Hook::PerPort),
        _ => Err(field.invalid("\"auto\", \"prefix\" or \"perPort\"")),
    }
}

/// The MAC that is asked for: `runtimeConfig.mac`, else `args.cni.mac`, else `MAC` of `CNI_ARGS`.
///
/// # Errors
/// Not a unicast MAC.
pub fn mac(call: &Call) -> Result<Option<Mac>, CniError> {
    if let Some(mac) = call.config.runtime_config()?.optional_parsed("mac")? {
        return Ok(Some(mac));
    }
    if let Some(mac) = call.config.args_cni()?.optional_parsed("mac")? {
        return Ok(Some(mac));
    }
    let parse = |text: String| {
        text.parse::<Mac>()
            .map_err(|e| CniError::invalid_environment("CNI_ARGS MAC", e))
    };
    call.arg("MAC").map(parse).transpose()
}
