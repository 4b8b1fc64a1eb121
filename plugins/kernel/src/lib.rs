//! Effects: observe a scope of the kernel as a [`World`](bulkhead_plan::World), apply a
//! [`Plan`](bulkhead_plan::Plan) to it. Blocking, and it decides nothing: what to do is `plan`'s, when
//! to do it again is `attach`'s.

mod announce;
mod apply;
mod attributes;
mod changes;
mod connections;
mod conntrack;
mod counters;
mod deletion;
mod error;
mod ethtool;
mod links;
mod local;
mod log;
mod maps;
mod message;
mod named;
mod netns;
mod nfnetlink;
mod nftables;
mod node;
mod observe;
mod overlay;
mod pending;
mod place;
mod reaper;
mod request;
mod routes;
mod ruleset;
mod shape;
mod socket;
mod standing;
mod survey;
mod sysctls;
mod wait;
mod ways;
mod xfrm;

pub use changes::{Changes, Heard, IpsecChanges};
pub use connections::Connection;
pub use deletion::{Deletion, REAPER, Wait, reap_main};
pub use error::{ApplyError, NetlinkError, ObserveError, OpError, Refusal};
pub use log::{LogListener, Logged};
pub use netns::{Identity, Netns, NetnsError};
pub use node::machine_id;
pub use overlay::Underlay;
pub use place::{Kernel, Spent};
pub use reaper::Reaper;
pub use survey::{DefaultRoute, HostLink, OtherEnd};
pub use ways::{Entering, Leads, Way};
pub use xfrm::NoIpsec;
