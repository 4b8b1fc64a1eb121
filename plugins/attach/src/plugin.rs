//! What an executable or a daemon does with a plugin's name.

use std::io::Read;
use std::process::ExitCode;

use bulkhead_cni::{Answer, Call, CniError, Environment, Output, Verb};

use crate::host::{Host, InProcess};
use crate::{Network, add, check, del, gc, ipam, loopback, status};

type Serve = fn(&Call, &mut dyn Host) -> Result<Answer, CniError>;

/// One of our plugins.
#[derive(Clone, Copy, Debug)]
pub struct Plugin {
    name: &'static str,
    about: &'static str,
    serve: Serve,
}

impl Plugin {
    /// A main plugin that is called by this name.
    #[must_use]
    pub const fn network<N: Network>(name: &'static str) -> Self {
        Self {
            name,
            about: N::ABOUT,
            serve: network::<N>,
        }
    }

    /// Our own IPAM plugin, called by this name.
    #[must_use]
    pub const fn ipam(name: &'static str) -> Self {
        Self {
            name,
            about: ipam::ABOUT,
            serve: ipam::serve,
        }
    }

    /// The loopback plugin, called by this name.
    #[must_use]
    pub const fn loopback(name: &'static str) -> Self {
        Self {
            name,
            about: loopback::ABOUT,
            serve: loopback::serve,
        }
    }

    /// Serves a call on this process's environment and standard streams.
    #[must_use]
    pub fn run(&self) -> ExitCode {
        let environment = Environment::new(std::env::vars_os());
        let stdin = std::io::stdin().lock();
        let output = self.answer(environment, stdin, &mut InProcess::plugin());
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
            if matches!(call.verb, Verb::Add | Verb::Del) {
                host.refuse_own_netns(call)?;
            }
            (self.serve)(call, host)
        })
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
