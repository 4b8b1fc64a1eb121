//! Who may talk to whom. The model every source of policies is brought to, and the judge of what is
//! written, who reads it as a person would, word by word.
//!
//! Readers (Kubernetes objects, our own) make a [`World`]; the compiler turns one into tables; [`evaluate`]
//! says what those tables must do. Nothing here touches a file, a clock, a socket or a process.

pub mod classes;
pub mod compile;
pub mod diff;
pub mod edit;
mod endpoint;
mod engine;
pub mod interpret;
mod labels;
pub mod lint;
mod matcher;
pub mod matrix;
mod own_prefix;
mod packet;
mod parts;
mod peer;
mod policy;
mod port;
mod question;
pub mod read;
pub mod representatives;
mod selector;
mod tier;
mod verdict;
mod world;

pub use compile::{Changes, Compiler, Local, Ruleset, compile};
pub use endpoint::{Endpoint, EndpointId, GroupName, NamedPort, NodeName, Place};
pub use engine::{Engine, Judgement, Undecided};
pub use interpret::Interpreter;
pub use labels::Labels;
pub use matcher::{Matcher, evaluate};
pub use own_prefix::OwnPrefix;
pub use packet::{Packet, Space, Traffic};
pub use parts::Part;
pub use peer::{Block, EndpointSelector, Entity, Namespaces, Peer};
pub use policy::{Action, Direction, Mode, Origin, Policy, PolicyId, PolicyKind, Rule};
pub use port::{Port, PortRange};
pub use question::{NoQuestion, Question};
pub use selector::{Requirement, Selector, Test};
pub use tier::{Priority, Tier};
pub use verdict::{Considered, Decision, Outcome, Reason, Side, Verdict};
pub use world::{Namespace, Network, Node, Stance, World};
