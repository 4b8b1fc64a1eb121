//! Deleting links without waiting for the kernel to forget it. The request itself returns only after
//! `rcu_barrier` (`netdev_run_todo`, `net/core/dev.c`: 16 to 20 ms), although the link is gone, its
//! name free and `RTM_DELLINK` sent after half a millisecond; and a process does not end while one of
//! its threads waits there. So a child waits: a re-exec of the plugin's executable. It also holds the
//! nfnetlink socket, whose last close after a deletion would wait out an RCU grace period under the
//! commit mutex (`nft_rcv_nl_event`, `net/netfilter/nf_tables_api.c`), until that is over anyway.
//!
//! A process that stays has threads for that, and keeps its nfnetlink socket: a [`Reaper`].
//!
//! Links that go together are deleted by group in one request, since each request waits anew. Another
//! call's links may be in that group by then: they go with them, which is what that call wants.

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use bulkhead_model::LinkGroup;
use bulkhead_plan::Ns;
use netlink_packet_route::link::LinkAttribute;
use rustix::io::Errno;

use crate::apply::in_space;
use crate::error::{NetlinkError, OpError, Refusal};
use crate::links::gone;
use crate::pending::Doomed;
use crate::place::{Place, PlaceError};
use crate::reaper::{Haste, Reaper};
use crate::request;
use crate::socket::{Socket, Subsystem};
use crate::wait::link_by_index;

/// The name the plugin's executable is called by to be the child: `argv[0]`.
pub const REAPER: &str = "bulkhead-reap";

/// Longer than the kernel ever took to send `RTM_DELLINK` on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long to listen before asking.
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// Longer than the RCU grace period that a close right after a deletion would wait for.
const HOLD: Duration = Duration::from_millis(50);

/// How links are deleted.
#[derive(Clone, Debug)]
pub enum Deletion {
    /// By the plain request, which blocks 16 to 20 ms.
    Blocking,
    /// In the host's namespace by a child that runs this executable as [`REAPER`]; elsewhere
    /// plainly. `/proc/self/exe` names the running executable. For a process that ends soon: the
    /// child is not waited for.
    HandOff(PathBuf),
    /// In the host's namespace by threads of this process; elsewhere plainly.
    Reaper(Reaper, Wait),
}

/// Until when a deletion that is left to a [`Reaper`] is waited for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wait {
    /// Until the link is gone, and its names are free.
    Gone,
    /// Until a port or ifb device is in the doomed group, to be deleted with others; any other link
    /// until it is gone. For an attachment whose container is gone: nobody needs the names.
    Doomed,
}

/// Deletes links and returns when they are gone. Whether a child holds the nfnetlink socket now, or
/// which link could not be deleted and why.
pub(crate) fn delete(
    place: &mut Place,
    ns: &Ns,
    links: &[Doomed],
    policy: &Deletion,
) -> Result<bool, (u32, OpError)> {
    let indexes: Vec<u32> = links.iter().map(|link| link.index).collect();
    let first = indexes.first().copied().unwrap_or_default();
    let left = match (policy, ns) {
        (Deletion::HandOff(executable), Ns::Host) => {
            let start = |place: &mut Place| spawn(executable, place, &indexes);
            let left = leave(place, ns, &indexes, start).map_err(|error| (first, error))?;
            if left.is_empty() {
                return Ok(true);
            }
            left
        }
        (Deletion::Reaper(reaper, wait), Ns::Host) => {
            let of_attachment = links.iter().all(|link| link.name.is_of_attachment());
            if *wait == Wait::Doomed && of_attachment && doom(place, ns, &indexes, reaper)? {
                return Ok(false);
            }
            let start = |_: &mut Place| reaper.take(&indexes, Haste::Awaited);
            leave(place, ns, &indexes, start).map_err(|error| (first, error))?
        }
        _ => indexes,
    };
    if left.is_empty() {
        return Ok(false);
    }
    let socket = place
        .route()
        .map_err(|error| (first, in_space(ns, error)))?;
    delete_now(socket, &left).map_err(|(index, error)| (index, error.into()))?;
    Ok(false)
}

/// Leaves deleting to whom `start` tells of it, if it can, and waits until the links are gone; those
/// that still stand.
fn leave(
    place: &mut Place,
    ns: &Ns,
    indexes: &[u32],
    start: impl FnOnce(&mut Place) -> bool,
) -> Result<Vec<u32>, OpError> {
    let mut listener = place
        .within(Socket::listening_to_links)
        .map_err(|source| in_space(ns, PlaceError::Entering(source)))??;
    if !start(place) {
        return Ok(indexes.to_vec());
    }
    let until = Instant::now() + PATIENCE;
    let mut left: BTreeSet<u32> = indexes.iter().copied().collect();
    while !left.is_empty() && Instant::now() < until {
        await_gone(&mut listener, &mut left);
        // What went before the listener was there, with another call's, is not told again.
        for index in left.clone() {
            if link_by_index(place, ns, index)?.is_none() {
                left.remove(&index);
            }
        }
    }
    Ok(left.into_iter().collect())
}

/// Puts links into the doomed group for the reaper; false if it does not take them.
fn doom(
    place: &mut Place,
    ns: &Ns,
    indexes: &[u32],
    reaper: &Reaper,
) -> Result<bool, (u32, OpError)> {
    let first = indexes.first().copied().unwrap_or_default();
    let requests: Vec<_> = indexes.iter().copied().map(dooming).collect();
    let socket = place
        .route()
        .map_err(|error| (first, in_space(ns, error)))?;
    let answers = socket.batch(&requests);
    let answers = answers.map_err(|error| (first, error.into()))?;
    for (index, answer) in indexes.iter().zip(answers) {
        answer.map_err(|refusal| (*index, NetlinkError::from(refusal).into()))?;
    }
    Ok(reaper.take(indexes, Haste::Whenever))
}

fn dooming(index: u32) -> Vec<u8> {
    request::set_link(index, LinkAttribute::Group(LinkGroup::DOOMED.0))
}

/// Deletes links by blocking requests: several by their group, and one by one what is left then.
pub(crate) fn delete_now(socket: &mut Socket, indexes: &[u32]) -> Result<(), (u32, NetlinkError)> {
    let first = indexes.first().copied().unwrap_or_default();
    let mut doomed = vec![false; indexes.len()];
    if indexes.len() > 1 {
        let answers = delete_group(socket, indexes).map_err(|error| (first, error))?;
        if answers.iter().all(Result::is_ok) {
            return Ok(());
        }
        doomed = answers[..indexes.len()].iter().map(Result::is_ok).collect();
    }
    let requests: Vec<_> = indexes.iter().copied().map(request::del_link).collect();
    let answers = socket.batch(&requests).map_err(|error| (first, error))?;
    for ((index, answer), doomed) in indexes.iter().zip(answers).zip(doomed) {
        match answer {
            Err(refusal) if doomed && refusal.errno == Errno::NODEV => {}
            answer => answer.map_err(|refusal| (*index, refusal.into()))?,
        }
    }
    Ok(())
}

/// Puts links into the doomed group and deletes that; one answer for each and one for the deletion.
pub(crate) fn delete_group(
    socket: &mut Socket,
    indexes: &[u32],
) -> Result<Vec<Result<(), Refusal>>, NetlinkError> {
    let delete = request::del_group(LinkGroup::DOOMED);
    let requests: Vec<_> = indexes
        .iter()
        .copied()
        .map(dooming)
        .chain([delete])
        .collect();
    let mut answers = socket.batch(&requests)?;
    if let Some(deletion) = answers.last_mut() {
        // An empty group: another call's deletion took them with it.
        if matches!(deletion, Err(refusal) if refusal.errno == Errno::NODEV) {
            *deletion = Ok(());
        }
    }
    Ok(answers)
}

/// Leaves the last close of the nfnetlink socket to a child, if there is a socket and a policy of it.
pub(crate) fn hold(place: &mut Place, policy: &Deletion) {
    if let Deletion::HandOff(executable) = policy {
        // Without a child the close takes its 12 ms; nothing is lost.
        spawn(executable, place, &[]);
    }
}

/// Starts the child with the nfnetlink socket as its standard input; false if that is not possible.
fn spawn(executable: &Path, place: &mut Place, indexes: &[u32]) -> bool {
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
        .args(indexes.iter().map(u32::to_string))
        .env_clear()
        .stdin(socket)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // The runtime may signal the plugin's process group once the plugin has answered.
        .process_group(0)
        .spawn()
        .is_ok()
}

/// Waits a little until the links are gone, and takes out those that are.
fn await_gone(listener: &mut Socket, waiting: &mut BTreeSet<u32>) {
    let until = Instant::now() + ASK_AGAIN;
    while !waiting.is_empty() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || listener.wait_at_most(left).is_err() {
            break;
        }
        // Silence and an overrun alike leave it to the caller to ask.
        let Ok(messages) = listener.receive() else {
            break;
        };
        for message in messages {
            if let Some(index) = gone(message.kind, &message.body) {
                waiting.remove(&index);
            }
        }
    }
}

/// What the executable does when it is called as [`REAPER`]: deletes the links with the indexes that
/// are its arguments, if there are any, and holds its standard input a little. `args` are those after
/// the name. Success if there is nothing left to delete.
#[must_use]
pub fn reap_main(args: impl Iterator<Item = String>) -> ExitCode {
    let indexes: Result<Vec<u32>, _> = args.map(|index| index.parse()).collect();
    let deleted = indexes.is_ok_and(|indexes| {
        indexes.is_empty()
            || Socket::open(Subsystem::Route)
                .is_ok_and(|mut socket| delete_now(&mut socket, &indexes).is_ok())
    });
    thread::sleep(HOLD);
    if deleted {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
