//! A network of reference plugins with the guard behind them, containers on it, and what they must not send.

use std::net::{IpAddr, Ipv6Addr};

use bulkhead_ipam::{AttachmentRecord, Guards};
use bulkhead_tests::Suite;
use netns_fixtures::packet::{Frame, Icmpv6, Ipv6, MacOctets, RouterAdvertisement};
use netns_fixtures::{
    BridgeNetfilter, Capture, CaptureError, CniAnswer, CniCall, Container, PacketSocket, Verb,
};
use serde_json::{Value, json};

use crate::filter::{SPOOFED, datagram, to_port};
use crate::node::{LIMIT, Node, with};

const NET: &str = "theirs";
pub(super) const BRIDGE: &str = "br-theirs";
pub(super) const GATEWAYS: [&str; 2] = ["10.1.0.1", "fd01::1"];

/// A network of reference plugins with the guard behind them.
pub(super) struct Chain {
    pub(super) node: Node,
    pub(super) main: Value,
    pub(super) guard: Value,
}

/// A container on it.
pub(super) struct Seat {
    pub(super) container: Container,
    pub(super) result: Value,
}

impl Chain {
    pub(super) fn new(setting: BridgeNetfilter) -> Self {
        Self::of(
            setting,
            "bridge",
            json!({"bridge": BRIDGE, "isDefaultGateway": true}),
        )
    }

    pub(super) fn of(setting: BridgeNetfilter, plugin: &str, keys: Value) -> Self {
        let node = Node::new(setting);
        let ipam = json!({
            "type": "host-local",
            "dataDir": node.state().join("host-local"),
            "ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd01::/64"}]],
        });
        let head = json!({"cniVersion": "1.0.0", "name": NET});
        let main = with(head.clone(), json!({"type": plugin, "ipam": ipam}));
        let guard = json!({"type": "bulkhead-guard", "stateDir": node.state()});
        Self {
            main: with(main, keys),
            guard: with(head, guard),
            node,
        }
    }

    pub(super) fn call(&self, verb: Verb, config: &Value, container: &Container) -> CniAnswer {
        let plugin = config["type"].as_str().unwrap();
        let ours = plugin.starts_with("bulkhead-");
        let suite = if ours {
            Suite::ours()
        } else {
            Suite::reference()
        };
        let call = CniCall::new(suite.dir().join(plugin), verb)
            .cni_path(&Suite::ours().cni_path())
            .container_id(container.name())
            .netns(container.path())
            .ifname("eth0")
            .stdin(config);
        self.node.run(&call)
    }

    /// The main plugin's part alone.
    #[track_caller]
    pub(super) fn plug(&self, name: &str) -> Seat {
        let container = self.node.sandbox.container(name).unwrap();
        let result = self.call(Verb::Add, &self.main, &container).result();
        Seat { container, result }
    }

    pub(super) fn behind(&self, seat: &Seat) -> Value {
        with(self.guard.clone(), json!({"prevResult": seat.result}))
    }

    /// The guard's part: it hands on what it was given.
    #[track_caller]
    pub(super) fn guard(&self, seat: &Seat) {
        let answer = self.call(Verb::Add, &self.behind(seat), &seat.container);
        // An empty object says what none does.
        let whole = |result: &Value| with(result.clone(), json!({"dns": {}}));
        assert_eq!(whole(&answer.result()), whole(&seat.result));
    }

    #[track_caller]
    pub(super) fn attach(&self, name: &str) -> Seat {
        let seat = self.plug(name);
        self.guard(&seat);
        seat
    }

    #[track_caller]
    pub(super) fn silent(&self, verb: Verb, config: &Value, container: &Container) {
        let answer = self.call(verb, config, container);
        assert!(
            answer.succeeded() && answer.stdout.is_empty(),
            "{answer:#?}"
        );
    }

    pub(super) fn records(&self) -> Vec<AttachmentRecord> {
        Guards::of(&self.node.state()).all().unwrap()
    }

    pub(super) fn tables(&self) -> String {
        self.node.host.sh("nft list tables netdev").unwrap()
    }

    #[track_caller]
    pub(super) fn assert_no_guard_left(&self) {
        assert_eq!(self.tables(), "");
        assert_eq!(self.records(), []);
    }
}

impl Seat {
    pub(super) fn mac(&self) -> MacOctets {
        self.container.mac("eth0").unwrap()
    }

    pub(super) fn addresses(&self) -> Vec<IpAddr> {
        let ips = self.result["ips"].as_array().unwrap().iter();
        let texts = ips.map(|ip| ip["address"].as_str().unwrap().split('/').next().unwrap());
        texts.map(|text| text.parse().unwrap()).collect()
    }

    pub(super) fn port(&self) -> String {
        let interfaces = self.result["interfaces"].as_array().unwrap().iter();
        let mut ports = interfaces
            .filter(|one| one["sandbox"].as_str().unwrap_or_default().is_empty())
            .map(|one| one["name"].as_str().unwrap());
        ports.find(|name| *name != BRIDGE).unwrap().to_owned()
    }
}

/// A router's advertisement from its own MAC and address.
fn advertisement(from: MacOctets) -> Frame {
    let message = RouterAdvertisement {
        hop_limit: 64,
        flags: 0,
        lifetime_secs: 1800,
        reachable_ms: 0,
        retrans_ms: 0,
        options: Vec::new(),
    };
    Icmpv6::router_advertisement(from, link_local(from), message)
}

fn link_local(mac: MacOctets) -> Ipv6Addr {
    let octets = mac.map(u16::from);
    Ipv6Addr::new(
        0xfe80,
        0,
        0,
        0,
        ((octets[0] ^ 2) << 8) | octets[1],
        (octets[2] << 8) | 0xff,
        0xfe00 | octets[3],
        (octets[4] << 8) | octets[5],
    )
}

/// `a` sends what it may not, and then what it may: from `fence` on it has all passed or been dropped.
pub(super) fn attack(a: &Seat, b: &Seat) -> [Result<(), CaptureError>; 2] {
    let sender = PacketSocket::open(&a.container, "eth0").unwrap();
    let (from, to) = (a.mac(), b.mac());
    let own: Vec<_> = a.addresses();
    let theirs = b.addresses();
    let fence = |port| {
        let (IpAddr::V6(source), IpAddr::V6(destination)) = (own[1], theirs[1]) else {
            panic!("the second is of IPv6");
        };
        let udp = netns_fixtures::packet::Udp {
            src_port: 9,
            dst_port: port,
            data: Vec::new(),
        };
        Frame::new(from, to, Ipv6::new(source, destination, udp))
    };
    let spoofed = Capture::start(&b.container, "eth0").unwrap();
    sender.send(&datagram(SPOOFED, 4001)).unwrap();
    sender.send(&fence(4002)).unwrap();
    let spoofed = spoofed.none_before("a spoofed frame", LIMIT, to_port(4001), to_port(4002));
    let rogue = Capture::start(&b.container, "eth0").unwrap();
    sender.send(&advertisement(from)).unwrap();
    sender.send(&fence(4003)).unwrap();
    let is_advertisement = |frame: &netns_fixtures::Captured| {
        let icmp = frame.ok().and_then(Frame::icmpv6);
        matches!(icmp, Some(Icmpv6::RouterAdvertisement(_)))
    };
    let rogue = rogue.none_before("an advertisement", LIMIT, is_advertisement, to_port(4003));
    [spoofed, rogue]
}
