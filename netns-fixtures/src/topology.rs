//! Nodes, containers and the world outside, wired with veth pairs.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Deref;
use std::time::Duration;

use serde_json::Value;

use crate::ns::{Ns, NsError};
use crate::wait::wait_until;

/// The kernel's link watch may hold an event back for a second, and a busy machine its work queue for longer.
const SETTLE_LIMIT: Duration = Duration::from_secs(40);

/// Whether bridged frames of a namespace pass its iptables, ip6tables and arptables hooks
/// (`/proc/sys/net/bridge/bridge-nf-call-*`, one setting per namespace).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BridgeNetfilter {
    /// 1: as Kubernetes demands it.
    On,
    /// 0: as a kernel without `br_netfilter` behaves.
    Off,
}

impl BridgeNetfilter {
    /// Both, for tests that must hold either way.
    pub const BOTH: [Self; 2] = [Self::Off, Self::On];
}

/// One end of a link: where it stands and what it carries.
#[derive(Clone, Debug)]
pub struct End {
    ns: Ns,
    name: String,
    mac: Option<String>,
    mtu: Option<u32>,
    addresses: Vec<String>,
}

impl End {
    /// An end called `name` (up to 15 bytes) in `ns`.
    #[must_use]
    pub fn new(ns: &Ns, name: &str) -> Self {
        Self {
            ns: ns.clone(),
            name: name.to_owned(),
            mac: None,
            mtu: None,
            addresses: Vec::new(),
        }
    }

    /// Adds an address with prefix length, `10.0.0.1/24` or `fd00::1/64`; v6 without duplicate
    /// address detection, so it is usable at once.
    #[must_use]
    pub fn address(mut self, address: &str) -> Self {
        self.addresses.push(address.to_owned());
        self
    }

    /// Sets the MAC; the kernel's random one otherwise.
    #[must_use]
    pub fn mac(mut self, mac: &str) -> Self {
        self.mac = Some(mac.to_owned());
        self
    }

    /// Sets the MTU in bytes; 1500 otherwise.
    #[must_use]
    pub fn mtu(mut self, mtu: u32) -> Self {
        self.mtu = Some(mtu);
        self
    }

    fn words(&self) -> String {
        let mac = self.mac.as_ref().map(|mac| format!("address {mac}"));
        let mtu = self.mtu.map(|mtu| format!("mtu {mtu}"));
        let words = [Some(format!("name {}", self.name)), mac, mtu];
        words.into_iter().flatten().collect::<Vec<_>>().join(" ")
    }

    fn configure(&self) -> Result<(), NsError> {
        let name = &self.name;
        if self.has_ipv6() {
            self.ns
                .set_sysctl(&format!("net/ipv6/conf/{name}/accept_dad"), "0")?;
        }
        let mut lines = vec![format!("link set dev {name} up")];
        for address in &self.addresses {
            let nodad = if address.contains(':') { " nodad" } else { "" };
            lines.push(format!("addr add {address} dev {name}{nodad}"));
        }
        self.ns.ip_batch(&lines).map(drop)
    }

    /// The kernel runs no IPv6 below its minimum MTU (RFC 8200 §5).
    fn has_ipv6(&self) -> bool {
        self.mtu.is_none_or(|mtu| mtu >= 1280)
    }

    /// Waits for carrier and the link-local address, which the kernel's link watch brings some
    /// time after the link is up: a snapshot taken before would see them come.
    fn settle(&self) -> Result<(), NsError> {
        let name = &self.name;
        let show = format!("addr show dev {name}");
        let settled = wait_until(SETTLE_LIMIT, || {
            let links = self.ns.ip_json(&show);
            let ready = links.map(|links| {
                let text = links.to_string();
                let up = links[0]["operstate"] == "UP" && !text.contains("tentative");
                up && (!self.has_ipv6() || text.contains("\"fe80:"))
            });
            ready.map_or_else(|error| Some(Err(error)), |ready| ready.then_some(Ok(())))
        });
        settled.unwrap_or_else(|| {
            let what = format!("wait for carrier and link-local address of {name}");
            Err(self.ns.refused(what, std::io::ErrorKind::TimedOut))
        })
    }
}

/// Creates a veth pair directly in both namespaces, addressed, up, and with its carrier and
/// link-local addresses settled.
///
/// # Errors
/// `Command` with `ip`'s words, for example for a name that is taken.
pub fn veth(a: &End, b: &End) -> Result<(), NsError> {
    a.ns.ip(&format!(
        "link add {} type veth peer {} netns {}",
        a.words(),
        b.words(),
        b.ns.name()
    ))?;
    a.configure()?;
    b.configure()?;
    a.settle()?;
    b.settle()
}

/// Waits until what somebody has set up by hand carries packets: until link watch has told a link of its
/// carrier, the link drops whatever it is to send (`noop_enqueue`, `net/sched/sch_generic.c`), and an IPv6
/// address is received when a work of its own has run.
///
/// # Errors
/// `System` when that does not come; `Command` and `Json` as [`Ns::ip_json`].
pub fn carries(ns: &Ns) -> Result<(), NsError> {
    let carries = || -> Result<bool, NsError> {
        let links = ns.ip_json("addr show up")?;
        let local = ns.ip("-6 route show table local")?;
        let is_raised = |link: &Value| {
            let state = link["operstate"].as_str();
            state.is_some_and(|state| ["UP", "UNKNOWN"].contains(&state))
        };
        let is_received = |address: &Value| {
            let text = address["local"].as_str().unwrap_or_default();
            let is_probed = address.get("tentative").is_some();
            !text.contains(':') || is_probed || local.contains(&format!("local {text} "))
        };
        Ok(links.as_array().into_iter().flatten().all(|link| {
            let addresses = link["addr_info"].as_array().into_iter().flatten();
            is_raised(link) && addresses.into_iter().all(is_received)
        }))
    };
    let waited = wait_until(SETTLE_LIMIT, || match carries() {
        Ok(true) => Some(Ok(())),
        Ok(false) => None,
        Err(error) => Some(Err(error)),
    });
    waited.unwrap_or_else(|| {
        let what = "wait for carriers and IPv6 addresses".to_owned();
        Err(ns.refused(what, std::io::ErrorKind::TimedOut))
    })
}

/// A namespace that plays a node: loopback, forwarding off, and whatever links it is given.
#[derive(Clone, Debug)]
pub struct Host {
    ns: Ns,
}

impl Host {
    pub(crate) fn new(ns: Ns) -> Result<Self, NsError> {
        // Fresh namespaces may inherit the machine's settings; a node starts from the kernel's.
        ns.set_sysctl("net/ipv4/ip_forward", "0")?;
        ns.set_sysctl("net/ipv6/conf/all/forwarding", "0")?;
        Ok(Self { ns })
    }

    /// Sets `bridge-nf-call-iptables`, `-ip6tables` and `-arptables`.
    ///
    /// # Errors
    /// `System` when the kernel has no `br_netfilter`: ask [`Feature::BrNetfilter`](crate::Feature)
    /// first.
    pub fn set_bridge_netfilter(&self, setting: BridgeNetfilter) -> Result<(), NsError> {
        let value = match setting {
            BridgeNetfilter::On => "1",
            BridgeNetfilter::Off => "0",
        };
        for family in ["iptables", "ip6tables", "arptables"] {
            self.set_sysctl(&format!("net/bridge/bridge-nf-call-{family}"), value)?;
        }
        Ok(())
    }

    /// Switches IPv4 and IPv6 forwarding on, for nodes that stand in for a configured one.
    ///
    /// # Errors
    /// `System` when the namespace is gone.
    pub fn forward(&self) -> Result<(), NsError> {
        forward(&self.ns)
    }

    /// A bridge, up, with `addresses` (v6 without duplicate address detection).
    ///
    /// # Errors
    /// `Command` with `ip`'s words.
    pub fn bridge(&self, name: &str, addresses: &[&str]) -> Result<(), NsError> {
        self.ip(&format!("link add {name} type bridge forward_delay 0"))?;
        addresses
            .iter()
            .fold(End::new(self, name), |end, a| end.address(a))
            .configure()
    }
}

impl Deref for Host {
    type Target = Ns;

    fn deref(&self) -> &Ns {
        &self.ns
    }
}

/// A container's namespace as a runtime makes it: loopback and nothing else.
#[derive(Clone, Debug)]
pub struct Container {
    ns: Ns,
}

impl Container {
    pub(crate) fn new(ns: Ns) -> Self {
        Self { ns }
    }
}

impl Deref for Container {
    type Target = Ns;

    fn deref(&self) -> &Ns {
        &self.ns
    }
}

/// The addresses of a node's link to the outside.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Pair {
    /// The node's IPv4 address, in a /24.
    pub node_v4: Ipv4Addr,
    /// The node's IPv6 address, in a /64.
    pub node_v6: Ipv6Addr,
    /// The outside's IPv4 address on that link: the node's default gateway.
    pub gateway_v4: Ipv4Addr,
    /// The outside's IPv6 address on that link: the node's default gateway.
    pub gateway_v6: Ipv6Addr,
}

/// The world beyond the nodes: routes between their links, and owns two service addresses that
/// are on no node's link, so that reaching them takes a route and, from private addresses,
/// masquerade (it has no route back to any container network).
#[derive(Clone, Debug)]
pub struct Outside {
    ns: Ns,
}

impl Outside {
    /// The outside's own IPv4 address (RFC 5737 TEST-NET-2).
    pub const V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
    /// The outside's own IPv6 address (RFC 3849).
    pub const V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1);
    /// What a node's end of its link to the outside is called.
    pub const UPLINK: &'static str = "uplink0";

    pub(crate) fn new(ns: Ns) -> Result<Self, NsError> {
        forward(&ns)?;
        ns.ip_batch(&[
            format!("addr add {}/32 dev lo", Self::V4),
            format!("addr add {}/128 dev lo nodad", Self::V6),
        ])?;
        Ok(Self { ns })
    }

    /// Links `host` as node `nth` (1..=250, unique per outside): `192.0.<nth>.2/24` and
    /// `2001:db8:<nth>::2/64` on `uplink0`, default routes to the outside.
    ///
    /// # Errors
    /// `Command` with `ip`'s words, for example when `nth` is already linked.
    pub fn link(&self, host: &Host, nth: u8) -> Result<Pair, NsError> {
        let v4 = |last| Ipv4Addr::new(192, 0, nth, last);
        let v6 = |last| Ipv6Addr::new(0x2001, 0xdb8, nth.into(), 0, 0, 0, 0, last);
        let pair = Pair {
            node_v4: v4(2),
            node_v6: v6(2),
            gateway_v4: v4(1),
            gateway_v6: v6(1),
        };
        let near = End::new(host, Self::UPLINK)
            .address(&format!("{}/24", pair.node_v4))
            .address(&format!("{}/64", pair.node_v6));
        let far = End::new(&self.ns, &format!("node{nth}"))
            .address(&format!("{}/24", pair.gateway_v4))
            .address(&format!("{}/64", pair.gateway_v6));
        veth(&near, &far)?;
        host.ip_batch(&[
            format!("route add default via {}", pair.gateway_v4),
            format!("route add default via {}", pair.gateway_v6),
        ])?;
        Ok(pair)
    }
}

impl Deref for Outside {
    type Target = Ns;

    fn deref(&self) -> &Ns {
        &self.ns
    }
}

fn forward(ns: &Ns) -> Result<(), NsError> {
    ns.set_sysctl("net/ipv4/ip_forward", "1")?;
    ns.set_sysctl("net/ipv6/conf/all/forwarding", "1")
}
