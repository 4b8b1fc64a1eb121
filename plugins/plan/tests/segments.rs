//! What leads to a bridge, by the interpreter of rules.

use std::collections::BTreeSet;
use std::net::IpAddr;

use bulkhead_model::{LinkGroup, Mtu};
use bulkhead_nft as nft;
use bulkhead_plan::{
    Binding, Filter, Guard, Guarded, Held, Holds, Hook, Identity, Link, LinkKind, Ns, Op,
    PortFlags, Reason, Surroundings, Want, World, plan, segment_table,
};
use nft::{Packet, Policy};

/// A port on a bridge, with what it holds.
fn binding(port: &str, bridge: &str, addresses: &[&str], guard: fn(Identity) -> Guard) -> Binding {
    let mac = "02:00:00:00:00:09".parse().unwrap();
    let addresses: BTreeSet<IpAddr> = addresses.iter().map(|it| it.parse().unwrap()).collect();
    let blocks = ["10.1.0.0/24", "fd01::/64"].map(|block| block.parse().unwrap());
    Binding {
        port: port.parse().unwrap(),
        guard: guard(Identity::host([mac], addresses.iter().copied())),
        ifb: None,
        around: Surroundings {
            own_blocks: blocks.into(),
            shares: ["10.9.0.0/26".parse().unwrap()].into(),
            bridge: bridge.parse().ok(),
            gateways: ["10.1.0.1".parse().unwrap()].into(),
            granted: addresses,
            ..Surroundings::default()
        },
    }
}

/// The table with three ports on two bridges, the second of which nobody judges.
fn table() -> nft::Table {
    let router = |identity: Identity| {
        let mac = *identity.macs.first().unwrap();
        let mut identity = identity;
        let upper = [0xfd, 0x01, 0, 0, 0, 0, 0, 0];
        if let Holds::These(held) = &mut identity.holds {
            held.insert(Held::V6(mac, upper));
        }
        Guard::On(identity)
    };
    let mine = binding("veth1", "br-one", &["10.1.0.5", "fd01::5"], Guard::On);
    let others = vec![
        binding("veth2", "br-two", &["10.1.0.6"], |_| Guard::Off),
        binding("veth3", "br-three", &["10.1.0.7"], router),
    ];
    let mut world = World::default();
    let host = world.spaces.entry(Ns::Host).or_default();
    for port in std::iter::once(&mine).chain(&others).map(|it| it.port) {
        host.links.insert(port, veth());
    }
    let want = Want::Guarded(Box::new(Guarded {
        filter: Filter {
            binding: mine,
            others,
            hook: Hook::Auto,
        },
        groups: None,
        known: Vec::new(),
    }));
    let plan = plan(&world, &want).unwrap();
    let commands = plan.ops().iter().flat_map(|op| match op {
        Op::Nft { transaction, .. } => transaction.0.as_slice(),
        _ => &[],
    });
    let mut loaded = None;
    for command in commands {
        match (command, &mut loaded) {
            (nft::Command::AddTable(table), _) if table.id == segment_table() => {
                loaded = Some(table.clone());
            }
            (
                nft::Command::AddElements {
                    table,
                    set,
                    elements,
                },
                Some(loaded),
            ) if *table == segment_table() => {
                let mut sets = loaded.sets.iter_mut();
                let found = sets.find(|one| one.name == *set).unwrap();
                let (nft::Elements::Keys(there), nft::Elements::Keys(more)) =
                    (&mut found.elements, elements)
                else {
                    panic!("{set} has no keys");
                };
                there.extend(more.iter().cloned());
            }
            _ => {}
        }
    }
    loaded.expect("the plan loads the table")
}

fn veth() -> Link {
    Link {
        kind: LinkKind::Veth { peer: None },
        mac: None,
        mtu: Mtu::ETHERNET,
        up: true,
        promiscuous: false,
        group: LinkGroup(0),
        bridge: None,
        port: PortFlags::default(),
        forms_link_local: true,
        learns_link_local: true,
        shape: None,
    }
}

fn packet(to: &str) -> Vec<u8> {
    let udp = [0x30, 0x39, 0, 9, 0, 8, 0, 0];
    let mut bytes = match to.parse().unwrap() {
        IpAddr::V4(to) => {
            let head = [0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1];
            [&head[..], &to.octets()].concat()
        }
        IpAddr::V6(to) => {
            let head = [0x60, 0, 0, 0, 0, 8, 17, 64, 0x20, 1, 0x0d, 0xb8];
            [&head[..], &[0; 11], &[1], &to.octets()].concat()
        }
    };
    bytes.extend(udp);
    bytes
}

/// Whether a packet from outside passes on its way to a bridge.
fn passes(table: &nft::Table, to: &str, bridge: &str) -> bool {
    let packet = Packet::ip(&packet(to)).unwrap();
    let packet = packet
        .arriving_on("eth0".parse().unwrap())
        .leaving_by(bridge.parse().unwrap());
    let found = nft::evaluate(table, nft::Hook::Forward, &packet).unwrap();
    if found.verdict == Policy::Drop {
        let last = found.trail.last().unwrap();
        assert_eq!(last.chain, Reason::Dead.chain());
        let tallies: Vec<_> = found.metered.iter().map(|(set, _)| set.clone()).collect();
        let samples = nft::Name::literal("samples");
        assert_eq!(tallies, [Reason::Dead.tally(), samples], "counted once");
    }
    found.verdict == Policy::Accept
}

#[test]
fn what_nobody_holds_on_a_bridge_is_not_asked_for_there() {
    let table = table();
    let dead = [
        "10.1.0.9",
        "10.1.0.6",
        "10.9.0.9",
        "fd01::9",
        "fd01::dead:1",
    ];
    for to in dead {
        assert!(!passes(&table, to, "br-one"), "{to}");
    }
    // Held, a gateway, to everybody, and outside of every block.
    let live = [
        "10.1.0.5",
        "fd01::5",
        "10.1.0.1",
        "10.1.0.255",
        "10.9.0.64",
        "10.2.0.9",
        "fd02::9",
    ];
    for to in live {
        assert!(passes(&table, to, "br-one"), "{to}");
    }
}

#[test]
fn each_bridge_is_judged_by_what_is_held_on_it() {
    let table = table();
    assert!(passes(&table, "10.1.0.7", "br-three"));
    assert!(!passes(&table, "10.1.0.5", "br-three"));
    // A prefix of one's own is held whole.
    assert!(passes(&table, "fd01::dead:1", "br-three"));
    assert!(!passes(&table, "10.1.0.7", "br-one"));
}

#[test]
fn what_leads_elsewhere_or_where_no_port_is_judged_passes() {
    let table = table();
    for bridge in ["br-two", "eth1"] {
        assert!(passes(&table, "10.1.0.9", bridge));
        assert!(passes(&table, "fd01::9", bridge));
    }
}
