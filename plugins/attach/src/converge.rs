//! Observe, plan, apply, and observe again until world and want agree.

use bulkhead_kernel::{ApplyError, Kernel};
use bulkhead_plan::{Conflict, Plan, Want, World, plan, scope};

use crate::failure::Failure;

/// How often a world that moved under a plan is planned for again.
const ROUNDS: usize = 4;

/// Why the kernel does not hold what is wanted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConvergeError {
    /// Something that is not ours is in the way; nothing was changed.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// The kernel refused an operation.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// It keeps changing.
    #[error(
        "the kernel does not keep what is set; another program changes the same objects; still to do:\n{0}"
    )]
    Unsettled(Plan),
}

/// Brings the kernel to `want` and returns the world that agrees with it. `before` sees every plan
/// before it is applied and may complete the want for the next look.
pub(crate) fn converge(
    kernel: &mut Kernel,
    want: &mut Want,
    mut before: impl FnMut(&World, &mut Want) -> Result<(), Failure>,
) -> Result<World, Failure> {
    let mut last = Plan::default();
    for _ in 0..=ROUNDS {
        let world = kernel.observe(&scope(want))?;
        if planned(&world, want)?.is_empty() {
            return Ok(world);
        }
        before(&world, want)?;
        last = planned(&world, want)?;
        match kernel.apply(&last) {
            Err(error) if !error.is_stale() => return Err(ConvergeError::from(error).into()),
            _ => {}
        }
    }
    Err(ConvergeError::Unsettled(last).into())
}

fn planned(world: &World, want: &Want) -> Result<Plan, ConvergeError> {
    Ok(plan(world, want)?)
}
