//! Observe, plan, apply, and observe again until world and want agree.

use bulkhead_kernel::{ApplyError, Kernel};
use bulkhead_plan::{Conflict, Plan, Scope, Want, World, plan, scope};

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
///
/// Flows are looked at when everything else is as wanted: until then one can begin that no earlier
/// look has seen, and to see them takes a walk through the node's whole table of connections.
pub(crate) fn converge(
    kernel: &mut Kernel,
    want: &mut Want,
    before: impl FnMut(&World, &Plan, &mut Want) -> Result<Before, Failure>,
) -> Result<World, Failure> {
    converge_from(Start::Anything, kernel, want, before)
}

/// What may be there before the first look.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Start {
    /// Anything.
    Anything,
    /// Nothing of the attachment's own in the tables: it has just been recorded. To look for elements that
    /// are not there costs more than to add them, which the kernel takes for those that are.
    Nothing,
}

/// As [`converge`], from what there may be.
pub(crate) fn converge_from(
    start: Start,
    kernel: &mut Kernel,
    want: &mut Want,
    mut before: impl FnMut(&World, &Plan, &mut Want) -> Result<Before, Failure>,
) -> Result<World, Failure> {
    let mut last = Plan::default();
    let mut rounds = ROUNDS;
    let mut round = 0;
    let mut stands = false;
    while round <= rounds {
        round += 1;
        let mut scope = scope(want);
        let unseen = !stands && hold_back_flows(&mut scope);
        if start == Start::Nothing && !stands {
            let tables = scope
                .spaces
                .values_mut()
                .flat_map(|space| space.tables.values_mut());
            tables.for_each(|table| table.elements.clear());
        }
        let world = kernel.observe(&scope)?;
        last = match planned(&world, want) {
            // A table that is being committed shows for a moment without its comment.
            Err(ConvergeError::Conflict(Conflict::ForeignTable(_))) if round <= PATIENCE => {
                continue;
            }
            plan => plan?,
        };
        if last.is_empty() {
            if !unseen {
                return Ok(world);
            }
            (stands, rounds) = (true, rounds + 1);
            continue;
        }
        if before(&world, &last, want)? == Before::LookAgain {
            rounds += 1;
            continue;
        }
        match kernel.apply(&last) {
            Err(error) if !error.is_stale() => return Err(ConvergeError::from(error).into()),
            _ => stands = true,
        }
    }
    Err(ConvergeError::Unsettled(last).into())
}

/// Takes the flows out of `scope`; whether there were any.
fn hold_back_flows(scope: &mut Scope) -> bool {
    let spaces = scope.spaces.values_mut();
    let held = spaces.map(|space| std::mem::take(&mut space.flows));
    held.fold(false, |any, flows| any | !flows.is_empty())
}

fn planned(world: &World, want: &Want) -> Result<Plan, ConvergeError> {
    Ok(plan(world, want)?)
}
