//! What operators ask about the cluster, through the real command: pools, blocks, leases, reservations,
//! checks, releases, and the store's rows.

mod common;

use std::process::Output;

use common::{LIMIT, Node};
use netns_fixtures::{Container, wait_for};
use serde_json::{Value, json};

/// Nothing is collected or mended unless it is asked for.
const QUIET: &str =
    "collector.interval_secs = 0\nreconcile.interval_secs = 0\nnode.name = \"n1\"\n";

/// A node and the command on it.
struct Operator {
    node: Node,
    bulkhead: std::path::PathBuf,
}

/// What the command said.
#[derive(Debug)]
struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Operator {
    /// `None`, and the skip on record, where the command is not built.
    fn start(test: &str) -> Option<Self> {
        let bulkhead = common::plugins(test)?.join("bulkhead");
        let node = Node::start(QUIET);
        Some(Self { node, bulkhead })
    }

    fn run(&self, line: &str) -> Ran {
        let dir = self.node.dir.path("").display().to_string();
        let line = line.replace("$DIR/", &dir);
        let mut command = self.node.host.command(&self.bulkhead);
        let output = command
            .args(line.split_whitespace())
            .arg("--state-dir")
            .arg(self.node.state_dir())
            .output();
        Ran::of(output.unwrap())
    }

    /// What a command that succeeds prints.
    #[track_caller]
    fn json(&self, line: &str) -> Value {
        self.run(&format!("{line} -o json")).json(0)
    }

    /// The code and the reason of a command that is refused.
    #[track_caller]
    fn refused(&self, line: &str) -> (i32, String) {
        let ran = self.run(line);
        assert_ne!(ran.code, 0, "{line}: {ran:?}");
        (ran.code, ran.stderr)
    }

    fn add(&self, name: &str) -> (Container, Value) {
        let container = self.node.container(name);
        let ipam = json!({"ipam": {"type": "bulkhead-ipam", "pool": "p"}});
        let config = self.node.network(&ipam);
        let added = self.node.call_of("ADD", &container, &config);
        let result = added.unwrap().result();
        (container, result)
    }
}

impl Ran {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    #[track_caller]
    fn json(&self, code: i32) -> Value {
        assert_eq!(self.code, code, "{self:?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

const ADD: &str = "pool add p --v4 10.4.0.0/24 --v6 fd00:4::/64 --block-size 16";

#[test]
fn pools_are_added_changed_and_removed_and_refusals_say_why() {
    let Some(operator) = Operator::start("operators_pools") else {
        return;
    };
    assert_eq!(operator.json("pool ls"), json!([]));
    let (code, stderr) = operator.refused("pool add p --v4 10.4.0.0/24 --reserve 10.5.0.1");
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("is not inside 10.4.0.0/24"), "{stderr}");
    let (_, stderr) = operator.refused("pool add p --v4 10.4.0.0/24 --gateway fd00::1");
    assert!(stderr.contains("gateway fd00::1 has no prefix"), "{stderr}");
    let added = operator.json(&format!("{ADD} --node-label zone=a --reserve 10.4.0.9"));
    let notes = added["notes"].to_string();
    assert!(notes.contains("no node has the labels zone=a"), "{notes}");
    let (code, stderr) = operator.refused(ADD);
    assert_eq!(code, 1, "{stderr}");
    let (_, stderr) = operator.refused("pool add q --v4 10.4.0.128/25");
    assert!(stderr.contains("pool p"), "{stderr}");

    let pools = operator.json("pool ls");
    let pool = &pools[0];
    assert_eq!(
        (
            &pool["name"],
            &pool["v6"],
            &pool["blockBits"],
            &pool["state"]
        ),
        (
            &json!("p"),
            &json!("fd00:4::/64"),
            &json!(4),
            &json!("enabled")
        )
    );
    assert_eq!(pool["gateways"], json!(["10.4.0.1", "fd00:4::1"]));
    assert_eq!(pool["reserved"], json!(["10.4.0.9"]));
    assert_eq!(pool["nodeLabels"], json!({"zone": "a"}));
    // 256 without network, broadcast, gateway and what is reserved.
    assert_eq!(pool["usage"]["size"], 252);
    assert_eq!(pool["cooldownSecs"], 30);

    operator.json("pool set p --any-node --priority 7 --unreserve 10.4.0.9 --cooldown 900");
    operator.json("pool drain p");
    let pools = operator.json("pool ls");
    assert_eq!(
        (
            &pools[0]["priority"],
            &pools[0]["state"],
            &pools[0]["cooldownSecs"]
        ),
        (&json!(7), &json!("draining"), &json!(900))
    );
    assert_eq!(pools[0].get("nodeLabels"), None);
    let (_, stderr) = operator.refused("pool set none --priority 1");
    assert!(stderr.contains("none"), "{stderr}");
    // The node has claimed a block ahead of its first ADD, and gives it back.
    wait_for("the pool to be nobody's", LIMIT, || {
        (operator.run("pool rm p").code == 0).then_some(())
    });
    assert_eq!(operator.json("pool ls"), json!([]));
    assert_eq!(operator.refused("pool rm p").0, 3);
}

#[test]
fn leases_of_pools_are_listed_checked_told_and_released() {
    let Some(operator) = Operator::start("operators_leases") else {
        return;
    };
    operator.json(ADD);
    let (container, result) = operator.add("c1");
    let address = result["ips"][0]["address"].as_str().unwrap();
    let address = address.split('/').next().unwrap();
    let (code, stderr) = operator.refused("pool rm p");
    assert_eq!(code, 1, "{stderr}");

    let published = wait_for("the lease to be published", LIMIT, || {
        let leases = operator.json("ipam ls");
        (leases[0]["published"] == json!(true)).then_some(leases)
    });
    let lease = &published[0];
    assert_eq!(
        (
            &lease["pool"],
            &lease["node"],
            &lease["container"],
            &lease["state"]
        ),
        (
            &json!("p"),
            &json!("n1"),
            &json!(container.name()),
            &json!("live")
        )
    );
    let blocks = operator.json("block ls --pool p");
    let holding: Vec<_> = blocks
        .as_array()
        .unwrap()
        .iter()
        .map(|block| &block["held"])
        .collect();
    assert!(holding.contains(&&json!(1)), "{blocks}");
    assert_eq!(
        (&blocks[0]["node"], &blocks[0]["bits"]),
        (&json!("n1"), &json!(4))
    );
    assert_eq!(blocks[0]["cooling"], 0);
    let nodes = operator.json("node ls");
    assert_eq!(
        (&nodes[0]["node"], &nodes[0]["held"]),
        (&json!("n1"), &json!(1))
    );

    let report = operator.json("ipam check");
    assert_eq!(
        (&report["violations"], &report["unread"]),
        (&json!([]), &json!([]))
    );
    assert_eq!(
        (&report["leases"], &report["attachments"]),
        (&json!(1), &json!(1))
    );
    let who = operator.json(&format!("ipam who {address} --conf-dir $DIR/net.d"));
    let of_pool = of_pool(&who);
    assert_eq!(
        of_pool["holders"][0]["container"],
        container.name(),
        "{who}"
    );

    let reason = "ipam release 10.4.0.200 --yes --conf-dir $DIR/net.d";
    assert_eq!(operator.refused(reason).0, 3);
    operator.json(&format!(
        "ipam release {address} --yes --conf-dir $DIR/net.d"
    ));
    assert!(!container.has_link("eth0").unwrap());
    assert_eq!(operator.json("ipam ls"), json!([]));
    let ended = wait_for("the end to be published", LIMIT, || {
        let who = operator.json(&format!("ipam who {address} --conf-dir $DIR/net.d"));
        let changes = of_pool_of(&who)?["changes"].as_array()?.clone();
        changes
            .into_iter()
            .find(|change| change["what"] == "released")
    });
    assert!(
        ended["reason"]
            .as_str()
            .unwrap()
            .starts_with("released by "),
        "{ended}"
    );
    assert_eq!(operator.json("ipam check")["violations"], json!([]));
}

fn of_pool_of(who: &Value) -> Option<&Value> {
    let mut known = who.as_array()?.iter();
    known.find(|known| known["of"] == "pool p")
}

#[track_caller]
fn of_pool(who: &Value) -> &Value {
    of_pool_of(who).unwrap_or_else(|| panic!("{who}"))
}

#[test]
fn what_the_kernel_lacks_is_told_with_who_says_so() {
    let Some(operator) = Operator::start("operators_check") else {
        return;
    };
    operator.json(ADD);
    let (container, result) = operator.add("c1");
    let address = result["ips"][0]["address"].as_str().unwrap();
    container
        .ip(&format!("address del {address} dev eth0"))
        .unwrap();
    let report = operator.run("ipam check -o json").json(5);
    let violation = &report["violations"][0];
    assert_eq!(violation["rule"], "address-missing", "{report}");
    let sources: Vec<_> = violation["evidence"]
        .as_array()
        .unwrap()
        .iter()
        .map(|evidence| evidence["source"].as_str().unwrap())
        .collect();
    assert_eq!(sources, ["journal", "kernel"]);
    let elsewhere = operator.json("ipam check --pool q");
    assert_eq!(elsewhere["violations"], json!([]));
}

#[test]
fn reservations_are_made_listed_and_ended() {
    let Some(operator) = Operator::start("operators_reservations") else {
        return;
    };
    operator.json(ADD);
    operator.json("ipam reserve db 10.4.0.32/28 --for-pod team-a/db-0 --reason backup");
    let (code, stderr) = operator.refused("ipam reserve db 10.4.0.64");
    assert_eq!(code, 1, "{stderr}");
    assert_ne!(operator.refused("ipam reserve other 10.9.0.1").0, 0);
    let rows = operator.json("ipam reservations");
    assert_eq!(
        (&rows[0]["name"], &rows[0]["pool"], &rows[0]["size"]),
        (&json!("db"), &json!("p"), &json!(16))
    );
    assert_eq!(rows[0]["for"]["pod"]["name"], "db-0");
    operator.json("ipam unreserve db");
    assert_eq!(operator.json("ipam reservations --pool p"), json!([]));
    assert_eq!(operator.refused("ipam unreserve db").0, 3);
    let (code, stderr) = operator.refused("ipam release --sticky team-a/db-0 --network blue --yes");
    assert_eq!(code, 3, "{stderr}");
    assert!(
        stderr.contains("no address is kept for team-a/db-0/blue"),
        "{stderr}"
    );
}

#[test]
fn the_stores_rows_go_into_a_file_and_into_the_store_of_a_fresh_node() {
    let Some(operator) = Operator::start("operators_backup") else {
        return;
    };
    operator.json(ADD);
    operator.json("ipam reserve db 10.4.0.32/28");
    let mut nth = 0;
    // Until the node writes nothing of its own between the two: it claims a block, or two.
    let backup = wait_for("a backup of what is there", LIMIT, || {
        nth += 1;
        let file = operator.node.dir.path(&format!("backup-{nth}"));
        let said = operator.run(&format!("store backup {}", file.display()));
        assert_eq!(said.code, 0, "{said:?}");
        let again = operator.run(&format!("store restore {} --yes -o json", file.display()));
        if again.code != 0 {
            assert!(again.stderr.contains("is not among them"), "{again:?}");
            return None;
        }
        // What is there already is there.
        assert_eq!(again.json(0)["written"], 0, "{again:?}");
        Some(file)
    });

    let mut fresh = Operator::start("operators_backup").unwrap();
    // What a daemon has found is in the store by the time when it is on its disk.
    let ledger = fresh.node.state_dir().join("ledger");
    wait_for("the ledger's file", LIMIT, || ledger.exists().then_some(()));
    let restore = format!("store restore {} --yes", backup.display());
    let (code, stderr) = fresh.refused(&restore);
    assert_eq!(code, 1, "it is of another cluster: {stderr}");
    assert!(stderr.contains("name an empty store or prefix"), "{stderr}");
    fresh.node.stop();
    // As before its daemon ever started.
    std::fs::remove_dir_all(fresh.node.state_dir().join("cluster")).unwrap();
    std::fs::remove_file(ledger).unwrap();
    let restored = fresh.run(&format!("{restore} --offline"));
    assert_eq!(restored.code, 0, "{restored:?}");
    fresh.node.start_daemon();
    assert_eq!(fresh.json("pool ls")[0]["name"], "p");
    assert_eq!(fresh.json("ipam reservations")[0]["name"], "db");
}

#[test]
fn a_node_is_not_declared_lost_by_itself_and_a_migration_says_what_stands_in_the_way() {
    let Some(operator) = Operator::start("operators_lost") else {
        return;
    };
    operator.json(ADD);
    let (code, stderr) = operator.refused("node lost n1 --reason fire --yes");
    assert_eq!(code, 1, "{stderr}");
    assert!(
        stderr.contains("is the one that is asked, and lives"),
        "{stderr}"
    );
    assert_eq!(operator.refused("node lost n9 --reason fire --yes").0, 3);
    let (code, stderr) = operator.refused("store migrate --to 10.0.0.1:2379 --dry-run");
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("does not begin with http://"), "{stderr}");
}
