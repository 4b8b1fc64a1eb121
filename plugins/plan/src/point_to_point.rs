//! A link of a container's own: no bridge and no segment, the node is its only neighbour and routes
//! everything. What is here comes before and after the pair that [`link`](crate::link) makes.

use bulkhead_model::{Family, IfName, InterfaceAddress};

use crate::{
    Attached, Conflict, Dad, Link, Localnet, MAIN_TABLE, Ns, OnLink, Op, PointToPoint, Route,
    Space, SpaceScope, Sysctl,
};

/// What is written before the port comes up, whatever the node's defaults are. No container's
/// advertisement or redirect moves the node's routes (CVE-2020-10749), and a packet whose source is not
/// routed to the port goes no further (RFC 3704 section 2.2). A family that the container has no
/// address of is off.
pub(crate) fn sysctls(
    host: &Space,
    port: IfName,
    want: &PointToPoint,
) -> Vec<(Sysctl, &'static str)> {
    let has = |family| {
        want.routes
            .iter()
            .any(|route| route.destination.family() == family)
    };
    let (v4, v6) = (has(Family::V4), has(Family::V6));
    let ipv4 = |leaf| Sysctl::ipv4_conf(port.as_str(), leaf);
    let ipv6 = |leaf| Sysctl::ipv6_conf(port.as_str(), leaf);
    let mut all = vec![
        (ipv4("rp_filter"), "1"),
        (ipv4("accept_redirects"), "0"),
        (ipv4("send_redirects"), "0"),
        (ipv4("forwarding"), if v4 { "1" } else { "0" }),
    ];
    if want.localnet != Localnet::Unclaimed {
        all.push((ipv4("route_localnet"), "1"));
    }
    if v6 {
        all.extend([
            (ipv6("disable_ipv6"), "0"),
            (ipv6("accept_ra"), "0"),
            (ipv6("accept_redirects"), "0"),
            (ipv6("forwarding"), "1"),
        ]);
    } else if host.ipv6 {
        all.push((ipv6("disable_ipv6"), "1"));
    }
    all
}

/// Widens a scope by what a plan for the link needs to see.
pub(crate) fn see(host: &mut SpaceScope, port: IfName, want: &PointToPoint) {
    // Every one that may be claimed: whether the namespace has IPv6 is not known yet.
    let with_ipv6 = Space {
        ipv6: true,
        ..Space::default()
    };
    let claimed = sysctls(&with_ipv6, port, want);
    host.sysctls
        .extend(claimed.into_iter().map(|(sysctl, _)| sysctl));
    host.routes_to
        .extend(want.routes.iter().map(|route| route.destination));
    host.blackholes |= !want.blackholes.is_empty();
}

/// Refuses what stands in the way before anything is changed.
pub(crate) fn refuse(host: &Space, want: &PointToPoint) -> Result<(), Conflict> {
    let gateways = want.gateways.iter().map(|gateway| gateway.address());
    let routed = want.routes.iter().map(|route| route.destination.address());
    if let Some(address) = gateways.chain(routed).find(|it| it.is_ipv6() && !host.ipv6) {
        return Err(Conflict::NoIpv6(address));
    }
    for route in &want.routes {
        let same =
            |found: &&Route| found.destination == route.destination && found.table == MAIN_TABLE;
        let other = host
            .routes
            .iter()
            .filter(same)
            .find(|found| found.link != route.link);
        if let Some(found) = other {
            return Err(Conflict::AddressRouted {
                destination: found.destination,
                link: found.link,
            });
        }
    }
    Ok(())
}

/// Appends what catches packets to addresses that nobody holds, before the first one is held.
pub(crate) fn blackholes(host: &Space, want: &PointToPoint, ops: &mut Vec<Op>) {
    for destination in &want.blackholes {
        if !host.blackholes.contains(destination) {
            ops.push(Op::AddBlackhole {
                ns: Ns::Host,
                destination: *destination,
            });
        }
    }
}

/// Appends what a port needs before it comes up. `found` is the port if it stands.
pub(crate) fn prepare(
    found: Option<&Link>,
    host: &Space,
    want: &Attached,
    link: &PointToPoint,
    ops: &mut Vec<Op>,
) {
    let port = want.port.name;
    for (sysctl, value) in sysctls(host, port, link) {
        let stands = found.is_some() && host.sysctls.get(&sysctl).is_some_and(|now| now == value);
        if !stands {
            ops.push(Op::SetSysctl {
                ns: Ns::Host,
                sysctl,
                value: value.to_owned(),
            });
        }
    }
    let stands = |address: &InterfaceAddress| {
        found.is_some() && host.addresses.contains_key(&(port, *address))
    };
    for address in link.gateways.iter().filter(|address| !stands(address)) {
        ops.push(Op::AddAddress {
            ns: Ns::Host,
            link: port,
            address: *address,
            dad: Dad::Skip,
            on_link: OnLink::Prefix,
        });
    }
}

/// Appends the node's routes to the container, once it is up: what leads to it before is blackholed.
pub(crate) fn routes(host: &Space, link: &PointToPoint, ops: &mut Vec<Op>) {
    for route in &link.routes {
        if host
            .routes
            .iter()
            .any(|found| crate::link::satisfies(found, route))
        {
            continue;
        }
        // IP6_RT_PRIO_USER (linux/ipv6_route.h) is what the kernel makes of 0 for IPv6.
        let first = if route.destination.address().is_ipv6() {
            1024
        } else {
            0
        };
        ops.push(Op::AddRoute {
            ns: Ns::Host,
            route: Route {
                priority: route.priority.or(Some(first)),
                ..route.clone()
            },
        });
    }
}
