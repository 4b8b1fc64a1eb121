//! `bulkhead doctor overlay`: whether the other nodes answer, over every network that this node has
//! together with them, and whether the kernel has what the store says. It sends echo requests to those
//! nodes and changes nothing.

mod judge;
mod probe;

use std::collections::BTreeMap;
use std::io;
use std::thread;

use bulkhead_ipam::wire::admin::{Filter, ListedEnd, ListedOverlay, OwnEnd};
use bulkhead_kernel::{Deletion, Kernel, Netns};
use bulkhead_model::{IfName, InterfaceAddress, NetworkName};
use bulkhead_plan::{
    Direction, Near, Ns, Overlay, Peer, PolicyKey, PolicyState, Switch, Tunnels, Vtep, Want, near,
    obstacles, plan, scope,
};
use clap::Args;
use rustix::net::{AddressFamily, SocketFlags, SocketType, netdevice, socket_with};

use self::judge::{Differs, Seen};
use self::probe::{Probed, Way, probe};
use super::finding::{Finding, Id, Severity};
use crate::daemon::{Daemon, Reach};
use crate::failure::{Failure, Outcome, chain};
use crate::output::Format;
use crate::time;

/// Nodes that are asked at once.
const AT_ONCE: usize = 32;

#[derive(Args, Debug)]
pub(crate) struct OverlayArgs {
    /// Only this network.
    network: Option<String>,

    #[command(flatten)]
    reach: Reach,
}

pub(super) fn run(args: &OverlayArgs, all: bool, format: Format) -> Outcome {
    let asked = args.reach.daemon();
    let asked = asked.and_then(|daemon| Ok((overlays(&daemon, args)?, daemon)));
    let (overlays, daemon) = match asked {
        Ok(asked) => asked,
        Err(failure) => return Outcome::partial(String::new(), &[failure]),
    };
    let mut unread = Vec::new();
    let mut findings = Vec::new();
    for overlay in &overlays {
        match look(&daemon, overlay, &mut unread) {
            Some(found) => findings.extend(found),
            None => unread.push(format!(
                "network {}: this node has no attachment of it, ask one that has",
                overlay.network
            )),
        }
    }
    // It is of all networks at once.
    if args.network.is_none() {
        match unfiltered(&overlays) {
            Ok(finding) => findings.extend(finding),
            Err(error) => unread.push(format!("the filter of the networks: {error}")),
        }
    }
    findings.retain(|finding: &Finding| all || finding.severity != Severity::Ok);
    findings.sort_by_key(|finding| finding.severity);
    super::outcome(&findings, unread, format)
}

fn overlays(daemon: &Daemon, args: &OverlayArgs) -> Result<Vec<ListedOverlay>, Failure> {
    let filter = Filter {
        network: args.network.clone(),
        ..Filter::default()
    };
    let overlays = daemon.overlays(&filter)?;
    match (&args.network, overlays.is_empty()) {
        (Some(network), true) => Err(Failure::NoOverlay(network.clone())),
        _ => Ok(overlays),
    }
}

fn look(
    daemon: &Daemon,
    overlay: &ListedOverlay,
    unread: &mut Vec<String>,
) -> Option<Vec<Finding>> {
    let own = overlay.here.as_ref()?;
    let network: NetworkName = overlay.network.parse().ok()?;
    let probed = match way(&network, overlay, own) {
        Ok(way) => probed(overlay, own, &way, unread),
        Err(error) => {
            unread.push(format!("network {network}: link {}: {error}", own.device));
            BTreeMap::new()
        }
    };
    let differs = differs(daemon, overlay, own).unwrap_or_else(|error| {
        unread.push(format!("network {network}: {error}"));
        Differs::default()
    });
    let seen = Seen {
        network,
        overlay,
        own,
        probed,
        differs,
        unsealed: unsealed(overlay, own).unwrap_or_else(|error| {
            unread.push(format!("network {}: {error}", overlay.network));
            Vec::new()
        }),
        below: below(own),
        now_unix_ms: time::now_unix_ms(),
    };
    Some(seen.findings())
}

fn others<'a>(overlay: &'a ListedOverlay, own: &'a OwnEnd) -> impl Iterator<Item = &'a ListedEnd> {
    let ends = overlay.ends.iter();
    ends.filter(|end| end.name.id != own.name.id)
}

/// Asks every other node, some at a time.
fn probed<'a>(
    overlay: &'a ListedOverlay,
    own: &'a OwnEnd,
    way: &Way,
    unread: &mut Vec<String>,
) -> BTreeMap<&'a str, Probed> {
    let others: Vec<&ListedEnd> = others(overlay, own).collect();
    let ask = |end: &ListedEnd| {
        probe(
            end.mac.link_local(),
            way,
            own.mtu.min(end.mtu),
            end.underlay,
        )
    };
    let mut answers = BTreeMap::new();
    for some in others.chunks(AT_ONCE) {
        let asked: Vec<io::Result<Probed>> = thread::scope(|scope| {
            let begin = |end: &&'a ListedEnd| {
                let end = *end;
                scope.spawn(move || ask(end))
            };
            let threads: Vec<_> = some.iter().map(begin).collect();
            let ended = threads.into_iter().map(thread::ScopedJoinHandle::join);
            let answer = |ended: thread::Result<_>| {
                ended.unwrap_or_else(|_| Err(io::Error::other("a bug of bulkhead")))
            };
            ended.map(answer).collect()
        });
        for (end, answer) in some.iter().zip(asked) {
            match answer {
                Ok(answer) => drop(answers.insert(end.name.id.as_str(), answer)),
                Err(error) => unread.push(format!("{} is not asked: {error}", end.name.name)),
            }
        }
    }
    answers
}

/// By what the others are asked: the device, or the bridge of a segment, where the node has the device's
/// address.
fn way(network: &NetworkName, overlay: &ListedOverlay, own: &OwnEnd) -> Result<Way, String> {
    let Some(segment) = &own.segment else {
        let link = index_of(own.device).map_err(|error| error.to_string())?;
        return Ok(Way {
            link,
            segment: None,
        });
    };
    let netns = Netns::open(&segment.netns).map_err(|error| chain(&error))?;
    let link = netns.within(|| index_of(network.segment_bridge()));
    let link = link
        .and_then(|link| link)
        .map_err(|error| error.to_string())?;
    let mut ends = overlay.ends.iter();
    let mine = ends.find(|end| end.name.id == own.name.id);
    let mine = mine.ok_or("the store does not know this node's end yet")?;
    Ok(Way {
        link,
        segment: Some((netns, mine.mac.link_local())),
    })
}

fn index_of(link: IfName) -> rustix::io::Result<u32> {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
    netdevice::name_to_index(socket, link.as_str())
}

/// What would bring the filter of the networks' ports to what the store says.
fn unfiltered(overlays: &[ListedOverlay]) -> Result<Option<Finding>, String> {
    let mut want = Tunnels::default();
    for overlay in overlays {
        let Some(own) = &overlay.here else { continue };
        want.ports.insert(overlay.port);
        // A segment's addresses are in a namespace of its own, and may be anybody's out here.
        if own.segment.is_none() {
            want.pools.extend(&overlay.prefixes);
        }
        let known = others(overlay, own).map(|end| (overlay.port, overlay.vni, end.underlay));
        want.known.extend(known);
        if !overlay.encryption.is_none() {
            want.sealed.insert(overlay.port);
        }
        if own.mss_clamp {
            want.clamped.insert(own.device);
        }
    }
    let mut kernel = Kernel::new(Deletion::Blocking);
    want.near = near_of(&mut kernel, overlays)?;
    let want = Want::Tunnels(Box::new(want));
    let world = kernel.observe(&scope(&want)).map_err(|e| chain(&e))?;
    let plan = plan(&world, &want).map_err(|e| chain(&e))?;
    if plan.is_empty() {
        return Ok(None);
    }
    let finding = Finding::problem(
        Id::OverlayFilter,
        "what may reach the networks' UDP ports, must be encrypted or is clamped differs from what the store says",
    );
    let finding = finding.why("the daemon mends this within a second if it can");
    let lines = plan.ops().iter().map(ToString::to_string);
    Ok(Some(lines.fold(finding, Finding::help)))
}

/// What is behind nodes that are sent to as they are.
fn near_of(kernel: &mut Kernel, overlays: &[ListedOverlay]) -> Result<Near, String> {
    let mut all = Near::new();
    for overlay in overlays {
        let here = overlay.here.as_ref();
        let Some(own) = here.filter(|own| own.direct_routing && own.segment.is_none()) else {
            continue;
        };
        let wanted = wanted(overlay, own)?;
        let asked = scope(&Want::Overlay(Box::new(wanted.clone())));
        let world = kernel.observe(&asked).map_err(|e| chain(&e))?;
        for (at, behind) in near(&world, &wanted) {
            all.entry(at).or_default().extend(behind);
        }
    }
    Ok(all)
}

/// What the kernel lacks of `IPsec`. Keys are not compared: nobody here has them.
fn unsealed(overlay: &ListedOverlay, own: &OwnEnd) -> Result<Vec<String>, String> {
    if overlay.encryption.is_none() {
        return Ok(Vec::new());
    }
    let mut kernel = Kernel::new(Deletion::Blocking);
    let asked = scope(&Want::Ipsec(Box::default()));
    let world = kernel.observe(&asked).map_err(|e| chain(&e))?;
    let found = &world.space(&Ns::Host).ipsec;
    let mut lacking = Vec::new();
    for (direction, what) in [
        (Direction::In, "what asks for ESP of what comes"),
        (Direction::Out, "what asks for ESP of what leaves"),
    ] {
        let key = PolicyKey {
            direction,
            local: own.local,
            port: overlay.port,
        };
        if found.policies.get(&key) != Some(&PolicyState::Ours) {
            lacking.push(what.to_owned());
        }
    }
    for end in others(overlay, own).filter(|end| end.key_epoch.is_some()) {
        let between = |from, to| {
            let mut states = found.states.iter();
            states.any(|((it, _), state)| {
                *it == to && state.source == from && state.port == Some(overlay.port)
            })
        };
        let name = &end.name.name;
        if !between(own.local, end.underlay) {
            lacking.push(format!("a state to {name}"));
        }
        if !between(end.underlay, own.local) {
            lacking.push(format!("a state from {name}"));
        }
    }
    Ok(lacking)
}

/// The link that the node's address is on, and its driver; none of virtual links.
fn below(own: &OwnEnd) -> Option<(IfName, String)> {
    let mut kernel = Kernel::new(Deletion::Blocking);
    let link = kernel.underlay(own.local).ok().flatten()?.link;
    let driver = std::fs::read_link(format!("/sys/class/net/{link}/device/driver")).ok()?;
    Some((link, driver.file_name()?.to_string_lossy().into_owned()))
}

/// What the kernel has otherwise than the store says.
fn differs(daemon: &Daemon, overlay: &ListedOverlay, own: &OwnEnd) -> Result<Differs, String> {
    // What a segment has follows from places in pools, which the daemon knows.
    if own.segment.is_some() {
        let drift = daemon.overlay_differs(&overlay.network);
        return Ok(Differs {
            drift: drift.map_err(|error| chain(&error))?,
            strangers: Vec::new(),
        });
    }
    let wanted = wanted(overlay, own)?;
    let want = Want::Overlay(Box::new(wanted.clone()));
    let mut kernel = Kernel::new(Deletion::Blocking);
    let world = kernel.observe(&scope(&want)).map_err(|e| chain(&e))?;
    let plan = plan(&world, &want).map_err(|e| chain(&e))?;
    let strangers = obstacles(&world, &wanted).into_values();
    Ok(Differs {
        drift: plan.ops().iter().map(ToString::to_string).collect(),
        strangers: strangers.cloned().collect(),
    })
}

/// What a network that routes should be here.
fn wanted(overlay: &ListedOverlay, own: &OwnEnd) -> Result<Overlay, String> {
    let mut ends = overlay.ends.iter();
    let Some(mine) = ends.find(|end| end.name.id == own.name.id) else {
        return Err("the store does not know this node's end yet".to_owned());
    };
    let peer = |end: &ListedEnd| Peer {
        mac: end.mac,
        underlay: end.underlay,
        prefixes: end.blocks.iter().copied().collect(),
        direct: own.direct_routing,
        link_mac: end.link_mac,
        mtu: end.mtu,
    };
    Ok(Overlay {
        vtep: Vtep {
            device: own.device,
            mac: mine.mac,
            vni: overlay.vni,
            port: overlay.port,
            local: own.local,
            mtu: own.mtu,
            addresses: {
                let own = own.addresses.iter().copied();
                own.map(InterfaceAddress::alone).collect()
            },
            tx_checksum: Switch::from(own.tx_checksum),
        },
        peers: others(overlay, own).map(peer).collect(),
        pools: overlay.prefixes.iter().copied().collect(),
    })
}
