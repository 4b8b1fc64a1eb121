//! The two sockets of the node's namespace: raw `ICMPv6` for solicitations, of all ports in one, and UDP
//! for `DHCPv6`. Ports are known by the name of the link that a message came in on, so that one that is
//! made anew is the same.

use std::collections::HashMap;
use std::io::{self, IoSliceMut};
use std::net::{Ipv6Addr, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};

use bulkhead_model::IfName;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrIn6, recvmsg, setsockopt, sockopt as nix_sockopt,
};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, ipproto, netdevice,
    recvfrom, sendto, socket_with, sockopt,
};
use socket2::{SockFilter, SockRef};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::dhcpv6::{CLIENT_PORT, SERVER_PORT, SERVERS};
use super::message::{ONE_HOP, SOLICITATION};

/// Longest message that is read whole; what asks is far shorter.
const LONGEST: usize = 1500;

/// Memberships of one socket. The kernel keeps what they take within `net.core.optmem_max`, which was
/// 20 KiB before Linux 6.9.
const MOST_MEMBERSHIPS: usize = 128;

/// A message, and where it came from.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) port: IfName,
    pub(super) source: Ipv6Addr,
    pub(super) hop_limit: Option<u8>,
    pub(super) message: Vec<u8>,
}

/// Everything that is told to the node as a router. To whoever waits for it a raw socket is one of
/// datagrams.
#[derive(Debug)]
pub(super) struct Raw(UdpSocket);

/// What is asked of it by `DHCPv6`.
#[derive(Debug)]
pub(super) struct Udp(UdpSocket);

/// The groups of ports that the node is in because of us.
#[derive(Debug, Default)]
pub(super) struct Groups {
    /// By port: its index, and which socket is the member.
    joined: HashMap<IfName, (u32, usize)>,
    members: Vec<(OwnedFd, usize)>,
}

impl Raw {
    /// Solicitations alone are let in. A router is in `ff02::2` of its links anyway (`dev_forward_change`,
    /// `net/ipv6/addrconf.c`), and a socket gets what any group of the link gets (`IPV6_MULTICAST_ALL`,
    /// which is on).
    pub(super) fn open() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let protocol = Some(ipproto::ICMPV6);
        let socket = socket_with(AddressFamily::INET6, SocketType::RAW, flags, protocol)?;
        // linux/filter.h: load the message's first byte; keep it whole if it is the one, else nothing.
        SockRef::from(&socket).attach_filter(&[
            SockFilter::new(0x30, 0, 0, 0),
            SockFilter::new(0x15, 0, 1, SOLICITATION.into()),
            SockFilter::new(0x06, 0, 0, u32::MAX),
            SockFilter::new(0x06, 0, 0, 0),
        ])?;
        setsockopt(&socket, nix_sockopt::Ipv6RecvPacketInfo, &true)?;
        setsockopt(&socket, nix_sockopt::Ipv6RecvHopLimit, &true)?;
        sockopt::set_ipv6_unicast_hops(&socket, Some(ONE_HOP))?;
        sockopt::set_ipv6_multicast_hops(&socket, ONE_HOP.into())?;
        sockopt::set_ipv6_multicast_loop(&socket, false)?;
        UdpSocket::from_std(socket.into()).map(Self)
    }

    /// Waits until there is one.
    pub(super) async fn readable(&self) -> io::Result<()> {
        self.0.readable().await
    }

    /// The next one; `None` if it came in on a link that is gone.
    pub(super) fn receive(&self) -> io::Result<Option<Received>> {
        self.0.try_io(Interest::READABLE, || self.read())
    }

    fn read(&self) -> io::Result<Option<Received>> {
        let mut message = vec![0; LONGEST];
        let mut said = nix::cmsg_space!(nix::libc::in6_pktinfo, nix::libc::c_int);
        let (length, source, index, hop_limit) = {
            let mut buffers = [IoSliceMut::new(&mut message)];
            let flags = MsgFlags::MSG_DONTWAIT;
            let read =
                recvmsg::<SockaddrIn6>(self.0.as_raw_fd(), &mut buffers, Some(&mut said), flags)?;
            let (mut index, mut hop_limit) = (0_u32, None);
            for said in read.cmsgs()? {
                match said {
                    ControlMessageOwned::Ipv6PacketInfo(info) => index = info.ipi6_ifindex,
                    ControlMessageOwned::Ipv6HopLimit(limit) => {
                        hop_limit = u8::try_from(limit).ok();
                    }
                    _ => {}
                }
            }
            let source = read.address.map(|address| address.ip());
            (read.bytes, source, index, hop_limit)
        };
        message.truncate(length);
        let received = |port| Received {
            port,
            source: source.unwrap_or(Ipv6Addr::UNSPECIFIED),
            hop_limit,
            message,
        };
        Ok(name(&self.0, index).map(received))
    }

    /// Sends an advertisement out of a port, from the one address that it has.
    pub(super) fn send(&self, port: IfName, to: Ipv6Addr, message: &[u8]) -> io::Result<()> {
        send(&self.0, port, to, 0, message)
    }
}

impl Udp {
    /// Beside a server of somebody else's: what is sent to the group, both get.
    pub(super) fn open() -> io::Result<Self> {
        let socket = datagrams()?;
        sockopt::set_ipv6_v6only(&socket, true)?;
        sockopt::set_socket_reuseaddr(&socket, true)?;
        let any = SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, SERVER_PORT, 0, 0);
        bind(&socket, &any)?;
        UdpSocket::from_std(socket.into()).map(Self)
    }

    /// Waits until there is one.
    pub(super) async fn readable(&self) -> io::Result<()> {
        self.0.readable().await
    }

    /// The next one; `None` if it is from no link-local address, by which its port is known.
    pub(super) fn receive(&self) -> io::Result<Option<Received>> {
        self.0.try_io(Interest::READABLE, || self.read())
    }

    fn read(&self) -> io::Result<Option<Received>> {
        let mut message = vec![0; LONGEST];
        let (_, length, source) = recvfrom(&self.0, &mut message[..], RecvFlags::DONTWAIT)?;
        message.truncate(length);
        let source = source.and_then(|source| SocketAddrV6::try_from(source).ok());
        let Some(source) = source.filter(|source| source.ip().is_unicast_link_local()) else {
            return Ok(None);
        };
        let received = |port| Received {
            port,
            source: *source.ip(),
            hop_limit: None,
            message,
        };
        Ok(name(&self.0, source.scope_id()).map(received))
    }

    /// Sends an answer out of a port.
    pub(super) fn send(&self, port: IfName, to: Ipv6Addr, message: &[u8]) -> io::Result<()> {
        send(&self.0, port, to, CLIENT_PORT, message)
    }
}

impl Groups {
    /// Makes the node a member of the servers' group on these ports, and on no others.
    pub(super) fn set(&mut self, socket: &Udp, ports: &[IfName]) -> io::Result<()> {
        let standing: HashMap<IfName, u32> = ports
            .iter()
            .filter_map(|port| Some((*port, index(&socket.0, *port)?)))
            .collect();
        let gone = self.joined.iter();
        let gone = gone.filter(|(port, (index, _))| standing.get(*port) != Some(index));
        for port in gone.map(|(port, _)| *port).collect::<Vec<_>>() {
            self.leave(port);
        }
        for (port, index) in standing {
            if !self.joined.contains_key(&port) {
                self.join(port, index)?;
            }
        }
        Ok(())
    }

    fn join(&mut self, port: IfName, index: u32) -> io::Result<()> {
        let free = self
            .members
            .iter()
            .position(|(_, held)| *held < MOST_MEMBERSHIPS);
        let nth = if let Some(nth) = free {
            nth
        } else {
            self.members.push((datagrams()?, 0));
            self.members.len() - 1
        };
        let (member, held) = &mut self.members[nth];
        match sockopt::set_ipv6_add_membership(&*member, &SERVERS, index) {
            Ok(()) => {}
            // It went away meanwhile.
            Err(rustix::io::Errno::NODEV) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        *held += 1;
        self.joined.insert(port, (index, nth));
        Ok(())
    }

    fn leave(&mut self, port: IfName) {
        let Some((index, nth)) = self.joined.remove(&port) else {
            return;
        };
        let (member, held) = &mut self.members[nth];
        // Of a link that is gone the socket still has an entry.
        let _ = sockopt::set_ipv6_drop_membership(&*member, &SERVERS, index);
        *held -= 1;
    }
}

fn datagrams() -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(AddressFamily::INET6, SocketType::DGRAM, flags, None)
}

fn name(socket: &UdpSocket, index: u32) -> Option<IfName> {
    let name = netdevice::index_to_name_inlined(socket, index).ok()?;
    name.as_str().parse().ok()
}

fn index(socket: &UdpSocket, port: IfName) -> Option<u32> {
    netdevice::name_to_index(socket, port.as_str()).ok()
}

fn send(
    socket: &UdpSocket,
    port: IfName,
    to: Ipv6Addr,
    number: u16,
    message: &[u8],
) -> io::Result<()> {
    let index = netdevice::name_to_index(socket, port.as_str())?;
    let to = SocketAddrV6::new(to, number, 0, index);
    sendto(socket, message, SendFlags::DONTWAIT, &to)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use netns_fixtures::{Host, Sandbox};
    use tokio::runtime::Builder;

    use super::*;

    /// More than one socket's.
    const PORTS: usize = MOST_MEMBERSHIPS + 2;

    fn name_of(nth: usize) -> IfName {
        format!("bhp{nth}").parse().unwrap()
    }

    fn made(host: &Host, ports: impl Iterator<Item = usize>) {
        let lines: Vec<_> = ports
            .map(|nth| format!("link add {} type bridge", name_of(nth)))
            .collect();
        host.ip_batch(&lines).unwrap();
    }

    /// How many links of the namespace are in the servers' group.
    fn members(host: &Host) -> usize {
        let groups = host.sh("ip -6 maddr show").unwrap();
        groups.matches("ff02::1:2").count()
    }

    #[test]
    fn the_node_is_a_member_on_the_ports_that_stand_alone() {
        let sandbox = Sandbox::new();
        let host = sandbox.host("node").unwrap();
        made(&host, 0..PORTS);
        let all: Vec<_> = (0..=PORTS).map(name_of).collect();
        let runtime = || Builder::new_current_thread().enable_all().build().unwrap();
        host.enter(|| {
            runtime().block_on(async {
                let socket = Udp::open().unwrap();
                let mut groups = Groups::default();
                groups.set(&socket, &all).unwrap();
                assert_eq!(members(&host), PORTS, "one of them does not stand");
                groups.set(&socket, &all[..2]).unwrap();
                assert_eq!(members(&host), 2);
                let anew = "link del bhp0";
                host.ip(anew).unwrap();
                made(&host, 0..1);
                assert_eq!(members(&host), 1, "a link takes its groups with it");
                groups.set(&socket, &all[..2]).unwrap();
                assert_eq!(members(&host), 2);
                groups.set(&socket, &[]).unwrap();
                assert_eq!(members(&host), 0);
                assert_eq!(groups.members.len(), 2);
            });
        })
        .unwrap();
    }
}
