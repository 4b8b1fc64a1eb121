//! What follows from what was asked and seen. Pure.

use std::collections::BTreeMap;

use bulkhead_ipam::wire::admin::{ListedEnd, ListedOverlay, OwnEnd};
use bulkhead_model::{IfName, NetworkName};
use bulkhead_plan::Stranger;

use super::probe::Probed;
use crate::doctor::finding::{Finding, Id, or_ok};
use crate::time;

/// How far a node's clock may be ahead of this one's, in milliseconds.
const AHEAD_MS: u64 = 5_000;
/// How long ago a daemon's last word may be: it says far more often that it lives.
const SILENT_MS: u64 = 120_000;

/// Drivers that are known to compute checksums wrong of what is inside (docs/vxlan.md, "Checksums").
const TRAPS: [&str; 1] = ["vmxnet3"];

/// What was seen of one network.
pub(super) struct Seen<'a> {
    pub(super) network: NetworkName,
    pub(super) overlay: &'a ListedOverlay,
    pub(super) own: &'a OwnEnd,
    /// By the id of the node that was asked.
    pub(super) probed: BTreeMap<&'a str, Probed>,
    pub(super) differs: Differs,
    /// What the kernel lacks of `IPsec`, if the network is encrypted.
    pub(super) unsealed: Vec<String>,
    /// The link below, and its driver, if it is of one.
    pub(super) below: Option<(IfName, String)>,
    pub(super) now_unix_ms: u64,
}

/// What the kernel has otherwise than the store says.
#[derive(Debug, Default)]
pub(super) struct Differs {
    /// What it lacks, or has too much of: the lines that mend it.
    pub(super) drift: Vec<String>,
    /// Routes of others that stand where ours should.
    pub(super) strangers: Vec<Stranger>,
}

impl Seen<'_> {
    pub(super) fn findings(&self) -> Vec<Finding> {
        let mut all: Vec<Finding> = self.fault().into_iter().chain(self.drift()).collect();
        all.extend(self.differs.strangers.iter().map(|it| self.stranger(it)));
        all.extend(self.offload());
        all.extend(self.seal());
        for end in self.others() {
            all.extend(self.answer(end));
            all.extend(self.clock(end));
            all.extend(self.mtu(end));
            all.extend(self.keys(end));
        }
        all.extend(self.twins());
        let both = self.others().map(|end| end.mtu.min(self.own.mtu));
        let fine = format!(
            "every other node answers ({}), also packets of {} bytes",
            self.others().count(),
            both.min().unwrap_or(self.own.mtu)
        );
        let all = or_ok(all, Id::OverlayReach, fine).into_iter();
        all.map(|finding| finding.of([&self.network])).collect()
    }

    fn others(&self) -> impl Iterator<Item = &ListedEnd> {
        let own = &self.own.name.id;
        let ends = self.overlay.ends.iter();
        ends.filter(move |end| end.name.id != *own)
    }

    fn fault(&self) -> Option<Finding> {
        let fault = self.own.fault.as_ref()?;
        Some(
            Finding::problem(Id::OverlayFault, fault.clone())
                .why("the daemon cannot bring this node's end to what the store says")
                .help("journalctl -u bulkheadd"),
        )
    }

    fn drift(&self) -> Option<Finding> {
        let lines = &self.differs.drift;
        if lines.is_empty() {
            return None;
        }
        let seen = format!(
            "device, neighbours, forwarding entries or routes differ from what the store says: {} lines would mend it",
            lines.len()
        );
        let finding = Finding::problem(Id::OverlayDrift, seen)
            .why("the daemon mends this within a second if it can");
        Some(lines.iter().fold(finding, Finding::help))
    }

    fn stranger(&self, route: &Stranger) -> Finding {
        let mut others = self.others();
        let owner = others.find(|end| end.blocks.contains(&route.destination));
        let owner = owner.map_or("another node", |end| end.name.name.as_str());
        let seen = format!(
            "the block {} of {owner} is led to by a route of somebody else's: {route}",
            route.destination
        );
        let why = if route.protocol == Stranger::KERNEL {
            "a link of this node has an address in the block, so that packets to the containers there go astray: give it another"
        } else {
            "whoever made it takes the packets to the containers there; the daemon puts its own in place once it is gone"
        };
        Finding::problem(Id::OverlayRoute, seen)
            .why(why)
            .help(route.removal())
    }

    fn offload(&self) -> Option<Finding> {
        let (link, driver) = self.below.as_ref()?;
        if !self.own.tx_checksum || !TRAPS.contains(&driver.as_str()) {
            return None;
        }
        let seen = format!(
            "link {link} below is of driver {driver}, and checksums of what is inside are left to it"
        );
        Some(
            Finding::warn(Id::OverlayOffload, seen)
                .why("some versions compute them wrong: long transfers stall, pings do not")
                .help(format!(
                    "set \"txChecksum\": false for network {} where that is so",
                    self.network
                )),
        )
    }

    fn seal(&self) -> Option<Finding> {
        if self.unsealed.is_empty() {
            return None;
        }
        let seen = format!("of IPsec is missing: {}", self.unsealed.join(", "));
        Some(
            Finding::problem(Id::OverlaySeal, seen)
                .why("packets to or from there are dropped, and none leaves in plaintext")
                .help("ip xfrm policy; ip xfrm state   (what there is; it shows keys)")
                .help(format!("bulkhead overlay show {}", self.network)),
        )
    }

    fn keys(&self, end: &ListedEnd) -> Option<Finding> {
        let epoch = self.overlay.key_epoch?;
        let name = &end.name.name;
        match end.key_epoch {
            None => Some(
                Finding::problem(
                    Id::OverlayKeys,
                    format!("{name} has not told how it is keyed"),
                )
                .why("nothing is sent to it, and nothing is taken from it")
                .help(format!("bulkhead status   (on {name})")),
            ),
            Some(applied) if applied < epoch => Some(
                Finding::warn(
                    Id::OverlayKeys,
                    format!("{name} receives by epoch {applied} of the keys, and {epoch} is the latest"),
                )
                .why("it does not reach the store, or its daemon is down; ten minutes after the change it is sent to by the latest all the same")
                .help(format!("bulkhead status   (on {name})")),
            ),
            Some(_) => None,
        }
    }

    fn answer(&self, end: &ListedEnd) -> Option<Finding> {
        let probed = self.probed.get(end.name.id.as_str())?;
        let (name, at) = (&end.name.name, end.underlay);
        let (network, port) = (&self.network, self.overlay.port);
        if probed.whole {
            return None;
        }
        if probed.overlay {
            let answered = match probed.longest {
                Some(longest) => format!("packets of {longest} bytes"),
                None => "short packets alone".to_owned(),
            };
            let seen = format!(
                "{name} at {at} answers {answered}, not those of {}",
                self.own.mtu.min(end.mtu)
            );
            let finding = Finding::problem(Id::OverlayMtu, seen).why(
                "something in the underlay carries less than this node's link and does not tell: long packets are lost",
            );
            return Some(finding.help(match probed.longest {
                Some(longest) => format!(
                    "set \"mtu\": {longest} for network {network} on every node, or raise the underlay's"
                ),
                None => "raise the underlay's MTU: not even the least of IPv6 passes".to_owned(),
            }));
        }
        if probed.underlay {
            let seen = format!("{name} at {at} answers, but not over UDP port {port}");
            return Some(
                Finding::problem(Id::OverlayPort, seen)
                    .why("a firewall between the nodes drops it, or that node has no end of the network any more")
                    .help(if self.overlay.encryption.is_none() {
                        format!("open UDP port {port} between the nodes")
                    } else {
                        "let ESP (IP protocol 50) pass between the nodes".to_owned()
                    })
                    .help(format!("bulkhead overlay show {network}   (on {name})")),
            );
        }
        let seen = format!("{name} at {at} answers nothing");
        Some(
            Finding::problem(Id::OverlayPeer, seen)
                .why("it is off, or the underlay has no way there; its addresses stay its own")
                .help(format!("ip route get {at}"))
                .help(format!(
                    "bulkhead node lost {name}   (if it is dead for good)"
                )),
        )
    }

    fn clock(&self, end: &ListedEnd) -> Option<Finding> {
        let (name, said) = (&end.name.name, end.seen_at_unix_ms?);
        if said > self.now_unix_ms + AHEAD_MS {
            let ahead = time::span(said - self.now_unix_ms);
            let seen = format!("the clock of {name} is {ahead} ahead of this node's");
            return Some(
                Finding::warn(Id::OverlayClock, seen)
                    .why("who had an address when cannot be told across the two")
                    .help("timedatectl set-ntp true   (on both)"),
            );
        }
        let silent = self.now_unix_ms.saturating_sub(said);
        let answers = self.probed.get(end.name.id.as_str());
        if silent <= SILENT_MS || !answers.is_some_and(|probed| probed.overlay) {
            return None;
        }
        let since = time::span(silent);
        let seen = format!("{name} answers, and its daemon was heard of {since} ago");
        Some(
            Finding::warn(Id::OverlaySilent, seen)
                .why("its daemon is down, does not reach the store, or its clock is behind: it may not hear of new blocks")
                .help(format!("bulkhead status   (on {name})")),
        )
    }

    fn mtu(&self, end: &ListedEnd) -> Option<Finding> {
        let mut ends = self.overlay.ends.iter();
        let mine = ends.find(|end| end.name.id == self.own.name.id);
        let (own, other) = (mine.map_or(self.own.mtu, |mine| mine.mtu), end.mtu);
        if own == other {
            return None;
        }
        let why = if self.own.segment.is_some() {
            "every port of the segment has the least of all nodes'"
        } else {
            "long packets towards the smaller one are answered by \"packet too big\", which firewalls like to drop"
        };
        let seen = format!("{} has an MTU of {other}, this node {own}", end.name.name);
        Some(
            Finding::warn(Id::OverlayMtuDiffers, seen)
                .why(why)
                .help(format!(
                    "set \"mtu\": {} for network {} on every node",
                    own.min(other),
                    self.network
                )),
        )
    }

    /// Nodes that say that they are reached at one address.
    fn twins(&self) -> Vec<Finding> {
        let mut by_address: BTreeMap<_, Vec<&str>> = BTreeMap::new();
        for end in &self.overlay.ends {
            let names = by_address.entry(end.underlay).or_default();
            names.push(&end.name.name);
        }
        let twins = by_address.into_iter().filter(|(_, names)| names.len() > 1);
        let finding = |(at, names): (_, Vec<&str>)| {
            let seen = format!("{} all say that they are at {at}", names.join(" and "));
            Finding::problem(Id::OverlayTwins, seen)
                .why("packets to the blocks of all of them go to whoever has the address")
                .help("set overlay.underlay in bulkheadd.toml of all but one")
        };
        twins.map(finding).collect()
    }
}

#[cfg(test)]
mod tests {
    use bulkhead_model::Mtu;

    use super::*;
    use crate::overlay::sample;

    const FINE: Probed = Probed {
        overlay: true,
        whole: true,
        longest: None,
        underlay: true,
    };

    /// Of the link below.
    const DRIVER: &str = "vmxnet3";

    fn findings(
        probed: Probed,
        change: impl FnOnce(&mut ListedOverlay),
        drift: &[&str],
    ) -> Vec<String> {
        found(probed, change, drift, &[])
    }

    fn found(
        probed: Probed,
        change: impl FnOnce(&mut ListedOverlay),
        drift: &[&str],
        strangers: &[Stranger],
    ) -> Vec<String> {
        let mut overlay = sample::overlay();
        overlay.here.as_mut().unwrap().tx_checksum = false;
        change(&mut overlay);
        let own = overlay.here.clone().unwrap();
        let other = overlay.ends[1].name.id.clone();
        let seen = Seen {
            network: "pods".parse().unwrap(),
            overlay: &overlay,
            own: &own,
            probed: [(other.as_str(), probed)].into(),
            differs: Differs {
                drift: drift.iter().map(ToString::to_string).collect(),
                strangers: strangers.to_vec(),
            },
            unsealed: Vec::new(),
            below: Some(("ens192".parse().unwrap(), DRIVER.to_owned())),
            now_unix_ms: sample::NOW,
        };
        seen.findings().iter().map(Finding::text).collect()
    }

    #[test]
    fn what_is_as_it_should_be_is_one_line() {
        assert_eq!(
            findings(FINE, |_| (), &[]),
            [
                "ok  overlay-reach  pods\n  seen  every other node answers (1), also packets of 1450 bytes\n"
            ]
        );
    }

    #[test]
    fn a_route_of_somebody_else_is_told_with_the_line_that_removes_it() {
        let mut stranger = Stranger {
            destination: "10.4.12.0/26".parse().unwrap(),
            priority: 0,
            kind: 1,
            protocol: 4,
            gateway: Some([192, 0, 2, 99].into()),
            link: Some("eth0".parse().unwrap()),
        };
        let said = found(FINE, |_| (), &[], std::slice::from_ref(&stranger)).concat();
        for part in [
            "problem  overlay-route  pods\n  seen  the block 10.4.12.0/26 of n2 is led to by a route of somebody else's: 10.4.12.0/26 via 192.0.2.99 dev eth0 proto static metric 0\n",
            "  help  ip route del 10.4.12.0/26 via 192.0.2.99 dev eth0 proto static metric 0\n",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
        stranger.protocol = Stranger::KERNEL;
        stranger.gateway = None;
        let said = found(FINE, |_| (), &[], &[stranger]).concat();
        assert!(
            said.contains("  help  ip address show dev eth0 to 10.4.12.0/26\n"),
            "{said}"
        );
    }

    #[test]
    fn each_way_of_not_answering_is_told_from_the_others() {
        let long = Probed {
            whole: false,
            longest: Some(1400),
            ..FINE
        };
        let blocked = Probed {
            underlay: true,
            ..Probed::default()
        };
        for (probed, id, seen) in [
            (
                long,
                "overlay-mtu",
                "n2 at 192.0.2.12 answers packets of 1400 bytes, not those of 1450",
            ),
            (
                blocked,
                "overlay-port",
                "n2 at 192.0.2.12 answers, but not over UDP port 4789",
            ),
            (
                Probed::default(),
                "overlay-peer",
                "n2 at 192.0.2.12 answers nothing",
            ),
        ] {
            let said = findings(probed, |_| (), &[]);
            let head = format!("problem  {id}  pods\n  seen  {seen}\n");
            assert!(said[0].starts_with(&head), "{said:?}");
        }
    }

    #[test]
    fn a_link_that_is_known_to_compute_wrong_checksums_is_told() {
        let left = |overlay: &mut ListedOverlay| {
            overlay.here.as_mut().unwrap().tx_checksum = true;
        };
        let said = findings(FINE, left, &[]);
        assert!(
            said[0].starts_with(
                "warn  overlay-offload  pods\n  seen  link ens192 below is of driver vmxnet3"
            ),
            "{said:?}"
        );
    }

    #[test]
    fn a_node_that_has_not_the_latest_key_is_told() {
        let behind = |overlay: &mut ListedOverlay| {
            overlay.key_epoch = Some(2);
            overlay.ends[1].key_epoch = Some(1);
        };
        let said = findings(FINE, behind, &[]);
        assert!(
            said[0].starts_with(
                "warn  overlay-keys  pods\n  seen  n2 receives by epoch 1 of the keys, and 2 is the latest"
            ),
            "{said:?}"
        );
        let silent = |overlay: &mut ListedOverlay| overlay.key_epoch = Some(2);
        let said = findings(FINE, silent, &[]);
        assert!(
            said[0].starts_with(
                "problem  overlay-keys  pods\n  seen  n2 has not told how it is keyed"
            ),
            "{said:?}"
        );
    }

    #[test]
    fn what_nodes_say_of_themselves_is_compared() {
        let said = findings(
            FINE,
            |overlay| {
                let other = &mut overlay.ends[1];
                other.underlay = [192, 0, 2, 11].into();
                other.mtu = Mtu::new(1400).unwrap();
                other.seen_at_unix_ms = Some(sample::NOW + 60_000);
            },
            &["ip route add 10.4.12.0/26 dev x"],
        );
        let said = said.concat();
        for part in [
            "warn  overlay-clock  pods\n  seen  the clock of n2 is 60 s ahead of this node's",
            "warn  overlay-mtu-differs  pods\n  seen  n2 has an MTU of 1400, this node 1450",
            "problem  overlay-twins  pods\n  seen  n1 and n2 all say that they are at 192.0.2.11",
            "problem  overlay-drift  pods\n  seen  device, neighbours",
            "  help  ip route add 10.4.12.0/26 dev x\n",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
        let quiet = |overlay: &mut ListedOverlay| {
            overlay.ends[1].seen_at_unix_ms = Some(sample::NOW - 600_000);
        };
        let said = findings(FINE, quiet, &[]);
        assert!(
            said[0].contains("n2 answers, and its daemon was heard of 10 min ago"),
            "{said:?}"
        );
    }
}
