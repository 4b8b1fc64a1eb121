//! Where a value comes from: what `explain` tells an operator about each kernel object.

use bulkhead_cni::Call;
use bulkhead_model::Family;
use bulkhead_plan::Attached;

use crate::Grant;

/// A value of an attachment, the object that carries it, and why it is what it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Origin {
    /// The kernel object, in the words of README's table: `port`, `interface`, `route`, ...
    pub object: &'static str,
    /// The value.
    pub value: String,
    /// Where it comes from: a key of the configuration, the lease, the runtime, a digest.
    pub source: String,
}

impl Origin {
    /// A row.
    pub fn new(
        object: &'static str,
        value: impl std::fmt::Display,
        source: impl Into<String>,
    ) -> Self {
        Self {
            object,
            value: value.to_string(),
            source: source.into(),
        }
    }
}

/// `key` of the configuration if it is set there, else `default`.
#[must_use]
pub fn configured(call: &Call, key: &str, default: &str) -> String {
    match call.config.root().optional(key) {
        Some(field) => format!("configuration, {}: {}", field.path(), field.value()),
        None => default.to_owned(),
    }
}

/// What every main plugin's attachments have: names, addresses, host ports, limits.
#[must_use]
pub fn of_attachment(grant: &Grant, want: &Attached) -> Vec<Origin> {
    let id = &grant.id;
    let mut rows = vec![
        Origin::new(
            "attachment",
            &grant.key,
            "network, CNI_CONTAINERID and CNI_IFNAME",
        ),
        Origin::new("attachment id", id, "SHA-256 of the three"),
        Origin::new("namespace", grant.netns(), "CNI_NETNS of the last ADD"),
        Origin::new(
            "port",
            want.port.name,
            "bhp and 12 characters of the id, recorded",
        ),
        Origin::new(
            "port MAC",
            want.port.mac,
            "digest of the id, first octet fe, recorded",
        ),
        Origin::new("interface", want.interface.name, "CNI_IFNAME"),
    ];
    let source = if want.interface.mac == id.interface_mac() {
        "digest of the id, recorded"
    } else {
        "asked for by the runtime or changed by a later plugin"
    };
    rows.push(Origin::new("interface MAC", want.interface.mac, source));
    for granted in &grant.addresses {
        let source = format!("lease {} of network {}", grant.sequence, grant.key.network);
        rows.push(Origin::new("address", granted.address, source));
    }
    let v6 = |address: &&bulkhead_model::InterfaceAddress| address.family() == Family::V6;
    if want.interface.addresses.iter().any(|a| v6(&a)) {
        let link_local = want.interface.mac.link_local();
        rows.push(Origin::new(
            "address",
            format!("{link_local}/64"),
            "link-local address of the MAC (RFC 4291 appendix A)",
        ));
    }
    for forward in &want.host_ports.mine {
        rows.push(Origin::new(
            "host port",
            format!("{} to {}", forward.host, forward.to),
            "runtimeConfig.portMappings of ADD, recorded",
        ));
    }
    let limits = [
        ("ingress limit", want.bandwidth.ingress),
        ("egress limit", want.bandwidth.egress),
    ];
    for (object, limit) in limits {
        if let Some(limit) = limit {
            let value = format!("{} bit/s, burst {} bit", limit.rate, limit.burst);
            rows.push(Origin::new(object, value, "bandwidth of ADD, recorded"));
        }
    }
    if let Some(ifb) = want.filter.binding.ifb {
        rows.push(Origin::new(
            "ifb device",
            ifb,
            "bhi and 12 characters of the id, recorded",
        ));
    }
    rows
}
