//! A call that is about to have an attachment of a network that nodes have together.

use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::thread;
use std::time::{Duration, Instant};

use bulkhead_attach::{OverlayAsk, OverlayEnd, SegmentEnd};
use bulkhead_cni::{CniError, Code};
use bulkhead_ipam::cluster::operations::{OverlayAsk as Ask, OverlayError, Reason};
use bulkhead_ipam::cluster::schema::{OverlayMode, OverlayRow, VtepRow};
use bulkhead_ipam::cluster::{Attempt, OverlayName};
use bulkhead_kernel::{Deletion, Kernel};
use bulkhead_model::{AttachmentKey, Family, Mac, NetworkName};
use bulkhead_plan::Ns;

use super::agreed::{Agreed, Difference};
use super::member::Member;
use super::remember::Remembered;
use super::{Overlays, State, facts, new_secret};
use crate::clock::unix_ms;
use crate::cluster::{Backend, own_addresses};
use crate::loops::stands_in;

/// Longest that an ADD waits for the store and for the kernel: plugins wait a minute.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where namespaces that networks have for themselves are mounted: `ip netns` finds them there.
const NETNS: &str = "/run/netns";

/// How long to wait before the store is asked again.
const PAUSE: Duration = Duration::from_millis(100);

/// When the others were told of the node's end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Told {
    Now,
    Before,
}

impl bulkhead_attach::Overlays for Overlays {
    fn join(&self, key: &AttachmentKey, ask: &OverlayAsk) -> Result<OverlayEnd, CniError> {
        let network = &key.network;
        let until = Instant::now() + PATIENCE;
        if let Some(end) = self.known(key, ask)? {
            return Ok(end);
        }
        let (mut end, link_mac) = self.new_end(network, ask)?;
        let _coming = self.come(network, until)?;
        let by_memory = self.register(network, (&end, link_mac), until)? == Told::Before;
        let end = self.tell(|state| {
            state.number(network, &mut end)?;
            state.leaving.remove(network);
            let member = state.members.entry(network.clone());
            let member = member.or_insert_with(|| Member::new(end.clone(), link_mac));
            if member.end != end {
                member.end = end.clone();
                member.stands = false;
            }
            member.by_memory |= by_memory;
            member.expect(key);
            Ok::<_, CniError>(end)
        })?;
        self.wait_for(network, until)?;
        let granted = self.state().granted(network, &self.cluster.node);
        Ok(granted.unwrap_or(end))
    }

    fn serves(&self, network: &NetworkName, ask: &OverlayAsk) -> Result<(), CniError> {
        let state = self.state();
        if let Some(member) = state.members.get(network) {
            refuse_other(network, &member.end, ask)?;
            return member.fault.clone().map_or(Ok(()), |fault| {
                Err(CniError::try_again(format!("network {network}: {fault}")))
            });
        }
        drop(state);
        name_of(network)?;
        self.shared_store(network)?;
        if !ask.encryption.is_none() {
            can_encrypt(&mut Kernel::new(Deletion::Blocking), network, None)?;
        }
        let seen = self.cluster.health.seen();
        if seen.serves() {
            return Ok(());
        }
        let why = seen
            .why
            .unwrap_or_else(|| "it was not asked yet".to_owned());
        Err(CniError::try_again(format!(
            "network {network}: its first attachment on this node needs the cluster's store: {why}"
        )))
    }

    fn differs(&self, network: &NetworkName) -> Result<Vec<String>, CniError> {
        self.differs_still(network)
    }
}

impl Overlays {
    /// The end that the node has already, if that is what is asked for. The store is not needed.
    fn known(&self, key: &AttachmentKey, ask: &OverlayAsk) -> Result<Option<OverlayEnd>, CniError> {
        let network = &key.network;
        let mut state = self.state();
        let is_read = state.mirror.is_complete();
        let Some(member) = state.members.get_mut(network) else {
            return Ok(None);
        };
        refuse_other(network, &member.end, ask)?;
        let is_asked_for = ask.pools.iter().all(|pool| member.end.pools.contains(pool))
            && ask.direct == member.end.direct
            && ask.underlay == member.end.underlay
            && ask.mtu == member.end.most
            && ask.tuning == member.end.tuning
            && ask.encryption == member.end.encryption
            && ask.segment == member.end.segment.as_ref().map(SegmentEnd::ask);
        // Before the store was read the kernel has what an earlier daemon left.
        let place = member.end.segment.as_ref().map(SegmentEnd::ns);
        let device = network.vxlan_device();
        let has_device = || stands_in(place.as_ref().unwrap_or(&Ns::Host), device) == Some(true);
        if is_asked_for && (member.stands || !is_read && has_device()) {
            member.expect(key);
            return Ok(state.granted(network, &self.cluster.node));
        }
        Ok(None)
    }

    /// The end that the node would have, and the MAC of the link that it is reached by.
    fn new_end(
        &self,
        network: &NetworkName,
        ask: &OverlayAsk,
    ) -> Result<(OverlayEnd, Option<Mac>), CniError> {
        name_of(network)?;
        self.shared_store(network)?;
        let refused = |error: facts::NoUnderlay| {
            let code = match error {
                facts::NoUnderlay::Kernel(_) => Code::TRY_AGAIN_LATER,
                _ => Code::INVALID_CONFIG,
            };
            CniError::new(
                code,
                format!("network {network}: {}", crate::told::chain(&error)),
            )
        };
        let mut kernel = Kernel::new(Deletion::Blocking);
        let asked = ask.underlay.or(self.underlay);
        let place = facts::find(&mut kernel, asked, &own_addresses()).map_err(refused)?;
        if !ask.encryption.is_none() {
            can_encrypt(&mut kernel, network, Some(Family::of(place.address)))?;
        }
        let mtu = place.mtu(ask.mtu, ask.encryption).map_err(refused)?;
        let end = OverlayEnd {
            vni: ask.vni,
            port: ask.port,
            pools: ask.pools.clone(),
            underlay: ask.underlay,
            local: place.address,
            mtu,
            most: ask.mtu,
            direct: ask.direct,
            tuning: ask.tuning,
            encryption: ask.encryption,
            segment: ask.segment.map(|ask| SegmentEnd {
                netns: format!("{NETNS}/{}", network.namespace(self.cluster.node.as_str())),
                exit: 0,
                link: Some(network.vtep_mac(self.cluster.node.as_str()).link_local()),
                v4: ask.v4,
                v6: ask.v6,
                replicate: ask.replicate,
            }),
        };
        Ok((end, place.below.mac))
    }

    /// What nodes have together is agreed in a store that they have together.
    fn shared_store(&self, network: &NetworkName) -> Result<(), CniError> {
        match self.cluster.backend {
            Backend::Etcd(_) => Ok(()),
            Backend::Embedded(_) => Err(CniError::invalid_config(format!(
                "network {network}: the store of this node is its own, and nodes have a network together by a store that all of them reach: set store.backend to \"etcd\" in bulkheadd.toml, or use bulkhead-ipv6"
            ))),
        }
    }

    /// Agrees with the other nodes, and tells them where this one is reached. While the store is away, what
    /// was agreed before stands.
    fn register(
        &self,
        network: &NetworkName,
        (end, link_mac): (&OverlayEnd, Option<Mac>),
        until: Instant,
    ) -> Result<Told, CniError> {
        loop {
            let Err(error) = self.write_end(network, end, link_mac) else {
                return Ok(Told::Now);
            };
            let may_pass = error.reason() == Reason::Unavailable;
            let remembered = may_pass.then(|| self.remembered(network, end));
            if remembered == Some(Remembered::Same) {
                tracing::warn!(
                    %network, %error,
                    "the store is away: the others are taken to be as they were known last"
                );
                return Ok(Told::Before);
            }
            if may_pass && Instant::now() < until && !self.ends() {
                thread::sleep(PAUSE);
                continue;
            }
            if let Some(Remembered::Otherwise(differs)) = remembered {
                let Difference { key, asked, known } = differs;
                return Err(CniError::from_chain(Code::TRY_AGAIN_LATER, &error).with_details(
                    format!("{key}: {asked} is asked for, and network {network} had {known} when the store was heard last"),
                ));
            }
            let code = if may_pass || error.reason() == Reason::Denied {
                Code::TRY_AGAIN_LATER
            } else {
                Code::INVALID_CONFIG
            };
            return Err(CniError::from_chain(code, &error));
        }
    }

    /// Writes the node's end into the store, if it does not stand there.
    pub(super) fn write_end(
        &self,
        network: &NetworkName,
        end: &OverlayEnd,
        link_mac: Option<Mac>,
    ) -> Result<(), OverlayError> {
        let Ok(name) = network.as_str().parse::<OverlayName>() else {
            return Ok(());
        };
        let operator = self.cluster.operator("bulkheadd");
        let overlay = OverlayRow {
            vni: end.vni,
            port: end.port,
            mode: if end.segment.is_some() {
                OverlayMode::Bridged
            } else {
                OverlayMode::Routed
            },
            pools: end.pools.clone(),
            encryption: end.encryption,
            by: self.cluster.node.clone(),
            created_at_unix_ms: unix_ms(),
        };
        let ask = Ask {
            network: name,
            overlay,
            secret: (!end.encryption.is_none()).then(new_secret),
        };
        let row = self.row_of(network, end, link_mac);
        self.cluster
            .operations()
            .join_overlay(&operator, &ask, &row)
    }

    /// What the node says of its end, but for what the store adds.
    pub(super) fn row_of(
        &self,
        network: &NetworkName,
        end: &OverlayEnd,
        link_mac: Option<Mac>,
    ) -> VtepRow {
        VtepRow {
            name: self.cluster.name.clone(),
            epoch: 0,
            underlay: end.local,
            mac: network.vtep_mac(self.cluster.node.as_str()),
            link_mac,
            mtu: end.mtu,
            seal: (!end.encryption.is_none()).then(|| self.salts.row(network)),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            at_unix_ms: 0,
            attempt: Attempt::default(),
        }
    }

    /// Waits until the kernel has what the network needs.
    fn wait_for(&self, network: &NetworkName, until: Instant) -> Result<(), CniError> {
        let mut state = self.state();
        let target = state.wanted;
        loop {
            let member = state.members.get(network);
            if member.is_some_and(|member| member.stands) {
                return Ok(());
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || self.ends() {
                let fault = member.and_then(|member| member.fault.clone());
                let why = fault.unwrap_or_else(|| not_yet(&state, target).to_owned());
                return Err(CniError::try_again(format!("network {network}: {why}")));
            }
            let waited = self.news.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// An attachment is recorded, or will not be.
    pub(crate) fn settled(&self, key: &AttachmentKey) {
        if let Some(member) = self.state().members.get_mut(&key.network) {
            member.settled(key);
        }
    }

    /// A network may have lost its last attachment.
    pub(crate) fn released(&self, network: &NetworkName) {
        let has = self.state().members.contains_key(network);
        if has {
            self.tell(|_| ());
        }
    }
}

impl State {
    /// Gives a segment's exit the number that it has, or one that no other of the node has.
    fn number(&self, network: &NetworkName, end: &mut OverlayEnd) -> Result<(), CniError> {
        let Some(segment) = &mut end.segment else {
            return Ok(());
        };
        let numbered = |end: &OverlayEnd| Some(end.segment.as_ref()?.exit);
        let known = self.members.get(network).map(|member| &member.end);
        let known = known.or_else(|| self.leaving.get(network));
        if let Some(exit) = known.and_then(numbered) {
            segment.exit = exit;
            return Ok(());
        }
        let members = self.members.values().map(|member| &member.end);
        let taken: BTreeSet<u16> = members
            .chain(self.leaving.values())
            .filter_map(numbered)
            .collect();
        let mut free = (1..SegmentEnd::MOST_EXITS).filter(|exit| !taken.contains(exit));
        segment.exit = free.next().ok_or_else(|| {
            CniError::try_again(format!(
                "network {network}: this node has {} segments already; remove one",
                taken.len()
            ))
        })?;
        Ok(())
    }
}

fn not_yet(state: &State, target: u64) -> &'static str {
    if state.known().is_none() {
        "the store has not been read yet; try again"
    } else if state.passed < target {
        "the kernel was not brought to what the store says in time; try again"
    } else {
        "the node's end does not stand; try again"
    }
}

/// Its name as a part of keys of the store.
fn name_of(network: &NetworkName) -> Result<OverlayName, CniError> {
    let parsed = network.as_str().parse();
    parsed.map_err(|error| CniError::from_chain(Code::INVALID_CONFIG, &error))
}

/// Refuses what the kernel cannot encrypt, and says what it lacks: over this family, or over both.
fn can_encrypt(
    kernel: &mut Kernel,
    network: &NetworkName,
    family: Option<Family>,
) -> Result<(), CniError> {
    let families = family.map_or_else(|| vec![Family::V4, Family::V6], |one| vec![one]);
    let mut lacking = None;
    for family in families {
        let lacks = kernel
            .lacks_ipsec(family)
            .map_err(|error| CniError::from_chain(Code::TRY_AGAIN_LATER, &error))?;
        match lacks {
            None => return Ok(()),
            Some(lacks) => lacking = lacking.or(Some(lacks)),
        }
    }
    lacking.map_or(Ok(()), |lacks| {
        Err(CniError::new(
            Code::UNSUPPORTED_FIELD,
            format!(
                "network {network}: encryption: \"ipsec\" is not possible with this kernel: {lacks}; boot one that has it, or leave the key out on every node"
            ),
        ))
    })
}

/// One network has one identifier and port; another configuration is for when its attachments are gone.
fn refuse_other(network: &NetworkName, end: &OverlayEnd, ask: &OverlayAsk) -> Result<(), CniError> {
    let Some(differs) = Agreed::from(ask).difference(end.into()) else {
        return Ok(());
    };
    let Difference { key, asked, known } = differs;
    Err(CniError::invalid_config(format!(
        "{key}: {asked} is asked for, and the attachments that network {network} has on this node have {known}; remove them first, or put {known} back"
    )))
}
