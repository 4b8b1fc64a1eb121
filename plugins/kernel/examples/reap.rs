//! The smallest executable a [`bulkhead_kernel::Deletion::HandOff`] can name.

use std::process::ExitCode;

fn main() -> ExitCode {
    bulkhead_kernel::reap_main(std::env::args().skip(1))
}
