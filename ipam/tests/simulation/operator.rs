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

    fn declare(&mut self, node: usize) {
        let id = self.nodes[node].id.clone();
        match self.operate(|operator| operator.declare_lost(&id, "it burnt")) {
            Ok(lost) => {
                self.lost.push(Some((node, lost)));
                let operator = self.lost.len() - 1;
                self.at(self.now_ms + 20, Event::Lost { operator });
            }
            // It never registered.
            Err(_) => self.switch_on(node),
        }
    }

    /// The next step of a statement; some are interrupted, and made again from the beginning.
    pub(crate) fn go_on_with_lost(&mut self, operator: usize) {
        let Some((node, mut lost)) = self.lost[operator].take() else {
            return;
        };
        if self.random.per_mille(50) {
            self.declare(node);
            return;
        }
        match self.operate(|by| by.give_up_some(&mut lost)) {
            Ok(true) => {
                self.lost[operator] = Some((node, lost));
                let after = self.random.between(1, 60);
                self.at(self.now_ms + after, Event::Lost { operator });
            }
            Ok(false) => self.switch_on(node),
            Err(error) => panic!("node {node} was declared lost: {error}"),
        }
    }

    fn switch_on(&mut self, node: usize) {
        self.nodes[node].fortune = Fortune::Returning;
        let after = self.random.between(100, 30_000);
        self.at(self.now_ms + after, Event::Start { node });
    }
}
