//! Router advertisements on ports of networks that ask for them (RFC 4861, RFC 8273), and stateless
//! `DHCPv6` (RFC 8415) beside: two sockets and two tasks for all ports, whatever there are. What is said
//! on a port is in its attachment's record.

mod budget;
mod dhcpv6;
mod message;
mod ports;
mod socket;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bulkhead_ipam::{AttachmentRecord, StoreError};
use bulkhead_model::AttachmentKey;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::metrics::{Metrics, OutcomeLabels};
use crate::node::Node;
use ports::{Silence, Since};
use socket::{Groups, Raw, Udp};

pub(crate) use ports::Ports;

/// The kind of the attachments that may have it.
const KIND: &str = "ipv6";
/// The plugin that makes them.
pub(crate) const PLUGIN: &str = "bulkhead-ipv6";

/// How many messages are taken at once, before others that wait for sockets have a turn.
const BATCH: usize = 64;
/// How long to leave more of them to the socket's buffer then. Whose guard is off can send without end.
const PAUSE: Duration = Duration::from_millis(10);
/// How often it is looked who is to be told unasked, and which ports stand.
const TICK: Duration = Duration::from_secs(1);
/// How long to wait before a socket that could not be opened is tried again.
const AGAIN: Duration = Duration::from_secs(30);

/// Takes up every recorded attachment, and lets go of those that are no more.
pub(crate) fn follow_all(node: &Node) {
    follow_every(node, Since::Now);
}

/// An attachment was made, or is no more: what its record says now.
pub(crate) fn follow(node: &Node, key: &AttachmentKey) {
    follow_since(node, key, Since::Now);
}

/// Starts both tasks.
pub(crate) fn start(node: &Arc<Node>) {
    follow_every(node, Since::Before);
    node.sockets.spawn(solicitations(Arc::clone(node)));
    node.sockets.spawn(requests(Arc::clone(node)));
}

fn follow_every(node: &Node, since: Since) {
    let mut keys = node.advertised.keys();
    // Who reads what cannot be read has said so.
    for network in node.state.networks().unwrap_or_default() {
        let known = node.state.network(&network).read().ok().flatten();
        let records = known.and_then(|known| known.attachments().ok());
        let ours = |record: &AttachmentRecord| record.kind == KIND;
        let records = records.unwrap_or_default().into_iter().filter(ours);
        keys.extend(records.map(|record| record.key));
    }
    keys.sort_unstable();
    keys.dedup();
    for key in keys {
        follow_since(node, &key, since);
    }
}

fn follow_since(node: &Node, key: &AttachmentKey, since: Since) {
    let recorded = || {
        let known = node.state.network(&key.network).read()?;
        Ok(known
            .map(|known| known.find(&key.id()))
            .transpose()?
            .flatten())
    };
    let followed: Result<(), StoreError> = node.advertised.follow(key, since, recorded);
    if let Err(error) = followed {
        let why = crate::told::chain(&error);
        node.failed(
            &format!("what is advertised to attachment {key} stays as it was"),
            &why,
        );
    }
}

/// Answers solicitations, and tells what is due, as long as the daemon lives.
async fn solicitations(node: Arc<Node>) {
    loop {
        node.advertised.some(|_| true).await;
        let ended = match Raw::open() {
            Ok(socket) => solicited(&node, &socket).await,
            Err(error) => Err(error),
        };
        if let Err(error) = ended {
            node.failed(
                "router solicitations are not answered, CAP_NET_RAW is needed",
                &error,
            );
            sleep(AGAIN).await;
        }
    }
}

/// Until nothing is advertised any more.
async fn solicited(node: &Node, socket: &Raw) -> io::Result<()> {
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            ready = socket.readable() => {
                ready?;
                if !batch(|| answer_solicitation(node, socket))? {
                    sleep(PAUSE).await;
                }
            }
            _ = tick.tick() => {
                if !node.advertised.are_some(|_| true) {
                    return Ok(());
                }
                for (port, sent) in node.advertised.due(Instant::now()) {
                    // One whose port is being made or gone is told the next time.
                    if socket.send(port, sent.to, &sent.message).is_ok() {
                        node.metrics.advertisements.inc();
                    }
                }
            }
        }
    }
}

fn answer_solicitation(node: &Node, socket: &Raw) -> io::Result<()> {
    let Some(received) = socket.receive()? else {
        return Ok(());
    };
    let (port, from) = (received.port, received.source);
    let answer = node
        .advertised
        .solicited(port, &received.message, from, received.hop_limit);
    let outcome = match answer {
        Ok(sent) => match socket.send(port, sent.to, &sent.message) {
            Ok(()) => {
                node.metrics.advertisements.inc();
                "answered"
            }
            Err(error) => {
                tracing::debug!(%port, to = %sent.to, %error, "a router advertisement was not sent");
                "failed"
            }
        },
        Err(silence) => silence.word(),
    };
    tracing::debug!(%port, %from, outcome, "router solicitation");
    count(&node.metrics, Kind::Solicitation, outcome);
    Ok(())
}

/// Answers Information-requests, as long as the daemon lives.
async fn requests(node: Arc<Node>) {
    loop {
        node.advertised
            .some(|said| said.refresh_secs.is_some())
            .await;
        let ended = match Udp::open() {
            Ok(socket) => requested(&node, &socket).await,
            Err(error) => Err(error),
        };
        if let Err(error) = ended {
            node.failed(
                "DHCPv6 is not answered, UDP port 547 is needed for it",
                &error,
            );
            sleep(AGAIN).await;
        }
    }
}

/// Until no port has it any more.
async fn requested(node: &Node, socket: &Udp) -> io::Result<()> {
    let mut groups = Groups::default();
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            ready = socket.readable() => {
                ready?;
                if !batch(|| answer_request(node, socket))? {
                    sleep(PAUSE).await;
                }
                continue;
            }
            () = node.advertised.changed() => {}
            _ = tick.tick() => {}
        }
        let ports = node.advertised.names(|said| said.refresh_secs.is_some());
        groups.set(socket, &ports)?;
        if ports.is_empty() {
            return Ok(());
        }
    }
}

fn answer_request(node: &Node, socket: &Udp) -> io::Result<()> {
    let Some(received) = socket.receive()? else {
        return Ok(());
    };
    let (port, from) = (received.port, received.source);
    let outcome = match node.advertised.requested(port, &received.message) {
        Ok(reply) => match socket.send(port, from, &reply) {
            Ok(()) => "answered",
            Err(error) => {
                tracing::debug!(%port, to = %from, %error, "a DHCPv6 reply was not sent");
                "failed"
            }
        },
        Err(silence) => silence.word(),
    };
    tracing::debug!(%port, %from, outcome, "DHCPv6 request");
    count(&node.metrics, Kind::Request, outcome);
    Ok(())
}

/// Takes messages as long as there are some, but not for ever; whether all are taken.
fn batch(mut one: impl FnMut() -> io::Result<()>) -> io::Result<bool> {
    for _ in 0..BATCH {
        match one() {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

#[derive(Clone, Copy)]
enum Kind {
    Solicitation,
    Request,
}

fn count(metrics: &Metrics, kind: Kind, outcome: &'static str) {
    let family = match kind {
        Kind::Solicitation => &metrics.solicitations,
        Kind::Request => &metrics.information_requests,
    };
    family.get_or_create(&OutcomeLabels { outcome }).inc();
}

impl Silence {
    const fn word(self) -> &'static str {
        match self {
            Self::NotServed => "not-served",
            Self::Limited => "limited",
            Self::Invalid => "invalid",
        }
    }
}
