//! A TCP connection between two containers that says something all the time.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use netns_fixtures::{EchoServer, Ns, Transport, wait_for};

use super::LIMIT;

/// The connection.
pub(crate) struct Stream {
    echoed: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    client: Option<JoinHandle<std::io::Result<()>>>,
    _server: EchoServer,
}

impl Stream {
    /// From `client` to `server`, whose address is `address`.
    pub(crate) fn open(client: &Ns, server: &Ns, address: IpAddr) -> Self {
        let server = EchoServer::start(server, Transport::Tcp, (address, 0).into()).unwrap();
        let to = server.address();
        let stream = client.enter(|| connect(to)).unwrap();
        let (echoed, stop) = (
            Arc::new(AtomicU64::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let (counted, stopped) = (Arc::clone(&echoed), Arc::clone(&stop));
        let client = thread::spawn(move || talk(stream, &counted, &stopped));
        Self {
            echoed,
            stop,
            client: Some(client),
            _server: server,
        }
    }

    /// Waits until what is said from now on has come back.
    pub(crate) fn goes_on(&self) {
        let before = self.echoed.load(Ordering::Relaxed);
        wait_for("the connection to go on", LIMIT, || {
            (self.echoed.load(Ordering::Relaxed) > before + 2).then_some(())
        });
    }

    /// Ends it; it must have lived until now.
    pub(crate) fn close(mut self) {
        self.goes_on();
        self.stop.store(true, Ordering::Relaxed);
        let client = self.client.take().unwrap();
        client.join().unwrap().unwrap();
    }
}

fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&to, LIMIT).unwrap();
    // Longer would be an interruption.
    stream
        .set_read_timeout(Some(Duration::from_secs(3)))
        .unwrap();
    stream
}

fn talk(mut stream: TcpStream, echoed: &AtomicU64, stop: &AtomicBool) -> std::io::Result<()> {
    let mut byte = [0];
    // The server's first line is the client's address.
    while byte[0] != b'\n' {
        stream.read_exact(&mut byte)?;
    }
    while !stop.load(Ordering::Relaxed) {
        stream.write_all(b"x")?;
        stream.read_exact(&mut byte)?;
        echoed.fetch_add(1, Ordering::Relaxed);
        thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}
