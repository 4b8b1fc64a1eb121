//! The namespace's own addresses, and UDP flows to them.

mod common;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use bulkhead_plan::{Flow, Ns, Op, Plan, Scope};
use common::*;
use netns_fixtures::wait_for;

/// Two addresses of the node in each family, a segment beside it, and connection tracking: port 5300
/// of the first address leads to port 53 of the second, and port 5301 is of another zone.
const RULES: &str = "
table inet t {
    chain zones {
        type filter hook output priority raw
        udp dport 5301 ct zone set 5
        udp dport 5302 ct original zone set 5
    }
    chain tracked {
        type filter hook output priority 0
        ct state new accept
    }
    chain translated {
        type nat hook output priority -100
        ip daddr 10.7.0.1 udp dport 5300 dnat ip to 10.7.0.2:53
        ip6 daddr fd07::1 udp dport 5300 dnat ip6 to [fd07::2]:53
    }
}";

fn tracking() -> Bed {
    let bed = Bed::new();
    bed.apply(segment(&bed));
    bed.host
        .ip_batch(&[
            "addr add 10.7.0.1/32 dev lo",
            "addr add 10.7.0.2/32 dev lo",
            "addr add fd07::1/128 dev lo nodad",
            "addr add fd07::2/128 dev lo nodad",
            "addr add 10.8.0.1/24 dev br0",
            "addr add fd08::1/64 dev br0 nodad",
        ])
        .unwrap();
    bed.host.nft(RULES).unwrap();
    // An IPv6 address is the namespace's own once a worker has looked at it (`addrconf_dad_work`).
    wait_for("the addresses' routes", Duration::from_secs(40), || {
        let routes = bed.host.ip("-6 route show table local").unwrap();
        ["fd07::1", "fd07::2", "fd08::1"]
            .iter()
            .all(|own| routes.contains(&format!("local {own} ")))
            .then_some(())
    });
    bed
}

fn socket(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Sends one datagram and tells who sent it.
fn send(bed: &Bed, to: SocketAddr) -> SocketAddr {
    bed.host
        .enter(|| {
            let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let sender = UdpSocket::bind(any).unwrap();
            sender.connect(to).unwrap();
            sender.send(b"x").unwrap();
            sender.local_addr().unwrap()
        })
        .unwrap()
}

fn flows(bed: &Bed, ports: &[u16]) -> BTreeSet<Flow> {
    let mut scope = Scope::default();
    scope.space(&Ns::Host).flows = ports.iter().copied().collect();
    let world = bed.run(|kernel| kernel.observe(&scope).unwrap());
    world.space(&Ns::Host).flows.clone()
}

fn forget<'f>(flows: impl IntoIterator<Item = &'f Flow>) -> Vec<Op> {
    let forget = |flow: &Flow| Op::DelFlow {
        ns: Ns::Host,
        flow: *flow,
    };
    flows.into_iter().map(forget).collect()
}

#[test]
fn own_addresses_are_told_from_all_others() {
    let bed = tracking();
    bed.host
        .ip_batch(&[
            "route add unreachable 10.9.0.0/24",
            "route add blackhole 10.9.1.0/24",
            "route add prohibit 10.9.2.0/24",
            "route add unreachable fd09::/64",
            "route add blackhole fd09:1::/64",
        ])
        .unwrap();
    let own = [
        "127.0.0.1",
        "127.9.9.9",
        "::1",
        "10.7.0.1",
        "10.8.0.1",
        "fd07::2",
        "fd08::1",
    ];
    let others = [
        "10.8.0.2",
        "10.8.0.255",
        "224.0.0.1",
        "10.9.0.1",
        "10.9.1.1",
        "10.9.2.1",
        "192.0.2.1",
        "fd08::2",
        "fd09::1",
        "fd09:1::1",
        "2001:db8::1",
        "ff02::1",
    ];
    let parse = |text: &&str| text.parse::<IpAddr>().unwrap();
    let own: BTreeSet<IpAddr> = own.iter().map(parse).collect();
    let mut scope = Scope::default();
    scope.space(&Ns::Host).local = others.iter().map(parse).chain(own.clone()).collect();
    scope.space(&bed.inside()).local = own.clone();
    let world = bed.run(|kernel| kernel.observe(&scope).unwrap());
    assert_eq!(world.space(&Ns::Host).local, own);
    let inside = &world.space(&bed.inside()).local;
    let loopback: BTreeSet<_> = own
        .into_iter()
        .filter(|a| a.to_string().starts_with("127.") || *a == parse(&"::1"))
        .collect();
    assert_eq!(*inside, loopback);
}

#[test]
fn flows_are_seen_as_their_first_packet_made_them() {
    let bed = tracking();
    let [plain4, plain6, moved4, moved6] = [
        "10.7.0.2:5000",
        "[fd07::2]:5000",
        "10.7.0.1:5300",
        "[fd07::1]:5300",
    ]
    .map(socket);
    let flow = |destination, answerer| Flow {
        source: send(&bed, destination),
        destination,
        answerer,
    };
    let all: BTreeSet<_> = [
        flow(plain4, plain4),
        flow(plain6, plain6),
        flow(moved4, socket("10.7.0.2:53")),
        flow(moved6, socket("[fd07::2]:53")),
    ]
    .into();
    assert_eq!(flows(&bed, &[5000, 5300]), all);
    // Told to the kernel, if it is one port.
    let of_port = |port| {
        all.iter()
            .copied()
            .filter(move |flow| flow.destination.port() == port)
    };
    assert_eq!(flows(&bed, &[5000]), of_port(5000).collect());
    assert_eq!(flows(&bed, &[5300]), of_port(5300).collect());
    // Where it is translated to is not where it was sent.
    assert!(flows(&bed, &[53]).is_empty());
    assert!(flows(&bed, &[]).is_empty());
}

#[test]
fn what_is_for_others_or_of_another_zone_is_not_seen() {
    let bed = tracking();
    let mine = socket("10.8.0.1:5000");
    let source = send(&bed, mine);
    for other in [
        "10.8.0.2:5000",
        "[fd08::2]:5000",
        "10.7.0.1:5301",
        "10.7.0.1:5302",
    ] {
        send(&bed, socket(other));
    }
    let dump = bed
        .host
        .enter(|| std::fs::read_to_string("/proc/thread-self/net/nf_conntrack"))
        .unwrap()
        .unwrap();
    assert_eq!(dump.matches(" udp ").count(), 5, "{dump}");
    let seen = Flow {
        source,
        destination: mine,
        answerer: mine,
    };
    assert_eq!(flows(&bed, &[5000, 5301, 5302]), [seen].into());
}

#[test]
fn a_namespace_that_tracks_nothing_has_no_flows() {
    let bed = Bed::new();
    send(&bed, socket("127.0.0.1:5000"));
    assert!(flows(&bed, &[5000]).is_empty());
}

#[test]
fn a_forgotten_flow_is_gone_alone_and_gone_is_no_error() {
    let bed = tracking();
    let to = [
        "10.7.0.1:5300",
        "[fd07::1]:5300",
        "10.7.0.2:5000",
        "[fd07::2]:5000",
    ]
    .map(socket);
    for destination in to.iter().chain(&to) {
        send(&bed, *destination);
    }
    let all = flows(&bed, &[5000, 5300]);
    assert_eq!(all.len(), 8);
    let (gone, left): (Vec<_>, Vec<_>) = all.iter().enumerate().partition(|(nth, _)| nth % 2 == 0);
    let gone: Vec<Flow> = gone.into_iter().map(|(_, flow)| *flow).collect();
    let left: BTreeSet<Flow> = left.into_iter().map(|(_, flow)| *flow).collect();
    bed.apply(forget(&gone));
    assert_eq!(flows(&bed, &[5000, 5300]), left);
    // All of them once more, among those that are there.
    bed.apply(forget(&all));
    assert!(flows(&bed, &[5000, 5300]).is_empty());
}

#[test]
fn two_thousand_flows_are_seen_and_forgotten() {
    let bed = tracking();
    let targets: Vec<SocketAddr> = (0..2000_u16)
        .map(|nth| {
            let [high, low] = nth.to_be_bytes();
            SocketAddr::from(([127, 1, high, low], 5000))
        })
        .collect();
    bed.host
        .enter(|| {
            let sender = UdpSocket::bind("0.0.0.0:0").unwrap();
            for target in &targets {
                sender.send_to(b"x", target).unwrap();
            }
        })
        .unwrap();
    let mut mine = ["10.7.0.1:5300", "[fd07::1]:5300"].map(|to| send(&bed, socket(to)));
    mine.sort_unstable();
    let all = flows(&bed, &[5000]);
    let seen: BTreeSet<_> = all.iter().map(|flow| flow.destination).collect();
    assert_eq!(seen, targets.into_iter().collect());
    let both = flows(&bed, &[5000, 5300]);
    assert_eq!(both.len(), all.len() + 2);
    assert!(both.is_superset(&all));
    bed.run(|kernel| kernel.apply(&Plan::new(forget(&all))).unwrap());
    let left = flows(&bed, &[5000, 5300]);
    assert_eq!(
        left.iter().map(|flow| flow.source).collect::<Vec<_>>(),
        mine
    );
}

#[test]
fn addresses_are_known_by_the_flows_of_either_direction() {
    let bed = tracking();
    let address = |text: &str| -> IpAddr { text.parse().unwrap() };
    send(&bed, socket("10.7.0.1:5300"));
    send(&bed, socket("[fd07::2]:5000"));
    // Of another zone too: whose packets they are matters, not who tracks them.
    send(&bed, socket("10.8.0.1:5301"));
    let known = ["10.7.0.1", "10.7.0.2", "fd07::2", "10.8.0.1"].map(address);
    let others = ["10.9.0.1", "fd09::1"].map(address);
    let wanted = known.into_iter().chain(others).collect();
    let tracked = bed.run(|kernel| kernel.tracked(&wanted).unwrap());
    assert_eq!(tracked, known.into());
    let bed = Bed::new();
    assert!(
        bed.run(|kernel| kernel.tracked(&wanted).unwrap())
            .is_empty()
    );
}
