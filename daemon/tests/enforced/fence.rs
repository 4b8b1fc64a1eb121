//! Each of a few containers, on either kind of network.

use netns_fixtures::wait_for;

use crate::common::{LIMIT, Node};
use crate::{FENCE, OPEN, Pod, QUICK, apply, delete};

fn fences_every_pod(kind: &str) {
    let node = Node::start(QUICK);
    apply(&node, FENCE);
    let server = Pod::add(&node, "server", "server", kind);
    let friend = Pod::add(&node, "friend", "friend", kind);
    let stranger = Pod::add(&node, "stranger", "stranger", kind);
    let receiver = server.listens();
    for nth in [0, 1] {
        wait_for("a friend to be let in", LIMIT, || {
            friend.reaches(server.at(nth), &receiver).then_some(())
        });
        assert!(
            !stranger.reaches(server.at(nth), &receiver),
            "{}",
            server.at(nth)
        );
    }
    // Nor does a container say so itself, in the word that the table has for it.
    let claims = "table inet own {
        chain out { type filter hook output priority 0; meta priority set \"ffff:fffe\"; }
    }";
    stranger.container.nft(claims).unwrap();
    for nth in [0, 1] {
        assert!(!stranger.reaches(server.at(nth), &receiver));
    }
    // An edit is in force soon, also for who is there already.
    apply(&node, OPEN);
    wait_for("everybody to be let in", LIMIT, || {
        stranger.reaches(server.at(0), &receiver).then_some(())
    });
    delete(&node, "everybody");
    wait_for("strangers to be kept out again", LIMIT, || {
        (!stranger.reaches(server.at(1), &receiver)).then_some(())
    });
    // Nothing of an address is left once it is released.
    friend.del(&node);
    let table = node.host.sh("nft list table inet bulkhead-policy").unwrap();
    for address in &friend.addresses {
        assert!(
            !table.contains(&format!("{address} :")),
            "{address}: {table}"
        );
    }
    assert!(!stranger.reaches(server.at(0), &receiver));
    server.del(&node);
    stranger.del(&node);
    let tables = node.host.sh("nft list tables").unwrap();
    assert!(!tables.contains("bulkhead-policy"), "{tables}");
}

#[test]
fn pods_with_links_of_their_own_are_fenced_one_by_one() {
    fences_every_pod("bulkhead-ipv6");
}

#[test]
fn neighbours_on_a_bridge_are_fenced_one_by_one() {
    fences_every_pod("bulkhead-bridge");
}
