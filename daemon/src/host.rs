//! Where a call is served: in this process, on a worker's warm sockets and the node's state.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bulkhead_attach::{Host, Overlays, Policies, PoolLeases, Stage, UnderWay};
use bulkhead_cni::exec::{Children, Delegates};
use bulkhead_cni::json::Value;
use bulkhead_cni::{Call, CniError, Code, Environment, NetnsCheck};
use bulkhead_ipam::wire::{Answer, Decoder, Delegate, Frame, Kind, Spoken, receive};
use bulkhead_ipam::{Access, OpenError, StateDir};
use bulkhead_kernel::{Kernel, Netns, NetnsError};

use crate::node::Node;
use crate::server::Counted;

/// Longest that a plugin may take to run another one for us: what runtimes wait for a call themselves.
const DELEGATED: Duration = Duration::from_mins(4);

/// The host of one call, or of a chore.
pub(crate) struct Here<'a, D> {
    pub(crate) node: &'a Node,
    /// What the time is counted under.
    pub(crate) verb: &'static str,
    pub(crate) kernel: &'a mut Kernel,
    /// The container's namespace, if its caller sent it.
    pub(crate) container: Container<'a>,
    pub(crate) delegates: D,
}

/// How a container's namespace is found.
pub(crate) enum Container<'a> {
    /// The caller sent its descriptor, or had none to send.
    Sent(Option<&'a OwnedFd>),
    /// At its recorded path.
    Recorded,
}

impl<D: Delegates> Host for Here<'_, D> {
    fn state(&self, path: &Path, access: Access) -> Result<Arc<StateDir>, OpenError> {
        if self.node.owns(path) {
            return Ok(Arc::clone(&self.node.state));
        }
        StateDir::open(path, access).map(Arc::new)
    }

    fn refuse_own_netns(&self, call: &Call) -> Result<(), CniError> {
        let Container::Sent(Some(sent)) = self.container else {
            return Ok(());
        };
        if call.netns_check == NetnsCheck::Refuse && self.node.is_own(sent) {
            return Err(call.own_netns());
        }
        Ok(())
    }

    fn container(&self, path: &Path) -> Result<Netns, NetnsError> {
        match self.container {
            Container::Recorded => Netns::open(path),
            Container::Sent(None) => Err(NetnsError::Missing {
                path: path.to_owned(),
            }),
            Container::Sent(Some(sent)) => {
                let sent = sent.try_clone().map_err(|error| NetnsError::Refused {
                    path: path.to_owned(),
                    source: rustix::io::Errno::from_io_error(&error)
                        .unwrap_or(rustix::io::Errno::MFILE),
                })?;
                Netns::from_fd(sent, path)
            }
        }
    }

    fn kernel(&mut self) -> &mut Kernel {
        self.kernel
    }

    fn delegates(&mut self) -> &mut dyn Delegates {
        &mut self.delegates
    }

    fn under_way(&self) -> Option<UnderWay> {
        Some(self.node.under_way.clone())
    }

    fn spent(&self, stage: Stage, time: Duration) {
        let stage = match stage {
            Stage::Pick => "pick",
            Stage::Record => "record",
            Stage::Release => "release",
        };
        self.node.metrics.took(self.verb, stage, time);
    }

    fn is_daemon(&self) -> bool {
        true
    }

    fn pools(&self) -> Option<Arc<dyn PoolLeases>> {
        Some(Arc::clone(&self.node.pools) as Arc<dyn PoolLeases>)
    }

    fn policies(&self) -> Option<Arc<dyn Policies>> {
        Some(Arc::clone(&self.node.policy) as Arc<dyn Policies>)
    }

    fn overlays(&self) -> Option<Arc<dyn Overlays>> {
        Some(Arc::clone(&self.node.overlays) as Arc<dyn Overlays>)
    }
}

/// For a chore: foreign IPAM plugins are children of the daemon.
impl<'a> Here<'a, Children> {
    pub(crate) const fn chore(node: &'a Node, kernel: &'a mut Kernel) -> Self {
        Self {
            node,
            verb: "loop",
            kernel,
            container: Container::Recorded,
            delegates: Children,
        }
    }
}

/// The plugin that was called: it runs foreign IPAM plugins, where its runtime has put it.
pub(crate) struct Shim<'a> {
    pub(crate) node: &'a Node,
    pub(crate) stream: &'a UnixStream,
    pub(crate) version: u16,
    /// The call's own variables.
    pub(crate) environment: &'a Environment,
}

impl Delegates for Shim<'_> {
    fn run(
        &mut self,
        plugin: &str,
        environment: &Environment,
        _stdin: &[u8],
    ) -> Result<Vec<u8>, CniError> {
        let verb = environment.var("CNI_COMMAND").unwrap_or_default();
        let own = |variable| self.environment.variables().any(|own| own == variable);
        let changed = environment
            .variables()
            .filter(|variable| variable.0 != "CNI_COMMAND" && !own(*variable));
        let ask = Delegate {
            plugin: plugin.to_owned(),
            verb: verb.to_string_lossy().into_owned(),
            environment: changed
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        };
        let waiting = Counted::new(&self.node.metrics.delegated);
        let answer = self.exchange(&ask);
        drop(waiting);
        let answer = answer.map_err(|error| {
            let text = format!("plugin {plugin:?}: whoever called us did not run it: {error}");
            CniError::new(Code::DELEGATE_FAILED, text)
        })?;
        if answer.exit == 0 {
            return Ok(answer.stdout);
        }
        let said = Value::parse(&answer.stdout).ok();
        Err(said
            .as_ref()
            .and_then(CniError::from_json)
            .unwrap_or_else(|| {
                let said = String::from_utf8_lossy(answer.stdout.trim_ascii());
                let text = format!("plugin {plugin:?} ended with no answer; it wrote {said:?}");
                CniError::new(Code::DELEGATE_FAILED, text)
            }))
    }
}

impl Shim<'_> {
    fn exchange(&self, ask: &Delegate) -> std::io::Result<Answer> {
        let mut stream = self.stream;
        stream.write_all(&encoded(&ask.to_frame(self.version, Spoken::OURS))?)?;
        let until = Instant::now() + DELEGATED;
        let mut decoder = Decoder::new(Spoken::OURS);
        let mut buffer = [0; 8 << 10];
        loop {
            if let Some(frame) = decoder.frame().map_err(std::io::Error::other)? {
                return Answer::from_frame(frame, Kind::Delegated).map_err(std::io::Error::other);
            }
            let left = until.saturating_duration_since(Instant::now());
            stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
            let received = receive(stream, &mut buffer)?;
            if received.length == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            decoder.feed(&buffer[..received.length]);
        }
    }
}

fn encoded(frame: &Frame) -> std::io::Result<Vec<u8>> {
    frame.encode().map_err(std::io::Error::other)
}
