//! Where each value of an attachment to a bridge network comes from.

use bulkhead_attach::{Grant, Origin, configured, of_attachment};
use bulkhead_cni::Call;
use bulkhead_plan::{Attached, Localnet};

pub(crate) fn of(call: &Call, grant: &Grant, want: &Attached) -> Vec<Origin> {
    let mut rows = of_attachment(grant, want);
    let bridge = &want.bridge;
    let key = |key, default| configured(call, key, default);
    rows.push(Origin::new("bridge", bridge.name, key("bridge", "default")));
    let mac = "digest of network and machine id, if we made the bridge";
    rows.push(Origin::new("bridge MAC", bridge.mac, mac));
    for gateway in &bridge.gateways {
        let source = match key("isDefaultGateway", "").as_str() {
            "" => key("isGateway", "isGateway"),
            text => text.to_owned(),
        };
        let source = format!("{source}; the lease's gateway, else the subnet's first address");
        rows.push(Origin::new("gateway", gateway, source));
    }
    let mtu = want.interface.mtu.map(|mtu| mtu.to_string());
    let mtu = mtu.unwrap_or_else(|| "the bridge's".to_owned());
    rows.push(Origin::new(
        "MTU",
        mtu,
        key("mtu", "the bridge's as it stands"),
    ));
    for route in &want.interface.routes {
        let named = grant.routes.iter().any(|r| r.dst == route.destination);
        let source = if named {
            "routes of ipam".to_owned()
        } else {
            key("isDefaultGateway", "isDefaultGateway")
        };
        rows.push(Origin::new("route", route, source));
    }
    for (object, on, name) in [
        ("hairpin", want.port.flags.hairpin, "hairpinMode"),
        ("isolated", want.port.flags.isolated, "portIsolation"),
        ("promiscuous", bridge.promiscuous, "promiscMode"),
    ] {
        rows.push(Origin::new(
            object,
            if on { "on" } else { "off" },
            key(name, "default"),
        ));
    }
    let (binding, source) = match want.filter.binding.mac {
        Some(mac) => (
            format!("{} with {mac}", want.port.name),
            "macspoofchk of ADD, recorded",
        ),
        None => (
            want.port.name.to_string(),
            "no macspoofchk at ADD, recorded",
        ),
    };
    rows.push(Origin::new("filter binding", binding, source));
    for (sysctl, value) in &want.sysctls {
        let source = "isGateway; the value found is kept in the state directory";
        rows.push(Origin::new("sysctl", format!("{sysctl}={value}"), source));
    }
    if bridge.localnet != Localnet::Unclaimed {
        let value = format!("net/ipv4/conf/{}/route_localnet=1", bridge.name);
        rows.push(Origin::new("sysctl", value, "host ports on 127.0.0.1"));
    }
    if let Some(table) = &want.nat {
        rows.push(Origin::new(
            "table",
            &table.id,
            key("ipMasq", "host ports' answers"),
        ));
    }
    rows
}
