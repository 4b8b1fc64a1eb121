//! A process that is killed leaves any prefix of its plan behind. After each of them the executable's
//! next ADD brings the node to where an undisturbed one does, and its next DEL leaves nothing.
//!
//! The prefix is applied by the library, from the very want that the executable has: what is recorded
//! before the first operation is put back from a copy of the state directory.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::Command;

use bulkhead_attach::{Grant, GrantedAddress, Network as _};
use bulkhead_cni::{Call, Dns, Environment};
use bulkhead_ipam::{Access, AttachmentRecord, StateDir};
use bulkhead_kernel::{Deletion, Kernel, Netns, machine_id};
use bulkhead_model::{Prefix, Protocol};
use bulkhead_plan::{
    Attached, Detached, Flow, NetworkGone, Ns, Plan, Restore, Sysctl, Want, plan, scope,
};
use netns_fixtures::{
    BridgeNetfilter, Container, End, Feature, Snapshot, Verb, skip_without, veth, wait_for,
};
use serde_json::{Value, json};

use crate::node::{BRIDGE, LIMIT, NETWORK, NOTHING, Node, standing, with};

const SUBNETS: [&str; 2] = ["10.1.0.0/24", "fd01::/64"];
/// The port from which the outside sends.
const CLIENT: u16 = 4000;

/// One attachment, as it is before its ADD and after.
struct Case {
    node: Node,
    container: Container,
    config: Value,
    result: Value,
    record: AttachmentRecord,
    before: [Snapshot; 2],
    after: [Snapshot; 2],
}

impl Case {
    /// Makes an undisturbed ADD and keeps what is recorded then. `prepare` sees the node first.
    fn new(setting: BridgeNetfilter, keys: Value, prepare: impl FnOnce(&Node)) -> Self {
        let node = Node::new(setting);
        prepare(&node);
        let config = node.config_with(keys);
        Self::of(node, config)
    }

    /// The same of a network whose containers have links of their own.
    fn layer3(keys: Value, prepare: impl FnOnce(&Node)) -> Self {
        let node = Node::new(BridgeNetfilter::Off);
        prepare(&node);
        let config = node.layer3(keys);
        Self::of(node, config)
    }

    fn of(node: Node, config: Value) -> Self {
        let container = node.sandbox.container("a").unwrap();
        let take = || [&*node.host, &*container].map(standing);
        let before = take();
        let call = node.call(Verb::Add, &config, &container, "eth0");
        let result = node.run(&call).result();
        let after = take();
        let state = StateDir::open(&node.state(), Access::Shared).unwrap();
        let known = state.network(&NETWORK.parse().unwrap()).read().unwrap();
        let record = known.unwrap().attachments().unwrap().remove(0);
        Self {
            node,
            container,
            config,
            result,
            record,
            before,
            after,
        }
    }

    fn copy(&self) -> PathBuf {
        self.node.state().with_extension("copy")
    }

    fn keep_state(&self) {
        copy_dir(&self.node.state(), &self.copy());
    }

    /// Puts back what was recorded when ADD made its first operation.
    fn restore_state(&self) {
        copy_dir(&self.copy(), &self.node.state());
    }

    fn space(&self) -> Ns {
        Ns::Container(self.container.path().display().to_string())
    }

    fn has_bridge(&self) -> bool {
        self.config["type"] == "bulkhead-bridge"
    }

    fn want(&self) -> Attached {
        let path = self.container.path().to_str().unwrap();
        let environment = Environment::new([
            ("CNI_COMMAND", "ADD"),
            ("CNI_CONTAINERID", self.container.name()),
            ("CNI_NETNS", path),
            ("CNI_IFNAME", "eth0"),
            ("CNI_PATH", "/nonexistent"),
        ]);
        let stdin = self.config.to_string().into_bytes();
        let call = Call::read(bulkhead_cni::Verb::Add, environment, stdin).unwrap();
        let grant = self.grant();
        let wanted = if self.has_bridge() {
            bulkhead_bridge::Config::parse(&call).unwrap().want(&grant)
        } else {
            bulkhead_ipv6::Config::parse(&call).unwrap().want(&grant)
        };
        wanted.unwrap()
    }

    fn grant(&self) -> Grant {
        let addresses = self.record.addresses.iter().map(|leased| GrantedAddress {
            address: leased.address,
            gateway: leased.gateway,
        });
        Grant {
            key: self.record.key.clone(),
            id: self.record.id(),
            sequence: self.record.sequence,
            container: self.space(),
            names: self.record.names.clone(),
            addresses: addresses.collect(),
            subnets: SUBNETS.map(|text| text.parse::<Prefix>().unwrap()).to_vec(),
            routes: Vec::new(),
            dns: Dns::default(),
            node: machine_id().unwrap(),
            ra_uplinks: Vec::new(),
        }
    }

    fn attached(&self) -> Want {
        Want::Attached(Box::new(self.want()))
    }

    /// Gone, with or without what the network's last attachment takes along.
    fn detached(&self, network: Option<NetworkGone>) -> Want {
        let names = &self.record.names;
        let port = names.port.unwrap();
        let addresses = self.record.addresses.iter();
        let bridge = BRIDGE.parse().unwrap();
        Want::Detached(Box::new(Detached {
            node: Ns::Host,
            port,
            binding: bulkhead_attach::recorded_binding(&self.record),
            ifb: names.ifb.unwrap_or_else(|| self.record.id().ifb()),
            host_ports: Some(self.grant().forwards().unwrap()),
            neighbours: addresses
                .filter(|_| self.has_bridge())
                .map(|leased| (bridge, leased.address.address()))
                .collect(),
            network,
        }))
    }

    fn network_gone(&self) -> NetworkGone {
        let state = StateDir::open(&self.node.state(), Access::Shared).unwrap();
        let network = NETWORK.parse().unwrap();
        let host = state.host().unwrap();
        let restore = |change: &bulkhead_ipam::HostChange| {
            if let Some(block) = change.key.strip_prefix("blackhole ") {
                let destination = block.parse().unwrap();
                return Restore::Blackhole { destination };
            }
            if let Some(gateway) = change.key.strip_prefix("gateway ") {
                let address = gateway.parse().unwrap();
                return Restore::Gateway { address };
            }
            if let Some(block) = change.key.strip_prefix("block ") {
                let prefix = block.parse().unwrap();
                return Restore::Block { prefix };
            }
            Restore::Sysctl {
                sysctl: Sysctl::recorded(&change.key).unwrap(),
                ours: change.set.clone(),
                before: change.before.clone(),
            }
        };
        NetworkGone {
            bridge: BRIDGE.parse().ok().filter(|_| self.has_bridge()),
            tables: vec![bulkhead_attach::nat_table(&network)],
            restore: host.last_needed_by(&network).iter().map(restore).collect(),
            node_is_empty: true,
        }
    }

    /// What is to do, on the node as it is now.
    fn plan(&self, want: &Want) -> Plan {
        self.with_kernel(|kernel| plan(&kernel.observe(&scope(want)).unwrap(), want).unwrap())
    }

    /// Does the first `count` operations of what is to do, as a process that dies then.
    fn apply_prefix(&self, want: &Want, count: usize) {
        self.with_kernel(|kernel| {
            let todo = plan(&kernel.observe(&scope(want)).unwrap(), want).unwrap();
            let prefix = todo.ops()[..count.min(todo.ops().len())].to_vec();
            kernel.apply(&Plan::new(prefix)).unwrap();
        });
    }

    fn with_kernel<T: Send>(&self, work: impl FnOnce(&mut Kernel) -> T + Send) -> T {
        let inside = || {
            let netns = Netns::open(self.container.path()).unwrap();
            work(&mut Kernel::new(Deletion::Blocking).with(self.space(), netns))
        };
        self.node.host.enter(inside).unwrap()
    }

    /// The outside sends to every UDP host port. The node knows the flows from now on, wherever they
    /// lead.
    fn talk(&self) {
        let uplink = &self.node.uplink;
        let forwards = self.grant().forwards().unwrap();
        let udp = forwards
            .iter()
            .filter(|forward| forward.host.protocol == Protocol::Udp);
        for forward in udp {
            let (from, to): (IpAddr, IpAddr) = match forward.to {
                SocketAddr::V4(_) => (uplink.gateway_v4.into(), uplink.node_v4.into()),
                SocketAddr::V6(_) => (uplink.gateway_v6.into(), uplink.node_v6.into()),
            };
            let from = SocketAddr::new(from, CLIENT);
            let to = SocketAddr::new(to, forward.host.number.get());
            let send = || UdpSocket::bind(from).unwrap().send_to(b"?", to).unwrap();
            self.node.outside.enter(send).unwrap();
            wait_for("the node to track the flow", LIMIT, || {
                self.flows()
                    .iter()
                    .find(|flow| flow.source == from)
                    .map(drop)
            });
        }
    }

    fn flows(&self) -> BTreeSet<Flow> {
        let scope = scope(&self.attached());
        let world = self.with_kernel(|kernel| kernel.observe(&scope).unwrap());
        world.space(&Ns::Host).flows.clone()
    }

    /// The executable's ADD answers as the undisturbed one did, and the node is as it was then.
    #[track_caller]
    fn add_converges(&self, what: &str) {
        let call = self
            .node
            .call(Verb::Add, &self.config, &self.container, "eth0");
        let answer = self.node.run(&call);
        assert!(answer.succeeded(), "{what}: {answer:#?}");
        assert_eq!(answer.result(), self.result, "{what}");
        self.assert_as(&self.after, what);
        // Nor does a flow lead past its host ports.
        assert_eq!(self.plan(&self.attached()), Plan::default(), "{what}");
    }

    #[track_caller]
    fn del_leaves_nothing(&self, what: &str) {
        let call = self
            .node
            .call(Verb::Del, &self.config, &self.container, "eth0");
        let answer = self.node.run(&call);
        assert!(answer.succeeded(), "{what}: {answer:#?}");
        self.assert_as(&self.before, what);
        assert!(self.node.leases().is_empty(), "{what}");
        let lead = |flow: &Flow| {
            let leased = self.record.addresses.iter();
            let mut own = leased.map(|leased| leased.address.address());
            own.any(|own| own == flow.answerer.ip())
        };
        assert!(!self.flows().iter().any(lead), "{what}: {:?}", self.flows());
    }

    #[track_caller]
    fn assert_as(&self, expected: &[Snapshot; 2], what: &str) {
        for (expected, ns) in expected.iter().zip([&*self.node.host, &*self.container]) {
            let left = expected.left_in(ns, LIMIT).unwrap();
            assert_eq!(left, NOTHING, "{what}");
        }
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        // Only the laws over ADD keep a copy.
        let _ = std::fs::remove_dir_all(self.copy());
    }
}

fn copy_dir(from: &std::path::Path, to: &std::path::Path) {
    let _ = std::fs::remove_dir_all(to);
    let status = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(status.unwrap().success());
}

fn every_prefix_of_add_converges(case: &Case) {
    let want = case.attached();
    assert_eq!(
        case.plan(&want),
        Plan::default(),
        "not the executable's want"
    );
    case.keep_state();
    case.del_leaves_nothing("undisturbed");
    let ops = case.plan(&want);
    assert!(ops.ops().len() > 5, "{ops}");
    for count in 0..=ops.ops().len() {
        let last = count.checked_sub(1).map(|nth| ops.ops()[nth].to_string());
        let what = format!("killed after {count} operations, the last was {last:?}");
        case.restore_state();
        case.talk();
        case.apply_prefix(&want, count);
        case.add_converges(&what);
        case.talk();
        case.del_leaves_nothing(&what);
        case.restore_state();
        case.apply_prefix(&want, count);
        case.del_leaves_nothing(&what);
    }
}

/// DEL detaches, releases, and takes down what the network shared; it may die anywhere in that.
fn every_prefix_of_del_converges(case: &Case) {
    let own = case.detached(None);
    let gone = case.network_gone();
    let all = case.detached(Some(gone.clone()));
    let first = case.plan(&own).ops().len();
    let total = case.plan(&all).ops().len();
    assert!(first > 1 && total > first, "{}", case.plan(&all));
    for count in 0..=total {
        let what = format!("DEL killed after {count} of {total} operations");
        let disturb = || {
            case.talk();
            case.apply_prefix(&own, count);
            // What was shared is taken down only after the release.
            if let Some(shared) = count.checked_sub(first).filter(|shared| *shared > 0) {
                case.release();
                case.apply_prefix(&all, shared);
            }
        };
        disturb();
        case.del_leaves_nothing(&what);
        case.add_converges(&what);
        disturb();
        case.add_converges(&what);
    }
    case.del_leaves_nothing("at the end");
}

impl Case {
    fn release(&self) {
        let state = StateDir::open(&self.node.state(), Access::Shared).unwrap();
        let network = state.network(&NETWORK.parse().unwrap());
        let known = network.read().unwrap().unwrap();
        let record = known.find(&self.record.id()).unwrap().unwrap();
        let mut locked = network.lock_existing().unwrap().unwrap();
        locked
            .release(&self.record.id(), record.sequence, "del")
            .unwrap();
    }
}

/// Everything a network can share and an attachment can have. Every address is asked for, so that a
/// new lease is the same.
fn everything(hook: &str) -> Value {
    json!({
        "ipMasq": true,
        "macspoofchk": true,
        "portFilter": hook,
        "runtimeConfig": {
            "ips": ["10.1.0.42", "fd01::42"],
            "portMappings": mappings(),
            "bandwidth": {
                "ingressRate": 100_000_000, "ingressBurst": 2_000_000,
                "egressRate": 10_000_000, "egressBurst": 2_000_000,
            },
        },
    })
}

fn mappings() -> Value {
    json!([
        {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"},
        {"hostPort": 5353, "containerPort": 53, "protocol": "udp"},
        {"hostPort": 9090, "containerPort": 90, "protocol": "tcp", "hostIP": "127.0.0.1"},
    ])
}

/// Somebody has connections tracked from the start.
fn tracked(node: &Node) {
    let tracks = "table inet theirs {
        chain prerouting {
            type filter hook prerouting priority 0;
            ct state new
        }
    }";
    node.host.nft(tracks).unwrap();
}

fn undisturbed(_: &Node) {}

#[test]
fn add_is_killed_by_prefix_filter() {
    skip_without!(Feature::PrefixChains);
    skip_without!(Feature::Ifb);
    let case = Case::new(BridgeNetfilter::Off, everything("prefix"), tracked);
    every_prefix_of_add_converges(&case);
}

#[test]
fn add_is_killed_by_port_filter() {
    skip_without!(Feature::Ifb);
    let flags = json!({"hairpinMode": true, "portIsolation": true});
    let keys = with(everything("perPort"), flags);
    every_prefix_of_add_converges(&Case::new(BridgeNetfilter::On, keys, tracked));
}

#[test]
fn add_is_killed_where_addresses_are_probed() {
    let keys = json!({"enabledad": true, "mtu": 9000, "promiscMode": true});
    every_prefix_of_add_converges(&Case::new(BridgeNetfilter::Off, keys, undisturbed));
}

#[test]
fn add_is_killed_while_it_adopts_a_bridge() {
    let keys = json!({
        "adopt": true,
        "promiscMode": true,
        "runtimeConfig": {"portMappings": mappings()},
    });
    let prepare = |node: &Node| {
        node.host.bridge(BRIDGE, &["172.31.0.1/24"]).unwrap();
        let theirs = node.sandbox.container("theirs").unwrap();
        veth(&End::new(&node.host, "theirs"), &End::new(&theirs, "eth0")).unwrap();
        node.host
            .ip(&format!("link set theirs master {BRIDGE}"))
            .unwrap();
        crate::node::settled(&node.host, BRIDGE);
        tracked(node);
    };
    every_prefix_of_add_converges(&Case::new(BridgeNetfilter::Off, keys, prepare));
}

#[test]
fn del_is_killed_by_prefix_filter() {
    skip_without!(Feature::PrefixChains);
    skip_without!(Feature::Ifb);
    let case = Case::new(BridgeNetfilter::Off, everything("prefix"), tracked);
    every_prefix_of_del_converges(&case);
}

#[test]
fn del_is_killed_by_port_filter() {
    skip_without!(Feature::Ifb);
    let case = Case::new(BridgeNetfilter::On, everything("perPort"), tracked);
    every_prefix_of_del_converges(&case);
}

/// Everything an attachment with a link of its own can have.
fn everything_routed() -> Value {
    let mut keys = everything("perPort");
    let keys = keys.as_object_mut().unwrap();
    keys.remove("macspoofchk");
    Value::Object(std::mem::take(keys))
}

#[test]
fn add_of_a_link_is_killed() {
    skip_without!(Feature::Ifb);
    every_prefix_of_add_converges(&Case::layer3(everything_routed(), tracked));
}

#[test]
fn del_of_a_link_is_killed() {
    skip_without!(Feature::Ifb);
    every_prefix_of_del_converges(&Case::layer3(everything_routed(), tracked));
}
