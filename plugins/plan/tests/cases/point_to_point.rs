//! Containers with a link of their own.

use std::net::IpAddr;

use bulkhead_model::{InterfaceAddress, Mac};
use bulkhead_plan::{
    Advertised, LinkSetting, Localnet, MAIN_TABLE, Neighbour, Ns, OnLink, Op, Place, PointToPoint,
    Route, Sysctl, World,
};

use super::{Case, bandwidth, dual, host, host_ports};

/// What every container calls its gateway.
pub(crate) const GATEWAYS: [&str; 2] = ["169.254.1.1", "fe80::1"];
const MAC: &str = "fe:62:68:00:00:01";

pub(crate) fn routed() -> Case {
    Case {
        name: "link-of-its-own",
        own_link: true,
        guard: super::Guarded::On,
        addresses: vec!["10.1.0.5/32", "fd01::5/128"],
        gateways: vec!["fe80::1/64"],
        blackholes: vec!["10.1.0.0/24", "fd01::/64"],
        ..dual()
    }
}

pub(crate) fn cases() -> Vec<Case> {
    let host_ports = host_ports::cases().into_iter();
    let limits = bandwidth::cases().into_iter();
    let port = routed().port();
    let kept = |path: Sysctl, value: &str| Op::SetSysctl {
        ns: Ns::Host,
        sysctl: path,
        value: value.to_owned(),
    };
    vec![
        routed(),
        Case {
            name: "link-of-its-own-ipv6-only",
            addresses: vec!["fd01::5/128"],
            blackholes: vec!["fd01::/64"],
            ..routed()
        },
        Case {
            name: "link-of-its-own-ipv4-only",
            addresses: vec!["10.1.0.5/32"],
            gateways: vec![],
            blackholes: vec![],
            ..routed()
        },
        Case {
            name: "link-of-its-own-prefix",
            addresses: vec!["fd01:0:0:5::1/64"],
            blackholes: vec!["fd01::/48"],
            ..routed()
        },
        Case {
            name: "link-of-its-own-advertised",
            addresses: vec!["fd01::5/128"],
            blackholes: vec!["fd01::/64"],
            advertised: Advertised::Parameters,
            ..routed()
        },
        Case {
            name: "link-of-its-own-prefix-advertised",
            addresses: vec!["fd01:0:0:5::1/64"],
            blackholes: vec!["fd01::/48"],
            advertised: Advertised::Addresses,
            ..routed()
        },
        Case {
            name: "link-of-its-own-host-ports",
            host_ports: host_ports
                .clone()
                .find(|case| case.name == "host-ports")
                .expect("it")
                .host_ports,
            ..routed()
        },
        Case {
            name: "link-of-its-own-bandwidth",
            bandwidth: limits
                .clone()
                .find(|case| case.name == "bandwidth")
                .expect("it")
                .bandwidth,
            mtu: Some(9000),
            ..routed()
        },
        routed()
            .beside_another()
            .named("link-of-its-own-beside-others"),
        routed()
            .added()
            .after(move |_, _| {
                vec![
                    kept(Sysctl::ipv4_conf(port.as_str(), "rp_filter"), "0"),
                    kept(Sysctl::ipv6_conf(port.as_str(), "accept_ra"), "2"),
                ]
            })
            .named("link-of-its-own-sysctls-changed"),
        left_in_the_middle(),
    ]
}

/// Somebody took the port down, and up again: routes, neighbours and the link-local address are gone.
fn left_in_the_middle() -> Case {
    let lowered = |case: &Case, _: &World| {
        let set = |set| Op::SetLink {
            ns: Ns::Host,
            name: case.port(),
            set,
        };
        vec![set(LinkSetting::Down), set(LinkSetting::Up)]
    };
    routed()
        .added()
        .after(lowered)
        .named("link-of-its-own-lowered")
}

impl Case {
    fn named(self, name: &'static str) -> Self {
        Self { name, ..self }
    }

    fn is_prefix(&self) -> bool {
        self.addresses
            .iter()
            .any(|address| address.ends_with("/64"))
    }

    fn owned(&self) -> Vec<InterfaceAddress> {
        self.addresses.iter().map(|a| a.parse().unwrap()).collect()
    }

    /// Where the port is, for a link of its own.
    pub(super) fn place(&self) -> Place {
        let link_local: IpAddr = self.mac().link_local().into();
        let routes = self.owned().into_iter().map(|address| Route {
            destination: address.prefix(),
            gateway: address.address().is_ipv6().then_some(link_local),
            link: self.port(),
            priority: None,
            table: MAIN_TABLE,
            scope: None,
            mtu: None,
            advmss: None,
        });
        Place::PointToPoint(PointToPoint {
            gateways: self.gateways.iter().map(|a| a.parse().unwrap()).collect(),
            routes: routes.collect(),
            blackholes: self.blackholes.iter().map(|a| a.parse().unwrap()).collect(),
            localnet: Localnet::needed_by(&self.forwards()),
        })
    }

    pub(super) fn on_link(&self) -> OnLink {
        if self.own_link && self.is_prefix() {
            OnLink::Nothing
        } else {
            OnLink::Prefix
        }
    }

    /// The node's permanent neighbours on the port.
    pub(super) fn known_outside(&self) -> Vec<Neighbour> {
        if !self.own_link {
            return vec![];
        }
        let mac = self.mac();
        let of = |address: IpAddr| match address {
            IpAddr::V4(_) => address,
            IpAddr::V6(_) => mac.link_local().into(),
        };
        let owned = self.owned().into_iter();
        owned
            .map(|address| Neighbour {
                address: of(address.address()),
                mac,
            })
            .collect()
    }

    /// The container's, of its gateways.
    pub(super) fn known_inside(&self) -> Vec<Neighbour> {
        if !self.own_link {
            return vec![];
        }
        let has = |v6| self.owned().iter().any(|a| a.address().is_ipv6() == v6);
        let gateways = GATEWAYS.map(|gateway| gateway.parse::<IpAddr>().unwrap());
        let of = gateways
            .into_iter()
            .filter(|gateway| has(gateway.is_ipv6()));
        of.map(|address| Neighbour {
            address,
            mac: MAC.parse().unwrap(),
        })
        .collect()
    }

    pub(crate) fn port_mac(&self) -> Mac {
        if self.own_link {
            MAC.parse().unwrap()
        } else {
            self.key().id().port_mac()
        }
    }
}

/// The address of a link of its own is routed elsewhere: by somebody else.
pub(crate) fn routed_elsewhere() -> Case {
    let mut case = routed();
    let elsewhere = Route {
        destination: "10.1.0.5/32".parse().unwrap(),
        gateway: None,
        link: "wg0".parse().unwrap(),
        priority: Some(0),
        table: MAIN_TABLE,
        scope: Some(253),
        mtu: None,
        advmss: None,
    };
    host(&mut case.ground).routes.insert(elsewhere);
    case
}
