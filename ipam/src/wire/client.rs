//! A caller's end of the connection: blocking, with one deadline for everything it does.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::decoder::Decoder;
use super::descriptors::{receive, send};
use super::frame::{Frame, FrameError, Kind, Spoken};
use super::message::{Answer, CallFrame, Delegate, Descriptors};
use super::refusal::{Refusal, RefusalCode};
use super::sections::{MessageError, from_json, is_last, json};

/// Read at once: an answer fits.
const READ: usize = 8 << 10;

/// A connection to the daemon.
#[derive(Debug)]
pub struct Client {
    socket: PathBuf,
    spoken: Spoken,
    version: u16,
    deadline: Option<Instant>,
    stream: UnixStream,
    decoder: Decoder,
}

/// Why the daemon gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("no daemon listens on {}, start bulkheadd", socket.display())]
    NotRunning {
        /// Where.
        socket: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// No answer came in time.
    #[error(
        "the daemon on {} has not answered in time, look at its log and at the load of the node",
        socket.display()
    )]
    Silent {
        /// Where.
        socket: PathBuf,
    },
    /// The daemon does not serve this caller or this request.
    #[error("the daemon on {} refuses: {}", socket.display(), refusal.text)]
    Refused {
        /// Where.
        socket: PathBuf,
        /// Why.
        refusal: Refusal,
    },
    /// The connection broke: the daemon has ended, and may have done what was asked or not.
    #[error("the connection to the daemon on {} broke", socket.display())]
    Broken {
        /// Where.
        socket: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The daemon speaks another language.
    #[error("the daemon on {} answers what is no frame", socket.display())]
    Frame {
        /// Where.
        socket: PathBuf,
        /// In what.
        #[source]
        source: FrameError,
    },
    /// The daemon answered something else.
    #[error("the daemon on {} answers what was not asked", socket.display())]
    Message {
        /// Where.
        socket: PathBuf,
        /// In what.
        #[source]
        source: MessageError,
    },
    /// What is asked does not fit into a frame.
    #[error("the request is too large for a frame")]
    TooLarge(#[source] FrameError),
}

/// The replies to a request that has many.
#[derive(Debug)]
pub struct Replies<R> {
    client: Client,
    first: Option<Frame>,
    patience: Option<Duration>,
    is_over: bool,
    reply: PhantomData<fn() -> R>,
}

impl Client {
    /// Connects; everything that the client does is over after `patience`, if there is one.
    ///
    /// # Errors
    /// [`ClientError::NotRunning`], [`ClientError::Silent`] if the daemon does not accept.
    pub fn connect(socket: &Path, patience: Option<Duration>) -> Result<Self, ClientError> {
        Self::connect_as(Spoken::OURS, socket, patience)
    }

    /// The same, as a release that speaks `spoken`: for tests of version skew.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub fn connect_as(
        spoken: Spoken,
        socket: &Path,
        patience: Option<Duration>,
    ) -> Result<Self, ClientError> {
        let deadline = patience.map(|patience| Instant::now() + patience);
        Ok(Self {
            socket: socket.to_owned(),
            spoken,
            version: spoken.newest,
            deadline,
            stream: connected(socket, patience)?,
            decoder: Decoder::new(spoken),
        })
    }

    /// Has a CNI call served. `container` is its network namespace, `own` the caller's; `delegate`
    /// runs the foreign IPAM plugins that the daemon asks for meanwhile.
    ///
    /// # Errors
    /// [`ClientError`]; the call was not served after `NotRunning` and `Refused`.
    pub fn call(
        mut self,
        call: &CallFrame,
        container: Option<BorrowedFd<'_>>,
        own: BorrowedFd<'_>,
        mut delegate: impl FnMut(&Delegate) -> Answer,
    ) -> Result<Answer, ClientError> {
        let which = Descriptors {
            container: container.is_some(),
            own: true,
        };
        let beside: Vec<_> = container.into_iter().chain([own]).collect();
        let mut reply = self.exchange(&beside, |version, spoken| {
            call.to_frame(version, spoken, which)
        })?;
        while reply.kind == Kind::Delegate {
            let asked = Delegate::from_frame(reply).map_err(|error| self.message(error))?;
            let answer = delegate(&asked);
            self.send(
                &answer.to_frame(self.version, self.spoken, Kind::Delegated),
                &[],
            )?;
            reply = self.frame()?;
        }
        Answer::from_frame(reply, Kind::Answer).map_err(|error| self.message(error))
    }

    /// Asks for one reply.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn ask<R: DeserializeOwned>(&mut self, request: &impl Serialize) -> Result<R, ClientError> {
        let reply = self.exchange(&[], |version, spoken| {
            json(version, spoken, Kind::AdminRequest, request)
        })?;
        from_json(reply, Kind::AdminReply).map_err(|error| self.message(error))
    }

    /// Asks for as many replies as there are; a watch's never end.
    ///
    /// # Errors
    /// [`ClientError`] if not even one came; those of the others come in their place.
    pub fn stream<R: DeserializeOwned>(
        mut self,
        request: &impl Serialize,
    ) -> Result<Replies<R>, ClientError> {
        let first = self.exchange(&[], |version, spoken| {
            json(version, spoken, Kind::AdminRequest, request)
        })?;
        Ok(Replies {
            client: self,
            first: Some(first),
            patience: None,
            is_over: false,
            reply: PhantomData,
        })
    }

    /// Sends a request and reads what is answered first. A daemon that is older says which versions it
    /// speaks, and is asked again in the newest that both do.
    fn exchange(
        &mut self,
        beside: &[BorrowedFd<'_>],
        frame: impl Fn(u16, Spoken) -> Frame,
    ) -> Result<Frame, ClientError> {
        let answer = self.attempt(&frame(self.version, self.spoken), beside);
        let older = match &answer {
            Err(ClientError::Refused { refusal, .. }) if refusal.code == RefusalCode::Version => {
                self.spoken.shared(refusal.spoken)
            }
            _ => None,
        };
        let Some(older) = older.filter(|older| *older < self.version) else {
            return answer;
        };
        self.version = older;
        self.stream = connected(&self.socket, self.left()?)?;
        self.decoder = Decoder::new(self.spoken);
        self.attempt(&frame(older, self.spoken), beside)
    }

    fn attempt(&mut self, frame: &Frame, beside: &[BorrowedFd<'_>]) -> Result<Frame, ClientError> {
        match self.send(frame, beside) {
            // Who is refused at the door finds the connection closed; the reason is there to be read.
            Err(ClientError::Broken { source, .. }) => match self.frame() {
                refused @ Err(ClientError::Refused { .. }) => refused,
                _ => Err(self.broken(source)),
            },
            Err(error) => Err(error),
            Ok(()) => self.frame(),
        }
    }

    fn send(&mut self, frame: &Frame, beside: &[BorrowedFd<'_>]) -> Result<(), ClientError> {
        let bytes = frame.encode().map_err(ClientError::TooLarge)?;
        let (mut sent, mut beside) = (0, beside);
        while sent < bytes.len() {
            sent += send(&self.stream, &bytes[sent..], beside).map_err(|e| self.io(e))?;
            beside = &[];
            if sent < bytes.len() {
                self.set_time(Timeout::Send)?;
            }
        }
        Ok(())
    }

    fn frame(&mut self) -> Result<Frame, ClientError> {
        let mut buffer = [0; READ];
        let frame = loop {
            let next = self.decoder.frame();
            if let Some(frame) = next.map_err(|source| self.not_a_frame(source))? {
                break frame;
            }
            self.set_time(Timeout::Recv)?;
            let received = receive(&self.stream, &mut buffer).map_err(|error| self.io(error))?;
            if received.length == 0 {
                return Err(self.broken(io::ErrorKind::UnexpectedEof.into()));
            }
            self.decoder.feed(&buffer[..received.length]);
        };
        if frame.kind != Kind::Refused {
            return Ok(frame);
        }
        let refusal = Refusal::from_frame(frame).map_err(|error| self.message(error))?;
        Err(ClientError::Refused {
            socket: self.socket.clone(),
            refusal,
        })
    }

    /// What is left of the client's time.
    fn left(&self) -> Result<Option<Duration>, ClientError> {
        let Some(deadline) = self.deadline else {
            return Ok(None);
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ClientError::Silent {
                socket: self.socket.clone(),
            });
        }
        Ok(Some(left))
    }

    fn set_time(&self, direction: Timeout) -> Result<(), ClientError> {
        let left = self.left()?;
        set_socket_timeout(&self.stream, direction, left).map_err(|errno| self.io(errno.into()))
    }

    fn io(&self, error: io::Error) -> ClientError {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ClientError::Silent {
                socket: self.socket.clone(),
            },
            _ => self.broken(error),
        }
    }

    fn broken(&self, source: io::Error) -> ClientError {
        ClientError::Broken {
            socket: self.socket.clone(),
            source,
        }
    }

    fn not_a_frame(&self, source: FrameError) -> ClientError {
        ClientError::Frame {
            socket: self.socket.clone(),
            source,
        }
    }

    fn message(&self, source: MessageError) -> ClientError {
        ClientError::Message {
            socket: self.socket.clone(),
            source,
        }
    }
}

impl<R> Replies<R> {
    /// From now on every reply has this long to come, in place of all of them together.
    #[must_use]
    pub const fn each_within(mut self, patience: Duration) -> Self {
        self.patience = Some(patience);
        self
    }
}

impl<R: DeserializeOwned> Iterator for Replies<R> {
    type Item = Result<R, ClientError>;

    /// The next reply; `None` after the last one and after an error.
    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        if let Some(patience) = self.patience {
            self.client.deadline = Some(Instant::now() + patience);
        }
        let frame = self.first.take().map_or_else(|| self.client.frame(), Ok);
        self.is_over = frame.as_ref().map_or(true, is_last);
        Some(frame.and_then(|frame| {
            from_json(frame, Kind::AdminReply).map_err(|error| self.client.message(error))
        }))
    }
}

/// A stream that is connected. A daemon that stands still has a queue of callers, which fills up: the
/// time to send holds for that wait too (unix(7)).
fn connected(socket: &Path, patience: Option<Duration>) -> Result<UnixStream, ClientError> {
    let not_running = |source: io::Error| ClientError::NotRunning {
        socket: socket.to_owned(),
        source,
    };
    let (family, kind) = (AddressFamily::UNIX, SocketType::STREAM);
    let stream = socket_with(family, kind, SocketFlags::CLOEXEC, None);
    let stream = stream.map_err(|errno| not_running(errno.into()))?;
    let address = SocketAddrUnix::new(socket).map_err(|errno| not_running(errno.into()))?;
    set_socket_timeout(stream.as_fd(), Timeout::Send, patience)
        .map_err(|errno| not_running(errno.into()))?;
    match rustix::io::retry_on_intr(|| connect(&stream, &address)) {
        Ok(()) => Ok(stream.into()),
        Err(rustix::io::Errno::AGAIN) => Err(ClientError::Silent {
            socket: socket.to_owned(),
        }),
        Err(errno) => Err(not_running(errno.into())),
    }
}
