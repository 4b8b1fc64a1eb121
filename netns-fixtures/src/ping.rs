//! ICMP echo from a namespace, with the kernel's own view of path MTU.
//!
//! Through the `ping` executable of iputils: an unprivileged ICMP socket cannot set the
//! don't-fragment flag or see ICMP errors without `unsafe`, and a second implementation next to
//! ours is what a test wants.

use std::net::IpAddr;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::ns::{Ns, NsError};

/// How long one request waits for its answer.
const REPEAT: Duration = Duration::from_millis(500);
/// The shortest such wait, and the pause between requests.
const SHORTEST: Duration = Duration::from_millis(20);

/// One echo exchange, and how to make it.
#[derive(Clone, Debug)]
pub struct Ping {
    to: IpAddr,
    zone: Option<String>,
    limit: Duration,
    is_single: bool,
    size: Option<(usize, bool)>,
}

impl Ping {
    /// An echo with 56 bytes of data and 20 s for the answer.
    #[must_use]
    pub fn new(to: impl Into<IpAddr>) -> Self {
        Self {
            to: to.into(),
            zone: None,
            limit: Duration::from_secs(20),
            is_single: false,
            size: None,
        }
    }

    /// How long to wait; a request is repeated every 0.5 s until then.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// The first request has to be answered, though it may take all the time there is.
    #[must_use]
    pub fn single(mut self) -> Self {
        self.is_single = true;
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
        if self.is_single {
            return Ok(matches!(self.once(ns, self.limit)?, Answer::Came));
        }
        let deadline = Instant::now() + self.limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let patience = left.clamp(SHORTEST, REPEAT);
            if let Answer::Came = self.once(ns, patience)? {
                return Ok(true);
            }
            // A refusal comes at once: without the pause it would be asked for all the time.
            let left = deadline.saturating_duration_since(Instant::now());
            if left < SHORTEST {
                return Ok(false);
            }
            thread::sleep(SHORTEST);
        }
    }

    /// One request.
    fn once(&self, ns: &Ns, patience: Duration) -> Result<Answer, NsError> {
        let mut command = Command::new("ping");
        let patience_secs = format!("{:.3}", patience.as_secs_f64());
        command.args(["-n", "-c", "1", "-W", &patience_secs]);
        if let Some((bytes, whole)) = self.size {
            let headers = if self.to.is_ipv4() { 28 } else { 48 };
            command.args(["-s", &bytes.saturating_sub(headers).to_string()]);
            command.args(["-M", if whole { "do" } else { "dont" }]);
        }
        if let Some(interface) = &self.zone {
            command.args(["-I", interface]);
        }
        command.arg(self.to.to_string());
        let output = ns.output(&mut command, b"", patience + Duration::from_secs(10))?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        let reported = mtu_in(&stderr).or_else(|| mtu_in(&String::from_utf8_lossy(&output.stdout)));
        match output.status.code() {
            Some(0) => Ok(Answer::Came),
            Some(1) => Ok(Answer::Absent { mtu: reported }),
            // No route, or a rule that answers: tried and refused.
            _ if stderr.contains("nreachable") => Ok(Answer::Absent { mtu: None }),
            _ => Err(NsError::Command {
                ns: ns.name().to_owned(),
                command: format!("ping {}", self.to),
                status: output.status,
                stderr: stderr.trim().to_owned(),
            }),
        }
    }
}

enum Answer {
    Came,
    /// None came; a router or the own kernel may have told a narrower MTU in bytes.
    Absent {
        mtu: Option<usize>,
    },
}

/// The number after the first "mtu" of an error that `ping` prints (`mtu = 1400`, `mtu: 1400`).
fn mtu_in(text: &str) -> Option<usize> {
    let (_, after) = text.split_once("mtu")?;
    let digits = after.trim_start_matches([' ', '=', ':']);
    let end = digits.find(|c: char| !c.is_ascii_digit());
    digits[..end.unwrap_or(digits.len())].parse().ok()
}

/// The largest packet in bytes, up to `at_most`, that reaches `to` from `ns` and is answered
/// without fragmentation; `None` when not even the family's minimum (68 or 1280 bytes) is. What
/// routers report is only tried first: the answer is what passed, one byte more did not.
///
/// # Errors
/// As [`Ping::from`].
pub fn path_mtu(ns: &Ns, to: IpAddr, at_most: usize) -> Result<Option<usize>, NsError> {
    let minimum = if to.is_ipv4() { 68 } else { 1280 };
    // Below `passed + 1` everything passes, from `failed` on nothing.
    let (mut passed, mut failed) = (minimum - 1, at_most + 1);
    let mut hints = vec![at_most];
    while failed - passed > 1 {
        let hint = hints.pop().filter(|size| passed < *size && *size < failed);
        let size = hint.unwrap_or(usize::midpoint(passed, failed));
        match Ping::new(to).unfragmented(size).once(ns, REPEAT)? {
            Answer::Came => passed = size,
            Answer::Absent { mtu } => {
                failed = size;
                hints.extend(mtu.into_iter().flat_map(|mtu| [mtu + 1, mtu]));
            }
        }
    }
    Ok((passed >= minimum).then_some(passed))
}
