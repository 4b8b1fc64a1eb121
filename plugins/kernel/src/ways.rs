//! Where packets go by the node's routes, for whoever explains it. Nothing that serves a call reads this.

use std::collections::BTreeSet;
use std::net::IpAddr;

use bulkhead_model::{Family, IfName, Prefix};

use crate::error::{ObserveError, Refusal};
use crate::observe::main_routes;
use crate::overlay::way;
use crate::place::{Kernel, Place, PlaceError};
use crate::request::{get_route, get_route_in};
use crate::socket::Message;

/// Where the packets to a prefix go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Way {
    /// To these addresses.
    pub to: Prefix,
    /// Where they go.
    pub leads: Leads,
}

/// Where packets go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Leads {
    /// Out of a link of the node.
    Out {
        /// The link.
        link: IfName,
        /// The next hop; the destination itself if there is none.
        gateway: Option<IpAddr>,
    },
    /// To the node itself.
    Here,
    /// No route leads there, or one that drops.
    Nowhere,
}

/// A packet that comes to the node by one of its links.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Entering {
    /// Whose.
    pub from: IpAddr,
    /// The link.
    pub by: IfName,
    /// For whom, of the same family.
    pub to: IpAddr,
}

/// `rtm_type` of an answer (`linux/rtnetlink.h`).
const TYPE: usize = 7;
/// `RTN_LOCAL`.
const LOCAL: u8 = 2;

impl Kernel {
    /// Where a packet of the node's own to each of the addresses would go, as `ip route get` asks it: by all
    /// tables and rules.
    ///
    /// # Errors
    /// As [`Kernel::observe`].
    pub fn ways(&mut self, to: &BTreeSet<IpAddr>) -> Result<Vec<Way>, ObserveError> {
        self.surveyed("routes", |place| {
            let requests: Vec<_> = to.iter().map(|to| get_route(*to)).collect();
            let answers = place.route()?.get_all(requests)?;
            let mut ways = Vec::new();
            for (to, answer) in to.iter().zip(answers) {
                let leads = leads(place, answer)?;
                ways.extend(alone(*to).map(|to| Way { to, leads }));
            }
            Ok(ways)
        })
    }

    /// Where each of these would be passed on to, as `ip route get TO from FROM iif BY` asks it: by the rules that
    /// look at where it comes from, by whether the link passes on, and by whether the node would send back that way
    /// (`rp_filter`). `None` where there is no such link.
    ///
    /// # Errors
    /// As [`Kernel::observe`].
    pub fn ways_in(&mut self, entering: &[Entering]) -> Result<Vec<Option<Leads>>, ObserveError> {
        self.surveyed("routes", |place| {
            let mut ways = Vec::new();
            for Entering { from, by, to } in entering {
                let Some(link) = place.link(*by)? else {
                    ways.push(None);
                    continue;
                };
                let question = get_route_in(*to, *from, link.index);
                let answers = place.route()?.get_all(vec![question])?;
                for answer in answers {
                    ways.push(Some(leads(place, answer)?));
                }
            }
            Ok(ways)
        })
    }

    /// The unicast routes of the main table, each over one link: of several to one prefix the one that is
    /// taken.
    ///
    /// # Errors
    /// As [`Kernel::observe`].
    pub fn main_ways(&mut self) -> Result<Vec<Way>, ObserveError> {
        self.surveyed("routes", |place| {
            let mut routes = main_routes(place)?;
            routes.sort_by_key(|route| (route.destination, route.priority));
            routes.dedup_by_key(|route| route.destination);
            let mut ways = Vec::new();
            for route in routes {
                ways.extend(place.name_of(route.link)?.map(|link| Way {
                    to: route.destination,
                    leads: Leads::Out {
                        link,
                        gateway: route.gateway,
                    },
                }));
            }
            Ok(ways)
        })
    }
}

fn leads(place: &mut Place, answer: Result<Option<Message>, Refusal>) -> Result<Leads, PlaceError> {
    // A refusal is an answer too.
    let found = answer.ok().flatten();
    let out = found.as_ref().and_then(|message| way(&message.body));
    let name = match out {
        Some((index, _)) => place.name_of(index)?,
        None => None,
    };
    let is_here = found.is_some_and(|message| message.body.get(TYPE) == Some(&LOCAL));
    Ok(match (out, name) {
        (Some((_, gateway)), Some(link)) => Leads::Out { link, gateway },
        _ if is_here => Leads::Here,
        _ => Leads::Nowhere,
    })
}

/// The prefix of an address alone.
fn alone(address: IpAddr) -> Option<Prefix> {
    Prefix::new(address, Family::of(address).bits())
}
