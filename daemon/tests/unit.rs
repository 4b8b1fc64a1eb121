//! The unit of systemd: what it takes away from the daemon is not needed, and what it expects is done.

mod common;

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;

use common::{BULKHEADD, LIMIT, Node, Scratch};
use netns_fixtures::{Ns, wait_for};
use rustix::process::Signal;
use serde_json::json;

fn deploy(file: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../deploy/systemd")
        .join(file)
}

/// The value of a setting of the unit.
fn setting(name: &str) -> String {
    let unit = fs::read_to_string(deploy("bulkheadd.service")).unwrap();
    let line = unit
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{name}=")));
    line.unwrap_or_else(|| panic!("the unit has no {name}"))
        .to_owned()
}

/// The node's daemon with the capabilities that the unit leaves it, and no others.
fn bounded(node: &Node, but: &str) -> Command {
    let set = setting("CapabilityBoundingSet");
    let kept = set.split(' ').filter(|name| *name != but);
    let kept: Vec<_> = kept
        .map(|name| format!("+{}", &name.to_lowercase()[4..]))
        .collect();
    let mut command = node.host.command("setpriv");
    command
        .args(["--no-new-privs", "--inh-caps=-all", "--ambient-caps=-all"])
        .arg(format!("--bounding-set=-all,{}", kept.join(",")))
        .arg(BULKHEADD)
        .arg("--config")
        .arg(node.config());
    command
}

/// A process in the container with more rights than the daemon, as containers' own are.
fn inhabited(container: &Ns) -> (std::process::Child, String) {
    let child = container.command("sleep").arg("1000").spawn().unwrap();
    let path = format!("/proc/{}/ns/net", child.id());
    let inside = fs::metadata(container.path()).map(|ns| std::os::unix::fs::MetadataExt::ino(&ns));
    wait_for("the process to be inside", LIMIT, || {
        let found = fs::metadata(&path).ok()?;
        (std::os::unix::fs::MetadataExt::ino(&found) == *inside.as_ref().unwrap()).then_some(())
    });
    (child, path)
}

#[test]
fn the_capabilities_of_the_unit_are_enough_for_every_verb_and_loop() {
    let mut node = Node::stopped("collector.interval_secs = 0\nreconcile.interval_secs = 1\n");
    let command = bounded(&node, "");
    node.start_as(command);
    let config = node.network(&json!({
        "isDefaultGateway": true, "ipMasq": true, "hairpinMode": true,
        "capabilities": {"portMappings": true, "bandwidth": true},
        "runtimeConfig": {
            "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}],
            "bandwidth": {"ingressRate": 1_000_000, "ingressBurst": 80_000, "egressRate": 1_000_000, "egressBurst": 80_000},
        },
    }));
    let container = node.container("c");
    let added = node.call_of("ADD", &container, &config).unwrap().result();
    let mut checked = config.clone();
    checked["prevResult"] = added;
    node.call_of("CHECK", &container, &checked)
        .unwrap()
        .result();
    node.call_of("STATUS", &container, &config)
        .unwrap()
        .result();
    let port = node.status();
    assert_eq!(port.attachments, 1);
    // What a loop does needs no more: the link is put back by it.
    let bridge = "br-blue";
    node.host
        .ip(&format!("link set dev {bridge} down"))
        .unwrap();
    wait_for("the drift to be mended", LIMIT, || {
        (node.status().drift.mended > 0).then_some(())
    });
    let mut valid = config.clone();
    valid["cni.dev/valid-attachments"] = json!([]);
    node.call_of("GC", &container, &valid).unwrap().result();
    assert_eq!(node.status().attachments, 0);
    node.call_of("DEL", &container, &config).unwrap().result();
    let config = json!({
        "cniVersion": "1.1.0", "name": "told", "type": "bulkhead-ipv6",
        "stateDir": node.state_dir(), "routerAdvertisements": {"dhcpv6": true},
        "ipam": {"type": "bulkhead-ipam", "ranges": [[{"subnet": "fd00:7::/64"}]]},
    });
    let guest = node.container("told");
    node.call_of("ADD", &guest, &config).unwrap().result();
    let told = guest.sh("rdisc6 -1 -r 5 -w 1000 eth0").unwrap();
    assert!(told.contains("from fe80::1"), "{told}");
    wait_for("DHCPv6 to be answered", LIMIT, || {
        let open = node.host.sh("ss -Hlnu sport = 547").unwrap();
        (!open.trim().is_empty()).then_some(())
    });
}

#[test]
fn containers_named_by_a_process_are_looked_at_by_the_right_to_trace() {
    for (but, mended) in [("", true), ("CAP_SYS_PTRACE", false)] {
        let mut node = Node::stopped("collector.interval_secs = 0\nreconcile.interval_secs = 0\n");
        let command = bounded(&node, but);
        node.start_as(command);
        let container = node.container("c");
        let (mut child, path) = inhabited(&container);
        let mut call = common::call("ADD", &container, &node.network(&json!({})));
        call.environment.retain(|(name, _)| name != "CNI_NETNS");
        call.environment
            .push(("CNI_NETNS".into(), path.clone().into()));
        // The plugin's rights are its runtime's: it opens the namespace in any case.
        let spoken = bulkhead_ipam::wire::Spoken::OURS;
        node.send(spoken, &call, path.as_ref(), &node.host)
            .unwrap()
            .result();
        let key = bulkhead_model::AttachmentKey {
            network: "blue".parse().unwrap(),
            container: container.name().parse().unwrap(),
            interface: "eth0".parse().unwrap(),
        };
        let port = key.id().port();
        node.host.ip(&format!("link set dev {port} down")).unwrap();
        let replies = node.ask(&bulkhead_ipam::wire::admin::Request::Repair { attachment: key });
        let repaired = format!("{replies:?}").contains("Repaired");
        assert_eq!(repaired, mended, "{replies:?}");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn systemd_is_told_of_the_daemons_life() {
    let dir = Scratch::new();
    let path = dir.path("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    let told = |what: &str| loop {
        let mut buffer = [0; 1024];
        let length = socket
            .recv(&mut buffer)
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        let text = String::from_utf8(buffer[..length].to_vec()).unwrap();
        if text.lines().any(|line| line == what) {
            return text;
        }
    };
    let mut node = Node::stopped("");
    let mut command = node.command();
    command
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "400000");
    node.start_as(command);
    let ready = told("READY=1");
    assert!(ready.contains("STATUS=serving"), "{ready}");
    told("WATCHDOG=1");
    told("WATCHDOG=1");
    node.signal(Signal::HUP);
    told("RELOADING=1");
    told("READY=1");
    // A daemon that stands still says nothing, and systemd ends it.
    node.signal(Signal::STOP);
    node.signal(Signal::CONT);
    node.stop();
    told("STOPPING=1");
}

#[test]
fn the_unit_is_one_that_systemd_understands() {
    if Command::new("systemd-analyze")
        .arg("--version")
        .output()
        .is_err()
    {
        return common::skip(
            "the_unit_is_one_that_systemd_understands",
            "no systemd-analyze",
        );
    }
    let dir = Scratch::new();
    let unit = fs::read_to_string(deploy("bulkheadd.service")).unwrap();
    // Neither is installed while this is tested.
    let unit = unit.replace("/usr/local/sbin/bulkheadd", BULKHEADD);
    let unit = unit.replace("Documentation=man:bulkhead(8)\n", "");
    let path = dir.path("bulkheadd.service");
    fs::write(&path, unit).unwrap();
    let output = Command::new("systemd-analyze")
        .arg("verify")
        .arg(&path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let ours: Vec<_> = said
        .lines()
        .filter(|line| line.contains("bulkheadd"))
        .collect();
    assert!(ours.is_empty(), "{}", ours.join("\n"));
}

#[test]
fn the_example_configuration_sets_every_key_to_its_default() {
    let example = fs::read_to_string(deploy("bulkheadd.toml")).unwrap();
    let dir = Scratch::new();
    let file = dir.path("bulkheadd.toml");
    let check = |text: &str| {
        fs::write(&file, text).unwrap();
        let mut command = Command::new(BULKHEADD);
        let output = command
            .arg("check-config")
            .arg("--config")
            .arg(&file)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    };
    // The keys of etcd are not for the default backend, and a node has no labels of itself, nor an
    // underlay that is named.
    let mut etcd = false;
    let set = example.lines().filter_map(|line| {
        etcd = line.starts_with("#[store.etcd]") || etcd && !line.starts_with('[');
        let key = line
            .strip_prefix('#')
            .filter(|key| key.contains(" = ") && !key.starts_with(' '));
        let own = ["name", "labels", "underlay"];
        let key = key.filter(|key| !etcd && !own.iter().any(|own| key.starts_with(own)));
        key.or_else(|| Some(line).filter(|line| line.starts_with('[')))
            .map(|line| format!("{line}\n"))
    });
    let set: String = set.collect();
    assert!(set.lines().count() > 20, "{set}");
    assert_eq!(check(&set), check(&example));
    assert_eq!(check(&example), check(""));
}
