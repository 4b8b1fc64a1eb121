//! `bulkhead-guard`: chained behind a main plugin of somebody else's, it has the guard judge the port
//! that one made. Two pure functions: from a call to a typed [`Config`], and from what the plugins
//! before answered and the links they made to the port, and whose it is.

mod config;
mod port;

use std::collections::BTreeSet;

use bulkhead_attach::{Chained, GuardConfig, Guarded};
use bulkhead_cni::{Call, CniError, CniResult};
use bulkhead_model::{IfName, Prefix};
use bulkhead_plan::{Hook, Ns, World};

pub use config::Config;

impl Chained for Config {
    const ABOUT: &'static str =
        "first-hop security on the veth port that the plugin before it made (bridge, ptp)";

    fn parse(call: &Call) -> Result<Self, CniError> {
        config::parse(call)
    }

    fn guard(&self) -> &GuardConfig {
        &self.guard
    }

    fn blocks(&self) -> &BTreeSet<Prefix> {
        &self.blocks
    }

    fn hook(&self) -> Hook {
        self.hook
    }

    fn port(
        &self,
        interface: IfName,
        previous: &CniResult,
        world: &World,
        container: &Ns,
    ) -> Result<Guarded, CniError> {
        port::find(self, interface, previous, world, container)
    }
}
