//! A router between a network and what is outside, and what crosses it.

use std::net::{IpAddr, SocketAddr};

use bulkhead_model::Family;
use bulkhead_nft::{
    Base, Chain, ChainKind, Data, DataType, Datum, Devices, Elements, Entry, Field, Hook, Key,
    KeyType, Label, Name, Part, Policy, Rule, Set, SourcePorts, Statement, Table, TableFamily,
    TableId, Verdict,
};
use netns_fixtures::{Ns, carries};

use super::device;
use super::frame::transport;

pub const TCP: u8 = 6;
pub const UDP: u8 = 17;

/// inside (10.0.0.2) - br0 router up0 - outside (192.0.2.2, and excluded 10.9.0.2)
pub fn topology(inside: &Ns, router: &Ns, outside: &Ns) {
    for (port, far) in [("br0", inside), ("up0", outside)] {
        router
            .ip(&format!(
                "link add {port} type veth peer name eth0 netns {}",
                far.name()
            ))
            .unwrap();
    }
    for family in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
        router.set_sysctl(family, "1").unwrap();
    }
    configure(
        router,
        &[
            "addr add 10.0.0.1/24 dev br0",
            "addr add fd00:1::1/64 dev br0 nodad",
            "addr add 192.0.2.1/24 dev up0",
            "addr add 2001:db8::1/64 dev up0 nodad",
            "link set br0 up",
            "link set up0 up",
            "route add 10.9.0.0/16 dev up0",
            "route add fd00:9::/64 dev up0",
        ],
    );
    configure(
        inside,
        &[
            "addr add 10.0.0.2/24 dev eth0",
            "addr add fd00:1::2/64 dev eth0 nodad",
            "link set eth0 up",
            "route add default via 10.0.0.1",
            "route add default via fd00:1::1",
        ],
    );
    configure(
        outside,
        &[
            "addr add 192.0.2.2/24 dev eth0",
            "addr add 10.9.0.2/16 dev eth0",
            "addr add 2001:db8::2/64 dev eth0 nodad",
            "addr add fd00:9::2/64 dev eth0 nodad",
            "link set eth0 up",
            "route add 10.0.0.0/24 via 192.0.2.1",
            "route add fd00:1::/64 via 2001:db8::1",
        ],
    );
    for ns in [inside, router, outside] {
        carries(ns).unwrap();
    }
}

fn configure(ns: &Ns, lines: &[&str]) {
    ns.ip_batch(lines).unwrap();
}

/// A packet of the protocol with that number, from port 1 of `source`; no checksums.
pub fn packet(protocol: u8, source: IpAddr, target: SocketAddr) -> Vec<u8> {
    let mut bytes = match source {
        IpAddr::V4(_) => vec![0x45, 0, 0, 44, 0, 0, 0, 0, 64, protocol, 0, 0],
        IpAddr::V6(_) => vec![0x60, 0, 0, 0, 0, 24, protocol, 64],
    };
    for address in [source, target.ip()] {
        match address {
            IpAddr::V4(v4) => bytes.extend(v4.octets()),
            IpAddr::V6(v6) => bytes.extend(v6.octets()),
        }
    }
    bytes.extend(transport(1, target.port()));
    bytes
}

/// Host ports of the router, first by address, then on every address, and the way back for what was
/// sent on to br0.
pub fn host_ports() -> Table {
    let mut table = Table::new(TableId {
        family: TableFamily::Inet,
        name: Name::literal("host-ports"),
    });
    table.sets = [Family::V4, Family::V6]
        .into_iter()
        .flat_map(maps)
        .collect();
    let to_host = [Rule::new([
        Statement::is(Field::FibDaddrType, Datum::LOCAL),
        Statement::jump(Name::literal("host")),
    ])];
    let back = [Rule::new([
        Statement::is(Field::Oifname, device("br0")),
        Statement::has_any(Field::CtStatus, Datum::DST_NAT),
        Statement::Masquerade(SourcePorts::Keep),
    ])];
    table.chains = vec![
        chain("host", None, lookups()),
        chain(
            "prerouting",
            Some((Hook::Prerouting, -110)),
            to_host.clone(),
        ),
        chain("output", Some((Hook::Output, -110)), to_host),
        chain("postrouting", Some((Hook::Postrouting, 100)), back),
    ];
    table
}

fn chain(
    name: &'static str,
    at: Option<(Hook, i32)>,
    rules: impl IntoIterator<Item = Rule>,
) -> Chain {
    Chain {
        name: Name::literal(name),
        base: at.map(|(hook, priority)| Base {
            kind: ChainKind::Nat,
            hook,
            devices: Devices::None,
            priority,
            policy: Policy::Accept,
        }),
        part: Part::Fixed,
        rules: rules.into_iter().collect(),
    }
}

/// The map by address and the one for every address.
fn maps(family: Family) -> [Set; 2] {
    let port = |n| Some(Datum::InetService(n));
    let key = |protocol, address: Option<&str>, number| {
        let address = address.map(|text| Datum::from(text.parse::<IpAddr>().unwrap()));
        let parts = [Some(Datum::InetProto(protocol)), address, port(number)];
        Key::new(parts.into_iter().flatten())
    };
    let ([one, every], own, to, by_address, on_every) = match family {
        Family::V4 => (
            ["one4", "every4"],
            "192.0.2.1",
            "10.0.0.2",
            KeyType::Ipv4Addr,
            [(UDP, 8080, 81), (TCP, 8080, 80)],
        ),
        Family::V6 => (
            ["one6", "every6"],
            "2001:db8::1",
            "fd00:1::2",
            KeyType::Ipv6Addr,
            [(UDP, 8081, 81), (TCP, 8080, 81)],
        ),
    };
    let entry = |number| Entry {
        data: Data::Value(destination(to.parse().unwrap(), number)),
        comment: Some(Label::new("bhpa").unwrap()),
    };
    let data = DataType::Value(vec![by_address, KeyType::InetService]);
    let types = [KeyType::InetProto, by_address, KeyType::InetService];
    let mut one = Set::live_map(Name::literal(one), types, data.clone());
    one.elements = Elements::Map([(key(UDP, Some(own), 8080), entry(80))].into());
    let types = [KeyType::InetProto, KeyType::InetService];
    let mut every = Set::live_map(Name::literal(every), types, data);
    let entries = on_every.map(|(protocol, number, to)| (key(protocol, None, number), entry(to)));
    every.elements = Elements::Map(entries.into());
    [one, every]
}

/// An address and a port, as a map leads to them.
pub fn destination(address: IpAddr, port: u16) -> Key {
    Key::new([address.into(), Datum::InetService(port)])
}

fn lookups() -> Vec<Rule> {
    let localhost = Rule::new([
        Statement::is(Field::Ip6Daddr, Datum::Ipv6Addr("::1".parse().unwrap())),
        Statement::Verdict(Verdict::Return),
    ]);
    let lookup = |family, address: Option<Field>, map| {
        let port = Some(Field::TransportDport);
        let fields = [Some(Field::L4Proto), address, port];
        Rule::new([Statement::Dnat {
            family,
            fields: fields.into_iter().flatten().collect(),
            map: Name::literal(map),
        }])
    };
    vec![
        localhost,
        lookup(Family::V4, Some(Field::Ip4Daddr), "one4"),
        lookup(Family::V4, None, "every4"),
        lookup(Family::V6, Some(Field::Ip6Daddr), "one6"),
        lookup(Family::V6, None, "every6"),
    ]
}
