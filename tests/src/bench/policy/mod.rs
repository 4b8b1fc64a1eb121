//! What policies cost, laid out in several ways: each new connection, and each change.

mod changes;
mod compiling;
mod cut;
mod road;
mod scripts;
mod worlds;

use std::fmt;
use std::io;
use std::thread;
use std::time::Duration;

use rustix::thread::{CpuSet, sched_setaffinity};

use super::sample::Sample;
pub(super) use compiling::Compiled;
pub(super) use cut::Cut;
use road::Road;
pub use worlds::Size;

/// How much is measured.
#[derive(Clone, Debug)]
pub struct Policing {
    /// Numbers of endpoints, rising; of each layout with a policy for every ten of them in each direction.
    pub endpoints: Vec<usize>,
    /// How much is written in the layout that is compiled.
    pub sizes: Vec<Size>,
    /// Turns of each lane.
    pub rounds: usize,
    /// Connections of a turn.
    pub connections: usize,
    /// Changes of each kind.
    pub changes: usize,
    /// What is compiled: the node's own endpoints, and how much there is in the whole cluster.
    pub compiled: Vec<(usize, Size)>,
    /// Connections of which those are cut that are no longer allowed.
    pub connections_cut: u32,
}

/// All that was measured of policies.
#[derive(Clone, Debug)]
pub struct Policed {
    pub(super) lanes: Vec<Lane>,
    pub(super) compiled: Vec<Compiled>,
    pub(super) cuts: Vec<Cut>,
}

/// How policies are laid out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Layout {
    /// Nothing is judged, nothing tracked.
    Nothing,
    /// Nothing is judged.
    Tracked,
    /// A rule for each pair of endpoints.
    Linear,
    /// A chain for each endpoint, one for each policy, a set of addresses for each selector.
    Chains,
    /// A number for each label set, and a set of pairs of them with protocol and port.
    Pairs,
    /// Class, identity, ruling: what is compiled.
    Rulings,
}

impl Layout {
    const ALL: [Self; 6] = [
        Self::Nothing,
        Self::Tracked,
        Self::Linear,
        Self::Chains,
        Self::Pairs,
        Self::Rulings,
    ];

    /// Whether it depends on what there is.
    const fn judges(self) -> bool {
        !matches!(self, Self::Nothing | Self::Tracked)
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "no rules",
            Self::Tracked => "connections tracked",
            Self::Linear => "a rule for each pair",
            Self::Chains => "A: chains and sets of addresses",
            Self::Pairs => "B: pairs of identities",
            Self::Rulings => "C: class, identity, ruling",
        })
    }
}

/// One lane and what was measured on it.
#[derive(Clone, Debug)]
pub(crate) struct Lane {
    pub(super) layout: Layout,
    pub(super) size: Size,
    /// Nanoseconds of CPU time of each connection, of each turn.
    pub(super) nanos: Vec<f64>,
    /// From `connect` to its return.
    pub(super) latency: Sample,
    /// From the first byte sent to the kernel to its answer, by kind of change.
    pub(super) changes: Vec<(&'static str, Sample)>,
}

/// Measures every layout at every size, taking turns.
///
/// # Errors
/// When the system refuses namespaces or sockets, or a layout does not judge as it should.
///
/// # Panics
/// Never: the thread that measures does not.
pub fn policies(policing: &Policing) -> io::Result<Policed> {
    Ok(Policed {
        lanes: lanes(policing)?,
        compiled: compiling::compiled(&policing.compiled, policing.changes)?,
        cuts: cut::cuts(policing.connections_cut)?,
    })
}

fn lanes(policing: &Policing) -> io::Result<Vec<Lane>> {
    let mut roads = Vec::new();
    for layout in Layout::ALL {
        let sizes = policing.endpoints.iter().copied();
        let sizes: Vec<Size> = match layout {
            Layout::Nothing | Layout::Tracked => vec![Size {
                endpoints: 0,
                policies: 0,
            }],
            // nft does not load 30,000 rules within a minute.
            Layout::Linear => sizes.filter(|size| *size <= 250).map(Size::of).collect(),
            Layout::Chains | Layout::Pairs => sizes.map(Size::of).collect(),
            Layout::Rulings => policing.sizes.clone(),
        };
        for size in sizes {
            eprintln!("{layout}, {size}");
            let lane = Lane {
                layout,
                size,
                nanos: Vec::new(),
                latency: Sample::default(),
                changes: Vec::new(),
            };
            roads.push((Road::new(layout, size)?, lane));
        }
    }
    eprintln!("connections");
    // A thread of its own, because it stays on one processor.
    thread::scope(|scope| {
        let turns = scope.spawn(|| take_turns(&mut roads, policing));
        turns.join().expect("it does not panic")
    })?;
    eprintln!("changes");
    for (road, lane) in &mut roads {
        if let Layout::Chains | Layout::Pairs | Layout::Rulings = lane.layout {
            lane.changes = road.changes(policing.changes)?;
        }
    }
    Ok(roads.into_iter().map(|(_, lane)| lane).collect())
}

fn take_turns(roads: &mut [(Road, Lane)], policing: &Policing) -> io::Result<()> {
    let mut one = CpuSet::new();
    one.set(0);
    sched_setaffinity(None, &one)?;
    for round in 0..policing.rounds {
        for turn in 0..roads.len() {
            // Nobody is always first.
            let at = (turn + round) % roads.len();
            let (road, lane) = &mut roads[at];
            let (spent, took): (Duration, Vec<Duration>) = road.connect(policing.connections)?;
            let count = u32::try_from(took.len()).expect("hundreds of connections");
            lane.nanos
                .push(spent.as_secs_f64() * 1e9 / f64::from(count));
            for one in took {
                lane.latency.push(one);
            }
        }
    }
    Ok(())
}
