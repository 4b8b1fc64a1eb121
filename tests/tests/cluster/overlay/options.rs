//! What a node's device does to packets, by the network's configuration.

use bulkhead_tests::nodes::{LIMIT, NETWORK, Nodes};
use netns_fixtures::{Verb, wait_for};
use serde_json::json;

#[test]
fn segments_are_clamped_and_checksums_computed_where_that_is_asked_for_and_kept_so() {
    let nodes = Nodes::start(1);
    let node = &nodes.all[0];
    let mut network = node.network();
    let plain = nodes.bare(0, "plain");
    let _ = node.call(Verb::Add, &plain, &network).result();
    let said = || node.must_say(&["overlay", "show", NETWORK]);
    assert!(said().contains("MSS clamp       off\n"), "{}", said());
    network["mssClamp"] = json!(true);
    network["txChecksum"] = json!(false);
    let tuned = nodes.bare(0, "tuned");
    let _ = node.call(Verb::Add, &tuned, &network).result();
    assert!(said().contains("MSS clamp       on\n"), "{}", said());
    let computed = "tx checksum     computed before encapsulation\n";
    assert!(said().contains(computed), "{}", said());
    let device = node.device();
    let set = "inet bulkhead-overlay clamped";
    let is_clamped = || {
        let set = node.host.nft(&format!("list set {set}"));
        set.is_ok_and(|text| text.contains(&device))
    };
    wait_for("the device to be clamped", LIMIT, || {
        is_clamped().then_some(())
    });
    // Both agree with what doctor would expect, down to the device's offloads.
    wait_for("doctor to find neither in drift", LIMIT, || {
        let found = node.must_say(&["doctor", "overlay", "--all"]);
        let drifts = ["overlay-drift", "overlay-filter"];
        (!drifts.iter().any(|drift| found.contains(drift))).then_some(())
    });
    let edit = format!("delete element {set} {{ {device} }}");
    node.host.nft(&edit).unwrap();
    wait_for("the device to be clamped again", LIMIT, || {
        is_clamped().then_some(())
    });
}
