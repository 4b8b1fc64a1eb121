//! Beginning to use blocks that have just become this node's: what is kept and published in them is read
//! first, and the file says that they are this node's before an ordinal of them is given out.

use super::Ledger;
use super::holdings::Holdings;
use super::lane::{Answer, Call, Fault, Flow};
use super::recast::FoundBlock;
use crate::boot::Now;
use crate::cluster::geometry::Block;
use crate::cluster::kv::Listing;
use crate::cluster::name::PoolName;

/// Blocks are being taken in.
#[derive(Clone, Debug)]
pub(super) struct Adopt {
    found: Vec<FoundBlock>,
    step: Step,
}

#[derive(Clone, Debug)]
enum Step {
    Read,
    /// What will be this node's memory of them once the file has them.
    Save {
        rows: Vec<Listing>,
    },
}

impl Adopt {
    /// Takes in blocks whose rows are this node's.
    pub(super) fn begin(ledger: &Ledger, found: Vec<FoundBlock>) -> Flow {
        let places = places(&found);
        let ranges = places.iter().flat_map(|(pool, block)| {
            ["leases", "kept"].map(|kind| ledger.schema.within(kind, pool, *block))
        });
        let call = Call::Read(ranges.collect());
        let step = Step::Read;
        Flow::then(Self { found, step }, call)
    }

    pub(super) fn answered(self, ledger: &mut Ledger, answer: Answer, now: Now) -> Flow {
        match self.step {
            Step::Read => {
                let rows = answer.rows();
                let call = ledger.save_with(&self.found);
                let step = Step::Save { rows };
                Flow::then(Self { step, ..self }, call)
            }
            Step::Save { rows } => {
                let places = places(&self.found);
                ledger.take_in(self.found);
                ledger.compare_contents(&places, &rows, now);
                ledger.take_all_wanted();
                Flow::End
            }
        }
    }

    /// What was claimed is in the file until it is found; what was ceded is asked for again.
    #[allow(clippy::unused_self)] // as every job
    pub(super) fn interrupted(self, _: &mut Ledger, _: Fault, _: Now) {}
}

impl Ledger {
    fn take_in(&mut self, found: Vec<FoundBlock>) {
        for found in found {
            let (pool, block) = (&found.pool, found.block);
            self.claiming
                .retain(|one| one.pool != *pool || one.block.0 != block);
            // A comparison may have found it first.
            if self.own.overlaps(pool, block) || !self.pools.contains_key(pool) {
                continue;
            }
            let own = self.own_block(&found, &Holdings::default());
            self.own.insert(pool, own);
        }
    }
}

fn places(found: &[FoundBlock]) -> Vec<(PoolName, Block)> {
    let all = found.iter();
    all.map(|one| (one.pool.clone(), one.block)).collect()
}
