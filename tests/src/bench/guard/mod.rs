//! What the guard costs: each packet that a port sends, and the ADD of one more port.

mod adding;
mod lane;
mod packets;
mod ports;

use std::io;

pub(super) use adding::Added;
pub(super) use lane::{Judged, Lane, Packet};

/// How much is measured.
#[derive(Clone, Debug)]
pub struct Guarding {
    /// Numbers of ports, rising.
    pub ports: Vec<usize>,
    /// Turns of each lane with each kind of packet.
    pub rounds: usize,
    /// ADDs of each kind.
    pub calls: usize,
}

/// What was measured.
#[derive(Clone, Debug)]
pub struct Guarded {
    /// The lane without rules first.
    pub(super) lanes: Vec<Lane>,
    /// ADDs without the guard and with it.
    pub(super) added: Vec<Added>,
}

/// Measures the guard against no rules and against rules for each port, taking turns; then ADDs.
///
/// # Errors
/// When the system refuses namespaces or sockets, or rules do not judge as they should.
///
/// # Panics
/// When a call fails.
pub fn guard(guarding: &Guarding) -> io::Result<Guarded> {
    let lanes = packets::measure(guarding)?;
    let added = adding::measure(guarding.calls)?;
    Ok(Guarded { lanes, added })
}
