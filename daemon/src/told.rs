//! Errors as they are told: with all their causes, once.

use std::error::Error;

use bulkhead_cni::{CniError, Code};

/// The text and all its causes, joined by `: `.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// What the state directory refused.
pub(crate) fn failure(error: impl Error) -> CniError {
    CniError::from_chain(Code::IO_FAILURE, &error)
}
