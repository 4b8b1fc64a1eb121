//! Repairs beside the calls of runtimes.

use std::thread;

use netns_fixtures::{BridgeNetfilter, Feature, skip_without};
use serde_json::Value;

use super::Street;
use crate::claims;
use crate::node::{Node, with};

claims! {
    a_container_that_is_deleted_during_a_repair_does_not_come_back,
    a_container_that_is_added_during_a_repair_is_whole,
}

const ROUNDS: usize = 12;

/// How often: more in `make soak`.
fn rounds() -> usize {
    if std::env::var_os("BULKHEAD_SOAK").is_some() {
        ROUNDS * 20
    } else {
        ROUNDS
    }
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

/// What is half made is not called drift, by `check` or by `--repair`.
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
