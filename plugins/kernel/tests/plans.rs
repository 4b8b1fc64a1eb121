//! How plans run: where they stop, what they leave alone, and how deletions return.

mod common;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use bulkhead_kernel::{Deletion, Kernel, NetlinkError, Netns, OpError, Reaper, Wait};
use bulkhead_model::{LinkGroup, Mtu};
use bulkhead_plan::{
    Dad, LinkSetting, MulticastRouter, Neighbour, Ns, OnLink, Op, Plan, PortFlags, Space, Switch,
    World,
};
use common::*;
use netns_fixtures::packet::{Advertised, ArpOp, Icmpv6};
use netns_fixtures::{Capture, Captured, Feature, skip_without, wait_for, wait_until};

/// How long anything that must happen may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(40);

#[test]
fn the_first_refused_operation_of_a_batch_is_reported() {
    let bed = Bed::new();
    let mut plan = segment(&bed);
    let inside = bed.inside();
    let first = plan.len();
    plan.extend(
        [
            "10.1.0.2/24",
            "10.1.0.3/24",
            "10.1.0.2/24",
            "10.1.0.4/24",
            "10.1.0.3/24",
        ]
        .map(|text| add_address(&inside, "eth0", text, Dad::Skip)),
    );
    let error = bed.run(|kernel| kernel.apply(&Plan::new(plan)).unwrap_err());
    assert_eq!(error.nth, first + 2);
    assert!(error.is_stale());
    assert!(
        error.op.contains("addr add 10.1.0.2/24 dev eth0"),
        "{}",
        error.op
    );
    let OpError::Netlink(NetlinkError::Refused(refusal)) = &error.source else {
        panic!("{error:?}");
    };
    assert_eq!(
        refusal.text.as_deref(),
        Some("ipv4: Address already assigned")
    );
}

#[test]
fn a_strangers_link_of_that_name_is_left_alone() {
    let bed = Bed::new();
    bed.host.ip("link add br0 type bridge").unwrap();
    let before = bed.observe(&["br0"], &[]);
    let plan = Plan::new(vec![
        add_bridge("br0"),
        set(&Ns::Host, "br0", LinkSetting::Mtu(Mtu::new(1300).unwrap())),
        add_address(&Ns::Host, "br0", "10.1.0.1/24", Dad::Skip),
        set(&Ns::Host, "br0", LinkSetting::Up),
    ]);
    let error = bed.run(|kernel| kernel.apply(&plan).unwrap_err());
    assert_eq!((error.nth, error.is_stale()), (0, true));
    assert_eq!(bed.observe(&["br0"], &[]), before);
}

#[test]
fn a_link_that_took_over_an_observed_name_is_not_deleted() {
    let bed = Bed::new();
    bed.apply(vec![add_bridge("br0")]);
    let scope = bed.scope(&["br0"], &[]);
    let error = bed.run(|kernel| {
        kernel.observe(&scope).unwrap();
        bed.host.ip("link del br0").unwrap();
        bed.host.ip("link add br0 type bridge").unwrap();
        kernel
            .apply(&Plan::new(vec![del_link(&Ns::Host, "br0")]))
            .unwrap_err()
    });
    assert!(error.is_stale(), "{error:?}");
    assert!(bed.host.has_link("br0").unwrap());
}

#[test]
fn a_port_comes_up_only_after_everything_before_it_was_accepted() {
    let bed = Bed::new();
    let inside = bed.inside();
    bed.apply(vec![add_veth("p0", None, &inside, "eth0")]);
    // Isolation of a link that is no port is refused.
    let plan = Plan::new(vec![
        Op::SetPort {
            ns: Ns::Host,
            port: name("p0"),
            flags: PortFlags {
                hairpin: false,
                isolated: true,
                ..PortFlags::default()
            },
        },
        set(&Ns::Host, "p0", LinkSetting::Up),
    ]);
    let error = bed.run(|kernel| kernel.apply(&plan).unwrap_err());
    assert_eq!(error.nth, 0);
    assert!(!bed.observe(&["p0"], &[]).space(&Ns::Host).links[&name("p0")].up);
}

#[test]
fn a_namespace_that_was_not_opened_is_named() {
    let bed = Bed::new();
    let elsewhere = Ns::Container("/run/netns/elsewhere".to_owned());
    let plan = Plan::new(vec![set(&elsewhere, "eth0", LinkSetting::Up)]);
    let error = bed.run(|kernel| kernel.apply(&plan).unwrap_err());
    assert!(matches!(&error.source, OpError::Unknown(ns) if *ns == elsewhere));
    assert!(!error.is_stale());
}

#[test]
fn deleted_links_are_gone_when_the_plan_returns() {
    for deletion in [Deletion::Blocking, reaper()] {
        let bed = Bed::new();
        bed.apply(segment(&bed));
        let ops = vec![del_link(&Ns::Host, "p0"), del_link(&Ns::Host, "br0")];
        let left = bed.run_with(deletion, |kernel| {
            kernel
                .observe(&bed.scope(&["p0", "br0"], &["eth0"]))
                .unwrap();
            kernel.apply(&Plan::new(ops.clone())).unwrap();
            kernel
                .observe(&bed.scope(&["p0", "br0"], &["eth0"]))
                .unwrap()
        });
        assert!(
            left.spaces.values().all(|space| space.links.is_empty()),
            "{left:?}"
        );
        let gone = bed.run(|kernel| kernel.apply(&Plan::new(ops)).unwrap_err());
        assert!(gone.is_stale());
    }
}

/// The plain request usually takes 16 ms (`rcu_barrier`). A machine with other work may take longer to start
/// the child; one that waits for the kernel is never quicker.
#[test]
fn a_handed_off_deletion_does_not_wait_for_the_kernel_to_forget_the_link() {
    let usual = |deletion: Deletion| {
        let bed = Bed::new();
        let once = || {
            bed.apply(vec![add_veth("p0", None, &bed.inside(), "eth0")]);
            bed.run_with(deletion.clone(), |kernel| {
                let start = Instant::now();
                kernel
                    .apply(&Plan::new(vec![del_link(&Ns::Host, "p0")]))
                    .unwrap();
                start.elapsed()
            })
        };
        median(once)
    };
    let mut last = String::new();
    let quicker = wait_until(LIMIT, || {
        let (plain, handed) = (usual(Deletion::Blocking), usual(reaper()));
        last = format!("{handed:?} handed off, {plain:?} plain");
        (handed < plain).then_some(())
    });
    assert!(quicker.is_some(), "{last}");
}

/// A port and its ifb device, and the deletion of both.
fn shaped_port(bed: &Bed) -> Vec<Op> {
    let ifb = Op::AddIfb {
        ns: Ns::Host,
        name: name("ifb0"),
        mac: mac(7),
        mtu: Mtu::ETHERNET,
    };
    bed.apply(vec![
        add_veth("p0", None, &bed.inside(), "eth0"),
        ifb,
        set(&Ns::Host, "ifb0", LinkSetting::Up),
        set(&Ns::Host, "p0", LinkSetting::Up),
    ]);
    ["p0", "ifb0"].map(|link| del_link(&Ns::Host, link)).into()
}

#[test]
fn a_port_and_its_ifb_device_are_gone_when_the_plan_returns() {
    skip_without!(Feature::Ifb);
    for deletion in [
        Deletion::Blocking,
        Deletion::Reaper(Reaper::new(), Wait::Gone),
        reaper(),
        Deletion::HandOff("/nonexistent".into()),
    ] {
        let bed = Bed::new();
        bed.host.ip("link add other type veth peer o").unwrap();
        let both = shaped_port(&bed);
        bed.run_with(deletion, |kernel| {
            kernel.apply(&Plan::new(both)).unwrap();
        });
        for gone in ["p0", "ifb0"] {
            assert!(!bed.host.has_link(gone).unwrap());
        }
        assert!(!bed.container.has_link("eth0").unwrap());
        assert!(bed.host.has_link("other").unwrap());
    }
}

/// As long as one: two plain requests usually take 32 ms.
#[test]
fn two_links_are_deleted_without_waiting_for_the_kernel_twice() {
    skip_without!(Feature::Ifb);
    let usual = |deletion: Deletion, at_once: usize| {
        let bed = Bed::new();
        median(|| {
            let both = shaped_port(&bed);
            bed.run_with(deletion.clone(), |kernel| {
                let start = Instant::now();
                for some in both.chunks(at_once) {
                    kernel.apply(&Plan::new(some.to_vec())).unwrap();
                }
                start.elapsed()
            })
        })
    };
    let mut last = String::new();
    let quicker = wait_until(LIMIT, || {
        let (together, one_by_one) = (usual(Deletion::Blocking, 2), usual(Deletion::Blocking, 1));
        let handed = usual(reaper(), 2);
        last = format!("{handed:?} handed off, {together:?} together, {one_by_one:?} one by one");
        (handed < together && together < one_by_one).then_some(())
    });
    assert!(quicker.is_some(), "{last}");
}

/// One takes what the other has doomed with it.
#[test]
fn many_at_once_delete_ports_with_their_ifb_devices() {
    skip_without!(Feature::Ifb);
    let bed = Bed::new();
    let links: Vec<_> = (0..16)
        .map(|nth| [format!("p{nth}"), format!("ifb{nth}")])
        .collect();
    let adds: Vec<_> = links
        .iter()
        .flat_map(|[port, ifb]| {
            [
                format!("link add {port} type veth peer x{port}"),
                format!("link add {ifb} type ifb"),
            ]
        })
        .collect();
    bed.host.ip_batch(&adds).unwrap();
    // Given up by a call that died then.
    let doomed = LinkGroup::DOOMED.0;
    bed.host
        .ip(&format!("link add left group {doomed} type ifb"))
        .unwrap();
    let staying = Reaper::new();
    std::thread::scope(|scope| {
        for (nth, links) in links.iter().enumerate() {
            let bed = &bed;
            let deletion = match nth % 3 {
                0 => Deletion::Blocking,
                1 => Deletion::Reaper(staying.clone(), Wait::Gone),
                _ => reaper(),
            };
            scope.spawn(move || {
                let both = links.each_ref().map(|link| del_link(&Ns::Host, link));
                bed.run_with(deletion, |kernel| {
                    kernel.apply(&Plan::new(both.into())).unwrap();
                });
                for link in links {
                    assert!(!bed.host.has_link(link).unwrap(), "{link}");
                }
            });
        }
    });
    assert!(!bed.host.has_link("left").unwrap());
}

#[test]
fn of_two_links_the_one_that_was_gone_is_told_and_the_other_deleted() {
    let bed = Bed::new();
    let scope = bed.scope(&["p0", "p1"], &[]);
    let plan = Plan::new(["p0", "p1"].map(|link| del_link(&Ns::Host, link)).into());
    for nth in 0..2 {
        bed.host
            .ip_batch(&[
                "link add p0 type veth peer name q0",
                "link add p1 type veth peer name q1",
            ])
            .unwrap();
        let error = bed.run(|kernel| {
            kernel.observe(&scope).unwrap();
            bed.host.ip(&format!("link del p{nth}")).unwrap();
            kernel.apply(&plan).unwrap_err()
        });
        assert_eq!((error.nth, error.is_stale()), (nth, true));
        for link in ["p0", "p1"] {
            assert!(!bed.host.has_link(link).unwrap());
        }
    }
}

#[test]
fn a_link_that_cannot_be_deleted_is_told_and_the_other_deleted() {
    let bed = Bed::new();
    bed.host.ip("link add p0 type veth peer name q0").unwrap();
    let plan = Plan::new(["lo", "p0"].map(|link| del_link(&Ns::Host, link)).into());
    let error = bed.run(|kernel| kernel.apply(&plan).unwrap_err());
    assert_eq!(error.nth, 0);
    assert!(!bed.host.has_link("p0").unwrap());
}

#[test]
fn a_reaper_that_cannot_run_costs_time_and_nothing_else() {
    let bed = Bed::new();
    bed.apply(vec![add_veth("p0", None, &bed.inside(), "eth0")]);
    bed.run_with(Deletion::HandOff("/nonexistent".into()), |kernel| {
        kernel
            .apply(&Plan::new(vec![del_link(&Ns::Host, "p0")]))
            .unwrap();
    });
    assert!(!bed.host.has_link("p0").unwrap());
}

#[test]
fn an_announcement_reaches_the_segment_once_for_each_address() {
    let bed = Bed::new();
    let inside = bed.inside();
    let mut plan = segment(&bed);
    plan.push(add_address(&inside, "eth0", "10.1.0.2/24", Dad::Skip));
    plan.push(add_address(&inside, "eth0", "fd01::2/64", Dad::Skip));
    bed.apply(plan);
    let capture = Capture::start(&bed.host, "br0").unwrap();
    let switches = || {
        [
            "net/ipv4/conf/eth0/arp_notify",
            "net/ipv6/conf/eth0/ndisc_notify",
        ]
        .map(|key| bed.container.sysctl(key).unwrap())
    };
    let before = switches();
    bed.apply(vec![Op::Announce {
        ns: inside,
        interface: name("eth0"),
        mac: mac(3),
        addresses: vec!["10.1.0.2".parse().unwrap(), "fd01::2".parse().unwrap()],
    }]);
    assert_eq!(switches(), before);
    let limit = LIMIT;
    let own: IpAddr = "10.1.0.2".parse().unwrap();
    let arp = |frame: &Captured| {
        let arp = frame.ok().and_then(|frame| frame.arp());
        arp.is_some_and(|arp| {
            arp.op == ArpOp::Request
                && arp.sender_mac == mac(3).octets()
                && IpAddr::from(arp.sender_ip) == own
                && IpAddr::from(arp.target_ip) == own
        })
    };
    capture.expect("a gratuitous ARP", limit, arp).unwrap();
    let advertised = |frame: &Captured| {
        let message = frame.ok().and_then(|frame| frame.icmpv6());
        matches!(message, Some(Icmpv6::NeighborAdvertisement { target, flags, .. })
            if target.to_string() == "fd01::2" && flags.has(Advertised::OVERRIDE))
    };
    capture
        .expect("an unsolicited NA", limit, advertised)
        .unwrap();
}

/// Whoever was told that an attachment stands sends to its addresses, and what comes before they are taken in is
/// lost without a word.
#[test]
fn an_address_is_taken_in_when_the_plan_returns() {
    let bed = Bed::new();
    let inside = bed.inside();
    let added = ["10.1.0.2/24", "fd01::2/64"];
    let own = ["10.1.0.2", "fd01::2"].map(|own| own.parse().unwrap());
    let mut scope = bed.scope(&[], &[]);
    scope.space(&inside).local = own.into();
    for nth in 0..32 {
        let mut plan = segment(&bed);
        let last = added.map(|text| add_address(&inside, "eth0", text, Dad::Skip));
        let up = plan.len() - 2;
        // Before the interface comes up, as in an ADD, and after it.
        let at = if nth % 2 == 0 { up } else { plan.len() };
        plan.splice(at..at, last);
        let world = bed.run(|kernel| {
            kernel.apply(&Plan::new(plan)).unwrap();
            kernel.observe(&scope).unwrap()
        });
        assert_eq!(world.space(&inside).local, own.into(), "round {nth}");
        bed.apply(vec![del_link(&Ns::Host, "p0"), del_link(&Ns::Host, "br0")]);
    }
}

fn kept(address: &str) -> Op {
    Op::SetNeighbour {
        ns: Ns::Host,
        link: name("br0"),
        neighbour: Neighbour {
            address: address.parse().unwrap(),
            mac: mac(3),
        },
    }
}

fn block(destination: &str, there: bool) -> Op {
    let (ns, destination) = (Ns::Host, destination.parse().unwrap());
    if there {
        Op::AddBlackhole { ns, destination }
    } else {
        Op::DelBlackhole { ns, destination }
    }
}

/// What `ip` does with the printed line, next to what the operation does.
#[test]
fn an_operation_does_what_its_line_says() {
    let (by_op, by_line) = (Bed::new(), Bed::new());
    let plans = [&by_op, &by_line].map(|bed| {
        let inside = bed.inside();
        let mut wide = route("10.9.0.0/16", Some("10.1.0.1"), "eth0", 7);
        wide.mtu = Some(1380);
        vec![
            add_bridge("br0"),
            set(&Ns::Host, "br0", LinkSetting::NoLinkLocal),
            set(&Ns::Host, "br0", LinkSetting::NoLinkLocalLearning),
            set(&Ns::Host, "br0", LinkSetting::Promiscuous(Switch::On)),
            add_address(&Ns::Host, "br0", "10.1.0.1/24", Dad::Skip),
            set(&Ns::Host, "br0", LinkSetting::Up),
            add_veth("p0", Some("br0"), &inside, "eth0"),
            Op::SetPort {
                ns: Ns::Host,
                port: name("p0"),
                flags: PortFlags {
                    hairpin: true,
                    isolated: true,
                    multicast_router: MulticastRouter::Never,
                    max_groups: None,
                    ..PortFlags::default()
                },
            },
            set(&inside, "eth0", LinkSetting::NoLinkLocal),
            add_address(&inside, "eth0", "10.1.0.2/24", Dad::Skip),
            add_address(&inside, "eth0", "fd01::2/64", Dad::Skip),
            Op::AddAddress {
                ns: inside.clone(),
                link: name("eth0"),
                address: address("fd02::2/64"),
                dad: Dad::Skip,
                on_link: OnLink::Nothing,
            },
            set(&inside, "eth0", LinkSetting::Mtu(Mtu::new(1390).unwrap())),
            set(&inside, "eth0", LinkSetting::Up),
            set(&Ns::Host, "p0", LinkSetting::Up),
            add_route(&inside, &wide),
            add_route(&inside, &route("0.0.0.0/0", Some("10.1.0.1"), "eth0", 0)),
            add_route(&inside, &route("::/0", Some("fd01::1"), "eth0", 1024)),
            Op::DelAddress {
                ns: inside.clone(),
                link: name("eth0"),
                address: address("fd01::2/64"),
            },
            kept("10.1.0.2"),
            kept("fd01::2"),
            block("10.9.0.0/16", true),
            block("fd09::/64", true),
            block("10.9.0.0/16", false),
            block("fd09::/64", false),
            set(&Ns::Host, "p0", LinkSetting::NoBridge),
            del_link(&Ns::Host, "p0"),
        ]
    });
    let scoped = |bed: &Bed| {
        let mut scope = bed.scope(&["br0", "p0"], &["eth0"]);
        let host = scope.space(&Ns::Host);
        host.blackholes = true;
        host.neighbours = ["10.1.0.2", "fd01::2"]
            .map(|address| (name("br0"), address.parse().unwrap()))
            .into();
        bed.run(|kernel| kernel.observe(&scope).unwrap())
    };
    for (op, line) in plans[0].iter().zip(&plans[1]) {
        by_op.apply(vec![op.clone()]);
        by_line.host.sh(&line.to_string()).unwrap();
        assert_eq!(
            anonymous(scoped(&by_op), &by_op),
            anonymous(scoped(&by_line), &by_line),
            "{line}"
        );
    }
}

/// The spaces without what names the bed, and without the mark that `ip` has no reason to set.
fn anonymous(world: World, bed: &Bed) -> Vec<Space> {
    use bulkhead_plan::LinkKind;
    let place = Ns::Container("c".to_owned());
    let mut spaces: Vec<Space> = world.spaces.into_values().collect();
    for link in spaces.iter_mut().flat_map(|space| space.links.values_mut()) {
        link.group = LinkGroup(0);
        if let LinkKind::Veth {
            peer: Some((ns, _)),
        } = &mut link.kind
            && *ns == bed.inside()
        {
            *ns = place.clone();
        }
    }
    spaces
}

#[test]
fn many_at_once_plug_and_unplug_on_one_bridge() {
    const THREADS: u8 = 32;
    let bed = Bed::new();
    bed.apply(vec![
        add_bridge("br0"),
        set(&Ns::Host, "br0", LinkSetting::Up),
    ]);
    let containers: Vec<_> = (0..THREADS)
        .map(|nth| bed.sandbox.ns(&format!("c{nth}")).unwrap())
        .collect();
    std::thread::scope(|scope| {
        for (nth, container) in containers.iter().enumerate() {
            let host = bed.host.clone();
            scope.spawn(move || {
                host.enter(|| {
                    let inside = ns(container);
                    let mut kernel = Kernel::new(Deletion::Blocking)
                        .with(inside.clone(), Netns::open(container.path()).unwrap());
                    let port = format!("p{nth}");
                    let plan = Plan::new(vec![
                        add_veth(&port, Some("br0"), &inside, "eth0"),
                        add_address(&inside, "eth0", "10.1.0.2/16", Dad::Skip),
                        set(&inside, "eth0", LinkSetting::Up),
                        add_route(&inside, &route("0.0.0.0/0", Some("10.1.0.1"), "eth0", 0)),
                        set(&Ns::Host, &port, LinkSetting::Up),
                        Op::AwaitForwarding {
                            ns: Ns::Host,
                            port: name(&port),
                        },
                    ]);
                    kernel.apply(&plan).unwrap();
                    if nth % 2 == 0 {
                        kernel
                            .apply(&Plan::new(vec![del_link(&Ns::Host, &port)]))
                            .unwrap();
                    }
                })
                .unwrap();
            });
        }
    });
    let mut scope = bed.scope(&[], &[]);
    scope.space(&Ns::Host).ports_of = names(&["br0"]);
    let ports = || {
        let world = bed.run(|kernel| kernel.observe(&scope).unwrap());
        world
            .space(&Ns::Host)
            .links
            .values()
            .filter(|link| link.bridge.is_some())
            .count()
    };
    assert_eq!(ports(), usize::from(THREADS) / 2);
    bed.apply(vec![del_link(&Ns::Host, "br0")]);
    wait_for("the bridge to be gone", LIMIT, || {
        (!bed.host.has_link("br0").unwrap()).then_some(())
    });
}
