//! Host ports: where they are open, who is there already, and what others did to them.

use std::net::SocketAddr;

use bulkhead_nft as nft;
use bulkhead_plan::{
    Flow, Foreign, Hook, LinkKind, LinkSetting, Ns, Op, Sysctl, World, filter_table,
    host_port_table,
};

use super::{Case, DEAD, bridged, commit, dropped, dual, foreign, host, host_world, network_table};

const EVERY: [(&str, &str); 2] = [
    ("tcp *:8080", "10.1.0.5:80"),
    ("tcp *:8080", "[fd01::5]:80"),
];
const LOCALHOST: [(&str, &str); 1] = [("tcp 127.0.0.1:8080", "10.1.0.5:80")];
const UDP: [(&str, &str); 2] = [
    ("udp *:53", "10.1.0.5:5353"),
    ("udp *:53", "[fd01::5]:5353"),
];

fn every() -> Case {
    Case {
        name: "host-ports",
        host_ports: EVERY.to_vec(),
        ..dual()
    }
}

pub(crate) fn cases() -> Vec<Case> {
    let mut all = addresses();
    all.extend(company());
    all.extend(disturbed());
    all.extend(bridges());
    all
}

fn addresses() -> Vec<Case> {
    vec![
        every(),
        Case {
            name: "host-ports-on-addresses",
            host_ports: vec![
                ("tcp 192.0.2.1:8080", "10.1.0.5:80"),
                ("udp 192.0.2.1:8080", "10.1.0.5:80"),
                ("sctp 0.0.0.0:9999", "10.1.0.5:9999"),
                ("tcp [2001:db8::1]:8080", "[fd01::5]:80"),
                ("tcp [::]:8081", "[fd01::5]:81"),
            ],
            hook: Hook::Prefix,
            ..dual()
        },
        Case {
            name: "host-port-on-localhost",
            host_ports: LOCALHOST.to_vec(),
            ..dual()
        },
        // The bridge that will have it is made by the same plan.
        Case {
            name: "host-port-on-gateway",
            host_ports: vec![("tcp 10.1.0.1:8080", "10.1.0.5:80")],
            ..dual()
        },
        Case {
            name: "host-ports-udp-stale-flows",
            host_ports: UDP.to_vec(),
            flows: vec![
                flow("192.0.2.1:4000", "192.0.2.1:53", "192.0.2.1:53"),
                flow("127.0.0.1:4000", "127.0.0.1:53", "127.0.0.1:53"),
                flow("[2001:db8::1]:4000", "[2001:db8::1]:53", "[2001:db8::1]:53"),
                // Reaches nobody but the host itself.
                flow("[::1]:4000", "[::1]:53", "[::1]:53"),
            ],
            ..dual()
        },
    ]
}

fn flow(source: &str, destination: &str, answerer: &str) -> Flow {
    let end = |text: &str| text.parse::<SocketAddr>().unwrap();
    Flow {
        source: end(source),
        destination: end(destination),
        answerer: end(answerer),
    }
}

fn company() -> Vec<Case> {
    let beside = || every().beside_another();
    vec![
        Case {
            name: "host-ports-beside-others",
            ..beside()
        },
        Case {
            name: "host-ports-flushed-beside-others",
            ..beside().after(|_, _| vec![dropped(host_port_table())])
        },
        Case {
            name: "host-ports-left-by-a-dead-one",
            flows: vec![flow("192.0.2.1:4000", "192.0.2.1:53", "10.1.0.99:53")],
            ..Case {
                host_ports: [EVERY, UDP].concat(),
                ..dual()
            }
            .beside_another()
            .after(|_, _| left_by_a_dead_one())
        },
    ]
}

fn left_by_a_dead_one() -> Vec<Op> {
    let service = nft::Datum::InetService;
    let entries = [(6, 8080, 80), (17, 53, 53)].map(|(protocol, number, to)| {
        let key = nft::Key::new([nft::Datum::InetProto(protocol), service(number)]);
        let address = "10.1.0.99".parse::<std::net::IpAddr>().unwrap();
        let entry = nft::Entry {
            data: nft::Data::Value(nft::Key::new([address.into(), service(to)])),
            comment: Some(nft::Label::new(DEAD).unwrap()),
        };
        (key, entry)
    });
    vec![commit([nft::Command::AddElements {
        table: host_port_table(),
        set: nft::Name::literal("every4"),
        elements: nft::Elements::Map(entries.into()),
    }])]
}

/// What others did to one that stood.
fn disturbed() -> Vec<Case> {
    let stood = || every().beside_another().added();
    vec![
        Case {
            name: "host-ports-flushed",
            ..stood().after(|_, _| vec![dropped(host_port_table())])
        },
        Case {
            name: "ruleset-flushed",
            ..stood().after(|_, _| {
                [filter_table(), host_port_table(), network_table()]
                    .map(dropped)
                    .into()
            })
        },
        Case {
            name: "tables-of-another-release",
            ..stood().after(|_, _| {
                let older = [filter_table(), host_port_table(), network_table()].map(older);
                older
                    .map(|table| commit([nft::Command::ReplaceTable(table)]))
                    .into()
            })
        },
        Case {
            name: "host-port-entry-gone",
            ..stood().after(|_, _| {
                let key = [nft::Datum::InetProto(6), nft::Datum::InetService(8080)];
                vec![commit([nft::Command::DeleteElements {
                    table: host_port_table(),
                    set: nft::Name::literal("every6"),
                    elements: nft::Elements::keys([nft::Key::new(key)]),
                }])]
            })
        },
        Case {
            name: "route-localnet-switched-off",
            ..stood().after(|case, _| {
                vec![Op::SetSysctl {
                    ns: Ns::Host,
                    sysctl: Sysctl::ipv4_conf(case.bridge().as_str(), "route_localnet"),
                    value: "0".to_owned(),
                }]
            })
        },
    ]
}

/// A table of ours whose definition is not today's.
fn older(id: nft::TableId) -> nft::Table {
    nft::Table {
        comment: Some(nft::Label::new("bulkhead 0 0123456789abcdef").unwrap()),
        ..nft::Table::new(id)
    }
}

/// Bridges that others made, or use.
fn bridges() -> Vec<Case> {
    let joined = |ground: World| Case {
        ground,
        gateways: vec![],
        masquerade: false,
        forwarding: false,
        ..every()
    };
    let addresses = ["10.1.0.1/24", "fd01::1/64"];
    let mut plugged = host_world(true);
    let theirs = foreign(LinkKind::Other("ifb".to_owned()));
    host(&mut plugged)
        .links
        .insert("theirs".parse().unwrap(), theirs);
    vec![
        Case {
            name: "host-ports-joined-bridge",
            ..joined(bridged(&addresses, "0"))
        },
        Case {
            name: "host-port-on-localhost-joined-bridge",
            host_ports: LOCALHOST.to_vec(),
            ..joined(bridged(&addresses, "1"))
        },
        Case {
            name: "host-ports-adopted-bridge",
            ground: bridged(&[], "0"),
            foreign: Foreign::Adopt,
            ..every()
        },
        // Somebody's port keeps the bridge when the last of ours is gone.
        Case {
            name: "host-ports-bridge-with-a-strangers-port",
            ground: plugged,
            ..every()
        }
        .added()
        .after(|case, _| {
            vec![Op::SetLink {
                ns: Ns::Host,
                name: "theirs".parse().unwrap(),
                set: LinkSetting::Bridge(case.bridge()),
            }]
        }),
    ]
}
