//! Deleting a link without waiting for the kernel to forget it. The request itself returns only after
//! `rcu_barrier` (`netdev_run_todo`, `net/core/dev.c`: 16 to 20 ms), although the link is gone, its
//! name free and `RTM_DELLINK` sent after half a millisecond; and a process does not end while one of
//! its threads waits there. So a child waits: a re-exec of the plugin's executable. It also holds the
//! nfnetlink socket, whose last close after a deletion would wait out an RCU grace period under the
//! commit mutex (`nft_rcv_nl_event`, `net/netfilter/nf_tables_api.c`), until that is over anyway.

use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use bulkhead_plan::Ns;

use crate::apply::in_space;
use crate::error::{NetlinkError, OpError};
use crate::links::is_gone;
use crate::place::{Place, PlaceError};
use crate::request;
use crate::socket::{Socket, Subsystem};
use crate::wait::link_by_index;

/// The name the plugin's executable is called by to be the child: `argv[0]`.
pub const REAPER: &str = "bulkhead-reap";

/// Longer than the kernel ever took to send `RTM_DELLINK` on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(2);
/// Longer than the RCU grace period that a close right after a deletion would wait for.
const HOLD: Duration = Duration::from_millis(50);

/// How links are deleted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Deletion {
    /// By the plain request, which blocks 16 to 20 ms.
    Blocking,
    /// In the host's namespace by a child that runs this executable as [`REAPER`]; elsewhere
    /// plainly. `/proc/self/exe` names the running executable. For a process that ends soon: the
    /// child is not waited for.
    HandOff(PathBuf),
}

/// Deletes a link and returns when it is gone. Whether a child holds the nfnetlink socket now.
pub(crate) fn delete(
    place: &mut Place,
    ns: &Ns,
    index: u32,
    policy: &Deletion,
) -> Result<bool, OpError> {
    if let (Deletion::HandOff(executable), Ns::Host) = (policy, ns) {
        let mut listener = place
            .within(Socket::listening_to_links)
            .map_err(|source| in_space(ns, PlaceError::Entering(source)))??;
        if spawn(executable, place, Some(index))
            && (await_gone(&mut listener, index) || link_by_index(place, ns, index)?.is_none())
        {
            return Ok(true);
        }
    }
    let socket = place.route().map_err(|error| in_space(ns, error))?;
    for answer in socket.batch(&[request::del_link(index)])? {
        answer.map_err(NetlinkError::from)?;
    }
    Ok(false)
}

/// Leaves the last close of the nfnetlink socket to a child, if there is a socket and a policy of it.
pub(crate) fn hold(place: &mut Place, policy: &Deletion) {
    if let Deletion::HandOff(executable) = policy {
        // Without a child the close takes its 12 ms; nothing is lost.
        spawn(executable, place, None);
    }
}

/// Starts the child with the nfnetlink socket as its standard input; false if that is not possible.
fn spawn(executable: &Path, place: &mut Place, index: Option<u32>) -> bool {
    let socket = match place
        .opened_netfilter()
        .map(|socket| socket.as_fd().try_clone_to_owned())
    {
        Some(Ok(socket)) => Stdio::from(socket),
        Some(Err(_)) => return false,
        None => Stdio::null(),
    };
    Command::new(executable)
        .arg0(REAPER)
        .args(index.map(|index| index.to_string()))
        .env_clear()
        .stdin(socket)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // The runtime may signal the plugin's process group once the plugin has answered.
        .process_group(0)
        .spawn()
        .is_ok()
}

fn await_gone(listener: &mut Socket, index: u32) -> bool {
    let until = Instant::now() + PATIENCE;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || listener.wait_at_most(left).is_err() {
            return false;
        }
        // Silence and an overrun alike leave it to the caller to ask.
        let Ok(messages) = listener.receive() else {
            return false;
        };
        if messages
            .iter()
            .any(|message| is_gone(message.kind, &message.body, index))
        {
            return true;
        }
    }
}

/// What the executable does when it is called as [`REAPER`]: deletes the link with the index that is
/// its argument, if there is one, and holds its standard input a little. `args` are those after the
/// name. Success if there is nothing left to delete.
#[must_use]
pub fn reap_main(mut args: impl Iterator<Item = String>) -> ExitCode {
    let deleted = args.next().is_none_or(|index| {
        index.parse().is_ok_and(|index| {
            Socket::open(Subsystem::Route)
                .and_then(|mut socket| socket.batch(&[request::del_link(index)]))
                .is_ok_and(|answers| answers.iter().all(Result::is_ok))
        })
    });
    thread::sleep(HOLD);
    if deleted {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
