//! ICMP echo from a namespace, with the kernel's own view of path MTU.
//!
//! Through the `ping` executable of iputils: an unprivileged ICMP socket cannot set the
//! don't-fragment flag or see ICMP errors without `unsafe`, and a second implementation next to
//! ours is what a test wants.

use std::net::IpAddr;
use std::process::Command;
use std::time::Duration;

use crate::ns::{Ns, NsError};

/// One echo exchange, and how to make it.
#[derive(Clone, Debug)]
pub struct Ping {
    to: IpAddr,
    zone: Option<String>,
    limit: Duration,
    size: Option<(usize, bool)>,
}

impl Ping {
    /// An echo with 56 bytes of data and 5 s for the answer.
    #[must_use]
    pub fn new(to: impl Into<IpAddr>) -> Self {
        Self {
            to: to.into(),
            zone: None,
            limit: Duration::from_secs(5),
            size: None,
        }
    }

    /// How long to wait; requests are repeated every 0.2 s until then.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// The interface to send from, which a link-local address needs.
    #[must_use]
    pub fn via(mut self, interface: &str) -> Self {
        self.zone = Some(interface.to_owned());
        self
    }

    /// Makes IP packets of exactly `bytes` bytes (headers included) that may be fragmented.
    #[must_use]
    pub fn packet_size(mut self, bytes: usize) -> Self {
        self.size = Some((bytes, false));
        self
    }

    /// Makes IP packets of exactly `bytes` bytes (headers included) with don't-fragment set; a
    /// packet above the path's MTU gets no answer.
    #[must_use]
    pub fn unfragmented(mut self, bytes: usize) -> Self {
        self.size = Some((bytes, true));
        self
    }

    /// Whether an answer came within the limit.
    ///
    /// # Errors
    /// As [`Ns::output`]; `Command` when `ping` could not try at all (exit status 2 and a reason
    /// other than an unreachable destination).
    pub fn from(&self, ns: &Ns) -> Result<bool, NsError> {
        let mut command = Command::new("ping");
        let seconds = self.limit.as_secs_f64().max(0.2);
        // -w with -c 1 repeats until one answer or the deadline; -n: no names, -q: no lines.
        command.args(["-n", "-q", "-c", "1", "-i", "0.2"]);
        command.args(["-w", &format!("{}", seconds.ceil())]);
        if let Some((bytes, whole)) = self.size {
            let headers = if self.to.is_ipv4() { 28 } else { 48 };
            command.args(["-s", &bytes.saturating_sub(headers).to_string()]);
            command.args(["-M", if whole { "do" } else { "dont" }]);
        }
        if let Some(interface) = &self.zone {
            command.args(["-I", interface]);
        }
        command.arg(self.to.to_string());
        let output = ns.output(&mut command, b"", self.limit + Duration::from_secs(10))?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        match output.status.code() {
            Some(0) => Ok(true),
            Some(1) => Ok(false),
            // No route, a rule that answers, a packet above the device's MTU: tried and refused.
            _ if stderr.contains("nreachable") || stderr.contains("essage too long") => Ok(false),
            _ => Err(NsError::Command {
                ns: ns.name().to_owned(),
                command: format!("ping {}", self.to),
                status: output.status,
                stderr: stderr.trim().to_owned(),
            }),
        }
    }
}

/// The largest packet in bytes, up to `at_most`, that reaches `to` from `ns` and is answered
/// without fragmentation; `None` when not even the family's minimum (68 or 1280 bytes) is.
///
/// # Errors
/// As [`Ping::from`].
pub fn path_mtu(ns: &Ns, to: IpAddr, at_most: usize) -> Result<Option<usize>, NsError> {
    let passes = |bytes| {
        Ping::new(to)
            .limit(Duration::from_secs(1))
            .unfragmented(bytes)
            .from(ns)
    };
    if passes(at_most)? {
        return Ok(Some(at_most));
    }
    let (mut low, mut high) = (if to.is_ipv4() { 68 } else { 1280 }, at_most);
    if !passes(low)? {
        return Ok(None);
    }
    while high - low > 1 {
        let middle = usize::midpoint(low, high);
        if passes(middle)? {
            low = middle;
        } else {
            high = middle;
        }
    }
    Ok(Some(low))
}
