//! How a rate becomes a token bucket filter (`net/sched/sch_tbf.c`).

use std::fmt;

use bulkhead_model::{Mtu, RateLimit};

/// Bursts are whole multiples of this. The kernel keeps a burst as the time it takes at the rate, in
/// steps of 64 ns; up to 60 Gbit/s the nearest multiple is the one that was set.
const GRAIN: u64 = 1024;
/// What a link header may add to a packet: Ethernet and two VLAN tags.
const HEADERS: u64 = 22;
/// Packets that a bucket holds at least. One larger than the bucket is dropped, and one bucketful at
/// a time would wait for a timer after each packet.
const PACKETS: u64 = 4;
/// The time a bucket lasts at least, in parts of a second: timers fire late on a busy node, and what
/// a bucket cannot hold in between is lost.
const LATENESS: u64 = 250;
/// The time a bucket lasts where the burst asked for only says that none is: 10 ms.
const LEISURE: u64 = 100;
/// The time a bucket lasts at most, in seconds: the kernel tells it in 32 bits of 64 ns.
const LONGEST: u64 = 256;
/// How long a packet may wait, in parts of a second: 25 ms, as in the reference plugin.
const PATIENCE: u64 = 40;
/// What runtimes ask for when they were told a rate and no burst, in bits: kubelet and CRI-O the
/// largest 32-bit number with a sign, containerd the largest without.
const NO_BURST: [u64; 2] = [i32::MAX as u64, u32::MAX as u64];

/// A token bucket filter.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Shape {
    /// Bytes per second.
    pub rate: u64,
    /// Bytes that may pass at once: a multiple of 1024.
    pub burst: u32,
    /// Bytes that may wait.
    pub limit: u32,
}

impl Shape {
    /// What keeps to `limit` on a link of that MTU. The burst is at least four packets and 4 ms at the
    /// rate, so that the rate can be reached; one that says no more than that none was given
    /// becomes 10 ms at the rate.
    #[must_use]
    pub fn new(limit: RateLimit, mtu: Mtu) -> Self {
        let rate = (limit.rate / 8).max(1);
        let asked = if NO_BURST.contains(&limit.burst) {
            rate / LEISURE
        } else {
            limit.burst / 8
        };
        let packets = PACKETS * (u64::from(mtu.bytes()) + HEADERS);
        let burst = asked.min(rate.saturating_mul(LONGEST));
        let burst = burst.max(packets).max(rate / LATENESS);
        let burst = grained(burst);
        let queue = (rate / PATIENCE).max(packets);
        Self {
            rate,
            burst,
            limit: u32::try_from(queue + u64::from(burst)).unwrap_or(u32::MAX),
        }
    }
}

/// Rounded up to whole grains; the largest number of them that fits 32 bits, if it is more.
fn grained(burst: u64) -> u32 {
    let most = u64::from(u32::MAX) / GRAIN * GRAIN;
    let whole = burst.div_ceil(GRAIN).saturating_mul(GRAIN).min(most);
    u32::try_from(whole).expect("at most `most`")
}

impl fmt::Display for Shape {
    /// As `tc` reads it; `b` is bytes there.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rate, burst, limit } = self;
        write!(f, "tbf rate {}bit burst {burst}b limit {limit}b", rate * 8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(rate: u64, burst: u64) -> Shape {
        Shape::new(RateLimit { rate, burst }, Mtu::ETHERNET)
    }

    #[test]
    fn a_bucket_holds_packets_at_any_rate() {
        for rate in [
            64_000,
            1_000_000,
            100_000_000,
            1_000_000_000,
            10_000_000_000,
        ] {
            let shape = shape(rate, 1);
            assert!(shape.burst >= 4 * 1522, "{shape}");
            assert!(u64::from(shape.burst) >= shape.rate / 250, "{shape}");
            assert!(shape.limit > shape.burst, "{shape}");
        }
    }

    #[test]
    fn a_burst_that_says_nothing_is_ten_milliseconds() {
        for none in NO_BURST {
            let burst = shape(1_000_000_000, none).burst;
            assert_eq!(u64::from(burst), 1_250_000_u64.div_ceil(1024) * 1024);
        }
    }

    #[test]
    fn a_burst_that_is_asked_for_is_kept() {
        assert_eq!(shape(1_000_000, 8 * 1024 * 1024).burst, 1024 * 1024);
        assert_eq!(
            shape(80_000_000, 8 * u64::from(u32::MAX)).burst,
            2_560_000_000
        );
        assert_eq!(
            shape(1_000_000, 80_000).to_string(),
            "tbf rate 1000000bit burst 10240b limit 16328b"
        );
    }
}
