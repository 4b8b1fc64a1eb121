//! One CNI call's life: lock, lease, observe, plan, apply, verify, answer. Every main plugin is a
//! [`Network`]: a typed configuration and what it wants of the kernel. Everything else is here, once.
//!
//! The call runs in the plugin's own process over the embedded store, blocking, and ends with it.

mod add;
mod addressing;
mod capabilities;
mod check;
mod claims;
mod converge;
mod del;
mod failure;
mod gc;
mod grant;
mod host_ports;
mod ipam;
mod loopback;
mod origin;
mod pod;
mod recorded;
mod status;

use std::process::ExitCode;

use bulkhead_cni::{Answer, Call, CniError, Environment, Verb};
use bulkhead_ipam::Names;
use bulkhead_kernel::{Deletion, Kernel};
use bulkhead_model::{AttachmentKey, IfName, NetworkName};
use bulkhead_nft as nft;
use bulkhead_plan::Attached;

pub use addressing::{Addressing, DEFAULT_STATE_DIR, state_dir};
pub use capabilities::Capabilities;
pub use del::CHECKED_MAC;
pub use grant::{Grant, GrantedAddress};
pub use ipam::{ipam, release};
pub use loopback::loopback;
pub use origin::{Origin, Own, configured, origins};
pub use recorded::{
    Explanation, Inspection, Rehearsal, Successors, collect, explain, inspect, is_sound, repair,
};

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

    /// The bridge ports join.
    fn bridge(&self) -> IfName;

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

/// Serves one call of a main plugin on this process's environment and standard streams.
#[must_use]
pub fn run<N: Network>(plugin: &str) -> ExitCode {
    serve(plugin, N::ABOUT, |call| match call.verb {
        Verb::Add => add::add::<N>(call),
        Verb::Del => del::del::<N>(call),
        Verb::Check => check::check::<N>(call),
        Verb::Gc => gc::gc::<N>(call),
        Verb::Status => status::status::<N>(call),
        Verb::Version => Ok(Answer::Silent),
    })
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

fn serve(
    plugin: &str,
    about: &str,
    handler: impl FnOnce(&Call) -> Result<Answer, CniError>,
) -> ExitCode {
    bulkhead_cni::serve(
        plugin,
        about,
        Environment::new(std::env::vars_os()),
        std::io::stdin().lock(),
        std::io::stdout().lock(),
        std::io::stderr().lock(),
        handler,
    )
}

/// The kernel for one call. A link's deletion is handed to a process of its own, so that the answer
/// does not wait out the kernel's grace period.
fn kernel() -> Kernel {
    Kernel::new(std::env::current_exe().map_or(Deletion::Blocking, Deletion::HandOff))
}
