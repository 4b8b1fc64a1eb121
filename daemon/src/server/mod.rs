//! The socket: who may speak, how many at once, and for how long without saying anything.

mod connection;
mod refusal;

use std::io::Write;
use std::os::unix::net::UnixListener as StdListener;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::admin::Admin;
use crate::node::Node;
use crate::workers::Workers;
use connection::Connection;
use refusal::Refused;

/// How long to wait when the process can open nothing more.
const PAUSE: Duration = Duration::from_millis(100);

/// What connections are served with.
pub(crate) struct Server {
    pub(crate) node: Arc<Node>,
    pub(crate) workers: Arc<Workers>,
    pub(crate) admin: Arc<Admin>,
    connections: Arc<Semaphore>,
}

/// One of the connections that there may be; another one may come once it is dropped.
#[derive(Debug)]
pub(crate) struct Admitted {
    _permit: OwnedSemaphorePermit,
    _counted: Counted,
}

/// One more in a gauge, until it is dropped.
#[derive(Debug)]
pub(crate) struct Counted(Gauge);

impl Counted {
    pub(crate) fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Server {
    /// For the connections that the configuration allows.
    pub(crate) fn new(node: Arc<Node>, workers: Arc<Workers>, admin: Arc<Admin>) -> Self {
        let connections = Arc::new(Semaphore::new(node.config().server.connections));
        Self {
            node,
            workers,
            admin,
            connections,
        }
    }

    /// Accepts callers until `stop` says so; who has come until then is told.
    pub(crate) async fn serve(self: Arc<Self>, listener: StdListener, stop: watch::Receiver<bool>) {
        let listener = match UnixListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => return self.node.failed("the socket cannot be listened on", &error),
        };
        let mut stopped = stop.clone();
        loop {
            let accepted = tokio::select! {
                _ = stopped.wait_for(|stop| *stop) => return self.turn_away(listener),
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => self.admit(stream, &stop),
                Err(error) => {
                    self.node.failed("a caller was not accepted", &error);
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Refuses whoever waits at the door: a connection that only ended would not say that nothing was done.
    fn turn_away(&self, listener: UnixListener) {
        // Of its own the reactor says only what it has heard of.
        let Ok(listener) = listener.into_std() else {
            return;
        };
        while let Ok((stream, _)) = listener.accept() {
            let refused = Refused::stopping();
            refused.count(&self.node);
            if let Ok(bytes) = refused.frame().encode() {
                // It is the first thing in the socket's buffer, and fits.
                let _ = (&stream).write_all(&bytes);
            }
        }
    }

    /// Lets somebody in, or says why not.
    fn admit(self: &Arc<Self>, stream: UnixStream, stop: &watch::Receiver<bool>) {
        if let Err(refused) = permitted(&stream) {
            return self.refuse(&stream, &refused);
        }
        let Ok(permit) = Arc::clone(&self.connections).try_acquire_owned() else {
            let most = self.node.config().server.connections;
            return self.refuse(&stream, &Refused::busy(most));
        };
        let admitted = Admitted {
            _permit: permit,
            _counted: Counted::new(&self.node.metrics.connections),
        };
        let connection = Connection::new(Arc::clone(self), stream, admitted);
        tokio::spawn(connection.serve(stop.clone()));
    }

    /// Says why and closes. Nobody waits for a caller who does not listen.
    fn refuse(&self, stream: &UnixStream, refused: &Refused) {
        refused.count(&self.node);
        if let Ok(bytes) = refused.frame().encode() {
            let _ = stream.try_write(&bytes);
        }
    }
}

/// The daemon acts with root's rights: it does so for root, and for who could do it all themselves.
fn permitted(stream: &UnixStream) -> Result<(), Refused> {
    let own = rustix::process::geteuid().as_raw();
    match stream.peer_cred() {
        Ok(peer) if peer.uid() == 0 || peer.uid() == own => Ok(()),
        Ok(peer) => Err(Refused::not_permitted(peer.uid())),
        Err(_) => Err(Refused::not_permitted(u32::MAX)),
    }
}
