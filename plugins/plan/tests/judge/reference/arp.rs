//! ARP (RFC 826).

use std::net::Ipv4Addr;

use bulkhead_plan::Reason;

use super::{Sentence, Suspect, bytes_at, require, u16_at};

impl Suspect<'_> {
    pub(super) fn arp(&self) -> Sentence {
        let message = self.packet;
        let (Some(operation), Some(sender_mac), Some(sender)) = (
            u16_at(message, 6),
            bytes_at::<6>(message, 8),
            bytes_at::<4>(message, 14).map(Ipv4Addr::from),
        ) else {
            return Err(Reason::Arp);
        };
        let target = bytes_at::<4>(message, 24).map(|it| Ipv4Addr::from(it).into());
        let of_ethernet_and_ip4 = message[..6] == [0, 1, 8, 0, 6, 4];
        require(of_ethernet_and_ip4, Reason::Arp)?;
        require(matches!(operation, 1 | 2), Reason::Arp)?;
        let says_what_it_is = self.holds_with(&sender_mac, sender.into())
            && self.holds_with(self.source_mac(), sender.into());
        // RFC 5227 section 2.1.1.
        let probes_its_own = operation == 1
            && sender.is_unspecified()
            && target.is_some_and(|target| self.holds_with(&sender_mac, target))
            && self.has_mac(self.source_mac());
        let is_anybody =
            self.may_be_anybody() && self.has_mac(&sender_mac) && self.has_mac(self.source_mac());
        require(says_what_it_is || probes_its_own || is_anybody, Reason::Arp)?;
        let of_dead = target.is_some_and(|target| self.node.is_dead(target));
        require(!of_dead, Reason::Dead)?;
        if target.is_some_and(|target| self.node.is_gateway(target)) {
            self.within_its_share_of_the_node()?;
        }
        if self.is_group_frame() {
            self.within_its_share_of_all()?;
        }
        Ok(())
    }
}
