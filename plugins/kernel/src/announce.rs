//! Telling a segment who holds an address now. The kernel does it: with `arp_notify` and
//! `ndisc_notify` on, a change of MAC announces every address of the link (`inetdev_event`,
//! `net/ipv4/devinet.c`; `ndisc_netdev_event`, `net/ipv6/ndisc.c`), and setting the MAC it has already
//! counts as one. A packet socket of ours would take 8 to 16 ms to close.

use bulkhead_model::{IfName, Mac};
use bulkhead_plan::{Ns, Sysctl};
use netlink_packet_route::link::LinkAttribute;

use crate::apply::in_space;
use crate::error::{NetlinkError, OpError};
use crate::place::Place;
use crate::request;

/// Announces the interface's addresses, once, and leaves the sysctls as they were. Its neighbour
/// entries are dropped by this, so it goes before any permanent one.
pub(crate) fn announce(
    place: &mut Place,
    ns: &Ns,
    interface: IfName,
    index: u32,
    mac: Mac,
) -> Result<(), OpError> {
    let switches = [
        Sysctl::ipv4_conf(interface.as_str(), "arp_notify"),
        Sysctl::ipv6_conf(interface.as_str(), "ndisc_notify"),
    ];
    let undo = switches.map(|sysctl| switch_on(place, sysctl));
    let set = request::set_link(index, LinkAttribute::Address(mac.octets().to_vec()));
    let answers = place
        .route()
        .map_err(|error| in_space(ns, error))
        .and_then(|socket| Ok(socket.batch(&[set])?));
    let restored: Vec<_> = undo.into_iter().map(|undo| restore(place, undo)).collect();
    for answer in answers? {
        answer.map_err(NetlinkError::from)?;
    }
    restored.into_iter().collect()
}

/// A sysctl undo on, and the value to put back; `None` if it was on or is not there.
type Switched = Result<Option<(Sysctl, String)>, OpError>;

fn switch_on(place: &mut Place, sysctl: Sysctl) -> Switched {
    let failed = |source| OpError::Sysctl {
        sysctl: sysctl.to_string(),
        source,
    };
    match place.read_sysctl(&sysctl).map_err(failed)? {
        Some(before) if before != "1" => {
            place.write_sysctl(&sysctl, "1").map_err(failed)?;
            Ok(Some((sysctl, before)))
        }
        _ => Ok(None),
    }
}

fn restore(place: &mut Place, undo: Switched) -> Result<(), OpError> {
    match undo? {
        Some((sysctl, before)) => {
            place
                .write_sysctl(&sysctl, &before)
                .map_err(|source| OpError::Sysctl {
                    sysctl: sysctl.to_string(),
                    source,
                })
        }
        None => Ok(()),
    }
}
