//! Netlink framing (RFC 3549, `linux/netlink.h`, `linux/netfilter/nfnetlink.h`): messages and
//! attributes, written and read. No socket.

/// `NLMSG_ERROR`: an acknowledgement if its errno is 0.
pub(crate) const NLMSG_ERROR: u16 = 2;
pub(crate) const NLMSG_DONE: u16 = 3;
pub(crate) const NLM_F_REQUEST: u16 = 0x1;
pub(crate) const NLM_F_ACK: u16 = 0x4;
pub(crate) const NLM_F_DUMP: u16 = 0x300;
pub(crate) const NLM_F_EXCL: u16 = 0x200;
pub(crate) const NLM_F_CREATE: u16 = 0x400;
pub(crate) const NLM_F_APPEND: u16 = 0x800;
pub(crate) const NFNL_SUBSYS_NFTABLES: u16 = 10;

const HEADER: usize = 16;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLM_F_CAPPED: u16 = 0x100;
const NLM_F_ACK_TLVS: u16 = 0x200;
const NLMSGERR_ATTR_MSG: u16 = 1;
const NLA_F_NESTED: u16 = 0x8000;
const NLA_TYPE_MASK: u16 = 0x3fff;

/// One message's head, apart from the length.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) seq: u32,
    pub(crate) family: u8,
    pub(crate) resource: u16,
}

impl Head {
    /// A message of the `nf_tables` subsystem.
    pub(crate) const fn nft(kind: u16, flags: u16, seq: u32, family: u8) -> Self {
        Self {
            kind: NFNL_SUBSYS_NFTABLES << 8 | kind,
            flags: NLM_F_REQUEST | flags,
            seq,
            family,
            resource: 0,
        }
    }
}

/// Appends one message to `out`.
pub(crate) fn message(out: &mut Vec<u8>, head: Head, body: impl FnOnce(&mut Attributes<'_>)) {
    let start = out.len();
    out.extend([0; 4]);
    out.extend(head.kind.to_ne_bytes());
    out.extend(head.flags.to_ne_bytes());
    out.extend(head.seq.to_ne_bytes());
    out.extend([0; 4]);
    out.extend([head.family, 0]);
    out.extend(head.resource.to_be_bytes());
    body(&mut Attributes(out));
    let len = u32::try_from(out.len() - start).expect("attributes are bounded by 64 KiB each");
    out[start..start + 4].copy_from_slice(&len.to_ne_bytes());
}

/// Appends attributes, each padded to 4 bytes.
pub(crate) struct Attributes<'a>(&'a mut Vec<u8>);

impl Attributes<'_> {
    pub(crate) fn bytes(&mut self, kind: u16, value: &[u8]) {
        let len = u16::try_from(value.len() + 4).expect("callers split what could exceed 64 KiB");
        self.0.extend(len.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.pad();
    }

    pub(crate) fn string(&mut self, kind: u16, value: &str) {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.bytes(kind, &bytes);
    }

    pub(crate) fn u32(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    pub(crate) fn nest(&mut self, kind: u16, body: impl FnOnce(&mut Attributes<'_>)) {
        let start = self.0.len();
        self.0.extend([0; 2]);
        self.0.extend((kind | NLA_F_NESTED).to_ne_bytes());
        body(&mut Attributes(self.0));
        let len =
            u16::try_from(self.0.len() - start).expect("callers split what could exceed 64 KiB");
        self.0[start..start + 2].copy_from_slice(&len.to_ne_bytes());
    }

    /// Attributes that were written elsewhere with the same rules.
    pub(crate) fn splice(&mut self, attributes: &[u8]) {
        self.0.extend(attributes);
    }

    fn pad(&mut self) {
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }
}

/// Attributes written on their own, to be spliced.
pub(crate) fn attributes(body: impl FnOnce(&mut Attributes<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    body(&mut Attributes(&mut out));
    out
}

/// One received message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Received<'a> {
    /// `nlmsg_type`.
    pub kind: u16,
    /// `nlmsg_flags`.
    pub flags: u16,
    /// `nlmsg_seq`: that of the request answered.
    pub seq: u32,
    /// What follows the 16-byte header.
    pub payload: &'a [u8],
}

/// What a received message is in the answer to a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Reply<'a> {
    /// An object; the payload goes to a decoder of [`crate::observe`].
    Object(&'a [u8]),
    /// The end of a dump, or the acknowledgement of a request.
    Done,
    /// The request was refused.
    Refused(Errno),
}

/// A refusal by the kernel.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Errno {
    /// Positive (`errno.h`).
    pub code: i32,
    /// The kernel's own words, if it had any.
    pub message: Option<String>,
}

impl<'a> Received<'a> {
    /// Whether the dump this belongs to was disturbed by a commit: it must be asked for again.
    #[must_use]
    pub const fn is_interrupted(&self) -> bool {
        self.flags & NLM_F_DUMP_INTR != 0
    }

    /// What this message says.
    #[must_use]
    pub fn reply(&self) -> Reply<'a> {
        match self.kind {
            NLMSG_DONE => Reply::Done,
            NLMSG_ERROR => match self.error() {
                Some(errno) => Reply::Refused(errno),
                None => Reply::Done,
            },
            _ => Reply::Object(self.payload),
        }
    }

    fn error(&self) -> Option<Errno> {
        let code = i32::from_ne_bytes(self.payload.get(..4)?.try_into().ok()?);
        let mut tail = 4 + HEADER;
        if self.flags & NLM_F_CAPPED == 0 {
            let len = self.payload.get(4..8)?.try_into().ok()?;
            let len = usize::try_from(u32::from_ne_bytes(len)).ok()?;
            tail = 4 + len.next_multiple_of(4);
        }
        let message = (self.flags & NLM_F_ACK_TLVS != 0)
            .then(|| find(self.payload.get(tail..)?, NLMSGERR_ATTR_MSG).map(text))
            .flatten();
        (code != 0).then_some(Errno {
            code: code.saturating_neg(),
            message,
        })
    }
}

/// The messages in what one `recv` returned; stops at the first malformed one.
pub fn received(mut bytes: &[u8]) -> impl Iterator<Item = Received<'_>> {
    std::iter::from_fn(move || {
        let len = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?);
        let len = usize::try_from(len).ok().filter(|len| *len >= HEADER)?;
        let head = bytes.get(..HEADER)?;
        let message = Received {
            kind: u16::from_ne_bytes([head[4], head[5]]),
            flags: u16::from_ne_bytes([head[6], head[7]]),
            seq: u32::from_ne_bytes([head[8], head[9], head[10], head[11]]),
            payload: bytes.get(HEADER..len)?,
        };
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

/// The attributes in `bytes`, type without flags; stops at the first malformed one.
pub(crate) fn attributes_of(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let head = bytes.get(..4)?;
        let len = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let kind = u16::from_ne_bytes([head[2], head[3]]) & NLA_TYPE_MASK;
        let value = bytes.get(4..len)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The first attribute of that type.
pub(crate) fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes_of(bytes).find_map(|(of, value)| (of == kind).then_some(value))
}

/// A big-endian number.
pub(crate) fn number(value: &[u8]) -> Option<u32> {
    value.try_into().map(u32::from_be_bytes).ok()
}

/// A NUL-terminated text.
pub(crate) fn text(value: &[u8]) -> String {
    let end = value.iter().position(|b| *b == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_nested_and_read_back() {
        let bytes = attributes(|a| {
            a.string(1, "abc");
            a.nest(2, |b| b.u32(7, 0x0102_0304));
            a.bytes(3, &[9]);
        });
        assert_eq!(bytes.len(), 8 + 12 + 8);
        assert_eq!(find(&bytes, 1).map(text), Some("abc".to_owned()));
        let nested = find(&bytes, 2).and_then(|inner| find(inner, 7));
        assert_eq!(nested.and_then(number), Some(0x0102_0304));
        assert_eq!(find(&bytes, 3), Some([9].as_slice()));
    }

    #[test]
    fn a_truncated_or_lying_message_ends_the_iteration() {
        let mut out = Vec::new();
        message(&mut out, Head::nft(1, 0, 5, 2), |a| a.u32(1, 1));
        assert_eq!(received(&out).count(), 1);
        for cut in 0..out.len() {
            assert_eq!(received(&out[..cut]).count(), 0, "{cut}");
        }
        out[0] = 3;
        assert_eq!(received(&out).count(), 0);
    }
}
