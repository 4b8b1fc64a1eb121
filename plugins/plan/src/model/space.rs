//! What one change of a namespace takes along.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bulkhead_model::{IfName, LinkGroup, Mac, Mtu};
use bulkhead_nft as nft;

use crate::{Link, LinkKind, MAIN_TABLE, PortFlags, Route, Space, Sysctl};

impl Space {
    /// What a bridge was told of a port that leaves it.
    pub(super) fn unlearn(&mut self, port: IfName) {
        self.stations.retain(|(on, _)| *on != port);
    }

    pub(super) fn forget(&mut self, link: IfName) {
        self.unlearn(link);
        self.drop_addresses(|on, _| on == link);
        self.drop_routes(|route| route.link == link);
        self.forget_neighbours(link);
        self.fdb.retain(|(on, _), _| *on != link);
        self.tx_checksums.remove(&link);
        let of_link = format!("/conf/{link}/");
        self.sysctls
            .retain(|sysctl, _| !sysctl.path().contains(&of_link));
        // A map keeps the index of a device that is gone.
        let maps = self
            .tables
            .values_mut()
            .flat_map(|table| table.maps.values_mut());
        for entry in maps.flat_map(BTreeMap::values_mut) {
            if entry.data == Some(nft::Data::Device(link)) {
                entry.data = None;
            }
        }
    }

    /// The route that stands where this one would: there is one for each destination, table and metric.
    pub(super) fn standing(&self, route: &Route) -> Option<&Route> {
        let key = |route: &Route| (route.destination, route.table, route.priority);
        // In the order of routes, destinations come first.
        let first = Route {
            destination: route.destination,
            gateway: None,
            link: "!".parse().expect("the lowest name"),
            priority: None,
            table: 0,
            scope: None,
            mtu: None,
            advmss: None,
        };
        let there = self.routes.range(first..);
        let mut there = there.take_while(|found| found.destination == route.destination);
        there.find(|found| key(found) == key(route))
    }

    pub(super) fn has_stranger_like(&self, route: &Route) -> bool {
        let priority = route.priority.unwrap_or_default();
        let mut strangers = self.strangers.iter();
        route.table == MAIN_TABLE
            && strangers.any(|it| (it.destination, it.priority) == (route.destination, priority))
    }

    pub(super) fn drop_standing(&mut self, route: &Route) {
        if let Some(found) = self.standing(route).cloned() {
            self.drop_route(&found);
        }
    }

    pub(super) fn drop_route(&mut self, route: &Route) {
        self.routes.remove(route);
        self.own_routes.remove(route);
    }

    pub(super) fn drop_routes(&mut self, goes: impl Fn(&Route) -> bool) {
        self.routes.retain(|route| !goes(route));
        self.own_routes.retain(|route| !goes(route));
    }

    pub(super) fn drop_addresses(&mut self, goes: impl Fn(IfName, IpAddr) -> bool) {
        let (gone, left) = std::mem::take(&mut self.addresses)
            .into_iter()
            .partition::<BTreeMap<_, _>, _>(|((on, address), _)| goes(*on, address.address()));
        self.addresses = left;
        for (_, address) in gone.into_keys() {
            self.disown(address.address());
        }
    }

    /// The switch for the whole namespace sets every link's too (`inet_forward_change`,
    /// `net/ipv4/devinet.c`; `addrconf_forward_change`, `net/ipv6/addrconf.c`).
    pub(super) fn set_sysctl(&mut self, sysctl: &Sysctl, value: &str) {
        for link in self.links.keys() {
            for (switch, of_link) in forwarding(link.as_str()) {
                if switch == *sysctl && self.sysctls.contains_key(&of_link) {
                    self.sysctls.insert(of_link, value.to_owned());
                }
            }
        }
        self.sysctls.insert(sysctl.clone(), value.to_owned());
    }

    pub(super) fn forget_neighbours(&mut self, link: IfName) {
        self.neighbours.retain(|(on, _), _| *on != link);
    }

    /// No more local, unless another link has it too.
    pub(super) fn disown(&mut self, address: IpAddr) {
        let mut held = self.addresses.keys().map(|(_, held)| held.address());
        if !held.any(|held| held == address) {
            self.local.remove(&address);
        }
    }
}

/// The switches for forwarding of the whole namespace, and a link's own of each.
pub(super) fn forwarding(link: &str) -> [(Sysctl, Sysctl); 2] {
    [
        (
            Sysctl::ipv4_forwarding(),
            Sysctl::ipv4_conf(link, "forwarding"),
        ),
        (
            Sysctl::ipv6_forwarding(),
            Sysctl::ipv6_conf(link, "forwarding"),
        ),
    ]
}

/// A namespace as the kernel makes it: the loopback interface, down, and nothing that forwards.
pub(super) fn new_space(ipv6: bool) -> Space {
    let loopback = Link {
        mac: None,
        mtu: Mtu::new(65_535).expect("the largest"),
        forms_link_local: false,
        ..new_link(
            LinkKind::Other(String::new()),
            Mac::new([2, 0, 0, 0, 0, 0]).expect("a unicast address"),
            Mtu::ETHERNET,
            LinkGroup(0),
        )
    };
    let mut switches = vec![Sysctl::ipv4_forwarding()];
    switches.extend(ipv6.then(Sysctl::ipv6_forwarding));
    let off = |switch: Sysctl| (switch, "0".to_owned());
    Space {
        ipv6,
        links: [(crate::link::lo(), loopback)].into(),
        sysctls: switches.into_iter().map(off).collect(),
        ..Space::default()
    }
}

/// A link as the kernel makes it: down, and ready to form a link-local address.
pub(super) fn new_link(kind: LinkKind, mac: Mac, mtu: Mtu, group: LinkGroup) -> Link {
    let is_bridge = kind == LinkKind::Bridge;
    Link {
        kind,
        mac: Some(mac),
        mtu,
        up: false,
        promiscuous: false,
        group,
        bridge: None,
        port: PortFlags::default(),
        forms_link_local: true,
        learns_link_local: is_bridge,
        shape: None,
    }
}
