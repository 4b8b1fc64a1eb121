//! The run: contestants take turns, so that whatever else the machine does falls on all of them.

use std::collections::BTreeMap;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::contestant::Contestant;
use super::field::Slot;
use super::sample::Sample;
use super::usage::cpu;

/// How many calls are under way at once.
pub(super) const PARALLEL: [usize; 3] = [1, 8, 32];

/// How much is measured.
#[derive(Clone, Debug)]
pub struct Effort {
    /// Rounds of a batch each way, per contestant and number at once.
    pub rounds: usize,
    /// Calls per batch: the timed slots of a field.
    pub batch: usize,
    /// Numbers of attachments beside which an ADD is timed, rising.
    pub beside: Vec<usize>,
    /// Single calls per measurement beside attachments, and per start.
    pub singles: usize,
}

/// Which call.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Call {
    /// ADD
    Add,
    /// DEL
    Del,
}

/// Everything that was measured, by the contestants' position. The first is the one that the others
/// are compared with.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// What the contestants are called.
    pub names: Vec<String>,
    /// By contestant, call and how many at once.
    pub calls: BTreeMap<(usize, Call, usize), Sample>,
    /// One ADD at a time, by contestant and how many attachments stood beside it.
    pub beside: BTreeMap<(usize, usize), Sample>,
    /// Starts that answer VERSION.
    pub starts: BTreeMap<usize, Sample>,
    /// Peak memory in KiB of a start, an ADD and a DEL.
    pub peaks: BTreeMap<usize, [u64; 3]>,
}

/// Contestants that take turns.
pub struct Race<'a> {
    contestants: Vec<&'a dyn Contestant>,
    /// How many residents each has attached.
    attached: Vec<usize>,
}

impl<'a> Race<'a> {
    /// Attaches the first resident of each: it keeps the bridge alive.
    ///
    /// # Panics
    /// When a call fails.
    #[must_use]
    pub fn new(contestants: Vec<&'a dyn Contestant>) -> Self {
        let attached = vec![0; contestants.len()];
        let mut race = Self {
            contestants,
            attached,
        };
        race.grow(1);
        race
    }

    /// Measures them.
    ///
    /// # Panics
    /// When a call fails.
    #[must_use]
    pub fn run(mut self, effort: &Effort) -> Figures {
        let contestants = self.contestants.clone();
        let mut figures = Figures {
            names: contestants.iter().map(|c| c.name().to_owned()).collect(),
            ..Figures::default()
        };
        peaks(&contestants, &mut figures);
        // Not counted: caches and sockets get warm, and a mistake shows before minutes have passed.
        one_round(&contestants, &mut Figures::default(), 0);
        for nth in 0..effort.rounds {
            eprintln!("round {} of {}", nth + 1, effort.rounds);
            one_round(&contestants, &mut figures, nth);
        }
        for _ in 0..effort.singles {
            for (nth, contestant) in contestants.iter().enumerate() {
                if let Some(latency) = contestant.version() {
                    figures.starts.entry(nth).or_default().push(latency);
                }
            }
        }
        for &count in &effort.beside {
            eprintln!("beside {count} attachments");
            // The first resident is there in every case.
            self.grow(count.max(1));
            for _ in 0..effort.singles {
                for (nth, contestant) in contestants.iter().enumerate() {
                    let sample = figures.beside.entry((nth, count)).or_default();
                    sample.push(single(*contestant));
                }
            }
        }
        figures
    }

    /// Attaches residents until there are `count`.
    fn grow(&mut self, count: usize) {
        for (contestant, attached) in self.contestants.iter().zip(&mut self.attached) {
            let residents = &contestant.field().residents;
            let until = count.min(residents.len()).max(*attached);
            // One at a time: they share containers, and a runtime never makes two calls for one at once.
            batch(*contestant, Call::Add, &residents[*attached..until], 1);
            *attached = until;
        }
    }
}

fn peaks(contestants: &[&dyn Contestant], figures: &mut Figures) {
    for (nth, contestant) in contestants.iter().enumerate() {
        let slot = &contestant.field().timed[0];
        let peaks = in_node(*contestant, || contestant.peaks(slot));
        contestant.drain();
        figures.peaks.extend(peaks.map(|peaks| (nth, peaks)));
    }
}

fn one_round(contestants: &[&dyn Contestant], figures: &mut Figures, round: usize) {
    for parallel in PARALLEL {
        for turn in 0..contestants.len() {
            // Nobody is always first.
            let nth = (turn + round) % contestants.len();
            let contestant = contestants[nth];
            for call in [Call::Add, Call::Del] {
                let sample = batch(contestant, call, &contestant.field().timed, parallel);
                let of = figures.calls.entry((nth, call, parallel)).or_default();
                of.merge(sample);
            }
        }
    }
}

/// One ADD, timed, and its DEL, not.
fn single(contestant: &dyn Contestant) -> Duration {
    let slot = &contestant.field().timed[0];
    let latency = in_node(contestant, || {
        let started = Instant::now();
        contestant.add(slot);
        let latency = started.elapsed();
        contestant.del(slot);
        latency
    });
    contestant.drain();
    latency
}

/// One call for each of `slots`, `parallel` at a time.
fn batch(contestant: &dyn Contestant, call: Call, slots: &[Slot], parallel: usize) -> Sample {
    let next = AtomicUsize::new(0);
    let together = Barrier::new(parallel);
    let work = || {
        together.wait();
        let mut times = Vec::new();
        while let Some(slot) = slots.get(next.fetch_add(1, Ordering::Relaxed)) {
            let started = Instant::now();
            match call {
                Call::Add => contestant.add(slot),
                Call::Del => contestant.del(slot),
            }
            times.push((started, Instant::now()));
        }
        times
    };
    let cpu_before = cpu(contestant.whose());
    let times = in_node(contestant, || {
        thread::scope(|scope| {
            let workers: Vec<_> = (0..parallel).map(|_| scope.spawn(work)).collect();
            let times = workers
                .into_iter()
                .map(|worker| worker.join().expect("a call succeeds"));
            times.flatten().collect::<Vec<_>>()
        })
    });
    contestant.drain();
    let drained = Instant::now();
    let cpu = cpu(contestant.whose()).saturating_sub(cpu_before);
    // The workers' own clocks count: on a busy machine this thread wakes long after the first call.
    Sample::of(&times, drained, cpu)
}

/// Does `work` in the contestant's node.
pub(super) fn in_node<T: Send>(contestant: &dyn Contestant, work: impl FnOnce() -> T + Send) -> T {
    let host = &contestant.field().host;
    host.enter(work).expect("the node's namespace is mounted")
}
