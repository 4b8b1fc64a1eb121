//! The plugin executable: it looks at the name it was called by. Installed once under each name.

use std::process::ExitCode;

use bulkhead_cni_bin::{NAMES, plugin};

#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    let mut args = std::env::args();
    let called = args.next().unwrap_or_default();
    let name = called.rsplit('/').next().unwrap_or_default();
    if name == bulkhead_kernel::REAPER {
        return bulkhead_kernel::reap_main(args);
    }
    let Some(plugin) = plugin(name) else {
        eprint!(
            "{name}: no plugin of that name is in this executable, `bulkhead install` puts it \
             where runtimes look{NAMES}"
        );
        return ExitCode::FAILURE;
    };
    plugin.run()
}
