//! The least that the kernel lets anyone get away with: the messages of an ADD and of a DEL from one
//! warm process, with no plugin, no process, no lease and no look before or after.

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::contestant::Contestant;
use super::field::{Field, Slot};
use super::netlink::{
    Rtnetlink, default_route, del_link, new_address, new_veth, no_autoconfiguration, set_up,
};
use super::usage::Whose;

const BRIDGE: &str = "bench0";
/// Interface indexes of ours, chosen so that none need be asked for; far above the kernel's own.
const FIRST_PORT: u32 = 100_000;
const FIRST_INTERFACE: u32 = 1_000;
const LOOPBACK: u32 = 1;
const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1);

/// When a deletion counts as done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Deletion {
    /// At the kernel's answer, which waits for every reader of the device to be gone.
    Acknowledged,
    /// At the `RTM_DELLINK` multicast: the name is free again, the rest goes on behind.
    Announced,
}

/// The bare kernel.
#[derive(Debug)]
pub struct Floor {
    name: &'static str,
    field: Field,
    deletion: Deletion,
    bridge: u32,
    host: File,
    idle: Mutex<Vec<Rtnetlink>>,
    behind: Mutex<Vec<JoinHandle<()>>>,
}

impl Floor {
    /// The kernel on `field`, with the bridge and its gateway addresses made.
    ///
    /// # Panics
    /// When the node cannot be prepared.
    #[must_use]
    pub fn new(name: &'static str, field: Field, deletion: Deletion) -> Self {
        let gateways = ["10.77.0.1/16", "fd77::1/64"];
        field
            .host
            .bridge(BRIDGE, &gateways)
            .expect("a fresh node takes a bridge");
        field.host.forward().expect("a node forwards");
        let links = field.host.ip_json(&format!("link show dev {BRIDGE}"));
        let index = links.expect("the bridge is there")[0]["ifindex"].as_u64();
        let host = File::open(field.host.path()).expect("the node's namespace is mounted");
        Self {
            name,
            deletion,
            bridge: index.and_then(|i| u32::try_from(i).ok()).expect("an index"),
            host,
            field,
            idle: Mutex::default(),
            behind: Mutex::default(),
        }
    }

    fn warm(&self) -> io::Result<Rtnetlink> {
        let idle = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        idle.map_or_else(Rtnetlink::open, Ok)
    }

    fn keep(&self, socket: Rtnetlink) {
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(socket);
    }

    fn try_add(&self, slot: &Slot) -> io::Result<()> {
        let inside = File::open(slot.container.path())?;
        let interface = FIRST_INTERFACE + index(slot);
        let mut socket = self.warm()?;
        let create = new_veth(
            port(slot),
            self.bridge,
            &slot.ifname,
            interface,
            inside.as_fd(),
        );
        socket.send(vec![create])?;
        self.keep(socket);
        enter(inside.as_fd())?;
        let configured = configure(slot, interface);
        enter(self.host.as_fd())?;
        configured
    }

    fn try_del(&self, slot: &Slot) -> io::Result<()> {
        let mut socket = self.warm()?;
        if self.deletion == Deletion::Acknowledged {
            socket.send(vec![del_link(port(slot))])?;
            self.keep(socket);
            return Ok(());
        }
        let mut listener = Rtnetlink::listening()?;
        let doomed = port(slot);
        let deletion = thread::spawn(move || {
            socket
                .send(vec![del_link(doomed)])
                .expect("the port is ours");
        });
        self.behind
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(deletion);
        listener.wait_for_deletion(doomed)
    }
}

impl Contestant for Floor {
    fn name(&self) -> &str {
        self.name
    }

    fn field(&self) -> &Field {
        &self.field
    }

    fn add(&self, slot: &Slot) {
        self.try_add(slot)
            .unwrap_or_else(|e| panic!("add {}: {e}", slot.id));
    }

    fn del(&self, slot: &Slot) {
        self.try_del(slot)
            .unwrap_or_else(|e| panic!("delete {}: {e}", slot.id));
    }

    fn drain(&self) {
        let behind =
            std::mem::take(&mut *self.behind.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in behind {
            thread.join().expect("a deletion succeeds");
        }
    }

    fn whose(&self) -> Whose {
        Whose::Own
    }

    fn version(&self) -> Option<Duration> {
        None
    }

    fn peaks(&self, _: &Slot) -> Option<[u64; 3]> {
        None
    }
}

fn configure(slot: &Slot, interface: u32) -> io::Result<()> {
    let low = u16::try_from(slot.nth + 2).expect("the range has room");
    let [high, low_byte] = low.to_be_bytes();
    let v4 = IpAddr::from([10, 77, high, low_byte]);
    let v6 = IpAddr::from([0xfd77, 0, 0, 0, 0, 0, 0, low]);
    let mut requests = vec![
        set_up(LOOPBACK),
        no_autoconfiguration(interface),
        new_address(interface, v6, 64),
        new_address(interface, v4, 16),
        set_up(interface),
    ];
    // Only one interface of a namespace can have the default routes.
    if slot.ifname == "eth0" {
        requests.push(default_route(interface, GATEWAY_V4.into()));
        requests.push(default_route(interface, GATEWAY_V6.into()));
    }
    Rtnetlink::open()?.send(requests)
}

fn enter(ns: BorrowedFd<'_>) -> io::Result<()> {
    move_into_link_name_space(ns, Some(LinkNameSpaceType::Network))?;
    Ok(())
}

fn index(slot: &Slot) -> u32 {
    u32::try_from(slot.nth).expect("thousands of slots, not billions")
}

fn port(slot: &Slot) -> u32 {
    FIRST_PORT + index(slot)
}
