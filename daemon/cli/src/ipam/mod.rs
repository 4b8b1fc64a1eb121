//! `bulkhead ipam`: leases and pools.

mod address;
mod check;
mod gc;
mod lease;
mod ls;
mod pool;
mod release;
mod reserve;
mod who;

use std::net::IpAddr;
use std::str::FromStr;

pub(crate) use lease::short;

use bulkhead_ipam::wire::admin::PodName;
use bulkhead_model::{AttachmentKey, NetworkName, ParseError};
use clap::Subcommand;

use crate::done;
use crate::failure::Outcome;
use crate::output::Format;
use crate::sources::Sources;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List leases.
    Ls(ls::LsArgs),
    /// Tell who had an address at an instant, and who has it now.
    Who(who::WhoArgs),
    /// Keep addresses of a pool for a pod, for pods with a label, or for nobody.
    Reserve(reserve::ReserveArgs),
    /// End a reservation.
    Unreserve(reserve::UnreserveArgs),
    /// List reservations.
    Reservations(reserve::ReservationsArgs),
    /// End a lease, kernel objects first: what a DEL that never came would have done.
    Release(release::ReleaseArgs),
    /// Prove that no address is given twice, that every lease lies in a block of its node and every block
    /// in its pool, and that the journals, the store and the kernel say the same.
    Check(check::CheckArgs),
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
        Command::Ls(args) => ls::run(args, format),
        Command::Gc(args) => gc::run(args, format),
        Command::Who(args) => who::run(args, format),
        Command::Reserve(args) => done::outcome(args.run(), format),
        Command::Unreserve(args) => done::outcome(args.run(), format),
        Command::Reservations(args) => reserve::list(args, format).into(),
        Command::Release(args) => done::outcome(args.run(), format),
        Command::Check(args) => check::run(args, format),
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

/// An attachment's whole name, as it is written on a command line.
pub(crate) fn name(key: &AttachmentKey) -> String {
    format!("{}/{}/{}", key.network, key.container, key.interface)
}

/// A pod's, likewise.
pub(crate) fn pod(pod: &PodName) -> String {
    format!("{}/{}", pod.namespace, pod.name)
}
