//! Limits: in both directions and in one, with an ifb device in every state.

use bulkhead_model::{Bandwidth, Mtu, RateLimit};
use bulkhead_nft as nft;
use bulkhead_plan::{Hook, LinkSetting, Ns, Op, Shape, filter_table};

use super::{Case, commit, dropped, dual};

const LIMIT: RateLimit = RateLimit {
    rate: 100_000_000,
    burst: 8_000_000,
};
const BOTH: Bandwidth = Bandwidth {
    ingress: Some(LIMIT),
    egress: Some(RateLimit {
        rate: 10_000_000,
        ..LIMIT
    }),
};
const EGRESS: Bandwidth = Bandwidth {
    ingress: None,
    ..BOTH
};

pub(crate) fn cases() -> Vec<Case> {
    let mut all = fresh();
    all.extend(disturbed());
    all.push(earlier_container());
    all
}

fn limited(bandwidth: Bandwidth) -> Case {
    Case {
        name: "bandwidth",
        bandwidth,
        ..dual()
    }
}

fn fresh() -> Vec<Case> {
    let ingress = Bandwidth {
        egress: None,
        ..BOTH
    };
    vec![
        Case {
            mtu: Some(9000),
            ..limited(BOTH)
        },
        Case {
            name: "bandwidth-ingress",
            ..limited(ingress)
        },
        Case {
            name: "bandwidth-egress",
            ..limited(EGRESS)
        },
        Case {
            name: "bandwidth-prefix-filter",
            hook: Hook::Prefix,
            guard: super::Guarded::Mac,
            ..limited(BOTH)
        },
        Case {
            name: "bandwidth-beside-others",
            ..limited(BOTH).beside_another()
        },
        Case {
            name: "bandwidth-prefix-filter-beside-others",
            hook: Hook::Prefix,
            ..limited(BOTH)
        }
        .beside_another(),
        // Of a process that died before it did more.
        Case {
            name: "ifb-left",
            ..limited(EGRESS).after(|case, _| {
                vec![Op::AddIfb {
                    ns: Ns::Host,
                    name: case.ifb(),
                    mac: case.key().id().port_mac(),
                    mtu: Mtu::new(9000).unwrap(),
                }]
            })
        },
    ]
}

/// What others did to one that stood.
fn disturbed() -> Vec<Case> {
    let stood = || limited(BOTH).beside_another().added();
    let ifb = |case: &Case, set| Op::SetLink {
        ns: Ns::Host,
        name: case.ifb(),
        set,
    };
    let deleted = |case: &Case| Op::DelLink {
        ns: Ns::Host,
        name: case.ifb(),
    };
    vec![
        Case {
            name: "ifb-deleted",
            ..stood().after(|case, _| vec![deleted(case)])
        },
        Case {
            name: "ifb-deleted-and-filter-flushed",
            ..stood().after(|case, _| vec![deleted(case), dropped(filter_table())])
        },
        Case {
            name: "ifb-deleted-prefix-filter-of-another-release",
            hook: Hook::Prefix,
            ..limited(BOTH)
        }
        .added()
        .after(|case, _| {
            let older = nft::Table {
                comment: Some(nft::Label::new("bulkhead 0 0123456789abcdef").unwrap()),
                ..nft::Table::new(filter_table())
            };
            vec![deleted(case), commit([nft::Command::ReplaceTable(older)])]
        }),
        Case {
            name: "ifb-down",
            ..stood().after(|case, _| vec![ifb(case, LinkSetting::Down)])
        },
        Case {
            name: "ifb-with-another-mtu",
            ..stood().after(|case, _| {
                let mtu = Mtu::new(1280).unwrap();
                vec![ifb(case, LinkSetting::Mtu(mtu))]
            })
        },
        Case {
            name: "other-rates",
            ..stood().after(|case, _| {
                let slow = RateLimit {
                    rate: 1_000_000,
                    ..LIMIT
                };
                let shape = Shape::new(slow, Mtu::ETHERNET);
                let set = |link| Op::SetShape {
                    ns: Ns::Host,
                    link,
                    shape,
                };
                [case.port(), case.ifb()].map(set).into()
            })
        },
        Case {
            name: "shaped-entry-gone",
            ..stood().after(|case, _| {
                vec![commit([nft::Command::DeleteElements {
                    table: filter_table(),
                    set: nft::Name::literal("shaped"),
                    elements: nft::Elements::keys([case.port().into()]),
                }])]
            })
        },
        Case {
            name: "bandwidth-no-longer",
            bandwidth: Bandwidth::default(),
            ..stood()
        },
    ]
}

/// The same attachment in a namespace that was there before, with everything it can have.
fn earlier_container() -> Case {
    let full = Case {
        name: "port-of-an-earlier-container",
        host_ports: vec![
            ("udp *:53", "10.1.0.5:5353"),
            ("udp *:53", "[fd01::5]:5353"),
        ],
        netns: "earlier".to_owned(),
        ..limited(BOTH)
    };
    Case {
        netns: "c1".to_owned(),
        ..full.added()
    }
}
