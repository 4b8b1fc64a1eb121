//! Errors of the cluster's operations, as an operator's request is refused.

use std::error::Error;

use bulkhead_ipam::cluster::operations::{Reason as Why, StoreTrouble};
use bulkhead_ipam::cluster::{KvError, NameError};
use bulkhead_ipam::wire::admin::{Reason, RequestError};

/// Something is refused for a reason that its error knows.
pub(in crate::admin) fn refused(why: Why, error: &dyn Error) -> RequestError {
    let code = match why {
        Why::NotFound => Reason::NotFound,
        Why::Ambiguous => Reason::Ambiguous,
        Why::Invalid => Reason::Invalid,
        Why::Conflict => Reason::Conflict,
        Why::Unavailable => Reason::Unavailable,
        Why::Denied => Reason::Denied,
        Why::Failed => Reason::Failed,
    };
    RequestError {
        code,
        text: crate::told::chain(error),
    }
}

/// The store gave no answer.
#[allow(clippy::needless_pass_by_value)] // for `map_err`
pub(in crate::admin) fn unanswered(error: KvError) -> RequestError {
    let trouble = StoreTrouble::from(error);
    refused(trouble.reason(), &trouble)
}

/// A request that contradicts itself.
pub(in crate::admin) fn invalid(error: &dyn Error) -> RequestError {
    refused(Why::Invalid, error)
}

/// A name that is none.
#[allow(clippy::needless_pass_by_value)] // for `map_err`
pub(in crate::admin) fn no_name(error: NameError) -> RequestError {
    invalid(&error)
}

/// A refusal with a text of its own.
pub(in crate::admin) fn because(code: Reason, text: impl Into<String>) -> RequestError {
    let text = text.into();
    RequestError { code, text }
}
