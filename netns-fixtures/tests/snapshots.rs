//! A snapshot sees every kind of thing that is left behind, and nothing that moves by itself.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use netns_fixtures::{End, Host, Outside, Ping, Sandbox, Section, Snapshot, veth};

/// How long anything that must happen may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(40);

fn host(sandbox: &Sandbox) -> Host {
    let host = sandbox.host("host").unwrap();
    sandbox.outside("outside").unwrap().link(&host, 1).unwrap();
    host
}

#[test]
fn traffic_and_its_learned_state_are_no_difference() {
    let sandbox = Sandbox::new();
    let host = host(&sandbox);
    host.bridge("br0", &["10.1.0.254/24"]).unwrap();
    let container = sandbox.container("c").unwrap();
    let inner = End::new(&container, "eth0").address("10.1.0.1/24");
    veth(&End::new(&host, "port"), &inner).unwrap();
    host.ip("link set port master br0").unwrap();
    host.nft("add table ip t\nadd chain ip t c { type filter hook input priority 0; }\nadd rule ip t c counter")
        .unwrap();
    assert!(Ping::new(Ipv4Addr::new(10, 1, 0, 1)).from(&host).unwrap());
    let before = Snapshot::settled(&host, LIMIT).unwrap();
    for to in [
        IpAddr::from(Outside::V4),
        Outside::V6.into(),
        Ipv4Addr::new(10, 1, 0, 1).into(),
    ] {
        assert!(Ping::new(to).from(&host).unwrap());
    }
    assert_eq!(
        before.diff(&Snapshot::take(&host).unwrap()),
        Vec::<String>::new()
    );
}

/// What is done, what undoes it, and the section that must show it.
const CHANGES: &[(&str, &str, Section)] = &[
    (
        "ip link add v0 type veth peer v1",
        "ip link del v0",
        Section::Link,
    ),
    (
        "ip link set uplink0 group 7",
        "ip link set uplink0 group default",
        Section::Link,
    ),
    (
        "ip addr add 10.9.9.9/32 dev lo",
        "ip addr del 10.9.9.9/32 dev lo",
        Section::Address,
    ),
    (
        "ip -6 route add unreachable 2001:db8:9::/48 table 77 proto 99",
        "ip -6 route del unreachable 2001:db8:9::/48 table 77",
        Section::Route,
    ),
    (
        "ip rule add fwmark 7 lookup 77",
        "ip rule del fwmark 7",
        Section::Rule,
    ),
    (
        "ip -6 rule add fwmark 7 lookup 77",
        "ip -6 rule del fwmark 7",
        Section::Rule,
    ),
    (
        "ip nexthop add id 9 blackhole",
        "ip nexthop del id 9",
        Section::Nexthop,
    ),
    (
        "ip neigh add 192.0.1.9 lladdr 02:00:00:00:00:09 dev uplink0 nud permanent",
        "ip neigh del 192.0.1.9 dev uplink0",
        Section::Neighbour,
    ),
    (
        "bridge fdb add 02:00:00:00:00:09 dev uplink0 self permanent",
        "bridge fdb del 02:00:00:00:00:09 dev uplink0 self",
        Section::Fdb,
    ),
    ("nft add table ip x", "nft delete table ip x", Section::Nft),
    (
        "tc qdisc add dev uplink0 clsact",
        "tc qdisc del dev uplink0 clsact",
        Section::Qdisc,
    ),
    (
        "sysctl -q net.ipv6.conf.uplink0.accept_ra=2",
        "sysctl -q net.ipv6.conf.uplink0.accept_ra=1",
        Section::Sysctl,
    ),
];

#[test]
fn every_kind_of_change_is_seen_and_its_undoing_too() {
    let sandbox = Sandbox::new();
    let host = host(&sandbox);
    assert!(Ping::new(Outside::V4).from(&host).unwrap());
    let before = Snapshot::take(&host).unwrap();
    for (change, undo, section) in CHANGES {
        host.sh(change).unwrap();
        let changed = Snapshot::take(&host).unwrap();
        let only = before.diff_where(&changed, |s, _| s == *section);
        assert!(!only.is_empty(), "{change}: {:#?}", before.diff(&changed));
        host.sh(undo).unwrap();
        let after = Snapshot::take(&host).unwrap();
        assert_eq!(before.diff(&after), Vec::<String>::new(), "{undo}");
    }
}

#[test]
fn what_the_kernel_finishes_later_is_waited_for() {
    let sandbox = Sandbox::new();
    let host = host(&sandbox);
    let before = Snapshot::take(&host).unwrap();
    let container = sandbox.container("c").unwrap();
    veth(&End::new(&host, "port"), &End::new(&container, "eth0")).unwrap();
    let left = before.left_in(&host, Duration::from_millis(50)).unwrap();
    assert!(
        left.iter().any(|line| line.starts_with("+ link port")),
        "{left:#?}"
    );
    sandbox.remove(&container).unwrap();
    let left = before.left_in(&host, LIMIT).unwrap();
    assert_eq!(left, Vec::<String>::new());
}

#[test]
fn a_difference_reads_as_what_happened() {
    let sandbox = Sandbox::new();
    let host = host(&sandbox);
    let before = Snapshot::take(&host).unwrap();
    host.ip("link set uplink0 mtu 1400").unwrap();
    host.ip("addr add 10.9.9.9/32 dev lo").unwrap();
    host.ip("addr del 192.0.1.2/24 dev uplink0").unwrap();
    let after = Snapshot::take(&host).unwrap();
    let lines = before.diff_where(&after, |section, _| section < Section::Route);
    let starts = [
        "~ link uplink0: mtu 1500 -> 1400",
        "+ address lo 10.9.9.9/32",
        "- address uplink0 192.0.1.2/24",
    ];
    assert_eq!(lines.len(), starts.len(), "{lines:#?}");
    for start in starts {
        assert!(
            lines.iter().any(|line| line.starts_with(start)),
            "{start}: {lines:#?}"
        );
    }
    let forwarding = after.value(Section::Sysctl, "net/ipv4/ip_forward");
    assert_eq!(forwarding, Some("0"));
    assert_eq!(after.section(Section::Link).count(), 2);
}
