//! Frames inside other things: 802.2 headers and tunnels.

use super::{Body, Frame, Udp};

/// The UDP port of VXLAN (RFC 7348 §5).
pub const VXLAN_PORT: u16 = 4789;

impl Frame {
    /// The same frame with its `EtherType` moved behind an 802.3 length and an LLC/SNAP header (RFC
    /// 1042), which most stacks read as the same packet (CVE-2021-27854).
    #[must_use]
    pub fn in_snap(&self) -> Self {
        let untagged = Self {
            vlans: Vec::new(),
            ..self.clone()
        };
        let inner = &untagged.to_bytes()[12..];
        let bytes = [&[0xaa, 0xaa, 0x03, 0, 0, 0], inner].concat();
        let length = u16::try_from(bytes.len()).expect("a frame of up to 64 KiB");
        Self {
            body: Body::Other {
                ethertype: length,
                bytes,
            },
            ..self.clone()
        }
    }
}

/// The datagram that carries `inner` in the VXLAN of this identifier (RFC 7348 §5).
#[must_use]
pub fn vxlan(vni: u32, src_port: u16, inner: &Frame) -> Udp {
    let mut data = vec![0x08, 0, 0, 0];
    data.extend((vni << 8).to_be_bytes());
    data.extend(inner.to_bytes());
    Udp {
        src_port,
        dst_port: VXLAN_PORT,
        data,
    }
}
