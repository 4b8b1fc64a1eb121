//! Attacker, two victims, their node, the world beyond and another node, as namespaces; the first
//! three attached by the plugin under test.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bulkhead_model::NetworkName;
use bulkhead_tests::nodes::{Nodes, POOL};
use bulkhead_tests::{Scratch, Suite};
use netns_fixtures::packet::{MacOctets, mac_text};
use netns_fixtures::{
    BridgeNetfilter, CniAnswer, CniCall, Container, Feature, Host, Ns, Outside, Pair, Sandbox,
    Verb, wait_for,
};
use serde_json::{Value, json};

use crate::ground::{Ground, NETWORK, POOL4, POOL6, merged};
use crate::scene::{Scene, Station};

/// How long anything that must happen may take on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(40);
pub(crate) const ETH0: &str = "eth0";
/// What passed the attacker's port, on the node.
const TAP: [&str; 2] = ["tap-in", "tap-out"];
/// The VTEP of an overlay that the containers are no part of, where they have none themselves.
const VTEP: &str = "vx0";
pub(crate) const VNI: u32 = 7;

/// One attached container.
pub(crate) struct Seat {
    pub(crate) ns: Container,
    pub(crate) result: Value,
    pub(crate) station: Station,
    /// Its port.
    pub(crate) port: String,
    /// What plays the node's part for it: the node, or a namespace that the network has for itself there.
    pub(crate) home: Ns,
}

pub(crate) struct Lab {
    pub(crate) ground: Ground,
    pub(crate) attacker: Seat,
    pub(crate) victims: [Seat; 2],
    pub(crate) node: Host,
    pub(crate) remote: Host,
    pub(crate) outside: Outside,
    pub(crate) scene: Scene,
    pub(crate) sandbox: Sandbox,
    /// The VTEP on either node.
    pub(crate) vtep: String,
    scratch: Scratch,
    /// What serves the nodes.
    cluster: Option<Cluster>,
}

/// Nodes, and the namespaces that their networks had for themselves, which go with it.
struct Cluster {
    nodes: Nodes,
    named: Mutex<BTreeSet<PathBuf>>,
}

impl Cluster {
    fn kill_daemons(&mut self) {
        for node in &mut self.nodes.all {
            node.kill();
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.kill_daemons();
        let named = self.named.get_mut().unwrap_or_else(PoisonError::into_inner);
        for name in named.iter().filter_map(|it| it.file_name()) {
            let mut remove = Command::new("ip");
            // The network may have gone before.
            let removed = remove.args(["netns", "del"]).arg(name);
            drop(removed.stderr(Stdio::null()).status());
        }
    }
}

/// What `guard` is for one seat only, in `args.cni`: attacker, victims. `Null` is what all have.
pub(crate) type Wishes = [Value; 3];

impl Lab {
    pub(crate) fn new(ground: Ground, setting: BridgeNetfilter) -> Self {
        Self::with(ground, setting, &[Value::Null, Value::Null, Value::Null])
    }

    pub(crate) fn with(ground: Ground, setting: BridgeNetfilter, wishes: &Wishes) -> Self {
        if ground.is_overlay() {
            let lab = Self::over_nodes(ground, wishes);
            if ground.is_bridged_overlay() {
                lab.set_bridge_netfilter(setting);
            }
            return lab;
        }
        let sandbox = Sandbox::new();
        let node = sandbox.host("node").unwrap();
        if Feature::BrNetfilter.is_present().unwrap() {
            node.set_bridge_netfilter(setting).unwrap();
        }
        let remote = sandbox.host("remote").unwrap();
        let outside = sandbox.outside("outside").unwrap();
        let links = [(&node, 1), (&remote, 2)].map(|(host, nth)| outside.link(host, nth).unwrap());
        let [uplink, far] = links;
        lead_to_the_pool(&outside, uplink);
        for (host, pair) in [(&node, uplink), (&remote, far)] {
            let local = pair.node_v4;
            let vtep = format!("type vxlan id {VNI} local {local} dstport 4789 nolearning");
            host.ip_batch(&[
                format!("link add {VTEP} {vtep}"),
                format!("link set {VTEP} up"),
            ])
            .unwrap();
        }
        let scratch = Scratch::new(&sandbox, "state");
        let attach = |nth: usize| {
            let ns = sandbox
                .container(["attacker", "victim1", "victim2"][nth])
                .unwrap();
            seat(ground, ns, &node, scratch.path(), &wishes[nth])
        };
        let [attacker, one, two] = [0, 1, 2].map(attach);
        let victims = [one, two];
        let scene = Scene {
            me: attacker.station,
            victims: [victims[0].station, victims[1].station],
            gateway: gateway(ground, &attacker),
            port_mac: attacker.home.mac(&attacker.port).unwrap(),
            node: (uplink.node_v4, uplink.node_v6),
            uplink_mac: node.mac(Outside::UPLINK).unwrap(),
            upstream_mac: outside.mac("node1").unwrap(),
            remote: (far.node_v4, far.node_v6),
            upstream: (Outside::V4, Outside::V6),
            segment: ground.segment(),
        };
        Self {
            ground,
            attacker,
            victims,
            node,
            remote,
            outside,
            scene,
            sandbox,
            vtep: VTEP.to_owned(),
            scratch,
            cluster: None,
        }
    }

    /// Attacker and first victim on one node of an overlay, the second victim on another.
    fn over_nodes(ground: Ground, wishes: &Wishes) -> Self {
        let nodes = Nodes::without_pool(2, "");
        // Those that nobody has by `nobody4` are given to nobody.
        let nobodys = ["--reserve", "10.66.0.96-10.66.0.255"];
        if ground.is_bridged_overlay() {
            let pool = ["pool", "add", POOL, "--tenant", NETWORK];
            let ranges = ["--v4", POOL4, "--v6", POOL6, "--block-size", "16"];
            let _ = nodes.all[0].must_say(&[&pool[..], &ranges[..], &nobodys[..]].concat());
        } else {
            nodes.add_pool(POOL4, POOL6, &nobodys);
        }
        let cluster = Cluster {
            nodes,
            named: Mutex::default(),
        };
        let [near, far] = [0, 1].map(|nth| &cluster.nodes.all[nth]);
        let outside = cluster.nodes.outside.clone();
        if !ground.is_bridged_overlay() {
            lead_to_the_pool(&outside, near.pair);
        }
        let sandbox = Sandbox::new();
        let attach = |nth: usize| {
            let node = [near, near, far][nth];
            let ns = sandbox
                .container(["attacker", "victim1", "victim2"][nth])
                .unwrap();
            let seat = seat(ground, ns, &node.host, node.state(), &wishes[nth]);
            if ground.is_bridged_overlay() {
                let path = seat.home.path().to_owned();
                cluster.named.lock().unwrap().insert(path);
            }
            seat
        };
        let [attacker, one, two] = [0, 1, 2].map(attach);
        let victims = [one, two];
        let (node, remote) = (near.host.clone(), far.host.clone());
        let scene = Scene {
            me: attacker.station,
            victims: [victims[0].station, victims[1].station],
            gateway: gateway(ground, &attacker),
            port_mac: attacker.home.mac(&attacker.port).unwrap(),
            node: (near.pair.node_v4, near.pair.node_v6),
            uplink_mac: node.mac(Outside::UPLINK).unwrap(),
            upstream_mac: outside.mac("node1").unwrap(),
            remote: (far.pair.node_v4, far.pair.node_v6),
            upstream: (Outside::V4, Outside::V6),
            segment: ground.segment(),
        };
        let network: NetworkName = NETWORK.parse().unwrap();
        Self {
            ground,
            attacker,
            victims,
            node,
            remote,
            outside,
            scene,
            scratch: Scratch::new(&sandbox, "state"),
            sandbox,
            vtep: network.vxlan_device().to_string(),
            cluster: Some(cluster),
        }
    }

    pub(crate) fn seats(&self) -> [&Seat; 3] {
        [&self.attacker, &self.victims[0], &self.victims[1]]
    }

    /// Those whose ports are on the attacker's node.
    pub(crate) fn near(&self) -> Vec<&Seat> {
        let home = self.home().path();
        let near = self.seats().into_iter();
        near.filter(|seat| seat.home.path() == home).collect()
    }

    /// Whether the first victim is behind the other node.
    pub(crate) fn is_first_victim_far(&self) -> bool {
        self.victims[0].home.path() != self.home().path()
    }

    /// What plays the node's part for the attacker.
    pub(crate) fn home(&self) -> &Ns {
        &self.attacker.home
    }

    /// What plays the other node's part for its containers, and the device of it that speaks to them.
    pub(crate) fn far(&self) -> (&Ns, &str) {
        let home = self.home().path();
        let seats = self.seats().into_iter();
        let far = seats.map(|seat| &seat.home).find(|it| it.path() != home);
        match self.ground.bridge() {
            Some(bridge) if self.ground.is_overlay() => (far.unwrap_or(&self.remote), bridge),
            _ => (&self.remote, &self.vtep),
        }
    }

    /// The device that shows what reaches the node's stack from the attacker: the bridge. A port
    /// without one shows also what is dropped on it, so that what passes is copied elsewhere.
    pub(crate) fn node_tap(&self) -> &'static str {
        self.ground.bridge().unwrap_or_else(|| {
            let [near, far] = TAP;
            let node = self.home();
            if !node.has_link(far).unwrap() {
                copy_what_passes(node, &self.attacker.port, near, far);
            }
            far
        })
    }

    /// The device of the attacker's home that speaks to it: the bridge or, without one, the port.
    pub(crate) fn node_device(&self) -> &str {
        self.ground.bridge().unwrap_or(&self.attacker.port)
    }

    /// Whether bridged frames pass netfilter in the attacker's home and in the other node's.
    pub(crate) fn set_bridge_netfilter(&self, setting: BridgeNetfilter) {
        if !Feature::BrNetfilter.is_present().unwrap() {
            return;
        }
        let value = match setting {
            BridgeNetfilter::On => "1",
            BridgeNetfilter::Off => "0",
        };
        for home in [self.home(), self.far().0] {
            for family in ["iptables", "ip6tables", "arptables"] {
                let key = format!("net/bridge/bridge-nf-call-{family}");
                home.set_sysctl(&key, value).unwrap();
            }
        }
    }

    /// Has nobody mend what attacks do to a segment, nor take away what the suite adds to it.
    pub(crate) fn leave_alone(&mut self) {
        if let Some(cluster) = &mut self.cluster
            && self.ground.is_bridged_overlay()
        {
            cluster.kill_daemons();
        }
    }

    /// ADD of one more container.
    pub(crate) fn attach(&self, ns: Container) -> Seat {
        let state = self.scratch.path();
        seat(self.ground, ns, &self.node, state, &Value::Null)
    }

    /// DEL of one of the seats, as a runtime makes it.
    pub(crate) fn detach(&self, seat: &Seat) {
        for config in self.ground.chain(self.scratch.path()).iter().rev() {
            let config = merged(config.clone(), json!({"prevResult": seat.result}));
            let answer = call(Verb::Del, &config, &self.node, &seat.ns);
            assert!(answer.succeeded(), "{answer:#?}");
        }
    }
}

/// What comes from outside for the pool comes by that link.
fn lead_to_the_pool(outside: &Outside, uplink: Pair) {
    outside
        .ip_batch(&[
            format!("route add {POOL4} via {}", uplink.node_v4),
            format!("route add {POOL6} via {}", uplink.node_v6),
        ])
        .unwrap();
}

/// A chain at the end of the port's ingress, which only what every other accepted gets to.
fn copy_what_passes(node: &Ns, port: &str, near: &str, far: &str) {
    node.ip(&format!("link add {near} type veth peer {far}"))
        .unwrap();
    for device in [near, far] {
        node.set_sysctl(&format!("net/ipv6/conf/{device}/disable_ipv6"), "1")
            .unwrap();
        node.ip(&format!("link set {device} up")).unwrap();
    }
    node.nft(&format!(
        "table netdev suite {{\nchain passed {{\n\
         type filter hook ingress device {port} priority 300;\ndup to {near}\n}}\n}}\n"
    ))
    .unwrap();
}

/// A container, attached.
fn seat(ground: Ground, ns: Container, node: &Ns, state: &Path, wish: &Value) -> Seat {
    let mut result = Value::Null;
    for mut config in ground.chain(state) {
        if !result.is_null() {
            config["prevResult"] = result;
        }
        if !wish.is_null() {
            config["args"] = json!({"cni": {"guard": wish}});
        }
        result = call(Verb::Add, &config, node, &ns).result();
    }
    let interfaces = result["interfaces"]
        .as_array()
        .expect("a result names interfaces");
    let own = ns.path().to_str();
    let mut ports = interfaces.iter().filter(|it| {
        let is_inside = it["sandbox"].as_str() == own;
        !is_inside && it["name"].as_str() != ground.bridge()
    });
    let port = ports.next().expect("a result names the port");
    let home = match port["sandbox"].as_str().unwrap_or_default() {
        "" => node.clone(),
        path => Ns::at(Path::new(path)),
    };
    let port = port["name"].as_str().unwrap().to_owned();
    Seat {
        station: station(&result, &ns),
        ns,
        result,
        port,
        home,
    }
}

fn call(verb: Verb, config: &Value, node: &Ns, container: &Container) -> CniAnswer {
    let kind = config["type"].as_str().unwrap();
    let ours = kind.starts_with("bulkhead-");
    let suite = if ours {
        Suite::ours()
    } else {
        Suite::reference()
    };
    CniCall::new(suite.dir().join(kind), verb)
        .cni_path(&suite.cni_path())
        .container_id(container.name())
        .netns(container.path())
        .ifname(ETH0)
        .stdin(config)
        .run(node)
        .unwrap()
}

fn station(result: &Value, ns: &Ns) -> Station {
    let ips = result["ips"].as_array().expect("a result has addresses");
    let addresses: Vec<IpAddr> = ips
        .iter()
        .map(|ip| {
            let text = ip["address"].as_str().unwrap();
            text.split('/').next().unwrap().parse().unwrap()
        })
        .collect();
    Station {
        mac: ns.mac(ETH0).unwrap(),
        v4: v4(&addresses).expect("the pool has IPv4"),
        v6: v6(&addresses).expect("the pool has IPv6"),
        lla: link_local(ns, ETH0),
    }
}

/// The gateway as the result names it, with the MAC and link-local address of the device that holds it.
fn gateway(ground: Ground, seat: &Seat) -> Station {
    let node = &seat.home;
    let device = ground.bridge().unwrap_or(&seat.port);
    let ips = seat.result["ips"].as_array().unwrap();
    let gateways: Vec<IpAddr> = ips
        .iter()
        .filter_map(|ip| ip["gateway"].as_str()?.parse().ok())
        .collect();
    Station {
        mac: node.mac(device).unwrap(),
        v4: v4(&gateways).unwrap_or(Ipv4Addr::new(169, 254, 1, 1)),
        v6: v6(&gateways).unwrap_or(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1)),
        lla: link_local(node, device),
    }
}

fn v4(addresses: &[IpAddr]) -> Option<Ipv4Addr> {
    addresses.iter().find_map(|address| match address {
        IpAddr::V4(v4) => Some(*v4),
        IpAddr::V6(_) => None,
    })
}

fn v6(addresses: &[IpAddr]) -> Option<Ipv6Addr> {
    addresses.iter().find_map(|address| match address {
        IpAddr::V6(v6) => Some(*v6),
        IpAddr::V4(_) => None,
    })
}

/// The settled link-local address of a device.
pub(crate) fn link_local(ns: &Ns, device: &str) -> Ipv6Addr {
    wait_for("a link-local address", LIMIT, || {
        let links = ns
            .ip_json(&format!("-6 addr show dev {device} scope link"))
            .unwrap();
        let addresses = links[0]["addr_info"].as_array()?.iter();
        addresses
            .filter(|address| address.get("tentative").is_none())
            .find_map(|address| address["local"].as_str()?.parse().ok())
    })
}

/// A permanent-looking entry: `address` is at `mac` on `device`.
pub(crate) fn neighbour_line(address: IpAddr, mac: MacOctets, device: &str, more: &str) -> String {
    format!(
        "neigh replace {address} lladdr {} dev {device} nud reachable {more}",
        mac_text(mac)
    )
}
