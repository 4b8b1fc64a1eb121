//! How the node's ends of encrypted networks are keyed. A network has a secret in the store, and each node a
//! salt that it made up and tells the others; a state's key follows from the secret, from both nodes, their
//! addresses and their salts, and is of one direction alone. A key is given to the kernel once: the kernel
//! begins to count packets with each state anew, and a count that comes again under one key would give both
//! packets away (NIST SP 800-38D section 8). So whatever the kernel was given and has lost is replaced by
//! what follows from a new salt.

mod derive;
mod salts;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use bulkhead_ipam::cluster::NodeId;
use bulkhead_ipam::cluster::schema::{KeysRow, SealRow, Secret, VtepRow};
use bulkhead_model::NetworkName;
use bulkhead_plan::{
    Conflict, Ipsec, IpsecState, Ns, Op, Sealed, SealedPeer, Takeover, Want, plan, scope,
};

use self::derive::{End, sa};
pub(super) use self::salts::{Salts, random};
use super::Overlays;
use super::pass::{Compared, Passes, ROUNDS, Seen, shown};
use crate::node::Node;
use crate::told::chain;

/// How long after the others were told of a salt they are taken to have it: they hear of it at once.
const SETTLE: Duration = Duration::from_secs(5);

/// How long after an epoch was heard of peers that do not say that they have it are sent to by it all the
/// same.
const SWITCH_AFTER: Duration = Duration::from_mins(10);

/// How long what peers sent by stays, once they are told to send by something else.
const RETIRE: Duration = Duration::from_secs(15);

/// How often a salt is made anew in one pass.
const RENEWALS: usize = 4;

/// A state of the kernel: where to, and its index.
type StateKey = (IpAddr, u32);

/// What a network that is encrypted is keyed by, as the store says.
#[derive(Debug)]
pub(super) struct Keyed {
    /// By epoch; none while the store has none.
    epochs: Vec<(u64, Secret)>,
    others: Vec<Other>,
    /// What the store has of this node.
    pub(super) told: Option<SealRow>,
}

/// Another node's end.
#[derive(Debug)]
struct Other {
    node: NodeId,
    underlay: IpAddr,
    seal: Option<SealRow>,
}

/// What operators are shown of one.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Shown {
    /// The latest epoch.
    pub(super) epoch: u64,
    /// Of each other node, the epoch that it is sent to by and how many states it may send by.
    pub(super) peers: BTreeMap<NodeId, (u64, usize)>,
}

/// What one pass remembers for the next.
#[derive(Default)]
pub(super) struct Sealing {
    /// The latest epoch of each, and since when it is known.
    epochs: BTreeMap<NetworkName, (u64, Instant)>,
    /// Since when the others know what this node says.
    told: BTreeMap<NetworkName, (SealRow, Instant)>,
    /// States that nobody wants any more, since when.
    unwanted: BTreeMap<StateKey, Instant>,
    /// Whether something is to be done when some time has passed.
    is_restless: bool,
    /// Whether the last pass left nothing of ours, and nothing was wanted.
    is_clear: bool,
}

/// Why a comparison does not come to an end.
enum Trouble {
    /// Of these networks the kernel has lost what it had been given, or cannot be given what they need.
    Lost(BTreeSet<NetworkName>),
    Failed(String),
}

impl Keyed {
    pub(super) fn new<'a>(
        keys: Option<&KeysRow>,
        others: impl Iterator<Item = (&'a NodeId, &'a VtepRow)>,
        told: Option<SealRow>,
    ) -> Self {
        let epochs = keys.map(|row| row.epochs.clone()).unwrap_or_default();
        let mut epochs: Vec<_> = epochs
            .into_iter()
            .map(|key| (key.epoch, key.secret))
            .collect();
        epochs.sort_by_key(|(epoch, _)| *epoch);
        let other = |(node, row): (&NodeId, &VtepRow)| Other {
            node: node.clone(),
            underlay: row.underlay,
            seal: row.seal,
        };
        Self {
            epochs,
            others: others.map(other).collect(),
            told,
        }
    }

    /// Whether the store has a key at all.
    pub(super) fn is_keyed(&self) -> bool {
        !self.epochs.is_empty()
    }

    fn latest(&self) -> u64 {
        self.epochs.last().map_or(0, |(epoch, _)| *epoch)
    }

    /// Whether every other node says that it receives by the latest epoch.
    fn has_arrived(&self) -> bool {
        let has = |other: &Other| other.seal.is_some_and(|seal| seal.applied >= self.latest());
        self.others.iter().all(has)
    }

    fn secret(&self, epoch: u64) -> Option<&Secret> {
        let mut found = self.epochs.iter().filter(|(it, _)| *it == epoch);
        found.next().map(|(_, secret)| secret)
    }

    /// The epoch that a node is sent to by: the latest that it receives by.
    fn epoch_for(&self, seal: SealRow, is_over: bool) -> u64 {
        let mut receives = self.epochs.iter().map(|(epoch, _)| *epoch);
        let best = receives.rfind(|epoch| *epoch <= seal.applied);
        // One that has just come receives by the latest before any other.
        best.filter(|_| !is_over).unwrap_or_else(|| self.latest())
    }
}

impl Passes {
    /// Brings `IPsec` to what the node's encrypted networks need, if there may be something to do.
    pub(super) fn seal(
        &mut self,
        node: &Node,
        all: &[Seen],
        held: &BTreeSet<u16>,
        is_due: bool,
    ) -> Result<(), String> {
        let is_wanted = !held.is_empty() || all.iter().any(|seen| seen.keyed.is_some());
        if !is_wanted && self.sealing.is_clear || !is_due && !self.sealing.is_restless {
            return Ok(());
        }
        // Until it is done, the next pass tries again.
        self.sealing.is_restless = true;
        for _ in 0..RENEWALS {
            match self.sealed_once(node, all, held) {
                Ok(()) => {
                    self.sealing.is_clear = !is_wanted;
                    return Ok(());
                }
                Err(Trouble::Failed(why)) => return Err(why),
                Err(Trouble::Lost(networks)) => {
                    for network in networks {
                        node.overlays.lost_states(node, &network);
                    }
                }
            }
        }
        Err(
            "IPsec states go as fast as they are made; look who that is with `ip xfrm monitor`"
                .into(),
        )
    }

    fn sealed_once(
        &mut self,
        node: &Node,
        all: &[Seen],
        held: &BTreeSet<u16>,
    ) -> Result<(), Trouble> {
        let overlays = &node.overlays;
        let mut want = Ipsec {
            held: held.clone(),
            ..Ipsec::default()
        };
        let mut owners: BTreeMap<StateKey, NetworkName> = BTreeMap::new();
        let (mut shown_of, mut is_restless) = (Vec::new(), false);
        for seen in all {
            let Some(keyed) = &seen.keyed else { continue };
            let (end, told, restless) = self.sealing.end(overlays, seen, keyed);
            is_restless |= restless;
            for key in wanted_keys(&end) {
                if owners.insert(key, seen.network.clone()).is_some() {
                    return Err(Trouble::Lost([seen.network.clone()].into()));
                }
            }
            want.ends.insert(seen.end.port, end);
            shown_of.push((seen, keyed.latest(), told));
        }
        let before = std::mem::take(&mut self.sealing.unwanted);
        want.spared = self.spared(overlays, &want, &owners, all, &before)?;
        // What has stayed long enough goes by what was decided before.
        let retires = before.keys().any(|key| !want.spared.contains(key));
        let was_so = !retires && want.held == self.sealed.held && want.ends == self.sealed.ends;
        is_restless |= !want.spared.is_empty();
        let compared = self.converge_ipsec(overlays, &want, &owners)?;
        if let (true, Compared::Changed(plan)) = (was_so, &compared) {
            tracing::warn!(plan = shown(plan), "mended IPsec of the overlays");
            node.metrics.overlay_mended.inc();
            for (seen, ..) in &shown_of {
                overlays.mended(&seen.network);
            }
        }
        self.sealed = want;
        for (seen, latest, told) in shown_of {
            overlays.salts.applied(&seen.network, latest);
            overlays.show_seal(&seen.network, told);
        }
        self.sealing.is_restless = is_restless;
        Ok(())
    }

    /// States that stay for a while though nobody wants them: packets may be on their way by them, and
    /// peers may not have heard yet that they are to send by others.
    fn spared(
        &mut self,
        overlays: &Overlays,
        want: &Ipsec,
        owners: &BTreeMap<StateKey, NetworkName>,
        all: &[Seen],
        before: &BTreeMap<StateKey, Instant>,
    ) -> Result<BTreeSet<StateKey>, Trouble> {
        let found = self.found()?;
        let now = Instant::now();
        let mut spared = BTreeSet::new();
        let mut unwanted = BTreeMap::new();
        for (key, state) in &found.states {
            let end = state.port.and_then(|port| want.ends.get(&port));
            let is_inbound = end.is_some_and(|end| end.local == key.0);
            if !is_inbound || owners.contains_key(key) {
                continue;
            }
            let of = all.iter().find(|seen| Some(seen.end.port) == state.port);
            let is_told = of.is_some_and(|seen| overlays.is_seal_told(seen));
            let known = before.get(key).filter(|_| is_told);
            let since = known.copied().unwrap_or(now);
            if since.elapsed() < RETIRE {
                unwanted.insert(*key, since);
                spared.insert(*key);
            }
        }
        self.sealing.unwanted = unwanted;
        Ok(spared)
    }

    fn found(&mut self) -> Result<IpsecState, Trouble> {
        let asked = scope(&Want::Ipsec(Box::default()));
        let world = self.kernel.observe(&asked);
        let mut world = world.map_err(|error| Trouble::Failed(chain(&error)))?;
        let host = world.spaces.remove(&Ns::Host);
        Ok(host.map(|host| host.ipsec).unwrap_or_default())
    }

    /// As for anything else, but that what was given to the kernel is noted before, and nothing of it twice.
    fn converge_ipsec(
        &mut self,
        overlays: &Overlays,
        want: &Ipsec,
        owners: &BTreeMap<StateKey, NetworkName>,
    ) -> Result<Compared, Trouble> {
        let failed = |error: &dyn std::error::Error| Trouble::Failed(chain(error));
        let mut done = Vec::new();
        let wish = Want::Ipsec(Box::new(want.clone()));
        for _ in 0..ROUNDS {
            let world = self.kernel.observe(&scope(&wish));
            let world = world.map_err(|error| failed(&error))?;
            let found = &world.space(&Ns::Host).ipsec;
            let lost = owners.iter().filter(|(key, network)| {
                !found.states.contains_key(*key) && overlays.salts.has_used(network, **key)
            });
            let lost: BTreeSet<_> = lost.map(|(_, network)| network.clone()).collect();
            if !lost.is_empty() {
                return Err(Trouble::Lost(lost));
            }
            let plan = match plan(&world, &wish) {
                Ok(plan) => plan,
                Err(Conflict::SpiTaken { destination, spi }) => {
                    let of = owners.get(&(destination, spi)).cloned();
                    return Err(Trouble::Lost(of.into_iter().collect()));
                }
                Err(conflict) => return Err(failed(&conflict)),
            };
            if plan.is_empty() {
                return Ok(if done.is_empty() {
                    Compared::Sound
                } else {
                    Compared::Changed(done)
                });
            }
            let given = plan.ops().iter().filter_map(|op| match op {
                Op::AddSa {
                    destination, sa, ..
                } => Some((*destination, sa.spi)),
                _ => None,
            });
            let noted = overlays.salts.note(owners, given);
            noted.map_err(|error| failed(&error))?;
            match self.kernel.apply(&plan) {
                Ok(()) => done.extend(plan.ops().iter().map(ToString::to_string)),
                Err(error) if error.is_stale() => {}
                Err(error) => return Err(failed(&error)),
            }
        }
        Err(Trouble::Failed(
            "somebody else keeps changing IPsec; look who that is with `ip xfrm monitor`".into(),
        ))
    }
}

impl Sealing {
    /// What one network's end should have, what is shown of it, and whether time alone changes it.
    fn end(&mut self, overlays: &Overlays, seen: &Seen, keyed: &Keyed) -> (Sealed, Shown, bool) {
        let network = &seen.network;
        let own = overlays.salts.row(network);
        let latest = keyed.latest();
        let known = self.epochs.entry(network.clone());
        let known = known.or_insert_with(|| (latest, Instant::now()));
        if known.0 != latest {
            *known = (latest, Instant::now());
        }
        let is_over = keyed.has_arrived() || known.1.elapsed() >= SWITCH_AFTER;
        let takeover = self.takeover(overlays, seen, own);
        let here = End {
            node: &overlays.cluster.node,
            address: seen.end.local,
            salt: own.salt,
        };
        let mut shown = Shown {
            epoch: latest,
            ..Shown::default()
        };
        let mut peers = Vec::new();
        for other in &keyed.others {
            // One that says nothing of it would speak in the clear, and is not heard.
            let Some(seal) = other.seal else { continue };
            let there = End {
                node: &other.node,
                address: other.underlay,
                salt: seal.salt,
            };
            let epoch = keyed.epoch_for(seal, is_over);
            let Some(secret) = keyed.secret(epoch) else {
                continue;
            };
            let inbound: Vec<_> = keyed
                .epochs
                .iter()
                .filter(|(epoch, _)| *epoch == latest || !is_over)
                .map(|(epoch, secret)| sa(secret, *epoch, network, &there, &here))
                .collect();
            shown
                .peers
                .insert(other.node.clone(), (epoch, inbound.len()));
            peers.push(SealedPeer {
                underlay: other.underlay,
                inbound,
                outbound: sa(secret, epoch, network, &here, &there),
                takeover,
            });
        }
        let end = Sealed {
            local: seen.end.local,
            peers,
        };
        let is_restless = !is_over || takeover == Takeover::WhenNoneStands;
        (end, shown, is_restless)
    }

    /// Whether the others have had the time to hear of this node's salt.
    fn takeover(&mut self, overlays: &Overlays, seen: &Seen, own: SealRow) -> Takeover {
        if !overlays.is_seal_told(seen) {
            return Takeover::WhenNoneStands;
        }
        let known = self.told.entry(seen.network.clone());
        let known = known.or_insert_with(|| (own, Instant::now()));
        if known.0.salt != own.salt {
            *known = (own, Instant::now());
        }
        if known.1.elapsed() < SETTLE {
            Takeover::WhenNoneStands
        } else {
            Takeover::Now
        }
    }
}

/// Every state that an end asks for.
fn wanted_keys(end: &Sealed) -> impl Iterator<Item = StateKey> {
    end.peers.iter().flat_map(|peer| {
        let inbound = peer.inbound.iter().map(|sa| (end.local, sa.spi));
        inbound.chain([(peer.underlay, peer.outbound.spi)])
    })
}

impl Overlays {
    /// Whether the store has this node's salt. What it has applied may be newer.
    fn is_seal_told(&self, seen: &Seen) -> bool {
        let told = seen.keyed.as_ref().and_then(|keyed| keyed.told);
        told.is_some_and(|told| told.salt == self.salts.row(&seen.network).salt)
    }

    /// The kernel has lost states of a network: it is keyed anew.
    fn lost_states(&self, node: &Node, network: &NetworkName) {
        self.salts.renew(network);
        node.metrics.overlay_mended.inc();
        self.mended(network);
        tracing::warn!(%network, "IPsec states were lost, or another has their index; keyed anew");
    }

    pub(super) fn mended(&self, network: &NetworkName) {
        if let Some(member) = self.state().members.get_mut(network) {
            member.mended += 1;
        }
    }

    fn show_seal(&self, network: &NetworkName, shown: Shown) {
        if let Some(member) = self.state().members.get_mut(network) {
            member.seal = Some(shown);
        }
    }
}
