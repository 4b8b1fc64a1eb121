//! One pass: what every end should be, compared with what the kernel has, and mended.

mod ends;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bulkhead_attach::{OverlayEnd, end_exit, stand_exit};
use bulkhead_kernel::{Deletion, Kernel};
use bulkhead_model::{Mac, Mtu, NetworkName, Prefix, Vni};
use bulkhead_plan::{
    Ipsec, Near, OverlayGone, Peer, SegmentGone, Tunnels, Want, World, near, obstacles, plan, scope,
};

use super::remember::Writer;
use super::seal::{Keyed, Sealing};
use super::{Turn, member, segment};
use crate::loops::{index_of, name_of};
use crate::node::Node;
use crate::told::chain;

/// How often everything is compared though nothing was heard.
const FULL: Duration = Duration::from_secs(30);

/// How often the store is told again where the node is reached, while it says otherwise.
const TELL_AGAIN: Duration = Duration::from_secs(2);

/// Compared, planned and applied so often before something that moves is left to the next pass.
pub(super) const ROUNDS: usize = 4;

/// Most operations that the log shows of a plan.
const SHOWN: usize = 5;

/// What one pass remembers for the next.
pub(super) struct Passes {
    pub(super) kernel: Kernel,
    /// What each network was brought to, and the links that this stands on.
    kept: BTreeMap<NetworkName, Kept>,
    /// When the store was last told of each.
    told_at: BTreeMap<NetworkName, Instant>,
    tunnels: Tunnels,
    /// What `IPsec` was brought to, and what is to be looked at when time passes.
    pub(super) sealed: Ipsec,
    pub(super) sealing: Sealing,
    last_full: Option<Instant>,
    memory: Writer,
    /// Those that listen to segments' namespaces.
    listeners: BTreeMap<NetworkName, JoinHandle<()>>,
}

#[derive(Clone)]
struct Kept {
    want: Want,
    links: BTreeSet<u32>,
    /// What is behind peers that are sent to as they are.
    near: Near,
    /// The address and MTU that attachments were told of last.
    told: Option<(IpAddr, Mtu)>,
}

/// A network as a pass sees it.
pub(super) struct Seen {
    pub(super) network: NetworkName,
    pub(super) end: OverlayEnd,
    /// The least that another node of a segment carries.
    least: Option<Mtu>,
    /// The MAC of the link that the node is reached by.
    link_mac: Option<Mac>,
    pub(super) peers: Vec<Peer>,
    pub(super) pools: BTreeSet<Prefix>,
    /// The node's own addresses in it.
    pub(super) addresses: BTreeSet<IpAddr>,
    /// The same as the store has it.
    told_mac: Option<Mac>,
    /// Whether the store says of this node what the node says of itself otherwise.
    is_told: bool,
    /// What it is keyed by, if it is encrypted.
    pub(super) keyed: Option<Keyed>,
}

impl Seen {
    /// The end with the MTU that it has here.
    pub(super) fn standing(&self) -> OverlayEnd {
        member::bounded(&self.end, self.least)
    }
}

/// What became of a comparison.
pub(super) enum Compared {
    Sound,
    Changed(Vec<String>),
}

impl Passes {
    pub(super) fn new() -> Self {
        Self {
            kernel: Kernel::new(Deletion::Blocking),
            kept: BTreeMap::new(),
            told_at: BTreeMap::new(),
            tunnels: Tunnels::default(),
            sealed: Ipsec::default(),
            sealing: Sealing::default(),
            last_full: None,
            memory: Writer::default(),
            listeners: BTreeMap::new(),
        }
    }

    pub(super) fn make(&mut self, node: &Node, turn: &Turn) {
        let overlays = &node.overlays;
        overlays.let_go(node);
        let Some(all) = overlays.seen() else {
            return;
        };
        let due = self.last_full.is_none_or(|last| last.elapsed() >= FULL);
        if due {
            self.last_full = Some(Instant::now());
        }
        let all: Vec<Seen> = all.into_iter().map(|seen| self.place(node, seen)).collect();
        self.tunnel(node, &all);
        let held = overlays.leaving().into_iter();
        let held = held.filter(|(_, end)| !end.encryption.is_none());
        let held: BTreeSet<u16> = held.map(|(_, end)| end.port).collect();
        let sealed = self.seal(node, &all, &held, turn.is_new || turn.heard_ipsec || due);
        for seen in &all {
            // What stands goes on, and nothing leaves in plaintext: the filter says so.
            if let (Some(_), Err(why)) = (&seen.keyed, &sealed) {
                overlays.failed(node, &seen.network, why);
                continue;
            }
            if seen.keyed.as_ref().is_some_and(|keyed| !keyed.is_keyed()) {
                overlays.failed(node, &seen.network, "the store has no key of it yet");
                self.tell_others(node, seen);
                continue;
            }
            let heard = self.is_concerned(seen, turn);
            // Nobody tells when a route of others goes.
            let unsettled = !overlays.stands(&seen.network) || overlays.is_hindered(&seen.network);
            if turn.is_new || heard || due || unsettled {
                self.keep(node, seen);
            }
            let stirred = turn.stirred.contains(&seen.network);
            if due || stirred || self.is_resized(seen) {
                overlays.look_at_ports(&seen.network);
            }
            self.tell_others(node, seen);
        }
        // Who is near is known by the ways that were seen meanwhile.
        if self.near() != self.tunnels.near {
            self.tunnel(node, &all);
        }
        let plugged = self.unplug(node);
        if !held.is_empty() {
            let held = held.intersection(&plugged).copied().collect();
            if let Err(why) = self.seal(node, &all, &held, true) {
                node.failed("IPsec of a network that is gone is not taken away", &why);
            }
        }
        self.memory.write(node);
    }

    /// Whether the kernel told of a link that the network's end stands on, or that peers may be sent to by.
    fn is_concerned(&self, seen: &Seen, turn: &Turn) -> bool {
        let Some(kept) = self.kept.get(&seen.network) else {
            return true;
        };
        let concerns =
            |link: &u32| kept.links.contains(link) || seen.end.direct && may_lead_to_peers(*link);
        let heard = turn.heard.as_ref();
        turn.stirred.contains(&seen.network) || heard.is_none_or(|heard| heard.iter().any(concerns))
    }

    /// Whether its attachments have not heard of its address and MTU yet.
    fn is_resized(&mut self, seen: &Seen) -> bool {
        let end = seen.standing();
        let now = (end.local, end.mtu);
        let Some(kept) = self.kept.get_mut(&seen.network) else {
            return false;
        };
        kept.told.replace(now) != Some(now)
    }

    /// The network with the place it has now in the underlay, whose address and MTU may have changed.
    fn place(&mut self, node: &Node, mut seen: Seen) -> Seen {
        let overlays = &node.overlays;
        match overlays.placed(&mut self.kernel, &seen.end) {
            Ok((end, place)) => {
                let link_mac = place.below.mac;
                if end != seen.end || link_mac != seen.link_mac {
                    if end != seen.end {
                        tracing::warn!(
                            network = %seen.network, local = %end.local, mtu = %end.mtu,
                            "the underlay has changed"
                        );
                    }
                    overlays.moved(&seen, &end, link_mac);
                    seen.is_told &= end == seen.end;
                    (seen.end, seen.link_mac) = (end, link_mac);
                }
                if let Some(kept) = self.kept.get_mut(&seen.network) {
                    kept.links.insert(place.below.index);
                }
            }
            // What stands goes on, towards an address that may come back.
            Err(error) => overlays.failed(node, &seen.network, &chain(&error)),
        }
        seen
    }

    /// Brings one network's end to what the store says.
    fn keep(&mut self, node: &Node, seen: &Seen) {
        let overlays = &node.overlays;
        let want = overlays.want(seen);
        let before = self.kept.get(&seen.network);
        let was_so = before.is_some_and(|kept| kept.want == want);
        let compared = self.converge(&want);
        let compared =
            compared.and_then(|(compared, world)| Ok((self.exit(node, seen, compared)?, world)));
        match compared {
            Ok((compared, world)) => {
                let (hindered, near) = match &want {
                    Want::Overlay(want) => {
                        let hindered = obstacles(&world, want).into_iter();
                        let hindered = hindered.map(|(to, by)| (to, by.clone())).collect();
                        (hindered, near(&world, want))
                    }
                    _ => Default::default(),
                };
                overlays.hindered(&seen.network, hindered);
                let mended = overlays.kept(node, seen, was_so, &compared);
                if let Some(plan) = mended {
                    tracing::warn!(network = %seen.network, plan, "mended the overlay");
                }
                let links = self.links(seen);
                let before = self.kept.remove(&seen.network);
                let kept = Kept {
                    want,
                    links,
                    near,
                    told: before.and_then(|before| before.told),
                };
                self.kept.insert(seen.network.clone(), kept);
                self.listen(node, seen);
            }
            Err(error) => overlays.failed(node, &seen.network, &error),
        }
    }

    /// Has a segment's exit stand as well.
    fn exit(&mut self, node: &Node, seen: &Seen, compared: Compared) -> Result<Compared, String> {
        let (kernel, state) = (&mut self.kernel, &node.overlays.state_dir);
        let done = stand_exit(kernel, state, &seen.network, &seen.standing());
        let done = done.map_err(|error| error.to_string())?;
        let mut done: Vec<String> = done.ops().iter().map(ToString::to_string).collect();
        Ok(match compared {
            Compared::Sound if done.is_empty() => Compared::Sound,
            Compared::Sound => Compared::Changed(done),
            Compared::Changed(mut plan) => {
                plan.append(&mut done);
                Compared::Changed(plan)
            }
        })
    }

    /// Listens to the namespace of a segment from now on, where that is done not yet.
    fn listen(&mut self, node: &Node, seen: &Seen) {
        let Some(segment) = &seen.end.segment else {
            return;
        };
        self.listeners.retain(|_, listener| !listener.is_finished());
        if self.listeners.contains_key(&seen.network) {
            return;
        }
        let listener = segment::listen(&node.overlays, &seen.network, &segment.netns);
        match listener {
            Ok(listener) => drop(self.listeners.insert(seen.network.clone(), listener)),
            Err(error) => node.failed("changes of a segment are not heard of at once", &error),
        }
    }

    /// The links whose changes matter.
    fn links(&mut self, seen: &Seen) -> BTreeSet<u32> {
        let below = self.kernel.underlay(seen.end.local).ok().flatten();
        let device = match &seen.end.segment {
            Some(_) => index_of(seen.network.exit().id().port()),
            None => index_of(seen.network.vxlan_device()),
        };
        below
            .map(|below| below.index)
            .into_iter()
            .chain(device)
            .collect()
    }

    /// Opens the ports to the known VTEPs, before one of them is sent to.
    fn tunnel(&mut self, node: &Node, all: &[Seen]) {
        let of = |seen: &Seen| {
            let (port, vni): (u16, Vni) = (seen.end.port, seen.end.vni);
            let peers = seen.peers.iter();
            peers
                .map(move |peer| (port, vni, peer.underlay))
                .collect::<Vec<_>>()
        };
        let want = Tunnels {
            known: all.iter().flat_map(of).collect(),
            ports: all.iter().map(|seen| seen.end.port).collect(),
            pools: all
                .iter()
                // A segment's addresses are in a namespace of its own, and may be anybody's out here.
                .filter(|seen| seen.end.segment.is_none())
                .flat_map(|seen| seen.pools.clone())
                .collect(),
            near: self.near(),
            sealed: {
                let sealed = all.iter().filter(|seen| seen.keyed.is_some());
                sealed.map(|seen| seen.end.port).collect()
            },
            clamped: {
                let clamp = all.iter().filter(|seen| seen.end.tuning.mss_clamp);
                clamp.map(|seen| seen.network.vxlan_device()).collect()
            },
        };
        let was_so = want == self.tunnels;
        match self.converge(&Want::Tunnels(Box::new(want.clone()))) {
            Ok((compared, _)) => {
                if let (true, Compared::Changed(plan)) = (was_so, &compared) {
                    let plan = shown(plan);
                    node.metrics.overlay_mended.inc();
                    tracing::warn!(plan, "mended the filter of the overlays");
                }
                self.tunnels = want;
            }
            Err(error) => node.failed("the ports of overlays are not filtered", &error),
        }
    }

    fn near(&self) -> Near {
        let mut all = Near::new();
        for (at, behind) in self.kept.values().flat_map(|kept| kept.near.clone()) {
            all.entry(at).or_default().extend(behind);
        }
        all
    }

    /// What became of it, and what was seen last.
    fn converge(&mut self, want: &Want) -> Result<(Compared, World), String> {
        let mut done = Vec::new();
        for _ in 0..ROUNDS {
            let world = self.kernel.observe(&scope(want)).map_err(|e| chain(&e))?;
            let plan = plan(&world, want).map_err(|e| chain(&e))?;
            if plan.is_empty() {
                let compared = if done.is_empty() {
                    Compared::Sound
                } else {
                    Compared::Changed(done)
                };
                return Ok((compared, world));
            }
            match self.kernel.apply(&plan) {
                Ok(()) => done.extend(plan.ops().iter().map(ToString::to_string)),
                Err(error) if error.is_stale() => {}
                Err(error) => return Err(chain(&error)),
            }
            self.kernel.look_afresh();
        }
        Err("somebody else keeps changing what was made; look who that is with `ip monitor`".into())
    }

    /// Tells the others where the node is reached, if what they are told is something else.
    fn tell_others(&mut self, node: &Node, seen: &Seen) {
        let is_kept = self.kept.contains_key(&seen.network);
        let is_keyed = seen.keyed.as_ref().is_none_or(Keyed::is_keyed);
        if is_keyed && !is_kept {
            return;
        }
        let told_at = self.told_at.get(&seen.network);
        let lately = told_at.is_some_and(|at| at.elapsed() < TELL_AGAIN);
        if node.overlays.is_told(seen) || lately {
            return;
        }
        self.told_at.insert(seen.network.clone(), Instant::now());
        if let Err(error) = node
            .overlays
            .write_end(&seen.network, &seen.end, seen.link_mac)
        {
            let what = format!("the others are not told of network {}", seen.network);
            node.failed(&what, &error);
        }
    }

    /// Takes down what no attachment needs any more; the ports of what could not be.
    fn unplug(&mut self, node: &Node) -> BTreeSet<u16> {
        let overlays = &node.overlays;
        let mut plugged = BTreeSet::new();
        for (network, end) in overlays.leaving() {
            let want = match &end.segment {
                Some(segment) => Want::NoSegment(Box::new(SegmentGone {
                    ns: segment.ns(),
                    links: [network.vxlan_device(), network.segment_bridge()].into(),
                })),
                None => Want::NoOverlay(Box::new(OverlayGone {
                    device: network.vxlan_device(),
                    pools: overlays.prefixes(&end.pools),
                })),
            };
            let ended = end_exit(&mut self.kernel, &overlays.state_dir, &network, &end);
            let ended = ended.map_err(|error| error.to_string());
            if let Err(error) = ended.and_then(|()| self.converge(&want)) {
                let what = format!("the end of network {network} is not taken down");
                node.failed(&what, &error);
                plugged.insert(end.port);
                continue;
            }
            self.kept.remove(&network);
            // Whoever has it next tells the others at once.
            self.told_at.remove(&network);
            overlays.left(&network);
        }
        plugged
    }
}

/// Whether it is not a container's port; what is gone may have been any link.
fn may_lead_to_peers(link: u32) -> bool {
    name_of(link).is_none_or(|name| !name.is_of_attachment())
}

/// The beginning of a plan, for the log.
pub(super) fn shown(plan: &[String]) -> String {
    let text = plan[..plan.len().min(SHOWN)].join("; ");
    match plan.len().checked_sub(SHOWN) {
        None | Some(0) => text,
        Some(more) => format!("{text}; and {more} more"),
    }
}
