//! Observe, plan, apply, and observe again until world and want agree.

use bulkhead_kernel::{ApplyError, Kernel};
use bulkhead_plan::{Conflict, Plan, Want, World, plan, scope};

use crate::failure::Failure;

/// How often a world that moved under a plan is planned for again.
const ROUNDS: usize = 4;
/// How often a table without our comment is looked at before it is a stranger's.
const PATIENCE: usize = 2;

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

/// What is to be done about a plan before it is applied.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Before {
    /// Apply it.
    Apply,
    /// The want was completed: look again, there may be more to see.
    LookAgain,
}

/// Brings the kernel to `want` and returns the world that agrees with it. `before` sees every plan
/// before it is applied.
pub(crate) fn converge(
    kernel: &mut Kernel,
    want: &mut Want,
    mut before: impl FnMut(&World, &Plan, &mut Want) -> Result<Before, Failure>,
) -> Result<World, Failure> {
    let mut last = Plan::default();
    let mut rounds = ROUNDS;
    let mut round = 0;
    while round <= rounds {
        round += 1;
        let world = kernel.observe(&scope(want))?;
        last = match planned(&world, want) {
            // A table that is being committed shows for a moment without its comment.
            Err(ConvergeError::Conflict(Conflict::ForeignTable(_))) if round <= PATIENCE => {
                continue;
            }
            plan => plan?,
        };
        if last.is_empty() {
            return Ok(world);
        }
        if before(&world, &last, want)? == Before::LookAgain {
            rounds += 1;
            continue;
        }
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
