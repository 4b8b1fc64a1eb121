//! What the kernel tells of its changes, read by nothing of the product.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use bulkhead_model::Prefix;
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::neighbour::NeighbourState;
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

/// `RTMGRP_LINK`, `_NEIGH`, `_IPV4_IFADDR`, `_IPV4_ROUTE`, `_IPV6_IFADDR` and `_IPV6_ROUTE`
/// (`linux/rtnetlink.h`).
const GROUPS: u32 = 0x1 | 0x4 | 0x10 | 0x40 | 0x100 | 0x400;
/// Room for what thousands of nodes change at once, in bytes.
const ROOM: usize = 256 << 20;
/// How long to wait before it is looked again.
const PAUSE: Duration = Duration::from_micros(20);

/// A listener in the namespace that it was opened in.
#[derive(Debug)]
pub(super) struct Monitor {
    socket: Socket,
    buffer: Vec<u8>,
}

impl Monitor {
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, ROOM)?;
        socket.bind(&SocketAddr::new(0, GROUPS))?;
        socket.set_non_blocking(true)?;
        Ok(Self {
            socket,
            buffer: vec![0; 64 << 10],
        })
    }

    /// Waits until each of these destinations has got a route.
    pub(super) fn wait_for(
        &mut self,
        mut destinations: BTreeSet<Prefix>,
        limit: Duration,
    ) -> io::Result<()> {
        let until = Instant::now() + limit;
        while !destinations.is_empty() {
            for to in self.routes(until)? {
                destinations.remove(&to);
            }
        }
        Ok(())
    }

    /// Waits until so many routes have come.
    pub(super) fn wait_for_count(&mut self, count: usize, limit: Duration) -> io::Result<()> {
        let until = Instant::now() + limit;
        let mut seen = BTreeSet::new();
        while seen.len() < count {
            seen.extend(self.routes(until)?);
        }
        Ok(())
    }

    /// Forgets what was told so far.
    pub(super) fn forget(&mut self) {
        while matches!(self.messages(), Ok(Some(_))) {}
    }

    /// How many changes were told since, each also on standard error. Neighbours that the kernel asks for by
    /// itself, on other links than `device`, and its entries for groups are none.
    pub(super) fn pending(&mut self, device: u32) -> io::Result<usize> {
        let mut count = 0;
        while let Some(messages) = self.messages()? {
            for message in messages.iter().filter(|it| !is_the_kernels(it, device)) {
                eprintln!("  changed: {:?}", message.payload);
                count += 1;
            }
        }
        Ok(count)
    }

    /// Destinations of the routes of ours that came next.
    fn routes(&mut self, until: Instant) -> io::Result<Vec<Prefix>> {
        loop {
            if let Some(messages) = self.messages()? {
                let new = messages
                    .iter()
                    .filter_map(|message| match &message.payload {
                        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewRoute(route)) => {
                            destination(route)
                        }
                        _ => None,
                    });
                return Ok(new.collect());
            }
            if Instant::now() > until {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the kernel tells of no more routes",
                ));
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// What one datagram has; `None` if there is none.
    fn messages(&mut self) -> io::Result<Option<Vec<NetlinkMessage<RouteNetlinkMessage>>>> {
        let length = match self.socket.recv(&mut self.buffer.as_mut_slice(), 0) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            length => length?,
        };
        let mut messages = Vec::new();
        let mut at = 0;
        while at < length {
            let message = NetlinkMessage::deserialize(&self.buffer[at..length]);
            let message: NetlinkMessage<RouteNetlinkMessage> = message.map_err(io::Error::other)?;
            // NLMSG_ALIGN (linux/netlink.h).
            at += (message.header.length as usize).next_multiple_of(4).max(4);
            messages.push(message);
        }
        Ok(Some(messages))
    }
}

fn is_the_kernels(message: &NetlinkMessage<RouteNetlinkMessage>, device: u32) -> bool {
    let NetlinkPayload::InnerMessage(
        RouteNetlinkMessage::NewNeighbour(neighbour) | RouteNetlinkMessage::DelNeighbour(neighbour),
    ) = &message.payload
    else {
        return false;
    };
    neighbour.header.ifindex != device || neighbour.header.state == NeighbourState::Noarp
}

fn destination(route: &RouteMessage) -> Option<Prefix> {
    let to = route
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(v4)) => Some(IpAddr::V4(*v4)),
            RouteAttribute::Destination(RouteAddress::Inet6(v6)) => Some(IpAddr::V6(*v6)),
            _ => None,
        })?;
    Prefix::new(to, route.header.destination_prefix_length)
}
