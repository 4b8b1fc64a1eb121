//! Operations that go together: one send, or one deletion, for all of them.

use bulkhead_model::IfName;
use bulkhead_plan::{Flow, Ns};
use rustix::io::Errno;

use crate::apply::in_space;
use crate::conntrack;
use crate::deletion::{self, Deletion};
use crate::error::{NetlinkError, OpError, Refusal};
use crate::links::RawLink;
use crate::place::{Place, PlaceError};
use crate::request::{Deletes, deletes};

/// Where in the plan an operation did not happen, and why.
pub(crate) type Failure = (usize, OpError);

/// Operations on one namespace not yet done, each with its place in the plan.
pub(crate) enum Pending {
    /// Rtnetlink requests.
    Requests(Vec<(usize, Vec<u8>)>),
    /// Requests about `IPsec`.
    Ipsec(Vec<(usize, Vec<u8>)>),
    /// Links to be deleted.
    Links(Vec<(usize, Doomed)>),
    /// Flows to be forgotten.
    Flows(Vec<(usize, Flow)>),
}

/// What became of them.
#[derive(Default)]
pub(crate) struct Done {
    /// Whether a child holds the nfnetlink socket now.
    pub(crate) held: bool,
    /// Links that were created, as far as the kernel shows them at once.
    pub(crate) created: Vec<RawLink>,
}

/// A link to be deleted.
pub(crate) struct Doomed {
    pub(crate) name: IfName,
    pub(crate) index: u32,
}

impl Default for Pending {
    fn default() -> Self {
        Self::Requests(Vec::new())
    }
}

impl Pending {
    /// The first one's place in the plan.
    pub(crate) fn first(&self) -> Option<usize> {
        match self {
            Self::Requests(some) | Self::Ipsec(some) => some.first().map(|(nth, _)| *nth),
            Self::Links(some) => some.first().map(|(nth, _)| *nth),
            Self::Flows(some) => some.first().map(|(nth, _)| *nth),
        }
    }

    /// Does them.
    pub(crate) fn run(
        self,
        place: &mut Place,
        at: &Ns,
        policy: &Deletion,
    ) -> Result<Done, Failure> {
        let first = self.first().unwrap_or_default();
        let unsent = |error: PlaceError| (first, in_space(at, error));
        match self {
            Self::Requests(requests) => {
                let (ops, requests): (Vec<_>, Vec<_>) = requests.into_iter().unzip();
                let mut created = Vec::new();
                let answers = place.route().and_then(|socket| {
                    Ok(socket.batch_with(&requests, |link| {
                        created.extend(RawLink::decode(&link.body));
                    })?)
                });
                let mut answers = answers.map_err(unsent)?;
                for (request, answer) in requests.iter().zip(&mut answers) {
                    forgive(request, answer);
                }
                accepted(ops, answers)?;
                Ok(Done {
                    created,
                    ..Done::default()
                })
            }
            Self::Ipsec(requests) => {
                let (ops, requests): (Vec<_>, Vec<_>) = requests.into_iter().unzip();
                let answers = place.xfrm().and_then(|socket| Ok(socket.batch(&requests)?));
                accepted(ops, answers.map_err(unsent)?)?;
                Ok(Done::default())
            }
            Self::Flows(flows) => {
                let (ops, flows): (Vec<_>, Vec<_>) = flows.into_iter().unzip();
                let answers = place
                    .netfilter()
                    .and_then(|socket| Ok(conntrack::delete(socket, &flows)?));
                accepted(ops, answers.map_err(unsent)?)?;
                Ok(Done::default())
            }
            Self::Links(links) => delete(place, at, links, policy),
        }
    }
}

/// What the kernel has forgotten by itself is forgotten: a bridge that loses its last port loses its
/// carrier, and with it every neighbour it learned (`neigh_carrier_down`, `net/core/neighbour.c`); a
/// route goes with its link.
fn forgive(request: &[u8], answer: &mut Result<(), Refusal>) {
    let Err(refusal) = answer else { return };
    let is_gone = match refusal.errno {
        Errno::NOENT => deletes(request) == Some(Deletes::Neighbour),
        Errno::SRCH => deletes(request) == Some(Deletes::Route),
        _ => false,
    };
    if is_gone {
        *answer = Ok(());
    }
}

/// The kernel works on all of a batch, so the first refusal is the one to report.
fn accepted(ops: Vec<usize>, answers: Vec<Result<(), Refusal>>) -> Result<(), Failure> {
    for (nth, answer) in ops.into_iter().zip(answers) {
        answer.map_err(|refusal| (nth, NetlinkError::from(refusal).into()))?;
    }
    Ok(())
}

fn delete(
    place: &mut Place,
    at: &Ns,
    links: Vec<(usize, Doomed)>,
    policy: &Deletion,
) -> Result<Done, Failure> {
    let (ops, links): (Vec<_>, Vec<_>) = links.into_iter().unzip();
    let held = deletion::delete(place, at, &links, policy).map_err(|(index, error)| {
        let refused = links.iter().position(|link| link.index == index);
        (refused.map_or(0, |at| ops[at]), error)
    })?;
    for link in &links {
        place.indexes.remove(&link.name);
    }
    Ok(Done {
        held,
        ..Done::default()
    })
}
