//! The VXLAN device itself. It has no remote of its own and no group, so a frame whose MAC is not in the
//! FDB goes nowhere (`vxlan_xmit`, `drivers/net/vxlan/vxlan_core.c`).

use std::collections::BTreeSet;
use std::net::IpAddr;

use bulkhead_model::{IfName, InterfaceAddress, LinkGroup};

use super::Vtep;
use crate::{
    Conflict, Dad, DontFragment, Link, LinkKind, LinkSetting, Ns, OnLink, Op, Space, Switch,
    Sysctl, Vxlan,
};

/// What the kernel is told of it. What does not fit the underlay comes back as an error to its sender,
/// and is not fragmented where nobody sees it (RFC 7348 section 4.3).
pub(crate) fn attributes(want: &Vtep) -> Vxlan {
    Vxlan {
        vni: want.vni.get(),
        port: want.port,
        local: Some(want.local),
        flood: None,
        learning: false,
        df: match want.local {
            IpAddr::V4(_) => DontFragment::Set,
            // Only a sender fragments IPv6, and it is told what fits.
            IpAddr::V6(_) => DontFragment::Unset,
        },
        proxy: false,
    }
}

/// What is written before it comes up, whatever the node's defaults are: no peer's advertisement or
/// redirect moves the node's routes. What comes in from an address that is routed elsewhere is dropped and
/// counted by `table inet bulkhead-overlay`, which the kernel need not do once more for each packet.
pub(super) fn sysctls(device: IfName) -> [(Sysctl, &'static str); 8] {
    let ipv4 = |leaf| Sysctl::ipv4_conf(device.as_str(), leaf);
    let ipv6 = |leaf| Sysctl::ipv6_conf(device.as_str(), leaf);
    [
        (ipv4("rp_filter"), "0"),
        (ipv4("accept_redirects"), "0"),
        (ipv4("send_redirects"), "0"),
        (ipv4("forwarding"), "1"),
        (ipv6("disable_ipv6"), "0"),
        (ipv6("accept_ra"), "0"),
        (ipv6("accept_redirects"), "0"),
        (ipv6("forwarding"), "1"),
    ]
}

/// Its addresses, each alone, and the link-local one that peers have as their next hop.
fn addresses(want: &Vtep) -> BTreeSet<InterfaceAddress> {
    let alone = |address: &InterfaceAddress| {
        let bits = address.family().bits();
        InterfaceAddress::new(address.address(), bits).expect("as long as the address")
    };
    let link_local = want.mac.link_local().into();
    let link_local = InterfaceAddress::new(link_local, 64).expect("64 is within 128");
    let alone = want.addresses.iter().map(alone);
    alone.chain([link_local]).collect()
}

/// Refuses what stands in the way before anything is changed.
pub(super) fn refuse(host: &Space, want: &Vtep) -> Result<(), Conflict> {
    let device = want.device;
    if !host.ipv6 {
        return Err(Conflict::OverlayWithoutIpv6(device));
    }
    if host.links.get(&device).is_some_and(|link| !link.is_ours()) {
        return Err(Conflict::ForeignVtep(device));
    }
    let wanted = attributes(want);
    let mut others = host.links.iter().filter(|(name, _)| **name != device);
    let taken =
        others.find(|(_, link)| matches!(link.kind, LinkKind::Vxlan(it) if it.excludes(&wanted)));
    match taken {
        Some((other, _)) => Err(Conflict::VniTaken {
            device,
            vni: want.vni,
            port: want.port,
            other: *other,
        }),
        None => Ok(()),
    }
}

/// The deletion of one of ours that has to be made anew: most of what it is cannot be changed, and a
/// MAC cannot without losing every neighbour.
pub(super) fn outdated(host: &Space, want: &Vtep) -> Option<Op> {
    let found = host.links.get(&want.device)?;
    let stands = found.kind == LinkKind::Vxlan(attributes(want))
        && found.mac == Some(want.mac)
        && found.group == LinkGroup::OWNED;
    (!stands).then_some(Op::DelLink {
        ns: Ns::Host,
        name: want.device,
    })
}

/// Appends what makes it ready to come up.
pub(super) fn prepare(host: &Space, want: &Vtep, ops: &mut Vec<Op>) {
    let device = want.device;
    let found = host.links.get(&device);
    match found {
        None => ops.push(Op::AddVxlan {
            ns: Ns::Host,
            below: Ns::Host,
            name: device,
            mac: want.mac,
            mtu: want.mtu,
            vxlan: attributes(want),
        }),
        Some(found) if found.mtu != want.mtu => ops.push(set(device, LinkSetting::Mtu(want.mtu))),
        Some(_) => {}
    }
    if found.is_none_or(|found| found.forms_link_local) {
        ops.push(set(device, LinkSetting::NoLinkLocal));
    }
    if checksums(host, device) != want.tx_checksum {
        ops.push(set(device, LinkSetting::TxChecksum(want.tx_checksum)));
    }
    for (sysctl, value) in sysctls(device) {
        let now = host.sysctls.get(&sysctl).filter(|_| found.is_some());
        if now.is_none_or(|now| now != value) {
            ops.push(Op::SetSysctl {
                ns: Ns::Host,
                sysctl,
                value: value.to_owned(),
            });
        }
    }
    for address in addresses(want) {
        if found.is_none() || !host.addresses.contains_key(&(device, address)) {
            ops.push(Op::AddAddress {
                ns: Ns::Host,
                link: device,
                address,
                dad: Dad::Skip,
                on_link: OnLink::Prefix,
            });
        }
    }
}

/// Appends what brings it up.
pub(super) fn raise(host: &Space, want: &Vtep, ops: &mut Vec<Op>) {
    if !is_up(host, want.device) {
        ops.push(set(want.device, LinkSetting::Up));
    }
}

/// A new device leaves them to what it sends by, and one of a kernel that does not tell too.
fn checksums(host: &Space, device: IfName) -> Switch {
    let found = host.links.get(&device);
    let known = found.and_then(|_| host.tx_checksums.get(&device));
    known.copied().unwrap_or(Switch::On)
}

fn is_up(host: &Space, device: IfName) -> bool {
    host.links.get(&device).is_some_and(|found| found.up)
}

/// Appends what takes away addresses that it should not have: what is sent to one would end here.
pub(super) fn strip(host: &Space, want: &Vtep, ops: &mut Vec<Op>) {
    let wanted = addresses(want);
    let found = host.addresses.keys();
    let found = found.filter(|(on, address)| *on == want.device && !wanted.contains(address));
    ops.extend(found.map(|(link, address)| Op::DelAddress {
        ns: Ns::Host,
        link: *link,
        address: *address,
    }));
}

/// Appends its deletion, if it is ours.
pub(super) fn end(host: &Space, device: IfName, ops: &mut Vec<Op>) {
    if host.links.get(&device).is_some_and(Link::is_ours) {
        ops.push(Op::DelLink {
            ns: Ns::Host,
            name: device,
        });
    }
}

fn set(name: IfName, set: LinkSetting) -> Op {
    Op::SetLink {
        ns: Ns::Host,
        name,
        set,
    }
}
