//! Both hosts answer alike, byte for byte.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use bulkhead_tests::Suite;
use netns_fixtures::{CniCall, Verb, wait_until};
use serde_json::{Value, json};

use crate::bed::{Bed, IN_TIME};
use crate::warm::descriptors;

type Said = (bool, String, String);

fn recorded(file: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpora")
        .join(file);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// A recorded call made to our counterpart of the plugin it was made to.
fn replayed(bed: &Bed, recorded: &Value, plugin: &Path, verb: Verb) -> CniCall {
    let mut stdin = recorded["stdin"].clone();
    stdin["type"] = json!("bulkhead-bridge");
    stdin["ipam"]["type"] = json!("bulkhead-ipam");
    stdin["stateDir"] = json!(bed.state());
    let variable = |name: &str| {
        recorded["env"][name]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    CniCall::new(plugin, verb)
        .cni_path(&bed.suite.cni_path())
        .container_id(&variable("CNI_CONTAINERID"))
        .netns(bed.container.path())
        .ifname(&variable("CNI_IFNAME"))
        .args(&variable("CNI_ARGS"))
        .stdin(&stdin)
}

/// ADD twice, CHECK, DEL twice, of one recorded attachment.
fn life(bed: &Bed, runtime: &str, plugin: &str, nth: usize) -> Vec<Said> {
    let executable = match plugin {
        "bridge" => Suite::ours().bridge(),
        _ => Suite::ours().ipam(),
    };
    let add = recorded(&format!("{runtime}/{plugin}-ADD-{nth}.json"));
    let mut del = recorded(&format!("{runtime}/{plugin}-DEL-{nth}.json"));
    for key in ["CNI_CONTAINERID", "CNI_IFNAME"] {
        del["env"][key] = add["env"][key].clone();
    }
    del["stdin"]["name"] = add["stdin"]["name"].clone();
    let mut said = Vec::new();
    let mut run = |call: &CniCall| {
        let answer = call.run(&bed.host).unwrap();
        said.push(bed.said(&answer));
        answer
    };
    let result = run(&replayed(bed, &add, &executable, Verb::Add)).result();
    run(&replayed(bed, &add, &executable, Verb::Add));
    let mut check = add.clone();
    check["stdin"]["prevResult"] = result;
    run(&replayed(bed, &check, &executable, Verb::Check));
    run(&replayed(bed, &del, &executable, Verb::Del));
    run(&replayed(bed, &del, &executable, Verb::Del));
    said
}

#[test]
fn recorded_calls_are_answered_alike_by_both_hosts() {
    for runtime in ["podman", "cri"] {
        for plugin in ["bridge", "host-local"] {
            for nth in 1..=3 {
                let (cold, warm) = (Bed::new(), Bed::managed(None));
                let both = [&cold, &warm].map(|bed| life(bed, runtime, plugin, nth));
                assert_eq!(both[0], both[1], "{runtime} {plugin} {nth}");
                assert!(both[0].iter().all(|said| said.0), "{:#?}", both[0]);
                assert_eq!(warm.warm.as_ref().unwrap().served(), 5);
                cold.assert_nothing_left();
                warm.assert_nothing_left();
            }
        }
    }
}

/// What is wrong is said alike too, and the plugin passes on only what is a call.
/// ADD twice, CHECK, GC that keeps it, DEL twice, of a container with a link of its own; with a prefix of
/// its own too.
#[test]
fn links_are_made_alike_by_both_hosts() {
    let life = |mut bed: Bed, keys: &Value| {
        bed.suite = Suite::layer3();
        let mut config = bed.config();
        for (key, value) in keys.as_object().unwrap() {
            config[key] = value.clone();
        }
        config["ipam"]["ranges"] = json!([[{"subnet": "10.77.0.0/16"}], [{"subnet": "fd77::/48"}]]);
        let mut said = Vec::new();
        let mut run = |verb, config: &Value| {
            let answer = bed.run(verb, config);
            assert!(answer.succeeded(), "{answer:#?}");
            said.push(bed.said(&answer));
            answer
        };
        let result = run(Verb::Add, &config).result();
        assert_eq!(run(Verb::Add, &config).result(), result);
        let mut later = config.clone();
        later["prevResult"] = result;
        run(Verb::Check, &later);
        config["cni.dev/valid-attachments"] = json!([{"containerID": "c1", "ifname": "eth0"}]);
        run(Verb::Gc, &config);
        run(Verb::Check, &later);
        assert!(bed.is_attached());
        run(Verb::Del, &later);
        run(Verb::Del, &later);
        bed.assert_nothing_left();
        said
    };
    for keys in [json!({"ipMasq": true}), json!({"prefixPerContainer": true})] {
        let alone = life(Bed::new(), &keys);
        assert_eq!(life(Bed::managed(None), &keys), alone);
    }
}

#[test]
fn refusals_are_told_alike_by_both_hosts() {
    let refusals = |bed: &Bed| {
        let config = bed.config();
        let with = |keys: Value| {
            let mut config = bed.config();
            for (key, value) in keys.as_object().unwrap() {
                config[key] = value.clone();
            }
            config
        };
        let add = |config: &Value| bed.call(Verb::Add, config);
        let calls = [
            add(&json!({"cniVersion": "9.9.9", "name": "net", "type": "x"})),
            add(&with(json!({"mtu": "big"}))),
            add(&with(json!({"ipam": {"type": "bulkhead-ipam"}}))),
            add(&config).netns(Path::new("/run/netns/none")),
            add(&config).netns(bed.host.path()),
            add(&config).container_id("../x"),
            add(&config).args("IP=192.0.2.9"),
            add(&with(json!({"bridge": "lo"}))),
            add(&with(json!({"cniVersion": "0.2.0", "ipam": {}}))),
            bed.call(Verb::Check, &config),
            bed.call(
                Verb::Check,
                &with(json!({"prevResult": {"cniVersion": "1.1.0"}})),
            ),
            bed.call(Verb::Del, &config).netns(bed.host.path()),
            bed.call(Verb::Del, &config).without("CNI_NETNS"),
            bed.call(
                Verb::Gc,
                &with(json!({"cni.dev/valid-attachments": [{"containerID": 1}]})),
            ),
            bed.call(
                Verb::Status,
                &with(json!({"ipam": {"type": "no-such-plugin"}})),
            ),
            bed.call(Verb::Status, &config),
            bed.call(Verb::Version, &config),
        ];
        calls.map(|call| bed.said(&call.run(&bed.host).unwrap()))
    };
    let (cold, warm) = (Bed::new(), Bed::managed(None));
    assert_eq!(refusals(&cold), refusals(&warm));
    assert_eq!(cold.before.diff(&warm.before), crate::bed::NOTHING);
    warm.assert_nothing_left();
}

/// Says what it was called with, and gives one address.
const IPAM: &str = r#"#!/bin/sh
echo "$CNI_COMMAND $CNI_CONTAINERID $CNI_IFNAME" >>"$(dirname "$0")/../called"
test "$CNI_COMMAND" = ADD || exit 0
echo '{"cniVersion":"1.1.0","ips":[{"address":"10.88.0.5/24","gateway":"10.88.0.1"}]}'
"#;

/// IPAM plugins of others are found and run by the plugin that the runtime called, in both hosts; so
/// is one whose attachment garbage collection takes down.
#[test]
fn an_ipam_plugin_of_others_is_run_alike_by_both_hosts() {
    let life = |bed: &Bed| {
        let bin = bed.state().join("bin");
        std::fs::create_dir(&bin).unwrap();
        let plugin = bin.join("other-ipam");
        std::fs::write(&plugin, IPAM).unwrap();
        std::fs::set_permissions(&plugin, std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut config = bed.config();
        config["ipam"]["type"] = json!("other-ipam");
        let mut said = Vec::new();
        let mut run = |verb, config: &Value| {
            let call = match verb {
                // What they name then is nobody's business.
                Verb::Gc | Verb::Status => bed.call(verb, config).container_id("nobody"),
                _ => bed.call(verb, config),
            };
            let call = call.cni_path(&bin.display().to_string());
            let answer = call.env("PATH", "/usr/bin:/bin").run(&bed.host).unwrap();
            said.push(bed.said(&answer));
            answer
        };
        config["prevResult"] = run(Verb::Add, &config).result();
        run(Verb::Check, &config);
        run(Verb::Status, &config);
        config["cni.dev/valid-attachments"] = json!([]);
        run(Verb::Gc, &config);
        run(Verb::Add, &config);
        run(Verb::Del, &config);
        config["ipam"]["type"] = json!("no-such-plugin");
        run(Verb::Add, &config);
        let called = std::fs::read_to_string(bed.state().join("called")).unwrap();
        (said, called)
    };
    let (cold, warm) = (Bed::new(), Bed::managed(None));
    let (alone, by_daemon) = (life(&cold), life(&warm));
    assert_eq!(alone, by_daemon);
    let called: Vec<_> = alone.1.lines().collect();
    assert_eq!(
        called,
        [
            "ADD c1 eth0",
            "CHECK c1 eth0",
            "STATUS nobody eth0",
            "DEL c1 eth0",
            "GC nobody eth0",
            "ADD c1 eth0",
            "DEL c1 eth0"
        ]
    );
    warm.assert_nothing_left();
}

#[test]
fn a_daemon_serves_any_number_of_calls_with_what_it_holds() {
    let bed = Bed::managed(None);
    let config = bed.config();
    let life = || {
        assert!(bed.run(Verb::Add, &config).succeeded());
        assert!(bed.is_attached());
        assert!(bed.run(Verb::Del, &config).succeeded());
        assert!(!bed.is_attached());
    };
    for _ in 0..4 {
        life();
    }
    let held = descriptors();
    for _ in 0..8 {
        life();
    }
    // What the last DEL gave up may be on its way to be closed.
    let closed = wait_until(IN_TIME, || (descriptors() <= held).then_some(()));
    assert!(
        closed.is_some(),
        "{} descriptors, {held} before",
        descriptors()
    );
    bed.assert_nothing_left();
}

/// The names of a container that is gone are not waited for, and its port goes all the same.
#[test]
fn a_del_whose_container_is_gone_leaves_nothing_in_the_end() {
    let bed = Bed::managed(None);
    let config = bed.config();
    for _ in 0..4 {
        assert!(bed.run(Verb::Add, &config).succeeded());
        let del = bed.call(Verb::Del, &config).without("CNI_NETNS");
        assert!(del.run(&bed.host).unwrap().succeeded());
    }
    bed.assert_nothing_left();
    assert!(!bed.is_attached());
}
