//! `bulkhead overlay show`.

use std::fmt::Write;

use bulkhead_ipam::wire::admin::{ListedEnd, ListedOverlay, OwnSeal};

use super::here;
use crate::output::{Format, visible};
use crate::time;

pub(super) fn told(overlay: &ListedOverlay, format: Format) -> String {
    format.render(overlay, |_| text(overlay, time::now_unix_ms()))
}

/// What a node goes by whose daemon has not read the store.
fn unread(as_of_unix_ms: Option<u64>, now_unix_ms: u64) -> String {
    let by = as_of_unix_ms.map_or_else(
        || "what an earlier one left goes on".to_owned(),
        |at| {
            let ago = time::ago(at, now_unix_ms);
            format!("stale, the others are as they were known {ago} ago")
        },
    );
    format!("not read since the daemon started: {by}")
}

fn text(overlay: &ListedOverlay, now_unix_ms: u64) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{name:<16}{}", visible(&value));
    };
    let joined = |all: &[String]| all.join(", ");
    let shown = |all: &[bulkhead_model::Prefix]| {
        joined(&all.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    line("network", overlay.network.clone());
    line("mode", overlay.mode.clone());
    line("VNI", overlay.vni.to_string());
    line("UDP port", overlay.port.to_string());
    line("pools", joined(&overlay.pools));
    line("prefixes", shown(&overlay.prefixes));
    line("encryption", encryption(overlay));
    line("nodes", overlay.ends.len().to_string());
    line("here", here(overlay).to_owned());
    let Some(own) = &overlay.here else {
        return text;
    };
    line("device", own.device.to_string());
    if let Some(segment) = &own.segment {
        line("namespace", segment.netns.clone());
        let replicated = if segment.replication {
            "to every node that has the network"
        } else {
            "off"
        };
        line("replication", replicated.to_owned());
    }
    line("underlay", own.local.to_string());
    line("MTU", own.mtu.to_string());
    if !own.addresses.is_empty() {
        let all: Vec<String> = own.addresses.iter().map(ToString::to_string).collect();
        line("addresses", all.join(", "));
    }
    let direct = if own.direct_routing {
        "peers on a link of this node are sent to without encapsulation"
    } else {
        "off"
    };
    if own.segment.is_none() {
        line("direct routing", direct.to_owned());
        line(
            "MSS clamp",
            if own.mss_clamp { "on" } else { "off" }.to_owned(),
        );
        let checksum = if own.tx_checksum {
            "left to the links below"
        } else {
            "computed before encapsulation"
        };
        line("tx checksum", checksum.to_owned());
    }
    let blocks = overlay.ends.iter().find(|end| end.name.id == own.name.id);
    if let Some(end) = blocks {
        line("blocks", shown(&end.blocks));
    }
    for text in own.seal.iter().flat_map(|seal| states(overlay, seal)) {
        line("states", text);
    }
    line("mended", format!("{} times", own.mended));
    if let Some(fault) = &own.fault {
        line("fault", fault.clone());
    }
    let hindered = overlay.ends.iter().flat_map(|end| &end.obstacles);
    for obstacle in hindered {
        line("in the way", obstacle.route.clone());
    }
    if !own.store_read {
        line("store", unread(own.as_of_unix_ms, now_unix_ms));
    }
    text
}

/// How packets are protected, and how far the nodes are with the latest key.
fn encryption(overlay: &ListedOverlay) -> String {
    let Some(epoch) = overlay.key_epoch else {
        return overlay.encryption.to_string();
    };
    let has = |end: &&ListedEnd| end.key_epoch.is_some_and(|applied| applied >= epoch);
    let have = overlay.ends.iter().filter(has).count();
    let all = overlay.ends.len();
    let encryption = overlay.encryption;
    format!("{encryption}, epoch {epoch}, which {have} of {all} nodes receive by")
}

/// A line for each other node: what it is sent to by, and what it may send by.
fn states<'a>(
    overlay: &'a ListedOverlay,
    seal: &'a OwnSeal,
) -> impl Iterator<Item = String> + use<'a> {
    let others = overlay.ends.iter();
    let own = overlay.here.as_ref().map(|own| &own.name.id);
    let others = others.filter(move |end| Some(&end.name.id) != own);
    others.map(|end| {
        let name = &end.name.name;
        let found = seal.peers.iter().find(|peer| peer.name.id == end.name.id);
        match found {
            Some(peer) => format!(
                "{name}: sent to by epoch {}, received by {}",
                peer.sent_by_epoch, peer.inbound
            ),
            None => format!("{name}: none, it has not told how it is keyed"),
        }
    })
}

#[cfg(test)]
mod tests {
    use bulkhead_ipam::wire::admin::{OwnSegment, SealedPeer};
    use bulkhead_model::Encryption;

    use super::*;
    use crate::overlay::sample;

    #[test]
    fn what_nodes_agree_on_comes_before_what_is_here() {
        let mut overlay = sample::overlay();
        assert_eq!(
            text(&overlay, sample::NOW),
            "\
network         pods
mode            routed
VNI             4096
UDP port        4789
pools           default
prefixes        10.4.0.0/16, fd00:4::/64
encryption      none
nodes           2
here            stands
device          bhxn7nyh4lwdprh
underlay        192.0.2.11
MTU             1450
direct routing  off
MSS clamp       off
tx checksum     left to the links below
blocks          10.4.11.0/26, fd00:4::b00/122
mended          2 times
"
        );
        overlay.encryption = Encryption::Ipsec;
        overlay.key_epoch = Some(2);
        overlay.ends[0].key_epoch = Some(2);
        overlay.ends[1].key_epoch = Some(1);
        overlay.here.as_mut().unwrap().seal = Some(OwnSeal {
            epoch: 2,
            peers: vec![SealedPeer {
                name: overlay.ends[1].name.clone(),
                sent_by_epoch: 1,
                inbound: 2,
            }],
        });
        let told = text(&overlay, sample::NOW);
        assert!(
            told.contains("encryption      ipsec, epoch 2, which 1 of 2 nodes receive by\n"),
            "{told}"
        );
        assert!(
            told.contains("states          n2: sent to by epoch 1, received by 2\n"),
            "{told}"
        );
        let own = overlay.here.as_mut().unwrap();
        own.fault = Some("somebody\u{1b}[31m".to_owned());
        let said = text(&overlay, sample::NOW);
        assert!(said.contains("here            fault\n"));
        assert!(said.ends_with("fault           somebody\u{fffd}[31m\n"));
        let own = overlay.here.as_mut().unwrap();
        own.segment = Some(OwnSegment {
            netns: "/run/netns/bhn-n7nyh4lwdprh".to_owned(),
            replication: false,
        });
        let segment = "namespace       /run/netns/bhn-n7nyh4lwdprh\nreplication     off\n";
        let said = text(&overlay, sample::NOW);
        assert!(said.contains(segment));
        assert!(!said.contains("direct routing"));
        overlay.here = None;
        assert!(text(&overlay, sample::NOW).ends_with("here            -\n"));
    }

    #[test]
    fn what_is_not_the_store_s_word_is_marked() {
        let mut overlay = sample::overlay();
        let own = overlay.here.as_mut().unwrap();
        own.store_read = false;
        let said = text(&overlay, sample::NOW);
        let left =
            "store           not read since the daemon started: what an earlier one left goes on\n";
        assert!(said.ends_with(left), "{said}");
        let own = overlay.here.as_mut().unwrap();
        own.as_of_unix_ms = Some(sample::NOW - 600_000);
        let said = text(&overlay, sample::NOW);
        assert!(said.contains("here            by memory\n"), "{said}");
        let stale = "not read since the daemon started: stale, the others are as they were known 10 min ago\n";
        assert!(said.ends_with(stale), "{said}");
    }

    #[test]
    fn routes_of_others_in_the_way_are_told() {
        let mut overlay = sample::overlay();
        overlay.ends[1].obstacles.push(sample::obstacle());
        let said = text(&overlay, sample::NOW);
        let line = "in the way      10.4.12.0/26 via 192.0.2.99 dev eth0 proto static metric 0\n";
        assert!(said.ends_with(line), "{said}");
    }
}
