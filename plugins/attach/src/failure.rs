//! The one place where our errors become the specification's codes. Each prints its whole chain of
//! causes once.

use bulkhead_cni::json::FieldError;
use bulkhead_cni::{CniError, Code, ConvertError};
use bulkhead_ipam::{AcquireError, FileError, OpenError, Refusal, StoreError};
use bulkhead_kernel::{NetnsError, ObserveError};

use crate::converge::ConvergeError;

/// An error on its way to the runtime.
#[derive(Debug)]
pub(crate) struct Failure(CniError);

impl From<Failure> for CniError {
    fn from(failure: Failure) -> Self {
        failure.0
    }
}

impl Failure {
    /// The same failure, with one that happened while cleaning up after it.
    pub(crate) fn and(self, also: &dyn std::fmt::Display) -> Self {
        let mut error = self.0;
        if !error.details.is_empty() {
            error.details.push_str("; ");
        }
        error.details.push_str(&also.to_string());
        Self(error)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Errors that the protocol crate gives a code itself.
macro_rules! coded {
    ($($error:ty),+) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self(error.into())
            }
        }
    )+};
}

coded!(CniError, FieldError, ConvertError);

/// Every error type with one code, or a function that picks one.
macro_rules! failures {
    ($($error:ty => $code:expr;)+) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                let code: fn(&$error) -> Code = $code;
                Self(CniError::from_chain(code(&error), &error))
            }
        }
    )+};
}

failures! {
    FileError => |_| Code::IO_FAILURE;
    StoreError => |_| Code::IO_FAILURE;
    OpenError => |error| match error {
        OpenError::Managed(_) => Code::TRY_AGAIN_LATER,
        OpenError::Missing(_) | OpenError::File(_) => Code::IO_FAILURE,
    };
    AcquireError => |error| match error {
        AcquireError::Refused { refusal, .. } => of_refusal(refusal),
        AcquireError::Contradicts { .. } => Code::ADDRESS_TAKEN,
        AcquireError::NoPool(_) | AcquireError::NoFreeSubnet { .. } => Code::INVALID_CONFIG,
        AcquireError::Store(_) => Code::IO_FAILURE,
    };
    NetnsError => |_| Code::INVALID_ENVIRONMENT;
    ObserveError => |_| Code::IO_FAILURE;
    std::io::Error => |_| Code::IO_FAILURE;
    ConvergeError => |error| match error {
        ConvergeError::Conflict(_) => Code::FOREIGN_CONFLICT,
        ConvergeError::Apply(_) => Code::IO_FAILURE,
        ConvergeError::Unsettled(_) => Code::TRY_AGAIN_LATER,
    };
}

fn of_refusal(refusal: &Refusal) -> Code {
    match refusal {
        Refusal::Exhausted { .. } => Code::POOL_EXHAUSTED,
        Refusal::Cooling { .. } => Code::TRY_AGAIN_LATER,
        Refusal::Taken { .. } => Code::ADDRESS_TAKEN,
        _ => Code::INVALID_CONFIG,
    }
}
