//! What changes in the kernel, heard as it happens: that something did and on which links, never what.
//! Whoever listens looks for himself, so that nothing depends on what was heard, or in which order.

use std::collections::BTreeSet;
use std::time::Duration;

use rustix::io::Errno;

use crate::attributes::{attributes, find, number};
use crate::error::NetlinkError;
use crate::socket::{Message, RTNLGRP_LINK, Socket};

/// `RTNLGRP_*` (`linux/rtnetlink.h`).
const RTNLGRP_NEIGH: u32 = 3;
const RTNLGRP_IPV4_IFADDR: u32 = 5;
const RTNLGRP_IPV4_ROUTE: u32 = 7;
const RTNLGRP_IPV6_IFADDR: u32 = 9;
const RTNLGRP_IPV6_ROUTE: u32 = 11;
/// Links, neighbours and FDB entries, addresses, routes.
const GROUPS: [u32; 6] = [
    RTNLGRP_LINK,
    RTNLGRP_NEIGH,
    RTNLGRP_IPV4_IFADDR,
    RTNLGRP_IPV4_ROUTE,
    RTNLGRP_IPV6_IFADDR,
    RTNLGRP_IPV6_ROUTE,
];
/// How many datagrams are taken at once: a flood of changes is told in pieces.
const AT_ONCE: usize = 1024;

/// A listener, in the namespace of the thread that opened it.
#[derive(Debug)]
pub struct Changes {
    socket: Socket,
}

/// What was heard.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Heard {
    /// Indexes of the links that something changed on: the link itself, an address, a neighbour or FDB
    /// entry, a route over it.
    pub links: BTreeSet<u32>,
    /// Whether more was said than there was room for (`ENOBUFS`): everything must be looked at.
    pub lost: bool,
}

impl Heard {
    /// Whether nothing was.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.links.is_empty() && !self.lost
    }
}

impl Changes {
    /// Begins to listen.
    ///
    /// # Errors
    /// [`NetlinkError`] if there is no socket.
    pub fn listen() -> Result<Self, NetlinkError> {
        Ok(Self {
            socket: Socket::listening(&GROUPS)?,
        })
    }

    /// What has been said since, at the latest after `patience`; nothing if nothing was.
    ///
    /// # Errors
    /// [`NetlinkError`] if the socket is of no use any more.
    pub fn next(&mut self, patience: Duration) -> Result<Heard, NetlinkError> {
        let mut heard = Heard::default();
        // A limit of 0 would be none.
        self.socket
            .wait_at_most(patience.max(Duration::from_millis(1)))?;
        match self.socket.receive() {
            Err(NetlinkError::Silent) => return Ok(heard),
            answer => heard.take(answer)?,
        }
        for _ in 1..AT_ONCE {
            match self.socket.receive_at_once() {
                Ok(None) => break,
                Ok(Some(messages)) => heard.take(Ok(messages))?,
                Err(error) => heard.take(Err(error))?,
            }
        }
        Ok(heard)
    }
}

/// A listener to `IPsec`, in the namespace of the thread that opened it: that states or policies changed, and
/// never which.
#[derive(Debug)]
pub struct IpsecChanges {
    socket: Socket,
}

impl IpsecChanges {
    /// Begins to listen. Not to what is asked of key daemons: the kernel would take this for one.
    ///
    /// # Errors
    /// [`NetlinkError`] if there is no socket.
    pub fn listen() -> Result<Self, NetlinkError> {
        const XFRMNLGRP_SA: u32 = 3;
        const XFRMNLGRP_POLICY: u32 = 4;
        Ok(Self {
            socket: Socket::listening_to_ipsec(&[XFRMNLGRP_SA, XFRMNLGRP_POLICY])?,
        })
    }

    /// Whether something changed since, at the latest after `patience`.
    ///
    /// # Errors
    /// [`NetlinkError`] if the socket is of no use any more.
    pub fn next(&mut self, patience: Duration) -> Result<bool, NetlinkError> {
        self.socket
            .wait_at_most(patience.max(Duration::from_millis(1)))?;
        let heard = |answer: Result<Vec<Message>, NetlinkError>| match answer {
            // More was said than there was room for.
            Ok(_) | Err(NetlinkError::Broken(Errno::NOBUFS)) => Ok(true),
            Err(NetlinkError::Silent) => Ok(false),
            Err(error) => Err(error),
        };
        if !heard(self.socket.receive())? {
            return Ok(false);
        }
        for _ in 1..AT_ONCE {
            if let Ok(None) = self.socket.receive_at_once() {
                break;
            }
        }
        Ok(true)
    }
}

impl Heard {
    fn take(&mut self, answer: Result<Vec<Message>, NetlinkError>) -> Result<(), NetlinkError> {
        match answer {
            Err(NetlinkError::Broken(Errno::NOBUFS)) => self.lost = true,
            Err(error) => return Err(error),
            Ok(messages) => {
                for message in messages {
                    self.hear(message.kind, &message.body);
                }
            }
        }
        Ok(())
    }

    fn hear(&mut self, kind: u16, body: &[u8]) {
        /// `RTM_*` (`linux/rtnetlink.h`).
        const LINKS: std::ops::RangeInclusive<u16> = 16..=17;
        const ADDRESSES: std::ops::RangeInclusive<u16> = 20..=21;
        const ROUTES: std::ops::RangeInclusive<u16> = 24..=25;
        const NEIGHBOURS: std::ops::RangeInclusive<u16> = 28..=29;
        if LINKS.contains(&kind) || ADDRESSES.contains(&kind) || NEIGHBOURS.contains(&kind) {
            // `ifi_index`, `ifa_index` and `ndm_ifindex` are all there.
            self.links.extend(body.get(4..).and_then(number));
        } else if ROUTES.contains(&kind) {
            self.links.extend(hops(body));
        }
    }
}

/// The links of a route.
fn hops(body: &[u8]) -> Vec<u32> {
    const RTMSG: usize = 12;
    const RTA_OIF: u16 = 4;
    const RTA_MULTIPATH: u16 = 9;
    let rest = body.get(RTMSG..).unwrap_or_default();
    let mut links: Vec<_> = find(rest, RTA_OIF).and_then(number).into_iter().collect();
    // `struct rtnexthop`, one after the other, laid out as attributes are but for 4 more bytes of head.
    let hops = find(rest, RTA_MULTIPATH).unwrap_or_default();
    links.extend(attributes(hops).filter_map(|(_, hop)| number(hop)));
    links
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_next_hop_of_a_route_is_a_link() {
        let mut body = vec![0; 12];
        let hop = |index: u32| {
            let mut hop = vec![16, 0, 0, 0];
            hop.extend(index.to_ne_bytes());
            hop.extend([8, 0, 5, 0, 192, 0, 2, 1]);
            hop
        };
        body.extend([36, 0, 9, 0]);
        body.extend(hop(3));
        body.extend(hop(7));
        assert_eq!(hops(&body), [3, 7]);
    }
}
