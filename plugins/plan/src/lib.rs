//! World (is), Want (should be), and the plan that leads from one to the other. Pure: nothing here
//! can reach the kernel, a file, a clock, a socket or a process. ADD, CHECK, DEL, GC, rollback and
//! repair are all `plan(observed, want)`; see [`plan`].

mod bridge;
mod conflict;
mod detached;
mod filter;
mod link;
mod masquerade;
mod model;
mod op;
mod planner;
mod scope;
mod space;
mod want;
mod world;

pub use conflict::Conflict;
pub use filter::table_id as filter_table;
pub use masquerade::masquerade;
pub use model::Refusal;

pub use op::{Dad, LinkSetting, Op, Plan, Switch};
pub use planner::{plan, scope};
pub use scope::{Scope, SpaceScope, TableScope};
pub use space::{Ns, Sysctl};
pub use want::{
    Attached, Binding, Bridge, Detached, Filter, Foreign, Hook, Interface, NetworkGone,
    OtherGateways, Port, Restore, Want,
};
pub use world::{
    AddressState, Features, Link, LinkKind, PortFlags, Route, Space, TableState, World,
};

/// `RT_TABLE_MAIN` (`linux/rtnetlink.h`).
pub const MAIN_TABLE: u32 = 254;
