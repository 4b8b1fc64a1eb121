//! The node seen whole, for a diagnosis: every link, the default routes, everybody's nftables. Nothing
//! that serves an ADD or DEL reads lists like these.

use std::collections::BTreeSet;
use std::net::IpAddr;

use bulkhead_model::{Family, IfName, LinkGroup, Mtu};
use bulkhead_nft::foreign::{self, Answers, Ruleset};
use bulkhead_plan::Ns;

use crate::conntrack;
use crate::error::ObserveError;
use crate::links::RawLink;
use crate::observe::main_routes;
use crate::place::{Kernel, Place, PlaceError};
use crate::request::{Links, get_addresses, get_links};
use crate::routes::{PROTOCOL_RA, decode_address};

/// A link of the node.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HostLink {
    /// Its name.
    pub name: IfName,
    /// `IFLA_INFO_KIND`; empty for a physical device.
    pub kind: String,
    /// Its MTU.
    pub mtu: Mtu,
    /// `IFF_UP`.
    pub up: bool,
    /// `IFLA_GROUP`.
    pub group: LinkGroup,
    /// The bridge it is a port of.
    pub bridge: Option<IfName>,
    /// Where the other end of a veth pair is; `None` for other links.
    pub other_end: Option<OtherEnd>,
}

/// Where the other end of a veth pair is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OtherEnd {
    /// On the node itself.
    Here,
    /// In another namespace.
    Elsewhere,
}

/// A default route of the main table over one link.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DefaultRoute {
    /// Its family.
    pub family: Family,
    /// Its link.
    pub link: IfName,
    /// `RTA_PRIORITY`: the lowest is taken.
    pub priority: u32,
    /// Whether a router advertisement brought it.
    pub advertised: bool,
}

impl Kernel {
    /// Every link of the node, in the kernel's order.
    ///
    /// # Errors
    /// As [`Kernel::observe`].
    pub fn host_links(&mut self) -> Result<Vec<HostLink>, ObserveError> {
        self.surveyed("links", |place| {
            let answer = place.route()?.list(&get_links(&Links::All))?;
            let links: Vec<RawLink> = answer
                .iter()
                .filter_map(|message| RawLink::decode(&message.body))
                .collect();
            let name_of = |index| links.iter().find(|link| link.index == index);
            let shown = links.iter().map(|link| HostLink {
                name: link.name,
                kind: link.kind.clone(),
                mtu: link.mtu,
                up: link.up,
                group: link.group,
                bridge: link.bridge.and_then(name_of).map(|bridge| bridge.name),
                other_end: (link.kind == "veth").then_some(if link.related_elsewhere {
                    OtherEnd::Elsewhere
                } else {
                    OtherEnd::Here
                }),
            });
            Ok(shown.collect())
        })
    }

    /// The default routes, of each family the one that is taken first. Those over several links are
    /// not among them.
    ///
    /// # Errors
    /// As [`Kernel::observe`].
    pub fn default_routes(&mut self) -> Result<Vec<DefaultRoute>, ObserveError> {
        self.surveyed("routes", |place| {
            let mut routes = Vec::new();
            for route in main_routes(place)? {
                if !route.destination.is_default() {
                    continue;
                }
                if let Some(link) = place.name_of(route.link)? {
                    routes.push(DefaultRoute {
                        family: route.destination.family(),
                        link,
                        priority: route.priority,
                        advertised: route.protocol == PROTOCOL_RA,
                    });
                }
            }
            routes.sort_by_key(|route| (route.family, route.priority));
            Ok(routes)
        })
    }

    /// The address by which others reach the node over a link: its first one of IPv4, else of IPv6, and
    /// none of the link alone (RFC 3927, RFC 4291 section 2.5.6).
    ///
    /// # Errors
    /// As [`Kernel::observe`].
    pub fn address_of(&mut self, link: IfName) -> Result<Option<IpAddr>, ObserveError> {
        self.surveyed("addresses", |place| {
            let Some(link) = place.link(link)? else {
                return Ok(None);
            };
            let answer = place.route()?.list(&get_addresses(link.index))?;
            let mut addresses: Vec<IpAddr> = answer
                .iter()
                .filter_map(|message| Some(decode_address(&message.body)?.0.address()))
                .filter(|address| match address {
                    IpAddr::V4(v4) => !v4.is_link_local(),
                    IpAddr::V6(v6) => !v6.is_unicast_link_local(),
                })
                .collect();
            addresses.sort_by_key(IpAddr::is_ipv6);
            Ok(addresses.first().copied())
        })
    }

    /// Everybody's nftables, as far as they tell what becomes of a forwarded packet.
    ///
    /// # Errors
    /// As [`Kernel::observe`].
    pub fn rulesets(&mut self) -> Result<Ruleset, ObserveError> {
        self.surveyed("nftables", |place| {
            let mut list = |request: Vec<u8>| {
                let messages = place.netfilter()?.list(&request)?.into_iter();
                Ok::<_, PlaceError>(messages.map(|message| message.body).collect::<Vec<_>>())
            };
            let answers = Answers {
                tables: list(foreign::tables_request(0))?,
                chains: list(foreign::chains_request(0))?,
                rules: list(foreign::rules_request(0))?,
            };
            let mut ruleset = answers.ruleset();
            for (table, set) in ruleset.sets_wanted() {
                // One that is gone by now leaves its rules without meaning.
                if let Ok(elements) = list(foreign::elements_request(&table, &set, 0)) {
                    let payloads = elements.iter().map(Vec::as_slice);
                    ruleset.add_elements(&table, &set, payloads);
                }
            }
            Ok(ruleset)
        })
    }

    /// Which of `addresses` the node's connection tracking still knows.
    ///
    /// # Errors
    /// As [`Kernel::observe`].
    pub fn tracked(
        &mut self,
        addresses: &BTreeSet<IpAddr>,
    ) -> Result<BTreeSet<IpAddr>, ObserveError> {
        self.surveyed("flows", |place| conntrack::tracked(place, addresses))
    }

    pub(crate) fn surveyed<R>(
        &mut self,
        what: &str,
        read: impl FnOnce(&mut Place) -> Result<R, PlaceError>,
    ) -> Result<R, ObserveError> {
        self.surveyed_in(&Ns::Host, what, read)
    }

    pub(crate) fn surveyed_in<R>(
        &mut self,
        ns: &Ns,
        what: &str,
        read: impl FnOnce(&mut Place) -> Result<R, PlaceError>,
    ) -> Result<R, ObserveError> {
        let place = self
            .place(ns)
            .ok_or_else(|| ObserveError::Unknown(ns.clone()))?;
        read(place).map_err(|error| match error {
            PlaceError::Entering(source) => ObserveError::Netns {
                ns: ns.clone(),
                source,
            },
            PlaceError::Netlink(source) => ObserveError::Netlink {
                what: format!("{what} of {ns:?} cannot be read"),
                source,
            },
        })
    }
}
