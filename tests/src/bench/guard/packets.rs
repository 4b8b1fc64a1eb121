//! The packets, lane by lane. Everything a frame costs is done in the call that sends it: a veth hands it
//! over at once, the other end is worked on before the call returns, and the kernel accounts that to the
//! calling thread (without `CONFIG_IRQ_TIME_ACCOUNTING`).

use std::io;
use std::thread;
use std::time::Duration;

use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

use super::Guarding;
use super::lane::{Judged, Lane, Packet, Road};

/// What one turn should take, short enough that what else the machine does falls on all lanes.
const TURN: Duration = Duration::from_millis(8);
const MOST: usize = 4_000;
const FEWEST: usize = 16;

pub(super) fn measure(guarding: &Guarding) -> io::Result<Vec<Lane>> {
    let mut asked = vec![(Judged::Not, 0)];
    for judged in [Judged::ByGuard, Judged::Linearly] {
        asked.extend(guarding.ports.iter().map(|ports| (judged, *ports)));
    }
    let mut roads = Vec::new();
    for (judged, ports) in asked {
        eprintln!("{judged}, {ports} ports");
        let lane = Lane {
            judged,
            ports,
            nanos: Packet::ALL.map(|packet| (packet, Vec::new())).into(),
        };
        roads.push((Road::new(judged, ports)?, lane));
    }
    eprintln!("packets");
    // A thread of its own, because it stays on one processor.
    thread::scope(|scope| {
        let turns = scope.spawn(|| take_turns(&mut roads, guarding.rounds));
        turns.join().expect("it does not panic")
    })?;
    Ok(roads.into_iter().map(|(_, lane)| lane).collect())
}

fn take_turns(roads: &mut [(Road, Lane)], rounds: usize) -> io::Result<()> {
    let mut one = CpuSet::new();
    one.set(0);
    sched_setaffinity(None, &one)?;
    let mut counts = Vec::new();
    for (road, _) in &*roads {
        let each = nanos(road, Packet::Udp4, FEWEST)?.max(1.0);
        let count = Duration::as_secs_f64(&TURN) * 1e9 / each;
        counts.push(rounded(count).clamp(FEWEST, MOST));
    }
    for round in 0..rounds {
        for nth in 0..Packet::ALL.len() {
            for turn in 0..roads.len() {
                // Nobody is always first.
                let at = (turn + round) % roads.len();
                let (road, lane) = &mut roads[at];
                let (packet, nanos_of) = &mut lane.nanos[nth];
                nanos_of.push(nanos(road, *packet, counts[at])?);
            }
        }
    }
    Ok(())
}

/// CPU time of one frame.
fn nanos(road: &Road, packet: Packet, count: usize) -> io::Result<f64> {
    let before = spent();
    road.send(packet, count)?;
    let took = spent().saturating_sub(before);
    let count = u32::try_from(count).expect("thousands of frames");
    Ok(took.as_secs_f64() * 1e9 / f64::from(count))
}

fn spent() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is positive, and clamped after"
)]
fn rounded(count: f64) -> usize {
    count as usize
}
