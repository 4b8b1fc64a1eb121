//! Sandboxes, topologies, packets and captures for tests, the demo and the benchmarks.
//!
//! A *host* here is a network namespace of its own: a test builds one, runs the plugins inside it,
//! looks at it through independent readers (`ip`, `bridge`, `nft`, `tc`, `/proc/sys/net`) and drops
//! it. Nothing in this crate changes the namespace the test process lives in, so tests run in
//! parallel and need nothing from the machine but root.

mod capture;
mod cni_call;
#[cfg(feature = "etcd")]
mod etcd;
mod feature;
mod lan;
mod noise;
mod ns;
pub mod packet;
mod ping;
mod prefix_chain;
mod process;
mod ruleset;
mod sandbox;
mod snapshot;
pub mod tell;
mod topology;
mod traffic;
mod wait;

pub use capture::{Capture, CaptureError, Captured, Direction, PacketSocket};
pub use cni_call::{CniAnswer, CniCall, Verb};
#[cfg(feature = "etcd")]
pub use etcd::{Authority, CertificateFiles, Etcd, EtcdLogin, EtcdOptions, Place, Validity};
pub use feature::{Feature, skip};
pub use lan::Lan;
pub use ns::{Ns, NsError};
pub use ping::{Ping, path_mtu};
pub use process::{ProcessError, run_bounded};
pub use sandbox::Sandbox;
pub use snapshot::{Section, Snapshot};
pub use topology::{BridgeNetfilter, Container, End, Host, Outside, Pair, carries, veth};
pub use traffic::{EchoServer, Transport, tcp_echo, udp_echo};
pub use wait::{wait_for, wait_until};
