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
use bulkhead_plan::{Overlay, Peer, Vtep, Want, obstacles, plan, scope};
use clap::Args;
use rustix::net::{AddressFamily, SocketFlags, SocketType, netdevice, socket_with};

use self::judge::{Differs, Seen};
use self::probe::{Probed, Way, probe};
use super::finding::{Finding, Severity};
use crate::daemon::Reach;
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
    let overlays = match overlays(args) {
        Ok(overlays) => overlays,
        Err(failure) => return Outcome::partial(String::new(), &[failure]),
    };
    let mut unread = Vec::new();
    let mut findings = Vec::new();
    for overlay in &overlays {
        match look(overlay, &mut unread) {
            Some(found) => findings.extend(found),
            None => unread.push(format!(
                "network {}: this node has no attachment of it, ask one that has",
                overlay.network
            )),
        }
    }
    findings.retain(|finding: &Finding| all || finding.severity != Severity::Ok);
    findings.sort_by_key(|finding| finding.severity);
    super::outcome(&findings, unread, format)
}

fn overlays(args: &OverlayArgs) -> Result<Vec<ListedOverlay>, Failure> {
    let filter = Filter {
        network: args.network.clone(),
        ..Filter::default()
    };
    let overlays = args.reach.daemon()?.overlays(&filter)?;
    match (&args.network, overlays.is_empty()) {
        (Some(network), true) => Err(Failure::NoOverlay(network.clone())),
        _ => Ok(overlays),
    }
}

fn look(overlay: &ListedOverlay, unread: &mut Vec<String>) -> Option<Vec<Finding>> {
    let own = overlay.here.as_ref()?;
    let network: NetworkName = overlay.network.parse().ok()?;
    let probed = match way(&network, overlay, own) {
        Ok(way) => probed(overlay, own, &way, unread),
        Err(error) => {
            unread.push(format!("network {network}: link {}: {error}", own.device));
            BTreeMap::new()
        }
    };
    let differs = differs(overlay, own).unwrap_or_else(|error| {
        unread.push(format!("network {network}: {error}"));
        Differs::default()
    });
    let seen = Seen {
        network,
        overlay,
        own,
        probed,
        differs,
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
    let ask = |end: &ListedEnd| probe(end.mac.link_local(), way, own.mtu, end.underlay);
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

/// What the kernel has otherwise than the store says.
fn differs(overlay: &ListedOverlay, own: &OwnEnd) -> Result<Differs, String> {
    // What a segment has follows from places in pools, which the daemon knows: it tells what it cannot mend.
    if own.segment.is_some() {
        return Ok(Differs::default());
    }
    let mut ends = overlay.ends.iter();
    let Some(mine) = ends.find(|end| end.name.id == own.name.id) else {
        return Err("the store does not know this node's end yet".to_owned());
    };
    let peer = |end: &ListedEnd| Peer {
        mac: end.mac,
        underlay: end.underlay,
        prefixes: end.blocks.iter().copied().collect(),
        direct: own.direct_routing,
        link_mac: None,
    };
    let wanted = Overlay {
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
        },
        peers: others(overlay, own).map(peer).collect(),
        pools: overlay.prefixes.iter().copied().collect(),
    };
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
