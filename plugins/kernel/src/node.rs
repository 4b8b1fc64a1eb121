//! What a node says about itself, for those who choose names and addresses on it.

use std::fs;
use std::io;
use std::sync::OnceLock;

use bulkhead_model::{IfName, Prefix};
use bulkhead_plan::Ns;

use crate::error::ObserveError;
use crate::observe::main_routes;
use crate::place::{Kernel, Place, PlaceError};
use crate::routes::{PROTOCOL_RA, RawRoute};

/// The node's stable identity: `/etc/machine-id` (machine-id(5)), or where there is none the boot id,
/// which lasts until the next boot.
///
/// # Errors
/// If neither can be read.
pub fn machine_id() -> io::Result<String> {
    /// It does not change while a process lives.
    static ID: OnceLock<String> = OnceLock::new();
    if let Some(id) = ID.get() {
        return Ok(id.clone());
    }
    let id = read_machine_id()?;
    Ok(ID.get_or_init(|| id).clone())
}

fn read_machine_id() -> io::Result<String> {
    let read = |path| fs::read_to_string(path).map(|id| id.trim().to_owned());
    match read("/etc/machine-id") {
        Ok(id) if !id.is_empty() && id != "uninitialized" => Ok(id),
        _ => read("/proc/sys/kernel/random/boot_id"),
    }
}

impl Kernel {
    /// The prefixes the node routes, connected ones included, default routes and link-local ones not:
    /// what an automatic pool must avoid. Ascending, each once.
    ///
    /// # Errors
    /// As [`Kernel::observe`].
    pub fn host_prefixes(&mut self) -> Result<Vec<Prefix>, ObserveError> {
        let mut prefixes: Vec<Prefix> = self
            .host_routes(|_, routes| Ok(routes))?
            .iter()
            .map(|route| route.destination)
            .filter(|prefix| !prefix.is_default() && !is_link_local(*prefix))
            .collect();
        prefixes.sort_unstable();
        prefixes.dedup();
        Ok(prefixes)
    }

    /// The links whose IPv6 default route came from a router advertisement: those that lose it when
    /// forwarding is switched on, unless their `accept_ra` is 2 (`ip-sysctl.rst`).
    ///
    /// # Errors
    /// As [`Kernel::observe`].
    pub fn ra_uplinks(&mut self) -> Result<Vec<IfName>, ObserveError> {
        self.host_routes(|place, routes| {
            let mut links = Vec::new();
            for route in routes {
                if route.protocol == PROTOCOL_RA && route.destination.is_default() {
                    links.extend(place.name_of(route.link)?);
                }
            }
            links.sort_unstable();
            links.dedup();
            Ok(links)
        })
    }

    fn host_routes<R>(
        &mut self,
        read: impl FnOnce(&mut Place, Vec<RawRoute>) -> Result<R, PlaceError>,
    ) -> Result<R, ObserveError> {
        let place = self
            .place(&Ns::Host)
            .ok_or(ObserveError::Unknown(Ns::Host))?;
        main_routes(place)
            .and_then(|routes| read(place, routes))
            .map_err(|error| match error {
                PlaceError::Entering(source) => ObserveError::Netns {
                    ns: Ns::Host,
                    source,
                },
                PlaceError::Netlink(source) => ObserveError::Netlink {
                    what: "the node's routes cannot be read".to_owned(),
                    source,
                },
            })
    }
}

fn is_link_local(prefix: Prefix) -> bool {
    match prefix.address() {
        std::net::IpAddr::V4(v4) => v4.is_link_local(),
        std::net::IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}
