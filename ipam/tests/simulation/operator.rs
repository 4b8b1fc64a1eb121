//! An operator who declares nodes lost. What he says is true: the machine is off, and when it is on
//! again, it looks at the store before it does anything. (A statement about a node that goes on
//! elsewhere, cut off from the store, can be made true by nobody.)

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
        self.declare(node);
    }

    /// Says that a node is lost. Some statements are made again, as by somebody who did not see the
    /// answer.
    pub(crate) fn declare(&mut self, node: usize) {
        let id = self.nodes[node].id.clone();
        let stated =
            self.operate(|operations, by| operations.node_lost(by, &id, "it burnt", &mut |_| ()));
        if stated.is_ok() && self.random.per_mille(50) {
            let after = self.random.between(1, 60);
            self.at(self.now_ms + after, Event::Lost { node });
            return;
        }
        // It may never have registered: there is nothing to give up then.
        self.switch_on(node);
    }

    fn switch_on(&mut self, node: usize) {
        self.nodes[node].fortune = Fortune::Returning;
        let after = self.random.between(100, 30_000);
        self.at(self.now_ms + after, Event::Start { node });
    }
}
