//! A node with the world outside, and one container on a network of our plugins.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use netns_fixtures::{
    Container, EchoServer, Host, Ns, Outside, Pair, Sandbox, Transport, tcp_echo, wait_until,
};

use super::{BULKHEAD, Ran, Scratch, plugins};

/// How long an answer is waited for, twice.
const LIMIT: Duration = Duration::from_millis(200);
/// Longer than any answer takes on a loaded machine.
const LONG: Duration = Duration::from_secs(20);
/// The port of the node that leads to the container's echo server.
const HOST_PORT: u16 = 8080;

/// Where every command looks.
pub(crate) const DIRS: &str = "--conf-dir $DIR/net.d --state-dir $DIR/state";

/// A node.
pub(crate) struct Node {
    pub(crate) sandbox: Sandbox,
    pub(crate) host: Host,
    pub(crate) outside: Outside,
    pub(crate) pair: Pair,
    pub(crate) scratch: Scratch,
    /// What runs `bulkhead coexist` and `bulkhead doctor` in it; empty for nothing.
    pub(crate) wrapper: Vec<String>,
    pub(crate) environment: Vec<(String, String)>,
    bin: PathBuf,
}

impl Node {
    /// A node with configurations and nothing on it; `None` where our plugins are not built.
    pub(crate) fn new(test: &str) -> Option<Self> {
        let dir = std::env::var_os("BULKHEAD_BIN_DIR").map(PathBuf::from);
        let bin = plugins(test, dir, &["bulkhead-bridge", "bulkhead-ipam"])?;
        let sandbox = Sandbox::new();
        let host = sandbox.host("node").unwrap();
        let outside = sandbox.outside("out").unwrap();
        let pair = outside.link(&host, 1).unwrap();
        let scratch = Scratch::new();
        // The machine's own lock of the old iptables is none of a test's business.
        let lock = ("XTABLES_LOCKFILE".to_owned(), scratch.text("xtables.lock"));
        Some(Self {
            sandbox,
            host,
            outside,
            pair,
            scratch,
            wrapper: Vec::new(),
            environment: vec![lock],
            bin,
        })
    }

    /// Configures network `name` on bridge `br-<name>` with `10.<nth>.0.0/24` and `fd00:<nth>::/64`;
    /// `keys` are keys of the plugin, each with a comma before it.
    pub(crate) fn network(&self, name: &str, nth: u8, keys: &str) {
        let state = self.scratch.text("state");
        self.scratch.write(
            &format!("net.d/{name}.conflist"),
            &format!(
                r#"{{"cniVersion":"1.0.0","name":"{name}","plugins":[{{"type":"bulkhead-bridge",
                "bridge":"br-{name}","isDefaultGateway":true,"ipMasq":true,"stateDir":"{state}",
                "capabilities":{{"portMappings":true}},
                "ipam":{{"type":"bulkhead-ipam","ranges":[[{{"subnet":"10.{nth}.0.0/24"}}],
                [{{"subnet":"fd00:{nth}::/64"}}]]}}{keys}}}]}}"#
            ),
        );
    }

    /// Attaches a new container to `network`, with host port 8080 if that is asked for.
    pub(crate) fn attach(&self, network: &str, id: &str, host_port: bool) -> Container {
        let container = self.sandbox.container(id).unwrap();
        let bin = self.bin.display();
        let port = if host_port {
            format!(
                r#"--cap portMappings=[{{"hostPort":{HOST_PORT},"containerPort":80,"protocol":"tcp"}}]"#
            )
        } else {
            String::new()
        };
        let line = format!(
            "cni add {network} {} --container-id {id} --conf-dir $DIR/net.d --cache-dir $DIR/cache --bin-dir {bin} {port}",
            container.path().display()
        );
        self.scratch.bulkhead_in(&self.host, &line).ok();
        container
    }

    /// Runs `bulkhead <line>` on the node, in the wrapper.
    pub(crate) fn bulkhead(&self, line: &str) -> Ran {
        let mut words = self.wrapper.iter().map(String::as_str).chain([BULKHEAD]);
        let mut command = self.host.command(words.next().unwrap());
        command.args(words).envs(self.environment.iter().cloned());
        self.scratch.run(command, line)
    }

    /// Runs a program on the node, in the wrapper, that must succeed.
    pub(crate) fn sh(&self, line: &str) -> String {
        let mut words = self
            .wrapper
            .iter()
            .map(String::as_str)
            .chain(line.split(' '));
        let mut command = Command::new(words.next().unwrap());
        command.args(words).envs(self.environment.iter().cloned());
        self.host.run(&mut command, b"").unwrap()
    }

    pub(crate) fn coexist(&self, line: &str) -> Ran {
        self.bulkhead(&format!("coexist {line} {DIRS}"))
    }

    /// The findings of `bulkhead doctor`, and its exit code.
    pub(crate) fn doctor(&self) -> (i32, Vec<serde_json::Value>) {
        let bin = self.bin.display();
        let line = format!("doctor -o json {DIRS} --bin-dir {bin} --cache-dir $DIR/cache");
        let ran = self.bulkhead(&line);
        assert_eq!(ran.stderr, "");
        (ran.code, serde_json::from_str(&ran.stdout).unwrap())
    }

    /// The names of the findings, each once.
    pub(crate) fn ids(&self) -> Vec<String> {
        let (_, findings) = self.doctor();
        let mut ids: Vec<String> = findings
            .iter()
            .map(|finding| finding["id"].as_str().unwrap().to_owned())
            .collect();
        ids.sort();
        ids.dedup();
        ids
    }

    /// What is seen of every finding with that name.
    pub(crate) fn seen(&self, id: &str) -> Vec<String> {
        let (_, findings) = self.doctor();
        let of = findings.iter().filter(|finding| finding["id"] == id);
        of.map(|finding| finding["seen"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Demands that `from` gets answers of the outside's own addresses, by IPv4 and by IPv6, or gets none.
    #[track_caller]
    pub(crate) fn reaches_outside(&self, from: &Ns, expected: [Reach; 2]) {
        let addresses: [IpAddr; 2] = [Outside::V4.into(), Outside::V6.into()];
        for (address, expected) in addresses.into_iter().zip(expected) {
            connects(from, &self.outside, address, expected);
        }
    }

    /// Demands that the outside gets an answer of the container by host port 8080, or gets none.
    #[track_caller]
    pub(crate) fn host_port_answers(&self, container: &Ns, expected: Reach) {
        let to = SocketAddr::new(self.pair.node_v4.into(), HOST_PORT);
        let any = "0.0.0.0".parse().unwrap();
        let _server =
            EchoServer::start(container, Transport::Tcp, SocketAddr::new(any, 80)).unwrap();
        expected.of(&self.outside, to);
    }
}

/// What becomes of a question.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Reach {
    /// It is answered, however busy the machine is.
    Answered,
    /// It is not.
    Silent,
}

impl Reach {
    #[track_caller]
    fn of(self, from: &Ns, to: SocketAddr) {
        let asks = || tcp_echo(from, to, b"x", LIMIT).ok();
        // The first packets may wait for a neighbour.
        let answered = match self {
            Self::Answered => wait_until(LONG, asks),
            Self::Silent => asks().or_else(asks),
        };
        assert_eq!(answered.is_some(), self == Self::Answered, "{to}");
    }
}

/// Demands that `from` gets an answer of an echo server of `of`'s at `address`, or gets none.
#[track_caller]
pub(crate) fn connects(from: &Ns, of: &Ns, address: IpAddr, expected: Reach) {
    let server = EchoServer::start(of, Transport::Tcp, SocketAddr::new(address, 0)).unwrap();
    expected.of(from, server.address());
}
