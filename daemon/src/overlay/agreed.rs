//! What every node and attachment of a network has the same: compared where one asks for the network, with
//! what the node's end is, or with what the store said of it last.

use bulkhead_attach::{OverlayAsk, OverlayEnd};
use bulkhead_ipam::cluster::schema::{OverlayMode, OverlayRow};
use bulkhead_model::{Encryption, Vni};

/// What there is one of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Agreed {
    vni: Vni,
    mode: OverlayMode,
    port: u16,
    encryption: Encryption,
}

/// What of it is two things.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Difference {
    /// The key of the configuration.
    pub(super) key: &'static str,
    /// What is asked for.
    pub(super) asked: String,
    /// What is known.
    pub(super) known: String,
}

impl From<&OverlayAsk> for Agreed {
    fn from(ask: &OverlayAsk) -> Self {
        Self {
            vni: ask.vni,
            mode: mode(ask.segment.is_some()),
            port: ask.port,
            encryption: ask.encryption,
        }
    }
}

impl From<&OverlayEnd> for Agreed {
    fn from(end: &OverlayEnd) -> Self {
        Self {
            vni: end.vni,
            mode: mode(end.segment.is_some()),
            port: end.port,
            encryption: end.encryption,
        }
    }
}

impl From<&OverlayRow> for Agreed {
    fn from(row: &OverlayRow) -> Self {
        Self {
            vni: row.vni,
            mode: row.mode,
            port: row.port,
            encryption: row.encryption,
        }
    }
}

impl Agreed {
    /// The first thing that is asked for otherwise than it is known.
    pub(super) fn difference(self, known: Self) -> Option<Difference> {
        let compared = [
            ("vni", self.vni.to_string(), known.vni.to_string()),
            ("mode", self.mode.to_string(), known.mode.to_string()),
            ("port", self.port.to_string(), known.port.to_string()),
            (
                "encryption",
                self.encryption.to_string(),
                known.encryption.to_string(),
            ),
        ];
        let mut differing = compared
            .into_iter()
            .filter(|(_, asked, known)| asked != known);
        let (key, asked, known) = differing.next()?;
        Some(Difference { key, asked, known })
    }
}

fn mode(is_segment: bool) -> OverlayMode {
    if is_segment {
        OverlayMode::Bridged
    } else {
        OverlayMode::Routed
    }
}
