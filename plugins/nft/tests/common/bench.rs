//! Ports, and what becomes of the frames that arrive on them.

use std::cell::Cell;
use std::time::Duration;

use bulkhead_nft::{Chain, Command, Hook, Name, Packet, Part, Policy, Rule, Table, evaluate};
use netns_fixtures::{Ns, PacketSocket, Sandbox, wait_for};

use super::frame::{OTHER, ethernet};
use super::{Nfnl, device};

/// How long a frame may take.
pub const LIMIT: Duration = Duration::from_secs(40);
/// IEEE 802 local experimental `EtherType`: the frame that shows that those before it are through.
const SENTINEL: u16 = 0x88b5;

/// As it follows each frame that is judged.
pub fn sentinel() -> Vec<u8> {
    ethernet(OTHER, SENTINEL, &[0; 46])
}

/// A namespace with ports, their far ends, and counters before and after the table under test.
pub struct Bench {
    pub near: Ns,
    pub far: Ns,
    pub socket: Nfnl,
    passed: Cell<u64>,
    _sandbox: Sandbox,
}

impl Bench {
    pub fn new(ports: &[&str]) -> Self {
        let sandbox = Sandbox::new();
        let (near, far) = (sandbox.ns("near").unwrap(), sandbox.ns("far").unwrap());
        for ns in [&near, &far] {
            // No router solicitations among the frames counted.
            ns.set_sysctl("net/ipv6/conf/default/disable_ipv6", "1")
                .unwrap();
        }
        let bench = Self {
            socket: Nfnl::open(&near),
            near,
            far,
            passed: Cell::new(0),
            _sandbox: sandbox,
        };
        for port in ports {
            bench.plug(port);
        }
        let devices = ports.join(", ");
        let hook = |priority| {
            format!("type filter hook ingress devices = {{ {devices} }} priority {priority};")
        };
        bench
            .near
            .nft(&format!(
                "table netdev witness {{\n\
                 chain before {{\n {}\n ether type {SENTINEL} counter\n }}\n\
                 chain after {{\n {}\n ether type {SENTINEL} accept\n counter\n }}\n}}",
                hook(-400),
                hook(400),
            ))
            .unwrap();
        bench
    }

    pub fn plug(&self, port: &str) {
        let far = self.far.name();
        self.near
            .ip(&format!(
                "link add {port} type veth peer name {port} netns {far}"
            ))
            .unwrap();
        for ns in [&self.near, &self.far] {
            ns.ip(&format!("link set {port} up")).unwrap();
        }
    }

    pub fn load(&self, table: &Table) {
        self.socket
            .commit(&[Command::ReplaceTable(table.clone())])
            .unwrap();
    }

    /// (sentinels before the table, other frames after it)
    fn counters(&self) -> (u64, u64) {
        let text = self.near.sh("nft list table netdev witness").unwrap();
        let mut words = text.split_whitespace();
        let mut next = || {
            words.find(|word| *word == "packets").unwrap();
            words.next().unwrap().parse().unwrap()
        };
        (next(), next())
    }

    /// What the kernel does with a frame that arrives on the port.
    pub fn judge(&self, port: &str, frame: &[u8]) -> Policy {
        match self.passed_of(port, frame, 1) {
            0 => Policy::Drop,
            1 => Policy::Accept,
            more => panic!("{more} frames from one"),
        }
    }

    /// How many of `sent` such frames the kernel lets pass.
    pub fn passed_of(&self, port: &str, frame: &[u8], sent: usize) -> usize {
        let socket = PacketSocket::open(&self.far, port).unwrap();
        let (sentinels, passed) = self.counters();
        assert_eq!(passed, self.passed.get(), "a frame of somebody else");
        for _ in 0..sent {
            socket.send_bytes(frame).unwrap();
        }
        socket.send_bytes(&sentinel()).unwrap();
        let passed = wait_for("the sentinel", LIMIT, || {
            let (now, passed) = self.counters();
            (now > sentinels).then_some(passed)
        });
        let before = self.passed.replace(passed);
        usize::try_from(passed - before).unwrap()
    }
}

/// What the interpreter does with it.
pub fn model(table: &Table, port: &str, frame: &[u8]) -> Policy {
    let packet = Packet::frame(frame, device(port)).unwrap();
    evaluate(table, Hook::Ingress, &packet).unwrap().verdict
}

pub fn chain(name: &'static str, rules: Vec<Rule>) -> Chain {
    Chain {
        name: Name::literal(name),
        base: None,
        part: Part::Fixed,
        rules,
    }
}
