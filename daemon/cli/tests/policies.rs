//! Policies and security groups as an operator writes them, beside a daemon.

mod common;

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::daemon::{Daemon, LIMIT};
use common::ours::{Node, dual};
use netns_fixtures::wait_for;
use serde_json::json;

/// Loops that come only when asked for.
const QUIET: &str = "collector.interval_secs = 0\nreconcile.interval_secs = 0\n";

const POLICY: &str = "\
# Who may reach the shop.
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: front}
spec:
  podSelector: {matchLabels: {app: front}}
";

#[test]
fn what_is_written_is_applied_whole_listed_and_taken_back() {
    let Some(node) = Node::with_daemon("what_is_written_is_applied_whole_listed_and_taken_back")
    else {
        return;
    };
    node.network("blue", dual(1), &[]);
    let _daemon = Daemon::start(&node, QUIET);
    node.scratch.write("front.yaml", POLICY);
    node.scratch.write(
        "wrong.yaml",
        &POLICY
            .replace("podSelector", "podSelectors")
            .replace("front}", "back}"),
    );
    wait_for("the store to serve", LIMIT, || {
        (node.ask("policy ls").code == 0).then_some(())
    });
    let both = node.ask("policy apply -f $DIR/front.yaml -f $DIR/wrong.yaml");
    let (code, said) = both.refused();
    assert_eq!(code, 1);
    assert!(
        said.contains(
            "$DIR/wrong.yaml:6: NetworkPolicy shop/back: spec.podSelectors: unknown field"
        ),
        "{said}"
    );
    let tried = node.ask("policy apply --dry-run -f $DIR/front.yaml").ok();
    assert!(
        tried.starts_with("NetworkPolicy shop/front: created\nnote: nothing is changed"),
        "{tried}"
    );
    let missing = node.ask("policy get netpol shop/front");
    assert_eq!(missing.code, 3, "{missing:?}");
    let applied = node.ask("policy apply -f $DIR/front.yaml").ok();
    assert_eq!(applied, "NetworkPolicy shop/front: created\nrevision 1\n");
    assert_eq!(node.ask("policy get netpol shop/front").ok(), POLICY);
    let listed = node.ask("policy ls --kind netpol").ok();
    assert!(
        listed.contains("NetworkPolicy  shop       front  1 "),
        "{listed}"
    );
    wait_for("the node to enforce it", LIMIT, || {
        let status = node.ask("policy status").ok();
        status
            .starts_with("enforced on 1 of 1 nodes at revision 1\n")
            .then_some(())
    });
    let deleted = node.ask("policy delete -f $DIR/front.yaml").ok();
    assert_eq!(deleted, "NetworkPolicy shop/front: deleted\nrevision 2\n");
}

#[test]
fn a_group_is_made_attached_shown_and_removed() {
    let Some(node) = Node::with_daemon("a_group_is_made_attached_shown_and_removed") else {
        return;
    };
    node.network("blue", dual(1), &[]);
    let _daemon = Daemon::start(&node, QUIET);
    wait_for("the store to serve", LIMIT, || {
        (node.ask("sg ls").code == 0).then_some(())
    });
    let made = node.ask("sg create web --ingress any").ok();
    assert_eq!(made, "SecurityGroup web: created\nrevision 1\n");
    assert_eq!(node.ask("sg create web").code, 1);
    assert_eq!(node.ask("sg update db").code, 3);
    assert_eq!(node.ask("sg attach web c1").code, 2);
    let attached = node.ask("sg attach web blue/c1").ok();
    assert_eq!(attached, "Member blue/c1: created\nrevision 2\n");
    node.attach("blue", "c1", "");
    let shown = node.ask("sg inspect web").ok();
    assert!(
        shown.contains("# revision 1\napiVersion: bulkhead/v1\nkind: SecurityGroup\n"),
        "{shown}"
    );
    assert!(shown.contains("blue/c1  10.1.0.2"), "{shown}");
    let (code, said) = node.ask("sg rm web").refused();
    assert_eq!(code, 1);
    assert!(
        said.contains("SecurityGroup web is in use: its members are blue/c1;"),
        "{said}"
    );
    let known = node.ask("policy endpoints").ok();
    assert!(known.contains("blue/c1@blue  10.1.0.2"), "{known}");
    let snapshot = node.ask("policy snapshot").ok();
    node.scratch.write("now.yaml", &snapshot);
    let explained = node.scratch.bulkhead("policy lint -f $DIR/now.yaml");
    assert!([0, 5].contains(&explained.code), "{explained:?}");
    node.ask("sg detach web blue/c1").ok();
    node.ask("sg rm web").ok();
    assert_eq!(
        node.ask("sg ls").ok(),
        "GROUP  REVISION  MEMBERS  USED BY\n"
    );
}

#[test]
fn what_is_denied_is_told_with_names_as_it_happens() {
    let Some(node) = Node::with_daemon("what_is_denied_is_told_with_names_as_it_happens") else {
        return;
    };
    let mut keys = dual(1);
    keys["policy"] = json!(true);
    keys["segmentation"] = json!("l3");
    node.network("blue", keys, &[]);
    let _daemon = Daemon::start(&node, QUIET);
    wait_for("the store to serve", LIMIT, || {
        (node.ask("sg create closed").code == 0).then_some(())
    });
    node.ask("sg attach closed blue/c2").ok();
    let sender = node.attach("blue", "c1", "");
    node.attach("blue", "c2", "");
    node.attach("blue", "c3", "");
    let (to_third, ends) = (AtomicBool::new(false), AtomicBool::new(false));
    let (denied, allowed) = std::thread::scope(|scope| {
        scope.spawn(|| {
            let send = || {
                while !ends.load(Ordering::Relaxed) {
                    // A port of its own each time: what goes on is judged once.
                    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
                    let to = if to_third.load(Ordering::Relaxed) {
                        "10.1.0.4:7000"
                    } else {
                        "10.1.0.3:7000"
                    };
                    let _ = socket.send_to(b"x", to);
                    std::thread::sleep(Duration::from_millis(20));
                }
            };
            sender.enter(send).unwrap();
        });
        let denied = node.ask("flows --denied -c 1 --for 15s");
        to_third.store(true, Ordering::Relaxed);
        // One may be told of that was under way.
        let allowed = node.ask("flows --allowed -c 3 --for 15s");
        ends.store(true, Ordering::Relaxed);
        (denied.ok(), allowed.ok())
    });
    let line = "blue/c1@blue (10.1.0.2) > blue/c2@blue (10.1.0.3)  UDP ";
    assert!(denied.contains("  deny   ingress  "), "{denied}");
    assert!(denied.contains(line), "{denied}");
    assert!(
        denied.contains(" > 7000  isolated by SecurityGroup closed"),
        "{denied}"
    );
    for line in [
        "  allow  egress   blue/c1@blue (10.1.0.2) > blue/c3@blue (10.1.0.4)  UDP ",
        "  allow  ingress  blue/c1@blue (10.1.0.2) > blue/c3@blue (10.1.0.4)  UDP ",
        " > 7000  no policy",
    ] {
        assert!(allowed.contains(line), "{line}: {allowed}");
    }
    // With the last who listens it ends.
    wait_for("the kernel to be silent again", LIMIT, || {
        let table = node.host.sh("nft list table inet bulkhead-policy").unwrap();
        (!table.contains("bulkhead policy allow")).then_some(())
    });
}
