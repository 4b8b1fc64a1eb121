//! An operator who declares nodes lost. What he says is true: the machine is off, and when it is on
//! again, it looks at the store before it does anything. (A statement about a node that goes on
//! elsewhere, cut off from the store, can be made true by nobody.)

use bulkhead_ipam::cluster::operations::LostError;

use crate::node::Fortune;
use crate::world::{Event, World};

impl World {
    /// A node's machine is switched off, and the node is declared lost.
    pub(crate) fn lose(&mut self, node: usize) {
        if self.nodes[node].fortune == Fortune::Lost || self.nodes[node].life == 0 {
            return;
        }
        self.happen_now(Event::Die {
            node,
            reboots: true,
        });
        self.nodes[node].fortune = Fortune::Lost;
        self.books.switched_off(node);
        self.at(self.now_ms, Event::Lost { node });
    }

    /// Says that a node is lost, and says it again until that is done: each time the store goes away
    /// after a few transactions, so that everything else happens in between.
    pub(crate) fn declare(&mut self, node: usize) {
        let id = self.nodes[node].id.clone();
        let transactions = self.random.between(1, 4);
        let stated = self.operate(transactions, |operations, by| {
            operations.node_lost(by, &id, "it burnt", &mut |_| ())
        });
        match stated {
            // It may never have registered: there is nothing to give up then.
            Ok(_) | Err(LostError::Missing { .. }) => self.switch_on(node),
            Err(_) => {
                let after = self.random.between(1, 200);
                self.at(self.now_ms + after, Event::Lost { node });
            }
        }
    }

    fn switch_on(&mut self, node: usize) {
        self.nodes[node].fortune = Fortune::Returning;
        let after = self.random.between(100, 30_000);
        self.at(self.now_ms + after, Event::Start { node });
    }
}
