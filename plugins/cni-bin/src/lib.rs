//! Which plugins there are, for whoever serves them: the plugin executable, and the node daemon.

use bulkhead_attach::Plugin;
use bulkhead_bridge as bridge;
use bulkhead_guard as guard;
use bulkhead_ipv6 as ipv6;
use bulkhead_vxlan as vxlan;

/// The names there are, once: `bulkhead install` reads [`NAMES`] out of the executable's bytes, and
/// knows by it a file of ours without running it.
macro_rules! plugins {
    ($($name:literal => $plugin:expr,)+) => {
        /// The line by which the plugin executable is known.
        pub const NAMES: &str = concat!("\nbulkhead-cni answers to:", $(" ", $name,)+ "\n");

        /// The plugin of that name.
        #[must_use]
        pub fn plugin(name: &str) -> Option<Plugin> {
            match name {
                $($name => Some($plugin($name)),)+
                _ => None,
            }
        }
    };
}

plugins! {
    "bulkhead-bridge" => Plugin::network::<bridge::Config>,
    "bulkhead-ipv6" => Plugin::network::<ipv6::Config>,
    "bulkhead-vxlan" => Plugin::network::<vxlan::Config>,
    "bulkhead-guard" => Plugin::chained::<guard::Config>,
    "bulkhead-ipam" => Plugin::ipam,
    "loopback" => Plugin::loopback,
}
