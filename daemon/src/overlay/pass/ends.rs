//! What a pass is told of the node's ends, and what it tells of them: one lock at a time, and none while the kernel or
//! the store is asked.

use std::collections::{BTreeMap, BTreeSet};

use bulkhead_attach::OverlayEnd;
use bulkhead_ipam::cluster::{OverlayName, PoolName};
use bulkhead_kernel::Kernel;
use bulkhead_model::{Family, Mac, NetworkName, Prefix};
use bulkhead_plan::Stranger;

use super::super::facts::{self, Place};
use super::super::seal::Keyed;
use super::super::{Overlays, member};
use super::{Compared, Seen, shown};
use crate::cluster::own_addresses;
use crate::node::Node;
use crate::told::chain;

impl Overlays {
    /// Networks whose last attachment is gone are left.
    pub(super) fn let_go(&self, node: &Node) {
        let idle: Vec<(NetworkName, u64)> = {
            let mut state = self.state();
            let members = state.members.iter_mut();
            members
                .filter_map(|(network, member)| Some((network.clone(), member.idle()?)))
                .collect()
        };
        for (network, asked) in idle {
            let used = match member::is_used(&self.state_dir, &network) {
                Ok(used) => used,
                Err(error) => {
                    node.failed("a network's attachments are not counted", &chain(&error));
                    continue;
                }
            };
            if used {
                continue;
            }
            let mut state = self.state();
            let member = state.members.get_mut(&network);
            // Somebody may have come, and been recorded, since the records were looked at.
            if member.is_none_or(|member| member.idle() != Some(asked)) {
                continue;
            }
            if let Some(member) = state.members.remove(&network) {
                tracing::info!(%network, "the node has no attachment of the network any more");
                state.leaving.insert(network, member.end);
            }
        }
    }

    /// Every network with what the store says of it, or what the node remembers of one that nothing stands of;
    /// `None` while neither is known.
    pub(in crate::overlay) fn seen(&self) -> Option<Vec<Seen>> {
        let mut state = self.state();
        let is_read = state.mirror.is_complete();
        if !is_read {
            state.begin_by_memory();
        }
        let known = state.known()?;
        let own = &self.cluster.node;
        let seen = |(network, member): (&NetworkName, &member::Member)| {
            let name: OverlayName = network.as_str().parse().ok()?;
            let pools = known.pools_of(&name).unwrap_or(&member.end.pools);
            let row = self.row_of(network, &member.end, member.link_mac);
            let told = known.end(&name, own);
            let keyed = (!member.end.encryption.is_none()).then(|| {
                let others = known.others(&name, own);
                let told = told.and_then(|told| told.seal);
                Keyed::new(known.keys_of(&name), others, told)
            });
            Some(Seen {
                keyed,
                network: network.clone(),
                least: state.least(network, &member.end, own),
                end: member.end.clone(),
                link_mac: member.link_mac,
                told_mac: told.and_then(|told| told.link_mac),
                peers: known.peers(&name, own, pools, member.end.direct),
                pools: known.prefixes(pools),
                addresses: known.own_addresses(own, pools),
                is_told: told.is_some_and(|told| {
                    (told.underlay, told.mac, told.mtu) == (row.underlay, row.mac, row.mtu)
                        && (&told.name, &told.version) == (&row.name, &row.version)
                }),
            })
        };
        let members = state.members.iter();
        let kept = members.filter(|(_, member)| is_read || member.by_memory);
        Some(kept.filter_map(seen).collect())
    }

    /// The end where the node is now: its address may have gone, and the link's MTU have changed. An end
    /// keeps its family, since a device sends by one alone and the others are there: while an address of IPv4
    /// is exchanged for another, IPv6 is nothing to go over to.
    pub(super) fn placed(
        &self,
        kernel: &mut Kernel,
        end: &OverlayEnd,
    ) -> Result<(OverlayEnd, Place), facts::NoUnderlay> {
        let place = if let Some(below) = kernel.underlay(end.local)? {
            Place {
                address: end.local,
                below,
            }
        } else {
            let family = Family::of(end.local);
            let mut own = own_addresses();
            own.retain(|address| Family::of(*address) == family);
            let place = facts::find(kernel, end.underlay.or(self.underlay), &own)?;
            if Family::of(place.address) != family {
                return Err(facts::NoUnderlay::Gone(end.local));
            }
            place
        };
        let end = OverlayEnd {
            local: place.address,
            mtu: place.mtu(end.most, end.encryption)?,
            ..end.clone()
        };
        Ok((end, place))
    }

    /// Whether the store says of this node what it says of itself now.
    pub(super) fn is_told(&self, seen: &Seen) -> bool {
        let is_sealed =
            |keyed: &Keyed| keyed.is_keyed() && keyed.told == Some(self.salts.row(&seen.network));
        let is_placed = seen.is_told && seen.told_mac == seen.link_mac;
        is_placed && seen.keyed.as_ref().is_none_or(is_sealed)
    }

    pub(super) fn moved(&self, seen: &Seen, end: &OverlayEnd, link_mac: Option<Mac>) {
        if let Some(member) = self.state().members.get_mut(&seen.network) {
            member.moves(&seen.end, end, link_mac);
        }
    }

    pub(super) fn prefixes(&self, pools: &[PoolName]) -> BTreeSet<Prefix> {
        let state = self.state();
        state
            .known()
            .map_or_else(BTreeSet::new, |known| known.prefixes(pools))
    }

    /// Routes of others stand where ours should.
    pub(super) fn hindered(&self, network: &NetworkName, by: BTreeMap<Prefix, Stranger>) {
        let mut state = self.state();
        let Some(member) = state.members.get_mut(network) else {
            return;
        };
        for (to, route) in &by {
            if member.obstacles.get(to) != Some(route) {
                tracing::warn!(%network, %to, %route, "somebody else's route stands where the one to another node should");
            }
        }
        member.obstacles = by;
    }

    pub(super) fn is_hindered(&self, network: &NetworkName) -> bool {
        let state = self.state();
        let member = state.members.get(network);
        member.is_some_and(|member| !member.obstacles.is_empty())
    }

    pub(super) fn stands(&self, network: &NetworkName) -> bool {
        let state = self.state();
        state.members.get(network).is_some_and(|it| it.stands)
    }

    /// A network's end is as it should be; what was mended, if it had been so before.
    pub(super) fn kept(
        &self,
        node: &Node,
        seen: &Seen,
        was_so: bool,
        compared: &Compared,
    ) -> Option<String> {
        let mut state = self.state();
        let member = state.members.get_mut(&seen.network)?;
        let stood = member.stands_as(&seen.end)?;
        match compared {
            Compared::Changed(plan) if was_so && stood => {
                member.mended += 1;
                node.metrics.overlay_mended.inc();
                Some(shown(plan))
            }
            _ => None,
        }
    }

    pub(super) fn failed(&self, node: &Node, network: &NetworkName, why: &str) {
        let mut state = self.state();
        let Some(member) = state.members.get_mut(network) else {
            return;
        };
        let is_new = member.fault.as_deref() != Some(why);
        member.fault = Some(why.to_owned());
        drop(state);
        if is_new {
            node.failed(&format!("network {network} is not as it should be"), &why);
        }
    }

    pub(super) fn leaving(&self) -> Vec<(NetworkName, OverlayEnd)> {
        let state = self.state();
        let leaving = state.leaving.iter();
        leaving
            .map(|(network, end)| (network.clone(), end.clone()))
            .collect()
    }

    /// Nothing of a network is left in the kernel: the others need not know this node any more.
    pub(super) fn left(&self, network: &NetworkName) {
        // Somebody may have come meanwhile; the next pass makes it anew.
        if self.state().members.contains_key(network) {
            self.tell(|state| drop(state.leaving.remove(network)));
            return;
        }
        let Ok(name) = network.as_str().parse::<OverlayName>() else {
            return;
        };
        // Whoever comes counts on what the others know of the node.
        let Some(_going) = self.go(network) else {
            return;
        };
        let operator = self.cluster.operator("bulkheadd");
        match self.cluster.operations().leave_overlay(&operator, &name) {
            Ok(()) => {
                self.state().leaving.remove(network);
                self.salts.forget(network);
            }
            // It is tried again with every pass.
            Err(error) => tracing::debug!(%error, %network, "the others are not told yet"),
        }
    }
}
