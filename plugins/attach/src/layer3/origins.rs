//! Where each value of an attachment with a link of its own comes from.

use bulkhead_cni::Call;
use bulkhead_plan::{Ns, Op, Place, Route};

use crate::{Inspection, Origin, Own, Rehearsal, configured, origins};

pub(super) fn of(
    call: &Call,
    seen: &Inspection,
    rehearsal: &Rehearsal,
    besides: Vec<Origin>,
) -> Vec<Origin> {
    let key = |key, default| configured(call, key, default);
    let routes = seen.want.interface.routes.iter();
    let own = Own {
        port: port(seen, rehearsal, besides),
        bridge: node(seen),
        mtu: key("mtu", "Ethernet's"),
        routes: routes.map(|route| route_source(seen, route)).collect(),
        nat: key("ipMasq", "answers of host ports"),
        sysctls: "the node routes everything".to_owned(),
    };
    origins(seen, rehearsal, own)
}

fn port(seen: &Inspection, rehearsal: &Rehearsal, besides: Vec<Origin>) -> Vec<Origin> {
    let Place::PointToPoint(link) = &seen.want.place else {
        return Vec::new();
    };
    let gateways = link.gateways.iter();
    let mut rows: Vec<_> = gateways
        .map(|gateway| Origin::new("port address", gateway, "the same on every port"))
        .collect();
    let port = seen.want.port.name;
    let sysctls = rehearsal.add.ops().iter().filter_map(|op| match op {
        Op::SetSysctl { ns, sysctl, value } if *ns == Ns::Host && sysctl.link() == Some(port) => {
            Some(Origin::new(
                "port sysctl",
                format!("{sysctl}={value}"),
                sysctl_source(sysctl.path().rsplit('/').next().unwrap_or_default()),
            ))
        }
        _ => None,
    });
    rows.extend(sysctls);
    rows.extend(besides);
    let known = [&seen.want.neighbours, &seen.want.interface.neighbours];
    for (neighbours, whose) in known.into_iter().zip(["the node's", "the container's"]) {
        rows.extend(neighbours.iter().map(|known| {
            let value = format!("{} at {}", known.address, known.mac);
            Origin::new("neighbour", value, format!("{whose}, permanent"))
        }));
    }
    rows
}

fn node(seen: &Inspection) -> Vec<Origin> {
    let Place::PointToPoint(link) = &seen.want.place else {
        return Vec::new();
    };
    let routes = link.routes.iter();
    let mut rows: Vec<_> = routes
        .map(|route| Origin::new("node route", route, "the lease"))
        .collect();
    let blocks = link.blackholes.iter();
    let source = "the network's range: nobody else has what nobody here has";
    rows.extend(blocks.map(|block| Origin::new("blackhole route", block, source)));
    rows
}

fn sysctl_source(leaf: &str) -> &'static str {
    match leaf {
        "rp_filter" => "no source that is not routed to the port (RFC 3704)",
        "forwarding" | "disable_ipv6" => "on for the families that the container has",
        "route_localnet" => "host ports on 127.0.0.1",
        "send_redirects" => "the node is its one neighbour",
        _ => "no container moves the node's routes (CVE-2020-10749)",
    }
}

fn route_source(seen: &Inspection, route: &Route) -> String {
    let mut named = seen.grant.routes.iter();
    let source = if named.any(|named| named.dst == route.destination) {
        "routes of ipam"
    } else if route.gateway.is_none() {
        "the IPv4 gateway, the same for every container"
    } else {
        "everything goes by the node"
    };
    source.to_owned()
}
