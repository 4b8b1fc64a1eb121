//! What an executable or a daemon does with a plugin's name.

use std::io::Read;
use std::process::ExitCode;

use bulkhead_cni::{Answer, Call, CniError, Environment, Output, Verb};
use bulkhead_ipam::{AttachmentRecord, Managed};
use bulkhead_model::AttachmentKey;

use crate::failure::Failure;
use crate::host::{Host, InProcess};
use crate::{
    Chained, Network, add, chained, check, del, gc, ipam, loopback, shim, state_dir, status,
};

type Serve = fn(&Call, &mut dyn Host) -> Result<Answer, CniError>;
/// Takes an attachment out of the kernel, by its record if there is one.
pub(crate) type Detach =
    fn(&mut dyn Host, &Call, &AttachmentKey, Option<&AttachmentRecord>) -> Result<(), CniError>;

/// One of our plugins.
#[derive(Clone, Copy, Debug)]
pub struct Plugin {
    name: &'static str,
    about: &'static str,
    serve: Serve,
    keeps: Keeps,
}

/// What a plugin keeps of its attachments.
#[derive(Clone, Copy, Debug)]
enum Keeps {
    /// Nothing that a daemon owns: what is in the container, or a guarded port.
    Nothing,
    /// A record in the state directory.
    Records(Detach),
}

impl Plugin {
    /// A main plugin that is called by this name.
    #[must_use]
    pub const fn network<N: Network>(name: &'static str) -> Self {
        Self {
            name,
            about: N::ABOUT,
            serve: network::<N>,
            keeps: Keeps::Records(del::detach_without_daemon::<N>),
        }
    }

    /// Our own IPAM plugin, called by this name.
    #[must_use]
    pub const fn ipam(name: &'static str) -> Self {
        Self {
            name,
            about: ipam::ABOUT,
            serve: ipam::serve,
            keeps: Keeps::Records(|_, _, _, _| Ok(())),
        }
    }

    /// A plugin that guards the port another one made, called by this name.
    #[must_use]
    pub const fn chained<C: Chained>(name: &'static str) -> Self {
        Self {
            name,
            about: C::ABOUT,
            serve: chained::serve::<C>,
            keeps: Keeps::Nothing,
        }
    }

    /// The loopback plugin, called by this name.
    #[must_use]
    pub const fn loopback(name: &'static str) -> Self {
        Self {
            name,
            about: loopback::ABOUT,
            serve: loopback::serve,
            keeps: Keeps::Nothing,
        }
    }

    /// Answers a call on this process's environment and standard streams: as a client of the node
    /// daemon if one owns the state directory, else in this process.
    #[must_use]
    pub fn run(&self) -> ExitCode {
        let environment = Environment::new(std::env::vars_os());
        let stdin = std::io::stdin().lock();
        let output = bulkhead_cni::answer(self.name, self.about, environment, stdin, |call| {
            let mut host = InProcess::plugin();
            let Keeps::Records(detach) = self.keeps else {
                return self.serve(call, &mut host);
            };
            let state_dir = state_dir(call)?;
            match Managed::read(&state_dir).map_err(Failure::from)? {
                None => self.serve(call, &mut host),
                Some(managed) => {
                    begin(call, &host)?;
                    shim::pass_on(self.name, call, &state_dir, &managed, detach)
                }
            }
        });
        output.write(std::io::stdout().lock(), std::io::stderr().lock())
    }

    /// Answers a call, served by `host`.
    #[must_use]
    pub fn answer(
        &self,
        environment: Environment,
        stdin: impl Read,
        host: &mut dyn Host,
    ) -> Output {
        bulkhead_cni::answer(self.name, self.about, environment, stdin, |call| {
            self.serve(call, host)
        })
    }

    fn serve(&self, call: &Call, host: &mut dyn Host) -> Result<Answer, CniError> {
        begin(call, host)?;
        let under_way = host.under_way().filter(|_| call.verb.names_attachment());
        let turn = under_way.map(|calls| Ok::<_, CniError>(calls.begin(&call.attachment()?)));
        let _turn = turn.transpose()?;
        (self.serve)(call, host)
    }
}

fn begin(call: &Call, host: &dyn Host) -> Result<(), CniError> {
    match call.verb {
        Verb::Add | Verb::Del => host.refuse_own_netns(call),
        Verb::Check | Verb::Gc | Verb::Status | Verb::Version => Ok(()),
    }
}

fn network<N: Network>(call: &Call, host: &mut dyn Host) -> Result<Answer, CniError> {
    match call.verb {
        Verb::Add => add::add::<N>(call, host),
        Verb::Del => del::del::<N>(call, host),
        Verb::Check => check::check::<N>(call, host),
        Verb::Gc => gc::gc::<N>(call, host),
        Verb::Status => status::status::<N>(call, host),
        Verb::Version => Ok(Answer::Silent),
    }
}
