//! Where each value of an attachment to a bridge network comes from.

use bulkhead_attach::{Inspection, Origin, Own, Rehearsal, configured, origins};
use bulkhead_cni::Call;
use bulkhead_plan::{Link, Localnet, Ns, Route};

use crate::REFLECTS;

pub(crate) fn of(call: &Call, seen: &Inspection, rehearsal: &Rehearsal) -> Vec<Origin> {
    let key = |key, default| configured(call, key, default);
    let routes = seen.want.interface.routes.iter();
    let own = Own {
        port: port(call, seen),
        bridge: bridge(call, seen),
        mtu: key("mtu", "the bridge's"),
        routes: routes
            .map(|route| route_source(call, seen, route))
            .collect(),
        nat: key("ipMasq", "answers of host ports"),
        sysctls: gateway_source(call),
    };
    origins(seen, rehearsal, own)
}

fn port(call: &Call, seen: &Inspection) -> Vec<Origin> {
    let flags = seen.want.port.flags;
    let hairpin = if seen.grant.names.other.contains_key(REFLECTS) {
        "host ports, for the container itself"
    } else {
        "default"
    };
    vec![
        switch(
            "port hairpin",
            flags.hairpin,
            configured(call, "hairpinMode", hairpin),
        ),
        switch(
            "port isolated",
            flags.isolated,
            configured(call, "portIsolation", "default"),
        ),
    ]
}

fn bridge(call: &Call, seen: &Inspection) -> Vec<Origin> {
    let Some(want) = seen.want.place.bridge() else {
        return Vec::new();
    };
    let key = |key, default| configured(call, key, default);
    let mut rows = vec![Origin::new("bridge", want.name, key("bridge", "default"))];
    let found = seen.world.space(&Ns::Host).links.get(&want.name);
    let ours = found.is_none_or(Link::is_ours);
    if let Some(link) = found {
        let (whose, mtu) = if ours {
            (
                "made by us, fixed: digest of network and machine id",
                "1500 when we made it, left as it stands",
            )
        } else {
            ("not made by us", "as it stands")
        };
        if let Some(mac) = link.mac {
            rows.push(Origin::new("bridge MAC", mac, whose));
        }
        rows.push(Origin::new("bridge MTU", link.mtu, key("mtu", mtu)));
    }
    for gateway in &want.gateways {
        let mut leased = seen.grant.addresses.iter();
        let named = leased.any(|granted| granted.gateway == Some(gateway.address()));
        let which = if named {
            "the lease's gateway"
        } else {
            "the subnet's first address"
        };
        let source = format!("{}; {which}", gateway_source(call));
        rows.push(Origin::new("bridge address", gateway, source));
    }
    if want
        .gateways
        .iter()
        .any(|gateway| gateway.address().is_ipv6())
        && ours
    {
        let link_local = format!("{}/64", want.mac.link_local());
        let source = "link-local address of the MAC (RFC 4291 appendix A)";
        rows.push(Origin::new("bridge address", link_local, source));
    }
    rows.push(switch(
        "bridge promiscuous",
        want.promiscuous,
        key("promiscMode", "default"),
    ));
    if ours {
        for leaf in ["accept_ra", "accept_redirects"] {
            let value = format!("net/ipv6/conf/{}/{leaf}=0", want.name);
            let source = "no container moves the node's routes (CVE-2020-10749)";
            rows.push(Origin::new("bridge sysctl", value, source));
        }
        let source = "no MAC is learnt from frames that no filter of the bridge sees";
        rows.push(switch("bridge no_linklocal_learn", true, source.to_owned()));
    }
    if want.localnet != Localnet::Unclaimed {
        let value = format!("net/ipv4/conf/{}/route_localnet=1", want.name);
        rows.push(Origin::new(
            "bridge sysctl",
            value,
            "host ports on 127.0.0.1",
        ));
    }
    rows
}

fn gateway_source(call: &Call) -> String {
    match configured(call, "isDefaultGateway", "").as_str() {
        "" => configured(call, "isGateway", "isGateway"),
        text => text.to_owned(),
    }
}

fn route_source(call: &Call, seen: &Inspection, route: &Route) -> String {
    let mut named = seen.grant.routes.iter();
    if named.any(|named| named.dst == route.destination) {
        "routes of ipam".to_owned()
    } else {
        configured(call, "isDefaultGateway", "isDefaultGateway")
    }
}

fn switch(object: &'static str, on: bool, source: String) -> Origin {
    Origin::new(object, if on { "on" } else { "off" }, source)
}
