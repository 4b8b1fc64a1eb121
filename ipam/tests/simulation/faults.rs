//! What goes wrong.

use bulkhead_ipam::cluster::ledger::PoolChoice;
use bulkhead_model::AttachmentKey;

use crate::node::Fortune;
use crate::world::{Event, Faults, World};

impl World {
    pub(crate) fn fault(&mut self) {
        if self.ending {
            return;
        }
        let pause = match self.faults {
            Faults::Many => 2_500,
            _ => 1_500,
        };
        self.soon(100, pause, Event::Fault);
        let node = self.random.index(self.nodes.len());
        let now = self.now_ms;
        match self.random.between(0, 100) {
            0..40 => self.kill(node, false),
            40..50 => self.kill(node, true),
            50..70 => {
                let for_ms = self.random.between(500, 40_000);
                self.at(now, Event::CutOff { node, for_ms });
            }
            70..71 => {
                let for_ms = self.random.between(500, 30_000);
                self.at(now, Event::Outage { for_ms });
            }
            71..78 => self.at(now, Event::Compact),
            78..88 => self.at(now, Event::Jump { node }),
            _ => self.lose(node),
        }
    }

    pub(crate) fn kill(&mut self, node: usize, reboots: bool) {
        if self.nodes[node].ledger.is_some() {
            self.at(self.now_ms, Event::Die { node, reboots });
            self.soon(10, 20_000, Event::Start { node });
        }
    }

    pub(crate) fn die(&mut self, node: usize, reboots: bool) {
        let replaced = self.random.per_mille(500);
        let granted = std::mem::take(&mut self.nodes[node].granted);
        for grant in granted.values() {
            // It was never durable: nobody has it.
            self.books.never_used(grant.ordinal, node);
        }
        self.nodes[node].die(replaced);
        if reboots {
            self.nodes[node].reboot(self.now_ms);
        }
    }

    pub(crate) fn start(&mut self, node: usize) {
        if self.nodes[node].ledger.is_some() || self.nodes[node].fortune == Fortune::Lost {
            return;
        }
        self.nodes[node].start(self.now_ms);
        let life = self.nodes[node].life;
        if let Some(ledger) = self.nodes[node].ledger.as_mut() {
            ledger.expect_pools(PoolChoice::Any);
        }
        self.wake(node, self.now_ms);
        self.soon(1_000, 5_000, Event::Upkeep { node, life });
        // A DEL that the process did not live to see the end of is asked for again; so is one of a
        // container that a reboot has ended.
        let gone: Vec<AttachmentKey> = self.nodes[node].gone().cloned().collect();
        for key in gone {
            self.soon(100, 10_000, Event::Delete { node, key });
        }
    }

    pub(crate) fn reconnect(&mut self, node: usize) {
        let one = &mut self.nodes[node];
        one.cut_off = false;
        if std::mem::take(&mut one.missed_news) {
            let life = one.life;
            self.soon(1, 100, Event::News { node, life });
        }
    }
}
