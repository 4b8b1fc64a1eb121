//! Which pools serve an ask, and what it may have of them.

use std::net::IpAddr;

use super::Ledger;
use super::acquire::joined;
use super::ask::{PoolAsk, PoolChoice};
use super::refusal::PoolRefusal;
use super::side::named;
use crate::cluster::name::{OverlayName, PoolName, ReservationName, StickyId};
use crate::cluster::schema::PoolState;

impl Ledger {
    /// The pools that an ask may be served from, in order: at least one.
    pub(super) fn choose(
        &self,
        choice: &PoolChoice,
        ask: Option<&PoolAsk>,
        judge_pod: bool,
    ) -> Result<Vec<PoolName>, PoolRefusal> {
        let names = match choice {
            PoolChoice::Named(names) => names.clone(),
            PoolChoice::Any => self.by_priority(),
        };
        let mut why = Vec::new();
        let mut chosen = Vec::new();
        for name in names {
            let Some(side) = self.pools.get(&name).filter(|side| !side.gone) else {
                return Err(self.unknown(name));
            };
            let pod = ask.and_then(|ask| ask.pod.as_ref());
            let reason = match side.row.state {
                PoolState::Draining => Some("it is draining"),
                PoolState::Disabled => Some("it is disabled"),
                PoolState::Enabled if !side.row.is_for_node(&self.about.labels) => {
                    Some("it is not for nodes with these labels")
                }
                PoolState::Enabled if judge_pod && !side.row.is_for_pod(pod) => {
                    Some("it is not for this namespace")
                }
                PoolState::Enabled if !is_tenant(side.row.tenant.as_ref(), ask) => {
                    Some("it is the tenant's alone that has it, on a segment of bulkhead-vxlan")
                }
                PoolState::Enabled => None,
            };
            match reason {
                Some(reason) => why.push(format!("{}: {reason}", named(&name, side))),
                None => chosen.push(name),
            }
        }
        if chosen.is_empty() {
            let why = if why.is_empty() {
                "the cluster has none".to_owned()
            } else {
                why.join(", ")
            };
            return Err(PoolRefusal::NoneFor { why });
        }
        Ok(chosen)
    }

    fn by_priority(&self) -> Vec<PoolName> {
        // A tenant's is for whoever names it.
        let for_all = |side: &super::side::PoolSide| !side.gone && side.row.tenant.is_none();
        let mut all: Vec<_> = self
            .pools
            .iter()
            .filter(|(_, side)| for_all(side))
            .collect();
        all.sort_by_key(|(name, side)| (-i64::from(side.row.priority), (*name).clone()));
        all.into_iter().map(|(name, _)| name.clone()).collect()
    }

    /// A pool that is not known: it does not exist, unless the store could not be asked.
    fn unknown(&self, pool: PoolName) -> PoolRefusal {
        if let Some(why) = self.link.down_why() {
            return PoolRefusal::NeedsStore {
                what: format!("pool {pool}, which this node never saw,"),
                why: why.to_owned(),
            };
        }
        let known: Vec<_> = self.pools().map(PoolName::as_str).collect();
        let known = if known.is_empty() {
            "none".to_owned()
        } else {
            known.join(", ")
        };
        PoolRefusal::Unknown { pool, known }
    }

    /// The ordinal of the addresses that are asked for.
    pub(super) fn requested(
        &self,
        ask: &PoolAsk,
        pools: &[PoolName],
    ) -> Result<(PoolName, u64), PoolRefusal> {
        let mut found: Option<(PoolName, u64, IpAddr)> = None;
        for &address in &ask.requested {
            let mut inside = pools.iter().filter_map(|pool| {
                let ordinal = self.pools[pool].row.geometry.ordinal(address)?;
                Some((pool.clone(), ordinal))
            });
            let Some((pool, ordinal)) = inside.next() else {
                let named = pools.iter().map(|pool| named(pool, &self.pools[pool]));
                return Err(PoolRefusal::Outside {
                    address,
                    pools: named.collect::<Vec<_>>().join(", "),
                });
            };
            match found {
                Some((of, other, first)) if (&of, other) != (&pool, ordinal) => {
                    return Err(PoolRefusal::Mismatch {
                        first,
                        second: address,
                        goes_with: joined(&self.addresses(&of, other)),
                    });
                }
                Some(_) => {}
                None => found = Some((pool, ordinal, address)),
            }
        }
        let (pool, ordinal, _) = found.expect("an address is asked for");
        Ok((pool, ordinal))
    }

    /// Whether the pool would give an ordinal to such an attachment.
    pub(super) fn may_have(
        &self,
        ask: &PoolAsk,
        pool: &PoolName,
        ordinal: u64,
    ) -> Result<(), PoolRefusal> {
        let side = &self.pools[pool];
        let address = self.address(pool, ordinal);
        if let Some(why) = side.row.geometry.unusable(ordinal) {
            return Err(PoolRefusal::Unusable { address, why });
        }
        if let Some(name) = side.reservation(ordinal)
            && !self.is_reserved_for(name, ask)
        {
            return Err(PoolRefusal::Reserved {
                address,
                reservation: name.clone(),
            });
        }
        match side.kept.get(&ordinal) {
            Some(sticky) if !is_sticky_of(sticky, ask) => Err(PoolRefusal::Kept {
                address,
                sticky: sticky.clone(),
            }),
            _ => Ok(()),
        }
    }

    pub(super) fn check_free(&self, pool: &PoolName, ordinal: u64) -> Result<(), PoolRefusal> {
        match self.holder(pool, ordinal) {
            Some(holder) => Err(PoolRefusal::Taken {
                address: self.address(pool, ordinal),
                holder: holder.clone(),
                place: String::new(),
            }),
            None => Ok(()),
        }
    }

    fn is_reserved_for(&self, name: &ReservationName, ask: &PoolAsk) -> bool {
        let row = self.reservations.get(name);
        row.is_some_and(|row| row.is_for(ask.pod.as_ref(), &ask.labels))
    }

    /// The first reservation in one of the pools that is for such an attachment.
    pub(super) fn reserved_for(
        &self,
        ask: &PoolAsk,
        pools: &[PoolName],
    ) -> Option<(PoolName, ReservationName)> {
        let mine = self.reservations.keys();
        let mine = mine.filter(|name| self.is_reserved_for(name, ask));
        mine.flat_map(|name| pools.iter().map(move |pool| (pool, name)))
            .find(|(pool, name)| self.pools[*pool].reserved_by(name).next().is_some())
            .map(|(pool, name)| (pool.clone(), name.clone()))
    }

    /// The pools of a choice that are worth a block ahead. Of any, it is the first: a block of each on
    /// every node would use up those that few nodes need.
    pub(super) fn expected_of(&self, choice: &PoolChoice) -> Vec<PoolName> {
        match choice {
            PoolChoice::Named(names) => names.clone(),
            PoolChoice::Any => {
                let mut pools = self.by_priority().into_iter();
                let first = pools.find(|pool| self.pools[pool].is_open(&self.about.labels));
                first.into_iter().collect()
            }
        }
    }
}

/// Whether a pool of a tenant's is asked for by that one.
fn is_tenant(tenant: Option<&OverlayName>, ask: Option<&PoolAsk>) -> bool {
    let (Some(tenant), Some(ask)) = (tenant, ask) else {
        return true;
    };
    ask.segment && ask.key.network.as_str() == tenant.as_str()
}

fn is_sticky_of(sticky: &StickyId, ask: &PoolAsk) -> bool {
    let own = ask.pod.as_ref().map(|pod| StickyId::of(pod, &ask.key));
    ask.sticky && own == Some(Ok(sticky.clone()))
}
