//! Echo servers and clients inside namespaces, over ordinary sockets, every wait bounded.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::ns::{Ns, NsError};

/// How often a server looks whether it should end.
const SERVER_TICK: Duration = Duration::from_millis(50);
/// How long a server waits for one client's next byte.
const CLIENT_LIMIT: Duration = Duration::from_secs(40);
/// How often a client repeats a datagram: UDP may lose one while a neighbour is resolved.
const RETRY: Duration = Duration::from_millis(200);

/// The transport of an echo server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Transport {
    /// TCP: answers each connection with what it sends, until it shuts down its half.
    Tcp,
    /// UDP: answers each datagram with itself.
    Udp,
}

/// A server on a thread inside a namespace; ends when dropped.
#[derive(Debug)]
pub struct EchoServer {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl EchoServer {
    /// Listens in `ns` on `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// `System` when the namespace is gone or the address cannot be bound.
    pub fn start(ns: &Ns, transport: Transport, address: SocketAddr) -> Result<Self, NsError> {
        let refused = |source| ns.refused(format!("listen on {address}"), source);
        let stop = Arc::new(AtomicBool::new(false));
        let ending = Arc::clone(&stop);
        // A socket stays in the namespace it was made in; the serving thread may live anywhere.
        let (address, thread) = match transport {
            Transport::Tcp => {
                let listener = ns.enter(|| tcp_listener(address))?.map_err(refused)?;
                let bound = listener.local_addr().map_err(refused)?;
                (bound, thread::spawn(move || serve_tcp(&listener, &ending)))
            }
            Transport::Udp => {
                let socket = ns.enter(|| udp_socket(address))?.map_err(refused)?;
                let bound = socket.local_addr().map_err(refused)?;
                (bound, thread::spawn(move || serve_udp(&socket, &ending)))
            }
        };
        Ok(Self {
            address,
            stop,
            thread: Some(thread),
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for EchoServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the server already failed the client that caused it.
            drop(thread.join());
        }
    }
}

fn tcp_listener(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn udp_socket(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(address)?;
    socket.set_read_timeout(Some(SERVER_TICK))?;
    Ok(socket)
}

fn serve_tcp(listener: &TcpListener, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        match listener.accept() {
            // A client that goes away early has its own error to show.
            Ok((stream, peer)) => drop(thread::spawn(move || echo(stream, peer))),
            Err(_) => thread::sleep(SERVER_TICK / 10),
        }
    }
}

/// The first line back is the client's address as the server sees it, then what the client sent.
fn echo(mut stream: TcpStream, peer: SocketAddr) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(CLIENT_LIMIT))?;
    stream.set_write_timeout(Some(CLIENT_LIMIT))?;
    writeln!(stream, "{}", peer.ip())?;
    let mut buffer = [0; 1 << 14];
    loop {
        let length = stream.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..length])?;
    }
}

fn serve_udp(socket: &UdpSocket, stop: &AtomicBool) {
    let mut buffer = vec![0; 1 << 16];
    while !stop.load(Ordering::Relaxed) {
        if let Ok((length, peer)) = socket.recv_from(&mut buffer) {
            let mut answer = format!("{}\n", peer.ip()).into_bytes();
            answer.extend(&buffer[..length]);
            // An unreachable client is the client's finding.
            drop(socket.send_to(&answer, peer));
        }
    }
}

/// Connects from `ns` to an echo server, sends `data`, demands it back unchanged, and returns the
/// source address that the server saw (the masquerade's, where there is one).
///
/// # Errors
/// `System` with the socket's error, `TimedOut` after `limit`, or `InvalidData` when something
/// else came back.
pub fn tcp_echo(
    ns: &Ns,
    server: SocketAddr,
    data: &[u8],
    limit: Duration,
) -> Result<IpAddr, NsError> {
    ns.enter(|| tcp_exchange(server, data, limit))?
        .map_err(|source| ns.refused(format!("TCP echo with {server}"), source))
}

fn tcp_exchange(server: SocketAddr, data: &[u8], limit: Duration) -> io::Result<IpAddr> {
    let deadline = Instant::now() + limit;
    let left = || {
        let left = deadline.saturating_duration_since(Instant::now());
        Some(left.max(Duration::from_millis(1)))
    };
    let mut stream = TcpStream::connect_timeout(&server, limit)?;
    stream.set_write_timeout(left())?;
    let mut writer = stream.try_clone()?;
    let mut answer = Vec::new();
    thread::scope(|scope| {
        // Both ways at once: more than the buffers hold would stall a client that first sends all.
        let sender = scope.spawn(move || {
            writer.write_all(data)?;
            writer.shutdown(std::net::Shutdown::Write)
        });
        let mut buffer = [0; 1 << 14];
        loop {
            stream.set_read_timeout(left())?;
            match stream.read(&mut buffer)? {
                0 => break,
                length => answer.extend(&buffer[..length]),
            }
        }
        sender
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    seen_source(&answer, data)
}

/// Sends `data` as one datagram from `ns`, repeating it until it comes back unchanged, and returns
/// the source address that the server saw.
///
/// # Errors
/// As [`tcp_echo`].
pub fn udp_echo(
    ns: &Ns,
    server: SocketAddr,
    data: &[u8],
    limit: Duration,
) -> Result<IpAddr, NsError> {
    ns.enter(|| udp_exchange(server, data, limit))?
        .map_err(|source| ns.refused(format!("UDP echo with {server}"), source))
}

fn udp_exchange(server: SocketAddr, data: &[u8], limit: Duration) -> io::Result<IpAddr> {
    let deadline = Instant::now() + limit;
    let any: IpAddr = match server {
        SocketAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(server)?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        socket.send(data)?;
        socket.set_read_timeout(Some(left.min(RETRY)))?;
        match socket.recv(&mut buffer) {
            Ok(length) => return seen_source(&buffer[..length], data),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// Splits a server's answer into the address it saw and the echo, which must be `sent`.
fn seen_source(answer: &[u8], sent: &[u8]) -> io::Result<IpAddr> {
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what);
    let end = answer.iter().position(|byte| *byte == b'\n');
    let (head, echoed) = answer.split_at(end.ok_or_else(|| wrong("no source line"))?);
    if &echoed[1..] != sent {
        return Err(wrong("the echo is not what was sent"));
    }
    String::from_utf8_lossy(head)
        .parse::<IpAddr>()
        .map(|address| address.to_canonical())
        .map_err(|_| wrong("the source line is no address"))
}
