//! The one error a runtime sees, and the published table of its codes.

use crate::json::{FieldError, FieldFault, Value};
use crate::{CniVersion, ConvertError};

/// An error code. 1 to 99 are the specification's (CNI spec 1.1.0, "Error"), 100 and above ours.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Code(pub u32);

impl Code {
    /// 1: a version we do not speak, or that lacks the verb.
    pub const INCOMPATIBLE_VERSION: Self = Self(1);
    /// 2: a key we know and cannot serve; the text holds key and value.
    pub const UNSUPPORTED_FIELD: Self = Self(2);
    /// 3: container unknown. The runtime then need not call DEL, so never after something was made.
    pub const UNKNOWN_CONTAINER: Self = Self(3);
    /// 4: an environment variable is missing or malformed; the text names it.
    pub const INVALID_ENVIRONMENT: Self = Self(4);
    /// 5: stdin, a file or a device could not be read or written.
    pub const IO_FAILURE: Self = Self(5);
    /// 6: not JSON.
    pub const DECODE_FAILURE: Self = Self(6);
    /// 7: JSON that is no valid network configuration.
    pub const INVALID_CONFIG: Self = Self(7);
    /// 8: `CNI_NETNS` is the plugin's own network namespace (libcni's number).
    pub const INVALID_NETNS: Self = Self(8);
    /// 11: a passing condition; the same call later may succeed.
    pub const TRY_AGAIN_LATER: Self = Self(11);
    /// 50: STATUS: ADD cannot be served.
    pub const UNAVAILABLE: Self = Self(50);
    /// 51: STATUS: ADD cannot be served and running containers may have limited connectivity.
    pub const UNAVAILABLE_LIMITED: Self = Self(51);
    /// 100: no free address is left in the pool.
    pub const POOL_EXHAUSTED: Self = Self(100);
    /// 101: the requested address is taken; the text names its holder.
    pub const ADDRESS_TAKEN: Self = Self(101);
    /// 102: a name or object that belongs to somebody else is in the way.
    pub const FOREIGN_CONFLICT: Self = Self(102);
    /// 103: CHECK found the attachment changed.
    pub const DRIFT: Self = Self(103);
    /// 104: a delegated plugin failed without a code of its own.
    pub const DELEGATE_FAILED: Self = Self(104);
    /// 105: a host port is taken; the text names its holder.
    pub const HOST_PORT_TAKEN: Self = Self(105);
    /// 999: libcni's number for an error without a code.
    pub const INTERNAL: Self = Self(999);
}

/// An error as the specification wants it on stdout: `{cniVersion, code, msg, details}`.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{msg}{}{details}", if details.is_empty() { "" } else { "; " })]
pub struct CniError {
    /// What kind of error.
    pub code: Code,
    /// Object, cause and what to do, in one line.
    pub msg: String,
    /// More of the same, or empty.
    pub details: String,
}

impl CniError {
    /// An error with no details.
    #[must_use]
    pub fn new(code: Code, msg: impl Into<String>) -> Self {
        Self {
            code,
            msg: msg.into(),
            details: String::new(),
        }
    }

    /// The same error with `details`.
    #[must_use]
    pub fn with_details(mut self, details: impl Into<String>) -> Self {
        self.details = details.into();
        self
    }

    /// An error whose text is `error` and all its causes, joined by `: `.
    #[must_use]
    pub fn from_chain(code: Code, error: &dyn std::error::Error) -> Self {
        let mut msg = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            msg.push_str(": ");
            msg.push_str(&error.to_string());
            cause = error.source();
        }
        Self::new(code, msg)
    }

    /// Code 1 for a configuration in a version outside [`CniVersion::ALL`].
    #[must_use]
    pub fn incompatible_version(found: &str) -> Self {
        let supported: Vec<_> = CniVersion::ALL.iter().map(|v| v.as_str()).collect();
        Self::new(Code::INCOMPATIBLE_VERSION, "incompatible CNI versions").with_details(format!(
            "config is {found:?}, plugin supports [{}]",
            supported.join(" ")
        ))
    }

    /// Code 4 naming every missing variable.
    #[must_use]
    pub fn missing_environment(names: &[&str]) -> Self {
        Self::new(
            Code::INVALID_ENVIRONMENT,
            format!("required env variables [{}] missing", names.join(",")),
        )
    }

    /// Code 4 for a variable whose value is refused for `reason`.
    #[must_use]
    pub fn invalid_environment(name: &str, reason: impl std::fmt::Display) -> Self {
        Self::new(Code::INVALID_ENVIRONMENT, format!("{name}: {reason}"))
    }

    /// Code 5.
    #[must_use]
    pub fn io(action: impl std::fmt::Display, error: &std::io::Error) -> Self {
        Self::new(Code::IO_FAILURE, format!("{action}: {error}"))
    }

    /// Code 7 for a configuration that is refused for `reason`.
    #[must_use]
    pub fn invalid_config(reason: impl Into<String>) -> Self {
        Self::new(Code::INVALID_CONFIG, reason)
    }

    /// Code 11.
    #[must_use]
    pub fn try_again(reason: impl Into<String>) -> Self {
        Self::new(Code::TRY_AGAIN_LATER, reason)
    }

    /// Code 50.
    #[must_use]
    pub fn unavailable(reason: impl Into<String>) -> Self {
        Self::new(Code::UNAVAILABLE, reason)
    }

    /// What goes to stdout.
    #[must_use]
    pub fn to_json(&self, version: CniVersion) -> Value {
        let mut members = vec![
            ("cniVersion".to_owned(), Value::from(version.as_str())),
            ("code".to_owned(), Value::from(u64::from(self.code.0))),
            ("msg".to_owned(), Value::from(self.msg.as_str())),
        ];
        if !self.details.is_empty() {
            members.push(("details".to_owned(), Value::from(self.details.as_str())));
        }
        Value::Object(members)
    }

    /// Reads what a plugin printed; `None` if it is not an error object. A code that is missing or
    /// zero, which older plugins print, becomes [`Code::INTERNAL`].
    #[must_use]
    pub fn from_json(value: &Value) -> Option<Self> {
        let object = crate::json::Object::root(value).ok()?;
        let msg = object.optional_string("msg").ok()??;
        let code = object.optional_u64("code").ok()?.filter(|code| *code != 0);
        Some(Self {
            code: code.map_or(Code::INTERNAL, |code| {
                Code(u32::try_from(code).unwrap_or(Code::INTERNAL.0))
            }),
            msg: msg.to_owned(),
            details: object
                .optional_string("details")
                .ok()?
                .unwrap_or_default()
                .to_owned(),
        })
    }
}

impl From<FieldError> for CniError {
    fn from(error: FieldError) -> Self {
        let code = match error.fault {
            FieldFault::Missing { .. } | FieldFault::Invalid { .. } => Code::INVALID_CONFIG,
            FieldFault::Unsupported { .. } => Code::UNSUPPORTED_FIELD,
        };
        Self::new(code, error.to_string())
    }
}

impl From<ConvertError> for CniError {
    fn from(error: ConvertError) -> Self {
        Self::new(Code::INVALID_CONFIG, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_printed_and_read_back() {
        let error =
            CniError::new(Code::POOL_EXHAUSTED, "pool \"a\" is full").with_details("254 leases");
        let json = error.to_json(CniVersion::V1_0_0);
        assert_eq!(
            json.to_string(),
            r#"{"cniVersion":"1.0.0","code":100,"msg":"pool \"a\" is full","details":"254 leases"}"#
        );
        assert_eq!(CniError::from_json(&json), Some(error.clone()));
        assert_eq!(error.to_string(), "pool \"a\" is full; 254 leases");
    }

    #[test]
    fn an_error_without_code_is_libcnis_999() {
        let json = Value::parse(br#"{"msg":"boom"}"#).unwrap();
        assert_eq!(CniError::from_json(&json).unwrap().code, Code::INTERNAL);
        let result = Value::parse(br#"{"cniVersion":"1.0.0"}"#).unwrap();
        assert_eq!(CniError::from_json(&result), None);
    }

    #[test]
    fn an_unknown_version_is_named_with_all_we_speak() {
        assert_eq!(
            CniError::incompatible_version("2.0.0").to_string(),
            "incompatible CNI versions; config is \"2.0.0\", plugin supports [0.1.0 0.2.0 0.3.0 0.3.1 0.4.0 1.0.0 1.1.0]"
        );
    }
}
