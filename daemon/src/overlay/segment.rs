//! What a network's end on this node should be: routes and a device, or a segment in a namespace of its own;
//! and listening in there.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bulkhead_attach::SegmentEnd;
use bulkhead_ipam::cluster::OverlayName;
use bulkhead_kernel::{Changes, Netns};
use bulkhead_model::{Family, InterfaceAddress, NetworkName};
use bulkhead_plan::{Bridge, Overlay, Segment, Station, Switch, Vtep, Want};
use bulkhead_vxlan::segment_bridge;

use super::pass::Seen;
use super::{Overlays, STACK};

/// How long a change is waited for before it is looked whether the namespace has its name still.
const PATIENCE: Duration = Duration::from_millis(250);

impl Overlays {
    /// What a network's end should be.
    pub(super) fn want(&self, seen: &Seen) -> Want {
        let end = seen.standing();
        let vtep = Vtep {
            device: seen.network.vxlan_device(),
            mac: seen.network.vtep_mac(self.cluster.node.as_str()),
            vni: seen.end.vni,
            port: seen.end.port,
            local: seen.end.local,
            mtu: end.mtu,
            addresses: Vec::new(),
            tx_checksum: Switch::from(!seen.end.tuning.own_checksums),
        };
        match &seen.end.segment {
            Some(segment) => Want::Segment(Box::new(self.segment(seen, segment, vtep))),
            None => Want::Overlay(Box::new(Overlay {
                vtep: Vtep {
                    addresses: {
                        let own = seen.addresses.iter().copied();
                        own.map(InterfaceAddress::alone).collect()
                    },
                    ..vtep
                },
                peers: seen.peers.clone(),
                pools: seen.pools.clone(),
            })),
        }
    }

    fn segment(&self, seen: &Seen, segment: &SegmentEnd, vtep: Vtep) -> Segment {
        let state = self.state();
        let name: Option<OverlayName> = seen.network.as_str().parse().ok();
        let known = state.known().unwrap_or(&state.mirror);
        let pools = name.as_ref().and_then(|name| known.pools_of(name));
        let pools = pools.unwrap_or(&seen.end.pools);
        let own = &self.cluster.node;
        let mut stations = name
            .map(|name| known.stations(&seen.network, &name, own, pools))
            .unwrap_or_default();
        stations.extend(seen.peers.iter().map(|peer| Station {
            mac: peer.mac,
            underlay: peer.underlay,
            addresses: vec![peer.mac.link_local().into()],
        }));
        let gateways = known.gateways(pools);
        let replicas = seen.peers.iter().map(|peer| peer.underlay);
        Segment {
            ns: segment.ns(),
            forwards: gateways
                .iter()
                .map(|gateway| Family::of(gateway.address()))
                .collect(),
            bridge: Bridge {
                gateways,
                ..segment_bridge(&seen.network, &seen.standing())
            },
            vtep,
            stations,
            replicas: replicas.filter(|_| segment.replicate).collect(),
        }
    }

    /// Something changed in a network's own namespace, or around its name.
    fn stir(&self, network: &NetworkName) {
        let is_new = self.state().stirred.insert(network.clone());
        if is_new {
            self.work.notify_all();
        }
    }

    pub(super) fn has(&self, network: &NetworkName) -> bool {
        !self.ends() && self.state().members.contains_key(network)
    }
}

/// Listens in a network's own namespace as long as the node has the network. What keeps the namespace is
/// kept by nobody but its name and the pass: a listener whose network is gone lets go of it.
pub(super) fn listen(
    overlays: &Arc<Overlays>,
    network: &NetworkName,
    path: &str,
) -> io::Result<JoinHandle<()>> {
    let netns = Netns::open(path).map_err(io::Error::other)?;
    let changes = netns.within(Changes::listen)?.map_err(io::Error::other)?;
    let (overlays, network, path) = (Arc::clone(overlays), network.clone(), PathBuf::from(path));
    let named = thread::Builder::new()
        .name("segment-events".to_owned())
        .stack_size(STACK);
    named.spawn(move || go_on(&overlays, &network, &path, changes, &netns))
}

fn go_on(
    overlays: &Overlays,
    network: &NetworkName,
    path: &Path,
    mut changes: Changes,
    netns: &Netns,
) {
    // What changed before is not heard.
    overlays.stir(network);
    while overlays.has(network) {
        match changes.next(PATIENCE) {
            Ok(heard) if heard.is_empty() && is_at(netns, path) => {}
            Ok(_) => overlays.stir(network),
            Err(error) => {
                tracing::warn!(%error, %network, "changes of a segment are heard of anew");
                return overlays.stir(network);
            }
        }
    }
}

fn is_at(netns: &Netns, path: &Path) -> bool {
    let identity = netns.identity();
    let found = std::fs::metadata(path);
    found.is_ok_and(|found| (found.dev(), found.ino()) == (identity.dev, identity.ino))
}
