//! The catalogue: every attack with its evasions, by section.

mod craft;
mod errors;
mod neighbours;
mod overlay;
mod resources;
mod routers;
mod source4;
mod source6;

pub(crate) use self::resources::GROUPS;
use crate::attack::Attack;

/// A section of the catalogue.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Chapter {
    /// Router discovery.
    Routers,
    /// Neighbour discovery.
    Neighbours,
    /// Tables of the node and of the kernel.
    Resources,
    /// Who sends: IPv6.
    Source6,
    /// Who sends: IPv4 and ARP.
    Source4,
    /// DHCP, ICMP errors, names.
    Errors,
    /// Tunnels.
    Overlay,
}

impl Chapter {
    /// The floods last: what they leave of a port's budgets might stop others.
    pub(crate) const ALL: [Self; 7] = [
        Self::Routers,
        Self::Neighbours,
        Self::Source6,
        Self::Source4,
        Self::Errors,
        Self::Overlay,
        Self::Resources,
    ];

    pub(crate) fn attacks(self) -> Vec<Attack> {
        match self {
            Self::Routers => routers::attacks(),
            Self::Neighbours => neighbours::attacks(),
            Self::Resources => resources::attacks(),
            Self::Source6 => source6::attacks(),
            Self::Source4 => source4::attacks(),
            Self::Errors => errors::attacks(),
            Self::Overlay => overlay::attacks(),
        }
    }
}

#[test]
fn every_attack_has_a_name_of_its_own() {
    let mut ids: Vec<_> = Chapter::ALL
        .iter()
        .flat_map(|chapter| chapter.attacks())
        .map(|attack| attack.id)
        .collect();
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count);
}
