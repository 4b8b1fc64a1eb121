//! What has changed since when: the last changes one by one, and that there were more.

use bulkhead_policy::{Changes, EndpointId, PolicyId};

use super::Mirror;

/// Changes that are remembered one by one: whoever has missed more looks at everything.
const REMEMBERED: usize = 4 << 10;

/// Where knowledge stands.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Mark {
    /// The revision of the policies.
    pub(crate) policies: u64,
    /// Every change of endpoints up to this revision of the store is known; those up to a later one may be,
    /// if they were about nothing that is kept.
    pub(crate) store: u64,
    /// Rises with every change, of this node's own endpoints too.
    pub(crate) change: u64,
}

/// What has changed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Changed {
    /// Where knowledge stands now.
    pub(crate) mark: Mark,
    /// Networks have, or more than is remembered one by one.
    pub(crate) everything: bool,
    /// Else no more than this.
    pub(crate) changes: Changes,
}

/// One change.
#[derive(Clone, Debug)]
pub(in crate::identity) enum News {
    /// Somebody or something, nobody says who.
    Everything,
    Endpoint(EndpointId),
    Policy(PolicyId),
    Namespace(String),
    Nodes,
    /// A revision, nothing else.
    Revision,
}

impl Mirror {
    /// Whether something has changed since.
    pub(in crate::identity) const fn is_newer(&self, than: Mark) -> bool {
        self.mark.change > than.change
    }

    /// What has changed since.
    pub(in crate::identity) fn since(&self, mark: Mark) -> Changed {
        let first = self
            .log
            .front()
            .map_or(self.mark.change + 1, |(nth, _)| *nth);
        let mut changed = Changed {
            mark: self.mark,
            everything: first > mark.change + 1,
            changes: Changes::default(),
        };
        let news = self.log.iter().rev();
        for (_, what) in news.take_while(|(nth, _)| *nth > mark.change) {
            let all = &mut changed.changes;
            match what {
                News::Everything => changed.everything = true,
                News::Endpoint(id) => drop(all.endpoints.insert(id.clone())),
                News::Policy(id) => drop(all.policies.insert(id.clone())),
                News::Namespace(name) => drop(all.namespaces.insert(name.clone())),
                News::Nodes => all.nodes = true,
                News::Revision => {}
            }
        }
        changed
    }

    pub(super) fn note(&mut self, what: News) {
        self.mark.change += 1;
        self.mark.store = self.seen.0;
        self.log.push_back((self.mark.change, what));
        if self.log.len() > REMEMBERED {
            self.log.pop_front();
        }
    }
}
