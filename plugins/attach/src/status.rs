//! STATUS: whether an ADD would be served now. It takes no lock and changes nothing.

use bulkhead_cni::{Answer, Call, CniError, Verb, exec};
use bulkhead_ipam::StateDir;
use bulkhead_kernel::Kernel;
use bulkhead_plan::{Ns, Scope, TableScope, filter_table};

use crate::failure::Failure;
use crate::{Addressing, Host, Network, Source, add, del, lease, overlays};

pub(crate) fn status<N: Network>(call: &Call, host: &mut dyn Host) -> Result<Answer, CniError> {
    let network = N::parse(call)?;
    add::refuse_without_daemon(&network, call, host).map_err(unavailable)?;
    let state = del::open(call, host).map_err(unavailable)?;
    let source = match network.addressing() {
        Addressing::Own(source) => Some(source),
        Addressing::None | Addressing::Delegated { .. } => None,
    };
    addresses_serve(call, host, state.as_deref(), source)?;
    if let Some(ask) = network.overlay() {
        let overlays = overlays::of(host, call).map_err(unavailable)?;
        let served = overlays.serves(&call.config.name, ask);
        served.map_err(unavailable)?;
    }
    kernel_serves(host.kernel())?;
    if let Addressing::Delegated { plugin, .. } = network.addressing() {
        exec::delegate(host.delegates(), call, plugin, Verb::Status)?;
    }
    Ok(Answer::Silent)
}

fn unavailable(failure: impl std::fmt::Display) -> CniError {
    CniError::unavailable(failure.to_string())
}

/// There is an address to give: in every range set, or in the cluster's pools.
pub(crate) fn addresses_serve(
    call: &Call,
    host: &dyn Host,
    state: Option<&StateDir>,
    source: Option<&Source>,
) -> Result<(), CniError> {
    match (source, state) {
        (Some(Source::Pools(config)), _) => lease::pools(host, call, config)
            .and_then(|pools| pools.serves(&config.pools))
            .map_err(unavailable),
        (_, Some(state)) => ranges_serve(call, state),
        (_, None) => Ok(()),
    }
}

fn ranges_serve(call: &Call, state: &StateDir) -> Result<(), CniError> {
    let known = state.network(&call.config.name).read();
    let known = known.map_err(|e| unavailable(Failure::from(e)))?;
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
pub(crate) fn kernel_serves(kernel: &mut Kernel) -> Result<(), CniError> {
    let mut scope = Scope::default();
    scope
        .space(&Ns::Host)
        .tables
        .insert(filter_table(), TableScope::default());
    let seen = kernel.observe(&scope).map_err(Failure::from);
    seen.map(drop).map_err(unavailable)
}
