//! Repairs by others: whatever somebody did to what we made, `bulkhead check` names exactly that, on
//! those attachments alone; what it prints mends it, and so does `--repair`, and nobody else's packets
//! are lost meanwhile.

mod damage;
mod flow;
mod race;

use std::process::{Command, Output};

use bulkhead_tests::{Scratch, Suite};
use netns_fixtures::{BridgeNetfilter, EchoServer, Transport, wait_for};
use serde_json::{Value, json};

use crate::node::{Attachment, LIMIT, Node, with};
use flow::Flow;

/// The container's port that host ports lead to, and that everybody serves.
const INSIDE: u16 = 7;

/// A node with three attachments: `a` and `b` on one network, with host ports and limits, and `c` on
/// another, from which the port takes one MAC alone.
struct Street {
    node: Node,
    conf: Scratch,
    attachments: [Attachment; 3],
    /// The tables that translate the networks' addresses.
    tables: [String; 2],
    _servers: Vec<EchoServer>,
}

/// What `bulkhead check` says.
#[derive(Debug)]
struct Said {
    code: i32,
    verdicts: Vec<Value>,
}

impl Street {
    fn new(setting: BridgeNetfilter) -> Self {
        let node = Node::new(setting);
        let blue = with(
            node.config(),
            json!({"ipMasq": true, "capabilities": {"portMappings": true, "bandwidth": true}}),
        );
        let green = node.network("green", "br-green", "10.2.0.0/24", "fd02::/64");
        let green = with(green, json!({"guard": false, "macspoofchk": true}));
        let conf = Scratch::new(&node.sandbox, "net.d");
        for (name, config) in [("blue", &blue), ("green", &green)] {
            std::fs::write(conf.path().join(format!("{name}.conf")), config.to_string()).unwrap();
        }
        let attachments = [
            node.attach(&published(&blue, 8080), "a"),
            node.attach(&published(&blue, 8081), "b"),
            node.attach(&green, "c"),
        ];
        let any = format!("[::]:{INSIDE}").parse().unwrap();
        let serve = |a: &Attachment| EchoServer::start(&a.container, Transport::Udp, any).unwrap();
        Self {
            _servers: attachments.iter().map(serve).collect(),
            tables: ["br-blue", "br-green"].map(|bridge| table_about(&node, bridge)),
            node,
            conf,
            attachments,
        }
    }

    /// Runs `bulkhead check` on the node with the words of `line`.
    fn bulkhead(&self, line: &str) -> Output {
        let mut command = Command::new(Suite::ours().dir().join("bulkhead"));
        command
            .args(line.split_whitespace())
            .arg("--conf-dir")
            .arg(self.conf.path())
            .arg("--state-dir")
            .arg(self.node.state())
            .args(["--cache-dir", "/nonexistent"]);
        self.node.host.output(&mut command, b"", 6 * LIMIT).unwrap()
    }

    fn check(&self, rest: &str) -> Said {
        let output = self.bulkhead(&format!("check -o json {rest}"));
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(said, "", "{output:?}");
        let verdicts: Value = serde_json::from_slice(&output.stdout).unwrap();
        Said {
            code: output.status.code().unwrap(),
            verdicts: verdicts.as_array().unwrap().clone(),
        }
    }

    /// What `bulkhead check` prints for people, as a shell on the node takes it.
    fn run_what_check_prints(&self) -> String {
        let output = self.bulkhead("check");
        let script = String::from_utf8(output.stdout).unwrap();
        let host = &self.node.host;
        let run = host.output(Command::new("sh").arg("-e"), script.as_bytes(), 6 * LIMIT);
        let run = run.unwrap();
        assert!(run.status.success(), "{script}\n{run:?}");
        if script.contains("# netlink: mcast_max_groups ") {
            // iproute2 has a word for it since 6.3.
            self.bulkhead("check --repair");
        }
        script
    }

    #[track_caller]
    fn assert_sound(&self, after: &str) {
        let said = self.check("");
        let sound = said.verdicts.iter().all(|verdict| verdict["state"] == "ok");
        assert!(said.code == 0 && sound, "after {after}: {said:#?}");
        assert_eq!(said.verdicts.len(), self.attachments.len());
    }

    /// `text` with the names of this street's objects: `{A}` is `a`'s port, `{IA}` its ifb device,
    /// `{a4}` and `{a6}` its addresses, `{mac-a}` its MAC, `{blue}` its network's table; and so on.
    fn named(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (name, attachment) in ["a", "b", "c"].into_iter().zip(&self.attachments) {
            let upper = name.to_uppercase();
            let port = attachment.port();
            for (mark, value) in [
                (format!("{{{upper}}}"), port.clone()),
                (format!("{{I{upper}}}"), port.replacen("bhp", "bhi", 1)),
                (format!("{{{name}4}}"), attachment.v4().to_string()),
                (format!("{{{name}6}}"), attachment.v6().to_string()),
                (
                    format!("{{{name}}}"),
                    attachment.container.name().to_owned(),
                ),
            ] {
                text = text.replace(&mark, &value);
            }
            text = text.replace(&format!("{{mac-{name}}}"), &mac_of(attachment));
        }
        for (network, table) in ["{blue}", "{green}"].into_iter().zip(&self.tables) {
            text = text.replace(network, table);
        }
        text
    }

    /// The verdicts with the names of their attachments.
    fn by_name<'s>(&self, said: &'s Said) -> Vec<(&'static str, &'s Value)> {
        let of = |(name, attachment): (&'static str, &Attachment)| {
            let id = format!("/{}/", attachment.container.name());
            let is_of = |verdict: &&Value| verdict["attachment"].as_str().unwrap().contains(&id);
            let verdict = said.verdicts.iter().find(is_of);
            (name, verdict.unwrap_or_else(|| panic!("{name}: {said:#?}")))
        };
        ["a", "b", "c"]
            .into_iter()
            .zip(&self.attachments)
            .map(of)
            .collect()
    }

    /// Packets from the host to each container, and from the outside to the host ports of `a` and `b`.
    fn flows(&self) -> Vec<Flow> {
        let host = &self.node.host;
        let mut flows = Vec::new();
        for (name, attachment) in ["a", "b", "c"].into_iter().zip(&self.attachments) {
            flows.push(Flow::start(name, host, (attachment.v4(), INSIDE).into()));
        }
        for (name, port) in [("a:8080", 8080), ("b:8081", 8081)] {
            let to = (self.node.uplink.node_v4, port).into();
            flows.push(Flow::start(name, &self.node.outside, to));
        }
        for flow in &flows {
            wait_for(&format!("{} to be answered", flow.name), LIMIT, || {
                (flow.answered() > 0).then_some(())
            });
        }
        flows
    }

    /// Every attachment goes, and nothing is left.
    fn tear_down(self) {
        for attachment in &self.attachments {
            self.node.detach(attachment);
        }
        self.node.assert_nothing_left();
    }
}

/// The table that translates a network's addresses: it names the bridge.
fn table_about(node: &Node, bridge: &str) -> String {
    let tables = node.host.sh("nft list tables inet").unwrap();
    let names = tables.lines().filter_map(|line| line.split(' ').nth(2));
    let mut ours = names.filter(|name| name.starts_with("bh-"));
    let is_of = |name: &&str| {
        let table = node.host.sh(&format!("nft list table inet {name}"));
        table.unwrap().contains(bridge)
    };
    ours.find(is_of).unwrap().to_owned()
}

/// The MAC that ADD gave its interface, as the result has it.
fn mac_of(attachment: &Attachment) -> String {
    attachment.result["interfaces"][2]["mac"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// `config` with TCP and UDP host port `number` and limits in both directions.
fn published(config: &Value, number: u16) -> Value {
    let mapping =
        |protocol| json!({"protocol": protocol, "hostPort": number, "containerPort": INSIDE});
    let runtime = json!({
        "portMappings": [mapping("tcp"), mapping("udp")],
        "bandwidth": {
            "ingressRate": 100_000_000, "ingressBurst": 2_147_483_647_u64,
            "egressRate": 50_000_000, "egressBurst": 2_147_483_647_u64,
        },
    });
    with(config.clone(), json!({"runtimeConfig": runtime}))
}
