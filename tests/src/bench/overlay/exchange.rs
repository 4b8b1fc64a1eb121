//! What goes over a way: a stream, and requests with their answers.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use netns_fixtures::Ns;

/// What is written at once, in bytes.
const PIECE: usize = 128 << 10;
/// Exchanges before the first that counts.
const WARM_UP: usize = 50;

/// Bits a second that arrive of one stream that lasts so long.
pub(super) fn stream(client: &Ns, server: &Ns, to: IpAddr, lasts: Duration) -> io::Result<f64> {
    let (sender, receiver) = connected(client, server, to, lasts + Duration::from_secs(20))?;
    let receiving = thread::spawn(move || received(receiver));
    sent(sender, lasts)?;
    let (bytes, took) = receiving
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    #[allow(clippy::cast_precision_loss)] // a rate for people
    Ok(bytes as f64 * 8.0 / took.as_secs_f64())
}

fn sent(mut sender: TcpStream, lasts: Duration) -> io::Result<()> {
    let piece = vec![0x62; PIECE];
    let until = Instant::now() + lasts;
    while Instant::now() < until {
        sender.write_all(&piece)?;
    }
    Ok(())
}

/// How much arrived, and from the first byte to the last how long it took.
fn received(mut receiver: TcpStream) -> io::Result<(u64, Duration)> {
    let mut buffer = vec![0; PIECE];
    let mut bytes = 0;
    let mut began = None;
    loop {
        let length = receiver.read(&mut buffer)?;
        let began = *began.get_or_insert_with(Instant::now);
        if length == 0 {
            return Ok((bytes, began.elapsed()));
        }
        bytes += u64::try_from(length).expect("a buffer's length");
    }
}

/// A connection over which bytes are answered.
pub(super) struct Exchange {
    client: TcpStream,
    answering: thread::JoinHandle<()>,
}

impl Exchange {
    pub(super) fn open(client: &Ns, server: &Ns, to: IpAddr, limit: Duration) -> io::Result<Self> {
        let (client, mut server) = connected(client, server, to, limit)?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let answering = thread::spawn(move || {
            let mut byte = [0];
            // The client goes away at its end.
            while server.read_exact(&mut byte).is_ok() && server.write_all(&byte).is_ok() {}
        });
        Ok(Self { client, answering })
    }

    /// So many requests, one after another, and how long each took.
    pub(super) fn repeat(mut self, times: usize) -> io::Result<Vec<Duration>> {
        let mut latencies = Vec::with_capacity(times);
        let mut byte = [0x62];
        for nth in 0..WARM_UP + times {
            let began = Instant::now();
            self.client.write_all(&byte)?;
            self.client.read_exact(&mut byte)?;
            if nth >= WARM_UP {
                latencies.push(began.elapsed());
            }
        }
        drop(self.client);
        drop(self.answering.join());
        Ok(latencies)
    }
}

/// Both ends of a connection.
fn connected(
    client: &Ns,
    server: &Ns,
    to: IpAddr,
    limit: Duration,
) -> io::Result<(TcpStream, TcpStream)> {
    let listener = server.enter(|| TcpListener::bind(SocketAddr::new(to, 0)));
    let listener = listener.map_err(io::Error::other)??;
    let at = listener.local_addr()?;
    let connecting = client.clone();
    let connecting = thread::spawn(move || {
        connecting
            .enter(|| TcpStream::connect_timeout(&at, limit))
            .map_err(io::Error::other)?
    });
    let (accepted, _) = listener.accept()?;
    let connected = connecting
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    for end in [&accepted, &connected] {
        end.set_read_timeout(Some(limit))?;
        end.set_write_timeout(Some(limit))?;
    }
    Ok((connected, accepted))
}
