//! Addresses that are kept for somebody, or for nobody.

use bulkhead_ipam::Span;
use bulkhead_ipam::cluster::operations::{ReservationDraft, ReservationListed};
use bulkhead_ipam::cluster::schema::{Beneficiary, LabelSelector};
use bulkhead_ipam::wire::admin::{
    Filter, ListedReservation, PodName, Reply, RequestError, Reservation, ReservedFor,
};

use super::page::paged;
use super::refusal::{invalid, no_name, refused, unanswered};
use super::spec::spans;
use crate::admin::{Admin, Replies};

impl Admin {
    pub(super) fn reservations(
        &self,
        filter: &Filter,
        replies: &Replies,
    ) -> Result<Reply, RequestError> {
        let listed = self.operations().reservations(&self.filter(filter)?);
        let listed = listed.map_err(unanswered)?;
        self.left_out(&listed.unread);
        let rows = listed.rows.into_iter().map(row);
        Ok(paged(rows, replies, |rows| Reply::Reservations { rows }))
    }

    pub(super) fn reserve(&self, reservation: &Reservation) -> Result<Reply, RequestError> {
        let name = reservation.name.parse().map_err(no_name)?;
        let pool = reservation.pool.as_deref().map(str::parse).transpose();
        let draft = ReservationDraft {
            pool: pool.map_err(no_name)?,
            spans: spans(&reservation.spans)?,
            beneficiary: reservation.kept_for.as_ref().map(whom).transpose()?,
            reason: reservation.reason.clone(),
        };
        let notes = self.operations().reserve(&self.somebody(), &name, &draft);
        let notes = notes.map_err(|error| refused(error.reason(), &error))?;
        Ok(Reply::Done { notes })
    }

    pub(super) fn unreserve(&self, name: &str) -> Result<Reply, RequestError> {
        let name = name.parse().map_err(no_name)?;
        let ended = self.operations().unreserve(&self.somebody(), &name);
        ended.map_err(|error| refused(error.reason(), &error))?;
        Ok(Reply::Done { notes: Vec::new() })
    }
}

fn whom(whom: &ReservedFor) -> Result<Beneficiary, RequestError> {
    Ok(match whom {
        ReservedFor::Pod(PodName { namespace, name }) => Beneficiary::Pod {
            namespace: namespace.clone(),
            name: name.clone(),
        },
        ReservedFor::Labels(labels) => {
            Beneficiary::Labels(LabelSelector::of(labels).map_err(|error| invalid(&error))?)
        }
    })
}

fn row(listed: ReservationListed) -> ListedReservation {
    let kept_for = listed.row.beneficiary.map(|whom| match whom {
        Beneficiary::Pod { namespace, name } => ReservedFor::Pod(PodName { namespace, name }),
        Beneficiary::Labels(selector) => ReservedFor::Labels(selector.demanded()),
    });
    ListedReservation {
        reservation: Reservation {
            name: listed.name.to_string(),
            pool: listed.pool.map(|pool| pool.to_string()),
            spans: listed.row.spans.iter().map(Span::to_string).collect(),
            kept_for,
            reason: listed.row.reason,
        },
        size: listed.size,
        held: listed.held,
    }
}
