//! World (is), Want (should be), and the plan that leads from one to the other. Pure: nothing here
//! can reach the kernel, a file, a clock, a socket or a process. ADD, CHECK, DEL, GC, rollback and
//! repair are all `plan(observed, want)`; see [`plan`].

mod bridge;
mod conflict;
mod detached;
mod filter;
mod guard;
mod guarded;
mod host_ports;
mod ipsec;
mod link;
mod model;
mod nat;
mod op;
mod overlay;
mod planner;
mod point_to_point;
mod scope;
mod segment;
mod segments;
mod shape;
mod space;
mod stranger;
mod want;
mod world;

pub use conflict::Conflict;
pub use filter::{filter_of, table_id as filter_table};
pub use guard::{
    Binding, Budgets, Clause, Guard, Held, Holds, Identity, LOG_GROUP, Multicast, Reason, Role,
    Surroundings, TO_ALL, TO_NODE,
};
pub use host_ports::table_id as host_port_table;
pub use ipsec::{
    ALGORITHM, Direction, Ipsec, IpsecState, KEY_LEN, POLICY_PRIORITY, PolicyKey, PolicyState,
    REPLAY_WINDOW, REQID, Sa, SaKey, SaState, Sealed, SealedPeer, Takeover,
};
pub use model::Refusal;
pub use nat::NetworkNat;

pub use op::{Dad, LinkSetting, Op, Plan, Switch};
pub use overlay::{
    Near, Overlay, OverlayGone, Peer, TunnelDrop, Tunnels, Vtep, near, obstacles,
    table_id as overlay_table,
};
pub use planner::{plan, scope};
pub use scope::{Entries, MapScope, Scope, SpaceScope, TableScope};
pub use segment::{Plugged, Segment, SegmentGone, Station};
pub use segments::{UNHELD, table_id as segment_table};
pub use shape::Shape;
pub use space::{Ns, Sysctl};
pub use stranger::Stranger;
pub use want::{
    Advertised, Attached, Bridge, Detached, Filter, Foreign, Forward, Guarded, Hook, HostPorts,
    Interface, Known, Localnet, Neighbour, NetworkGone, OtherGateways, Place, PointToPoint, Port,
    Restore, Unguarded, Want,
};
pub use world::{
    AddressState, DontFragment, FdbEntry, Features, Flow, Link, LinkKind, MulticastRouter,
    NeighbourState, OnLink, PortFlags, Reach, Route, Space, TableState, Vxlan, World,
};

/// `RT_TABLE_MAIN` (`linux/rtnetlink.h`).
pub const MAIN_TABLE: u32 = 254;

/// The metric of our blackhole routes: the last one, so that anybody's route to the same block wins.
pub const BLACKHOLE_PRIORITY: u32 = u32::MAX;
