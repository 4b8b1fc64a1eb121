//! STATUS: whether an ADD would be served now. It takes no lock and changes nothing.

use bulkhead_cni::{Answer, Call, CniError, Verb, exec};
use bulkhead_ipam::StateDir;
use bulkhead_kernel::Kernel;
use bulkhead_plan::{Ns, Scope, TableScope, filter_table};

use crate::failure::Failure;
use crate::{Addressing, Host, Network, del};

pub(crate) fn status<N: Network>(call: &Call, host: &mut dyn Host) -> Result<Answer, CniError> {
    let network = N::parse(call)?;
    let state = del::open(call, host).map_err(unavailable)?;
    if let Some(state) = &state {
        store_serves(call, state)?;
    }
    kernel_serves(host.kernel()).map_err(unavailable)?;
    if let Addressing::Delegated { plugin, .. } = network.addressing() {
        exec::delegate(host.delegates(), call, plugin, Verb::Status)?;
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
fn kernel_serves(kernel: &mut Kernel) -> Result<(), Failure> {
    let mut scope = Scope::default();
    scope
        .space(&Ns::Host)
        .tables
        .insert(filter_table(), TableScope::default());
    kernel.observe(&scope)?;
    Ok(())
}
