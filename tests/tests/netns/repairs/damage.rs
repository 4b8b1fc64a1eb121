//! What others do to what we made, one thing at a time.

use std::process::Command;

use netns_fixtures::{
    BridgeNetfilter, Capture, CaptureError, Feature, PacketSocket, skip_without, wait_for,
};
use serde_json::Value;

use super::Street;
use super::flow::Flow;
use crate::claims;
use crate::filter::{SPOOFED, datagram, to_port};
use crate::node::LIMIT;

claims! {
    a_flushed_ruleset_is_mended_and_filters_again,
    a_deleted_table_is_mended,
    a_deleted_chain_is_mended,
    a_deleted_element_is_mended,
    a_deleted_link_is_mended,
    a_link_that_was_changed_is_mended,
    a_mac_that_was_changed_is_mended,
    a_limit_that_was_changed_is_mended,
    flushed_addresses_routes_and_neighbours_are_mended,
    sysctls_are_mended,
    all_at_once_is_mended,
}

/// Something done to the node.
#[derive(Clone, Copy)]
struct Damage {
    /// The command, for a shell on the node.
    does: &'static str,
    /// What `check` then names: of each attachment that it concerns, a part of each line in order.
    /// `..` is any more lines.
    names: &'static [(&'static str, &'static [&'static str])],
    /// The flows that it cannot but interrupt.
    stops: &'static [&'static str],
}

const ALL: &[&str] = &["a", "a:8080", "b", "b:8081", "c"];
const BLUE: &[&str] = &["a", "a:8080", "b", "b:8081"];
const A: &[&str] = &["a", "a:8080"];
const PORTS: &[&str] = &["a:8080", "b:8081"];
const NONE: &[&str] = &[];

/// The same named on all three, on both of the network with host ports, or on `a` alone.
macro_rules! on {
    (all, $parts:expr) => {
        &[("a", $parts), ("b", $parts), ("c", $parts)]
    };
    (blue, $parts:expr) => {
        &[("a", $parts), ("b", $parts)]
    };
    ($one:ident, $parts:expr) => {
        &[(stringify!($one), $parts)]
    };
}

fn damage(
    does: &'static str,
    names: &'static [(&'static str, &'static [&'static str])],
    stops: &'static [&'static str],
) -> Damage {
    Damage { does, names, stops }
}

/// Each is done twice, and mended by what `check` prints and by `--repair`.
fn each_is_mended(setting: BridgeNetfilter, all: &[Damage]) {
    skip_without!(Feature::Tbf);
    let street = Street::new(setting);
    street.assert_sound("ADD");
    for damage in all {
        mended(&street, damage, Mender::Shell);
        mended(&street, damage, Mender::Repair);
    }
    street.tear_down();
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Mender {
    /// A shell runs what `check` prints.
    Shell,
    /// `check --repair`.
    Repair,
}

fn mended(street: &Street, damage: &Damage, mender: Mender) {
    let does = street.named(damage.does);
    let flows = street.flows();
    street.shell(&does);
    assert_named(street, damage);
    match mender {
        Mender::Shell => drop(street.run_what_check_prints()),
        Mender::Repair => assert_repaired(street, damage),
    }
    street.assert_sound(&format!("{does}, mended by {mender:?}"));
    for flow in flows {
        let so_far = flow.answered();
        wait_for(
            &format!("{} to go on after {does}", flow.name),
            LIMIT,
            || (flow.answered() > so_far).then_some(()),
        );
        if damage.stops.contains(&flow.name) {
            flow.abandon();
            continue;
        }
        let (name, lost) = (flow.name, flow.end());
        assert_eq!(
            lost, 0,
            "{lost} packets of {name} were lost to {does}, mended by {mender:?}"
        );
    }
}

/// `check` names what was damaged, all of it, and nothing else.
#[track_caller]
fn assert_named(street: &Street, damage: &Damage) {
    let said = street.check("");
    assert_eq!(said.code, 5, "{}: {said:#?}", damage.does);
    for (name, verdict) in street.by_name(&said) {
        let expected = damage.names.iter().find(|(it, _)| *it == name);
        let Some((_, parts)) = expected else {
            assert_eq!(verdict["state"], "ok", "{}: {verdict:#}", damage.does);
            continue;
        };
        assert_eq!(verdict["state"], "drift", "{}: {verdict:#}", damage.does);
        let lines = lines(&verdict["drift"]);
        let parts: Vec<_> = parts.iter().map(|part| street.named(part)).collect();
        let open = parts.last().is_some_and(|part| part == "..");
        let parts = &parts[..parts.len() - usize::from(open)];
        let counts = lines.len() == parts.len() || open && lines.len() >= parts.len();
        let all = lines
            .iter()
            .zip(parts)
            .all(|(line, part)| line.contains(part));
        assert!(counts && all, "{}: {name}: {lines:#?}", damage.does);
    }
}

#[track_caller]
fn assert_repaired(street: &Street, damage: &Damage) {
    let said = street.check("--repair");
    assert_eq!(said.code, 0, "{}: {said:#?}", damage.does);
    for (name, verdict) in street.by_name(&said) {
        let hit = damage.names.iter().any(|(it, _)| *it == name);
        let state = if hit { "repaired" } else { "ok" };
        assert_eq!(verdict["state"], state, "{}: {verdict:#}", damage.does);
    }
}

/// The commands, without what only netlink can say.
fn lines(commands: &Value) -> Vec<&str> {
    let all = commands.as_array().into_iter().flatten();
    all.map(|line| line.as_str().unwrap())
        .filter(|line| !line.starts_with("# netlink:"))
        .collect()
}

const FLUSHED: Damage = Damage {
    does: "nft flush ruleset",
    names: &[
        ("a", ALL_TABLES),
        ("b", ALL_TABLES),
        (
            "c",
            &[
                "create table netdev bulkhead ",
                "create table inet bulkhead-segments ",
                "create table inet {green} ",
            ],
        ),
    ],
    stops: PORTS,
};
const ALL_TABLES: &[&str] = &[
    "create table netdev bulkhead ",
    "create table inet bulkhead-segments ",
    "create table inet bulkhead-ports ",
    "create table inet {blue} ",
];

fn a_flushed_ruleset_is_mended_and_filters_again(setting: BridgeNetfilter) {
    skip_without!(Feature::Tbf);
    let street = Street::new(setting);
    for mender in [Mender::Shell, Mender::Repair] {
        spoof(&street).unwrap();
        street.shell(FLUSHED.does);
        let passed = spoof(&street);
        let open = matches!(passed, Err(CaptureError::Unwanted { .. }));
        assert!(open, "a flush opens every port: {passed:?}");
        assert_repaired(&street, &FLUSHED);
        spoof(&street).unwrap();
        mended(&street, &FLUSHED, mender);
        spoof(&street).unwrap();
    }
    street.tear_down();
}

/// `c` sends a frame with a MAC that is not its own, then one with its own.
fn spoof(street: &Street) -> Result<(), CaptureError> {
    let c = &street.attachments[2];
    let capture = Capture::start(&street.node.host, "br-green").unwrap();
    let sender = PacketSocket::open(&c.container, "eth0").unwrap();
    sender.send(&datagram(SPOOFED, 4001)).unwrap();
    sender.send(&datagram(c.mac(), 4002)).unwrap();
    capture.none_before("a spoofed frame", LIMIT, to_port(4001), to_port(4002))
}

fn a_deleted_table_is_mended(setting: BridgeNetfilter) {
    each_is_mended(
        setting,
        &[
            damage(
                "nft delete table netdev bulkhead",
                on!(all, &["create table netdev bulkhead "]),
                NONE,
            ),
            damage(
                "nft delete table inet bulkhead-ports",
                on!(blue, &["create table inet bulkhead-ports "]),
                NONE,
            ),
            damage(
                "nft delete table inet bulkhead-segments",
                on!(all, &["create table inet bulkhead-segments "]),
                NONE,
            ),
            damage(
                "nft delete table inet {blue}",
                on!(blue, &["create table inet {blue} "]),
                NONE,
            ),
            damage(
                "nft delete table inet {green}",
                on!(c, &["create table inet {green} "]),
                NONE,
            ),
        ],
    );
}

fn a_deleted_chain_is_mended(setting: BridgeNetfilter) {
    each_is_mended(
        setting,
        &[
            damage(
                "nft delete chain netdev bulkhead port-{A}",
                on!(a, &["create chain netdev bulkhead port-{A} "]),
                NONE,
            ),
            damage(
                "nft flush chain netdev bulkhead pod",
                on!(all, &["delete table netdev bulkhead\n"]),
                ALL,
            ),
            damage(
                "nft flush chain netdev bulkhead bound",
                on!(all, &["delete table netdev bulkhead\n"]),
                ALL,
            ),
            damage(
                "nft flush chain inet bulkhead-segments forward",
                on!(all, &["delete table inet bulkhead-segments\n"]),
                NONE,
            ),
            damage(
                "nft delete chain inet bulkhead-ports martians",
                on!(blue, &["delete table inet bulkhead-ports\n"]),
                NONE,
            ),
            damage(
                "nft delete chain inet bulkhead-ports prerouting",
                on!(blue, &["delete table inet bulkhead-ports\n"]),
                NONE,
            ),
            damage(
                "nft flush chain inet bulkhead-ports host",
                on!(blue, &["delete table inet bulkhead-ports\n"]),
                NONE,
            ),
            damage(
                "nft delete chain inet {blue} postrouting",
                on!(blue, &["delete table inet {blue}\n"]),
                NONE,
            ),
        ],
    );
}

fn a_deleted_element_is_mended(setting: BridgeNetfilter) {
    each_is_mended(
        setting,
        &[
            damage(
                "nft delete element netdev bulkhead id2 '{ {A} . {mac-a} }'",
                on!(a, &["add element netdev bulkhead id2 "]),
                A,
            ),
            damage(
                "nft delete element netdev bulkhead macs '{ {C} . {mac-c} }'",
                on!(c, &["add element netdev bulkhead macs "]),
                &["c"],
            ),
            damage(
                "nft delete element netdev bulkhead shaped '{ {A} }'",
                on!(a, &["add element netdev bulkhead shaped "]),
                NONE,
            ),
            damage(
                "nft delete element inet bulkhead-ports every4 '{ tcp . 8080 }'",
                on!(a, &["add element inet bulkhead-ports every4 { tcp . 8080 "]),
                NONE,
            ),
            damage(
                "nft delete element inet bulkhead-ports every6 '{ udp . 8081 }'",
                on!(b, &["add element inet bulkhead-ports every6 { udp . 8081 "]),
                NONE,
            ),
        ],
    );
}

fn a_deleted_link_is_mended(setting: BridgeNetfilter) {
    const BRIDGE: &[&str] = &[
        "ip link add name br-blue ",
        "ip link set dev br-blue mtu 1500",
        "ip link set dev br-blue type bridge no_linklocal_learn 1",
        "sysctl -w net/ipv6/conf/br-blue/accept_ra=0",
        "sysctl -w net/ipv6/conf/br-blue/accept_redirects=0",
        "ip link set dev br-blue addrgenmode none",
        "sysctl -w net/ipv4/conf/br-blue/route_localnet=1",
        "ip addr add 10.1.0.1/24 dev br-blue",
        "ip addr add fd01::1/64 dev br-blue",
        "ip addr add fe80::",
        "ip link set dev br-blue up",
        " master br-blue",
        "bridge link set dev bhp",
        "ip neigh replace 10.1.0.",
        "ip neigh replace fd01::",
    ];
    each_is_mended(
        setting,
        &[
            damage("ip link del br-blue", on!(blue, BRIDGE), BLUE),
            damage(
                "ip link del {A}",
                on!(a, &["ip link add name {A} ", ".."]),
                A,
            ),
            damage(
                "ip -n {a} link del eth0",
                on!(a, &["ip link add name {A} ", ".."]),
                A,
            ),
            damage(
                "ip link del {IA}",
                on!(
                    a,
                    &[
                        "ip link add name {IA} ",
                        "tc qdisc replace dev {IA} root tbf rate 50000000bit ",
                        "ip link set dev {IA} addrgenmode none",
                        "ip link set dev {IA} up",
                        "add element netdev bulkhead shaped ",
                    ]
                ),
                A,
            ),
            damage(
                "ip link del {C}",
                on!(c, &["ip link add name {C} ", ".."]),
                &["c"],
            ),
        ],
    );
}

fn a_link_that_was_changed_is_mended(setting: BridgeNetfilter) {
    each_is_mended(
        setting,
        &[
            damage(
                "ip link set {A} down",
                on!(a, &["ip link set dev {A} up"]),
                A,
            ),
            damage(
                "ip -n {a} link set eth0 down",
                on!(
                    a,
                    &[
                        "ip -n {a} addr add fe80::",
                        "ip -n {a} link set dev eth0 up",
                        "ip -n {a} route add 0.0.0.0/0 via 10.1.0.1 ",
                        "ip -n {a} -6 route add ::/0 via fd01::1 ",
                        "ip -n {a} neigh replace 10.1.0.1 ",
                        "ip -n {a} neigh replace fd01::1 ",
                    ]
                ),
                A,
            ),
            damage(
                "ip link set br-blue down",
                on!(
                    blue,
                    &[
                        "ip addr add fd01::1/64 dev br-blue",
                        "ip addr add fe80::",
                        "ip link set dev br-blue up",
                        "ip neigh replace 10.1.0.",
                        "ip neigh replace fd01::",
                    ]
                ),
                BLUE,
            ),
            damage(
                "ip link set {IA} down",
                on!(a, &["ip link set dev {IA} up"]),
                A,
            ),
            damage(
                "ip link set {A} nomaster",
                on!(
                    a,
                    &[
                        "ip link set dev {A} master br-blue",
                        "bridge link set dev {A} ",
                    ]
                ),
                A,
            ),
            damage(
                "bridge link set dev {A} isolated on",
                on!(a, &["bridge link set dev {A} "]),
                NONE,
            ),
            damage(
                "ip -n {a} link set eth0 mtu 1300",
                on!(a, &["ip -n {a} link set dev eth0 mtu 1500"]),
                NONE,
            ),
            damage(
                "ip link set {A} mtu 1300",
                on!(a, &["ip link set dev {A} mtu 1500"]),
                NONE,
            ),
            damage(
                "ip link set {IA} mtu 1300",
                on!(a, &["ip link set dev {IA} mtu 1500"]),
                NONE,
            ),
        ],
    );
}

/// Without traffic: the node would learn whose MAC it is by now.
fn a_mac_that_was_changed_is_mended(setting: BridgeNetfilter) {
    skip_without!(Feature::Tbf);
    let street = Street::new(setting);
    for damage in [
        damage(
            "ip -n {a} link set eth0 address 02:ba:d0:00:00:02",
            on!(
                a,
                &[
                    "ip -n {a} link set dev eth0 address {mac-a}",
                    "ip -n {a} neigh replace 10.1.0.1 ",
                    "ip -n {a} neigh replace fd01::1 ",
                ]
            ),
            NONE,
        ),
        damage(
            "ip link set {A} address 02:ba:d0:00:00:02",
            on!(a, &["ip link set dev {A} address fe:"]),
            NONE,
        ),
    ] {
        street.shell(&street.named(damage.does));
        assert_named(&street, &damage);
        assert_repaired(&street, &damage);
        street.assert_sound(damage.does);
        street.flows().into_iter().for_each(Flow::abandon);
    }
    street.tear_down();
}

/// A queue that goes takes with it what waits in it.
fn a_limit_that_was_changed_is_mended(setting: BridgeNetfilter) {
    each_is_mended(
        setting,
        &[
            damage(
                "tc qdisc del dev {A} root",
                on!(a, &["tc qdisc replace dev {A} root tbf rate 100000000bit "]),
                A,
            ),
            damage(
                "tc qdisc replace dev {A} root tbf rate 90mbit burst 100kb limit 400kb",
                on!(a, &["tc qdisc replace dev {A} root tbf rate 100000000bit "]),
                A,
            ),
            damage(
                "tc qdisc del dev {IA} root",
                on!(a, &["tc qdisc replace dev {IA} root tbf rate 50000000bit "]),
                A,
            ),
            damage(
                "tc qdisc replace dev {IA} root pfifo",
                on!(a, &["tc qdisc replace dev {IA} root tbf rate 50000000bit "]),
                A,
            ),
        ],
    );
}

fn flushed_addresses_routes_and_neighbours_are_mended(setting: BridgeNetfilter) {
    each_is_mended(
        setting,
        &[
            damage(
                "ip -n {a} addr flush dev eth0",
                on!(
                    a,
                    &[
                        "ip -n {a} addr add {a4}/24 dev eth0",
                        "ip -n {a} addr add {a6}/64 dev eth0",
                        "ip -n {a} addr add fe80::",
                        "ip -n {a} route add 0.0.0.0/0 via 10.1.0.1 ",
                        "ip -n {a} neigh replace 10.1.0.1 ",
                        "ip -n {a} neigh replace fd01::1 ",
                    ]
                ),
                A,
            ),
            damage(
                "ip -n {a} route flush dev eth0",
                on!(
                    a,
                    &[
                        "ip -n {a} route add 10.1.0.0/24 dev eth0 ",
                        "ip -n {a} route add 0.0.0.0/0 via 10.1.0.1 ",
                    ]
                ),
                A,
            ),
            damage(
                "ip -n {a} -6 route flush dev eth0",
                on!(
                    a,
                    &[
                        "ip -n {a} -6 route add fd01::/64 dev eth0 ",
                        "ip -n {a} -6 route add fe80::/64 dev eth0 ",
                        "ip -n {a} -6 route add ::/0 via fd01::1 ",
                    ]
                ),
                NONE,
            ),
            damage(
                "ip -n {a} route del default",
                on!(a, &["ip -n {a} route add 0.0.0.0/0 via 10.1.0.1 "]),
                &["a:8080"],
            ),
            damage(
                "ip addr flush dev br-blue",
                on!(
                    blue,
                    &[
                        "ip addr add 10.1.0.1/24 dev br-blue",
                        "ip addr add fd01::1/64 dev br-blue",
                        "ip addr add fe80::",
                        "ip neigh replace 10.1.0.",
                    ]
                ),
                BLUE,
            ),
            damage(
                "ip neigh replace {a4} lladdr 02:ba:d0:00:00:02 nud permanent dev br-blue",
                on!(a, &["ip neigh replace {a4} lladdr {mac-a} "]),
                A,
            ),
            damage(
                "ip neigh replace {a6} lladdr 02:ba:d0:00:00:02 nud permanent dev br-blue",
                on!(a, &["ip neigh replace {a6} lladdr {mac-a} "]),
                NONE,
            ),
        ],
    );
}

fn sysctls_are_mended(setting: BridgeNetfilter) {
    each_is_mended(
        setting,
        &[
            damage(
                "sysctl -w net/ipv4/ip_forward=0",
                on!(all, &["sysctl -w net/ipv4/ip_forward=1"]),
                PORTS,
            ),
            damage(
                "sysctl -w net/ipv6/conf/all/forwarding=0",
                on!(all, &["sysctl -w net/ipv6/conf/all/forwarding=1"]),
                NONE,
            ),
            damage(
                "sysctl -w net/ipv4/conf/br-blue/route_localnet=0",
                on!(blue, &["sysctl -w net/ipv4/conf/br-blue/route_localnet=1"]),
                NONE,
            ),
            damage(
                "sysctl -w net/ipv6/conf/br-blue/accept_ra=2",
                on!(blue, &["sysctl -w net/ipv6/conf/br-blue/accept_ra=0"]),
                NONE,
            ),
            damage(
                "ip netns exec {a} sysctl -w net/ipv6/conf/eth0/accept_ra=2",
                on!(
                    a,
                    &["ip netns exec {a} sysctl -w net/ipv6/conf/eth0/accept_ra=0"]
                ),
                NONE,
            ),
        ],
    );
}

fn all_at_once_is_mended(setting: BridgeNetfilter) {
    each_is_mended(
        setting,
        &[damage(
            "nft flush ruleset; ip link del br-blue; ip link del {A}; ip link del {IB}; \
             ip -n {c} addr flush dev eth0; sysctl -w net/ipv4/ip_forward=0",
            on!(all, &[".."]),
            ALL,
        )],
    );
}

impl Street {
    /// Runs a shell's line on the node.
    fn shell(&self, line: &str) {
        let mut shell = Command::new("sh");
        self.node
            .host
            .run(shell.args(["-ec", line]), b"")
            .unwrap_or_else(|error| panic!("{line}: {error}"));
    }
}
