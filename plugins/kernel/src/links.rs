//! Links as rtnetlink shows them (`struct ifinfomsg`, `IFLA_*`, `linux/if_link.h`).

use std::num::NonZeroU32;

use bulkhead_model::{IfName, LinkGroup, Mac, Mtu};
use bulkhead_plan::{DontFragment, MulticastRouter, PortFlags, Sysctl, Vxlan};

use crate::attributes::{address, attributes, find, mac, number, text};
use crate::shape;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_QDISC: u16 = 6;
const IFLA_MASTER: u16 = 10;
const IFLA_OPERSTATE: u16 = 16;
const IFLA_LINKINFO: u16 = 18;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_GROUP: u16 = 27;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_INFO_SLAVE_DATA: u16 = 5;
const IFLA_BRPORT_STATE: u16 = 1;
const IFLA_BRPORT_MODE: u16 = 4;
const IFLA_BRPORT_LEARNING: u16 = 8;
const IFLA_BRPORT_UNICAST_FLOOD: u16 = 9;
const IFLA_BRPORT_MULTICAST_ROUTER: u16 = 25;
const IFLA_BRPORT_ISOLATED: u16 = 33;
const IFLA_BRPORT_MCAST_MAX_GROUPS: u16 = 42;
const IFLA_BR_MULTI_BOOLOPT: u16 = 46;
/// `BR_BOOLOPT_NO_LL_LEARN` is the first (`linux/if_bridge.h`).
const NO_LL_LEARN: u32 = 1;
/// `MDB_RTR_TYPE_DISABLED`.
const MDB_RTR_TYPE_DISABLED: u8 = 0;
/// `MDB_RTR_TYPE_PERM`.
const MDB_RTR_TYPE_PERM: u8 = 2;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const IFLA_INET_CONF: u16 = 1;
const IFLA_INET6_CONF: u16 = 2;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const IN6_ADDR_GEN_MODE_NONE: u8 = 1;
const IFF_UP: u32 = 1;
/// In an answer this is what an administrator set, not what a bridge or a capture needs
/// (`dev_get_flags`, `net/core/dev.c`).
const IFF_PROMISC: u32 = 0x100;
const IFF_LOWER_UP: u32 = 1 << 16;
/// RFC 2863, `linux/if.h`.
const IF_OPER_UP: u8 = 6;
/// Length of `struct ifinfomsg`.
const IFINFOMSG: usize = 16;
/// `BR_STATE_FORWARDING` (`linux/if_bridge.h`).
const BR_STATE_FORWARDING: u8 = 3;

/// One link, its relatives still by index.
#[derive(Clone, Debug, Eq, PartialEq)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "the kernel's flags, each on its own"
)]
pub(crate) struct RawLink {
    pub(crate) index: u32,
    pub(crate) name: IfName,
    /// `IFLA_INFO_KIND`; empty for a physical device.
    pub(crate) kind: String,
    pub(crate) mac: Option<Mac>,
    pub(crate) mtu: Mtu,
    pub(crate) up: bool,
    /// Whether its lower end says that frames can leave, which the rest of the kernel hears of later.
    pub(crate) has_carrier: bool,
    pub(crate) promiscuous: bool,
    pub(crate) group: LinkGroup,
    /// The bridge it is a port of.
    pub(crate) bridge: Option<u32>,
    pub(crate) port: PortFlags,
    /// Whether frames get through: a bridge port forwards, any other link has found its carrier.
    pub(crate) forwards: bool,
    pub(crate) forms_link_local: bool,
    pub(crate) learns_link_local: bool,
    /// What it is as a VXLAN device, if it is one.
    pub(crate) vxlan: Option<Vxlan>,
    /// Whether a token bucket filter is at its root.
    pub(crate) shaped: bool,
    /// The index of the link below or, of a veth, of the other end.
    pub(crate) related: Option<u32>,
    /// Whether `related` is an index of another namespace.
    pub(crate) related_elsewhere: bool,
    /// Its own sysctls.
    settings: [Option<i32>; SETTINGS.len()],
}

/// A sysctl of a link that is shown with the link: its family, its name, and its place among the family's
/// (`IPV4_DEVCONF_*`, `linux/ip.h`, which count from 1; `DEVCONF_*`, `linux/ipv6.h`).
type Setting = (u16, &'static str, usize);

/// Those that anybody here looks at.
const SETTINGS: [Setting; 15] = [
    (AF_INET, "forwarding", 0),
    (AF_INET, "proxy_arp", 2),
    (AF_INET, "accept_redirects", 3),
    (AF_INET, "send_redirects", 5),
    (AF_INET, "rp_filter", 7),
    (AF_INET, "arp_notify", 21),
    (AF_INET, "route_localnet", 25),
    (AF_INET6, "forwarding", 0),
    (AF_INET6, "accept_ra", 3),
    (AF_INET6, "accept_redirects", 4),
    (AF_INET6, "autoconf", 5),
    (AF_INET6, "disable_ipv6", 26),
    (AF_INET6, "ndisc_notify", 29),
    (AF_INET6, "keep_addr_on_down", 42),
    (AF_INET6, "ra_defrtr_metric", 52),
];

impl RawLink {
    /// `None` if the message is no link with a name and an MTU we could have.
    pub(crate) fn decode(body: &[u8]) -> Option<Self> {
        let index = number(body.get(4..)?)?;
        let flags = number(body.get(8..)?)?;
        let rest = body.get(IFINFOMSG..)?;
        let mut link = Self {
            index,
            name: text(find(rest, IFLA_IFNAME)?)?.parse().ok()?,
            kind: String::new(),
            mac: None,
            // The loopback's 65536 is one more than a frame can have; it counts as the largest MTU.
            mtu: Mtu::new(number(find(rest, IFLA_MTU)?)?.min(65_535))?,
            up: flags & IFF_UP != 0,
            has_carrier: flags & IFF_LOWER_UP != 0,
            promiscuous: flags & IFF_PROMISC != 0,
            group: LinkGroup(0),
            bridge: None,
            port: PortFlags::default(),
            forwards: find(rest, IFLA_OPERSTATE) == Some(&[IF_OPER_UP]),
            forms_link_local: false,
            learns_link_local: false,
            vxlan: None,
            shaped: find(rest, IFLA_QDISC).and_then(text) == Some(shape::KIND),
            related: None,
            related_elsewhere: false,
            settings: [None; SETTINGS.len()],
        };
        let mut master = None;
        let mut info = &[][..];
        for (kind, value) in attributes(rest) {
            match kind {
                IFLA_ADDRESS => link.mac = mac(value),
                IFLA_GROUP => link.group = LinkGroup(number(value)?),
                IFLA_LINK => link.related = number(value),
                IFLA_LINK_NETNSID => link.related_elsewhere = true,
                IFLA_MASTER => master = number(value),
                IFLA_LINKINFO => info = value,
                IFLA_AF_SPEC => {
                    link.forms_link_local = forms_link_local(value);
                    link.settings = settings(value);
                }
                _ => {}
            }
        }
        link.read_info(info, master);
        Some(link)
    }

    /// What one of its sysctls says, if it is shown with the link: a number, as the file has it.
    pub(crate) fn setting(&self, sysctl: &Sysctl) -> Option<i32> {
        let path = sysctl.path();
        let family = match path.split('/').nth(1)? {
            "ipv4" => AF_INET,
            _ => AF_INET6,
        };
        let (_, name) = path.rsplit_once('/')?;
        let known = |(of, called, _): &Setting| (*of, *called) == (family, name);
        self.settings[SETTINGS.iter().position(known)?]
    }

    fn read_info(&mut self, info: &[u8], master: Option<u32>) {
        let word = |kind| find(info, kind).and_then(text).unwrap_or_default();
        word(IFLA_INFO_KIND).clone_into(&mut self.kind);
        if self.kind == "bridge" {
            let data = find(info, IFLA_INFO_DATA).unwrap_or_default();
            let options = find(data, IFLA_BR_MULTI_BOOLOPT).and_then(number);
            self.learns_link_local = options.is_none_or(|on| on & NO_LL_LEARN == 0);
        }
        if self.kind == "vxlan" {
            self.vxlan = find(info, IFLA_INFO_DATA).map(vxlan);
        }
        if word(IFLA_INFO_SLAVE_KIND) != "bridge" {
            return;
        }
        self.bridge = master;
        let data = find(info, IFLA_INFO_SLAVE_DATA).unwrap_or_default();
        let byte = |kind| find(data, kind).and_then(|value| value.first().copied());
        self.port = PortFlags {
            hairpin: byte(IFLA_BRPORT_MODE) == Some(1),
            isolated: byte(IFLA_BRPORT_ISOLATED) == Some(1),
            untaught: byte(IFLA_BRPORT_LEARNING) == Some(0),
            known_only: byte(IFLA_BRPORT_UNICAST_FLOOD) == Some(0),
            multicast_router: match byte(IFLA_BRPORT_MULTICAST_ROUTER) {
                Some(MDB_RTR_TYPE_DISABLED) => MulticastRouter::Never,
                Some(MDB_RTR_TYPE_PERM) => MulticastRouter::Always,
                _ => MulticastRouter::Learned,
            },
            max_groups: find(data, IFLA_BRPORT_MCAST_MAX_GROUPS)
                .and_then(number)
                .and_then(NonZeroU32::new),
        };
        self.forwards = byte(IFLA_BRPORT_STATE) == Some(BR_STATE_FORWARDING);
    }
}

/// What `IFLA_INFO_DATA` says of a VXLAN device (`vxlan_fill_info`, `drivers/net/vxlan/vxlan_core.c`).
fn vxlan(data: &[u8]) -> Vxlan {
    const IFLA_VXLAN_ID: u16 = 1;
    const IFLA_VXLAN_GROUP: u16 = 2;
    const IFLA_VXLAN_LOCAL: u16 = 4;
    const IFLA_VXLAN_LEARNING: u16 = 7;
    const IFLA_VXLAN_PROXY: u16 = 11;
    const IFLA_VXLAN_PORT: u16 = 15;
    const IFLA_VXLAN_GROUP6: u16 = 16;
    const IFLA_VXLAN_LOCAL6: u16 = 17;
    const IFLA_VXLAN_DF: u16 = 29;
    let either = |v4, v6| {
        let found = find(data, v4).or_else(|| find(data, v6));
        found.and_then(address)
    };
    let byte = |kind| find(data, kind).and_then(|value| value.first().copied());
    let port = find(data, IFLA_VXLAN_PORT).and_then(|value| value.try_into().ok());
    Vxlan {
        vni: find(data, IFLA_VXLAN_ID).and_then(number).unwrap_or(0),
        port: port.map_or(0, u16::from_be_bytes),
        local: either(IFLA_VXLAN_LOCAL, IFLA_VXLAN_LOCAL6),
        flood: either(IFLA_VXLAN_GROUP, IFLA_VXLAN_GROUP6),
        learning: byte(IFLA_VXLAN_LEARNING).is_none_or(|on| on != 0),
        df: match byte(IFLA_VXLAN_DF) {
            Some(1) => DontFragment::Set,
            Some(2) => DontFragment::Inherit,
            _ => DontFragment::Unset,
        },
        proxy: byte(IFLA_VXLAN_PROXY) == Some(1),
    }
}

/// `IFLA_INET6_ADDR_GEN_MODE` is not none; a link without IPv6 forms nothing.
fn forms_link_local(af_spec: &[u8]) -> bool {
    find(af_spec, AF_INET6)
        .and_then(|inet6| find(inet6, IFLA_INET6_ADDR_GEN_MODE))
        .and_then(|mode| mode.first().copied())
        .is_some_and(|mode| mode != IN6_ADDR_GEN_MODE_NONE)
}

/// Both families' arrays, each a number for every sysctl that the kernel has.
fn settings(af_spec: &[u8]) -> [Option<i32>; SETTINGS.len()] {
    let of = |family, conf| find(af_spec, family).and_then(|spec| find(spec, conf));
    let (v4, v6) = (of(AF_INET, IFLA_INET_CONF), of(AF_INET6, IFLA_INET6_CONF));
    SETTINGS.map(|(family, _, nth)| {
        let all = if family == AF_INET { v4 } else { v6 };
        number(all?.get(4 * nth..4 * nth + 4)?).map(u32::cast_signed)
    })
}

/// The group of a link, read without the rest.
pub(crate) fn group_of(body: &[u8]) -> LinkGroup {
    let group = body
        .get(IFINFOMSG..)
        .and_then(|rest| find(rest, IFLA_GROUP));
    LinkGroup(group.and_then(number).unwrap_or_default())
}

/// The index of the link that the message says is gone: `RTM_DELLINK`, and not a bridge's notice that
/// a port left it.
pub(crate) fn gone(kind: u16, body: &[u8]) -> Option<u32> {
    const RTM_DELLINK: u16 = 17;
    const AF_UNSPEC: u8 = 0;
    let about_link = kind == RTM_DELLINK && body.first() == Some(&AF_UNSPEC);
    body.get(4..).and_then(number).filter(|_| about_link)
}
