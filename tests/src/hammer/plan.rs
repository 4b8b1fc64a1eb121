//! What a run does, decided by its seed: the same seed makes the same choices in the same order,
//! however the machine's threads fall.

use std::time::Duration;

/// What a run is.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where every choice comes from.
    pub seed: u64,
    /// How long workers and faults go on; healing and checking come after it.
    pub duration: Duration,
    /// Daemons, each in a host namespace of its own.
    pub nodes: usize,
    /// Workers of each node, each a runtime that makes one call at a time.
    pub workers: usize,
    /// Network namespaces of each worker.
    pub namespaces: usize,
    /// Members of etcd.
    pub members: usize,
}

impl Plan {
    /// The run of `make soak`: five daemons with eight workers each over three members.
    #[must_use]
    pub const fn new(seed: u64, duration: Duration) -> Self {
        Self {
            seed,
            duration,
            nodes: 5,
            workers: 8,
            namespaces: 3,
            members: 3,
        }
    }
}

/// Choices in a row (`xorshift64*`, Vigna 2016): good enough to reach everywhere, and no dependency.
#[derive(Clone, Debug)]
pub(super) struct Choices(u64);

impl Choices {
    /// Those of one actor of a run; actors have rows of their own.
    #[must_use]
    pub(super) fn of(seed: u64, actor: u64) -> Self {
        // Splitmix64's finaliser: neighbouring seeds and actors share nothing.
        let mut z = seed ^ actor.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self((z ^ (z >> 31)) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`, which is not 0.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).expect("it is below a usize")
    }

    /// True `percent` times of a hundred.
    pub(super) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// From `least` to `most` milliseconds.
    pub(super) fn pause(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(least + self.next() % (most - least + 1))
    }
}

/// What goes wrong on a node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum NodeFault {
    /// SIGTERM, and started again.
    Restart,
    /// SIGKILL, and started again.
    Kill,
    /// SIGKILL, and started again after the pause.
    Down,
    /// SIGSTOP, and SIGCONT after the pause.
    Freeze,
    /// Its packets to and from every member of etcd are dropped.
    CutOff,
    /// Its state directory's filesystem is full.
    DiskFull,
    /// Its wall clock jumps by so many seconds, and back after the pause.
    ClockJump(i32),
}

impl NodeFault {
    /// One of them.
    pub(super) fn choose(choices: &mut Choices) -> Self {
        match choices.below(8) {
            0 => Self::Restart,
            1 | 2 => Self::Kill,
            3 => Self::Down,
            4 => Self::Freeze,
            5 => Self::CutOff,
            6 => Self::DiskFull,
            _ => {
                let jumps = [-86_400, -60, 90, 7_200];
                Self::ClockJump(jumps[choices.below(jumps.len())])
            }
        }
    }
}

/// What goes wrong with etcd.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum StoreFault {
    /// SIGKILL of a member, which is started again after the pause.
    Kill(usize),
    /// SIGSTOP of a member.
    Freeze(usize),
    /// A member's packets are dropped, to its peers and to clients.
    Partition(usize),
    /// Every member is frozen: a full outage.
    Outage,
}

impl StoreFault {
    /// One of them.
    pub(super) fn choose(choices: &mut Choices, members: usize) -> Self {
        let member = choices.below(members);
        match choices.below(7) {
            0 | 1 => Self::Kill(member),
            2 | 3 => Self::Freeze(member),
            4 | 5 => Self::Partition(member),
            _ => Self::Outage,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_the_same_choices_again_and_actors_make_others() {
        let row = |seed, actor| {
            let mut choices = Choices::of(seed, actor);
            (0..8).map(|_| choices.below(1000)).collect::<Vec<_>>()
        };
        assert_eq!(row(7, 1), row(7, 1));
        assert_ne!(row(7, 1), row(7, 2));
        assert_ne!(row(7, 1), row(8, 1));
    }

    #[test]
    fn every_fault_comes_up() {
        let mut choices = Choices::of(1, 0);
        let nodes: Vec<_> = (0..400).map(|_| NodeFault::choose(&mut choices)).collect();
        for fault in [
            NodeFault::Restart,
            NodeFault::Kill,
            NodeFault::Down,
            NodeFault::Freeze,
            NodeFault::CutOff,
            NodeFault::DiskFull,
        ] {
            assert!(nodes.contains(&fault), "{fault:?}");
        }
        assert!(
            nodes
                .iter()
                .any(|f| matches!(f, NodeFault::ClockJump(s) if *s < 0))
        );
        let stores: Vec<_> = (0..100)
            .map(|_| StoreFault::choose(&mut choices, 3))
            .collect();
        assert!(stores.contains(&StoreFault::Outage));
        assert!(stores.contains(&StoreFault::Partition(2)));
    }
}
