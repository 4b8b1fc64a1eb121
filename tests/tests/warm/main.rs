//! One code path, two hosts: a plugin that serves a call in its own process, and one that passes it on
//! to a daemon, which is here in the test's own process.

mod bed;
mod down;
mod hosts;
mod pools;
#[path = "../common/warm.rs"]
mod warm;
