//! What a runtime asks for besides the configuration (CNI conventions, "Capabilities"): host ports,
//! bandwidth and resolver settings. A plugin that gets `runtimeConfig` must act on it or refuse it.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU16;

use bulkhead_cni::json::{Field, FieldError, Object};
use bulkhead_cni::{Call, CniError, Dns};
use bulkhead_model::{Bandwidth, HostAddress, HostPort, PortMapping, Protocol, RateLimit};

/// The capabilities we act on.
const SERVED: [&str; 7] = [
    "portMappings",
    "bandwidth",
    "dns",
    "ips",
    "mac",
    "ipRanges",
    "guard",
];
/// The largest burst of a token bucket filter, in bits: 2^32-1 bytes (`TCA_TBF_BURST`,
/// `linux/pkt_sched.h`).
const LARGEST_BURST: u64 = u32::MAX as u64 * 8 + 7;

/// What is asked for one attachment.
#[derive(Clone, Debug, Default)]
pub struct Capabilities {
    /// Whether attachments of the network may have `portMappings`: what `capabilities` says of it, and nothing
    /// where there is no such key, because some runtimes keep it to themselves.
    pub may_have_host_ports: Option<bool>,
    /// `portMappings`.
    pub host_ports: Vec<PortMapping>,
    /// `bandwidth`, else the configuration's own key of that name.
    pub bandwidth: Bandwidth,
    /// `dns`; empty if none is given.
    pub dns: Dns,
}

impl Capabilities {
    /// Reads `runtimeConfig`.
    ///
    /// # Errors
    /// Code 7 naming the key, the value found and what it should be; code 2 for a host port on `::1`.
    pub fn parse(call: &Call) -> Result<Self, CniError> {
        let runtime = call.config.runtime_config()?;
        refuse_undeclared(&call.config.root(), &runtime)?;
        let declared = call.config.root().optional_object("capabilities")?;
        let declared = declared.map(|declared| declared.optional_bool("portMappings"));
        let declared = declared.transpose()?;
        let static_limits = call.config.root().optional_object("bandwidth")?;
        let limits = runtime.optional_object("bandwidth")?.or(static_limits);
        Ok(Self {
            may_have_host_ports: declared.map(|said| said == Some(true)),
            host_ports: host_ports(&runtime)?,
            bandwidth: limits
                .map(|limits| bandwidth(&limits))
                .transpose()?
                .unwrap_or_default(),
            dns: dns(&runtime)?,
        })
    }
}

/// libcni passes only what a plugin declares. A list that declares something, and not what is given,
/// is a mistake in one of the two; one without the key comes from a runtime that keeps it to itself.
fn refuse_undeclared(root: &Object<'_>, runtime: &Object<'_>) -> Result<(), FieldError> {
    let Some(declared) = root.optional_object("capabilities")? else {
        return Ok(());
    };
    for name in SERVED {
        if let Some(given) = runtime.optional(name)
            && declared.optional_bool(name)? != Some(true)
        {
            return Err(given.invalid(format!(
                "declared by this plugin: add \"{name}\": true to its \"capabilities\""
            )));
        }
    }
    Ok(())
}

fn host_ports(runtime: &Object<'_>) -> Result<Vec<PortMapping>, FieldError> {
    let mut all: Vec<PortMapping> = Vec::new();
    for item in runtime.items("portMappings")? {
        let mapping = mapping(&item.object()?)?;
        if let Some(first) = all.iter().find(|one| one.host.overlaps(&mapping.host)) {
            return Err(item.invalid(format!(
                "a host port of its own: {} is mapped already in this request",
                first.host
            )));
        }
        all.push(mapping);
    }
    Ok(all)
}

fn mapping(item: &Object<'_>) -> Result<PortMapping, FieldError> {
    let host = HostPort {
        protocol: item.optional_parsed("protocol")?.unwrap_or(Protocol::Tcp),
        address: host_address(item)?,
        number: port(&item.required("hostPort", PORT)?)?,
    };
    let container_port = port(&item.required("containerPort", PORT)?)?;
    Ok(PortMapping {
        host,
        container_port,
    })
}

const PORT: &str = "a port of 1 to 65535";

pub(crate) fn port(field: &Field<'_>) -> Result<NonZeroU16, FieldError> {
    let number = field.u64().ok().and_then(|n| u16::try_from(n).ok());
    number
        .and_then(NonZeroU16::new)
        .ok_or_else(|| field.invalid(PORT))
}

fn host_address(item: &Object<'_>) -> Result<HostAddress, FieldError> {
    let address = item.optional_parsed("hostIP")?.unwrap_or_default();
    match item.optional("hostIP") {
        Some(field) if address == HostAddress::One(IpAddr::V6(Ipv6Addr::LOCALHOST)) => {
            Err(field.unsupported(
                "the kernel does not route ::1 to a container (IPv6 has no route_localnet); use 127.0.0.1, or leave hostIP out",
            ))
        }
        _ => Ok(address),
    }
}

fn bandwidth(limits: &Object<'_>) -> Result<Bandwidth, FieldError> {
    Ok(Bandwidth {
        ingress: limit(limits, "ingressRate", "ingressBurst")?,
        egress: limit(limits, "egressRate", "egressBurst")?,
    })
}

/// A rate and its burst, both or neither, as in the reference plugin. 0 is neither.
fn limit(
    limits: &Object<'_>,
    rate_key: &str,
    burst_key: &str,
) -> Result<Option<RateLimit>, FieldError> {
    let positive = |key| {
        let field = limits.optional(key);
        field.filter(|field| field.u64() != Ok(0))
    };
    let (rate, burst) = match (positive(rate_key), positive(burst_key)) {
        (None, None) => return Ok(None),
        (Some(rate), Some(burst)) => (rate, burst),
        (Some(rate), None) => {
            return Err(rate.invalid(format!(
                "enough: a rate needs a burst, set {burst_key} (bits)"
            )));
        }
        (None, Some(burst)) => {
            return Err(burst.invalid(format!(
                "enough: a burst needs a rate, set {rate_key} (bits per second)"
            )));
        }
    };
    let limit = RateLimit {
        rate: rate.u64()?,
        burst: burst.u64()?,
    };
    if limit.rate < 8 {
        return Err(rate.invalid("a rate of 8 bits per second or more"));
    }
    if limit.burst > LARGEST_BURST {
        return Err(burst.invalid(format!(
            "a burst the kernel can keep: at most {LARGEST_BURST} bits (2^32-1 bytes)"
        )));
    }
    Ok(Some(limit))
}

/// `{"servers": [], "searches": [], "options": []}`.
fn dns(runtime: &Object<'_>) -> Result<Dns, FieldError> {
    let Some(dns) = runtime.optional_object("dns")? else {
        return Ok(Dns::default());
    };
    Ok(Dns {
        nameservers: dns.strings("servers")?,
        domain: None,
        search: dns.strings("searches")?,
        options: dns.strings("options")?,
    })
}
