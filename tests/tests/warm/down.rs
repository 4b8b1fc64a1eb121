//! A directory that a daemon owns, and no daemon that answers.

use std::os::unix::net::UnixListener;

use bulkhead_ipam::{Access, Managed, StateDir, Tombstone};
use netns_fixtures::Verb;
use serde_json::json;

use crate::bed::{Bed, NETWORK, refusal};

/// A node whose daemon has made the attachment and has ended since.
fn abandoned() -> Bed {
    let mut bed = Bed::managed(None);
    assert!(bed.run(Verb::Add, &bed.config()).succeeded());
    bed.warm = None;
    bed
}

fn tombstones(bed: &Bed) -> Vec<Tombstone> {
    let state = StateDir::open(&bed.state(), Access::Look).unwrap();
    state.spool().unwrap().tombstones().unwrap()
}

#[test]
fn without_the_daemon_nothing_is_added_and_the_reason_is_told() {
    let bed = abandoned();
    let mut config = bed.config();
    let state = bed.state().display().to_string();
    let why = format!(
        "state directory {state} is managed by a node daemon: start bulkheadd, or remove the file {state}/managed if the node has none any more; no daemon listens on {state}/socket, start bulkheadd: Connection refused (os error 111)"
    );
    config["prevResult"] = json!({"cniVersion": "1.1.0"});
    config["cni.dev/valid-attachments"] = json!([]);
    for (verb, code) in [
        (Verb::Add, 11),
        (Verb::Check, 11),
        (Verb::Gc, 11),
        (Verb::Status, 50),
    ] {
        assert_eq!(
            refusal(&bed.run(verb, &config)),
            (code, why.clone()),
            "{verb:?}"
        );
    }
    assert!(bed.is_attached(), "what runs goes on");
    assert!(bed.run(Verb::Version, &config).succeeded());
}

#[test]
fn del_without_the_daemon_detaches_and_leaves_the_lease_to_it() {
    let bed = abandoned();
    let state = StateDir::open(&bed.state(), Access::Look).unwrap();
    let leases = || {
        let known = state.network(&NETWORK.parse().unwrap()).read().unwrap();
        known.unwrap().attachments().unwrap()
    };
    let [lease] = leases().try_into().unwrap();
    // Twice, as runtimes do.
    for _ in 0..2 {
        let answer = bed.run(Verb::Del, &bed.config());
        assert!(
            answer.succeeded() && answer.stdout.is_empty(),
            "{answer:#?}"
        );
        assert!(!bed.is_attached());
    }
    let [left] = tombstones(&bed).try_into().unwrap();
    assert_eq!(
        (&left.key, left.sequence),
        (&lease.key, Some(lease.sequence))
    );
    assert_eq!(leases(), [lease], "the daemon ends it");
}

/// No record, no namespace, no configuration that could be used: still it succeeds.
#[test]
fn del_without_the_daemon_succeeds_on_whatever_there_is() {
    let bed = abandoned();
    let mut broken = bed.config();
    broken["mtu"] = json!("big");
    for call in [
        bed.call(Verb::Del, &bed.config()).container_id("unknown"),
        bed.call(Verb::Del, &broken).without("CNI_NETNS"),
    ] {
        let answer = call.run(&bed.host).unwrap();
        assert!(
            answer.succeeded() && answer.stdout.is_empty(),
            "{answer:#?}"
        );
    }
    assert!(!bed.is_attached());
    let sequences: Vec<_> = tombstones(&bed)
        .iter()
        .map(|one| one.sequence.is_some())
        .collect();
    assert_eq!(sequences, [false, true]);
}

/// As a process that is stopped: the kernel takes the connection, nobody the call.
#[test]
fn del_does_not_wait_for_a_daemon_that_stands_still() {
    let bed = abandoned();
    let held = StateDir::open(&bed.state(), Access::Exclusive).unwrap();
    let socket = bed.state().join("stopped");
    let _listener = UnixListener::bind(&socket).unwrap();
    let managed = Managed {
        socket,
        ..Managed::default()
    };
    managed.write(&bed.state()).unwrap();
    let answer = bed.run(Verb::Del, &bed.config());
    assert!(
        answer.succeeded() && answer.stdout.is_empty(),
        "{answer:#?}"
    );
    assert!(!bed.is_attached());
    assert_eq!(tombstones(&bed).len(), 1);
    let (code, text) = refusal(&bed.run(Verb::Status, &bed.config()));
    assert_eq!(code, 50);
    assert!(text.contains("has not answered in time"), "{text}");
    drop(held);
}

/// containerd's loopback call keeps no record, and needs nobody.
#[test]
fn the_loopback_comes_up_without_the_daemon() {
    let bed = abandoned();
    let config = json!({"cniVersion": "1.0.0", "name": "cni-loopback", "type": "loopback",
        "stateDir": bed.state()});
    let call = netns_fixtures::CniCall::new(bed.suite.dir().join("loopback"), Verb::Add);
    let answer = call
        .container_id("c1")
        .netns(bed.container.path())
        .ifname("lo")
        .stdin(&config)
        .run(&bed.host)
        .unwrap();
    assert!(answer.succeeded(), "{answer:#?}");
}
