//! Releases beside each other: each side speaks its own version and the one before.

use super::super::{Client, Spoken};
use super::OLD;
use super::call;
use super::stream::{Daemon, own_netns};

const NEXT: Spoken = Spoken {
    oldest: 2,
    newest: 3,
};

/// The version and the deadline that a daemon sees of a call.
fn seen(client: Spoken, daemon: Spoken) -> (u16, Option<u64>) {
    let daemon = Daemon::start(daemon);
    let connected = Client::connect_as(client, daemon.socket(), None).unwrap();
    let answer = connected.call(&call(), None, own_netns(), |_| unreachable!());
    assert_eq!(answer.unwrap().stdout, b"served");
    daemon.seen()
}

#[test]
fn a_plugin_of_this_release_calls_a_daemon_of_the_one_before() {
    assert_eq!(seen(Spoken::OURS, OLD), (1, None));
}

#[test]
fn a_plugin_of_the_release_before_calls_a_daemon_of_this_one() {
    assert_eq!(seen(OLD, Spoken::OURS), (1, None));
}

#[test]
fn a_plugin_of_the_next_release_calls_a_daemon_of_this_one() {
    assert_eq!(seen(NEXT, Spoken::OURS), (2, Some(2500)));
}

#[test]
fn releases_that_share_no_version_say_so() {
    let daemon = Daemon::start(NEXT);
    let client = Client::connect_as(OLD, daemon.socket(), None).unwrap();
    let error = client
        .call(&call(), None, own_netns(), |_| unreachable!())
        .unwrap_err();
    let expected = "refuses: version 1 is not spoken here, versions 2 to 3 are";
    assert!(error.to_string().ends_with(expected), "{error}");
}

#[test]
fn the_newest_shared_version_is_found() {
    assert_eq!(Spoken::OURS.shared(OLD), Some(1));
    assert_eq!(Spoken::OURS.shared(NEXT), Some(2));
    assert_eq!(OLD.shared(NEXT), None);
}
