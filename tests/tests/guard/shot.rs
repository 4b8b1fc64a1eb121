//! What is sent, and how it is known again when it arrives: by what the packet carries, because a
//! router writes the headers anew and a reassembly joins the pieces.

use netns_fixtures::packet::{Body, Frame, Payload};

/// A message as one frame, or as several that only together are the message.
#[derive(Clone, Debug)]
pub(crate) struct Shot {
    pub(crate) frames: Vec<Vec<u8>>,
    traces: Vec<Trace>,
}

/// Bytes to look for; a checksum, which a reader of the headers writes anew, matches anything.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    bytes: Vec<Option<u8>>,
}

impl From<Frame> for Shot {
    fn from(frame: Frame) -> Self {
        Self {
            frames: vec![frame.to_bytes()],
            traces: vec![Trace::of(&frame)],
        }
    }
}

impl Shot {
    /// Frames that are sent in this order and have all to arrive.
    pub(crate) fn pieces(frames: impl IntoIterator<Item = Frame>) -> Self {
        let frames: Vec<Frame> = frames.into_iter().collect();
        Self {
            frames: frames.iter().map(Frame::to_bytes).collect(),
            traces: frames.iter().map(Trace::of).collect(),
        }
    }

    /// The same frames, known by what another one carries: the one inside a tunnel or behind headers
    /// that the packet library does not write.
    pub(crate) fn known_by(self, inner: &Frame) -> Self {
        Self {
            traces: vec![Trace::of(inner)],
            ..self
        }
    }

    /// Bytes that the packet library does not write, known by all but the first 14.
    pub(crate) fn raw(bytes: Vec<u8>) -> Self {
        let trace = Trace {
            bytes: bytes[14..].iter().copied().map(Some).collect(),
        };
        Self {
            frames: vec![bytes],
            traces: vec![trace],
        }
    }

    /// Its frames in hexadecimal, one a line.
    pub(crate) fn dump(&self) -> String {
        let line = |frame: &Vec<u8>| {
            frame
                .iter()
                .fold(String::new(), |text, octet| text + &format!("{octet:02x}"))
        };
        self.frames.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    /// Whether these arrivals are the whole message.
    pub(crate) fn arrived(&self, arrivals: &[Vec<u8>]) -> bool {
        let seen = |trace: &Trace| arrivals.iter().any(|bytes| trace.is_in(bytes));
        self.traces.iter().all(seen)
    }
}

impl Trace {
    fn of(frame: &Frame) -> Self {
        let (payload, src, dst) = match &frame.body {
            Body::Ipv4(ip) => (&ip.payload, ip.src.into(), ip.dst.into()),
            Body::Ipv6(ip) => (&ip.payload, ip.src.into(), ip.dst.into()),
            Body::Arp(_) | Body::Other { .. } => {
                let head = 14 + 4 * frame.vlans.len();
                return Self::all(&frame.to_bytes()[head..]);
            }
        };
        let checksum = match payload {
            Payload::Udp(_) => 6,
            Payload::Tcp(_) => 16,
            Payload::Icmp(_) | Payload::Icmpv6(_) => 2,
            Payload::Other { bytes, .. } => return Self::all(bytes),
        };
        let mut trace = Self::all(&payload.to_bytes(src, dst));
        trace.bytes[checksum..checksum + 2].fill(None);
        trace
    }

    fn all(bytes: &[u8]) -> Self {
        Self {
            bytes: bytes.iter().copied().map(Some).collect(),
        }
    }

    fn is_in(&self, bytes: &[u8]) -> bool {
        let matches = |window: &[u8]| {
            let pairs = window.iter().zip(&self.bytes);
            pairs
                .into_iter()
                .all(|(byte, wanted)| wanted.is_none_or(|w| w == *byte))
        };
        bytes.windows(self.bytes.len()).any(matches)
    }
}
