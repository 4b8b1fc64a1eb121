//! One network's end on this node.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bulkhead_attach::OverlayEnd;
use bulkhead_ipam::cluster::{NodeId, OverlayName};
use bulkhead_ipam::{StateDir, StoreError};
use bulkhead_model::{AttachmentKey, Mac, Mtu, NetworkName, Prefix};
use bulkhead_plan::Stranger;

use super::seal::Shown;
use super::{KIND, State};

/// How long an attachment that is not recorded keeps its network: an ADD waits no longer.
const PATIENCE: Duration = Duration::from_mins(2);

/// A network that the node has attachments of, or is about to.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) end: OverlayEnd,
    /// The MAC of the link that the node is reached by.
    pub(super) link_mac: Option<Mac>,
    /// Attachments that have asked for it and may not be recorded yet.
    pending: BTreeMap<AttachmentKey, Instant>,
    /// How many have asked for it so far.
    asked: u64,
    /// Whether the kernel had everything of it after the last pass.
    pub(super) stands: bool,
    /// What kept the last pass from it.
    pub(super) fault: Option<String>,
    /// How often something was found otherwise than it had been left.
    pub(super) mended: u64,
    /// Whether it is kept by what the node remembers until the store is read: nothing of it stood.
    pub(super) by_memory: bool,
    /// Routes of others that stand where ours should, by their destination.
    pub(super) obstacles: BTreeMap<Prefix, Stranger>,
    /// How it is encrypted, if it is.
    pub(super) seal: Option<Shown>,
}

impl Member {
    pub(super) const fn new(end: OverlayEnd, link_mac: Option<Mac>) -> Self {
        Self {
            end,
            link_mac,
            pending: BTreeMap::new(),
            asked: 0,
            stands: false,
            fault: None,
            mended: 0,
            by_memory: false,
            obstacles: BTreeMap::new(),
            seal: None,
        }
    }

    /// An attachment is about to be recorded.
    pub(super) fn expect(&mut self, key: &AttachmentKey) {
        self.pending.insert(key.clone(), Instant::now());
        self.asked += 1;
    }

    /// How many have asked for it, if none of them may be about to be recorded: while that stays the same, none is.
    pub(super) fn idle(&mut self) -> Option<u64> {
        self.pending.retain(|_, since| since.elapsed() < PATIENCE);
        self.pending.is_empty().then_some(self.asked)
    }

    /// The kernel has everything of the end as a pass saw it; whether that was so before. `None` if a call has asked for
    /// another meanwhile, which the next pass makes and the call waits for.
    pub(super) fn stands_as(&mut self, seen: &OverlayEnd) -> Option<bool> {
        (self.end == *seen).then(|| {
            self.fault = None;
            std::mem::replace(&mut self.stands, true)
        })
    }

    /// The underlay has changed under the end as a pass saw it.
    pub(super) fn moves(&mut self, seen: &OverlayEnd, to: &OverlayEnd, link_mac: Option<Mac>) {
        if self.end == *seen {
            self.end = to.clone();
            self.link_mac = link_mac;
        }
    }

    /// An attachment is recorded, or will not be.
    pub(super) fn settled(&mut self, key: &AttachmentKey) {
        self.pending.remove(key);
    }
}

/// An end that carries no more than the least that another node does: on a segment nobody is told that
/// something is too long.
pub(super) fn bounded(end: &OverlayEnd, least: Option<Mtu>) -> OverlayEnd {
    OverlayEnd {
        mtu: least.map_or(end.mtu, |least| least.min(end.mtu)),
        ..end.clone()
    }
}

impl State {
    /// The least that another node carries, if the network is one segment over all of them.
    pub(super) fn least(
        &self,
        network: &NetworkName,
        end: &OverlayEnd,
        own: &NodeId,
    ) -> Option<Mtu> {
        let name: OverlayName = network.as_str().parse().ok()?;
        end.segment.as_ref()?;
        let others = self.known()?.others(&name, own);
        others.map(|(_, row)| row.mtu).min()
    }

    /// The node's end of a network as attachments have it.
    pub(super) fn granted(&self, network: &NetworkName, own: &NodeId) -> Option<OverlayEnd> {
        let end = &self.members.get(network)?.end;
        Some(bounded(end, self.least(network, end, own)))
    }
}

/// The end that a network's newest attachment was recorded with; `None` if it has none of this boot.
pub(super) fn recorded(
    state: &StateDir,
    network: &NetworkName,
) -> Result<Option<OverlayEnd>, StoreError> {
    let Some(known) = state.network(network).read()? else {
        return Ok(None);
    };
    if known.live_count() == 0 {
        return Ok(None);
    }
    let records = known.attachments()?.into_iter();
    let ours = records.filter(|record| record.kind == KIND && known.is_of_this_boot(record));
    let newest = ours.max_by_key(|record| record.sequence);
    Ok(newest.and_then(|record| OverlayEnd::of_names(&record.names)))
}

/// Whether the network has an attachment.
pub(super) fn is_used(state: &StateDir, network: &NetworkName) -> Result<bool, StoreError> {
    let known = state.network(network).read()?;
    Ok(known.is_some_and(|known| known.live_count() > 0))
}

#[cfg(test)]
mod tests {
    use super::super::fixture::end;
    use super::*;

    #[test]
    fn a_pass_says_nothing_of_an_end_that_it_has_not_seen() {
        let mut member = Member::new(end(), None);
        assert_eq!(member.stands_as(&end()), Some(false));
        assert_eq!(member.stands_as(&end()), Some(true));
        // A call asks for another while a pass is at it, and the underlay changes.
        let asked = OverlayEnd {
            direct: true,
            ..end()
        };
        (member.end, member.stands) = (asked.clone(), false);
        let moved = OverlayEnd {
            local: [192, 0, 2, 2].into(),
            ..end()
        };
        member.moves(&end(), &moved, None);
        assert_eq!(member.stands_as(&moved), None);
        assert_eq!((&member.end, member.stands), (&asked, false));
        assert_eq!(member.stands_as(&asked), Some(false));
    }

    #[test]
    fn who_came_while_the_records_were_counted_is_not_missed() {
        let key = AttachmentKey {
            network: "blue".parse().unwrap(),
            container: "c1".parse().unwrap(),
            interface: "eth0".parse().unwrap(),
        };
        let mut member = Member::new(end(), None);
        let idle = member.idle();
        assert!(idle.is_some());
        // None was recorded when they were counted; now one is, and it waits for nothing any more.
        member.expect(&key);
        assert_eq!(member.idle(), None);
        member.settled(&key);
        assert!(member.idle().is_some() && member.idle() != idle);
    }
}
