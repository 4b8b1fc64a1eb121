//! `bulkheadd`, the node daemon: it owns the state directory, serves the plugins' calls on warm sockets,
//! and keeps the kernel, the journals and the cluster's store in step.

mod admin;
mod advertise;
mod args;
mod bug;
mod call;
mod clock;
mod cluster;
mod config;
mod daemon;
mod events;
mod failings;
mod gate;
mod gauges;
mod host;
mod identity;
mod kind;
mod lasting;
mod log;
mod loops;
mod metrics;
mod node;
mod notify;
mod overlay;
mod owner;
mod policy;
mod remembered;
mod server;
mod socket;
mod told;
mod workers;

use std::path::Path;
use std::process::ExitCode;

use args::Command;
use config::Config;

fn main() -> ExitCode {
    match args::parse(std::env::args_os().skip(1)) {
        Ok(Command::Serve(path)) => serve(&path),
        Ok(Command::CheckConfig(path)) => check_config(&path),
        Ok(Command::Version) => {
            println!("bulkheadd {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        Ok(Command::Help) => {
            print!("{}", args::USAGE);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprint!("bulkheadd: {error}\n{}", args::USAGE);
            ExitCode::from(2)
        }
    }
}

fn serve(path: &Path) -> ExitCode {
    match daemon::run(path) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bulkheadd: {}", told::chain(&error));
            ExitCode::FAILURE
        }
    }
}

/// What is in force, or what is wrong.
fn check_config(path: &Path) -> ExitCode {
    match Config::load(path) {
        Ok(config) => {
            for (key, value, _) in config.settings() {
                println!("{key} = {value}");
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{}", told::chain(&error));
            ExitCode::FAILURE
        }
    }
}
