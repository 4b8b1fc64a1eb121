//! Every recorded call of real runtimes is read, and every recorded result is written back as it was.

#[path = "common/recorded.rs"]
mod recorded;

use bulkhead_cni::json::Value;
use bulkhead_cni::{Answer, Call, CniResult, CniVersion, Verb, answer};

/// The value with its objects' keys in order: the recordings are sorted, a result is not.
fn sorted(value: &Value) -> serde_json::Value {
    value.into()
}

#[test]
fn every_recorded_request_is_read() {
    for recorded in recorded::recorded() {
        let at = recorded.file.display();
        let verb = recorded.environment.verb().unwrap().unwrap();
        let stdin = recorded.stdin.to_string().into_bytes();
        if verb == Verb::Version {
            continue;
        }
        let call =
            Call::read(verb, recorded.environment, stdin).unwrap_or_else(|e| panic!("{at}: {e}"));
        assert_eq!(call.check_netns(), Ok(()), "{at}");
        assert!(call.attachment().is_ok(), "{at}");
        assert!(call.arg("K8S_POD_NAME").is_some(), "{at}");
        assert!(call.args().unwrap().expect_only(&[]).is_ok(), "{at}");
        let chained = call.config.root().optional("prevResult").is_some();
        assert_eq!(
            call.config.prev_result().unwrap().is_some(),
            chained,
            "{at}"
        );
    }
}

#[test]
fn every_recorded_result_is_written_back_exactly() {
    let mut results = 0;
    for recorded in recorded::recorded() {
        let at = recorded.file.display();
        let verb = recorded.environment.verb().unwrap().unwrap();
        let mut found = vec![recorded.stdin.get("prevResult").cloned()];
        if verb == Verb::Add {
            found.push(Some(recorded.stdout));
        }
        for value in found.into_iter().flatten() {
            let version: CniVersion = value
                .get("cniVersion")
                .unwrap()
                .as_str()
                .unwrap()
                .parse()
                .unwrap();
            let result =
                CniResult::parse("result", &value, version).unwrap_or_else(|e| panic!("{at}: {e}"));
            let mut written = sorted(&result.to_json(version).unwrap());
            let loopback = at.to_string().contains("/loopback-");
            if loopback {
                // The reference's loopback labels a result of 1.0.0 as 0.3.1; ours is a true one.
                assert_eq!(version, CniVersion::V0_3_1);
                assert_eq!(
                    written.as_object_mut().unwrap().remove("dns"),
                    Some(serde_json::json!({}))
                );
                for ip in written["ips"].as_array_mut().unwrap() {
                    assert!(ip.as_object_mut().unwrap().remove("version").is_some());
                }
            }
            assert_eq!(written, sorted(&value), "{at}");
            results += 1;
        }
    }
    assert!(results > 40, "{results}");
}

#[test]
fn every_recorded_version_probe_is_answered() {
    let mut probes = 0;
    for recorded in recorded::recorded() {
        if recorded.environment.verb() != Ok(Some(Verb::Version)) {
            continue;
        }
        let stdin = recorded.stdin.to_string().into_bytes();
        let never = |_: &Call| -> Result<Answer, _> { panic!("VERSION reached the plugin") };
        let output = answer("p", "a", recorded.environment, &stdin[..], never);
        let answer = Value::parse(&output.stdout).unwrap();
        let Some(Value::Array(supported)) = answer.get("supportedVersions") else {
            panic!("{answer}");
        };
        assert_eq!(supported.len(), CniVersion::ALL.len());
        assert_eq!(answer.get("cniVersion"), recorded.stdin.get("cniVersion"));
        probes += 1;
    }
    assert!(probes > 0);
}
