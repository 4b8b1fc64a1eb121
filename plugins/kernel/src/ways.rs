//! Where packets go by the node's routes, for whoever explains it. Nothing that serves a call reads this.

use std::collections::BTreeSet;
use std::net::IpAddr;

use bulkhead_model::{Family, IfName, Prefix};

use crate::error::ObserveError;
use crate::observe::main_routes;
use crate::overlay::way;
use crate::place::Kernel;
use crate::request::get_route;

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
                // A refusal is an answer too.
                let found = answer.ok().flatten();
                let out = found.as_ref().and_then(|message| way(&message.body));
                let name = match out {
                    Some((index, _)) => place.name_of(index)?,
                    None => None,
                };
                let is_here = found.is_some_and(|message| message.body.get(TYPE) == Some(&LOCAL));
                let leads = match (out, name) {
                    (Some((_, gateway)), Some(link)) => Leads::Out { link, gateway },
                    _ if is_here => Leads::Here,
                    _ => Leads::Nowhere,
                };
                ways.extend(alone(*to).map(|to| Way { to, leads }));
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

/// The prefix of an address alone.
fn alone(address: IpAddr) -> Option<Prefix> {
    Prefix::new(address, Family::of(address).bits())
}
