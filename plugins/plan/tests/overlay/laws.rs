//! Whatever there was, and wherever the last process died: it gets there, and in an order in which no
//! packet is sent into the void.

use std::net::IpAddr;

use bulkhead_model::{Mac, Prefix};
use bulkhead_plan::{MAIN_TABLE, Near, Ns, Op, Peer, Plan, Route, Space, Vtep, Want, World, near};

use crate::{
    applied, converged, damaged, device, direct, gone, host, ip, moved, name, narrow, node,
    of_device, of_entries, of_routes, over_ipv6, overlay, planned, prefixes, route, told, tunnels,
    wanted, with,
};

fn wants() -> Vec<(&'static str, Want)> {
    vec![
        ("overlay", wanted(overlay())),
        ("over IPv6", wanted(over_ipv6())),
        ("direct", wanted(direct())),
        ("moved", wanted(moved())),
        ("gone", gone()),
    ]
}

/// What does not count: sysctls stay known of a device that is gone in no world.
fn settled(mut world: World) -> World {
    host(&mut world).generation = None;
    world
}

fn halves(world: &World, plan: &Plan) -> Vec<World> {
    let first = |count: usize| Plan::new(plan.ops()[..count].to_vec());
    (0..=plan.ops().len())
        .map(|count| applied(world, &first(count)))
        .collect()
}

#[test]
fn applying_a_plan_satisfies_the_want_and_planning_again_is_empty() {
    for (what, world) in damaged() {
        for (to, want) in wants() {
            let after = converged(&world, &want);
            assert_eq!(planned(&after, &want), Plan::default(), "{what} to {to}");
        }
    }
}

#[test]
fn a_crash_after_any_operation_converges_to_any_want() {
    for (what, world) in damaged() {
        for (to, want) in wants() {
            for (crash, half) in halves(&world, &planned(&world, &want)).iter().enumerate() {
                for (then, want) in wants() {
                    let left = settled(converged(half, &want));
                    let expected = settled(converged(&node(), &want));
                    assert_eq!(left, expected, "{what} to {to}, after {crash} to {then}");
                }
            }
        }
    }
}

/// Every route over the device leads to a neighbour with an FDB entry.
fn leads(host: &Space) -> Result<(), String> {
    for route in host
        .own_routes
        .iter()
        .filter(|route| route.link == device())
    {
        let next_hop = route
            .gateway
            .ok_or("a route over the device without a next hop")?;
        let mac = host
            .neighbours
            .get(&(device(), next_hop))
            .map(|it| it.mac.octets());
        let mac = mac.ok_or_else(|| format!("no neighbour for {route}"))?;
        let remotes = host
            .fdb
            .get(&(device(), mac))
            .map_or(0, |it| it.remotes.len());
        if remotes != 1 {
            return Err(format!("{remotes} remotes for {route}"));
        }
    }
    Ok(())
}

#[test]
fn no_route_comes_before_what_it_needs_or_stays_after_it() {
    for (what, world) in damaged() {
        if leads(world.space(&Ns::Host)).is_err() {
            continue;
        }
        for (to, want) in wants() {
            let plan = planned(&world, &want);
            for (crash, half) in halves(&world, &plan).iter().enumerate() {
                let led = leads(half.space(&Ns::Host));
                // One that could not be replaced is away for one operation.
                let replaced = matches!(plan.ops().get(crash), Some(Op::SetFdb { .. }));
                assert!(
                    led.is_ok() || replaced,
                    "{what} to {to}, after {crash}: {led:?}"
                );
            }
        }
    }
}

fn has_route(world: &World, to: &Prefix) -> bool {
    let mut routes = world.space(&Ns::Host).own_routes.iter();
    routes.any(|route| route.destination == *to)
}

#[test]
fn a_block_that_moves_is_never_without_a_route() {
    let overlays = [overlay(), direct(), moved(), narrow()];
    for from in &overlays {
        for to in &overlays {
            let before = converged(&node(), &wanted(from.clone()));
            for half in halves(&before, &planned(&before, &wanted(to.clone()))) {
                for block in prefixes(&["10.1.2.0/24", "fd01:0:0:2::/64", "10.1.3.0/24"]) {
                    assert!(has_route(&half, &block), "{block}");
                }
            }
        }
    }
}

#[test]
fn nothing_is_flooded_and_nothing_is_learned() {
    for (what, world) in damaged() {
        let after = converged(&world, &wanted(overlay()));
        let host = after.space(&Ns::Host);
        assert!(
            host.fdb.keys().all(|(_, mac)| Mac::new(*mac).is_some()),
            "{what}"
        );
        let text = planned(&node(), &wanted(overlay())).to_string();
        assert!(text.contains(" nolearning ") && !text.contains(" group 224."));
    }
}

#[test]
fn ipv6_stays_encapsulated_where_the_next_hop_would_be_ipv4() {
    let after = converged(&node(), &wanted(direct()));
    let by = |to: &str| {
        let to: Prefix = to.parse().unwrap();
        let mut routes = after.space(&Ns::Host).own_routes.iter();
        routes.find(|route| route.destination == to).unwrap().link
    };
    assert_eq!(by("10.1.2.0/24"), name("eth0"));
    assert_eq!(by("fd01:0:0:2::/64"), device());
    // Behind a router.
    assert_eq!(by("10.1.3.0/24"), device());
    let mut want = over_ipv6();
    want.peers.iter_mut().for_each(|peer| peer.direct = true);
    let after = converged(&node(), &wanted(want));
    let near = after.space(&Ns::Host).own_routes.iter();
    let near = near.filter(|route| route.link == name("eth0"));
    assert_eq!(near.count(), 2, "either family has an IPv6 next hop");
}

#[test]
fn links_of_peers_are_known_once_each_of_them_tells_its_mac() {
    let mac = |nth| Mac::new([2, 0, 0, 0, 1, nth]).unwrap();
    let mut want = direct();
    want.peers[0].link_mac = Some(mac(2));
    // The other is behind a router.
    want.peers[1].link_mac = Some(mac(3));
    let behind = want.peers[0].prefixes.clone();
    let expected: Near = [((name("eth0"), mac(2)), behind)].into();
    assert_eq!(near(&node(), &want), expected);
    let mut silent = want.peers[0].clone();
    silent.link_mac = None;
    want.peers.push(silent);
    assert_eq!(near(&node(), &want), Near::new());
    want.peers.iter_mut().for_each(|peer| peer.direct = false);
    assert_eq!(near(&node(), &want), Near::new());
}

#[test]
fn routes_of_containers_and_of_others_are_left() {
    let mut before = node();
    let foreign = Route {
        destination: "10.1.99.0/24".parse().unwrap(),
        gateway: Some(ip("192.0.2.99")),
        link: name("eth0"),
        priority: Some(0),
        table: MAIN_TABLE,
        scope: Some(0),
        mtu: None,
        advmss: None,
    };
    host(&mut before).routes.insert(foreign.clone());
    let mut elsewhere = before.clone();
    elsewhere
        .run(&route("10.50.0.0/24", Some("192.0.2.50"), name("eth0")))
        .unwrap();
    for start in [before, elsewhere] {
        let stood = converged(&start, &wanted(direct()));
        assert!(
            stood
                .space(&Ns::Host)
                .routes
                .is_superset(&start.space(&Ns::Host).routes)
        );
        assert_eq!(settled(converged(&stood, &gone())), settled(start));
    }
}

#[test]
fn an_address_that_is_here_stays_here_until_its_attachment_goes() {
    let mut want = overlay();
    let here: Prefix = "10.1.1.5/32".parse().unwrap();
    want.peers[0].prefixes.insert(here);
    let want = wanted(want);
    let stood = converged(&node(), &want);
    let way = |world: &World| {
        let mut routes = world.space(&Ns::Host).own_routes.iter();
        routes.find(|route| route.destination == here).cloned()
    };
    assert_eq!(way(&stood), way(&node()));
    assert_eq!(planned(&stood, &want), Plan::default());
    let mut detached = stood.clone();
    let route = way(&stood).unwrap();
    let del = Op::DelRoute {
        ns: Ns::Host,
        route,
    };
    detached.run(&del).unwrap();
    let moved = converged(&detached, &want);
    assert_eq!(way(&moved).unwrap().link, device());
}

#[test]
fn the_filter_follows_what_is_known_from_any_state() {
    let mut fewer = tunnels();
    fewer.known.pop_last();
    fewer.ports.pop_first();
    let mut more = tunnels();
    more.pools.extend(prefixes(&["10.9.0.0/16"]));
    let all = [tunnels(), fewer, more, bulkhead_plan::Tunnels::default()].map(told);
    for from in &all {
        let before = converged(&node(), from);
        for to in &all {
            let plan = planned(&before, to);
            assert!(plan.ops().len() <= 1, "at once: {plan}");
            let after = converged(&before, to);
            assert_eq!(planned(&after, to), Plan::default());
            assert_eq!(settled(after), settled(converged(&node(), to)));
        }
    }
}

#[test]
fn thousands_of_peers_are_planned_by_what_differs() {
    let mut want = overlay();
    want.peers = (1..=5_000_u16)
        .map(|nth| {
            let [high, low] = nth.to_be_bytes();
            Peer {
                mac: Mac::new([2, 1, 0, 0, high, low]).unwrap(),
                underlay: IpAddr::from([172, 16, high, low]),
                prefixes: prefixes(&[
                    &format!("10.{}.{low}.0/24", 2 + high),
                    &format!("fd01:0:0:{nth:x}::/64"),
                ]),
                direct: false,
                link_mac: None,
                mtu: want.vtep.mtu,
            }
        })
        .collect();
    let stood = converged(&node(), &wanted(want.clone()));
    assert_eq!(planned(&stood, &wanted(want.clone())), Plan::default());
    want.peers[2_500].underlay = ip("172.31.0.1");
    let plan = planned(&stood, &wanted(want.clone()));
    assert_eq!(plan.ops().len(), 1, "{plan}");
    want.peers.remove(100);
    let plan = planned(&stood, &wanted(want));
    assert_eq!(plan.ops().len(), 5, "{plan}");
}

#[test]
fn the_device_alone_is_told_from_whom_it_leads_to() {
    let alone = Want::Vtep(Box::new(Vtep {
        addresses: Vec::new(),
        ..overlay().vtep
    }));
    for (what, world) in of_entries().into_iter().chain(of_routes()) {
        assert_eq!(planned(&world, &alone), Plan::default(), "{what}");
    }
    for (what, world) in of_device() {
        let after = converged(&world, &alone);
        assert_eq!(planned(&after, &alone), Plan::default(), "{what}");
    }
    let cut = with(|host| drop(host.links.remove(&device())));
    let text = planned(&cut, &alone).to_string();
    assert!(text.contains("type vxlan id 7 dstport 4789 "), "{text}");
    assert!(!text.contains("fdb") && !text.contains("route"), "{text}");
}
