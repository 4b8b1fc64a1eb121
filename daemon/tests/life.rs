//! A daemon that is stopped, killed and started again: what stands, stands.

mod common;

use std::fs;
use std::process::Stdio;
use std::thread;

use bulkhead_ipam::wire::admin::{Reply, Request};
use bulkhead_ipam::wire::{Client, ClientError, RefusalCode};
use common::monitor::Monitor;
use common::stream::Stream;
use common::{LIMIT, Node};
use netns_fixtures::{Container, Snapshot, wait_for};
use rustix::process::Signal;
use serde_json::{Value, json};

/// An attached container, and its IPv4 address.
fn attached(node: &Node, name: &str) -> (Container, std::net::IpAddr) {
    let container = node.container(name);
    let result = node.call("ADD", &container).unwrap().result();
    let address = result["ips"][0]["address"].as_str().unwrap();
    let address = address.split('/').next().unwrap().parse().unwrap();
    (container, address)
}

fn managed(node: &Node) -> Value {
    let text = fs::read_to_string(node.state_dir().join("managed")).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn a_restart_writes_nothing_to_the_kernel_and_interrupts_nobody() {
    let mut node = Node::start("collector.grace_secs = 1\n");
    let (server, address) = attached(&node, "server");
    let (client, _) = attached(&node, "client");
    let stream = Stream::open(&client, &server, address);
    let before = Snapshot::settled(&node.host, LIMIT).unwrap();
    for end in [Node::kill, Node::stop] {
        let monitor = Monitor::start(&node.host);
        end(&mut node);
        stream.goes_on();
        node.start_daemon();
        // The first round of every loop is over.
        wait_for("every attachment to be looked at", LIMIT, || {
            node.status().drift.finished_at_unix_ms
        });
        stream.goes_on();
        let status = node.status();
        assert_eq!(
            (
                status.attachments,
                status.drift.examined,
                status.drift.found
            ),
            (2, 2, 0)
        );
        assert_eq!(monitor.told(), "");
    }
    assert_eq!(before.diff(&Snapshot::take(&node.host).unwrap()), [""; 0]);
    stream.close();
}

#[test]
fn kills_at_random_moments_of_calls_leave_what_converges() {
    let mut node = Node::start("");
    let mut chance = 7_u64;
    let before = Snapshot::take(&node.host).unwrap();
    for round in 0..12 {
        let container = node.container(&format!("c{round}"));
        let config = node.network(&json!({}));
        thread::scope(|scope| {
            let calling = scope.spawn(|| node.call_of("ADD", &container, &config));
            chance = chance
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            // From before the call is read to after it is answered.
            thread::sleep(std::time::Duration::from_micros((chance >> 33) % 20_000));
            node.signal(Signal::KILL);
            let answer = calling.join().unwrap();
            if let Err(error) = answer {
                let broken = matches!(
                    error,
                    ClientError::Broken { .. } | ClientError::NotRunning { .. }
                );
                assert!(broken, "{error}");
            }
        });
        node.kill();
        node.start_daemon();
        if round % 2 == 0 {
            node.call("ADD", &container).unwrap().result();
        }
        node.call("DEL", &container).unwrap().result();
        assert!(!container.has_link("eth0").unwrap());
    }
    assert_eq!(node.status().attachments, 0);
    let left = before.left_in(&node.host, LIMIT).unwrap();
    assert_eq!(left, [""; 0]);
}

#[test]
fn a_stopped_daemon_leaves_the_directory_marked_and_the_socket_closed() {
    let mut node = Node::start("");
    let (container, _) = attached(&node, "c");
    node.stop();
    assert_eq!(managed(&node)["socket"], json!(node.socket()));
    assert!(!node.socket().exists());
    let error = node.call("DEL", &container).unwrap_err();
    assert!(matches!(error, ClientError::NotRunning { .. }), "{error}");
    node.start_daemon();
    node.call("DEL", &container).unwrap().result();
}

#[test]
fn calls_in_flight_are_answered_before_the_daemon_ends() {
    let mut node = Node::start("workers.threads = 1\n");
    let containers: Vec<_> = (0..6)
        .map(|nth| node.container(&format!("c{nth}")))
        .collect();
    let config = node.network(&json!({}));
    thread::scope(|scope| {
        let calls: Vec<_> = containers
            .iter()
            .map(|container| scope.spawn(|| node.call_of("ADD", container, &config)))
            .collect();
        wait_for("a call to be served", LIMIT, || {
            (node.status().daemon.calls > 0).then_some(())
        });
        node.signal(Signal::TERM);
        let answers = calls.into_iter().map(|call| call.join().unwrap());
        let (served, refused): (Vec<_>, Vec<_>) = answers.partition(Result::is_ok);
        assert!(!served.is_empty());
        for answer in served {
            answer.unwrap().result();
        }
        for error in refused.into_iter().map(Result::unwrap_err) {
            let told = matches!(
                error,
                ClientError::Refused { .. } | ClientError::NotRunning { .. }
            );
            assert!(told, "{error}");
        }
    });
    node.stop();
}

/// As who waits while a machine is busy: the daemon hears of them and of its end at once.
#[test]
fn who_is_at_the_door_when_the_daemon_ends_is_told_so() {
    let mut node = Node::start("server.connections = 500\n");
    node.signal(Signal::STOP);
    let callers: Vec<_> = (0..120)
        .map(|_| Client::connect(&node.socket(), Some(LIMIT)).unwrap())
        .collect();
    node.signal(Signal::TERM);
    node.signal(Signal::CONT);
    for mut caller in callers {
        match caller.ask::<Reply>(&Request::Status) {
            Ok(_) => {}
            Err(ClientError::Refused { refusal, .. }) => {
                assert_eq!(refusal.code, RefusalCode::Stopping, "{}", refusal.text);
            }
            Err(error) => panic!("{error}"),
        }
    }
    node.stop();
}

#[test]
fn a_second_daemon_on_the_same_directory_says_so() {
    let node = Node::start("");
    let output = node.command().stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("another bulkheadd runs on it"), "{said}");
    attached(&node, "c");
}

#[test]
fn a_socket_that_is_something_else_is_left_alone() {
    let node = Node::stopped("");
    fs::write(node.socket(), "precious").unwrap();
    let output = node.command().stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("is there and no socket"), "{said}");
    assert_eq!(fs::read_to_string(node.socket()).unwrap(), "precious");
}

#[test]
fn the_configuration_is_read_anew_without_a_restart() {
    let node = Node::start("");
    node.configure("log.level = \"debug\"\nworkers.threads = 3\n");
    node.signal(Signal::HUP);
    let told = |text: &str| {
        wait_for(text, LIMIT, || node.log().contains(text).then_some(()));
    };
    told("configured anew key=\"log.level\" from=\"info\" to=\"debug\"");
    told("takes effect when bulkheadd starts again key=\"workers.threads\" from=\"8\" to=\"3\"");
    node.configure("log.levle = \"debug\"\n");
    node.signal(Signal::HUP);
    told("the configuration stays as it was");
    attached(&node, "c");
}

#[test]
fn the_log_can_be_read_by_programs() {
    let mut node = Node::start("log.format = \"json\"\n");
    attached(&node, "c");
    node.stop();
    let lines = node.log();
    let events: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let served = events
        .iter()
        .find(|event| event["message"] == "served")
        .unwrap();
    assert_eq!(served["verb"], "ADD");
    assert_eq!(served["network"], "blue");
    assert_eq!(served["ifname"], "eth0");
    assert_eq!(served["code"], 0);
    assert!(served["duration_us"].as_u64().unwrap() > 0);
    assert_eq!(events.last().unwrap()["message"], "stopped");
}

#[test]
fn a_journal_that_is_not_there_is_said() {
    if std::path::Path::new("/run/systemd/journal/socket").exists() {
        return common::skip("a_journal_that_is_not_there_is_said", "journald runs here");
    }
    let node = Node::stopped("log.format = \"journald\"\n");
    let output = node.command().stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("journald cannot be reached"), "{said}");
    assert!(!node.state_dir().exists());
}
