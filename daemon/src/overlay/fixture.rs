//! An end for tests to begin with.

use bulkhead_attach::{OverlayEnd, Tuning};
use bulkhead_model::{Encryption, Mtu, Vni};

/// A node's end of a network of pool default that routes, over IPv4.
pub(super) fn end() -> OverlayEnd {
    OverlayEnd {
        vni: Vni::new(7).unwrap(),
        port: 4789,
        pools: vec!["default".parse().unwrap()],
        underlay: None,
        local: [192, 0, 2, 1].into(),
        mtu: Mtu::new(1450).unwrap(),
        most: None,
        direct: false,
        tuning: Tuning::default(),
        encryption: Encryption::None,
        segment: None,
    }
}
