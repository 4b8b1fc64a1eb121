//! What a plugin, the operator's command and the node daemon say to each other over a unix socket:
//! frames, the messages in them, descriptors beside them, and a client that blocks.
//!
//! Coding is pure and bounded: [`Decoder`] takes bytes as they come, from a blocking read or from an
//! asynchronous one, and answers frames or a [`FrameError`]; it never panics. The layout of a frame is
//! the same in every version. What a version adds are sections, which older ones pass over.

pub mod admin;
mod client;
mod decoder;
mod descriptors;
mod frame;
mod message;
mod refusal;
mod sections;
#[cfg(test)]
mod tests;

pub use client::{Client, ClientError, Replies};
pub use decoder::Decoder;
pub use descriptors::{Received, peer_is_gone, receive, send};
pub use frame::{BODY_LONGEST, Frame, FrameError, HEADER_LENGTH, Kind, Section, Spoken};
pub use message::{Answer, CallFrame, Delegate, Descriptors};
pub use refusal::{Refusal, RefusalCode};
pub use sections::{MessageError, from_json, json, last};

/// Where the daemon listens unless its configuration says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/bulkhead/bulkheadd.sock";
