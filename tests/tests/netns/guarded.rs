//! `bulkhead-guard` behind plugins of others: the reference bridge and ptp.

mod blocks;
mod chain;

use std::net::IpAddr;
use std::num::NonZeroU32;

use bulkhead_attach::recorded_binding;
use bulkhead_ipam::Guards;
use bulkhead_kernel::{Deletion, Kernel};
use bulkhead_plan::{
    Filter, Guarded, Hook, Known, Neighbour, Ns, Plan, Unguarded, Want, plan, scope,
};
use netns_fixtures::{
    BridgeNetfilter, CaptureError, End, PacketSocket, Ping, Verb, veth, wait_for,
};
use serde_json::{Value, json};

use crate::claims;
use crate::node::{LIMIT, assert_reaches, refusal, with};
use blocks::blocks_are_known_until_the_last_port_that_named_them;
use chain::{BRIDGE, Chain, GATEWAYS, Seat, attack};

claims! {
    a_port_of_the_reference_bridge_is_guarded_from_add_to_del,
    a_port_of_ptp_is_guarded,
    check_tells_a_guard_that_was_damaged,
    gc_ends_what_is_not_listed,
    a_crash_after_any_operation_is_mended_by_add_and_by_del,
    a_table_that_ours_load_again_has_the_guarded_ports,
    a_name_that_another_container_s_port_has_by_now_is_left_to_it,
    what_has_no_port_is_refused_by_name,
    what_contradicts_the_result_is_refused,
    blocks_are_known_until_the_last_port_that_named_them,
}

fn a_port_of_the_reference_bridge_is_guarded_from_add_to_del(setting: BridgeNetfilter) {
    let chain = Chain::new(setting);
    let [a, b] = ["a", "b"].map(|name| chain.plug(name));
    for passed in attack(&a, &b) {
        let worked = matches!(passed, Err(CaptureError::Unwanted { .. }));
        assert!(worked, "unguarded: {passed:?}");
    }
    for seat in [&a, &b] {
        chain.guard(seat);
        chain.guard(seat);
        let call = chain.behind(seat);
        chain.silent(Verb::Check, &call, &seat.container);
    }
    for stopped in attack(&a, &b) {
        stopped.unwrap();
    }
    assert_known_for_good(&chain, &a, BRIDGE);
    assert_known_for_good(&chain, &b, BRIDGE);
    for gateway in GATEWAYS {
        let ping = Ping::new(gateway.parse::<IpAddr>().unwrap()).limit(LIMIT);
        assert!(ping.from(&a.container).unwrap(), "{gateway}");
    }
    for (to, from) in b.addresses().into_iter().zip(a.addresses()) {
        assert_reaches(&a.container, &b.container, to, from);
    }
    // Without prevResult, twice, and before the main plugin's.
    for _ in 0..2 {
        chain.silent(Verb::Del, &chain.guard, &a.container);
    }
    let port = chain
        .node
        .host
        .ip_json(&format!("link show {}", a.port()))
        .unwrap();
    assert_eq!(port[0]["operstate"], "DOWN");
    assert!(
        a.addresses()
            .iter()
            .all(|it| !is_known(&chain, BRIDGE, *it))
    );
    assert!(b.addresses().iter().all(|it| is_known(&chain, BRIDGE, *it)));
    assert!(chain.tables().contains("bulkhead"));
    chain.silent(
        Verb::Del,
        &with(chain.main.clone(), json!({"prevResult": a.result})),
        &a.container,
    );
    // After the main plugin's, when the port is gone.
    chain.silent(
        Verb::Del,
        &with(chain.main.clone(), json!({"prevResult": b.result})),
        &b.container,
    );
    chain.silent(Verb::Del, &chain.behind(&b), &b.container);
    chain.assert_no_guard_left();
}

/// Whether the node has a permanent entry of the address.
fn is_known(chain: &Chain, link: &str, address: IpAddr) -> bool {
    let known = format!("neigh show {address} dev {link} nud permanent");
    !chain.node.host.ip(&known).unwrap().is_empty()
}

/// Node and container resolve each other whatever fills the table.
#[track_caller]
fn assert_known_for_good(chain: &Chain, seat: &Seat, link: &str) {
    let of_node = netns_fixtures::packet::mac_text(chain.node.host.mac(link).unwrap());
    for gateway in GATEWAYS {
        let known = format!("neigh show {gateway} dev eth0 nud permanent");
        let known = seat.container.ip(&known).unwrap();
        assert!(known.contains(&of_node), "{gateway}: {known}");
    }
    for address in seat.addresses() {
        assert!(is_known(chain, link, address), "{address}");
    }
}

fn a_port_of_ptp_is_guarded(setting: BridgeNetfilter) {
    let chain = Chain::of(setting, "ptp", json!({}));
    let a = chain.attach("a");
    assert_known_for_good(&chain, &a, &a.port());
    for gateway in GATEWAYS {
        let ping = Ping::new(gateway.parse::<IpAddr>().unwrap()).limit(LIMIT);
        assert!(ping.from(&a.container).unwrap(), "{gateway}");
    }
    let sender = PacketSocket::open(&a.container, "eth0").unwrap();
    let [claimed, gateway] = ["10.1.0.77", GATEWAYS[0]].map(|text| text.parse().unwrap());
    let asked = netns_fixtures::packet::Arp::request(a.mac(), claimed, gateway);
    sender.send(&asked).unwrap();
    let dropped = || {
        let set = chain
            .node
            .host
            .sh("nft list set netdev bulkhead drops-arp")
            .unwrap();
        set.contains(&a.port()).then_some(())
    };
    wait_for("the spoofed question to be dropped", LIMIT, dropped);
    let known = chain.node.host.ip("neigh show").unwrap();
    assert!(!known.contains("10.1.0.77"), "{known}");
    chain.silent(Verb::Del, &chain.guard, &a.container);
    chain.assert_no_guard_left();
}

fn check_tells_a_guard_that_was_damaged(setting: BridgeNetfilter) {
    let chain = Chain::new(setting);
    let a = chain.attach("a");
    let call = chain.behind(&a);
    chain.silent(Verb::Check, &call, &a.container);
    let mut moved = call.clone();
    moved["prevResult"]["ips"][0]["address"] = json!("10.1.0.99/24");
    let (code, said) = refusal(&chain.call(Verb::Check, &moved, &a.container));
    assert!(code == 103 && said.contains("10.1.0.99/24"), "{said}");
    let chain_of_port = format!("port-{}", a.port());
    for damage in [
        "flush set netdev bulkhead id4",
        &format!("delete chain netdev bulkhead {chain_of_port}"),
        "delete table netdev bulkhead",
    ] {
        chain.node.host.sh(&format!("nft {damage}")).unwrap();
        let (code, said) = refusal(&chain.call(Verb::Check, &call, &a.container));
        assert!(code == 103 && said.contains("nft"), "{damage}: {said}");
        chain.guard(&a);
        chain.silent(Verb::Check, &call, &a.container);
    }
    for (ns, address, link) in [
        (&*chain.node.host, a.addresses()[0].to_string(), BRIDGE),
        (&*a.container, GATEWAYS[1].to_owned(), "eth0"),
    ] {
        ns.ip(&format!("neigh del {address} dev {link}")).unwrap();
        let (code, said) = refusal(&chain.call(Verb::Check, &call, &a.container));
        let line = format!("neigh replace {address} ");
        assert!(code == 103 && said.contains(&line), "{said}");
        chain.guard(&a);
        chain.silent(Verb::Check, &call, &a.container);
    }
    chain.silent(Verb::Del, &chain.guard, &a.container);
    let (code, said) = refusal(&chain.call(Verb::Check, &call, &a.container));
    assert!(code == 103 && said.contains("not recorded"), "{said}");
}

fn gc_ends_what_is_not_listed(setting: BridgeNetfilter) {
    let chain = Chain::new(setting);
    let [a, b] = ["a", "b"].map(|name| chain.attach(name));
    let listed = |list: Value| {
        with(
            chain.guard.clone(),
            json!({"cniVersion": "1.1.0", "cni.dev/valid-attachments": list}),
        )
    };
    let stays = json!([{"containerID": a.container.name(), "ifname": "eth0"}]);
    let mut elsewhere = listed(json!([]));
    elsewhere["name"] = json!("another");
    chain.silent(Verb::Gc, &elsewhere, &a.container);
    assert_eq!(chain.records().len(), 2);
    chain.silent(Verb::Gc, &listed(stays), &a.container);
    let left: Vec<_> = chain
        .records()
        .into_iter()
        .map(|record| record.key.container.to_string())
        .collect();
    assert_eq!(left, [a.container.name()]);
    let elements = chain
        .node
        .host
        .sh("nft list set netdev bulkhead id6")
        .unwrap();
    assert!(
        elements.contains(&a.port()) && !elements.contains(&b.port()),
        "{elements}"
    );
    chain.silent(Verb::Gc, &listed(json!([])), &a.container);
    chain.assert_no_guard_left();
}

/// The first operations of a plan, as a process that is killed after them leaves it.
fn begun(chain: &Chain, want: &Want, count: usize) -> Option<()> {
    chain
        .node
        .host
        .enter(|| {
            let mut kernel = Kernel::new(Deletion::Blocking);
            let world = kernel.observe(&scope(want)).unwrap();
            let whole = plan(&world, want).unwrap();
            let first = whole.ops().get(..count)?;
            kernel.apply(&Plan::new(first.to_vec())).unwrap();
            Some(())
        })
        .unwrap()
}

fn a_crash_after_any_operation_is_mended_by_add_and_by_del(setting: BridgeNetfilter) {
    let chain = Chain::new(setting);
    let a = chain.attach("a");
    let record = chain.records().remove(0);
    let binding = recorded_binding(&record).unwrap();
    let end = || chain.silent(Verb::Del, &chain.guard, &a.container);
    let restore = || {
        let guards = Guards::of(&chain.node.state()).lock().unwrap();
        guards.put(&record).unwrap();
    };
    let up = || {
        chain
            .node
            .host
            .ip(&format!("link set {} up", a.port()))
            .unwrap()
    };
    let of_node = |address: IpAddr| Neighbour {
        address,
        mac: record.names.interface_mac.unwrap(),
    };
    let known = vec![Known {
        ns: Ns::Host,
        link: BRIDGE.parse().unwrap(),
        neighbours: a.addresses().into_iter().map(of_node).collect(),
    }];
    let stand = Want::Guarded(Box::new(Guarded {
        filter: Filter {
            binding: binding.clone(),
            others: Vec::new(),
            hook: Hook::Auto,
        },
        groups: NonZeroU32::new(32),
        known: known.clone(),
    }));
    let gone = Want::Unguarded(Box::new(Unguarded {
        port: binding.port,
        mac: record.names.port_mac,
        binding: Some(binding.clone()),
        known,
        restore: Vec::new(),
        last_on_bridge: true,
        node_is_empty: true,
    }));
    let mut counts = [0, 0];
    for (nth, want) in [&stand, &gone].into_iter().enumerate() {
        for count in 0.. {
            end();
            up();
            if nth == 1 {
                chain.guard(&a);
            }
            restore();
            if begun(&chain, want, count).is_none() {
                break;
            }
            counts[nth] += 1;
            end();
            chain.assert_no_guard_left();
            up();
            if nth == 1 {
                chain.guard(&a);
            }
            restore();
            begun(&chain, want, count).unwrap();
            up();
            chain.guard(&a);
            chain.silent(Verb::Check, &chain.behind(&a), &a.container);
        }
        end();
    }
    assert!(counts[0] > 1 && counts[1] > 2, "{counts:?}");
    chain.assert_no_guard_left();
}

fn a_table_that_ours_load_again_has_the_guarded_ports(setting: BridgeNetfilter) {
    let chain = Chain::new(setting);
    let [a, b] = ["a", "b"].map(|name| chain.attach(name));
    chain
        .node
        .host
        .sh("nft delete table netdev bulkhead")
        .unwrap();
    let ours = chain.node.attach(
        &chain
            .node
            .network("blue", "br-blue", "10.2.0.0/24", "fd02::/64"),
        "c",
    );
    for stopped in attack(&a, &b) {
        stopped.unwrap();
    }
    // And the other way round.
    chain
        .node
        .host
        .sh("nft delete table netdev bulkhead")
        .unwrap();
    chain.guard(&a);
    let gateway: IpAddr = "10.2.0.1".parse().unwrap();
    assert!(
        Ping::new(gateway)
            .limit(LIMIT)
            .from(&ours.container)
            .unwrap()
    );
    let held = chain
        .node
        .host
        .sh("nft list set netdev bulkhead id4")
        .unwrap();
    assert!(
        held.contains(&ours.port()) && held.contains(&b.port()),
        "{held}"
    );
    for seat in [&a, &b] {
        chain.silent(Verb::Check, &chain.behind(seat), &seat.container);
        chain.silent(Verb::Del, &chain.guard, &seat.container);
    }
    assert!(
        Ping::new(gateway)
            .limit(LIMIT)
            .from(&ours.container)
            .unwrap()
    );
    chain.node.detach(&ours);
    chain.assert_no_guard_left();
}

fn a_name_that_another_container_s_port_has_by_now_is_left_to_it(setting: BridgeNetfilter) {
    let chain = Chain::new(setting);
    let a = chain.attach("a");
    let port = a.port();
    chain.node.host.ip(&format!("link del {port}")).unwrap();
    let container = chain.node.sandbox.container("b").unwrap();
    veth(
        &End::new(&chain.node.host, &port),
        &End::new(&container, "eth0").address("10.1.0.9/24"),
    )
    .unwrap();
    let mac = |ns: &netns_fixtures::Ns, name: &str| {
        netns_fixtures::packet::mac_text(ns.mac(name).unwrap())
    };
    let result = json!({
        "cniVersion": "1.0.0",
        "interfaces": [
            {"name": port, "mac": mac(&chain.node.host, &port)},
            {"name": "eth0", "mac": mac(&container, "eth0"), "sandbox": container.path()},
        ],
        "ips": [{"address": "10.1.0.9/24", "interface": 1}],
        "dns": {},
    });
    let b = Seat { container, result };
    chain.guard(&b);
    let held = chain
        .node
        .host
        .sh("nft list set netdev bulkhead id4")
        .unwrap();
    let earlier = a.addresses()[0].to_string();
    assert!(
        held.contains("10.1.0.9") && !held.contains(&format!("{earlier} ")),
        "{held}"
    );
    chain.silent(Verb::Del, &chain.behind(&a), &a.container);
    chain.silent(Verb::Check, &chain.behind(&b), &b.container);
    chain.silent(Verb::Del, &chain.guard, &b.container);
    chain.assert_no_guard_left();
}

fn what_has_no_port_is_refused_by_name(setting: BridgeNetfilter) {
    let chain = Chain::new(setting);
    let container = chain.node.sandbox.container("a").unwrap();
    let (code, said) = refusal(&chain.call(Verb::Add, &chain.guard, &container));
    assert!(code == 7 && said.contains("prevResult: missing"), "{said}");
    container
        .ip_batch(&[
            "link add p0 type veth peer p1",
            "link add eth0 link p0 type macvlan mode bridge",
        ])
        .unwrap();
    let result = json!({
        "cniVersion": "1.0.0",
        "interfaces": [{"name": "eth0", "sandbox": container.path()}],
    });
    let seat = Seat { container, result };
    let (code, said) = refusal(&chain.call(Verb::Add, &chain.behind(&seat), &seat.container));
    assert!(code == 7 && said.contains("eth0 is a macvlan"), "{said}");
    let unnamed = chain.plug("b");
    let mut result = unnamed.result.clone();
    result["interfaces"]
        .as_array_mut()
        .unwrap()
        .retain(|one| one["name"] != unnamed.port());
    let config = with(chain.guard.clone(), json!({"prevResult": result}));
    let (code, said) = refusal(&chain.call(Verb::Add, &config, &unnamed.container));
    assert!(code == 7 && said.contains(BRIDGE), "{said}");
    let ours = chain.node.attach(
        &chain
            .node
            .network("blue", "br-blue", "10.2.0.0/24", "fd02::/64"),
        "c",
    );
    let config = with(
        chain.guard.clone(),
        json!({"cniVersion": "1.1.0", "prevResult": ours.result}),
    );
    let (code, said) = refusal(&chain.call(Verb::Add, &config, &ours.container));
    assert!(code == 7 && said.contains(&ours.port()), "{said}");
    assert_eq!(chain.records(), []);
    chain.node.detach(&ours);
    chain.assert_no_guard_left();
}

fn what_contradicts_the_result_is_refused(setting: BridgeNetfilter) {
    let chain = Chain::new(setting);
    let a = chain.plug("a");
    let refused = |keys: Value, words: &[&str]| {
        let config = with(chain.behind(&a), keys);
        let (code, said) = refusal(&chain.call(Verb::Add, &config, &a.container));
        assert_eq!(code, 7, "{said}");
        for word in words {
            assert!(said.contains(word), "{said}");
        }
    };
    let asked = |cni: Value| json!({"args": {"cni": cni}});
    refused(
        asked(json!({"mac": "02:00:00:00:00:77"})),
        &["02:00:00:00:00:77", "MAC"],
    );
    refused(
        asked(json!({"ips": ["10.1.0.200"]})),
        &["10.1.0.200", "asked for"],
    );
    refused(
        json!({"guard": {"allowedAddresses": ["192.0.2.9"]}}),
        &["192.0.2.9", "10.1.0.0/24"],
    );
    refused(json!({"guard": {"role": "router"}}), &["prefixes"]);
    let mut moved = a.result.clone();
    for interface in moved["interfaces"].as_array_mut().unwrap() {
        interface["mac"] = json!("02:00:00:00:00:78");
    }
    refused(
        json!({"prevResult": moved}),
        &["02:00:00:00:00:78", "prevResult"],
    );
    assert_eq!(chain.records(), []);
    assert_eq!(chain.tables(), "");
}
