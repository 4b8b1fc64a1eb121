//! Bandwidth: how fast a container may receive and send (CNI conventions, `bandwidth`).

use serde::{Deserialize, Serialize};

/// A rate and how much may pass at once above it. Neither is 0.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct RateLimit {
    /// Bits per second.
    pub rate: u64,
    /// Bits.
    pub burst: u64,
}

/// The limits of an attachment, as they were asked for.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(default)]
pub struct Bandwidth {
    /// Of what the container receives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress: Option<RateLimit>,
    /// Of what the container sends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub egress: Option<RateLimit>,
}

impl Bandwidth {
    /// Whether nothing is limited.
    #[must_use]
    pub const fn is_unlimited(&self) -> bool {
        self.ingress.is_none() && self.egress.is_none()
    }
}
