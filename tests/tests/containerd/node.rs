//! A node that runs containerd on the conflist we ship, and pods on it.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use bulkhead_tests::containerd::Containerd;
use bulkhead_tests::{Suite, workspace};
use netns_fixtures::{Host, Ns, Outside, Pair, Sandbox, Section, Snapshot};
use serde_json::{Value, json};

use crate::cri::{Cri, DnsConfig, Linux, Metadata, PodConfig, PodReport};

/// How long anything that must happen may take on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(40);

/// The name of the network we ship.
pub(crate) const NETWORK: &str = "bulkhead";
/// Its gateways.
pub(crate) const GATEWAYS: [&str; 2] = ["10.244.0.1", "fd44:244::1"];

/// A node with one containerd.
pub(crate) struct Node {
    // Dropped first: its processes live in the sandbox's namespaces.
    pub(crate) containerd: Containerd,
    pub(crate) host: Host,
    pub(crate) outside: Outside,
    /// The node's link to the outside.
    pub(crate) pair: Pair,
    suite: Suite,
    before: Snapshot,
    _sandbox: Sandbox,
}

/// A pod that runs.
pub(crate) struct Pod {
    pub(crate) id: String,
    pub(crate) ips: Vec<IpAddr>,
    pub(crate) netns: Ns,
}

impl Node {
    /// A node whose containerd finds the executables of `suite` and no others.
    pub(crate) fn new(suite: Suite) -> Self {
        let sandbox = Sandbox::new();
        let plugins = suite.dir().to_owned();
        Self::with_plugins(suite, sandbox, &plugins)
    }

    /// As [`Node::new`], with the executables of `suite` wrapped in those of `plugins`.
    pub(crate) fn with_plugins(suite: Suite, sandbox: Sandbox, plugins: &Path) -> Self {
        let host = sandbox.host("node").unwrap();
        let outside = sandbox.outside("outside").unwrap();
        let pair = outside.link(&host, 1).unwrap();
        let before = Snapshot::take(&host).unwrap();
        let networks = [network(&suite)];
        Self {
            containerd: Containerd::start(&sandbox, &host, plugins, &networks),
            host,
            outside,
            pair,
            suite,
            before,
            _sandbox: sandbox,
        }
    }

    /// A fresh connection to containerd.
    pub(crate) fn cri(&self) -> Cri {
        Cri::connect(&self.containerd.socket())
    }

    /// What kubelet sends of a plain pod.
    pub(crate) fn pod(&self, name: &str) -> PodConfig {
        PodConfig {
            metadata: Some(Metadata {
                name: name.to_owned(),
                uid: format!("uid-of-{name}"),
                namespace: "default".to_owned(),
            }),
            dns: Some(DnsConfig {
                servers: vec!["10.96.0.10".to_owned()],
                searches: vec!["default.svc.cluster.local".to_owned()],
                options: vec!["ndots:5".to_owned()],
            }),
            labels: [("app".to_owned(), name.to_owned())].into(),
            linux: Some(Linux {
                cgroup_parent: self.containerd.cgroup().to_owned(),
            }),
            ..PodConfig::default()
        }
    }

    /// Runs a pod that must start.
    #[track_caller]
    pub(crate) fn run(&self, cri: &Cri, config: PodConfig) -> Pod {
        let id = cri.run(config).unwrap();
        let PodReport { ips, info } = cri.report(&id).unwrap();
        let namespaces = &info["runtimeSpec"]["linux"]["namespaces"];
        let of_network = namespaces.as_array().into_iter().flatten();
        let netns = of_network
            .filter(|namespace| namespace["type"] == "network")
            .find_map(|namespace| namespace["path"].as_str())
            .unwrap_or_else(|| panic!("no network namespace: {info:#}"));
        Pod {
            id,
            ips: ips.iter().map(|text| text.parse().unwrap()).collect(),
            netns: self.containerd.netns(netns),
        }
    }

    /// The node's addresses with a port, as the outside reaches it.
    pub(crate) fn addresses(&self, port: u16) -> [SocketAddr; 2] {
        [self.pair.node_v4.into(), self.pair.node_v6.into()]
            .map(|address: IpAddr| SocketAddr::new(address, port))
    }

    /// Ours leaves the node as it was; the reference leaves its bridge, sysctls and iptables chains.
    #[track_caller]
    pub(crate) fn assert_nothing_left(&self) {
        assert_eq!(self.cri().list().unwrap(), Vec::<String>::new());
        assert_eq!(self.containerd.netns_names(), Vec::<String>::new());
        let var_lib = self.containerd.var_lib();
        let state = if self.suite.is_ours() {
            var_lib.join("bulkhead")
        } else {
            var_lib.join("cni/networks")
        };
        let leases = self.suite.leases(NETWORK, &state);
        assert_eq!(leases, Vec::<IpAddr>::new());
        let left = self.before.left_where(&self.host, LIMIT, |section, key| {
            let is_of_a_pod = key.starts_with("veth") || key.starts_with("bwp");
            self.suite.is_ours() || (section == Section::Link && is_of_a_pod)
        });
        assert_eq!(left.unwrap(), Vec::<String>::new());
    }
}

impl Pod {
    /// Stops and removes the pod, as kubelet does.
    #[track_caller]
    pub(crate) fn end(&self, cri: &Cri) {
        cri.stop(&self.id).unwrap();
        cri.remove(&self.id).unwrap();
    }
}

/// The conflist of deploy/cri as it is; for the reference its plugins do what ours does alone.
fn network(suite: &Suite) -> Value {
    let path = workspace::root().join("deploy/cri/10-bulkhead.conflist");
    let text = fs::read_to_string(path).expect("the example is in the repository");
    let mut list: Value = serde_json::from_str(&text).expect("the example is JSON");
    if suite.is_ours() {
        return list;
    }
    list["plugins"][0]["type"] = json!("bridge");
    list["plugins"][0]["ipam"]["type"] = json!("host-local");
    let plugins = list["plugins"].as_array_mut().expect("a list of plugins");
    plugins.push(json!({"type": "portmap", "capabilities": {"portMappings": true}}));
    plugins.push(json!({"type": "bandwidth", "capabilities": {"bandwidth": true}}));
    list
}
