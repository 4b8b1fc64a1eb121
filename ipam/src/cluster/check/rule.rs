//! The rules, by name.

use std::fmt;

/// A rule that nothing may violate. Names are never given another meaning.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Rule {
    /// An address has one holder, whatever pool it is of.
    AddressTwice,
    /// Two blocks have no ordinal in common.
    BlocksOverlap,
    /// Two pools have no address in common.
    PoolsOverlap,
    /// A block lies in its pool.
    BlockOutsidePool,
    /// A block is aligned to its size.
    BlockMisaligned,
    /// A block is not larger than its pool's blocks ever were: claims do not look further.
    BlockTooLarge,
    /// A lease lies in a block of its node.
    LeaseOutsideBlock,
    /// A lease has the addresses of its ordinal.
    LeaseAddresses,
    /// Gateways and the ends of a prefix are nobody's.
    AddressNeverGiven,
    /// What a reservation holds is given to whom it is for.
    ReservationViolated,
    /// What is kept for a name is given to whom it is for.
    KeptViolated,
    /// A name's ordinal is kept for it, and for no other.
    StickyUnkept,
    /// Rows are of a registered node.
    UnknownNode,
    /// Rows are of a life of their node that has not ended.
    StaleFence,
    /// A node takes for its own the blocks that the store says are.
    BlockDiffers,
    /// The store has what the journals have.
    LeaseUnpublished,
    /// The journals have what the store has.
    LeaseUnrecorded,
    /// Store and journals say the same of a lease.
    LeaseDiffers,
    /// An attachment that is recorded is there.
    AttachmentMissing,
    /// An attachment has its port.
    PortMissing,
    /// An attachment has the addresses that are recorded.
    AddressMissing,
    /// An address of a pool that is in use is recorded.
    AddressUnrecorded,
    /// Every row is understood.
    UnreadableRow,
}

impl Rule {
    /// Its name, in words joined by dashes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AddressTwice => "address-twice",
            Self::BlocksOverlap => "blocks-overlap",
            Self::PoolsOverlap => "pools-overlap",
            Self::BlockOutsidePool => "block-outside-pool",
            Self::BlockMisaligned => "block-misaligned",
            Self::BlockTooLarge => "block-too-large",
            Self::LeaseOutsideBlock => "lease-outside-block",
            Self::LeaseAddresses => "lease-addresses",
            Self::AddressNeverGiven => "address-never-given",
            Self::ReservationViolated => "reservation-violated",
            Self::KeptViolated => "kept-violated",
            Self::StickyUnkept => "sticky-unkept",
            Self::UnknownNode => "unknown-node",
            Self::StaleFence => "stale-fence",
            Self::BlockDiffers => "block-differs",
            Self::LeaseUnpublished => "lease-unpublished",
            Self::LeaseUnrecorded => "lease-unrecorded",
            Self::LeaseDiffers => "lease-differs",
            Self::AttachmentMissing => "attachment-missing",
            Self::PortMissing => "port-missing",
            Self::AddressMissing => "address-missing",
            Self::AddressUnrecorded => "address-unrecorded",
            Self::UnreadableRow => "unreadable-row",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
