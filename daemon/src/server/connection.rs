//! One connection: frames in, and for each what becomes of it.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bulkhead_ipam::wire::admin::{IDLE_MS, Reason, Reply, Request, RequestError};
use bulkhead_ipam::wire::{
    CallFrame, Decoder, Descriptors, Frame, Kind, Spoken, from_json, json, last, receive,
};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::refusal::Refused;
use super::{Admitted, Counted, Server};
use crate::admin::Said;
use crate::call::Call;

/// Read at once.
const READ: usize = 16 << 10;

/// Longest that a caller may take to read what it asked for.
const WRITTEN: Duration = Duration::from_secs(10);

/// Replies that may wait for their reader.
const REPLIES: usize = 4;

/// A caller.
pub(super) struct Connection {
    server: Arc<Server>,
    stream: UnixStream,
    decoder: Decoder,
    descriptors: Vec<OwnedFd>,
    admitted: Admitted,
}

/// How a connection ends before its time.
enum End {
    /// The caller has closed it, or is not there any more.
    Closed,
    /// It is told why.
    Refused(Refused),
}

impl From<Refused> for End {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::InvalidData => Refused::descriptors(&error.to_string()).into(),
            _ => Self::Closed,
        }
    }
}

impl Connection {
    pub(super) fn new(server: Arc<Server>, stream: UnixStream, admitted: Admitted) -> Self {
        Self {
            server,
            stream,
            decoder: Decoder::new(Spoken::OURS),
            descriptors: Vec::new(),
            admitted,
        }
    }

    /// Serves the caller until it is done, or the daemon.
    pub(super) async fn serve(mut self, mut stop: watch::Receiver<bool>) {
        let refused = loop {
            let patience = self.server.node.config().server.read_timeout;
            let next = tokio::select! {
                next = timeout(patience, self.frame()) => next,
                _ = stop.wait_for(|stop| *stop) => break Refused::stopping(),
            };
            let next = next.unwrap_or_else(|_| Err(self.is_late(patience)));
            let served = match next {
                Ok(frame) if frame.kind == Kind::Call => return self.call(frame),
                Ok(frame) if frame.kind == Kind::AdminRequest => self.admin(frame, &mut stop).await,
                Ok(frame) => Err(Refused::unexpected(frame.kind).into()),
                Err(end) => Err(end),
            };
            match served {
                Ok(()) => {}
                Err(End::Closed) => return,
                Err(End::Refused(refused)) => break refused,
            }
        };
        self.server.refuse(&self.stream, &refused);
    }

    /// Who has said nothing at all only kept a connection open.
    fn is_late(&self, patience: Duration) -> End {
        if self.decoder.is_inside_frame() {
            Refused::too_slow(patience.as_secs()).into()
        } else {
            End::Closed
        }
    }

    /// The next frame.
    async fn frame(&mut self) -> Result<Frame, End> {
        let mut buffer = vec![0; READ];
        loop {
            if let Some(frame) = self.decoder.frame().map_err(Refused::from)? {
                return Ok(frame);
            }
            self.stream.readable().await?;
            let read = || receive(&self.stream, &mut buffer);
            let received = match self.stream.try_io(Interest::READABLE, read) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                received => received?,
            };
            if received.length == 0 {
                return Err(if self.decoder.is_inside_frame() {
                    Refused::truncated().into()
                } else {
                    End::Closed
                });
            }
            self.descriptors.extend(received.descriptors);
            if self.descriptors.len() > 2 {
                return Err(Refused::descriptors("more descriptors than a call has").into());
            }
            self.decoder.feed(&buffer[..received.length]);
        }
    }

    /// Hands the caller over to a worker, who answers.
    fn call(self, frame: Frame) {
        let received = Instant::now();
        let (server, version) = (Arc::clone(&self.server), frame.version);
        let read = CallFrame::from_frame(frame).map_err(Refused::from);
        let admitted = read.and_then(|(call, which)| {
            let container = container(&server, self.descriptors, which)?;
            Ok((call, container))
        });
        let (call, container) = match admitted {
            Ok(admitted) => admitted,
            Err(refused) => return server.refuse(&self.stream, &refused),
        };
        let stream = match self.stream.into_std() {
            Ok(stream) if stream.set_nonblocking(false).is_ok() => stream,
            // The connection is gone already.
            _ => return,
        };
        let call = Box::new(Call {
            frame: call,
            version,
            container,
            stream,
            received,
            _in_flight: Counted::new(&server.node.metrics.calls_in_flight),
            _admitted: self.admitted,
        });
        if let Err(call) = server.workers.call(call)
            && let Ok(stream) = UnixStream::from_std(call.stream)
        {
            server.refuse(&stream, &Refused::stopping());
        }
    }

    /// Answers an operator's request, and says that the daemon lives while it lasts.
    async fn admin(&mut self, frame: Frame, stop: &mut watch::Receiver<bool>) -> Result<(), End> {
        let version = frame.version;
        let request: Request = match from_json(frame, Kind::AdminRequest) {
            Ok(request) => request,
            Err(error) => {
                let refused = Reply::Refused(RequestError {
                    code: Reason::Unsupported,
                    text: format!(
                        "bulkheadd {} does not know the request: {error}",
                        env!("CARGO_PKG_VERSION")
                    ),
                });
                return self.reply(version, &refused, true).await;
            }
        };
        let (said, mut replies) = mpsc::channel(REPLIES);
        Arc::clone(&self.server.admin).begin(request, said);
        let idle = Duration::from_millis(IDLE_MS / 2);
        loop {
            let next = tokio::select! {
                next = timeout(idle, replies.recv()) => next,
                _ = stop.wait_for(|stop| *stop) => return Err(Refused::stopping().into()),
            };
            match next {
                Err(_) => self.reply(version, &Reply::Idle, false).await?,
                Ok(Some(Said::More(reply))) => self.reply(version, &reply, false).await?,
                Ok(Some(Said::Last(reply))) => return self.reply(version, &reply, true).await,
                // Whoever was to answer met a bug, which is in the log.
                Ok(None) => {
                    let refused = Reply::Refused(RequestError {
                        code: Reason::Failed,
                        text:
                            "bulkheadd met a bug while serving the request; its log has the place"
                                .to_owned(),
                    });
                    return self.reply(version, &refused, true).await;
                }
            }
        }
    }

    async fn reply(&self, version: u16, reply: &Reply, is_last: bool) -> Result<(), End> {
        let frame = json(version, Spoken::OURS, Kind::AdminReply, reply);
        let frame = if is_last { last(frame) } else { frame };
        let bytes = frame.encode().map_err(Refused::from)?;
        match timeout(WRITTEN, self.write(&bytes)).await {
            Ok(written) => Ok(written?),
            Err(_) => Err(End::Closed),
        }
    }

    async fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            self.stream.writable().await?;
            match self.stream.try_write(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// The container's namespace out of a call's descriptors, once the caller's own is the daemon's.
fn container(
    server: &Server,
    descriptors: Vec<OwnedFd>,
    which: Descriptors,
) -> Result<Option<OwnedFd>, Refused> {
    let mut descriptors = descriptors.into_iter();
    let mut next = |there: bool| if there { descriptors.next() } else { None };
    let (container, own) = (next(which.container), next(which.own));
    if container.is_some() != which.container || own.is_some() != which.own {
        return Err(Refused::descriptors(
            "the call announces descriptors that did not come with it",
        ));
    }
    match own {
        Some(own) if server.node.is_own(&own) => Ok(container),
        Some(_) => Err(Refused::namespace()),
        None => Err(Refused::descriptors(
            "the caller's own network namespace did not come with the call",
        )),
    }
}
