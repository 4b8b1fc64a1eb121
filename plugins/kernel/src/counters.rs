//! What the tables of a namespace have counted, for a person or a metric: nothing is decided by it.

use bulkhead_nft::observe as ask;
use bulkhead_nft::{Count, Key, Name, TableId};
use bulkhead_plan::Ns;

use crate::error::ObserveError;
use crate::nftables::set_kind;
use crate::place::Kernel;

impl Kernel {
    /// What each element of a set has counted; elements without a counter, as those of a meter, are not
    /// among them. Empty if there is no such set, or no such namespace any more.
    ///
    /// # Errors
    /// As [`Kernel::observe`].
    pub fn tallies(
        &mut self,
        ns: &Ns,
        table: &TableId,
        set: &Name,
    ) -> Result<Vec<(Key, Count)>, ObserveError> {
        if !self.finds(ns)? {
            return Ok(Vec::new());
        }
        self.surveyed_in(ns, "tallies", |place| {
            let socket = place.netfilter()?;
            let Some(kind) = set_kind(socket, table, set)? else {
                return Ok(Vec::new());
            };
            let messages = socket.list(&ask::elements_request(table, set, 0))?;
            let tallies = messages
                .iter()
                .filter_map(|message| ask::decode_tallies(&message.body, &kind.key));
            Ok(tallies.flatten().collect())
        })
    }

    /// What the first counter of each rule of a chain has seen, in order; `None` for a rule without a
    /// counter. Empty if there is no such chain, or no such namespace any more.
    ///
    /// # Errors
    /// As [`Kernel::observe`].
    pub fn rule_counts(
        &mut self,
        ns: &Ns,
        table: &TableId,
        chain: &Name,
    ) -> Result<Vec<Option<Count>>, ObserveError> {
        if !self.finds(ns)? {
            return Ok(Vec::new());
        }
        self.surveyed_in(ns, "counters", |place| {
            let request = ask::chain_rules_request(table, chain, 0);
            let rules = place.netfilter()?.list(&request)?;
            Ok(rules
                .iter()
                .map(|rule| ask::decode_count(&rule.body))
                .collect())
        })
    }
}
