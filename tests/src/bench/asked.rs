//! What a runtime asks for in these runs.

use serde_json::{Value, json};

use netns_fixtures::Transport;

const FIRST_HOST_PORT: usize = 20_000;
const FIRST_CONTAINER_PORT: usize = 1_000;
/// 100 Mbit/s with bursts of 1 Mbit: no call is held up by it.
const RATE: u64 = 100_000_000;
const BURST: u64 = 1_000_000;

/// A mapping, the `nth` of its node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Mapping {
    pub(crate) transport: Transport,
    pub(crate) host_port: u16,
    pub(crate) container_port: u16,
}

impl Mapping {
    pub(crate) fn new(nth: usize) -> Self {
        let port = |first: usize| u16::try_from(first + nth).expect("thousands of ports");
        Self {
            transport: if nth.is_multiple_of(2) {
                Transport::Tcp
            } else {
                Transport::Udp
            },
            host_port: port(FIRST_HOST_PORT),
            container_port: port(FIRST_CONTAINER_PORT),
        }
    }

    /// Two for each slot.
    pub(crate) fn of_slot(nth: usize) -> [Self; 2] {
        [Self::new(2 * nth), Self::new(2 * nth + 1)]
    }

    fn asked(self) -> Value {
        json!({
            "hostPort": self.host_port,
            "containerPort": self.container_port,
            "protocol": match self.transport {
                Transport::Tcp => "tcp",
                Transport::Udp => "udp",
            },
        })
    }
}

/// These mappings.
pub(crate) fn mappings(mappings: impl IntoIterator<Item = Mapping>) -> Value {
    let asked: Vec<_> = mappings.into_iter().map(Mapping::asked).collect();
    json!({ "portMappings": asked })
}

/// Two host ports and a limit in each direction, for the slot of that number.
#[must_use]
pub fn two_ports_and_limits(nth: usize) -> Value {
    let mut asked = mappings(Mapping::of_slot(nth));
    asked["bandwidth"] = json!({
        "ingressRate": RATE,
        "ingressBurst": BURST,
        "egressRate": RATE,
        "egressBurst": BURST,
    });
    asked
}
