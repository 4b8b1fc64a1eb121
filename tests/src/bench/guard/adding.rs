//! ADD of one more port, guarded or not, in the plugin's own process or by a daemon.

use std::io;
use std::time::{Duration, Instant};

use crate::Suite;
use crate::bench::contestant::Contestant;
use crate::bench::field::Field;
use crate::bench::managed::Managed;
use crate::bench::plugins::Plugins;
use crate::bench::rounds::in_node;
use crate::bench::usage::cpu_of_call;

/// ADDs that do not count.
const WARM_UP: usize = 3;

/// What one way of attaching took, without the guard and with it, call by call.
#[derive(Clone, Debug)]
pub(crate) struct Added {
    /// Who serves.
    pub(crate) name: &'static str,
    /// From the start of the process to its end.
    pub(crate) took: [Vec<Duration>; 2],
    /// User and system time of all processes.
    pub(crate) cpu: [Vec<Duration>; 2],
}

pub(super) fn measure(calls: usize) -> io::Result<Vec<Added>> {
    let field = || Field::new(1, 1).map_err(io::Error::other);
    let bare = || Ok::<_, io::Error>(Plugins::new("bulkhead", Suite::ours(), field()?));
    let own = [bare()?.unguarded(), bare()?];
    let served = [Managed::new(bare()?.unguarded())?, Managed::new(bare()?)?];
    let pairs: [(&str, [&dyn Contestant; 2]); 2] = [
        ("bulkhead", [&own[0], &own[1]]),
        ("bulkhead, daemon", [&served[0], &served[1]]),
    ];
    eprintln!("ADDs");
    let mut all = Vec::new();
    for (name, pair) in pairs {
        for contestant in pair {
            // It keeps the bridge and the table alive.
            let slot = &contestant.field().residents[0];
            in_node(contestant, || contestant.add(slot));
        }
        all.push(Added {
            name,
            took: [Vec::new(), Vec::new()],
            cpu: [Vec::new(), Vec::new()],
        });
    }
    for nth in 0..WARM_UP + calls {
        for ((_, pair), added) in pairs.iter().zip(&mut all) {
            for turn in 0..pair.len() {
                let which = (turn + nth) % pair.len();
                let (took, spent) = add_and_delete(pair[which]);
                if nth >= WARM_UP {
                    added.took[which].push(took);
                    added.cpu[which].push(spent);
                }
            }
        }
    }
    Ok(all)
}

/// The ADD's time and CPU time.
fn add_and_delete(contestant: &dyn Contestant) -> (Duration, Duration) {
    let slot = &contestant.field().timed[0];
    let measured = in_node(contestant, || {
        let before = cpu_of_call(contestant.whose());
        let started = Instant::now();
        contestant.add(slot);
        let took = started.elapsed();
        let spent = cpu_of_call(contestant.whose()).saturating_sub(before);
        contestant.del(slot);
        (took, spent)
    });
    contestant.drain();
    measured
}
