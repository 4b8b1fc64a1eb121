//! A packet as `nf_tables` sees it: where its headers are, which protocol it carries.

use bulkhead_model::IfName;

use crate::datum::Datum;
use crate::field::{Field, Load, PayloadBase};
use crate::table::TableFamily;

/// A packet at a hook.
///
/// A later fragment has no transport header, but kernels agree only for loads of 3 bytes or of more
/// than 4, and for those of 2 and 4 bytes at odd places: for the others `nft_payload_fast_eval`
/// (`net/netfilter/nf_tables_core.c`) has no such check in the kernels we run on (6.18 measured), and
/// reads the fragment's data as if it were a port or a type, if they lie in the buffer's first part. A
/// table that sees fragments must sort them out before it compares transport fields; what it does to
/// one otherwise is [undefined](crate::Undefined::Fragment).
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "what other parts of the kernel know of it, each on its own"
)]
pub struct Packet {
    bytes: Vec<u8>,
    /// Where the network header starts; 0 if there is no Ethernet header.
    network: usize,
    has_link: bool,
    /// `skb->protocol`, an `EtherType`.
    protocol: u16,
    transport: Option<Transport>,
    iif: Option<IfName>,
    oif: Option<IfName>,
    mark: u32,
    priority: u32,
    /// What it is to its connection.
    state: Datum,
    is_for_host: bool,
    is_routed_back: bool,
    is_translated: bool,
    came_sealed: bool,
    leaves_sealed: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Transport {
    protocol: u8,
    offset: usize,
    /// Not the first fragment: there is no transport header.
    is_later_fragment: bool,
}

impl Packet {
    /// An Ethernet frame as it arrives on `iif`. `None` if it is shorter than its header.
    ///
    /// As the kernel does before ingress (`__netif_receive_skb_core`), one VLAN tag is looked through:
    /// the protocol is the inner one, while link-layer loads still see the tag.
    #[must_use]
    pub fn frame(bytes: &[u8], iif: IfName) -> Option<Self> {
        let outer = be16(bytes, 12)?;
        let (protocol, network) = if matches!(outer, 0x8100 | 0x88a8) {
            (be16(bytes, 16)?, 18)
        } else {
            (outer, 14)
        };
        let mut packet = Self::at(bytes, network, protocol);
        packet.has_link = true;
        packet.iif = Some(iif);
        Some(packet)
    }

    /// An IPv4 or IPv6 packet without a link header. `None` if it is neither.
    #[must_use]
    pub fn ip(bytes: &[u8]) -> Option<Self> {
        let protocol = match bytes.first()? >> 4 {
            4 => 0x0800,
            6 => 0x86dd,
            _ => return None,
        };
        Some(Self::at(bytes, 0, protocol))
    }

    fn at(bytes: &[u8], network: usize, protocol: u16) -> Self {
        let transport = match protocol {
            0x0800 => ip4_transport(bytes, network),
            0x86dd => ip6_transport(bytes, network),
            _ => None,
        };
        Self {
            bytes: bytes.to_vec(),
            network,
            has_link: false,
            protocol,
            transport,
            iif: None,
            oif: None,
            mark: 0,
            priority: 0,
            state: Datum::NEW,
            is_for_host: false,
            is_routed_back: false,
            is_translated: false,
            came_sealed: false,
            leaves_sealed: false,
        }
    }

    /// The same packet, having arrived on `device`.
    #[must_use]
    pub fn arriving_on(self, device: IfName) -> Self {
        Self {
            iif: Some(device),
            ..self
        }
    }

    /// The same packet, about to leave by `device`.
    #[must_use]
    pub fn leaving_by(self, device: IfName) -> Self {
        Self {
            oif: Some(device),
            ..self
        }
    }

    /// The same packet with a mark.
    #[must_use]
    pub fn marked(self, mark: u32) -> Self {
        Self { mark, ..self }
    }

    /// The same packet with a priority.
    #[must_use]
    pub(crate) fn of_priority(self, priority: u32) -> Self {
        Self { priority, ..self }
    }

    /// The same packet, of a connection that both ends have sent packets of.
    #[must_use]
    pub fn established(self) -> Self {
        Self {
            state: Datum::ESTABLISHED,
            ..self
        }
    }

    /// The same packet, about another connection.
    #[must_use]
    pub fn related(self) -> Self {
        Self {
            state: Datum::RELATED,
            ..self
        }
    }

    /// The same packet, to an address of the host.
    #[must_use]
    pub fn for_host(self) -> Self {
        Self {
            is_for_host: true,
            ..self
        }
    }

    /// The same packet, from an address that is routed to the device it arrived on.
    #[must_use]
    pub fn routed_back(self) -> Self {
        Self {
            is_routed_back: true,
            ..self
        }
    }

    /// The same packet, of a connection whose destination was translated.
    #[must_use]
    pub fn translated(self) -> Self {
        Self {
            is_translated: true,
            ..self
        }
    }

    /// The same packet, as `IPsec` found it in what arrived.
    #[must_use]
    pub fn came_sealed(self) -> Self {
        Self {
            came_sealed: true,
            ..self
        }
    }

    /// The same packet, about to be transformed by `IPsec`.
    #[must_use]
    pub fn leaves_sealed(self) -> Self {
        Self {
            leaves_sealed: true,
            ..self
        }
    }

    /// The device it arrived on.
    #[must_use]
    pub const fn iif(&self) -> Option<IfName> {
        self.iif
    }

    /// Its mark.
    #[must_use]
    pub const fn mark(&self) -> u32 {
        self.mark
    }

    /// Whether chains of a table of that family see it.
    pub(crate) const fn is_seen_by(&self, family: TableFamily) -> bool {
        match family {
            TableFamily::Inet => matches!(self.protocol, 0x0800 | 0x86dd),
            TableFamily::Ip => self.protocol == 0x0800,
            TableFamily::Ip6 => self.protocol == 0x86dd,
            TableFamily::Arp => self.protocol == 0x0806,
            TableFamily::Bridge | TableFamily::Netdev => self.has_link,
        }
    }

    /// Whether the field is read by some kernels, as if this were no later fragment, and not by others
    /// (`nft_payload_select_ops`, `net/netfilter/nft_payload.c`).
    pub(crate) fn is_disputed(&self, field: Field) -> bool {
        let spec = field.spec();
        let Load::Payload {
            base: PayloadBase::Transport,
            offset,
        } = spec.load
        else {
            return false;
        };
        let len = spec.kind.len();
        matches!(len, 1 | 2 | 4)
            && usize::from(offset).is_multiple_of(len)
            && self.transport.is_some_and(|it| it.is_later_fragment)
    }

    /// The field's bytes; `None` where the kernel ends the rule (`NFT_BREAK`).
    pub(crate) fn load(&self, field: Field, family: TableFamily) -> Option<Vec<u8>> {
        let spec = field.spec();
        match spec.load {
            Load::Meta(_) => self.meta(field, family),
            Load::Ct(_) if field == Field::CtState => Some(self.state.bytes()),
            Load::Ct(_) if self.is_translated => Some(Datum::DST_NAT.bytes()),
            Load::Ct(_) => Some(Datum::CtStatus(0).bytes()),
            Load::FibDaddrType if self.is_for_host => Some(Datum::LOCAL.bytes()),
            // RTN_UNICAST: whatever else it is, it is not the host's.
            Load::FibDaddrType => Some(Datum::FibAddrType(1).bytes()),
            Load::Rt(_) => Some(Datum::Boolean(self.leaves_sealed).bytes()),
            Load::FibSaddrIif => Some(Datum::Boolean(self.is_routed_back).bytes()),
            Load::Payload { base, offset } => {
                let start = self.base(base)? + usize::from(offset);
                Some(self.bytes.get(start..start + spec.kind.len())?.to_vec())
            }
        }
    }

    fn base(&self, base: PayloadBase) -> Option<usize> {
        match base {
            PayloadBase::Link => self.has_link.then_some(0),
            PayloadBase::Network => Some(self.network),
            PayloadBase::Transport => self
                .transport
                .filter(|transport| !transport.is_later_fragment)
                .map(|transport| transport.offset),
        }
    }

    /// `nft_meta_get_eval` (`net/netfilter/nft_meta.c`): a missing device has an empty name, but no type.
    fn meta(&self, field: Field, family: TableFamily) -> Option<Vec<u8>> {
        let name =
            |device: Option<IfName>| device.map_or(vec![0; 16], |name| name.padded().to_vec());
        Some(match field {
            Field::Iifname => name(self.iif),
            Field::Oifname => name(self.oif),
            Field::Iiftype => {
                self.iif?;
                Datum::IfaceType(1).bytes()
            }
            Field::Mark => Datum::Mark(self.mark).bytes(),
            Field::Priority => Datum::ClassId(self.priority).bytes(),
            Field::MetaProtocol => self.protocol.to_be_bytes().to_vec(),
            Field::NfProto => vec![match family {
                TableFamily::Inet if self.protocol == 0x0800 => TableFamily::Ip.number(),
                TableFamily::Inet => TableFamily::Ip6.number(),
                other => other.number(),
            }],
            Field::L4Proto => vec![self.transport?.protocol],
            Field::MetaIpsec => Datum::Boolean(self.came_sealed).bytes(),
            _ => return None,
        })
    }
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

/// `__nft_set_pktinfo_ipv4_validate` (`include/net/netfilter/nf_tables_ipv4.h`).
fn ip4_transport(bytes: &[u8], network: usize) -> Option<Transport> {
    let header = bytes.get(network..network + 20)?;
    let header_len = usize::from(header[0] & 0x0f) * 4;
    let total = usize::from(be16(header, 2)?);
    if header[0] >> 4 != 4 || header_len < 20 || total < header_len || bytes.len() < network + total
    {
        return None;
    }
    Some(Transport {
        protocol: header[9],
        offset: network + header_len,
        is_later_fragment: be16(header, 6)? & 0x1fff != 0,
    })
}

/// `__nft_set_pktinfo_ipv6_validate` and `ipv6_find_hdr` with no target
/// (`net/ipv6/exthdrs_core.c`).
fn ip6_transport(bytes: &[u8], network: usize) -> Option<Transport> {
    let header = bytes.get(network..network + 40)?;
    if header[0] >> 4 != 6 || bytes.len() < network + 40 + usize::from(be16(header, 4)?) {
        return None;
    }
    let mut protocol = header[6];
    let mut offset = network + 40;
    while is_extension(protocol) && protocol != AUTHENTICATION {
        let (next, len) = (*bytes.get(offset)?, usize::from(*bytes.get(offset + 1)?));
        match protocol {
            FRAGMENT => {
                let is_later_fragment = be16(bytes, offset + 2)? & 0xfff8 != 0;
                if is_later_fragment {
                    return (!is_extension(next)).then_some(Transport {
                        protocol: next,
                        offset,
                        is_later_fragment,
                    });
                }
                offset += 8;
            }
            _ => offset += (len + 1) * 8,
        }
        protocol = next;
    }
    Some(Transport {
        protocol,
        offset,
        is_later_fragment: false,
    })
}

/// Where `nf_tables` stops walking (`IP6_FH_F_AUTH`): to a rule it is the transport protocol.
const AUTHENTICATION: u8 = 51;
const FRAGMENT: u8 = 44;

/// Extension headers (`ipv6_ext_hdr`, without "no next header").
const fn is_extension(protocol: u8) -> bool {
    matches!(protocol, 0 | 43 | FRAGMENT | AUTHENTICATION | 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip6(next: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x60, 0, 0, 0, 0, 0, next, 64];
        bytes[5] = u8::try_from(payload.len()).unwrap();
        bytes.extend([0; 32]);
        bytes.extend(payload);
        bytes
    }

    fn l4(bytes: &[u8]) -> Option<Vec<u8>> {
        Packet::ip(bytes)?.load(Field::L4Proto, TableFamily::Inet)
    }

    #[test]
    fn extension_headers_are_walked_and_later_fragments_have_no_transport_header() {
        let options = ip6(0, &[58, 0, 5, 2, 0, 0, 0, 0, 134, 0]);
        assert_eq!(l4(&options), Some(vec![58]));
        let kind = Packet::ip(&options)
            .unwrap()
            .load(Field::Icmp6Type, TableFamily::Inet);
        assert_eq!(kind, Some(vec![134]));

        let later = ip6(44, &[58, 0, 0, 8, 0, 0, 0, 0, 134, 0]);
        assert_eq!(l4(&later), Some(vec![58]));
        let packet = Packet::ip(&later).unwrap();
        assert_eq!(packet.load(Field::Icmp6Type, TableFamily::Inet), None);

        let hidden = ip6(44, &[60, 0, 0, 8, 0, 0, 0, 0, 134, 0]);
        assert_eq!(l4(&hidden), None);
    }

    #[test]
    fn a_tag_hides_the_ethertype_from_link_loads_only() {
        let mut frame = vec![0xff; 12];
        frame.extend([0x81, 0, 0, 0, 0x08, 0x06, 0, 1]);
        let packet = Packet::frame(&frame, "v0".parse().unwrap()).unwrap();
        let load = |field| packet.load(field, TableFamily::Netdev);
        assert_eq!(load(Field::EtherType), Some(vec![0x81, 0]));
        assert_eq!(load(Field::MetaProtocol), Some(vec![8, 6]));
        assert_eq!(load(Field::ArpHtype), Some(vec![0, 1]));
    }

    #[test]
    fn a_lying_length_means_no_transport() {
        let mut bytes = vec![0x45, 0, 0, 21, 0, 0, 0, 0, 64, 17, 0, 0];
        bytes.extend([0; 8]);
        assert_eq!(l4(&bytes), None);
        bytes[3] = 20;
        assert_eq!(l4(&bytes), Some(vec![17]));
    }
}
