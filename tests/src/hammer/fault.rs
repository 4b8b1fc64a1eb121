//! What goes wrong, and that it goes right again.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use netns_fixtures::{Etcd, Place};
use rustix::process::Signal;

use super::node::{Node, cut_off, rejoin};
use super::plan::{Choices, NodeFault, StoreFault};
use super::worker::Shared;

/// How often something went wrong.
#[derive(Debug, Default)]
pub(super) struct Faults(AtomicU64);

impl Faults {
    pub(super) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn note(&self, shared: &Shared, what: &dyn std::fmt::Debug, whom: &str) {
        self.0.fetch_add(1, Ordering::Relaxed);
        eprintln!("hammer: {:8.3?} {whom}: {what:?}", shared.now());
    }
}

/// Lets something go wrong on one node after the other until the run is over.
pub(super) fn trouble_nodes(
    nodes: &[Node],
    shared: &Shared,
    faults: &Faults,
    mut choices: Choices,
) -> io::Result<()> {
    while rest(shared, choices.pause(100, 700)) {
        let node = &nodes[choices.below(nodes.len())];
        let fault = NodeFault::choose(&mut choices);
        faults.note(shared, &fault, &node.name());
        let pause = choices.pause(200, 2500);
        trouble_node(node, fault, pause)?;
    }
    Ok(())
}

fn trouble_node(node: &Node, fault: NodeFault, pause: Duration) -> io::Result<()> {
    match fault {
        NodeFault::Restart => node.end(Signal::TERM),
        NodeFault::Kill => node.end(Signal::KILL),
        NodeFault::Down => {
            node.end(Signal::KILL);
            thread::sleep(pause);
        }
        NodeFault::Freeze => {
            node.signal(Signal::STOP);
            thread::sleep(pause);
        }
        NodeFault::CutOff => {
            node.cut_off()?;
            thread::sleep(pause);
        }
        NodeFault::DiskFull => {
            node.fill_disk()?;
            thread::sleep(pause);
        }
        NodeFault::ClockJump(seconds) => {
            node.set_clock(seconds)?;
            thread::sleep(pause);
        }
    }
    node.heal()
}

/// Lets something go wrong with etcd until the run is over. Its members live in `places`.
pub(super) fn trouble_store(
    etcd: &mut Etcd,
    places: &[Place],
    shared: &Shared,
    faults: &Faults,
    mut choices: Choices,
) -> io::Result<()> {
    while rest(shared, choices.pause(300, 1500)) {
        let fault = StoreFault::choose(&mut choices, places.len());
        faults.note(shared, &fault, "etcd");
        let pause = choices.pause(300, 3000);
        match fault {
            StoreFault::Kill(nth) => {
                etcd.kill(nth);
                thread::sleep(pause);
                etcd.restart(nth).map_err(io::Error::other)?;
            }
            StoreFault::Freeze(nth) => {
                etcd.stop(nth);
                thread::sleep(pause);
                etcd.cont(nth);
            }
            StoreFault::Partition(nth) => {
                cut_off(&places[nth].0)?;
                thread::sleep(pause);
                rejoin(&places[nth].0);
            }
            StoreFault::Outage => {
                (0..places.len()).for_each(|nth| etcd.stop(nth));
                thread::sleep(pause);
                (0..places.len()).for_each(|nth| etcd.cont(nth));
            }
        }
    }
    Ok(())
}

/// Waits; false if the run is over.
fn rest(shared: &Shared, pause: Duration) -> bool {
    thread::sleep(pause);
    !shared.is_over()
}
