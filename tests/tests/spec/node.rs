//! One node with one container, and calls of the plugins there.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use bulkhead_tests::{Daemon, Scratch, Suite};
use netns_fixtures::{CniAnswer, CniCall, Container, Host, Sandbox, Snapshot, Verb};
use serde_json::Value;

/// How long the kernel may take to finish what it began behind a call, on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(40);

/// The network that [`Node::config`] is of.
pub(crate) const NETWORK: &str = "net";

pub(crate) struct Node {
    /// Goes first: before its state and its node do.
    _daemon: Option<Daemon>,
    pub(crate) suite: Suite,
    pub(crate) host: Host,
    pub(crate) container: Container,
    pub(crate) sandbox: Sandbox,
    pub(crate) before: Snapshot,
    scratch: Scratch,
}

impl Node {
    pub(crate) fn new(suite: &Suite) -> Self {
        let sandbox = Sandbox::new();
        let host = sandbox.host("node").unwrap();
        let scratch = Scratch::new(&sandbox, "state");
        Self {
            before: Snapshot::take(&host).unwrap(),
            _daemon: suite.serve(&host, scratch.path()),
            suite: suite.clone(),
            container: sandbox.container("c").unwrap(),
            host,
            scratch,
            sandbox,
        }
    }

    /// Where the network's state is.
    pub(crate) fn state(&self) -> PathBuf {
        self.scratch.path().to_owned()
    }

    /// A dual-stack network in the words of `version`.
    pub(crate) fn config(&self, version: &str) -> Value {
        self.suite.dual_stack(version, NETWORK, &self.state())
    }

    /// A call of the bridge plugin for the container's `eth0`, complete but for its configuration.
    pub(crate) fn call(&self, verb: Verb, config: &Value) -> CniCall {
        self.call_of(&self.suite.bridge(), verb, config)
    }

    /// As [`Node::call`], of the IPAM plugin.
    pub(crate) fn ipam_call(&self, verb: Verb, config: &Value) -> CniCall {
        self.call_of(&self.suite.ipam(), verb, config)
    }

    fn call_of(&self, plugin: &std::path::Path, verb: Verb, config: &Value) -> CniCall {
        CniCall::new(plugin, verb)
            .cni_path(&self.suite.cni_path())
            .container_id("c1")
            .netns(self.container.path())
            .ifname("eth0")
            .stdin(config)
    }

    pub(crate) fn run(&self, call: &CniCall) -> CniAnswer {
        call.run(&self.host).unwrap()
    }

    /// The result of an ADD that must succeed.
    #[track_caller]
    pub(crate) fn add(&self, config: &Value) -> Value {
        self.attach(&self.call(Verb::Add, config))
    }

    /// As [`Node::add`], of a call that differs from the usual one.
    #[track_caller]
    pub(crate) fn attach(&self, call: &CniCall) -> Value {
        self.run(call).result()
    }

    /// A DEL that must succeed, with nothing on standard output.
    #[track_caller]
    pub(crate) fn del(&self, config: &Value) {
        silent(&self.run(&self.call(Verb::Del, config)));
    }

    /// Whether the container has its interface.
    pub(crate) fn is_attached(&self) -> bool {
        self.container.has_link("eth0").unwrap()
    }

    pub(crate) fn leases(&self) -> Vec<IpAddr> {
        self.suite.leases(NETWORK, &self.state())
    }

    /// Neither lease nor interface is left; of ours, the node is as it was before the first call.
    #[track_caller]
    pub(crate) fn assert_nothing_left(&self) {
        assert_eq!(self.leases(), Vec::<IpAddr>::new());
        if self.suite.is_ours() {
            let left = self.before.left_in(&self.host, LIMIT).unwrap();
            assert_eq!(left, Vec::<String>::new());
        }
    }
}

/// The answer to a verb that has none: success without a word.
#[track_caller]
pub(crate) fn silent(answer: &CniAnswer) {
    assert!(answer.succeeded(), "{answer:#?}");
    assert_eq!(answer.stdout, "");
}

/// The error object of a refusal: the one JSON value on standard output, a code that is not 0, and
/// a text.
#[track_caller]
pub(crate) fn refusal(answer: &CniAnswer, code: u64) -> String {
    assert!(!answer.succeeded(), "not refused: {answer:#?}");
    assert_eq!(answer.error_code(), Some(code), "{answer:#?}");
    let json = answer.json.as_ref().expect("it has an error code");
    assert!(json.get("ips").is_none(), "an error and a result: {json:#}");
    let text = |key: &str| json[key].as_str().unwrap_or_default().to_owned();
    let message = format!("{} {}", text("msg"), text("details"));
    assert!(message.len() > 1, "no text: {json:#}");
    message
}
