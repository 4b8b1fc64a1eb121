//! A switch between namespaces: nodes and the members of a store that they share.

use std::net::IpAddr;
use std::ops::Deref;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::ns::{Ns, NsError};
use crate::sandbox::Sandbox;
use crate::topology::{End, veth};

/// A namespace with a bridge, which also has an address there.
#[derive(Debug)]
pub struct Lan {
    ns: Ns,
    ports: AtomicU32,
}

impl Lan {
    /// A switch with nothing plugged in; `address` is its own, with the prefix length.
    ///
    /// # Errors
    /// As [`Sandbox::ns`].
    pub fn new(sandbox: &Sandbox, name: &str, address: &str) -> Result<Self, NsError> {
        let ns = sandbox.ns(name)?;
        ns.ip_batch(&[
            "link add lan type bridge".to_owned(),
            format!("address add {address} dev lan"),
            "link set lan up".to_owned(),
        ])?;
        Ok(Self {
            ns,
            ports: AtomicU32::new(0),
        })
    }

    /// Gives `ns` an interface `lan` with this address and prefix length, and plugs it in.
    ///
    /// # Errors
    /// `Command` when `ip` refuses, for example because it is plugged in already.
    pub fn join(&self, ns: &Ns, address: &str) -> Result<(), NsError> {
        let port = format!("port{}", self.ports.fetch_add(1, Ordering::Relaxed));
        veth(
            &End::new(ns, "lan").address(address),
            &End::new(&self.ns, &port),
        )?;
        self.ns.ip(&format!("link set {port} master lan"))?;
        Ok(())
    }

    /// A fresh namespace that is plugged in at `address`, in a network of 24 bits.
    ///
    /// # Errors
    /// As [`Sandbox::ns`] and [`Lan::join`].
    pub fn node(&self, sandbox: &Sandbox, name: &str, address: IpAddr) -> Result<Ns, NsError> {
        let ns = sandbox.ns(name)?;
        self.join(&ns, &format!("{address}/24"))?;
        Ok(ns)
    }
}

impl Deref for Lan {
    type Target = Ns;

    fn deref(&self) -> &Ns {
        &self.ns
    }
}
