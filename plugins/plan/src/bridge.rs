//! The bridge: created and kept as wanted if ours, used as it is if not.

use bulkhead_model::{IfName, InterfaceAddress, Mtu};

use crate::{
    Bridge, Conflict, Dad, Foreign, Link, LinkKind, LinkSetting, Localnet, Ns, OnLink, Op,
    OtherGateways, Space, SpaceScope, Switch, Sysctl,
};

/// Appends what makes `want` true on the host.
pub(crate) fn ensure(host: &Space, want: &Bridge, ops: &mut Vec<Op>) -> Result<(), Conflict> {
    if let Some(gateway) = want
        .gateways
        .iter()
        .find(|g| g.address().is_ipv6() && !host.ipv6)
    {
        return Err(Conflict::NoIpv6(gateway.address()));
    }
    match host.links.get(&want.name) {
        None => create(host, want, ops),
        Some(link) => {
            if link.kind != LinkKind::Bridge {
                return Err(Conflict::NotABridge {
                    name: want.name,
                    kind: kind_name(link),
                });
            }
            if link.is_ours() || want.foreign == Foreign::Adopt {
                return keep(host, link, want, ops);
            }
            return join(host, link, want);
        }
    }
    Ok(())
}

/// The MTU a port on this bridge gets when nothing else is asked for.
pub(crate) fn mtu(host: &Space, want: &Bridge) -> Mtu {
    let whole = host
        .links
        .get(&want.name)
        .filter(|link| link.up || !link.is_ours());
    let found = whole.map(|link| link.mtu);
    want.mtu.or(found).unwrap_or(Mtu::ETHERNET)
}

fn create(host: &Space, want: &Bridge, ops: &mut Vec<Op>) {
    let (ns, name) = (Ns::Host, want.name);
    let mtu = want.mtu.unwrap_or(Mtu::ETHERNET);
    ops.push(Op::AddBridge {
        ns: ns.clone(),
        name,
        mac: want.mac,
        mtu: other_than(mtu),
    });
    ops.push(Op::SetLink {
        ns: ns.clone(),
        name,
        set: LinkSetting::Mtu(mtu),
    });
    ops.push(Op::SetLink {
        ns: ns.clone(),
        name,
        set: LinkSetting::NoLinkLocalLearning,
    });
    if host.ipv6 {
        ops.extend(deaf(name).map(switch_off));
        ops.push(Op::SetLink {
            ns: ns.clone(),
            name,
            set: LinkSetting::NoLinkLocal,
        });
    }
    if want.localnet != Localnet::Unclaimed {
        ops.push(route_localnet(want.name, Switch::On));
    }
    for address in addresses(want) {
        ops.push(add(want, address));
    }
    if want.promiscuous {
        ops.push(promiscuous(want));
    }
    ops.push(Op::SetLink {
        ns,
        name,
        set: LinkSetting::Up,
    });
}

fn keep(host: &Space, link: &Link, want: &Bridge, ops: &mut Vec<Op>) -> Result<(), Conflict> {
    let (ns, name) = (Ns::Host, want.name);
    let on_bridge = || {
        host.addresses
            .keys()
            .filter(|(on, _)| *on == name)
            .map(|(_, a)| *a)
    };
    let ours = link.is_ours();
    // One of ours that is down is half made.
    let claimed = want.mtu.or((!link.up).then_some(Mtu::ETHERNET));
    if let Some(mtu) = claimed.filter(|mtu| ours && *mtu != link.mtu) {
        ops.push(Op::SetLink {
            ns: ns.clone(),
            name,
            set: LinkSetting::Mtu(mtu),
        });
    }
    if ours && link.learns_link_local {
        ops.push(Op::SetLink {
            ns: ns.clone(),
            name,
            set: LinkSetting::NoLinkLocalLearning,
        });
    }
    if ours && host.ipv6 {
        let heard = |sysctl: &Sysctl| host.sysctls.get(sysctl).is_some_and(|value| value != "0");
        ops.extend(deaf(name).into_iter().filter(heard).map(switch_off));
        if link.forms_link_local {
            ops.push(Op::SetLink {
                ns: ns.clone(),
                name,
                set: LinkSetting::NoLinkLocal,
            });
        }
    }
    if want.localnet != Localnet::Unclaimed && !routes_localnet(host, want.name) {
        ops.push(route_localnet(want.name, Switch::On));
    }
    // A foreign bridge forms its own link-local address; ours gets it from us.
    let wanted = if ours {
        addresses(want)
    } else {
        want.gateways.clone()
    };
    let mut surplus = Vec::new();
    for gateway in &want.gateways {
        for found in on_bridge() {
            let same_net = found.prefix().overlaps(gateway.prefix());
            if same_net && !want.gateways.contains(&found) {
                match want.other_gateways {
                    OtherGateways::Replace if !surplus.contains(&found) => surplus.push(found),
                    OtherGateways::Replace => {}
                    OtherGateways::Refuse => {
                        return Err(Conflict::OtherGateway {
                            bridge: name,
                            found,
                            wanted: *gateway,
                        });
                    }
                }
            }
        }
    }
    for address in wanted {
        if !on_bridge().any(|found| found == address) {
            ops.push(add(want, address));
        }
    }
    for address in surplus {
        ops.push(Op::DelAddress {
            ns: ns.clone(),
            link: name,
            address,
        });
    }
    if want.promiscuous && !link.promiscuous {
        ops.push(promiscuous(want));
    }
    if !link.up {
        ops.push(Op::SetLink {
            ns,
            name,
            set: LinkSetting::Up,
        });
    }
    Ok(())
}

/// A bridge that somebody else made is never altered; what it lacks is named instead.
fn join(host: &Space, link: &Link, want: &Bridge) -> Result<(), Conflict> {
    let bridge = want.name;
    for address in &want.gateways {
        if !host.addresses.contains_key(&(bridge, *address)) {
            return Err(Conflict::ForeignBridgeLacks {
                bridge,
                address: *address,
            });
        }
    }
    if !link.up {
        return Err(Conflict::ForeignBridgeDown(bridge));
    }
    if let Some(mtu) = want.mtu.filter(|mtu| *mtu < link.mtu) {
        return Err(Conflict::ForeignBridgeMtu {
            bridge,
            found: link.mtu,
            mtu,
        });
    }
    if want.promiscuous && !link.promiscuous {
        return Err(Conflict::ForeignBridgeNotPromiscuous(bridge));
    }
    if want.localnet == Localnet::Required && !routes_localnet(host, want.name) {
        return Err(Conflict::ForeignBridgeNotLocalnet { bridge });
    }
    Ok(())
}

/// A bridge follows its ports' MTU until its own was changed, and one given at birth or set to what
/// it is already is no change (`br_mtu_auto_adjust`, `br_change_mtu`): so it is born with another.
fn other_than(mtu: Mtu) -> Mtu {
    Mtu::new(mtu.bytes() - 1)
        .or(Mtu::new(mtu.bytes() + 1))
        .expect("one of the two is an MTU")
}

/// The gateways, and a link-local address if one of them is IPv6: the kernel solicits from it, and
/// one of its own making would be tentative for a second after the first port comes up.
fn addresses(want: &Bridge) -> Vec<InterfaceAddress> {
    let mut all = want.gateways.clone();
    if all.iter().any(|gateway| gateway.address().is_ipv6()) {
        let link_local = want.mac.link_local().into();
        all.push(InterfaceAddress::new(link_local, 64).expect("64 is within 128"));
    }
    all
}

fn add(want: &Bridge, address: InterfaceAddress) -> Op {
    Op::AddAddress {
        ns: Ns::Host,
        link: want.name,
        address,
        dad: Dad::Skip,
        on_link: OnLink::Prefix,
    }
}

/// Widens a scope by what a plan for the bridge needs to see.
pub(crate) fn see(host: &mut SpaceScope, want: &Bridge) {
    host.sysctls.extend(deaf(want.name));
    if want.localnet != Localnet::Unclaimed {
        host.sysctls.insert(localnet(want.name));
    }
}

/// What is off on a bridge of ours: no container's advertisement or redirect moves the host's routes
/// (CVE-2020-10749).
fn deaf(bridge: IfName) -> [Sysctl; 2] {
    ["accept_ra", "accept_redirects"].map(|leaf| Sysctl::ipv6_conf(bridge.as_str(), leaf))
}

fn switch_off(sysctl: Sysctl) -> Op {
    Op::SetSysctl {
        ns: Ns::Host,
        sysctl,
        value: "0".to_owned(),
    }
}

/// The switch, whose name a bridge shares with every link.
pub(crate) fn localnet(bridge: IfName) -> Sysctl {
    Sysctl::ipv4_conf(bridge.as_str(), "route_localnet")
}

pub(crate) fn routes_localnet(host: &Space, bridge: IfName) -> bool {
    host.sysctls
        .get(&localnet(bridge))
        .is_some_and(|value| value == "1")
}

pub(crate) fn route_localnet(bridge: IfName, switch: Switch) -> Op {
    let value = match switch {
        Switch::On => "1",
        Switch::Off => "0",
    };
    Op::SetSysctl {
        ns: Ns::Host,
        sysctl: localnet(bridge),
        value: value.to_owned(),
    }
}

fn promiscuous(want: &Bridge) -> Op {
    let set = LinkSetting::Promiscuous(Switch::On);
    Op::SetLink {
        ns: Ns::Host,
        name: want.name,
        set,
    }
}

fn kind_name(link: &Link) -> String {
    match &link.kind {
        LinkKind::Bridge => "bridge".to_owned(),
        LinkKind::Veth { .. } => "veth".to_owned(),
        LinkKind::Vxlan(_) => "vxlan".to_owned(),
        LinkKind::Other(kind) if kind.is_empty() => "physical device".to_owned(),
        LinkKind::Other(kind) => kind.clone(),
    }
}
