//! Several nodes with a routed underlay between them, each with a daemon, and a real etcd that all of them
//! reach.

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use netns_fixtures::{
    CniAnswer, CniCall, Container, Etcd, EtcdOptions, Host, NsError, Outside, Pair, Sandbox, Verb,
    wait_until,
};
use serde_json::{Value, json};

use crate::{Daemon, Scratch, Suite};

/// Longer than anything here takes on a loaded machine.
pub const LIMIT: Duration = Duration::from_secs(40);

/// The network that the nodes have together, unless a test asks for another.
pub const NETWORK: &str = "pods";
/// Its pool.
pub const POOL: &str = "default";

/// The nodes. They end when the value is dropped.
#[derive(Debug)]
pub struct Nodes {
    /// The nodes, from 1 on in their addresses and from 0 on here.
    pub all: Vec<Node>,
    /// What keeps their rows.
    pub etcd: Etcd,
    /// What routes between them; etcd is there.
    pub outside: Outside,
    /// Where everything lives.
    pub sandbox: Sandbox,
}

/// A node.
#[derive(Debug)]
pub struct Node {
    /// Its namespace.
    pub host: Host,
    /// Its addresses in the underlay.
    pub pair: Pair,
    /// Its name.
    pub name: String,
    state: Scratch,
    settings: String,
    /// How often it was booted since the first time.
    boots: u32,
    daemon: Option<Daemon>,
}

impl Nodes {
    /// So many nodes with a pool of 10.4.0.0/16 and `fd00:4::/64`, cut into blocks of 16.
    ///
    /// # Panics
    /// When one does not come up.
    #[must_use]
    pub fn start(count: u8) -> Self {
        Self::start_with(count, "")
    }

    /// The same; `settings` are lines of each daemon's configuration besides, complete tables.
    ///
    /// # Panics
    /// As [`Nodes::start`].
    #[must_use]
    pub fn start_with(count: u8, settings: &str) -> Self {
        let nodes = Self::without_pool(count, settings);
        nodes.add_pool("10.4.0.0/16", "fd00:4::/64", &[]);
        nodes
    }

    /// The same without a pool.
    ///
    /// # Panics
    /// As [`Nodes::start`].
    #[must_use]
    pub fn without_pool(count: u8, settings: &str) -> Self {
        let sandbox = Sandbox::new();
        let outside = sandbox.outside("out").expect("a namespace");
        let place = ((*outside).clone(), IpAddr::V4(Outside::V4));
        let etcd = Etcd::start(&sandbox, &[place], EtcdOptions::default()).expect("etcd");
        let mut nodes = Self {
            all: Vec::new(),
            etcd,
            outside,
            sandbox,
        };
        for nth in 1..=count {
            let node = nodes.make(nth, settings);
            nodes.all.push(node);
        }
        nodes
    }

    /// Makes the pool, cut into blocks of 16 of which each node has the first address; `more` are words of
    /// the command besides.
    ///
    /// # Panics
    /// When it is refused.
    pub fn add_pool(&self, v4: &str, v6: &str, more: &[&str]) {
        let pool = ["pool", "add", POOL, "--v4", v4, "--v6", v6];
        let sizes = ["--block-size", "16", "--node-addresses", "--cooldown", "1"];
        let _ = self.all[0].must_say(&[&pool[..], &sizes[..], more].concat());
    }

    /// Another node, that starts its daemon.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn join(&mut self, settings: &str) -> &mut Node {
        let nth = u8::try_from(self.all.len() + 1).expect("a few");
        let node = self.make(nth, settings);
        self.all.push(node);
        self.all.last_mut().expect("it was pushed")
    }

    fn make(&self, nth: u8, settings: &str) -> Node {
        let name = format!("n{nth}");
        let host = self.sandbox.host(&name).expect("a namespace");
        let pair = self.outside.link(&host, nth).expect("a link");
        let settings = format!(
            "collector.interval_secs = 0\nreconcile.interval_secs = 0\nflows.interval_secs = 1\nnode.name = {name:?}\n[store]\nbackend = \"etcd\"\n[store.etcd]\nendpoints = {:?}\n{settings}",
            self.etcd.urls()
        );
        let mut node = Node {
            state: Scratch::new(&self.sandbox, &name),
            host,
            pair,
            name,
            settings,
            boots: 0,
            daemon: None,
        };
        node.start();
        node
    }

    /// A container of a node with an attachment of the network, and the addresses it has.
    ///
    /// # Panics
    /// When its ADD fails.
    #[must_use]
    pub fn container(&self, nth: usize, name: &str) -> (Container, Vec<IpAddr>) {
        let node = &self.all[nth];
        let container = self.bare(nth, name);
        let result = node.call(Verb::Add, &container, &node.network()).result();
        (container, addresses(&result))
    }

    /// A container of a node that is on no network.
    ///
    /// # Panics
    /// When there is no namespace.
    #[must_use]
    pub fn bare(&self, nth: usize, name: &str) -> Container {
        let name = format!("{}-{name}", self.all[nth].name);
        self.sandbox.container(&name).expect("a namespace")
    }
}

impl Node {
    /// Starts the daemon.
    ///
    /// # Panics
    /// When it does not listen.
    pub fn start(&mut self) {
        let boot_id = self.state.path().join("boot-id");
        let boot_id = (self.boots > 0).then_some(boot_id.as_path());
        let state = self.state.path();
        let daemon = Daemon::start_in(&self.host, state, &self.settings, boot_id);
        self.daemon = Some(daemon.unwrap_or_else(|error| panic!("{}: {error}", self.name)));
    }

    /// Kills the daemon.
    pub fn kill(&mut self) {
        self.daemon = None;
    }

    /// Boots it anew: the daemon is another, and nothing of ours is in the kernel. The containers are dead;
    /// their namespaces stay until the runtime takes them away.
    ///
    /// # Panics
    /// When something refuses.
    pub fn boot(&mut self) {
        self.kill();
        self.host.nft("flush ruleset").expect("nft does it");
        for family in ["-4", "-6"] {
            let flush = format!("{family} route flush proto 98");
            self.host.ip(&flush).expect("ip does it");
        }
        let links = self.host.ip_json("link show").expect("ip runs");
        let links = links.as_array().into_iter().flatten();
        for name in links.filter_map(|link| link["ifname"].as_str()) {
            if name.starts_with("bh") {
                self.host
                    .ip(&format!("link del {name}"))
                    .expect("ip does it");
            }
        }
        self.boots += 1;
        let boot_id = format!("00000000-0000-4000-8000-{:012}\n", self.boots);
        let file = self.state.path().join("boot-id");
        std::fs::write(file, boot_id).expect("the directory is there");
        self.start();
    }

    /// The daemon's process.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn daemon_pid(&self) -> u32 {
        self.daemon.as_ref().expect("it runs").pid()
    }

    /// The state directory.
    #[must_use]
    pub fn state(&self) -> &Path {
        self.state.path()
    }

    /// The configuration of the network that the nodes have together.
    #[must_use]
    pub fn network(&self) -> Value {
        json!({
            "cniVersion": "1.1.0",
            "name": NETWORK,
            "type": "bulkhead-vxlan",
            "stateDir": self.state.path(),
            "ipMasq": true,
            "ipam": {"type": "bulkhead-ipam", "pool": POOL, "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]},
        })
    }

    /// Calls the network's plugin as a runtime does.
    ///
    /// # Panics
    /// When it cannot be run.
    #[must_use]
    pub fn call(&self, verb: Verb, container: &Container, network: &Value) -> CniAnswer {
        let plugin = network["type"].as_str().expect("a plugin");
        let answer = CniCall::new(Suite::ours().dir().join(plugin), verb)
            .container_id(container.name())
            .netns(container.path())
            .ifname("eth0")
            .stdin(network)
            .run(&self.host);
        answer.unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    /// Runs the CLI against the node's daemon.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn say(&self, words: &[&str]) -> io::Result<Output> {
        self.host
            .command(Suite::ours().dir().join("bulkhead"))
            .args(words)
            .arg("--state-dir")
            .arg(self.state.path())
            .output()
    }

    /// The same; what it says on standard output.
    ///
    /// # Panics
    /// When it fails, with what it said.
    #[must_use]
    pub fn must_say(&self, words: &[&str]) -> String {
        // A daemon that has just started may not have reached the store.
        let mut last = String::new();
        let said = wait_until(LIMIT, || {
            let output = self.say(words).expect("the CLI runs");
            last = String::from_utf8_lossy(&output.stderr).into_owned();
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            output.status.success().then_some(said)
        });
        said.unwrap_or_else(|| panic!("{}: bulkhead {}: {last}", self.name, words.join(" ")))
    }

    /// The network's device on this node.
    ///
    /// # Panics
    /// When the daemon does not tell.
    #[must_use]
    pub fn device(&self) -> String {
        let told = self.must_say(&["-o", "json", "overlay", "show", NETWORK]);
        let told: Value = serde_json::from_str(&told).expect("JSON");
        let device = told["here"]["device"].as_str();
        device.expect("the node has its end").to_owned()
    }

    /// Cuts the node's link to the others, or mends it.
    ///
    /// # Errors
    /// `Command` with `ip`'s words.
    pub fn set_uplink(&self, up: bool) -> Result<(), NsError> {
        let state = if up { "up" } else { "down" };
        self.host
            .ip(&format!("link set {} {state}", Outside::UPLINK))
            .map(drop)
    }
}

/// The addresses of a CNI result, without their prefix lengths.
///
/// # Panics
/// When it is none.
#[must_use]
pub fn addresses(result: &Value) -> Vec<IpAddr> {
    let ips = result["ips"].as_array().expect("a result has ips").iter();
    let text = ips.filter_map(|ip| ip["address"].as_str()?.split('/').next());
    text.map(|text| text.parse().expect("an address")).collect()
}
