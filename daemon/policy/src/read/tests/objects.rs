//! Pods and namespaces, and lists of objects.

use super::*;

#[test]
fn pods_that_have_ended_are_nobody() {
    let pod = |phase: &str| {
        read(&format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: a, namespace: x}}\nstatus: {{phase: {phase}, podIPs: [{{ip: 10.0.0.1}}]}}\n"
        ))
    };
    assert_eq!(pod("Running").world.endpoints.len(), 1);
    assert_eq!(pod("Pending").world.endpoints.len(), 1);
    for phase in ["Succeeded", "Failed"] {
        let reading = pod(phase);
        assert!(reading.world.endpoints.is_empty());
        assert!(
            said(&reading)[0].contains("it has ended"),
            "{:?}",
            said(&reading)
        );
    }
}

#[test]
fn a_pod_tells_its_labels_addresses_named_ports_and_node() {
    let reading = read(
        "apiVersion: v1
kind: Pod
metadata: {name: a, namespace: x, labels: {app: web, 'bad key': b}, deletionTimestamp: '2026-01-01T00:00:00Z'}
spec:
  nodeName: n1
  containers:
  - ports: [{name: http, containerPort: 80}, {containerPort: 81}]
  - ports: [{name: http, containerPort: 8080}, {name: dns, containerPort: 53, protocol: UDP}]
  initContainers:
  - ports: [{name: setup, containerPort: 1}]
  - restartPolicy: Always
    ports: [{name: mesh, containerPort: 15001}]
status:
  phase: Running
  hostIP: 192.0.2.1
  podIP: 10.0.0.1
  podIPs: [{ip: 10.0.0.1}, {ip: 'fd00::1'}]
",
    );
    let endpoint = &reading.world.endpoints[&EndpointId::new("x", "a")];
    assert_eq!(endpoint.labels.to_string(), "app=web");
    assert_eq!(endpoint.addresses.len(), 2);
    let ports: Vec<String> = endpoint
        .ports
        .iter()
        .map(|port| format!("{}={}/{}", port.name, port.port, port.protocol))
        .collect();
    assert_eq!(
        ports,
        [
            "dns=53/udp",
            "http=80/tcp",
            "http=8080/tcp",
            "mesh=15001/tcp"
        ]
    );
    let node = &reading.world.nodes[&NodeName::new("n1")];
    assert_eq!(
        node.addresses.iter().next().unwrap().to_string(),
        "192.0.2.1"
    );
    assert_eq!(said(&reading).len(), 1, "{:?}", said(&reading));
}

#[test]
fn lists_documents_and_json_are_all_objects() {
    let pod = |name: &str| {
        format!(r#"{{"metadata":{{"name":"{name}"}},"status":{{"podIP":"10.0.0.1"}}}}"#)
    };
    let full = |name: &str| pod(name).replacen('{', r#"{"apiVersion":"v1","kind":"Pod","#, 1);
    let count = |text: &str| read(text).world.endpoints.len();
    assert_eq!(count(&format!("{}\n{}", full("a"), full("b"))), 2);
    assert_eq!(
        count(&format!(
            r#"{{"apiVersion":"v1","kind":"List","items":[{},{}]}}"#,
            full("a"),
            full("b")
        )),
        2
    );
    assert_eq!(
        count(&format!(
            r#"{{"apiVersion":"v1","kind":"PodList","items":[{},{}]}}"#,
            pod("a"),
            pod("b")
        )),
        2
    );
    assert_eq!(
        count(&format!(
            "---\n{}\n---\n---\n# nothing\n---\n{}\n",
            full("a"),
            full("b")
        )),
        2
    );
    assert_eq!(count(""), 0);
    let reading = read("kind: Pod\n");
    assert!(said(&reading)[0].contains("is not an object with apiVersion and kind"));
}

#[test]
fn an_address_of_two_endpoints_is_told() {
    let pod = |name: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: x}}\nstatus: {{podIP: 10.0.0.1}}\n---\n"
        )
    };
    let reading = read(&(pod("a") + &pod("b")));
    assert_eq!(
        said(&reading),
        [
            "f.yaml:6: x/b: address 10.0.0.1 is also that of x/a: what is written for either holds for it"
        ]
    );
}

#[test]
fn an_object_that_is_there_twice_is_told() {
    let text = "apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n";
    let reading = read(&format!("{text}---\n{text}"));
    assert_eq!(
        said(&reading),
        ["f.yaml:5: Namespace x: it was read before, at f.yaml:1: the last one counts"]
    );
}
