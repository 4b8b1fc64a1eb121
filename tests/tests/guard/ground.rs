//! The ports that the suite stands on: which plugin makes them, by which configuration, and how one
//! container's frames get to another.

use std::path::Path;
use std::sync::LazyLock;

use bulkhead_model::NetworkName;
use bulkhead_tests::Suite;
use bulkhead_tests::nodes::POOL;
use serde_json::{Value, json};

use crate::lab::VNI;

/// A kind of port.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Ground {
    /// The reference bridge, nothing else: shows that an attack works.
    Unguarded,
    /// `bulkhead-bridge` with `"guard": false`.
    SwitchedOff,
    /// `bulkhead-bridge`, one segment.
    BridgeL2,
    /// `bulkhead-bridge` with `"segmentation": "l3"`.
    BridgeL3,
    /// `bulkhead-bridge` with limits on both directions.
    Shaped,
    /// The reference bridge with `bulkhead-guard` chained.
    Chained,
    /// `bulkhead-ipv6`.
    Layer3,
    /// `bulkhead-vxlan`, routed; the second victim is on the other node.
    Overlay,
    /// The same with `"guard": false`.
    OverlayOff,
    /// `bulkhead-vxlan`, one segment over two nodes, which sends what is for everybody to the other one too;
    /// one victim is on the other node.
    Bridged,
    /// The same with `"guard": false`.
    BridgedOff,
}

/// How a frame of one container reaches another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Segment {
    /// By the other's MAC.
    Shared,
    /// By the gateway's MAC.
    Routed,
}

pub(crate) const NETWORK: &str = "guarded";
pub(crate) const BRIDGE: &str = "br-guarded";
pub(crate) const POOL4: &str = "10.66.0.0/24";
pub(crate) const POOL6: &str = "fd66::/64";

impl Ground {
    /// Whether the ports are meant to stop anything.
    pub(crate) fn is_guarded(self) -> bool {
        !matches!(
            self,
            Self::Unguarded | Self::SwitchedOff | Self::OverlayOff | Self::BridgedOff
        )
    }

    pub(crate) fn segment(self) -> Segment {
        match self {
            Self::BridgeL3 | Self::Layer3 | Self::Overlay | Self::OverlayOff => Segment::Routed,
            _ => Segment::Shared,
        }
    }

    /// Whether the containers are on two nodes.
    pub(crate) fn is_overlay(self) -> bool {
        matches!(self, Self::Overlay | Self::OverlayOff) || self.is_bridged_overlay()
    }

    /// Whether their ports are in a namespace that the network has for itself.
    pub(crate) fn is_bridged_overlay(self) -> bool {
        matches!(self, Self::Bridged | Self::BridgedOff)
    }

    /// What a container's interface carries, in bytes.
    pub(crate) fn mtu(self) -> &'static str {
        // An underlay of IPv4 takes 50.
        if self.is_overlay() { "1450" } else { "1500" }
    }

    /// The bridge the ports are on.
    pub(crate) fn bridge(self) -> Option<&'static str> {
        static OF_SEGMENT: LazyLock<String> = LazyLock::new(|| {
            let network: NetworkName = NETWORK.parse().unwrap();
            network.segment_bridge().to_string()
        });
        match self {
            Self::Layer3 | Self::Overlay | Self::OverlayOff => None,
            Self::Bridged | Self::BridgedOff => Some(&OF_SEGMENT),
            _ => Some(BRIDGE),
        }
    }

    /// The configurations to call, in order, with the directory their state is in: the main plugin's
    /// first.
    pub(crate) fn chain(self, state: &Path) -> Vec<Value> {
        let keys = match self {
            Self::Unguarded => return vec![bridge(&Suite::reference(), state)],
            Self::Chained => {
                let guard = json!({
                    "cniVersion": "1.0.0",
                    "name": NETWORK,
                    "type": "bulkhead-guard",
                    "blocks": [POOL4, POOL6],
                    "stateDir": state,
                });
                return vec![bridge(&Suite::reference(), state), guard];
            }
            Self::Layer3 => return vec![layer3(state)],
            Self::Overlay => return vec![overlay(state)],
            Self::OverlayOff => return vec![merged(overlay(state), json!({"guard": false}))],
            Self::Bridged => return vec![segment(state)],
            Self::BridgedOff => return vec![merged(segment(state), json!({"guard": false}))],
            Self::SwitchedOff => json!({"guard": false}),
            Self::BridgeL2 => json!({}),
            Self::BridgeL3 => json!({"segmentation": "l3"}),
            Self::Shaped => json!({"runtimeConfig": {"bandwidth": {
                "ingressRate": 1_000_000_000, "ingressBurst": 100_000_000,
                "egressRate": 1_000_000_000, "egressBurst": 100_000_000,
            }}, "capabilities": {"bandwidth": true}}),
        };
        vec![merged(bridge(&Suite::ours(), state), keys)]
    }
}

/// `config` with the members of `keys` set.
pub(crate) fn merged(mut config: Value, keys: Value) -> Value {
    let (Some(config_map), Value::Object(keys)) = (config.as_object_mut(), keys) else {
        panic!("a configuration is an object");
    };
    config_map.extend(keys);
    config
}

fn bridge(suite: &Suite, state: &Path) -> Value {
    let config = json!({
        "cniVersion": "1.0.0",
        "name": NETWORK,
        "bridge": BRIDGE,
        "isDefaultGateway": true,
        "ipam": {"ranges": [[{"subnet": POOL4}], [{"subnet": POOL6}]]},
    });
    suite.adapt(config, state)
}

fn layer3(state: &Path) -> Value {
    json!({
        "cniVersion": "1.0.0",
        "name": NETWORK,
        "type": "bulkhead-ipv6",
        "stateDir": state,
        "ipam": {
            "type": "bulkhead-ipam",
            "dataDir": state,
            "ranges": [[{"subnet": POOL4}], [{"subnet": POOL6}]],
        },
    })
}

fn segment(state: &Path) -> Value {
    let keys = json!({"mode": "bridged", "replication": true, "ipMasq": true});
    merged(overlay(state), keys)
}

fn overlay(state: &Path) -> Value {
    json!({
        "cniVersion": "1.0.0",
        "name": NETWORK,
        "type": "bulkhead-vxlan",
        "stateDir": state,
        "vni": VNI,
        "ipam": {
            "type": "bulkhead-ipam",
            "pool": POOL,
            "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
        },
    })
}
