//! The plugin executable: it looks at the name it was called by. Installed once under each name.

use std::process::ExitCode;

use bulkhead_bridge as bridge;

#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

/// The names there are, once: `bulkhead install` reads [`NAMES`] out of this executable's bytes, and
/// knows by it a file of ours without running it.
macro_rules! plugins {
    ($($name:literal => $run:expr,)+) => {
        const NAMES: &str = concat!("\nbulkhead-cni answers to:", $(" ", $name,)+ "\n");

        fn plugin(name: &str) -> Option<fn(&str) -> ExitCode> {
            match name {
                $($name => Some($run),)+
                _ => None,
            }
        }
    };
}

plugins! {
    "bulkhead-bridge" => bulkhead_attach::run::<bridge::Config>,
    "bulkhead-ipam" => bulkhead_attach::ipam,
    "loopback" => bulkhead_attach::loopback,
}

fn main() -> ExitCode {
    let mut args = std::env::args();
    let called = args.next().unwrap_or_default();
    let name = called.rsplit('/').next().unwrap_or_default();
    if name == bulkhead_kernel::REAPER {
        return bulkhead_kernel::reap_main(args);
    }
    let Some(run) = plugin(name) else {
        eprint!(
            "{name}: no plugin of that name is in this executable, `bulkhead install` puts it \
             where runtimes look{NAMES}"
        );
        return ExitCode::FAILURE;
    };
    run(name)
}
