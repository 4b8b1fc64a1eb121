//! What systemd is told (`sd_notify(3)`). Without it, nothing.

use std::time::Duration;

use sd_notify::NotifyState;

/// Says something; a socket that is not there any more has nobody to disappoint.
fn say(states: &[NotifyState<'_>]) {
    let _ = sd_notify::notify(states);
}

/// The daemon serves.
pub(crate) fn ready(status: &str) {
    say(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The configuration is read anew; [`ready`] follows.
pub(crate) fn reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        say(&[NotifyState::Reloading, now]);
    }
}

/// The daemon ends.
pub(crate) fn stopping(status: &str) {
    say(&[NotifyState::Stopping, NotifyState::Status(status)]);
}

/// The daemon was found alive.
pub(crate) fn alive() {
    say(&[NotifyState::Watchdog]);
}

/// How long systemd waits for [`alive`]; `None` if it does not.
pub(crate) fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}
