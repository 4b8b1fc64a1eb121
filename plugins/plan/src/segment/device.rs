//! The VXLAN device as a port of the bridge. It has no remote of its own and no group: a frame whose MAC is
//! not in its FDB goes nowhere (`vxlan_xmit`, `drivers/net/vxlan/vxlan_core.c`). The bridge hands it every
//! frame that is for nobody on the node.

use bulkhead_model::LinkGroup;

use super::Plugged;
use crate::{
    Conflict, LinkKind, LinkSetting, MulticastRouter, Ns, Op, PortFlags, Space, Vxlan, World,
    overlay,
};

fn attributes(want: &Plugged) -> Vxlan {
    Vxlan {
        proxy: true,
        ..overlay::attributes(&want.vtep)
    }
}

/// Every group's frames reach the device, whoever has joined: questions for addresses among them, which go
/// to groups of IPv6 (RFC 4861 section 7.2.2).
fn flags() -> PortFlags {
    PortFlags {
        untaught: true,
        multicast_router: MulticastRouter::Always,
        ..PortFlags::default()
    }
}

/// Refuses what stands in the way before anything is changed.
pub(super) fn refuse(world: &World, want: &Plugged) -> Result<(), Conflict> {
    let device = want.vtep.device;
    for name in [device, want.bridge] {
        let found = world.space(&want.ns).links.get(&name);
        if found.is_some_and(|link| !link.is_ours()) {
            return Err(Conflict::ForeignVtep(name));
        }
    }
    let wanted = attributes(want);
    let mut on_host = world.space(&Ns::Host).links.iter();
    let taken =
        on_host.find(|(_, link)| matches!(link.kind, LinkKind::Vxlan(it) if it.excludes(&wanted)));
    match taken {
        Some((other, _)) => Err(Conflict::VniTaken {
            device,
            vni: want.vtep.vni,
            port: want.vtep.port,
            other: *other,
        }),
        None => Ok(()),
    }
}

/// The deletion of one of ours that has to be made anew: most of what it is cannot be changed.
pub(super) fn outdated(space: &Space, want: &Plugged) -> Option<Op> {
    let name = want.vtep.device;
    let found = space.links.get(&name)?;
    let stands = found.kind == LinkKind::Vxlan(attributes(want))
        && found.mac == Some(want.vtep.mac)
        && found.group == LinkGroup::OWNED;
    (!stands).then_some(Op::DelLink {
        ns: want.ns.clone(),
        name,
    })
}

/// Appends what makes it a port that is ready to come up.
pub(super) fn prepare(space: &Space, want: &Plugged, ops: &mut Vec<Op>) {
    let (ns, name, mtu) = (&want.ns, want.vtep.device, want.vtep.mtu);
    let set = |set| Op::SetLink {
        ns: ns.clone(),
        name,
        set,
    };
    let found = space.links.get(&name);
    match found {
        None => ops.push(Op::AddVxlan {
            ns: ns.clone(),
            below: Ns::Host,
            name,
            mac: want.vtep.mac,
            mtu,
            vxlan: attributes(want),
        }),
        Some(found) if found.mtu != mtu => ops.push(set(LinkSetting::Mtu(mtu))),
        Some(_) => {}
    }
    if space.ipv6 && found.is_none_or(|found| found.forms_link_local) {
        ops.push(set(LinkSetting::NoLinkLocal));
    }
    let bridge = want.bridge;
    let joined = found.filter(|found| found.bridge == Some(bridge));
    if joined.is_none() {
        ops.push(set(LinkSetting::Bridge(bridge)));
    }
    if joined.is_none_or(|found| found.port != flags()) {
        ops.push(Op::SetPort {
            ns: ns.clone(),
            port: name,
            flags: flags(),
        });
    }
}

/// Appends what brings it up.
pub(super) fn raise(space: &Space, want: &Plugged, ops: &mut Vec<Op>) {
    let name = want.vtep.device;
    if space.links.get(&name).is_none_or(|found| !found.up) {
        ops.push(Op::SetLink {
            ns: want.ns.clone(),
            name,
            set: LinkSetting::Up,
        });
    }
}
