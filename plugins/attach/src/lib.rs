//! One CNI call's life: lock, lease, observe, plan, apply, verify, answer. Every main plugin is a
//! [`Network`]: a typed configuration and what it wants of the kernel. Everything else is here, once.
//!
//! Where a call runs is its [`Host`]'s: in the plugin's own process, which ends with it, or in the node
//! daemon, which stays warm. Either way it blocks.

mod add;
mod addressing;
mod capabilities;
mod chained;
mod check;
mod claims;
mod converge;
mod del;
mod end;
mod failure;
mod gc;
mod grant;
mod guard;
mod host;
mod host_ports;
mod ipam;
pub mod keys;
pub mod layer3;
mod lease;
mod loopback;
mod origin;
mod overlays;
mod plugin;
mod pod;
pub mod policies;
mod pools;
mod recorded;
mod segment;
mod shim;
mod status;
mod under_way;

use bulkhead_cni::{Call, CniError};
use bulkhead_ipam::Names;
use bulkhead_model::{AttachmentKey, IfName, NetworkName};
use bulkhead_nft as nft;
use bulkhead_plan::Attached;

pub use addressing::{Addressing, DEFAULT_STATE_DIR, Source, state_dir};
pub use capabilities::Capabilities;
pub use chained::{
    Chained, Gateway, GuardPlans, Guarded, GuardedState, end_guard, explain_guard, guard_again,
    guard_drift, guard_state,
};
pub use grant::{Grant, GrantedAddress};
pub use guard::{
    GUARD, GuardBudgets, GuardConfig, GuardRole, GuardSwitch, Holder, PREFIX, of_names as guard_of,
    own_prefixes, recorded_binding, share as share_of,
};
pub use host::{Host, InProcess, Stage};
pub use ipam::release;
pub use keys::Masquerade;
pub use layer3::Layer3;
pub use origin::{Origin, Own, configured, origins};
pub use overlays::{OverlayAsk, OverlayEnd, Overlays, SegmentAsk, SegmentEnd, Tuning, Underlay};
pub use plugin::Plugin;
pub use policies::Policies;
pub use pools::{PoolAsk, PoolGrant, PoolLeases};
pub use recorded::{
    Explanation, Extent, Inspection, Rehearsal, Successors, catch_up, collect, explain, inspect,
    is_sound, repair,
};
pub use segment::{end_exit, recorded_node, stand_exit};
pub use under_way::{Turn, UnderWay};

/// A main plugin: a configuration with nothing wrong in it, and what it wants.
pub trait Network: Sized {
    /// The plugin's name as recorded: `bridge`.
    const KIND: &'static str;
    /// One line for a person who runs the plugin by hand.
    const ABOUT: &'static str;

    /// Reads the configuration of a call.
    ///
    /// # Errors
    /// Code 2 or 7, naming key, value and what it should be.
    fn parse(call: &Call) -> Result<Self, CniError>;

    /// Where addresses come from.
    fn addressing(&self) -> &Addressing;

    /// What the runtime asks for besides.
    fn capabilities(&self) -> &Capabilities;

    /// The bridge ports join; `None` where each has a link of its own.
    fn bridge(&self) -> Option<IfName>;

    /// What it asks of whoever keeps the node's end of it, if nodes have it together.
    fn overlay(&self) -> Option<&OverlayAsk> {
        None
    }

    /// What of the configuration nobody but the node daemon serves, and which key asks for it: `key:
    /// the node daemon does`. `None` if nothing is.
    fn needs_daemon(&self) -> Option<&'static str> {
        None
    }

    /// Whether policies are enforced for its containers.
    fn is_policed(&self) -> bool {
        false
    }

    /// The names to be used for a new attachment; what the capabilities ask for is added to them.
    fn names(&self, key: &AttachmentKey) -> Names;

    /// What the kernel should hold for an attachment.
    ///
    /// # Errors
    /// Code 7 if what was granted contradicts the configuration.
    fn want(&self, grant: &Grant) -> Result<Attached, CniError>;

    /// Where each value of an attachment comes from: every object that is held for it, in the order in
    /// which a packet of the container meets them.
    fn origins(&self, call: &Call, seen: &Inspection, rehearsal: &Rehearsal) -> Vec<Origin>;
}

/// The name of a network's address translation, derived from the network alone, so that DEL finds it
/// with no record.
#[must_use]
pub fn nat_table(network: &NetworkName) -> nft::TableId {
    let name = nft::Name::new(&network.derived("bh-")).expect("letters, digits and a dash");
    nft::TableId {
        family: nft::TableFamily::Inet,
        name,
    }
}
