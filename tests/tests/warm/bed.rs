//! A node with a container, whose plugins have a daemon or have none.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bulkhead_attach::PoolLeases;
use bulkhead_tests::{Scratch, Suite};
use netns_fixtures::{CniAnswer, CniCall, Container, Host, Sandbox, Snapshot, Verb};
use serde_json::{Value, json};

use crate::warm::Warm;

pub(crate) const IN_TIME: Duration = Duration::from_secs(20);
pub(crate) const NETWORK: &str = "net";
pub(crate) const NOTHING: [String; 0] = [];

pub(crate) struct Bed {
    pub(crate) warm: Option<Warm>,
    pub(crate) suite: Suite,
    pub(crate) host: Host,
    pub(crate) container: Container,
    pub(crate) before: Snapshot,
    scratch: Scratch,
    _sandbox: Sandbox,
}

impl Bed {
    /// A node whose plugins serve calls themselves.
    pub(crate) fn new() -> Self {
        let sandbox = Sandbox::new();
        let host = sandbox.host("node").unwrap();
        Self {
            warm: None,
            suite: Suite::ours(),
            container: sandbox.container("c").unwrap(),
            before: Snapshot::take(&host).unwrap(),
            scratch: Scratch::new(&sandbox, "state"),
            host,
            _sandbox: sandbox,
        }
    }

    /// A node with a daemon.
    pub(crate) fn managed(pools: Option<Arc<dyn PoolLeases>>) -> Self {
        let mut bed = Self::new();
        bed.warm = Some(Warm::start(&bed.host, &bed.state(), pools));
        bed
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.scratch.path().to_owned()
    }

    pub(crate) fn config(&self) -> Value {
        self.suite.dual_stack("1.1.0", NETWORK, &self.state())
    }

    /// A network whose addresses come from the cluster's pools.
    pub(crate) fn of_pool(&self, ipam: Value) -> Value {
        let mut config = self.config();
        config["isDefaultGateway"] = json!(true);
        config["ipMasq"] = json!(true);
        config["ipam"] = ipam;
        config["ipam"]["type"] = json!("bulkhead-ipam");
        config
    }

    pub(crate) fn call(&self, verb: Verb, config: &Value) -> CniCall {
        CniCall::new(self.suite.bridge(), verb)
            .cni_path(&self.suite.cni_path())
            .container_id("c1")
            .netns(self.container.path())
            .ifname("eth0")
            .stdin(config)
    }

    pub(crate) fn run(&self, verb: Verb, config: &Value) -> CniAnswer {
        self.call(verb, config).run(&self.host).unwrap()
    }

    pub(crate) fn is_attached(&self) -> bool {
        self.container.has_link("eth0").unwrap()
    }

    /// Nothing of ours is on the node any more, in the end.
    #[track_caller]
    pub(crate) fn assert_nothing_left(&self) {
        assert_eq!(self.before.left_in(&self.host, IN_TIME).unwrap(), NOTHING);
    }

    /// What a plugin printed, with the names that are of the bed alone replaced.
    pub(crate) fn said(&self, answer: &CniAnswer) -> (bool, String, String) {
        let netns = self.container.path().display().to_string();
        let state = self.state().display().to_string();
        let node = self.host.path().display().to_string();
        let plain = |text: &str| {
            let text = text.replace(&netns, "NETNS").replace(&state, "STATE");
            text.replace(&node, "NODE")
        };
        (
            answer.succeeded(),
            plain(&answer.stdout),
            plain(&answer.stderr),
        )
    }
}

/// The code of an error, and its text.
#[track_caller]
pub(crate) fn refusal(answer: &CniAnswer) -> (u64, String) {
    let code = answer.error_code();
    let json = answer.json.as_ref().expect("an error object");
    let text = |key: &str| json[key].as_str().unwrap_or_default();
    let text = [text("msg"), text("details")].join("; ");
    (code.unwrap_or_else(|| panic!("{answer:#?}")), text)
}
