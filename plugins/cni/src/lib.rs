//! The CNI specification, 0.1.0 to 1.1.0: environment, stdin, versions, results, error codes,
//! delegation, and the runtime's side of it (network lists and the result cache) for our own runner.
//!
//! Plugins call [`answer`]; what a verb does is theirs. Nothing here touches a link, an address or a
//! namespace, nothing reads the process environment: it comes in as [`Environment`].
//!
//! # Error codes of a refused configuration
//! Not JSON is 6; a known key that is missing, of the wrong type or of a wrong value is 7; a valid
//! key whose feature is not served is 2. Unknown keys are tolerated.

mod answer;
mod args;
mod call;
mod environment;
mod error;
pub mod exec;
pub mod json;
pub mod list;
mod netconf;
mod result;

mod version;

pub use answer::{Answer, Output, answer};
pub use args::{Args, ArgsError};
pub use call::{Call, NetnsCheck};
pub use environment::{Environment, Verb};
pub use error::{CniError, Code};
pub use netconf::{GcAttachment, Ipam, NetConf, ValidAttachments};
pub use result::{CniResult, ConvertError, Dns, Interface, Ip, Route};
pub use version::CniVersion;
