//! STATUS: whether an ADD would be served now. It takes no lock and changes nothing.

use bulkhead_cni::exec::{self, Children};
use bulkhead_cni::{Answer, Call, CniError, Verb};
use bulkhead_ipam::StateDir;
use bulkhead_plan::{Ns, Scope, TableScope, filter_table};

use crate::failure::Failure;
use crate::{Addressing, Network, del};

pub(crate) fn status<N: Network>(call: &Call) -> Result<Answer, CniError> {
    let network = N::parse(call)?;
    let state = del::open(call).map_err(unavailable)?;
    if let Some(state) = &state {
        store_serves(call, state)?;
    }
    kernel_serves().map_err(unavailable)?;
    if let Addressing::Delegated { plugin, .. } = network.addressing() {
        exec::delegate(&mut Children, call, plugin, Verb::Status)?;
    }
    Ok(Answer::Silent)
}

fn unavailable(failure: impl std::fmt::Display) -> CniError {
    CniError::unavailable(failure.to_string())
}

/// The store belongs to this process to write, and every range set has an address to give.
pub(crate) fn store_serves(call: &Call, state: &StateDir) -> Result<(), CniError> {
    if state.is_managed() {
        let text = format!(
            "state directory {} is managed by a node daemon that does not answer",
            state.path().display()
        );
        return Err(CniError::unavailable(text));
    }
    let known = state
        .network(&call.config.name)
        .read()
        .map_err(|e| unavailable(Failure::from(e)))?;
    let usage = known
        .map(|known| known.usage())
        .transpose()
        .map_err(|e| unavailable(Failure::from(e)))?;
    match usage.unwrap_or_default().iter().find(|set| set.free == 0) {
        Some(full) => Err(CniError::unavailable(format!(
            "network {}: range set {} ({}) has no free address, {} of {} are held and {} cool down",
            call.config.name, full.set, full.ranges, full.held, full.size, full.cooling
        ))),
        None => Ok(()),
    }
}

/// rtnetlink and `nf_tables` answer, and this process may use them.
fn kernel_serves() -> Result<(), Failure> {
    let mut scope = Scope::default();
    scope
        .space(&Ns::Host)
        .tables
        .insert(filter_table(), TableScope::default());
    crate::kernel().observe(&scope)?;
    Ok(())
}
