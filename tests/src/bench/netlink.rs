//! The messages of the floor, and a socket to send them on. Written apart from the product's, so
//! that the floor does not sink with it.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope,
};
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoData, InfoKind, InfoVeth, LinkAttribute,
    LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

/// `RTMGRP_LINK` (linux/rtnetlink.h).
const LINK_GROUP: u32 = 1;
const BUFFER: usize = 64 << 10;

/// A request with the flags that its kind needs.
pub(crate) type Request = (RouteNetlinkMessage, u16);

/// A blocking rtnetlink socket of the namespace it was opened in.
#[derive(Debug)]
pub(crate) struct Rtnetlink {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Rtnetlink {
    pub(crate) fn open() -> io::Result<Self> {
        Self::bound(0)
    }

    /// One that hears of links. Bound before anything happens: an unbound socket misses what port 0
    /// causes.
    pub(crate) fn listening() -> io::Result<Self> {
        Self::bound(LINK_GROUP)
    }

    fn bound(groups: u32) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        // A burst of deletions is many messages: the default buffer overruns (ENOBUFS).
        rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, 4 << 20)?;
        socket.bind(&SocketAddr::new(0, groups))?;
        Ok(Self {
            socket,
            sequence: 0,
            buffer: vec![0; BUFFER],
        })
    }

    /// Sends `requests` in one piece and reads every answer.
    pub(crate) fn send(&mut self, requests: Vec<Request>) -> io::Result<()> {
        let mut bytes = Vec::new();
        let count = requests.len();
        for (request, flags) in requests {
            self.sequence += 1;
            let mut message = NetlinkMessage::from(request);
            message.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
            message.header.sequence_number = self.sequence;
            message.finalize();
            let at = bytes.len();
            bytes.resize(at + message.buffer_len(), 0);
            message.serialize(&mut bytes[at..]);
        }
        self.socket.send(&bytes, 0)?;
        let mut answers = 0;
        while answers < count {
            for message in self.receive()? {
                if let NetlinkPayload::Error(answer) = message.payload {
                    answers += 1;
                    if answer.code.is_some() {
                        return Err(answer.to_io());
                    }
                }
            }
        }
        Ok(())
    }

    /// Waits for the `RTM_DELLINK` of `index`; a bridge's notice that a port left is another family.
    pub(crate) fn wait_for_deletion(&mut self, index: u32) -> io::Result<()> {
        loop {
            let gone = self.receive()?.into_iter().any(|message| {
                matches!(
                    message.payload,
                    NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(link))
                        if link.header.index == index
                            && link.header.interface_family == AddressFamily::Unspec
                )
            });
            if gone {
                return Ok(());
            }
        }
    }

    fn receive(&mut self) -> io::Result<Vec<NetlinkMessage<RouteNetlinkMessage>>> {
        let length = self.socket.recv(&mut self.buffer.as_mut_slice(), 0)?;
        let mut rest = &self.buffer[..length];
        let mut messages = Vec::new();
        while !rest.is_empty() {
            let message = NetlinkMessage::deserialize(rest).map_err(io::Error::other)?;
            let taken = usize::try_from(message.header.length).unwrap_or(rest.len());
            messages.push(message);
            // Messages begin at multiples of four (NLMSG_ALIGN).
            rest = rest.get(taken.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(messages)
    }
}

/// Both ends in one message, each in its place; the port on the bridge and up. The other end must
/// not be up yet: the pair is not joined when it is made (ENOTCONN).
pub(crate) fn new_veth(
    port: u32,
    bridge: u32,
    interface: &str,
    peer: u32,
    ns: BorrowedFd<'_>,
) -> Request {
    let mut inside = LinkMessage::default();
    inside.header.index = peer;
    inside.attributes = one_queue();
    inside.attributes.extend([
        LinkAttribute::IfName(interface.to_owned()),
        LinkAttribute::NetNsFd(ns.as_raw_fd()),
    ]);
    let mut link = LinkMessage::default();
    link.header.index = port;
    link.header.flags = LinkFlags::Up;
    link.header.change_mask = LinkFlags::Up;
    link.attributes = one_queue();
    link.attributes.extend([
        LinkAttribute::IfName(format!("port{port}")),
        LinkAttribute::Controller(bridge),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(inside))),
        ]),
    ]);
    (
        RouteNetlinkMessage::NewLink(link),
        NLM_F_CREATE | NLM_F_EXCL,
    )
}

fn one_queue() -> Vec<LinkAttribute> {
    vec![
        LinkAttribute::Mtu(1500),
        LinkAttribute::NumTxQueues(1),
        LinkAttribute::NumRxQueues(1),
    ]
}

pub(crate) fn del_link(index: u32) -> Request {
    let mut link = LinkMessage::default();
    link.header.index = index;
    (RouteNetlinkMessage::DelLink(link), 0)
}

/// No link-local address forms when the link comes up. A message of its own: in one message the
/// kernel brings the link up first.
pub(crate) fn no_autoconfiguration(index: u32) -> Request {
    let mut link = LinkMessage::default();
    link.header.index = index;
    let mode = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
    let spec = AfSpecUnspec::Inet6(vec![mode]);
    link.attributes
        .push(LinkAttribute::AfSpecUnspec(vec![spec]));
    (RouteNetlinkMessage::SetLink(link), 0)
}

pub(crate) fn set_up(index: u32) -> Request {
    let mut link = LinkMessage::default();
    link.header.index = index;
    link.header.flags = LinkFlags::Up;
    link.header.change_mask = LinkFlags::Up;
    (RouteNetlinkMessage::SetLink(link), 0)
}

pub(crate) fn new_address(index: u32, address: IpAddr, prefix_len: u8) -> Request {
    let mut message = AddressMessage::default();
    message.header.family = family(address);
    message.header.prefix_len = prefix_len;
    message.header.index = index;
    message.header.scope = AddressScope::Universe;
    message.header.flags = AddressHeaderFlags::empty();
    message.attributes = vec![
        AddressAttribute::Local(address),
        AddressAttribute::Address(address),
        AddressAttribute::Flags(AddressFlags::Nodad),
    ];
    (
        RouteNetlinkMessage::NewAddress(message),
        NLM_F_CREATE | NLM_F_EXCL,
    )
}

pub(crate) fn default_route(index: u32, gateway: IpAddr) -> Request {
    let mut message = RouteMessage::default();
    message.header.address_family = family(gateway);
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Static;
    message.header.scope = RouteScope::Universe;
    message.header.kind = RouteType::Unicast;
    message.attributes = vec![
        RouteAttribute::Gateway(RouteAddress::from(gateway)),
        RouteAttribute::Oif(index),
    ];
    (
        RouteNetlinkMessage::NewRoute(message),
        NLM_F_CREATE | NLM_F_EXCL,
    )
}

fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}
