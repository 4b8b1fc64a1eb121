//! `bulkhead overlay`: networks that nodes have together.

mod ls;
mod peers;
mod rekey;
mod show;

use bulkhead_ipam::wire::admin::{Filter, ListedOverlay, NodeState};
use clap::{Args, Subcommand};

use crate::daemon::Reach;
use crate::failure::{Failure, Outcome};
use crate::output::Format;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the networks that nodes have together.
    Ls(Asked),
    /// Tell of a network what nodes agree on, and how this node's end of it is.
    Show {
        /// The network.
        network: String,

        #[command(flatten)]
        reach: Reach,
    },
    /// Give an encrypted network another key. Nodes go over to it without losing a packet, each as soon as the
    /// other has it.
    Rekey(rekey::RekeyArgs),
    /// List the nodes that have a network: where each is reached, and what is behind it.
    Peers(Asked),
}

#[derive(Args, Debug)]
pub(crate) struct Asked {
    /// Only this network.
    network: Option<String>,

    #[command(flatten)]
    reach: Reach,
}

pub(crate) fn run(command: &Command, format: Format) -> Outcome {
    let result = match command {
        Command::Rekey(args) => return crate::done::outcome(args.run(), format),
        Command::Ls(asked) => asked.rows().map(|rows| ls::told(&rows, format)),
        Command::Peers(asked) => asked.rows().map(|rows| peers::told(&rows, format)),
        Command::Show { network, reach } => {
            named(network, reach).map(|overlay| show::told(&overlay, format))
        }
    };
    result.into()
}

impl Asked {
    fn rows(&self) -> Result<Vec<ListedOverlay>, Failure> {
        match &self.network {
            Some(network) => Ok(vec![named(network, &self.reach)?]),
            None => self.reach.daemon()?.overlays(&Filter::default()),
        }
    }
}

fn named(network: &str, reach: &Reach) -> Result<ListedOverlay, Failure> {
    let filter = Filter {
        network: Some(network.to_owned()),
        ..Filter::default()
    };
    let found = reach.daemon()?.overlays(&filter)?.into_iter().next();
    found.ok_or_else(|| Failure::NoOverlay(network.to_owned()))
}

/// How this node's end of a network is, in a word.
fn here(overlay: &ListedOverlay) -> &'static str {
    match &overlay.here {
        None => "-",
        Some(own) if own.fault.is_some() => "fault",
        Some(own) if own.as_of_unix_ms.is_some() => "by memory",
        Some(own) if !own.store_read => "as it was left",
        Some(own) if own.stands => "stands",
        Some(_) => "is being made",
    }
}

const fn state(state: NodeState) -> &'static str {
    crate::node::state(state)
}

#[cfg(test)]
pub(crate) mod sample {
    use bulkhead_ipam::wire::admin::{ListedEnd, NodeName, Obstacle, OwnEnd};
    use bulkhead_model::{Encryption, Mtu, VXLAN_PORT, Vni};

    use super::*;

    pub(crate) const NOW: u64 = 1_772_352_000_000;

    fn end(name: &str, last: u8, seen_at_unix_ms: Option<u64>) -> ListedEnd {
        ListedEnd {
            name: node(name),
            state: NodeState::Active,
            underlay: [192, 0, 2, last].into(),
            mac: format!("02:5e:00:53:00:{last:02x}").parse().unwrap(),
            mtu: Mtu::new(1450).unwrap(),
            link_mac: None,
            key_epoch: None,
            version: "0.1.0".to_owned(),
            at_unix_ms: NOW - 60_000,
            seen_at_unix_ms,
            blocks: vec![
                format!("10.4.{last}.0/26").parse().unwrap(),
                format!("fd00:4::{last:x}00/122").parse().unwrap(),
            ],
            held: 3,
            obstacles: Vec::new(),
        }
    }

    fn node(name: &str) -> NodeName {
        NodeName {
            id: format!("{name}0123456789abcdef"),
            name: name.to_owned(),
        }
    }

    /// A route of somebody else's to a block of the second.
    pub(crate) fn obstacle() -> Obstacle {
        let route = "10.4.12.0/26 via 192.0.2.99 dev eth0 proto static metric 0";
        Obstacle {
            route: route.to_owned(),
            removal: format!("ip route del {route}"),
        }
    }

    /// Two nodes of a network, asked on the first.
    pub(crate) fn overlay() -> ListedOverlay {
        ListedOverlay {
            network: "pods".to_owned(),
            vni: Vni::new(4096).unwrap(),
            port: VXLAN_PORT,
            mode: "routed".to_owned(),
            encryption: Encryption::None,
            key_epoch: None,
            pools: vec!["default".to_owned()],
            prefixes: vec![
                "10.4.0.0/16".parse().unwrap(),
                "fd00:4::/64".parse().unwrap(),
            ],
            ends: vec![end("n1", 11, Some(NOW - 4000)), end("n2", 12, None)],
            here: Some(OwnEnd {
                name: node("n1"),
                device: "bhxn7nyh4lwdprh".parse().unwrap(),
                segment: None,
                local: [192, 0, 2, 11].into(),
                mtu: Mtu::new(1450).unwrap(),
                addresses: Vec::new(),
                direct_routing: false,
                mss_clamp: false,
                tx_checksum: true,
                stands: true,
                fault: None,
                mended: 2,
                store_read: true,
                as_of_unix_ms: None,
                seal: None,
            }),
        }
    }
}
