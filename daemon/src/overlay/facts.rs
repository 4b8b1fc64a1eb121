//! What the node is reached by from the others, and what the encapsulation leaves of a packet.

use std::net::{IpAddr, Ipv4Addr};

use bulkhead_attach::Underlay;
use bulkhead_kernel::{Kernel, ObserveError, Underlay as Below};
use bulkhead_model::{Encryption, Family, IfName, Mtu};

/// Where the node is reached.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) address: IpAddr,
    pub(super) below: Below,
}

/// Why there is no such place.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoUnderlay {
    /// The address is not the node's.
    #[error(
        "underlay: {0} is no address of this node; name one that it has, or the link, in \"underlay\" or in [overlay] of bulkheadd.toml"
    )]
    NotOurs(IpAddr),
    /// The link has no address to be reached at.
    #[error(
        "underlay: link {0} is not there or has no address but of its link; name another in \"underlay\" or in [overlay] of bulkheadd.toml"
    )]
    Link(IfName),
    /// What there is now is of the other family.
    #[error(
        "underlay: {0} is gone, and of its family there is no other address; give the node one, since its end of the network keeps the family"
    )]
    Gone(IpAddr),
    /// Nothing was named and the node has no way out.
    #[error(
        "underlay: this node has no default route to tell which of its addresses the others reach; name one in \"underlay\" or in [overlay] of bulkheadd.toml"
    )]
    Unknown,
    /// What is left for packets is no MTU.
    #[error(
        "underlay: link {link} carries {mtu} bytes, and encapsulation takes {overhead} of them; raise its MTU"
    )]
    TooSmall {
        /// The link.
        link: IfName,
        /// Its MTU.
        mtu: Mtu,
        /// What is taken.
        overhead: u32,
    },
    /// More was asked for than is left.
    #[error(
        "mtu: {asked} is more than the {left} bytes that link {link} at {address} leaves; set it to that, or leave it out"
    )]
    Asked {
        /// What was asked for.
        asked: Mtu,
        /// What is left.
        left: Mtu,
        /// The link.
        link: IfName,
        /// The node's address on it.
        address: IpAddr,
    },
    /// The kernel does not say.
    #[error(transparent)]
    Kernel(#[from] ObserveError),
}

/// Finds the place.
pub(super) fn find(
    kernel: &mut Kernel,
    asked: Option<Underlay>,
    own: &[IpAddr],
) -> Result<Place, NoUnderlay> {
    match asked {
        Some(Underlay::Address(address)) => match kernel.underlay(address)? {
            Some(below) => Ok(Place { address, below }),
            None => Err(NoUnderlay::NotOurs(address)),
        },
        Some(Underlay::Link(link)) => {
            let address = kernel.address_of(link)?.ok_or(NoUnderlay::Link(link))?;
            let below = kernel.underlay(address)?.ok_or(NoUnderlay::Link(link))?;
            Ok(Place { address, below })
        }
        None => {
            // What it tells the others in its own row: IPv4 first.
            for address in own.iter().filter(|address| is_reachable(**address)) {
                if let Some(below) = kernel.underlay(*address)? {
                    return Ok(Place {
                        address: *address,
                        below,
                    });
                }
            }
            Err(NoUnderlay::Unknown)
        }
    }
}

fn is_reachable(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !v4.is_link_local() && !v4.is_loopback() && v4 != Ipv4Addr::UNSPECIFIED,
        IpAddr::V6(v6) => !v6.is_unicast_link_local() && !v6.is_loopback() && !v6.is_unspecified(),
    }
}

impl Place {
    /// What is left for a packet of a container.
    pub(super) fn mtu(&self, most: Option<Mtu>, encryption: Encryption) -> Result<Mtu, NoUnderlay> {
        let family = Family::of(self.address);
        let left = encryption.left(family, self.below.mtu.bytes());
        let left = left
            .and_then(Mtu::new)
            .ok_or_else(|| NoUnderlay::TooSmall {
                link: self.below.link,
                mtu: self.below.mtu,
                overhead: encryption.needed(family, 0),
            })?;
        match most {
            Some(asked) if asked > left => Err(NoUnderlay::Asked {
                asked,
                left,
                link: self.below.link,
                address: self.address,
            }),
            Some(asked) => Ok(asked),
            None => Ok(left),
        }
    }
}
