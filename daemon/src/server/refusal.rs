//! Why somebody is not served, for the caller, for the log and for the metrics.

use bulkhead_ipam::wire::{Frame, FrameError, MessageError, Refusal, RefusalCode, Spoken};

use crate::metrics::ReasonLabels;
use crate::node::Node;

/// A refusal on its way.
#[derive(Debug)]
pub(super) struct Refused {
    refusal: Refusal,
    /// The versions that the caller speaks, if it has said so.
    reader: Spoken,
}

impl Refused {
    fn new(code: RefusalCode, text: String) -> Self {
        Self {
            refusal: Refusal {
                code,
                text,
                spoken: Spoken::OURS,
            },
            reader: Spoken::OURS,
        }
    }

    pub(super) fn not_permitted(uid: u32) -> Self {
        let text = format!("user {uid} may not speak to bulkheadd, only root may");
        Self::new(RefusalCode::NotPermitted, text)
    }

    pub(super) fn busy(most: usize) -> Self {
        let text = format!(
            "{most} connections are open, which is the limit; try again, or raise server.connections"
        );
        Self::new(RefusalCode::Busy, text)
    }

    pub(super) fn stopping() -> Self {
        Self::new(
            RefusalCode::Stopping,
            "bulkheadd is stopping; try again when it is back".to_owned(),
        )
    }

    pub(super) fn too_slow(secs: u64) -> Self {
        let text = format!("nothing complete came within {secs} s");
        Self::new(RefusalCode::TooSlow, text)
    }

    pub(super) fn truncated() -> Self {
        Self::new(
            RefusalCode::Frame,
            "the connection ended within a frame".to_owned(),
        )
    }

    pub(super) fn descriptors(text: &str) -> Self {
        Self::new(RefusalCode::Frame, text.to_owned())
    }

    pub(super) fn namespace() -> Self {
        let text = "the caller runs in another network namespace than bulkheadd: it would change the wrong node";
        Self::new(RefusalCode::Namespace, text.to_owned())
    }

    pub(super) fn unexpected(kind: bulkhead_ipam::wire::Kind) -> Self {
        Self::new(
            RefusalCode::Frame,
            format!("a frame of kind \"{kind}\" is not for bulkheadd"),
        )
    }

    pub(super) fn frame(&self) -> Frame {
        self.refusal.to_frame(self.reader)
    }

    /// Counts it and writes its line into the log.
    pub(super) fn count(&self, node: &Node) {
        let reason = match self.refusal.code {
            RefusalCode::Version => "version",
            RefusalCode::Frame => "frame",
            RefusalCode::NotPermitted => "not-permitted",
            RefusalCode::Busy => "busy",
            RefusalCode::Namespace => "namespace",
            RefusalCode::Stopping => "stopping",
            RefusalCode::TooSlow => "too-slow",
            RefusalCode::Other(_) => "other",
        };
        node.metrics
            .refused
            .get_or_create(&ReasonLabels { reason })
            .inc();
        tracing::warn!(reason, error = self.refusal.text, "a caller is refused");
    }
}

impl From<FrameError> for Refused {
    fn from(error: FrameError) -> Self {
        let reader = match &error {
            // As old as it is, it reads a refusal.
            FrameError::Version { version, .. } => Spoken {
                oldest: *version,
                newest: *version,
            },
            _ => Spoken::OURS,
        };
        let text = error.to_string();
        Self {
            reader,
            ..Self::new(error.into(), text)
        }
    }
}

impl From<MessageError> for Refused {
    fn from(error: MessageError) -> Self {
        Self::new(RefusalCode::Frame, error.to_string())
    }
}
