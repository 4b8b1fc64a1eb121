//! Ifb devices and token bucket filters.

mod common;

use bulkhead_model::{LinkGroup, Mtu, RateLimit};
use bulkhead_plan::{LinkKind, LinkSetting, Ns, Op, Plan, Shape};
use common::*;
use netns_fixtures::{Feature, skip_without};

fn add_ifb(ifb: &str) -> Op {
    Op::AddIfb {
        ns: Ns::Host,
        name: name(ifb),
        mac: mac(7),
        mtu: Mtu::new(1400).unwrap(),
    }
}

fn shape(link: &str, shape: Shape) -> Op {
    Op::SetShape {
        ns: Ns::Host,
        link: name(link),
        shape,
    }
}

fn shape_of(bed: &Bed, link: &str) -> Option<Shape> {
    bed.observe(&[link], &[]).space(&Ns::Host).links[&name(link)].shape
}

fn rates() -> impl Iterator<Item = Shape> {
    let rates = [
        64_000,
        65_432,
        1_000_000,
        1_536_001,
        100_000_000,
        1_000_000_000,
        9_999_999_999,
        34_359_738_367,
        34_359_738_368,
        40_000_000_000,
    ];
    let bursts = [1, 80_000, 8 << 20, 8_000_000_000, u64::from(u32::MAX)];
    rates.into_iter().flat_map(move |rate| {
        // Past 274 s at the rate the kernel cannot tell the burst.
        let bursts = bursts.into_iter().filter(move |burst| burst / rate < 274);
        bursts.map(move |burst| Shape::new(RateLimit { rate, burst }, Mtu::ETHERNET))
    })
}

#[test]
fn an_ifb_device_is_ours_and_down_when_it_is_created() {
    skip_without!(Feature::Ifb);
    let bed = Bed::new();
    bed.apply(vec![add_ifb("bhia")]);
    let world = bed.observe(&["bhia"], &[]);
    let link = &world.space(&Ns::Host).links[&name("bhia")];
    assert_eq!(link.kind, LinkKind::Other("ifb".to_owned()));
    assert_eq!((link.mac, link.mtu.bytes()), (Some(mac(7)), 1400));
    assert_eq!((link.group, link.shape), (LinkGroup::OWNED, None));
    assert!(!link.up);
    let queues = bed.host.ip("-d link show bhia").unwrap();
    assert!(queues.contains("numtxqueues 1 numrxqueues 1"), "{queues}");

    let again = bed.run(|kernel| kernel.apply(&Plan::new(vec![add_ifb("bhia")])).unwrap_err());
    assert!(again.is_stale(), "{again:?}");
}

#[test]
fn a_shape_reads_back_as_it_was_set_and_changed() {
    let bed = Bed::new();
    bed.apply(vec![add_veth("p0", None, &bed.inside(), "eth0")]);
    assert_eq!(shape_of(&bed, "p0"), None);
    let all: Vec<_> = rates().collect();
    assert!(all.len() > 40);
    // Each replaces the one before it; back to front, so that rates fall too.
    for wanted in all.iter().chain(all.iter().rev()) {
        bed.apply(vec![shape("p0", *wanted)]);
        assert_eq!(shape_of(&bed, "p0"), Some(*wanted));
    }
}

#[test]
fn a_shape_stands_on_a_link_that_is_up_and_outlives_its_down() {
    skip_without!(Feature::Ifb);
    let bed = Bed::new();
    let limits = rates().take(2).collect::<Vec<_>>();
    bed.apply(vec![
        add_ifb("bhia"),
        shape("bhia", limits[0]),
        set(&Ns::Host, "bhia", LinkSetting::Up),
        shape("bhia", limits[1]),
    ]);
    assert_eq!(shape_of(&bed, "bhia"), Some(limits[1]));
    bed.apply(vec![set(&Ns::Host, "bhia", LinkSetting::Down)]);
    assert_eq!(shape_of(&bed, "bhia"), Some(limits[1]));
}

#[test]
fn another_qdisc_is_no_shape_and_makes_way_for_one() {
    let bed = Bed::new();
    bed.apply(vec![add_veth("p0", None, &bed.inside(), "eth0")]);
    let wanted = rates().next().unwrap();
    let others = [
        "pfifo limit 100",
        "tbf rate 8mbit burst 16kb limit 1mb peakrate 16mbit mtu 2kb",
        "tbf rate 8mbit burst 16kb limit 1mb overhead 24",
    ];
    for other in others {
        bed.host
            .sh(&format!("tc qdisc replace dev p0 root {other}"))
            .unwrap();
        assert_eq!(shape_of(&bed, "p0"), None, "{other}");
        bed.apply(vec![shape("p0", wanted)]);
        assert_eq!(shape_of(&bed, "p0"), Some(wanted), "{other}");
    }
    bed.host.sh("tc qdisc del dev p0 root").unwrap();
    assert_eq!(shape_of(&bed, "p0"), None);
}

#[test]
fn a_filter_that_tc_made_from_our_line_is_the_same_shape() {
    let bed = Bed::new();
    bed.apply(vec![add_veth("p0", None, &bed.inside(), "eth0")]);
    for wanted in rates() {
        let line = shape("p0", wanted).to_string();
        bed.host.sh(&line).unwrap();
        assert_eq!(shape_of(&bed, "p0"), Some(wanted), "{line}");
    }
}
