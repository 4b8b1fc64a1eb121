//! `bulkhead guard`: what ports may send, whether the kernel holds them to it, and what was dropped. It
//! reads the state directory and the kernel, and needs no daemon. The ports of a segment are in a namespace
//! that its network has for itself, with a filter of their own.

mod counters;
mod drops;
mod explain;
mod frame;
mod ls;
mod show;

pub(crate) use drops::duration;
pub(crate) use frame::summary;

use std::collections::BTreeSet;

use bulkhead_attach::{GuardConfig, GuardRole, GuardSwitch, guard_of, recorded_node};
use bulkhead_plan::Ns;
use clap::{Args, Subcommand};

use crate::attachments::{Found, Subject, ports};
use crate::failure::{Failure, Outcome};
use crate::output::Format;
use crate::sources::Sources;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the attachments with a port: whether it is guarded, its role, its addresses.
    Ls(Sources),
    /// Show the elements of an attachment's binding, and whether each stands in the kernel.
    ///
    /// Exit code 5 if one does not.
    Show(One),
    /// Show what was dropped, by reason and port. A port's counters go an hour after its last drop.
    Counters {
        /// The attachment; all of them without.
        #[arg(value_name = "ATTACHMENT")]
        subject: Option<Subject>,

        #[command(flatten)]
        sources: Sources,
    },
    /// Print what is dropped, a line each, until it is stopped: samples, of a port at most 5 a second.
    Drops(drops::DropsArgs),
    /// Tell each thing that an attachment may and may not send, and why.
    Explain(One),
}

#[derive(Args, Debug)]
pub(crate) struct One {
    /// CONTAINER, NETWORK/CONTAINER, NETWORK/CONTAINER/IFNAME (the container's id may be cut short), a
    /// port or an address.
    #[arg(value_name = "ATTACHMENT")]
    subject: Subject,

    #[command(flatten)]
    sources: Sources,
}

pub(crate) fn run(command: &Command, format: Format) -> Outcome {
    match command {
        Command::Ls(sources) => ls::run(sources, format),
        Command::Show(one) => show::run(one, format),
        Command::Counters { subject, sources } => counters::run(subject.as_ref(), sources, format),
        Command::Drops(args) => drops::run(args, format),
        Command::Explain(one) => explain::run(one, format),
    }
}

impl One {
    fn select(&self) -> Result<(Vec<Found>, Vec<Failure>), Failure> {
        ports(&self.sources, Some(&self.subject))
    }
}

/// The namespace that the port is in, if it is a network's own.
fn netns(found: &Found) -> Option<String> {
    match recorded_node(&found.record) {
        Ns::Network(path) => Some(path),
        Ns::Host | Ns::Container(_) => None,
    }
}

/// The namespaces that ports are guarded in: the node's, and those that the networks of these attachments
/// have for themselves.
fn spaces(found: &[Found]) -> BTreeSet<Ns> {
    let own = found.iter().map(|found| recorded_node(&found.record));
    own.chain([Ns::Host]).collect()
}

/// What is recorded of an attachment's guard. One that is left to others is of a release without it.
fn settings(found: &Found) -> GuardConfig {
    guard_of(&found.record.names)
}

const fn switch(settings: &GuardConfig) -> &'static str {
    match settings.switch {
        GuardSwitch::On => "on",
        GuardSwitch::Off => "off",
        GuardSwitch::Mac => "mac",
    }
}

const fn role(settings: &GuardConfig) -> &'static str {
    match settings.role {
        GuardRole::Host => "host",
        GuardRole::Router => "router",
        GuardRole::DhcpServer => "dhcp-server",
        GuardRole::Trusted => "trusted",
    }
}
