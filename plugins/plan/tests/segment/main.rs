//! Segments, planned: the plans themselves, and the laws they keep whatever there was before.

#![expect(clippy::disallowed_methods, reason = "golden plans are files")]

use std::net::IpAddr;
use std::path::Path;

use bulkhead_model::{Family, IfName, Mac, Mtu, VXLAN_PORT, Vni};
use bulkhead_plan::{
    Bridge, FdbEntry, Foreign, Link, LinkSetting, Localnet, Ns, Op, OtherGateways, Plan, Plugged,
    Segment, SegmentGone, Space, Station, Switch, Vtep, Vxlan, Want, World, plan,
};

fn name(text: &str) -> IfName {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn ns() -> Ns {
    Ns::Network("/run/netns/bhn-blue".to_owned())
}

fn device() -> IfName {
    name("bhx-blue")
}

fn mac(last: u8) -> Mac {
    Mac::new([2, 0, 0, 0, 0, last]).unwrap()
}

fn station(nth: u8, underlay: &str) -> Station {
    Station {
        mac: mac(nth),
        underlay: ip(underlay),
        addresses: vec![ip(&format!("10.1.0.{nth}")), ip(&format!("fd01::{nth:x}"))],
    }
}

fn segment() -> Segment {
    let mtu = Mtu::new(1450).unwrap();
    Segment {
        ns: ns(),
        bridge: Bridge {
            name: name("bhb-blue"),
            mac: mac(0xfe),
            mtu: Some(mtu),
            gateways: vec![
                "10.1.0.1/16".parse().unwrap(),
                "fd01::1/64".parse().unwrap(),
            ],
            promiscuous: false,
            localnet: Localnet::Unclaimed,
            foreign: Foreign::Join,
            other_gateways: OtherGateways::Replace,
        },
        vtep: Vtep {
            device: device(),
            mac: mac(0x10),
            vni: Vni::new(7).unwrap(),
            port: VXLAN_PORT,
            local: ip("192.0.2.1"),
            mtu,
            addresses: Vec::new(),
            tx_checksum: Switch::On,
        },
        stations: vec![
            station(0x20, "192.0.2.2"),
            station(0x21, "192.0.2.2"),
            station(0x30, "198.51.100.3"),
        ],
        replicas: [].into(),
        forwards: [Family::V4, Family::V6].into(),
    }
}

/// The same with copies for groups.
fn replicated() -> Segment {
    Segment {
        replicas: [ip("192.0.2.2"), ip("198.51.100.3")].into(),
        ..segment()
    }
}

/// The same after a block went from one node to another, and one of it is gone.
fn moved() -> Segment {
    let mut want = segment();
    want.stations[0].underlay = ip("198.51.100.3");
    want.stations.remove(1);
    want
}

fn wanted(want: Segment) -> Want {
    Want::Segment(Box::new(want))
}

fn gone() -> Want {
    Want::NoSegment(Box::new(SegmentGone {
        ns: ns(),
        links: [device(), name("bhb-blue")].into(),
    }))
}

fn node() -> World {
    let host = Space {
        ipv6: true,
        ..Space::default()
    };
    World {
        spaces: [(Ns::Host, host)].into(),
        ..World::default()
    }
}

#[track_caller]
fn planned(world: &World, want: &Want) -> Plan {
    plan(world, want).unwrap_or_else(|conflict| panic!("{conflict}"))
}

#[track_caller]
fn applied(world: &World, plan: &Plan) -> World {
    let mut next = world.clone();
    next.apply(plan)
        .unwrap_or_else(|refusal| panic!("{refusal}: {plan}"));
    next
}

#[track_caller]
fn converged(world: &World, want: &Want) -> World {
    applied(world, &planned(world, want))
}

/// A segment that stood, with a change.
fn with(change: impl Fn(&mut Space)) -> World {
    let mut world = converged(&node(), &wanted(segment()));
    change(world.spaces.get_mut(&ns()).unwrap());
    world
}

/// What somebody, or a crash, can have done to a segment that stood, each with its name.
fn damaged() -> Vec<(&'static str, World)> {
    let entry = |mac: [u8; 6], remotes: &[&str], plain| {
        let entry = FdbEntry {
            remotes: remotes.iter().map(|remote| ip(remote)).collect(),
            plain,
        };
        with(|space| drop(space.fdb.insert((device(), mac), entry.clone())))
    };
    let changed = |change: fn(&mut Link)| {
        with(|space| space.links.get_mut(&device()).into_iter().for_each(change))
    };
    let done = |op: Op| {
        let mut world = with(|_| ());
        world.run(&op).unwrap();
        world
    };
    let of = |link: &str, set| Op::SetLink {
        ns: ns(),
        name: name(link),
        set,
    };
    let delete = |link: &str| Op::DelLink {
        ns: ns(),
        name: name(link),
    };
    let mut unnamed = with(|_| ());
    unnamed.named.clear();
    vec![
        ("nothing-yet", node()),
        ("nothing", with(|_| ())),
        ("name-gone", unnamed),
        ("device-gone", done(delete("bhx-blue"))),
        ("bridge-gone", done(delete("bhb-blue"))),
        ("down", done(of("bhx-blue", LinkSetting::Down))),
        ("unplugged", done(of("bhx-blue", LinkSetting::NoBridge))),
        ("bridge-down", done(of("bhb-blue", LinkSetting::Down))),
        (
            "another-mtu",
            changed(|link| link.mtu = Mtu::new(1300).unwrap()),
        ),
        ("another-mac", changed(|link| link.mac = Some(mac(0x77)))),
        ("learns", changed(|link| link.port.untaught = false)),
        ("fdb-flushed", with(|space| space.fdb.clear())),
        (
            "fdb-elsewhere",
            entry(mac(0x20).octets(), &["192.0.2.7"], true),
        ),
        (
            "fdb-of-another-port",
            entry(mac(0x20).octets(), &["192.0.2.2"], false),
        ),
        ("fdb-floods", entry([0; 6], &["192.0.2.2"], true)),
        ("fdb-stray", entry(mac(0x99).octets(), &["192.0.2.2"], true)),
        ("neighbours-flushed", with(|space| space.neighbours.clear())),
        (
            "does-not-forward",
            with(|space| {
                space
                    .sysctls
                    .values_mut()
                    .for_each(|value| "0".clone_into(value));
            }),
        ),
        ("replicated", converged(&node(), &wanted(replicated()))),
        ("moved", converged(&node(), &wanted(moved()))),
    ]
}

fn wants() -> Vec<(&'static str, Want)> {
    vec![
        ("segment", wanted(segment())),
        ("replicated", wanted(replicated())),
        ("moved", wanted(moved())),
        ("gone", gone()),
    ]
}

fn halves(world: &World, plan: &Plan) -> Vec<World> {
    let first = |count: usize| Plan::new(plan.ops()[..count].to_vec());
    (0..=plan.ops().len())
        .map(|count| applied(world, &first(count)))
        .collect()
}

#[track_caller]
fn reads(name: &str, world: &World, want: &Want) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/segment/plans");
    let file = folder.join(format!("{name}.txt"));
    let text = planned(world, want).to_string();
    if std::env::var_os("BULKHEAD_BLESS").is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&file).unwrap_or_default();
    let file = file.display();
    assert_eq!(text, golden, "{file} differs; BULKHEAD_BLESS=1 rewrites it");
}

#[test]
fn plans_read_as_the_lines_an_operator_would_type() {
    let stood = with(|_| ());
    reads("from-nothing", &node(), &wanted(segment()));
    reads("replicated", &stood, &wanted(replicated()));
    reads("moved", &stood, &wanted(moved()));
    reads("gone", &stood, &gone());
    for (name, world) in damaged() {
        if !["nothing-yet", "nothing", "moved", "replicated"].contains(&name) {
            reads(&format!("mended-{name}"), &world, &wanted(segment()));
        }
    }
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
                    let left = converged(half, &want);
                    let again = planned(&left, &want);
                    assert!(
                        again.is_empty(),
                        "{what} to {to}, after {crash} to {then}: {again}"
                    );
                    assert_eq!(left.spaces.contains_key(&ns()), then != "gone");
                }
            }
        }
    }
}

/// The device is up on a bridge with nothing that learns, and floods only where that is asked for.
#[test]
fn no_frame_leaves_before_it_is_told_where_to() {
    for world in [node(), with(|space| space.links.clear())] {
        let plan = planned(&world, &wanted(segment()));
        let up = |op: &Op| matches!(op, Op::SetLink { name, set: LinkSetting::Up, .. } if *name == device());
        let raised = plan.ops().iter().position(up).expect("it is raised");
        let told = plan.ops()[raised..].iter().any(|op| {
            matches!(
                op,
                Op::SetFdb { .. } | Op::SetNeighbour { .. } | Op::SetPort { .. }
            )
        });
        assert!(!told, "{plan}");
        assert!(!plan.to_string().contains("00:00:00:00:00:00"), "{plan}");
    }
}

#[test]
fn a_device_of_the_host_s_with_the_identifier_is_named() {
    let mut world = node();
    let add = Op::AddVxlan {
        ns: Ns::Host,
        below: Ns::Host,
        name: name("flannel.1"),
        mac: mac(0x55),
        mtu: Mtu::ETHERNET,
        vxlan: match planned(&world, &wanted(segment()))
            .ops()
            .iter()
            .find_map(vxlan)
        {
            Some(vxlan) => vxlan,
            None => panic!("no device is made"),
        },
    };
    world.run(&add).unwrap();
    let refused = plan(&world, &wanted(segment())).unwrap_err().to_string();
    assert!(refused.starts_with("link flannel.1 on the host has VXLAN network identifier 7"));
}

fn vxlan(op: &Op) -> Option<Vxlan> {
    match op {
        Op::AddVxlan { vxlan, .. } => Some(*vxlan),
        _ => None,
    }
}

#[test]
fn the_device_alone_is_told_from_whom_it_leads_to() {
    let whole = segment();
    let alone = Want::Plugged(Box::new(Plugged {
        ns: ns(),
        vtep: whole.vtep,
        bridge: whole.bridge.name,
    }));
    let untold = with(|space| {
        space.fdb.clear();
        space.neighbours.clear();
    });
    assert_eq!(planned(&untold, &alone), Plan::default());
    let out = with(|space| {
        let device = space.links.get_mut(&device()).unwrap();
        (device.bridge, device.mtu) = (None, Mtu::new(1300).unwrap());
    });
    let text = planned(&out, &alone).to_string();
    for part in [" mtu 1450\n", " master bhb-blue\n"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(planned(&converged(&out, &alone), &alone), Plan::default());
    let cut = with(|space| drop(space.links.remove(&device())));
    let text = planned(&cut, &alone).to_string();
    assert!(text.contains(" type vxlan id 7 "), "{text}");
}
