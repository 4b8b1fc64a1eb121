//! How a packet gets from one end to the other: by a port of the node, an overlay, or another route.

use std::net::IpAddr;

use bulkhead_ipam::wire::admin::{Leads, ListedEnd, ListedOverlay, NodeState, OwnEnd};
use bulkhead_model::{Encryption, IfName};
use bulkhead_policy::{Endpoint, Network, NodeName};

use super::answer::Step;
use super::scene::{Scene, end_of};

const AT: &str = "way";

pub(super) fn step(scene: &Scene<'_>) -> Step {
    let Some(here) = scene.here() else {
        return Step::said(AT, by_name(scene));
    };
    if let Some((id, source)) = scene.source()
        && !scene.is_here(source)
    {
        let mut step = Step::said(AT, by_name(scene));
        step.unknown.push(format!(
            "which way {id}'s node sends it is that node's to tell, this is node {here}'s view"
        ));
        return step;
    }
    let to = scene.packet.destination;
    if let Some((id, endpoint)) = scene.destination()
        && scene.is_here(endpoint)
    {
        return to_port(scene, id, to);
    }
    if let Some(overlay) = scene.overlay(to)
        && let Some(own) = &overlay.here
    {
        return by_overlay(scene, overlay, own, to);
    }
    by_route(scene, to)
}

/// What nodes' names tell alone.
fn by_name(scene: &Scene<'_>) -> String {
    let node = |end: Option<(_, &Endpoint)>| end.and_then(|(_, endpoint)| endpoint.node.clone());
    let (from, to): (Option<NodeName>, Option<NodeName>) =
        (node(scene.source()), node(scene.destination()));
    match (from, to) {
        (Some(from), Some(to)) if from == to => format!("within node {from}"),
        (Some(from), Some(to)) => format!("from node {from} to node {to}"),
        (Some(from), None) => format!("from node {from}"),
        (None, Some(to)) => format!("to node {to}"),
        (None, None) => "the objects name no nodes".to_owned(),
    }
}

/// To a container of the node.
fn to_port(scene: &Scene<'_>, id: &bulkhead_policy::EndpointId, to: IpAddr) -> Step {
    let names = scene.attachment(id, to).map(|seen| &seen.record.names);
    let device = names.and_then(|names| names.bridge.or(names.port));
    let here = scene.here().unwrap_or_default();
    match scene.way(to).map(|way| &way.leads) {
        Some(Leads::Out { link, .. }) => {
            let mtu = scene.mtu_of(*link);
            let mut step = Step::said(AT, format!("within node {here}: out of {link}{mtu}"));
            step.notes.extend(as_asked(scene).map(str::to_owned));
            if let Some(device) = device.filter(|device| device != link) {
                step.notes.push(format!(
                    "its port is behind {device}: somebody else's route to {to} leads it astray, `ip route get {to}` shows it"
                ));
                step.allowed = Some(false);
            }
            step
        }
        Some(Leads::Nowhere) => nowhere(scene, to),
        Some(Leads::Barred { from, by }) => barred(scene, *from, *by, to),
        _ => match device {
            Some(device) => {
                let mtu = scene.mtu_of(device);
                Step::said(AT, format!("within node {here}: out of {device}{mtu}"))
            }
            None => Step::said(AT, format!("within node {here}")),
        },
    }
}

/// To another node's container of a network that nodes have together.
fn by_overlay(scene: &Scene<'_>, overlay: &ListedOverlay, own: &OwnEnd, to: IpAddr) -> Step {
    let network = &overlay.network;
    let Some(end) = end_of(overlay, to) else {
        let says = format!("overlay {network}: no node has a block with {to}, so it ends here");
        return Step::said(AT, says).which(false);
    };
    if end.name.id == own.name.id {
        let says = format!(
            "overlay {network}: {to} is in a block of this node, and no container of it has the address"
        );
        return Step::said(AT, says).which(false);
    }
    let leads = scene.way(to).map(|way| &way.leads);
    let mut step = match leads {
        // A segment has routes of its own.
        _ if own.segment.is_some() => encapsulated(overlay, own, end),
        Some(Leads::Out { link, .. }) if *link == own.device => encapsulated(overlay, own, end),
        Some(Leads::Out { link, gateway }) => {
            let via = gateway.map_or_else(String::new, |hop| format!(" via {hop}"));
            let mtu = scene.mtu_of(*link);
            let node = &end.name.name;
            let says = format!(
                "overlay {network}: direct, not encapsulated, to node {node} out of {link}{via}{mtu}"
            );
            let mut step = Step::said(AT, says);
            if !own.direct_routing {
                step.notes.push(format!(
                    "direct routing is off on this node: somebody else's route leads there, `ip route get {to}` shows it"
                ));
            }
            step
        }
        Some(Leads::Nowhere) => nowhere(scene, to),
        Some(Leads::Barred { from, by }) => barred(scene, *from, *by, to),
        Some(Leads::Here) => {
            let says = format!("the node takes {to} for its own address, and sends it nowhere");
            Step::said(AT, says).which(false)
        }
        Some(Leads::Other) | None => {
            let mut step = encapsulated(overlay, own, end);
            let why = "whether a route leads there was not read";
            step.unknown.push(why.to_owned());
            step
        }
    };
    for obstacle in &end.obstacles {
        step.notes.push(format!(
            "a route of somebody else is in the way: {}; `{}` removes it",
            obstacle.route, obstacle.removal
        ));
    }
    if let Some(fault) = &own.fault {
        step.notes
            .push(format!("this node's end of it does not stand: {fault}"));
    }
    if end.state == NodeState::Lost {
        let node = &end.name.name;
        step.notes.push(format!(
            "node {node} is declared lost: nothing is sent to it any more"
        ));
        step.allowed = Some(false);
    }
    step.unknown.push(format!(
        "whether it arrives at node {} is the underlay's to tell: `bulkhead doctor` probes it",
        end.name.name
    ));
    step
}

fn encapsulated(overlay: &ListedOverlay, own: &OwnEnd, end: &ListedEnd) -> Step {
    let ListedOverlay {
        network, vni, port, ..
    } = overlay;
    let sealed = match overlay.encryption {
        Encryption::None => String::new(),
        Encryption::Ipsec => format!(", encrypted by {}", overlay.encryption),
    };
    let says = format!(
        "overlay {network}: out of {}, encapsulated (VXLAN, VNI {vni}, UDP {port}{sealed}) from {} to node {} at {}, MTU {}",
        own.device, own.local, end.name.name, end.underlay, own.mtu
    );
    let mut step = Step::said(AT, says);
    if own.mtu > end.mtu {
        step.notes.push(format!(
            "the other end's MTU is {}: larger packets do not come through",
            end.mtu
        ));
    }
    step
}

fn by_route(scene: &Scene<'_>, to: IpAddr) -> Step {
    let here = scene.here().unwrap_or_default();
    let Some(way) = scene.way(to) else {
        return if scene.seen.is_some_and(|seen| seen.ways_whole) {
            nowhere(scene, to)
        } else {
            Step::unknown(AT, format!("no route to {to} was read on node {here}"))
        };
    };
    match &way.leads {
        Leads::Out { link, gateway } => {
            let via = gateway.map_or_else(String::new, |hop| format!(" via {hop}"));
            let mtu = scene.mtu_of(*link);
            let mut step = Step::said(AT, format!("from node {here} out of {link}{via}{mtu}"));
            step.notes.extend(as_asked(scene).map(str::to_owned));
            let is_ours = |network: &Network| network.pools.iter().any(|pool| pool.contains(to));
            if scene.node_at(to).is_none() && scene.world.networks.values().any(is_ours) {
                step.notes.push(format!(
                    "nobody is known to have {to}: unless somebody else answers for it, it ends here"
                ));
            } else {
                step.unknown
                    .push("what becomes of it beyond this node".to_owned());
            }
            step
        }
        Leads::Here => Step::said(AT, format!("to node {here} itself")),
        Leads::Nowhere => nowhere(scene, to),
        Leads::Barred { from, by } => barred(scene, *from, *by, to),
        Leads::Other => Step::unknown(AT, format!("the route to {to} is of a later release")),
    }
}

/// How the routes were asked, where that may be otherwise than the packet asks them.
fn as_asked(scene: &Scene<'_>) -> Option<&'static str> {
    if scene.seen?.about.is_none() {
        return Some(
            "by the main table as it was then; rules that choose another are not looked at, nor is rp_filter",
        );
    }
    let is_known = scene.source().is_some();
    (!is_known).then_some(
        "as the node itself would send it: by which link it comes in is not known, so rules and rp_filter that look at that are not looked at",
    )
}

fn nowhere(scene: &Scene<'_>, to: IpAddr) -> Step {
    let here = scene.here().unwrap_or_default();
    let mut step = Step::said(AT, format!("no route of node {here} leads to {to}")).which(false);
    step.notes.push(format!(
        "to let it pass: give node {here} a route, `ip route get {to}` says what there is"
    ));
    step
}

/// There is a way, which a packet that comes in so is not let take.
fn barred(scene: &Scene<'_>, from: IpAddr, by: IfName, to: IpAddr) -> Step {
    let here = scene.here().unwrap_or_default();
    let says = format!(
        "node {here} has a route to {to}, and passes nothing on to it that comes from {from} by {by}"
    );
    let mut step = Step::said(AT, says).which(false);
    step.notes.push(format!(
        "to let it pass: find what keeps it, a rule of routing (`ip rule`) or one of the routes it chooses, forwarding that is off at {by}, or rp_filter where no route back to {from} is by {by}; `ip route get {to} from {from} iif {by}` asks the kernel"
    ));
    step
}

/// Whether it leaves with an address of the node's.
pub(super) fn masquerade(scene: &Scene<'_>) -> Option<Step> {
    const AT: &str = "masquerade";
    let seen = scene.seen?;
    let (id, source) = scene.source()?;
    // What stays among endpoints keeps its address.
    if !scene.is_here(source) || scene.destination().is_some() {
        return None;
    }
    let (from, to) = (scene.packet.source, scene.packet.destination);
    let Some(Leads::Out { link, .. }) = scene.way(to).map(|way| &way.leads) else {
        return None;
    };
    // Nor does what stays on the sender's own bridge.
    let own = scene
        .attachment(id, from)
        .and_then(|own| own.record.names.bridge);
    if own == Some(*link) {
        return None;
    }
    let network = id.network.as_ref()?;
    let found = seen.masquerades.iter().find(|it| {
        it.network == *network
            && it.from.contains(from)
            && !it.except.iter().any(|kept| kept.contains(to))
            && it.inside != Some(*link)
    });
    let is_read = !seen.gaps.iter().any(|gap| gap.contains("translates"));
    Some(match found {
        Some(_) => Step::said(
            AT,
            format!("it leaves with the node's address on {link} instead of {from}"),
        ),
        None if is_read => Step::said(
            AT,
            format!("none: it leaves as {from}, so whoever gets it needs a route back to that"),
        ),
        None => Step::unknown(AT, "what the network translates was not read"),
    })
}
