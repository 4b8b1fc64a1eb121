//! Repairs beside the calls of runtimes.

use std::os::unix::fs::MetadataExt;
use std::thread;

use bulkhead_ipam::{Access, StateDir};
use bulkhead_model::AttachmentKey;
use netns_fixtures::{BridgeNetfilter, Feature, skip_without, wait_for};
use serde_json::Value;

use super::{Said, Street};
use crate::claims;
use crate::node::{Attachment, LIMIT, NETWORK, Node, with};

claims! {
    what_is_half_deleted_is_no_drift_and_not_repaired,
    what_is_half_made_is_no_drift_and_not_repaired,
    a_container_that_is_deleted_during_a_repair_does_not_come_back,
    a_container_that_is_added_during_a_repair_is_whole,
}

const ROUNDS: usize = 8;

/// How often: more in `make soak`.
fn rounds() -> usize {
    if std::env::var_os("BULKHEAD_SOAK").is_some() {
        ROUNDS * 20
    } else {
        ROUNDS
    }
}

/// What `check` says once it had to wait for a call of a runtime, which does `rest` meanwhile.
fn beside(street: &Street, line: &str, rest: impl FnOnce(&StateDir)) -> Said {
    let state = street.node.state();
    let call = StateDir::open(&state, Access::Shared).unwrap();
    let lock = std::fs::metadata(state.join("lock")).unwrap().ino();
    thread::scope(|scope| {
        let said = scope.spawn(|| street.check(line));
        wait_for("check to wait for the call", LIMIT, || {
            let locks = std::fs::read_to_string("/proc/locks").unwrap();
            let waits = |line: &str| line.contains("->") && line.contains(&format!(":{lock} "));
            (said.is_finished() || locks.lines().any(waits)).then_some(())
        });
        rest(&call);
        drop(call);
        said.join().unwrap()
    })
}

fn unplug(street: &Street, attachment: &Attachment) {
    let port = attachment.port();
    street.node.host.ip(&format!("link del {port}")).unwrap();
}

fn what_is_half_deleted_is_no_drift_and_not_repaired(setting: BridgeNetfilter) {
    skip_without!(Feature::Tbf);
    let street = Street::new(setting);
    let config = street.attachments[0].config().clone();
    let config = with(config, serde_json::json!({"runtimeConfig": {}}));
    for line in ["", "--repair"] {
        let doomed = street.node.attach(&config, &format!("d{line}"));
        let port = doomed.port();
        unplug(&street, &doomed);
        let said = beside(&street, line, |state| {
            let key = AttachmentKey {
                network: NETWORK.parse().unwrap(),
                container: doomed.container.name().parse().unwrap(),
                interface: "eth0".parse().unwrap(),
            };
            let mut store = state.network(&key.network).lock().unwrap();
            let sequence = store.find(&key.id()).unwrap().unwrap().sequence;
            store.release(&key.id(), sequence, "del").unwrap();
        });
        let gone = said.verdicts.iter().find(|one| one["state"] == "gone");
        assert!(said.code == 0 && gone.is_some(), "{said:#?}");
        assert!(!doomed.container.has_link("eth0").unwrap(), "{said:#?}");
        assert!(!street.node.host.has_link(&port).unwrap(), "{said:#?}");
        street.node.detach(&doomed);
    }
    street.tear_down();
}

fn what_is_half_made_is_no_drift_and_not_repaired(setting: BridgeNetfilter) {
    skip_without!(Feature::Tbf);
    let street = Street::new(setting);
    let a = &street.attachments[0];
    for line in ["", "--repair"] {
        unplug(&street, a);
        let said = beside(&street, line, |_| {
            let _ = street.node.attach_to(a.config(), &a.container, "eth0");
        });
        let sound = |verdict: &Value| verdict["state"] == "ok";
        assert!(said.verdicts.iter().all(sound), "{said:#?}");
    }
    street.tear_down();
}

fn a_container_that_is_deleted_during_a_repair_does_not_come_back(setting: BridgeNetfilter) {
    skip_without!(Feature::Tbf);
    let street = Street::new(setting);
    let config = street.attachments[1].config().clone();
    let config = with(config, serde_json::json!({"runtimeConfig": {}}));
    for round in 0..rounds() {
        let doomed = street.node.attach(&config, &format!("d{round}"));
        let port = doomed.port();
        let damage = ["ip link del ", "ip link set down "][round % 2];
        street.node.host.sh(&[damage, &port].concat()).unwrap();
        let said = thread::scope(|scope| {
            let repair = || street.check("--repair");
            let delete = || street.node.detach(&doomed);
            if round % 4 < 2 {
                let repaired = scope.spawn(repair);
                delete();
                repaired.join().unwrap()
            } else {
                let deleted = scope.spawn(delete);
                let said = repair();
                deleted.join().unwrap();
                said
            }
        });
        assert_eq!(said.code, 0, "{said:#?}");
        assert!(!doomed.container.has_link("eth0").unwrap(), "{said:#?}");
        assert!(!street.node.host.has_link(&port).unwrap(), "{said:#?}");
        street.assert_sound("a DEL beside a repair");
    }
    street.tear_down();
}

fn a_container_that_is_added_during_a_repair_is_whole(setting: BridgeNetfilter) {
    skip_without!(Feature::Tbf);
    let street = Street::new(setting);
    let config = street.attachments[1].config().clone();
    let config = with(config, serde_json::json!({"runtimeConfig": {}}));
    for round in 0..rounds() {
        let rest = ["", "--repair"][round % 2];
        let (added, said) = thread::scope(|scope| {
            let looked = scope.spawn(|| street.check(rest));
            let added = street.node.attach(&config, &format!("n{round}"));
            (added, looked.join().unwrap())
        });
        let sound = |verdict: &Value| verdict["state"] == "ok";
        assert!(said.verdicts.iter().all(sound), "{said:#?}");
        let answer = Node::check(&street.node, &added);
        assert!(answer.succeeded(), "{answer:#?}");
        street.node.detach(&added);
    }
    street.tear_down();
}
