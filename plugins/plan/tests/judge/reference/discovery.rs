//! Neighbour and router discovery (RFC 4861).

use std::net::Ipv6Addr;

use bulkhead_plan::{Held, Reason, Role};

use super::{Sentence, Suspect, bytes_at, require};

impl Suspect<'_> {
    pub(super) fn discovery(&self, message: &[u8]) -> Sentence {
        let target = bytes_at::<16>(message, 8).map(Ipv6Addr::from);
        let is_gateways = |address: Option<Ipv6Addr>| {
            address.is_some_and(|address| self.node.is_gateway(address.into()))
        };
        match message[0] {
            133 => {
                self.within_its_share_of_the_node()?;
                self.shaped(message, 8, 1)
            }
            134 => self.router_advertisement(message),
            135 => {
                if is_gateways(target) {
                    self.within_its_share_of_the_node()?;
                }
                self.shaped(message, 24, 1)
            }
            _ => {
                if is_gateways(Some(self.ip6_destination())) {
                    self.within_its_share_of_the_node()?;
                }
                let own = target.is_some_and(|target| self.owns(target.into()));
                require(own || self.may_be_anybody(), Reason::Discovery)?;
                self.shaped(message, 24, 2)
            }
        }
    }

    /// One hop away, without options, or with the one of that kind that names a MAC of the port.
    fn shaped(&self, message: &[u8], length: u16, option: u8) -> Sentence {
        require(self.hop_limit() == 255, Reason::Discovery)?;
        if self.ip6_length() == length {
            return Ok(());
        }
        let named = message.get(usize::from(length)..usize::from(length) + 8);
        let names_own = named.is_some_and(|it| it[..2] == [option, 1] && self.has_mac(&it[2..]));
        require(
            self.ip6_length() == length + 8 && names_own,
            Reason::Discovery,
        )
    }

    /// Of a router, about the prefixes that it holds and its own MAC. An option may begin at any eight
    /// bytes; more of them than can be looked through are none.
    fn router_advertisement(&self, message: &[u8]) -> Sentence {
        let one_hop = self.hop_limit() == 255;
        require(self.plays(Role::Router) && one_hop, Reason::Discovery)?;
        require(message.len() <= 16 + 20 * 8, Reason::Discovery)?;
        if self.may_be_anybody() {
            return Ok(());
        }
        for at in (16..message.len()).step_by(8) {
            let option = &message[at..];
            let is_fine = match option {
                [1, 1, ..] => option.get(2..8).is_none_or(|mac| self.has_mac(mac)),
                // RFC 4861 section 4.6.2; a receiver may take a longer one, but not a shorter one.
                [3, ..32, ..] if at + 32 <= 16 + 20 * 8 => {
                    let of_64_bits = option.get(2).is_none_or(|length| *length == 64);
                    let prefix = option.get(16..24);
                    let own = prefix.is_none_or(|bits| {
                        let is_it = |held: &Held| matches!(held, Held::V6(_, own) if own == bits);
                        self.who.held().any(is_it)
                    });
                    of_64_bits && own
                }
                // RFC 4191 section 2.3.
                [24, ..32, ..] => false,
                _ => true,
            };
            require(is_fine, Reason::Discovery)?;
        }
        Ok(())
    }
}
