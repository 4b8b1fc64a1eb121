//! The plugin executable: it looks at the name it was called by. Installed once under each name.

use std::process::ExitCode;

use bulkhead_bridge as bridge;

#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    let mut args = std::env::args();
    let called = args.next().unwrap_or_default();
    match called.rsplit('/').next().unwrap_or_default() {
        "bulkhead-bridge" => bulkhead_attach::run::<bridge::Config>("bulkhead-bridge"),
        "bulkhead-ipam" => bulkhead_attach::ipam("bulkhead-ipam"),
        bulkhead_kernel::REAPER => bulkhead_kernel::reap_main(args),
        other => {
            eprintln!(
                "{other}: no plugin of that name is in this executable; install it as \
                 bulkhead-bridge or bulkhead-ipam"
            );
            ExitCode::FAILURE
        }
    }
}
