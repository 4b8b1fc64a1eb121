//! One function for each thing that can be asked.

use std::net::IpAddr;

use bulkhead_ipam::wire::admin::{
    CheckReport, Filter, History, ListedBlock, ListedDead, ListedEndpoint, ListedLease, ListedNode,
    ListedOverlay, ListedPool, ListedReservation, LostReport, MigrateReport, ReloadReport,
    RepairReport, Reply, Request, RestoreReport, Status,
};

use super::Daemon;
use crate::failure::Failure;

/// A list: the request is made of a filter, the replies have its rows.
macro_rules! lists {
    ($($(#[$doc:meta])* $name:ident: $request:ident -> $row:ty;)*) => {$(
        $(#[$doc])*
        pub(crate) fn $name(&self, filter: &Filter) -> Result<Vec<$row>, Failure> {
            let request = Request::$request {
                filter: filter.clone(),
            };
            self.all(&request, |reply| match reply {
                Reply::$request { rows } => Some(rows),
                _ => None,
            })
        }
    )*};
}

/// An answer that is one value.
macro_rules! answers {
    ($($(#[$doc:meta])* $name:ident: $reply:ident -> $value:ty;)*) => {$(
        $(#[$doc])*
        pub(crate) fn $name(&self, request: &Request) -> Result<$value, Failure> {
            self.one(request, |reply| match reply {
                Reply::$reply(value) => Some(value),
                _ => None,
            })
        }
    )*};
}

impl Daemon {
    lists! {
        nodes: Nodes -> ListedNode;
        pools: Pools -> ListedPool;
        blocks: Blocks -> ListedBlock;
        leases: Leases -> ListedLease;
        reservations: Reservations -> ListedReservation;
        endpoints: Endpoints -> ListedEndpoint;
        overlay_parts: Overlays -> ListedOverlay;
    }

    /// The networks that nodes have together, each once.
    pub(crate) fn overlays(&self, filter: &Filter) -> Result<Vec<ListedOverlay>, Failure> {
        let mut all: Vec<ListedOverlay> = Vec::new();
        for part in self.overlay_parts(filter)? {
            match all.last_mut() {
                Some(last) if last.network == part.network => last.ends.extend(part.ends),
                _ => all.push(part),
            }
        }
        Ok(all)
    }

    answers! {
        lost: Lost -> LostReport;
        repaired: Repair -> RepairReport;
        restored: Restored -> RestoreReport;
        migrated: Migrated -> MigrateReport;
        reloaded: Reloaded -> ReloadReport;
    }

    pub(crate) fn status(&self) -> Result<Status, Failure> {
        self.one(&Request::Status, |reply| match reply {
            Reply::Status(status) => Some(*status),
            _ => None,
        })
    }

    /// The lines that would mend what the node has of a network.
    pub(crate) fn overlay_differs(&self, network: &str) -> Result<Vec<String>, Failure> {
        let network = network.to_owned();
        self.one(&Request::OverlayDiffers { network }, |reply| match reply {
            Reply::OverlayDiffers { lines } => Some(lines),
            _ => None,
        })
    }

    /// Does something that has no answer but what the operator should know.
    pub(crate) fn done(&self, request: &Request) -> Result<Vec<String>, Failure> {
        self.one(request, |reply| match reply {
            Reply::Done { notes } => Some(notes),
            _ => None,
        })
    }

    /// Of each pool that has the address.
    pub(crate) fn who(&self, address: IpAddr) -> Result<Vec<History>, Failure> {
        let pages = self.all(&Request::Who { address }, |reply| match reply {
            Reply::History(page) => Some(vec![*page]),
            _ => None,
        })?;
        let mut all: Vec<History> = Vec::new();
        for page in pages {
            match all.last_mut().filter(|last| last.pool == page.pool) {
                Some(last) => last.changes.extend(page.changes),
                None => all.push(page),
            }
        }
        if all.is_empty() {
            return Err(self.unknown().into());
        }
        Ok(all)
    }

    /// All pages, as one report.
    pub(crate) fn check(&self, filter: &Filter) -> Result<CheckReport, Failure> {
        let request = Request::Check {
            filter: filter.clone(),
        };
        let pages = self.all(&request, |reply| match reply {
            Reply::Check(page) => Some(vec![page]),
            _ => None,
        })?;
        // Each page counts what was compared so far.
        let joined = pages.into_iter().reduce(|before, page| CheckReport {
            violations: [before.violations, page.violations].concat(),
            unread: [before.unread, page.unread].concat(),
            ..page
        });
        joined.ok_or_else(|| self.unknown().into())
    }

    pub(crate) fn gc(&self, filter: &Filter, dry_run: bool) -> Result<Vec<ListedDead>, Failure> {
        let request = Request::Gc {
            dry_run,
            filter: filter.clone(),
        };
        self.all(&request, |reply| match reply {
            Reply::Gc { rows } => Some(rows),
            _ => None,
        })
    }
}
