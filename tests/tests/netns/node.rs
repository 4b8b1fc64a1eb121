//! A node with an uplink to the outside, the network on it, and containers that are attached to it by
//! the built executables.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use bulkhead_ipam::{Access, StateDir};
use bulkhead_tests::{Daemon, Scratch, Suite};
use netns_fixtures::{
    BridgeNetfilter, CniAnswer, CniCall, Container, EchoServer, Feature, Host, Ns, Outside, Pair,
    Ping, Sandbox, Snapshot, Transport, Verb, tcp_echo, udp_echo, wait_for,
};
use serde_json::{Value, json};

/// How long anything that must happen may take on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(40);
/// How long what must not happen is waited for.
pub(crate) const WINDOW: Duration = Duration::from_millis(400);
/// How long the kernel may take to finish what it began behind an ADD.
const SETTLE: Duration = Duration::from_secs(10);

pub(crate) const NETWORK: &str = "blue";
pub(crate) const BRIDGE: &str = "br-blue";
pub(crate) const GATEWAYS: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(10, 1, 0, 1)),
    IpAddr::V6(Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, 1)),
];
pub(crate) const OUTSIDE: [IpAddr; 2] = [IpAddr::V4(Outside::V4), IpAddr::V6(Outside::V6)];

pub(crate) struct Node {
    /// Goes first: before its state and its node do.
    _daemon: Option<Daemon>,
    pub(crate) host: Host,
    pub(crate) outside: Outside,
    pub(crate) uplink: Pair,
    pub(crate) sandbox: Sandbox,
    pub(crate) before: Snapshot,
    suite: Suite,
    scratch: Scratch,
}

/// One attachment that an ADD made, and its result.
pub(crate) struct Attachment {
    pub(crate) container: Container,
    pub(crate) ifname: String,
    pub(crate) result: Value,
    config: Value,
}

impl Node {
    pub(crate) fn new(setting: BridgeNetfilter) -> Self {
        let suite = Suite::ours();
        let sandbox = Sandbox::new();
        let host = sandbox.host("node").unwrap();
        if Feature::BrNetfilter.is_present().unwrap() {
            host.set_bridge_netfilter(setting).unwrap();
        }
        let outside = sandbox.outside("outside").unwrap();
        let uplink = outside.link(&host, 1).unwrap();
        let before = Snapshot::take(&host).unwrap();
        let scratch = Scratch::new(&sandbox, "state");
        Self {
            before,
            _daemon: suite.serve(&host, scratch.path()),
            scratch,
            suite,
            sandbox,
            host,
            outside,
            uplink,
        }
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.scratch.path().to_owned()
    }

    /// A dual-stack network whose bridge is the gateway.
    pub(crate) fn config(&self) -> Value {
        self.network(NETWORK, BRIDGE, "10.1.0.0/24", "fd01::/64")
    }

    /// [`Node::config`] with more keys, or others.
    pub(crate) fn config_with(&self, keys: Value) -> Value {
        with(self.config(), keys)
    }

    pub(crate) fn network(&self, name: &str, bridge: &str, v4: &str, v6: &str) -> Value {
        let config = json!({
            "cniVersion": "1.1.0",
            "name": name,
            "bridge": bridge,
            "isDefaultGateway": true,
            "ipam": {"ranges": [[{"subnet": v4}], [{"subnet": v6}]]},
        });
        self.suite.adapt(config, self.scratch.path())
    }

    /// A layer-3 network: a link for each container, dual stack, and more keys or others.
    pub(crate) fn layer3(&self, keys: Value) -> Value {
        let ipam = json!({"ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd01::/64"}]]});
        let config = json!({"cniVersion": "1.1.0", "name": NETWORK, "ipam": ipam});
        let mut config = self.suite.adapt(with(config, keys), self.scratch.path());
        config["type"] = json!("bulkhead-ipv6");
        config
    }

    /// A layer-2 network: no addresses.
    pub(crate) fn segment(&self) -> Value {
        let config = json!({"cniVersion": "1.1.0", "name": NETWORK, "bridge": BRIDGE});
        self.suite.adapt(config, self.scratch.path())
    }

    /// A call for `ifname` of `container`, whose id is its namespace's name.
    pub(crate) fn call(
        &self,
        verb: Verb,
        config: &Value,
        container: &Container,
        ifname: &str,
    ) -> CniCall {
        let plugin = config["type"].as_str().expect("a plugin's name");
        CniCall::new(self.suite.dir().join(plugin), verb)
            .cni_path(&self.suite.cni_path())
            .container_id(container.name())
            .netns(container.path())
            .ifname(ifname)
            .stdin(config)
    }

    pub(crate) fn run(&self, call: &CniCall) -> CniAnswer {
        call.run(&self.host).unwrap()
    }

    /// A new container called `name` with an `eth0`.
    #[track_caller]
    pub(crate) fn attach(&self, config: &Value, name: &str) -> Attachment {
        let container = self.sandbox.container(name).unwrap();
        self.attach_to(config, &container, "eth0")
    }

    #[track_caller]
    pub(crate) fn attach_to(
        &self,
        config: &Value,
        container: &Container,
        ifname: &str,
    ) -> Attachment {
        let call = self.call(Verb::Add, config, container, ifname);
        Attachment {
            result: self.run(&call).result(),
            container: container.clone(),
            ifname: ifname.to_owned(),
            config: config.clone(),
        }
    }

    /// Two containers, `a` and `b`, on one network.
    #[track_caller]
    pub(crate) fn attach_two(&self, config: &Value) -> [Attachment; 2] {
        ["a", "b"].map(|name| self.attach(config, name))
    }

    /// DEL as a runtime makes it, with the result of ADD.
    #[track_caller]
    pub(crate) fn detach(&self, attachment: &Attachment) {
        let config = with(
            attachment.config.clone(),
            json!({"prevResult": attachment.result}),
        );
        let call = self.call(
            Verb::Del,
            &config,
            &attachment.container,
            &attachment.ifname,
        );
        self.silent(&call);
    }

    /// CHECK with the result of ADD.
    pub(crate) fn check(&self, attachment: &Attachment) -> CniAnswer {
        let config = with(
            attachment.config.clone(),
            json!({"prevResult": attachment.result}),
        );
        let call = self.call(
            Verb::Check,
            &config,
            &attachment.container,
            &attachment.ifname,
        );
        self.run(&call)
    }

    /// A call that must succeed without a word.
    #[track_caller]
    pub(crate) fn silent(&self, call: &CniCall) {
        let answer = self.run(call);
        assert!(
            answer.succeeded() && answer.stdout.is_empty(),
            "{answer:#?}"
        );
    }

    /// An ADD for a new container that must be refused: code, message and details. It leaves
    /// neither an interface nor a lease of that container nor anything on the node.
    #[track_caller]
    pub(crate) fn refused(&self, config: &Value, name: &str) -> (u64, String) {
        let container = self.sandbox.container(name).unwrap();
        let (standing, leased) = (standing(&self.host), self.leases());
        let answer = self.run(&self.call(Verb::Add, config, &container, "eth0"));
        let refusal = refusal(&answer);
        assert!(!container.has_link("eth0").unwrap(), "{refusal:?}");
        assert_eq!(standing.left_in(&self.host, LIMIT).unwrap(), NOTHING);
        assert_eq!(self.leases(), leased);
        refusal
    }

    /// Every leased address, of every network, sorted.
    pub(crate) fn leases(&self) -> Vec<IpAddr> {
        let Ok(state) = StateDir::open(self.scratch.path(), Access::Shared) else {
            return Vec::new();
        };
        let mut all = Vec::new();
        for network in state.networks().unwrap() {
            let known = state.network(&network).read().unwrap();
            for record in known.iter().flat_map(|known| known.attachments().unwrap()) {
                all.extend(
                    record
                        .addresses
                        .iter()
                        .map(|leased| leased.address.address()),
                );
            }
        }
        all.sort_unstable();
        all
    }

    /// The node is as it was before the first ADD, and nothing is leased.
    #[track_caller]
    pub(crate) fn assert_nothing_left(&self) {
        let left = self.before.left_in(&self.host, LIMIT).unwrap();
        assert_eq!(left, NOTHING);
        assert_eq!(self.leases(), Vec::<IpAddr>::new());
    }
}

/// The namespace once the kernel has finished what an ADD began.
pub(crate) fn standing(ns: &Ns) -> Snapshot {
    Snapshot::settled(ns, SETTLE).unwrap()
}

/// What a comparison of snapshots answers when both are the same.
pub(crate) const NOTHING: [String; 0] = [];

impl Attachment {
    /// Its addresses, v4 first, as the result has them.
    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        let ips = self.result["ips"].as_array().into_iter().flatten();
        let addresses = ips.map(|ip| {
            let text = ip["address"].as_str().unwrap();
            text.split('/').next().unwrap().parse().unwrap()
        });
        addresses.collect()
    }

    #[track_caller]
    pub(crate) fn v4(&self) -> Ipv4Addr {
        let v4 = |address| match address {
            IpAddr::V4(v4) => Some(v4),
            IpAddr::V6(_) => None,
        };
        self.addresses().into_iter().find_map(v4).unwrap()
    }

    #[track_caller]
    pub(crate) fn v6(&self) -> Ipv6Addr {
        let v6 = |address| match address {
            IpAddr::V6(v6) => Some(v6),
            IpAddr::V4(_) => None,
        };
        self.addresses().into_iter().find_map(v6).unwrap()
    }

    /// The MAC of the interface inside the container.
    #[track_caller]
    pub(crate) fn mac(&self) -> [u8; 6] {
        self.container.mac(&self.ifname).unwrap()
    }

    /// The name of its port on the node, from the result.
    #[track_caller]
    pub(crate) fn port(&self) -> String {
        let interfaces = self.result["interfaces"].as_array().unwrap().iter();
        let mut names = interfaces.map(|interface| interface["name"].as_str().unwrap());
        let port = names.find(|name| name.starts_with("bhp"));
        port.expect("a port is called bhp and more").to_owned()
    }

    /// The configuration it was added with.
    pub(crate) fn config(&self) -> &Value {
        &self.config
    }
}

/// `config` with the members of `keys` set.
pub(crate) fn with(mut config: Value, keys: Value) -> Value {
    let Value::Object(keys) = keys else {
        panic!("not an object: {keys}");
    };
    config
        .as_object_mut()
        .expect("a configuration is an object")
        .extend(keys);
    config
}

/// Code, message and details of a refusal, which says no more than that.
#[track_caller]
pub(crate) fn refusal(answer: &CniAnswer) -> (u64, String) {
    assert!(!answer.succeeded(), "not refused: {answer:#?}");
    let code = answer.error_code();
    let json = answer.json.clone().unwrap_or_default();
    assert!(json.get("ips").is_none(), "an error and a result: {json:#}");
    let text = |key: &str| json[key].as_str().unwrap_or_default().to_owned();
    let code = code.unwrap_or_else(|| panic!("no error object: {answer:#?}"));
    (code, format!("{} {}", text("msg"), text("details")))
}

/// ICMP, TCP and UDP from `from` reach `to`, an address of `holder`, which sees each come from `as_whom`.
#[track_caller]
pub(crate) fn assert_reaches(from: &Ns, holder: &Ns, to: IpAddr, as_whom: IpAddr) {
    assert!(Ping::new(to).limit(LIMIT).from(from).unwrap(), "ping {to}");
    let any = SocketAddr::new(to, 0);
    let large = vec![b'x'; 100_000];
    let tcp = EchoServer::start(holder, Transport::Tcp, any).unwrap();
    assert_eq!(
        tcp_echo(from, tcp.address(), &large, LIMIT).unwrap(),
        as_whom,
        "TCP to {to}"
    );
    let udp = EchoServer::start(holder, Transport::Udp, any).unwrap();
    assert_eq!(
        udp_echo(from, udp.address(), b"hello", LIMIT).unwrap(),
        as_whom,
        "UDP to {to}"
    );
}

/// Who `to`, an address of `holder`, sees when `from` speaks to it over TCP and UDP.
#[track_caller]
pub(crate) fn seen_as(from: &Ns, holder: &Ns, to: IpAddr) -> IpAddr {
    let any = SocketAddr::new(to, 0);
    let tcp = EchoServer::start(holder, Transport::Tcp, any).unwrap();
    let udp = EchoServer::start(holder, Transport::Udp, any).unwrap();
    let over_tcp = tcp_echo(from, tcp.address(), b"who", LIMIT).unwrap();
    let over_udp = udp_echo(from, udp.address(), b"who", LIMIT).unwrap();
    assert_eq!(over_tcp, over_udp);
    over_tcp
}

/// Waits until a bridge with a port has its carrier and a link-local address that is not tentative.
pub(crate) fn settled(host: &Ns, bridge: &str) {
    wait_for("the bridge to settle", LIMIT, || {
        let links = host.ip_json(&format!("addr show dev {bridge}")).unwrap();
        let text = links.to_string();
        let ready = links[0]["operstate"] == "UP"
            && text.contains("\"fe80:")
            && !text.contains("tentative");
        ready.then_some(())
    });
}
