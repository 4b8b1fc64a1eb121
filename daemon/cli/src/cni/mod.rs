//! `bulkhead cni`: the runtime's side of CNI by hand, over any plugins.

mod arguments;
mod netns;
mod report;

use bulkhead_cni::list::{Attachment, NetworkList, OnFailure, Runtime, load};
use bulkhead_cni::{Environment, Verb};
use clap::{Args, Subcommand};

use self::arguments::{AttachmentArgs, GcArgs, NetworkArgs};
use self::netns::Existence;
use self::report::{Failed, Report};
use crate::failure::Outcome;
use crate::output::Format;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Attach a namespace to a network and print the result.
    Add(AddArgs),
    /// Detach a namespace from a network.
    Del(AttachmentArgs),
    /// Compare an attachment with what ADD made.
    Check(AttachmentArgs),
    /// Remove what is left of a network's dead attachments.
    ///
    /// Without --keep and --none-valid nothing on record is deleted: the plugins get no list and
    /// collect what is provably dead.
    Gc(GcArgs),
    /// Ask whether the network's plugins could serve ADD.
    Status(NetworkArgs),
}

#[derive(Args, Debug)]
pub(crate) struct AddArgs {
    #[command(flatten)]
    attachment: AttachmentArgs,

    /// If a plugin fails, run DEL through the whole list.
    #[arg(long)]
    undo_on_failure: bool,
}

pub(crate) fn run(command: Command, format: Format) -> Outcome {
    let environment = Environment::new(std::env::vars_os());
    let report = match command {
        Command::Add(args) => add(args, environment),
        Command::Del(args) => attached(args, environment, Existence::Optional, del),
        Command::Check(args) => attached(args, environment, Existence::Required, check),
        Command::Gc(args) => gc(&args, environment),
        Command::Status(args) => status(&args, environment),
    };
    report.outcome(format)
}

fn add(args: AddArgs, environment: Environment) -> Report {
    let on_failure = if args.undo_on_failure {
        OnFailure::Undo
    } else {
        OnFailure::Leave
    };
    attached(
        args.attachment,
        environment,
        Existence::Required,
        |runtime, list, attachment| add_chain(runtime, list, attachment, on_failure),
    )
}

fn add_chain(
    runtime: &Runtime,
    list: &NetworkList,
    attachment: &Attachment,
    on_failure: OnFailure,
) -> Report {
    let mut report = Report::default();
    report.note_undeclared(list, attachment);
    // Undone here, and not by the runner, whose caller is not told when that fails too.
    let added = runtime.add(list, attachment, OnFailure::Leave);
    match added.and_then(|result| Ok(result.to_json(list.version)?)) {
        Ok(result) => report.result = Some(result),
        Err(error) => {
            report.fail(error);
            report.note_after_failed_add(match on_failure {
                OnFailure::Leave => None,
                OnFailure::Undo => Some(runtime.del(list, attachment)),
            });
        }
    }
    report
}

fn del(runtime: &Runtime, list: &NetworkList, attachment: &Attachment) -> Report {
    runtime.del(list, attachment).into()
}

fn check(runtime: &Runtime, list: &NetworkList, attachment: &Attachment) -> Report {
    let mut report = Report::from(runtime.check(list, attachment));
    if list.disable_check {
        report.note(format!(
            "network {} says disableCheck: no plugin was asked",
            list.name
        ));
    }
    report
}

fn gc(args: &GcArgs, environment: Environment) -> Report {
    on_network(&args.network, environment, |runtime, list| {
        let valid = args.valid();
        let mut report = Report::from(runtime.gc(list, valid.as_deref()));
        if list.disable_gc {
            report.note(format!(
                "network {} says disableGC: nothing was collected",
                list.name
            ));
        } else if list.version < Verb::Gc.since() {
            report.note(format!(
                "network {}: version {} has no GC, its plugins were not asked",
                list.name, list.version
            ));
        }
        report
    })
}

fn status(args: &NetworkArgs, environment: Environment) -> Report {
    on_network(args, environment, |runtime, list| {
        runtime.status(list).into()
    })
}

fn attached(
    args: AttachmentArgs,
    environment: Environment,
    netns: Existence,
    run: impl FnOnce(&Runtime, &NetworkList, &Attachment) -> Report,
) -> Report {
    let runtime = args.runner.runtime(environment);
    let list = match load(&args.runner.conf_dir, &args.network) {
        Ok(list) => list,
        Err(error) => return Failed::Before(error.into()).into(),
    };
    match args.attachment(netns) {
        Ok(attachment) => run(&runtime, &list, &attachment).on(&list),
        Err(failure) => Report::from(Failed::Before(failure)).on(&list),
    }
}

fn on_network(
    args: &NetworkArgs,
    environment: Environment,
    run: impl FnOnce(&Runtime, &NetworkList) -> Report,
) -> Report {
    let runtime = args.runner.runtime(environment);
    match load(&args.runner.conf_dir, &args.network) {
        Ok(list) => run(&runtime, &list).on(&list),
        Err(error) => Failed::Before(error.into()).into(),
    }
}
