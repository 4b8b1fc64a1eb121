//! What the tests share: a socket, the two tables the product starts with, and golden files.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

pub mod bench;
pub mod frame;
pub mod listing;
pub mod routed;

use std::os::fd::OwnedFd;

use bulkhead_model::{IfName, Prefix};
use bulkhead_nft::{
    Base, Batch, Chain, ChainKind, Command, Data, DataType, Datum, Devices, Elements, Errno, Field,
    Hook, Key, KeyType, Label, Name, Part, Policy, PrefixSet, Reply, Rule, Set, SourcePorts,
    Statement, Table, TableFamily, TableId, Transaction, received,
};
use netns_fixtures::Ns;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netdevice, netlink, recv, send,
    socket_with,
};

pub const BULKHEAD: TableId = TableId {
    family: TableFamily::Netdev,
    name: Name::literal("bulkhead"),
};
pub const MACS: Name = Name::literal("macs");
pub const PORTS: Name = Name::literal("ports");
pub const SHAPED: Name = Name::literal("shaped");
pub const BOUND: Name = Name::literal("bound");
pub const POD: Name = Name::literal("pod");

/// A netfilter socket in a namespace.
pub struct Nfnl(OwnedFd);

impl Nfnl {
    pub fn open(ns: &Ns) -> Self {
        let open = || {
            let (family, flags) = (AddressFamily::NETLINK, SocketFlags::CLOEXEC);
            socket_with(family, SocketType::RAW, flags, Some(netlink::NETFILTER)).unwrap()
        };
        Self(ns.enter(open).unwrap())
    }

    /// Commits; the refusal comes with the number of the message refused.
    pub fn commit(&self, transaction: &[Command]) -> Result<(), (u32, Errno)> {
        self.commit_at(transaction, None)
    }

    pub fn commit_at(
        &self,
        transaction: &[Command],
        generation: Option<u32>,
    ) -> Result<(), (u32, Errno)> {
        let transaction = Transaction(transaction.to_vec());
        match transaction.encode(100, generation, &|device| self.index_of(device)) {
            Some(batch) => self.send(&batch),
            None => Ok(()),
        }
    }

    /// 0 if there is no such device.
    fn index_of(&self, device: IfName) -> u32 {
        netdevice::name_to_index(&self.0, device.as_str()).unwrap_or(0)
    }

    pub fn name_of(&self, index: u32) -> Option<IfName> {
        let name = netdevice::index_to_name(&self.0, index).ok()?;
        name.parse().ok()
    }

    fn send(&self, batch: &Batch) -> Result<(), (u32, Errno)> {
        send(&self.0, &batch.bytes, SendFlags::empty()).unwrap();
        loop {
            let bytes = self.receive();
            for message in received(&bytes) {
                match message.reply() {
                    Reply::Refused(errno) => return Err((message.seq, errno)),
                    Reply::Done if message.seq == batch.ack_seq => return Ok(()),
                    _ => {}
                }
            }
        }
    }

    /// The objects a request is answered with.
    pub fn ask(&self, request: &[u8]) -> Result<Vec<Vec<u8>>, Errno> {
        send(&self.0, request, SendFlags::empty()).unwrap();
        let mut objects = Vec::new();
        loop {
            let bytes = self.receive();
            for message in received(&bytes) {
                match message.reply() {
                    Reply::Object(payload) => objects.push(payload.to_vec()),
                    Reply::Done => return Ok(objects),
                    Reply::Refused(errno) => return Err(errno),
                }
            }
        }
    }

    fn receive(&self) -> Vec<u8> {
        let mut buffer = vec![0; 1 << 16];
        let (len, _) = recv(&self.0, &mut buffer[..], RecvFlags::empty()).unwrap();
        buffer.truncate(len);
        buffer
    }
}

pub fn device(name: &str) -> IfName {
    name.parse().unwrap()
}

pub fn ingress(devices: Devices) -> Base {
    Base {
        kind: ChainKind::Filter,
        hook: Hook::Ingress,
        devices,
        priority: -300,
        policy: Policy::Drop,
    }
}

pub fn pod_rules() -> Vec<Rule> {
    vec![
        Rule::new([
            Statement::in_set([Field::Iifname, Field::EtherSaddr], MACS),
            Statement::accept(),
        ])
        .commented(Label::new("bound").unwrap()),
        Rule::new([
            Statement::in_set([Field::Iifname], PORTS),
            Statement::accept(),
        ]),
        Rule::new([Statement::Counter, Statement::drop()]),
    ]
}

fn guard(chain: Chain) -> Table {
    let mut table = Table::new(BULKHEAD);
    table.sets = vec![
        Set::live(MACS, [KeyType::IfName, KeyType::EtherAddr]),
        Set::live(PORTS, [KeyType::IfName]),
    ];
    table.chains = vec![chain];
    table.comment = Some(Label::new(&format!("bulkhead 1 {}", table.fingerprint())).unwrap());
    table
}

/// One base chain for all ports, present and future.
pub fn prefix_guard() -> Table {
    guard(Chain {
        name: Name::literal("ingress"),
        base: Some(ingress(Devices::Prefix(device("bhp")))),
        part: Part::Fixed,
        rules: pod_rules(),
    })
}

/// The chain that the chain of each port jumps to.
pub fn port_guard() -> Table {
    guard(Chain {
        name: POD,
        base: None,
        part: Part::Fixed,
        rules: pod_rules(),
    })
}

/// As [`port_guard`], with ports whose frames go out of a device instead of on.
pub fn shaped_guard() -> Table {
    let mut table = port_guard();
    let shaped = Set::live_map(SHAPED, [KeyType::IfName], DataType::Device);
    table.sets.push(shaped);
    let fields = vec![Field::Iifname];
    let pass = [Statement::Forward {
        fields,
        map: SHAPED,
    }];
    let bound = Chain {
        name: BOUND,
        base: None,
        part: Part::Fixed,
        rules: vec![Rule::new(pass), Rule::new([Statement::accept()])],
    };
    for rule in &mut table.chains[0].rules[..2] {
        rule.statements[1] = Statement::goto(BOUND);
    }
    table.chains.insert(0, bound);
    table.comment = None;
    table
}

/// The element that sends the port's frames out of `device`.
pub fn shaped(port: &str, device: &str) -> Elements {
    let entry = Data::Device(self::device(device)).into();
    Elements::Map([(Key::from(self::device(port)), entry)].into())
}

pub fn port_chain(port: &str) -> Chain {
    Chain {
        name: Name::new(&format!("port-{port}")).unwrap(),
        base: Some(ingress(Devices::Names(vec![device(port)]))),
        part: Part::Live,
        rules: vec![Rule::new([Statement::jump(POD)])],
    }
}

/// Masquerade of one network's prefixes, towards everything but itself, `exclude` and multicast.
pub fn masquerade(bridge: &str, prefixes: &[&str], exclude: &[&str]) -> Table {
    let rule = |prefix: &&str| {
        let own: Prefix = prefix.parse().unwrap();
        let (source, target, multicast) = if own.address().is_ipv4() {
            (Field::Ip4Saddr, Field::Ip4Daddr, "224.0.0.0/4")
        } else {
            (Field::Ip6Saddr, Field::Ip6Daddr, "ff00::/8")
        };
        let kept = exclude.iter().copied().chain([*prefix, multicast]);
        let kept = PrefixSet::new(own.family(), kept.map(|p| p.parse().unwrap()));
        Rule::new([
            Statement::is_not(Field::Oifname, device(bridge)),
            Statement::in_prefix(source, own),
            Statement::outside(target, kept),
            Statement::Masquerade(SourcePorts::FullyRandom),
        ])
    };
    let mut table = Table::new(TableId {
        family: TableFamily::Inet,
        name: Name::literal("bh-0123456789ab"),
    });
    table.chains = vec![Chain {
        name: Name::literal("postrouting"),
        base: Some(Base {
            kind: ChainKind::Nat,
            hook: Hook::Postrouting,
            devices: Devices::None,
            priority: 100,
            policy: Policy::Accept,
        }),
        part: Part::Fixed,
        rules: prefixes.iter().map(rule).collect(),
    }];
    table.comment = Some(Label::new(&format!("bulkhead 1 {}", table.fingerprint())).unwrap());
    table
}

#[allow(clippy::disallowed_methods, reason = "golden files are files")]
/// Compares with `tests/golden/<name>`, or writes it if `BULKHEAD_BLESS` is set.
pub fn golden(name: &str, text: &str) {
    let path = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("BULKHEAD_BLESS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "{path}");
}

/// What nft shows.
pub fn listing(ns: &Ns) -> String {
    ns.sh("nft -s list ruleset").unwrap()
}

/// The element that binds the port to 02:00:00:00:00:`last`.
pub fn bound(port: &str, last: u8) -> Key {
    Key::new([device(port).into(), Datum::EtherAddr([2, 0, 0, 0, 0, last])])
}
