//! Calls that podman and containerd really made, answered by our executables: only the plugins'
//! names, the namespace and the state directory are others. The answer has the shape of the
//! reference's, and the DEL recorded with it leaves nothing.

use std::path::Path;
use std::time::Duration;

use bulkhead_tests::{Scratch, Suite};
use netns_fixtures::{CniAnswer, CniCall, Container, Host, Sandbox, Snapshot, Verb};
use serde_json::{Value, json};

const IN_TIME: Duration = Duration::from_secs(40);

struct Bed {
    host: Host,
    container: Container,
    before: Snapshot,
    scratch: Scratch,
    _sandbox: Sandbox,
}

impl Bed {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let host = sandbox.host("node").unwrap();
        Self {
            container: sandbox.container("c").unwrap(),
            before: Snapshot::take(&host).unwrap(),
            scratch: Scratch::new(&sandbox, "state"),
            host,
            _sandbox: sandbox,
        }
    }

    /// Runs a recorded call with `plugin`, our counterpart of the one it was made to.
    fn run(&self, recorded: &Value, plugin: &Path, verb: Verb) -> CniAnswer {
        let mut stdin = recorded["stdin"].clone();
        stdin["type"] = json!("bulkhead-bridge");
        stdin["ipam"]["type"] = json!("bulkhead-ipam");
        stdin["stateDir"] = json!(self.scratch.path());
        let variable = |name: &str| {
            recorded["env"][name]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        CniCall::new(plugin, verb)
            .cni_path(&Suite::ours().cni_path())
            .container_id(&variable("CNI_CONTAINERID"))
            .netns(self.container.path())
            .ifname(&variable("CNI_IFNAME"))
            .args(&variable("CNI_ARGS"))
            .stdin(&stdin)
            .run(&self.host)
            .unwrap()
    }
}

fn recorded(file: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpora")
        .join(file);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// What of a result does not depend on who made it: everything but MACs, the port's name, the
/// addresses themselves and the order of keys.
fn shape(result: &Value) -> Value {
    let texts = |items: &Value, keys: &[&str]| -> Value {
        let pick = |item: &Value| keys.iter().map(|key| item[*key].clone()).collect::<Value>();
        items.as_array().into_iter().flatten().map(pick).collect()
    };
    let family = |ip: &Value| {
        let address = ip["address"].as_str().unwrap_or_default();
        json!([
            address.split('/').nth(1),
            ip["gateway"],
            ip["interface"],
            ip["version"]
        ])
    };
    json!({
        "version": result["cniVersion"],
        "interfaces": result["interfaces"].as_array().map(Vec::len),
        "bridge": result["interfaces"][0]["name"],
        "inside": result["interfaces"][2]["name"],
        "ips": result["ips"].as_array().into_iter().flatten().map(family).collect::<Value>(),
        "routes": texts(&result["routes"], &["dst"]),
        "dns": result["dns"],
    })
}

#[test]
fn recorded_calls_of_the_bridge_are_answered_alike() {
    let plugin = Suite::ours().bridge();
    for runtime in ["podman", "cri"] {
        for nth in 1..=3 {
            let bed = Bed::new();
            let add = recorded(&format!("{runtime}/bridge-ADD-{nth}.json"));
            let result = bed.run(&add, &plugin, Verb::Add).result();
            assert_eq!(shape(&result), shape(&add["stdout"]), "{runtime} ADD {nth}");
            if let Some(ips) = add["stdin"]["runtimeConfig"]["ips"].as_array() {
                for (asked, got) in ips.iter().zip(result["ips"].as_array().unwrap()) {
                    let got = got["address"].as_str().unwrap().split('/').next().unwrap();
                    assert_eq!(asked, got, "{runtime} ADD {nth}");
                }
                assert_eq!(
                    result["interfaces"][2]["mac"],
                    add["stdout"]["interfaces"][2]["mac"]
                );
            }
            let mut del = recorded(&format!("{runtime}/bridge-DEL-{nth}.json"));
            del["env"]["CNI_CONTAINERID"] = add["env"]["CNI_CONTAINERID"].clone();
            del["env"]["CNI_IFNAME"] = add["env"]["CNI_IFNAME"].clone();
            del["stdin"]["name"] = add["stdin"]["name"].clone();
            assert!(
                bed.run(&del, &plugin, Verb::Del).succeeded(),
                "{runtime} DEL {nth}"
            );
            let left = bed.before.left_in(&bed.host, IN_TIME).unwrap();
            assert_eq!(left, Vec::<String>::new(), "{runtime} DEL {nth}");
        }
    }
}

#[test]
fn recorded_calls_of_host_local_are_answered_alike() {
    let plugin = Suite::ours().ipam();
    for runtime in ["podman", "cri"] {
        for nth in 1..=3 {
            let bed = Bed::new();
            let add = recorded(&format!("{runtime}/host-local-ADD-{nth}.json"));
            let result = bed.run(&add, &plugin, Verb::Add).result();
            assert_eq!(shape(&result), shape(&add["stdout"]), "{runtime} ADD {nth}");
            let mut del = recorded(&format!("{runtime}/host-local-DEL-{nth}.json"));
            del["env"]["CNI_CONTAINERID"] = add["env"]["CNI_CONTAINERID"].clone();
            assert!(
                bed.run(&del, &plugin, Verb::Del).succeeded(),
                "{runtime} DEL {nth}"
            );
        }
    }
}

#[test]
fn recorded_questions_for_the_version_are_answered() {
    let bed = Bed::new();
    let asked = recorded("podman/bridge-VERSION-1.json");
    let answer = bed
        .run(&asked, &Suite::ours().bridge(), Verb::Version)
        .result();
    let reference = &asked["stdout"]["supportedVersions"];
    for version in reference.as_array().unwrap() {
        assert!(
            answer["supportedVersions"]
                .as_array()
                .unwrap()
                .contains(version),
            "{version}"
        );
    }
}
