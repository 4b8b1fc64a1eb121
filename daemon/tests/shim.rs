//! The plugins as runtimes run them, beside a daemon: passed on, refused, or on their own.

mod common;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use common::monitor::Monitor;
use common::{LIMIT, Node};
use netns_fixtures::{CniAnswer, CniCall, Container, Ns, Snapshot, Verb, wait_for};
use rustix::process::Signal;
use serde_json::{Value, json};

/// Loops that come only when asked for.
const QUIET: &str = "collector.interval_secs = 0\nreconcile.interval_secs = 0\n";

/// A node and the plugins' executables; `None` where they are not built.
struct Shims {
    node: Node,
    bin: PathBuf,
}

impl Shims {
    fn new(test: &str) -> Option<Self> {
        let bin = common::plugins(test)?;
        Some(Self {
            node: Node::stopped(QUIET),
            bin,
        })
    }

    fn started(test: &str) -> Option<Self> {
        let mut shims = Self::new(test)?;
        shims.node.start_daemon();
        Some(shims)
    }

    fn call(&self, verb: Verb, container: &Ns) -> CniAnswer {
        self.call_of(verb, container, &self.node.network(&json!({})))
    }

    fn call_of(&self, verb: Verb, container: &Ns, config: &Value) -> CniAnswer {
        let plugin = self.bin.join(config["type"].as_str().unwrap());
        let call = CniCall::new(plugin, verb)
            .container_id(container.name())
            .netns(container.path())
            .ifname("eth0")
            .stdin(config);
        call.run(&self.node.host).unwrap()
    }

    /// A call that must succeed.
    fn served(&self, verb: Verb, container: &Ns) {
        self.served_of(verb, container, &self.node.network(&json!({})));
    }

    fn served_of(&self, verb: Verb, container: &Ns, config: &Value) {
        let answer = self.call_of(verb, container, config);
        assert!(answer.succeeded(), "{answer:#?}");
    }

    fn added(&self, name: &str) -> Container {
        let container = self.node.container(name);
        self.served(Verb::Add, &container);
        container
    }

    /// Tombstones that the daemon has not taken in.
    fn spooled(&self) -> usize {
        let dir = fs::read_dir(self.node.state_dir().join("spool"));
        let files = dir
            .into_iter()
            .flatten()
            .map(|file| file.unwrap().file_name());
        files.filter(|name| name != "lock").count()
    }
}

#[test]
fn a_call_is_passed_on_and_answered_as_by_the_plugin_itself() {
    let Some(alone) = Shims::new("passed_on") else {
        return;
    };
    let container = alone.node.container("c");
    let by_itself = alone.call(Verb::Add, &container).result();
    let alone_config = alone.node.network(&json!({}));
    alone.served(Verb::Del, &container);

    let Some(mut shims) = Shims::new("passed_on") else {
        return;
    };
    shims.node.start_daemon();
    let container = shims.node.container("c");
    let before = Snapshot::take(&shims.node.host).unwrap();
    let result = shims.call(Verb::Add, &container).result();
    assert_eq!(result["ips"], by_itself["ips"]);
    assert_eq!(result["routes"], by_itself["routes"]);
    let mut checked = alone_config;
    checked["stateDir"] = json!(shims.node.state_dir());
    checked["prevResult"] = result;
    shims.served_of(Verb::Check, &container, &checked);
    shims.served(Verb::Status, &container);
    shims.served(Verb::Del, &container);
    shims.served(Verb::Del, &container);
    assert_eq!(shims.node.status().daemon.calls, 5);
    assert_eq!(before.left_in(&shims.node.host, LIMIT).unwrap(), [""; 0]);
}

#[test]
fn a_foreign_ipam_plugin_is_run_where_its_runtime_is() {
    let Some(shims) = Shims::started("foreign_ipam") else {
        return;
    };
    let dir = common::Scratch::new();
    let script = dir.path("fake-ipam");
    let log = dir.path("ran");
    let text = format!(
        "#!/bin/sh\ncat >/dev/null\necho \"$CNI_COMMAND $MARK\" >>{log}\n\
         [ \"$CNI_COMMAND\" = ADD ] && echo '{{\"cniVersion\":\"1.0.0\",\"ips\":[{{\"address\":\"10.9.0.5/24\"}}]}}'\nexit 0\n",
        log = log.display()
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let config = shims.node.network(&json!({"ipam": {"type": "fake-ipam"}}));
    let container = shims.node.container("c");
    let call = |verb| {
        let plugin = shims.bin.join("bulkhead-bridge");
        CniCall::new(plugin, verb)
            .container_id(container.name())
            .netns(container.path())
            .ifname("eth0")
            .cni_path(&dir.path("").display().to_string())
            .env("MARK", "from-the-runtime")
            .stdin(&config)
            .run(&shims.node.host)
            .unwrap()
    };
    let result = call(Verb::Add).result();
    assert_eq!(result["ips"][0]["address"], "10.9.0.5/24");
    assert!(call(Verb::Del).succeeded());
    let ran = fs::read_to_string(log).unwrap();
    assert_eq!(ran, "ADD from-the-runtime\nDEL from-the-runtime\n");
}

#[test]
fn an_add_without_the_daemon_is_told_to_try_again() {
    let Some(mut shims) = Shims::started("without_the_daemon") else {
        return;
    };
    shims.node.stop();
    let monitor = Monitor::start(&shims.node.host);
    let container = shims.node.container("c");
    let add = shims.call(Verb::Add, &container);
    assert_eq!(add.error_code(), Some(11), "{}", add.stdout);
    assert!(
        add.stdout.contains("is managed by a node daemon"),
        "{}",
        add.stdout
    );
    assert_eq!(shims.call(Verb::Status, &container).error_code(), Some(50));
    assert_eq!(monitor.told(), "");
    shims.node.start_daemon();
    shims.served(Verb::Add, &container);
}

#[test]
fn a_del_without_the_daemon_detaches_and_is_taken_in_at_the_next_start() {
    let Some(mut shims) = Shims::started("del_without") else {
        return;
    };
    let before = Snapshot::take(&shims.node.host).unwrap();
    let (gone, stays) = (shims.added("gone"), shims.added("stays"));
    shims.node.kill();
    shims.served(Verb::Del, &gone);
    assert!(!gone.has_link("eth0").unwrap());
    assert_eq!(shims.spooled(), 1);
    shims.node.start_daemon();
    let status = shims.node.status();
    assert_eq!(
        (
            status.attachments,
            status.spool.consumed,
            status.spool.waiting
        ),
        (1, 1, 0)
    );
    assert_eq!(shims.spooled(), 0);
    assert!(stays.has_link("eth0").unwrap());
    // The last one's: what the network shared goes too.
    shims.node.kill();
    shims.served(Verb::Del, &stays);
    shims.node.start_daemon();
    assert_eq!(before.left_in(&shims.node.host, LIMIT).unwrap(), [""; 0]);
}

#[test]
fn a_del_beside_a_daemon_that_stands_still_is_taken_in_when_it_goes_on() {
    let Some(shims) = Shims::started("stands_still") else {
        return;
    };
    let container = shims.added("c");
    shims.node.signal(Signal::STOP);
    shims.served(Verb::Del, &container);
    assert!(!container.has_link("eth0").unwrap());
    assert_eq!(shims.spooled(), 1);
    shims.node.signal(Signal::CONT);
    wait_for("the tombstone to be taken in", LIMIT, || {
        (shims.spooled() == 0).then_some(())
    });
    assert_eq!(shims.node.status().attachments, 0);
    // A call that nobody waits for any more is not served late: the name is another's by now.
    shims.served(Verb::Add, &container);
    assert_eq!(shims.node.status().attachments, 1);
    assert!(container.has_link("eth0").unwrap());
}

#[test]
fn an_add_that_was_given_up_is_not_served_when_the_daemon_goes_on() {
    let Some(shims) = Shims::started("given_up") else {
        return;
    };
    let container = shims.node.container("c");
    shims.node.signal(Signal::STOP);
    let plugin = shims.bin.join("bulkhead-bridge");
    let add = CniCall::new(plugin, Verb::Add)
        .container_id(container.name())
        .netns(container.path())
        .ifname("eth0")
        .stdin(&shims.node.network(&json!({})))
        .limit(Duration::from_millis(300))
        .run(&shims.node.host);
    assert!(add.is_err(), "{add:?}");
    shims.node.signal(Signal::CONT);
    let given_up = "the caller has given up before its call was served";
    wait_for("the call to be dropped", LIMIT, || {
        shims.node.log().contains(given_up).then_some(())
    });
    assert!(!container.has_link("eth0").unwrap());
    assert_eq!(shims.node.status().attachments, 0);
}

#[test]
fn a_later_lease_of_the_same_name_outlives_a_tombstone() {
    let Some(mut shims) = Shims::started("later_lease") else {
        return;
    };
    let container = shims.added("c");
    shims.node.kill();
    shims.served(Verb::Del, &container);
    let spool = shims.node.state_dir().join("spool");
    let tombstone = fs::read_dir(&spool)
        .unwrap()
        .map(|file| file.unwrap().path())
        .find(|path| path.file_name().is_some_and(|name| name != "lock"));
    let tombstone = tombstone.unwrap();
    let kept = fs::read(&tombstone).unwrap();
    shims.node.start_daemon();
    shims.served(Verb::Add, &container);
    // The same tombstone once more, late.
    fs::write(&tombstone, kept).unwrap();
    wait_for("the tombstone to be taken in", LIMIT, || {
        (shims.spooled() == 0).then_some(())
    });
    assert!(container.has_link("eth0").unwrap());
    assert_eq!(shims.node.status().attachments, 1);
    // The line comes behind the tombstone's end.
    wait_for("it to be told", LIMIT, || {
        let log = shims.node.log();
        log.contains("outcome=\"attached-anew\"").then_some(())
    });
}
