//! `bulkhead policy` on files: no cluster, no daemon, no root.

mod common;

use std::io::Write;
use std::process::{Command, Stdio};

use common::{BULKHEAD, Scratch};

const WORLD: &str = "apiVersion: v1
kind: Namespace
metadata: {name: web, labels: {team: front}}
---
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: web, labels: {app: web}}
status: {phase: Running, podIPs: [{ip: 10.0.0.1}, {ip: 'fd00::1'}]}
---
apiVersion: v1
kind: Pod
metadata: {name: b, namespace: db, labels: {app: db}}
spec: {containers: [{name: c, ports: [{name: sql, containerPort: 5432}]}]}
status: {phase: Running, podIPs: [{ip: 10.0.0.2}, {ip: 'fd00::2'}]}
";

const POLICY: &str = "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: sql, namespace: db}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress:
  - from: [{namespaceSelector: {matchLabels: {team: front}}}]
    ports: [{port: sql}]
";

fn scratch() -> Scratch {
    let scratch = Scratch::new();
    scratch.write("world.yaml", WORLD);
    scratch.write("policies/sql.yaml", POLICY);
    scratch.write("policies/README.md", "not an object");
    scratch
}

const FILES: &str = "-f $DIR/world.yaml -f $DIR/policies";

#[test]
fn the_matrix_says_who_can_talk_to_whom() {
    let scratch = scratch();
    assert_eq!(
        scratch
            .bulkhead(&format!(
                "policy matrix {FILES} --ports 5432/tcp,sql/tcp,80/tcp,5432/tcp"
            ))
            .ok(),
        "5432/tcp\n\
         FROM \\ TO  1  2\n\
         1 db/b     .  .\n\
         2 web/a    .  .\n\
         \n\
         sql/tcp\n\
         FROM \\ TO  1  2\n\
         1 db/b     .  X\n\
         2 web/a    .  X\n\
         \n\
         80/tcp\n\
         FROM \\ TO  1  2\n\
         1 db/b     .  .\n\
         2 web/a    X  .\n"
    );
}

#[test]
fn the_matrix_for_programs_has_a_cell_for_every_pair_port_and_family() {
    let scratch = scratch();
    let json = scratch
        .bulkhead(&format!(
            "policy matrix {FILES} --ports 80/tcp,sql/tcp,icmp --outside 203.0.113.9 -o json"
        ))
        .ok();
    let told: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(told["engine"], "matcher");
    assert_eq!(
        told["ports"],
        serde_json::json!(["80/tcp", "sql/tcp", "icmp"])
    );
    assert_eq!(
        told["ends"][0],
        serde_json::json!({
            "name": "db/b", "namespace": "db", "pod": "b", "network": null, "addresses": ["10.0.0.2", "fd00::2"],
        })
    );
    assert_eq!(
        told["ends"][2],
        serde_json::json!({
            "name": "203.0.113.9", "namespace": null, "pod": null, "network": null, "addresses": ["203.0.113.9"],
        })
    );
    let cells = told["cells"].as_array().unwrap();
    // Two pods, each to both in both families, and to and from the address outside in one.
    assert_eq!(cells.len(), 3 * (4 * 2 + 4));
    let of = |source: &str, destination: &str, probe: &str, family: &str| {
        let mut found = cells.iter().filter(|cell| {
            cell["source"] == source
                && cell["destination"] == destination
                && cell["probe"] == probe
                && cell["family"] == family
        });
        (found.next().unwrap().clone(), found.next().is_none())
    };
    let (cell, is_alone) = of("web/a", "db/b", "80/tcp", "ipv6");
    assert!(is_alone);
    assert_eq!(
        cell,
        serde_json::json!({
            "source": "web/a", "destination": "db/b", "probe": "80/tcp", "protocol": "tcp", "port": 80,
            "family": "ipv6", "sourceAddress": "fd00::1", "destinationAddress": "fd00::2",
            "allowed": false, "egress": true, "ingress": false, "loopback": false,
        })
    );
    let (cell, _) = of("web/a", "db/b", "sql/tcp", "ipv4");
    assert_eq!(
        (&cell["port"], &cell["allowed"]),
        (&5432.into(), &true.into())
    );
    let (cell, _) = of("db/b", "web/a", "sql/tcp", "ipv4");
    assert_eq!(
        (&cell["port"], &cell["allowed"]),
        (&serde_json::Value::Null, &false.into())
    );
    let (cell, _) = of("web/a", "203.0.113.9", "icmp", "ipv4");
    assert_eq!(
        (&cell["ingress"], &cell["protocol"]),
        (&serde_json::Value::Null, &"icmp".into())
    );
    let (cell, _) = of("db/b", "db/b", "80/tcp", "ipv4");
    assert_eq!(
        (&cell["loopback"], &cell["allowed"]),
        (&true.into(), &true.into())
    );
    let denied = cells.iter().filter(|cell| cell["allowed"] == false).count();
    assert_eq!(told["denied"], denied);
}

#[test]
fn a_part_of_a_prefix_that_a_policy_means_is_an_end_of_its_own() {
    let scratch = scratch();
    scratch.write(
        "wide.yaml",
        "{apiVersion: bulkhead/v1, kind: Endpoint, metadata: {name: a}, spec: {network: wide, addresses: ['fd01:0:0:1::1'], prefixes: ['fd01:0:0:1::/64']}}\n\
         ---\n\
         {apiVersion: bulkhead/v1, kind: Endpoint, metadata: {name: b}, spec: {network: wide, addresses: ['fd01::2']}}\n\
         ---\n\
         {apiVersion: bulkhead/v1, kind: Policy, metadata: {name: p}, spec: {tier: admin, priority: 1, subject: [{network: wide}], ingress: [{action: deny, from: [{cidr: 'fd01:0:0:1:8000::/65'}]}]}}\n",
    );
    let asked = "policy matrix -f $DIR/wide.yaml --ports 80/tcp";
    for engine in ["matcher", "ruleset"] {
        let table = scratch.bulkhead(&format!("{asked} --engine {engine}")).ok();
        assert_eq!(
            table,
            "80/tcp IPv6\n\
             FROM \\ TO                         1  2  3\n\
             1 wide/a                          .     .\n\
             2 wide/a at fd01:0:0:1:8000::/65     .  X\n\
             3 wide/b                          .  .  .\n"
        );
    }
    let json = scratch.bulkhead(&format!("{asked} -o json")).ok();
    let told: serde_json::Value = serde_json::from_str(&json).unwrap();
    let part = &told["ends"][1];
    assert_eq!(part["pod"], "a");
    assert_eq!(part["addresses"], serde_json::json!(["fd01:0:0:1:8000::"]));
}

#[test]
fn the_matrix_is_drawn_as_svg_and_html() {
    let scratch = scratch();
    for format in ["svg", "html"] {
        let drawing = scratch
            .bulkhead(&format!("policy matrix {FILES} -o {format}"))
            .ok();
        let body = drawing
            .strip_prefix("<!DOCTYPE html>\n")
            .unwrap_or(&drawing);
        let tree = roxmltree::Document::parse(body).unwrap();
        let titles = tree
            .descendants()
            .filter(|node| node.has_tag_name(("http://www.w3.org/2000/svg", "title")));
        let titles: Vec<_> = titles.filter_map(|node| node.text()).collect();
        assert!(titles.contains(&"web/a to db/b: allow"), "{titles:?}");
    }
    let refused = scratch.bulkhead("net ls -o svg");
    assert_eq!(refused.code, 2);
}

#[test]
fn what_would_be_loaded_says_what_is_written() {
    let scratch = scratch();
    let cells = |engine: &str| {
        let line = format!(
            "policy matrix {FILES} --ports 80/tcp,sql/tcp,icmp --outside 203.0.113.9 -o json --engine {engine}"
        );
        let mut told: serde_json::Value =
            serde_json::from_str(&scratch.bulkhead(&line).ok()).unwrap();
        assert_eq!(told["engine"], engine);
        told["cells"].take()
    };
    assert_eq!(cells("ruleset"), cells("matcher"));
}

#[test]
fn standard_input_is_a_file_too() {
    let mut child = Command::new(BULKHEAD)
        .args(["policy", "matrix", "-f", "-", "--ports", "80/tcp"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(WORLD.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .contains("1 db/b     .  .")
    );
}

#[test]
fn what_is_not_understood_is_closed_told_and_an_error() {
    let scratch = scratch();
    scratch.write(
        "more.yaml",
        &POLICY
            .replace("name: sql", "name: more")
            .replace("from:", "form:")
            .replace("app: db", "app: web")
            .replace("namespace: db", "namespace: web"),
    );
    let ran = scratch.bulkhead(&format!(
        "policy matrix {FILES} -f $DIR/more.yaml --ports 80/tcp"
    ));
    assert_eq!(ran.code, 4);
    assert!(ran.stdout.contains("1 db/b     .  X"), "{}", ran.stdout);
    assert_eq!(
        ran.stderr,
        "bulkhead: $DIR/more.yaml:7: NetworkPolicy web/more: spec.ingress[0].form: unknown field; it fails closed\n"
    );
    scratch.write("broken.yaml", "a: [1\nb: 2\n");
    let ran = scratch.bulkhead("policy matrix -f $DIR/broken.yaml");
    assert_eq!((ran.code, ran.stdout.as_str()), (4, ""));
    assert!(
        ran.stderr
            .starts_with("bulkhead: objects in $DIR/broken.yaml: line 2: not YAML: "),
        "{}",
        ran.stderr
    );
    let ran = scratch.bulkhead("policy matrix -f $DIR/nowhere.yaml");
    assert_eq!(ran.code, 4);
    assert!(ran.stderr.contains("nowhere.yaml"), "{}", ran.stderr);
}

#[test]
fn what_is_no_text_or_no_file_is_told_by_its_place() {
    let scratch = scratch();
    std::fs::write(
        scratch.path("latin.yaml"),
        b"kind: Pod\nmetadata: {name: caf\xe9}\n",
    )
    .unwrap();
    scratch.write("policies/below/README.md", "not an object");
    for (file, told) in [
        (
            "latin.yaml",
            "objects in $DIR/latin.yaml: line 2: not UTF-8: write it as UTF-8",
        ),
        (
            "policies/below",
            "no file of $DIR/policies/below is called .yaml, .yml or .json; those of directories in it are not read",
        ),
    ] {
        let run = scratch.bulkhead(&format!("policy matrix -f $DIR/{file}"));
        assert_eq!(run.refused(), (4, format!("bulkhead: {told}\n")));
    }
}

#[test]
fn explain_tells_who_says_so_and_what_would_turn_it_around() {
    let scratch = scratch();
    let denied = scratch
        .bulkhead(&format!("policy explain web/a to db/b:80/tcp {FILES}"))
        .ok();
    assert_eq!(
        denied,
        "web/a -> db/b 80/tcp by IPv4: denied at ingress
  binding      10.0.0.1 is web/a's, labels app=web
  egress       allowed at web/a: no policy is about it
  way          the objects name no nodes
  ingress      denied at db/b: isolated by NetworkPolicy db/sql ($DIR/policies/sql.yaml:1), and none of their rules allows this
               NetworkPolicy db/sql  $DIR/policies/sql.yaml:1  isolates
               NetworkPolicy db/sql rule 1  $DIR/policies/sql.yaml:7  about other traffic: from all endpoints of namespaces team=front, sql/tcp
  destination  10.0.0.2 is db/b's, labels app=db
to allow it:
  put first among the ingress rules of NetworkPolicy db/sql
      - {from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: web}}, podSelector: {matchLabels: {app: \"web\"}}}], ports: [{protocol: TCP, port: 80}]}
or:
  remove NetworkPolicy db/sql ($DIR/policies/sql.yaml:1)

by IPv6 (fd00::1 -> fd00::2) the same

by the objects alone: ports, guards, routes and kernels are known to daemons and their snapshots
"
    );
    for question in [
        "'web/a -> db/b:5432/tcp'",
        "web/a -> db/b:5432/tcp",
        "web/a db/b:sql/tcp",
        "[fd00::1] db/b:sql/tcp",
    ] {
        let question = question.replace('\'', "");
        let ran = scratch.bulkhead(&format!("policy explain {question} {FILES} -o json"));
        let told: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        let is_address = question.starts_with('[');
        // An address is judged as whoever has it.
        assert_eq!(
            told["families"][0]["allowed"], true,
            "{question} {is_address}: {told:#}"
        );
    }
}

#[test]
fn a_change_that_is_told_does_what_it_says() {
    let scratch = scratch();
    let json = scratch
        .bulkhead(&format!(
            "policy explain web/a to db/b:80/tcp {FILES} -o json"
        ))
        .ok();
    let told: serde_json::Value = serde_json::from_str(&json).unwrap();
    let write = told["families"][0]["flips"][0][0]["write"]
        .as_str()
        .unwrap();
    let rules = POLICY.replace("  ingress:\n", &format!("  ingress:\n  {write}"));
    scratch.write("policies/sql.yaml", &rules);
    let grid = scratch
        .bulkhead(&format!("policy matrix {FILES} --ports 80/tcp"))
        .ok();
    assert!(grid.contains("2 web/a    .  ."), "{grid}");
}

#[test]
fn a_question_about_nobody_is_told() {
    let scratch = scratch();
    for (question, code, said) in [
        ("web/a db/c:80/tcp", 3, "there is no endpoint \"db/c\""),
        ("web/a db/b", 2, "is no question"),
        ("web/a db/b:80", 2, "is no question"),
        (
            "192.0.2.1 192.0.2.2:80/tcp",
            1,
            "neither 192.0.2.1 nor 192.0.2.2 is an endpoint",
        ),
        ("db/b web/a:sql/tcp", 3, "there is nothing to judge"),
        ("db/b 192.0.2.2:sql/tcp", 3, "there is nothing to judge"),
    ] {
        let ran = scratch.bulkhead(&format!("policy explain {question} {FILES}"));
        assert_eq!(ran.code, code, "{question}: {}", ran.stderr);
        assert!(ran.stderr.contains(said), "{question}: {}", ran.stderr);
    }
    // A wrong command line is one whoever is asked, and whether or not there is anybody.
    for rest in ["", "-f nothing-is-here.yaml"] {
        let ran = scratch.bulkhead(&format!("policy explain web/a db/b {rest}"));
        assert_eq!(ran.code, 2, "{rest}: {}", ran.stderr);
    }
}

#[test]
fn diff_tells_what_a_change_means() {
    let scratch = scratch();
    scratch.write("old.yaml", POLICY);
    scratch.write("new.yaml", &POLICY.replace("port: sql", "port: 5433"));
    scratch.write(
        "same.yaml",
        &POLICY
            .replace("port: sql", "port: 5432")
            .replace("name: sql", "name: other"),
    );
    let ran = scratch.bulkhead("policy diff $DIR/old.yaml $DIR/new.yaml -f $DIR/world.yaml");
    assert_eq!(
        (ran.code, ran.stdout.as_str(), ran.stderr.as_str()),
        (
            5,
            "newly allowed\n  web/a -> db/b  5433/tcp\nnewly denied\n  web/a -> db/b  5432/tcp\n",
            ""
        )
    );
    let same = scratch.bulkhead("policy diff $DIR/old.yaml $DIR/same.yaml -f $DIR/world.yaml");
    assert_eq!(same.ok(), "no difference in who can talk to whom\n");
    let json = scratch
        .bulkhead(
            "policy diff $DIR/old.yaml $DIR/new.yaml -f $DIR/world.yaml -o json --fail-on never",
        )
        .ok();
    let told: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        told["allowed"],
        serde_json::json!([
            {"source": ["web/a"], "destination": ["db/b"], "traffic": ["5433/tcp"], "families": ["ipv4", "ipv6"]},
        ])
    );
    scratch.write("more/pods.yaml", WORLD);
    scratch.write("more/new.yaml", POLICY);
    let empty = scratch.bulkhead("policy diff $DIR/old.yaml $DIR/more");
    assert_eq!(empty.code, 3, "{}", empty.stderr);
    scratch.write(
        "less.yaml",
        &POLICY.replace("  ingress:\n", "  ingress:\n  - {}\n"),
    );
    let wider = |which: &str| {
        scratch
            .bulkhead(&format!(
                "policy diff $DIR/old.yaml $DIR/less.yaml -f $DIR/world.yaml --fail-on {which}"
            ))
            .code
    };
    assert_eq!([wider("allowed"), wider("denied")], [5, 0]);
}

/// As in a repository that has policies alone.
#[test]
fn diff_without_pods_is_about_everybody_that_selectors_tell_apart() {
    let scratch = Scratch::new();
    let old = "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: sql, namespace: db}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress:
  - from: [{namespaceSelector: {matchLabels: {team: front}}, podSelector: {matchLabels: {app: web}}}]
    ports: [{port: 5432}, {port: metrics}]
";
    scratch.write("old/sql.yaml", old);
    scratch.write(
        "new/sql.yaml",
        &old.replace(", podSelector: {matchLabels: {app: web}}", ""),
    );
    let ran = scratch.bulkhead("policy diff $DIR/old $DIR/new");
    assert_eq!(
        (ran.code, ran.stdout.as_str(), ran.stderr.as_str()),
        (
            5,
            "newly allowed\n  [team=front]/[others] -> db/[app=db]  5432/tcp, metrics/tcp\n\
             there are no pods among the objects: compared is everybody whom the selectors can tell apart\n",
            ""
        )
    );
    // The other way around nothing is allowed that was not.
    let narrower = scratch.bulkhead("policy diff $DIR/new $DIR/old --fail-on allowed -o json");
    let told: serde_json::Value = serde_json::from_str(&narrower.ok()).unwrap();
    assert_eq!(told["judged"], "everybody-selectors-tell-apart");
    assert_eq!(
        told["denied"][0]["source"],
        serde_json::json!(["[team=front]/[others]"])
    );
    assert_eq!(
        told["denied"][0]["traffic"],
        serde_json::json!(["5432/tcp", "metrics/tcp"])
    );
    let same = scratch.bulkhead("policy diff $DIR/old $DIR/old").ok();
    assert!(
        same.starts_with("no difference in who can talk to whom\n"),
        "{same}"
    );
    // Groups and our own policies too.
    let group = "{apiVersion: bulkhead/v1, kind: SecurityGroup, metadata: {name: db}, spec: {ingress: [{from: [{group: web}], ports: [5432/tcp]}]}}";
    scratch.write("groups.yaml", group);
    scratch.write("wider.yaml", &group.replace("from: [{group: web}], ", ""));
    let ran = scratch.bulkhead("policy diff $DIR/groups.yaml $DIR/wider.yaml");
    let line = "  [others]/[others], any IPv4 outside, any IPv6 outside -> [others]/[group db]  5432/tcp\n";
    assert!(ran.stdout.contains(line), "{}", ran.stdout);
}

/// What would be loaded for a network that may overlap others is told, and that it is loaded nowhere.
#[test]
fn what_would_be_loaded_is_told_of_networks_that_overlap() {
    let scratch = Scratch::new();
    scratch.write(
        "overlap.yaml",
        "{apiVersion: bulkhead/v1, kind: Network, metadata: {name: red}, spec: {overlapping: true, pools: [10.4.0.0/24]}}
---
{apiVersion: bulkhead/v1, kind: Network, metadata: {name: blue}, spec: {pools: [10.4.0.0/24]}}
---
{apiVersion: bulkhead/v1, kind: Endpoint, metadata: {name: a}, spec: {network: red, addresses: [10.4.0.2]}}
---
{apiVersion: bulkhead/v1, kind: Endpoint, metadata: {name: b}, spec: {network: red, addresses: [10.4.0.3], groups: [shut]}}
---
{apiVersion: bulkhead/v1, kind: Endpoint, metadata: {name: c}, spec: {network: blue, addresses: [10.4.0.3]}}
---
{apiVersion: bulkhead/v1, kind: SecurityGroup, metadata: {name: shut}, spec: {}}
",
    );
    let grid = |engine: &str| {
        scratch.bulkhead(&format!(
            "policy matrix -f $DIR/overlap.yaml --ports 80/tcp --engine {engine}"
        ))
    };
    let (written, loaded) = (grid("matcher"), grid("ruleset"));
    assert_eq!(loaded.stdout, written.stdout);
    assert!(loaded.stdout.contains("2 red/a    "), "{}", loaded.stdout);
    assert_eq!(loaded.code, 0);
    assert_eq!(
        loaded.stderr,
        "bulkhead: network red has addresses of its own: it is compiled by itself, and no node loads that, since policies are not enforced on such networks\n"
    );
}

#[test]
fn lint_tells_what_is_said_in_vain() {
    let scratch = scratch();
    assert_eq!(scratch.bulkhead(&format!("policy lint {FILES}")).ok(), "");
    scratch.write(
        "policies/sql.yaml",
        &POLICY.replace("port: sql", "port: slq"),
    );
    let ran = scratch.bulkhead(&format!("policy lint {FILES}"));
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (
            5,
            "$DIR/policies/sql.yaml:7: NetworkPolicy db/sql ingress rule 1: no endpoint that it is about calls a port slq [unknown-port-name]\n"
        )
    );
}
