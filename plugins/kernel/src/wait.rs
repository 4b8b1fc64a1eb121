//! Waiting for what the kernel does in its own time, each with a deadline.

use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

use bulkhead_model::IfName;
use bulkhead_plan::Ns;

use crate::apply::{in_space, index_of};
use crate::error::OpError;
use crate::links::RawLink;
use crate::local::is_local;
use crate::place::Place;
use crate::request::{self, Links};
use crate::routes::decode_address;

/// The kernel raises a port in a work queue within this, if no spanning tree delays it.
const FORWARDING: Duration = Duration::from_secs(1);
/// The kernel takes an address in within this, on a machine with other work too.
const RECEPTION: Duration = Duration::from_secs(1);
/// One probe and its second (RFC 4862 §5.1), and the random delay before it, are over by then.
const DETECTION: Duration = Duration::from_secs(5);

/// Asks until the port forwards. Past the second it is a spanning tree that holds it back: not an
/// error, it will forward in its time. Asking makes the kernel look at the carrier (`rtnl_getlink`,
/// `net/core/rtnetlink.c`, since 6.8).
pub(crate) fn await_forwarding(place: &mut Place, ns: &Ns, port: IfName) -> Result<(), OpError> {
    let index = index_of(place, ns, port)?;
    let until = Instant::now() + FORWARDING;
    loop {
        let link = link_by_index(place, ns, index)?.ok_or(OpError::NoLink(port))?;
        if link.forwards || Instant::now() >= until {
            return Ok(());
        }
        thread::sleep(Duration::from_micros(500));
    }
}

/// Waits until packets to an IPv6 address that was added to a link are taken in: its local route comes from a
/// work of its own (`addrconf_dad_work`, `net/ipv6/addrconf.c`), and what is sent to it before is lost without
/// a word. Past [`RECEPTION`] somebody's rules lead elsewhere: not an error. On a link that is down, or has no carrier,
/// nothing is taken in.
pub(crate) fn await_reception(
    place: &mut Place,
    ns: &Ns,
    link: IfName,
    address: IpAddr,
) -> Result<(), OpError> {
    let until = Instant::now() + RECEPTION;
    loop {
        if is_local(place, address).map_err(|error| in_space(ns, error))? {
            return Ok(());
        }
        let index = index_of(place, ns, link)?;
        let link = link_by_index(place, ns, index)?;
        let is_raised = link.is_some_and(|link| link.up && link.has_carrier);
        if !is_raised || Instant::now() >= until {
            return Ok(());
        }
        thread::sleep(Duration::from_micros(200));
    }
}

pub(crate) fn link_by_index(
    place: &mut Place,
    ns: &Ns,
    index: u32,
) -> Result<Option<RawLink>, OpError> {
    let socket = place.route().map_err(|error| in_space(ns, error))?;
    let answer = socket.get(request::get_links(&Links::Indexed(index)))?;
    Ok(answer.and_then(|message| RawLink::decode(&message.body)))
}

pub(crate) fn await_addresses(place: &mut Place, ns: &Ns, link: IfName) -> Result<(), OpError> {
    let index = index_of(place, ns, link)?;
    let until = Instant::now() + DETECTION;
    loop {
        let socket = place.route().map_err(|error| in_space(ns, error))?;
        let answer = socket.list(&request::get_addresses(index))?;
        let found = answer
            .iter()
            .filter_map(|message| decode_address(&message.body));
        let mut waiting = None;
        for (address, state) in found {
            let address = address.address();
            if state.duplicate {
                return Err(OpError::Duplicate { link, address });
            }
            if state.tentative {
                waiting = Some(address);
            }
        }
        match waiting {
            None => return Ok(()),
            Some(address) if Instant::now() >= until => {
                let waited_secs = DETECTION.as_secs();
                return Err(OpError::Tentative {
                    link,
                    address,
                    waited_secs,
                });
            }
            Some(_) => thread::sleep(Duration::from_millis(10)),
        }
    }
}
