//! `bulkhead policy explain` beside a daemon: one packet on its whole way, as the node and its kernel see it.

mod common;

use std::net::{TcpListener, TcpStream};

use common::daemon::{Daemon, LIMIT};
use common::ours::{Node, dual, ports};
use netns_fixtures::{Container, wait_for};
use serde_json::{Value, json};

/// Loops that come only when asked for.
const QUIET: &str =
    "collector.interval_secs = 0\nreconcile.interval_secs = 0\npolicy.established = \"keep\"\n";

const FENCE: &str = "\
apiVersion: bulkhead/v1
kind: Policy
metadata: {name: fence}
spec:
  tier: admin
  priority: 10
  subject: [{group: db}]
  ingress:
  - from: [{group: web}]
    ports: [5432/tcp]
  - action: deny
---
apiVersion: bulkhead/v1
kind: Policy
metadata: {name: plain}
spec:
  tier: admin
  priority: 11
  subject: [{network: plain}]
  ingress:
  - action: deny
";

struct Beside {
    node: Node,
    web: Container,
    db: Container,
    _daemon: Daemon,
}

impl Beside {
    /// A node with two fenced containers, and one on a network that is neither fenced nor guarded.
    fn start(test: &str) -> Option<Self> {
        let node = Node::with_daemon(test)?;
        let mut fenced = dual(1);
        fenced["policy"] = json!(true);
        fenced["segmentation"] = json!("l3");
        fenced["ipMasq"] = json!(true);
        node.network("blue", fenced, &[]);
        let mut open = dual(2);
        open["guard"] = json!(false);
        node.network("plain", open, &[]);
        let daemon = Daemon::start(&node, QUIET);
        node.scratch.write("fence.yaml", FENCE);
        wait_for("the store to serve", LIMIT, || {
            (node.ask("policy apply -f $DIR/fence.yaml").code == 0).then_some(())
        });
        for (group, member) in [("web", "blue/web"), ("db", "blue/db")] {
            node.ask(&format!("sg create {group} --ingress any --egress any"))
                .ok();
            node.ask(&format!("sg attach {group} {member}")).ok();
        }
        let web = node.attach("blue", "web", "");
        let port = json!([{"hostPort": 8080, "containerPort": 5432, "protocol": "tcp"}]);
        let db = node.attach("blue", "db", &ports(&port));
        node.attach("plain", "free", "");
        let beside = Self {
            node,
            web,
            db,
            _daemon: daemon,
        };
        beside.is_enforced();
        Some(beside)
    }

    /// Waits until the last change of policies is.
    fn is_enforced(&self) {
        wait_for("the last change to be enforced", LIMIT, || {
            let told = self.json("blue/web blue/db:5432/tcp");
            (told["path"][4]["enforced"]["revision"] == told["path"][4]["enforced"]["latest"])
                .then_some(())
        });
    }

    fn explain(&self, question: &str) -> String {
        self.node.ask(&format!("policy explain {question}")).ok()
    }

    /// The answer for IPv4.
    fn json(&self, question: &str) -> Value {
        let text = self.explain(&format!("{question} -o json"));
        let mut told: Value = serde_json::from_str(&text).unwrap();
        told["families"][0].take()
    }
}

#[track_caller]
fn has(text: &str, lines: &[&str]) {
    let mut rest = text;
    for line in lines {
        let at = rest.find(line);
        let at =
            at.unwrap_or_else(|| panic!("{line:?} is not there, or not after the others:\n{text}"));
        rest = &rest[at + line.len()..];
    }
}

#[test]
fn a_packet_is_followed_from_its_binding_to_its_destination() {
    let Some(beside) = Beside::start("a_packet_is_followed_from_its_binding_to_its_destination")
    else {
        return;
    };
    let denied = beside.explain("blue/web to blue/db:80/tcp");
    has(
        &denied,
        &[
            "blue/web -> blue/db 80/tcp by IPv4: denied at ingress\n",
            "  binding      10.1.0.2 is blue/web's, on node ",
            "on bridge br-blue, MAC ",
            "blue web eth0 has the lease of 10.1.0.2/24, fd00:1::2/64\n",
            "  guard        passes: MAC ",
            " and source 10.1.0.2 are its own, 80/tcp is what hosts send\n",
            "  egress       allowed at blue/web by rule 1 of SecurityGroup web (command line:",
            "  way          within node ",
            ": out of br-blue, MTU 1500\n",
            "  ingress      denied at blue/db by rule 2 of Policy fence ($DIR/fence.yaml:11)\n",
            "Policy fence rule 1  $DIR/fence.yaml:9  about other traffic: from group web, 5432/tcp\n",
            "Policy fence rule 2  $DIR/fence.yaml:11  matches, deny: from anyone, any\n",
            ", the latest; the kernel's table, read back, is exactly that and says: ingress deny: rule 2 of Policy fence\n",
            "to allow it:\n  put first among the ingress rules of Policy fence\n      - {action: allow, from: [{group: web}], ports: [80/tcp]}\n",
            "by IPv6 (fd00:1::2 -> fd00:1::3) the same\n",
        ],
    );
    let allowed = beside.json("blue/web -> blue/db:5432/tcp");
    assert_eq!(
        (&allowed["delivered"], &allowed["allowed"]),
        (&json!(true), &json!(true)),
        "{allowed:#}"
    );
    let places: Vec<&str> = allowed["path"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["at"].as_str().unwrap())
        .collect();
    let order = [
        "binding",
        "guard",
        "egress",
        "way",
        "ingress",
        "destination",
    ];
    assert_eq!(places, order);
    let enforced = &allowed["path"][4]["enforced"];
    assert_eq!(
        (&enforced["verified"], &enforced["agrees"]),
        (&json!(true), &json!(true)),
        "{enforced:#}"
    );
    // What the guard never lets pass ends there, whatever policies say.
    let tunnel = beside.explain("blue/web blue/db:protocol/47");
    has(
        &tunnel,
        &[
            ": denied at ingress, dropped by the guard\n",
            "  guard        dropped, counted as protocol: it may not send routing headers",
            "`bulkhead guard explain bhp",
        ],
    );
    // A host port is judged as the container's own.
    let port = beside.explain("203.0.113.9 10.1.0.1:8080/tcp");
    has(
        &port,
        &[
            "  host port    tcp *:8080 of node ",
            " is blue/db's: sent on to 10.1.0.3 5432/tcp, by which policies judge it\n",
            "denied at blue/db by rule 2 of Policy fence",
        ],
    );
    // Nothing is enforced where nobody asked for it.
    let open = beside.explain("blue/web plain/free:22/tcp");
    has(
        &open,
        &[
            "blue/web -> plain/free 22/tcp by IPv4: denied by what is written, and not enforced\n",
            "  ingress      denied at plain/free by rule 1 of Policy plain ($DIR/fence.yaml:21)\n",
            "NOT ENFORCED: network plain has no \"policy\": true, so node ",
        ],
    );
    let unguarded = beside.explain("plain/free blue/db:5432/tcp");
    has(
        &unguarded,
        &["  guard        switched off (\"guard\": false): whatever it sends passes\n"],
    );
    let nobody = beside.node.ask("policy explain blue/web blue/nobody:1/tcp");
    assert_eq!(nobody.code, 3, "{nobody:?}");
    // A change of policies alone, judged for those who are there.
    let scratch = &beside.node.scratch;
    scratch.write("next.yaml", &FENCE.replace("5432", "5433"));
    let changed = beside
        .node
        .ask("policy diff $DIR/fence.yaml $DIR/next.yaml --live");
    assert_eq!(
        (changed.code, changed.stdout.as_str()),
        (
            5,
            "newly allowed\n  blue/web -> blue/db  5433/tcp\nnewly denied\n  blue/web -> blue/db  5432/tcp\n"
        )
    );
}

/// A route that a rule or a filter does not let its packets take is none for them.
fn barred_by_rules_and_filters(beside: &Beside) {
    let node = &beside.node;
    let barred = [
        " by IPv4: no way leads there, allowed by policies\n",
        " has a route to 203.0.113.9, and passes nothing on to it that comes from 10.1.0.2 by br-blue\n",
        "`ip route get 203.0.113.9 from 10.1.0.2 iif br-blue` asks the kernel\n",
    ];
    for [make, take_back] in [
        [
            "rule add iif br-blue blackhole",
            "rule del iif br-blue blackhole",
        ],
        [
            "rule add from 10.1.0.0/24 unreachable",
            "rule del from 10.1.0.0/24 unreachable",
        ],
        ["route add 10.1.0.2 dev up0", "route del 10.1.0.2 dev up0"],
    ] {
        node.host
            .set_sysctl("net/ipv4/conf/all/rp_filter", "1")
            .unwrap();
        node.host.ip(make).unwrap();
        has(&beside.explain("blue/web 203.0.113.9:443/tcp"), &barred);
        node.host.ip(take_back).unwrap();
    }
    let back = beside.explain("blue/web 203.0.113.9:443/tcp");
    has(&back, &["by IPv4: allowed\n"]);
    has(
        &beside.explain("203.0.113.9 blue/db:5432/tcp"),
        &["as the node itself would send it: by which link it comes in is not known"],
    );
}

/// What stood before a change of policies goes on, where that is wanted.
fn told_of_what_stood_before(beside: &Beside) {
    let node = &beside.node;
    let bind = || TcpListener::bind("10.1.0.3:5432").unwrap();
    let _listener = beside.db.enter(bind).unwrap();
    let connect = || TcpStream::connect_timeout(&"10.1.0.3:5432".parse().unwrap(), LIMIT);
    let _connection = beside.web.enter(connect).unwrap().unwrap();
    node.scratch
        .write("fence.yaml", &FENCE.replace("5432", "5433"));
    node.ask("policy apply -f $DIR/fence.yaml").ok();
    let told = |what: &[&str]| {
        wait_for("it to be told", LIMIT, || {
            let told = beside.explain("blue/web blue/db:5432/tcp");
            let is_told = what.iter().all(|line| told.contains(line));
            is_told.then_some(())
        });
    };
    told(&[
        "by IPv4: denied at ingress, while 1 that stood before go on\n",
        "CONNECTIONS GO ON ALL THE SAME: 1 like 10.1.0.2 -> 10.1.0.3 5432/tcp stood before",
        "by IPv6: denied at ingress\n",
        "; none like fd00:1::2 -> fd00:1::3 5432/tcp stands\n",
    ]);
    node.scratch
        .write("snapshot.yaml", &node.ask("policy snapshot").ok());
    let line = "policy explain blue/web blue/db:5432/tcp -f $DIR/snapshot.yaml";
    has(
        &node.scratch.bulkhead(line).ok(),
        &["those that stood before go on (policy.established: keep); how many, the daemon tells\n"],
    );
    let config = node.scratch.path("bulkheadd.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("\"keep\"", "\"cut\"")).unwrap();
    node.ask("config reload").ok();
    told(&[
        "by IPv4: denied at ingress\n",
        "connections that stood before were cut (policy.established: cut); none like 10.1.0.2 -> 10.1.0.3 5432/tcp stands\n",
        "by IPv6 (fd00:1::2 -> fd00:1::3) the same\n",
    ]);
    node.scratch.write("fence.yaml", FENCE);
    node.ask("policy apply -f $DIR/fence.yaml").ok();
}

#[test]
fn routes_translation_and_what_the_kernel_really_has_are_told() {
    let Some(beside) = Beside::start("routes_translation_and_what_the_kernel_really_has_are_told")
    else {
        return;
    };
    let node = &beside.node;
    let lost = beside.explain("blue/web 203.0.113.9:443/tcp");
    has(
        &lost,
        &[
            ": no way leads there, allowed by policies\n",
            "  way          no route of node ",
            " leads to 203.0.113.9\n",
            "to let it pass: give node ",
        ],
    );
    for line in [
        "link add up0 mtu 1400 type veth peer name up1",
        "link set up1 up",
        "addr add 192.0.2.7/24 dev up0",
        "link set up0 up",
        "route add default via 192.0.2.1",
    ] {
        node.host.ip(line).unwrap();
    }
    let out = beside.explain("blue/web 203.0.113.9:443/tcp");
    has(
        &out,
        &[
            "blue/web -> 203.0.113.9 443/tcp by IPv4: allowed\n",
            " out of up0 via 192.0.2.1, MTU 1400\n",
            "not known: what becomes of it beyond this node\n",
            "  masquerade   it leaves with the node's address on up0 instead of 10.1.0.2\n",
        ],
    );
    barred_by_rules_and_filters(&beside);
    // The same from a file, elsewhere and later.
    let snapshot = node.ask("policy snapshot").ok();
    node.scratch.write("then.yaml", &snapshot);
    let offline = |question: &str| {
        let line = format!("policy explain {question} -f $DIR/then.yaml");
        node.scratch.bulkhead(&line).ok()
    };
    has(
        &offline("blue/web blue/db:80/tcp"),
        &[
            ": denied at ingress\n",
            "  guard        passes: MAC ",
            "denied at blue/db by rule 2 of Policy fence ($DIR/fence.yaml:11)\n",
            ", the latest; the kernel's table, read back, is exactly that\n",
        ],
    );
    has(
        &offline("blue/web 203.0.113.9:443/tcp"),
        &[
            ": allowed\n",
            " out of up0 via 192.0.2.1, MTU 1400\n",
            "by the main table as it was then",
            "  masquerade   it leaves with the node's address on up0",
        ],
    );
    has(
        &offline("203.0.113.9 10.1.0.1:8080/tcp"),
        &["  host port    tcp *:8080 of node "],
    );
    told_of_what_stood_before(&beside);
    // What is committed later would put right what comes now.
    beside.is_enforced();
    // Somebody has put a hand to the table.
    node.host
        .sh("nft flush chain inet bulkhead-policy forward")
        .unwrap();
    let damaged = beside.explain("blue/web blue/db:80/tcp");
    has(
        &damaged,
        &["not known: THE KERNEL'S TABLE IS NOT WHAT WAS COMPILED, in "],
    );
    let told = beside.json("blue/web blue/db:80/tcp");
    assert_eq!(told["path"][4]["enforced"]["verified"], false, "{told:#}");
    // A port that is down leads nowhere.
    let ports = node.host.sh("ip -o link show master br-blue").unwrap();
    let port = ports
        .split(['@', ':', ' '])
        .find(|word| word.starts_with("bhp"));
    let port = port.expect("the bridge has ports");
    node.host.ip(&format!("link set {port} down")).unwrap();
    let down = beside.explain("blue/web blue/db:5432/tcp");
    has(
        &down,
        &[&format!(
            "link {port} is down: `bulkhead check --repair` mends it\n"
        )],
    );
}
