//! A node and a container, each a fresh namespace, and the plans the tests apply to them.

#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use bulkhead_kernel::{Deletion, Kernel, Netns};
use bulkhead_model::{IfName, InterfaceAddress, Mac, Mtu};
use bulkhead_plan::{Dad, LinkSetting, MAIN_TABLE, Ns, Op, Plan, Route, Scope, World};
use netns_fixtures::Sandbox;

pub(crate) struct Bed {
    pub(crate) sandbox: Sandbox,
    pub(crate) host: netns_fixtures::Ns,
    pub(crate) container: netns_fixtures::Ns,
}

impl Bed {
    pub(crate) fn new() -> Self {
        let sandbox = Sandbox::new();
        let host = sandbox.ns("host").unwrap();
        let container = sandbox.ns("c").unwrap();
        Self {
            sandbox,
            host,
            container,
        }
    }

    pub(crate) fn inside(&self) -> Ns {
        ns(&self.container)
    }

    /// Runs `work` on the node with a kernel that knows the container.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce(&mut Kernel) -> T + Send) -> T {
        self.run_with(Deletion::Blocking, work)
    }

    pub(crate) fn run_with<T: Send>(
        &self,
        deletion: Deletion,
        work: impl FnOnce(&mut Kernel) -> T + Send,
    ) -> T {
        self.host
            .enter(|| {
                let netns = Netns::open(self.container.path()).unwrap();
                work(&mut Kernel::new(deletion).with(self.inside(), netns))
            })
            .unwrap()
    }

    /// Both namespaces, with these links, their addresses and all routes.
    pub(crate) fn scope(&self, host: &[&str], container: &[&str]) -> Scope {
        let mut scope = Scope::default();
        for (ns, links) in [(Ns::Host, host), (self.inside(), container)] {
            let space = scope.space(&ns);
            space.links = names(links);
            space.routes = true;
        }
        scope
    }

    pub(crate) fn observe(&self, host: &[&str], container: &[&str]) -> World {
        let scope = self.scope(host, container);
        self.run(|kernel| kernel.observe(&scope).unwrap())
    }

    pub(crate) fn apply(&self, ops: Vec<Op>) {
        self.run(|kernel| kernel.apply(&Plan::new(ops)).unwrap());
    }
}

pub(crate) fn ns(ns: &netns_fixtures::Ns) -> Ns {
    Ns::Container(ns.path().display().to_string())
}

/// The executable that deletes what was handed off: an example of this crate, which cargo builds
/// beside the tests.
pub(crate) fn reaper() -> Deletion {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    let path: PathBuf = path.join("examples/reap");
    assert!(path.exists(), "{} is not built", path.display());
    Deletion::HandOff(path)
}

pub(crate) fn name(text: &str) -> IfName {
    text.parse().unwrap()
}

pub(crate) fn names(all: &[&str]) -> BTreeSet<IfName> {
    all.iter().map(|text| name(text)).collect()
}

pub(crate) fn mac(last: u8) -> Mac {
    Mac::new([2, 0, 0, 0, 0, last]).unwrap()
}

pub(crate) fn address(text: &str) -> InterfaceAddress {
    text.parse().unwrap()
}

pub(crate) fn add_bridge(bridge: &str) -> Op {
    Op::AddBridge {
        ns: Ns::Host,
        name: name(bridge),
        mac: mac(1),
        mtu: Mtu::ETHERNET,
    }
}

pub(crate) fn add_veth(port: &str, bridge: Option<&str>, container: &Ns, interface: &str) -> Op {
    Op::AddVeth {
        ns: Ns::Host,
        port: name(port),
        port_mac: mac(2),
        bridge: bridge.map(name),
        container: container.clone(),
        interface: name(interface),
        mac: mac(3),
        mtu: Mtu::new(1400).unwrap(),
    }
}

pub(crate) fn set(ns: &Ns, link: &str, set: LinkSetting) -> Op {
    Op::SetLink {
        ns: ns.clone(),
        name: name(link),
        set,
    }
}

pub(crate) fn add_address(ns: &Ns, link: &str, text: &str, dad: Dad) -> Op {
    Op::AddAddress {
        on_link: bulkhead_plan::OnLink::Prefix,
        ns: ns.clone(),
        link: name(link),
        address: address(text),
        dad,
    }
}

pub(crate) fn del_link(ns: &Ns, link: &str) -> Op {
    Op::DelLink {
        ns: ns.clone(),
        name: name(link),
    }
}

pub(crate) fn route(destination: &str, gateway: Option<&str>, link: &str, priority: u32) -> Route {
    Route {
        destination: destination.parse().unwrap(),
        gateway: gateway.map(|text| text.parse().unwrap()),
        link: name(link),
        priority: Some(priority),
        table: MAIN_TABLE,
        scope: None,
        mtu: None,
        advmss: None,
    }
}

pub(crate) fn add_route(ns: &Ns, route: &Route) -> Op {
    Op::AddRoute {
        ns: ns.clone(),
        route: route.clone(),
    }
}

/// A bridge `br0`, up, with a port `p0` and a container's `eth0`, both up; no addresses. The interface comes up
/// last, as plans have it: the end of a pair that does so sends at once, the other one once link watch has
/// told of its carrier (`linkwatch_do_dev`, `net/core/link_watch.c`), which the port is waited for.
pub(crate) fn segment(bed: &Bed) -> Vec<Op> {
    let inside = bed.inside();
    vec![
        add_bridge("br0"),
        set(&Ns::Host, "br0", LinkSetting::NoLinkLocal),
        set(&Ns::Host, "br0", LinkSetting::Up),
        add_veth("p0", Some("br0"), &inside, "eth0"),
        set(&Ns::Host, "p0", LinkSetting::NoLinkLocal),
        set(&Ns::Host, "p0", LinkSetting::Up),
        set(&inside, "eth0", LinkSetting::NoLinkLocal),
        set(&inside, "eth0", LinkSetting::Up),
        Op::AwaitForwarding {
            ns: Ns::Host,
            port: name("p0"),
        },
    ]
}

/// The middle of fifteen: the kernel's own delays vary, and a loaded machine adds its own.
pub(crate) fn median(mut once: impl FnMut() -> Duration) -> Duration {
    let mut all: Vec<_> = (0..15).map(|_| once()).collect();
    all.sort_unstable();
    all[all.len() / 2]
}
