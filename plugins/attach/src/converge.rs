//! Observe, plan, apply, and observe again until world and want agree.

use std::hash::{BuildHasher, RandomState};
use std::thread;
use std::time::{Duration, Instant};

use bulkhead_kernel::{ApplyError, Kernel};
use bulkhead_plan::{Conflict, Plan, Scope, Want, World, plan, scope};

use crate::failure::Failure;

/// How often what was set and is not there any more is set again.
const ROUNDS: usize = 4;
/// How long a world that moves under its plans is planned for again: each commit of another call's to
/// the same tables makes ours stale, and a node that starts has a hundred of them at once.
const PATIENCE: Duration = Duration::from_secs(10);
/// For how long a table without our comment may be one that is being committed.
const COMMIT: Duration = Duration::from_millis(100);
/// The longest pause between two plans that were stale.
const LONGEST_PAUSE: Duration = Duration::from_millis(32);

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
    let began = Instant::now();
    let mut rounds = 0;
    let mut pauses = Pauses::default();
    let mut stands = false;
    loop {
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
        let todo = match planned(&world, want) {
            // A table that is being committed shows for a moment without its comment.
            Err(ConvergeError::Conflict(Conflict::ForeignTable(_))) if began.elapsed() < COMMIT => {
                pauses.pause();
                continue;
            }
            plan => plan?,
        };
        if todo.is_empty() {
            if !unseen {
                return Ok(world);
            }
            stands = true;
            continue;
        }
        if before(&world, &todo, want)? == Before::LookAgain {
            continue;
        }
        match kernel.apply(&todo) {
            Ok(()) => (stands, rounds) = (true, rounds + 1),
            Err(error) if !error.is_stale() => return Err(ConvergeError::from(error).into()),
            Err(_) => {
                stands = true;
                pauses.pause();
            }
        }
        if rounds > ROUNDS || began.elapsed() > PATIENCE {
            return Err(ConvergeError::Unsettled(todo).into());
        }
    }
}

/// None at first, then twice as long each time, and each process has others.
#[derive(Debug, Default)]
struct Pauses(u32);

impl Pauses {
    fn pause(&mut self) {
        self.0 += 1;
        let longest = Duration::from_micros(250)
            .saturating_mul(1 << self.0.min(8))
            .min(LONGEST_PAUSE);
        if self.0 > 2 {
            let [dice, ..] = RandomState::new().hash_one(self.0).to_ne_bytes();
            thread::sleep(longest.mul_f64(f64::from(dice) / 256.0));
        }
    }
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
