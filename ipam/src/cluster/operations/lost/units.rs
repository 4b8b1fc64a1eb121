//! What is to be done about each row of a lost node. Pure.

use super::{Fenced, LostReport};
use crate::cluster::kv::{KeyRange, Row, Write};
use crate::cluster::name::PoolName;
use crate::cluster::operations::Operator;
use crate::cluster::schema::{
    Answer, AppliedRow, AskRow, AuditPlace, AuditRow, EndpointRow, Happened, LeaseRow, LiveRow,
    Place, RowError, Schema, StickyRow, VtepRow, encode,
};

/// A kind of rows that a node leaves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Leases,
    Sticky,
    Asks,
    Blocks,
    Vteps,
    Endpoints,
    Applied,
    Live,
}

/// A row to be changed, and what is written beside.
#[derive(Clone, Debug)]
pub(super) struct Unit {
    pub(super) row: Write,
    pub(super) audit: Option<Write>,
}

/// What the rows are judged by.
pub(super) struct Judge<'a> {
    pub(super) schema: &'a Schema,
    pub(super) operator: &'a Operator,
    pub(super) fenced: &'a Fenced,
    pub(super) statement: &'a str,
}

impl Kind {
    pub(super) const IN_ORDER: [Self; 8] = [
        Self::Leases,
        Self::Sticky,
        Self::Asks,
        Self::Blocks,
        Self::Vteps,
        Self::Endpoints,
        Self::Applied,
        Self::Live,
    ];

    pub(super) const fn done(self) -> &'static str {
        match self {
            Self::Leases => "leases ended",
            Self::Sticky => "names freed",
            Self::Asks => "asks settled",
            Self::Blocks => "blocks given up",
            Self::Vteps => "ends of overlays removed",
            Self::Endpoints => "endpoints removed",
            Self::Applied => "reports of what is enforced removed",
            Self::Live => "signs of life removed",
        }
    }

    pub(super) fn range(self, schema: &Schema, fenced: &Fenced) -> KeyRange {
        match self {
            Self::Leases => schema.kind("leases"),
            Self::Sticky => schema.kind("sticky"),
            Self::Asks => schema.kind("asks"),
            Self::Blocks => schema.kind("blocks"),
            Self::Vteps => schema.kind("vteps"),
            Self::Endpoints => schema.kind("endpoints"),
            Self::Applied => KeyRange::one(&schema.key(&Place::Applied(fenced.node.clone()))),
            Self::Live => KeyRange::one(&schema.key(&Place::Live(fenced.node.clone()))),
        }
    }

    pub(super) fn counted(self, report: &mut LostReport) -> Option<&mut u64> {
        match self {
            Self::Leases => Some(&mut report.leases),
            Self::Sticky => Some(&mut report.sticky),
            Self::Asks => Some(&mut report.asks),
            Self::Blocks => Some(&mut report.blocks),
            Self::Vteps | Self::Endpoints | Self::Applied | Self::Live => None,
        }
    }
}

impl Judge<'_> {
    /// What is done about a row, if it is of the lost node; `nth` tells its audit row from others.
    pub(super) fn unit(&self, kind: Kind, row: &Row, nth: u64) -> Result<Option<Unit>, RowError> {
        match kind {
            Kind::Leases => self.lease(row, nth),
            Kind::Sticky => self.sticky(row),
            Kind::Asks => self.ask(row),
            Kind::Blocks => self.block(row, nth),
            Kind::Vteps => self.vtep(row),
            Kind::Endpoints => self.endpoint(row),
            Kind::Applied => {
                let (_, _) = self.schema.read::<AppliedRow>(row)?;
                Ok(Some(Unit::deletion(row)))
            }
            Kind::Live => {
                let (_, _) = self.schema.read::<LiveRow>(row)?;
                Ok(Some(Unit::deletion(row)))
            }
        }
    }

    fn lease(&self, row: &Row, nth: u64) -> Result<Option<Unit>, RowError> {
        let (place, lease) = self.schema.read::<LeaseRow>(row)?;
        let Place::Lease { pool, ordinal } = place else {
            unreachable!("a lease's row stands at a lease's place");
        };
        if lease.node != self.fenced.node {
            return Ok(None);
        }
        let audit = AuditRow {
            attachment: Some(lease.attachment),
            sequence: Some(lease.sequence),
            pod: lease.pod,
            since_unix_ms: Some(lease.since_unix_ms),
            ..self.audit()
        };
        let place = self.audit_place(pool, ordinal, nth);
        Ok(Some(Unit::audited(row, self.schema, place, &audit)))
    }

    fn block(&self, row: &Row, nth: u64) -> Result<Option<Unit>, RowError> {
        let (pool, block, value) = self.schema.read_block(row)?;
        if value.node != self.fenced.node {
            return Ok(None);
        }
        let audit = AuditRow {
            bits: Some(block.bits()),
            ..self.audit()
        };
        let place = self.audit_place(pool, block.first(), nth);
        Ok(Some(Unit::audited(row, self.schema, place, &audit)))
    }

    fn vtep(&self, row: &Row) -> Result<Option<Unit>, RowError> {
        let (place, _) = self.schema.read::<VtepRow>(row)?;
        let its = matches!(place, Place::Vtep { node, .. } if node == self.fenced.node);
        Ok(its.then(|| Unit::deletion(row)))
    }

    fn endpoint(&self, row: &Row) -> Result<Option<Unit>, RowError> {
        let (place, _) = self.schema.read::<EndpointRow>(row)?;
        let its = matches!(place, Place::Endpoint { node, .. } if node == self.fenced.node);
        Ok(its.then(|| Unit::deletion(row)))
    }

    fn sticky(&self, row: &Row) -> Result<Option<Unit>, RowError> {
        let (_, sticky) = self.schema.read::<StickyRow>(row)?;
        let holder = sticky.holder.as_ref();
        if holder.is_none_or(|holder| holder.node != self.fenced.node) {
            return Ok(None);
        }
        let freed = StickyRow {
            holder: None,
            attempt: self.operator.attempt.clone(),
            changed_at_unix_ms: self.operator.at_unix_ms,
            ..sticky
        };
        Ok(Some(Unit {
            row: Write::Put(row.key.clone(), encode(&freed)),
            audit: None,
        }))
    }

    fn ask(&self, row: &Row) -> Result<Option<Unit>, RowError> {
        let (place, ask) = self.schema.read::<AskRow>(row)?;
        let Place::Ask(place) = place else {
            unreachable!("an ask's row stands at an ask's place");
        };
        let node = &self.fenced.node;
        if place.asker == *node {
            return Ok(Some(Unit::deletion(row)));
        }
        if place.owner != *node || ask.answer.is_some() {
            return Ok(None);
        }
        // Whoever asked a dead node need not wait for it.
        let answered = AskRow {
            answer: Some(Answer::Refused {
                reason: format!("{} was declared lost", self.fenced.name),
            }),
            ..ask
        };
        Ok(Some(Unit {
            row: Write::Put(row.key.clone(), encode(&answered)),
            audit: None,
        }))
    }

    fn audit(&self) -> AuditRow {
        AuditRow {
            at_unix_ms: self.operator.at_unix_ms,
            what: Happened::Lost,
            node: self.fenced.node.clone(),
            reason: format!("declared lost by {}: {}", self.operator.by, self.statement),
            bits: None,
            attachment: None,
            sequence: None,
            pod: None,
            since_unix_ms: None,
        }
    }

    fn audit_place(&self, pool: PoolName, ordinal: u64, nth: u64) -> AuditPlace {
        AuditPlace {
            pool,
            ordinal,
            at_unix_ms: self.operator.at_unix_ms,
            writer: self.operator.writer.short().to_owned(),
            nth,
        }
    }
}

impl Unit {
    fn deletion(row: &Row) -> Self {
        Self {
            row: Write::Delete(row.key.clone()),
            audit: None,
        }
    }

    fn audited(row: &Row, schema: &Schema, place: AuditPlace, audit: &AuditRow) -> Self {
        let key = schema.key(&Place::Audit(place));
        Self {
            row: Write::Delete(row.key.clone()),
            audit: Some(Write::Put(key, encode(audit))),
        }
    }
}
