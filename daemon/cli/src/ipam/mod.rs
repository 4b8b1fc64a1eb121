//! `bulkhead ipam`: leases and pools.

mod address;
mod gc;
mod lease;
mod ls;
mod pool;

use std::net::IpAddr;
use std::str::FromStr;

use bulkhead_model::{NetworkName, ParseError};
use clap::Subcommand;

use crate::failure::Outcome;
use crate::output::Format;
use crate::sources::Sources;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List leases.
    Ls {
        /// Only this network's.
        network: Option<NetworkName>,

        /// Print container ids in full.
        #[arg(long)]
        no_trunc: bool,

        #[command(flatten)]
        sources: Sources,
    },
    /// Remove what dead containers left: kernel objects and leases.
    ///
    /// Dead is an attachment of an earlier boot, or one whose namespace is gone.
    Gc(gc::GcArgs),
    /// Show a network's pool, or who has and had an address.
    Show {
        /// A network, or an address; what can be read as an address is one.
        #[arg(value_name = "NETWORK|ADDRESS")]
        subject: Subject,

        #[command(flatten)]
        sources: Sources,
    },
}

/// What `show` is about.
#[derive(Clone, Debug)]
pub(crate) enum Subject {
    Network(NetworkName),
    Address(IpAddr),
}

impl FromStr for Subject {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        text.parse()
            .map(Self::Address)
            .or_else(|_| text.parse().map(Self::Network))
    }
}

pub(crate) fn run(command: &Command, format: Format) -> Outcome {
    match command {
        Command::Ls {
            network,
            no_trunc,
            sources,
        } => {
            let ids = if *no_trunc {
                ls::Ids::Full
            } else {
                ls::Ids::Short
            };
            ls::run(sources, network.as_ref(), ids, format)
        }
        Command::Gc(args) => gc::run(args, format),
        Command::Show {
            subject: Subject::Network(name),
            sources,
        } => pool::run(sources, name, format),
        Command::Show {
            subject: Subject::Address(address),
            sources,
        } => address::run(sources, *address, format),
    }
}
