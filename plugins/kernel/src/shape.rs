//! Token bucket filters as rtnetlink shows them (`struct tc_tbf_qopt`, `TCA_TBF_*`,
//! `linux/pkt_sched.h`; `net/sched/sch_tbf.c`).

use bulkhead_plan::Shape;

use crate::attributes::{attribute, find, number, text};

/// The qdisc's name.
pub(crate) const KIND: &str = "tbf";

const TCA_TBF_PARMS: u16 = 1;
const TCA_TBF_RATE64: u16 = 4;
const TCA_TBF_BURST: u16 = 6;
/// Length of `struct tc_ratespec`.
const RATESPEC: usize = 12;
/// Length of `struct tc_tbf_qopt`: rate, peak rate, limit, burst as time, the peak rate's burst.
const QOPT: usize = 2 * RATESPEC + 12;
/// Where a rate spec has its 32-bit rate, in bytes per second.
const RATE: usize = 8;
/// What every burst of ours is a multiple of: it comes back as time.
const GRAIN: u128 = 1024;

/// The value of `TCA_OPTIONS`. A link layer is named, so that no table of packet times is needed; the
/// burst is given in bytes, for the kernel to turn into time.
pub(crate) fn options(shape: &Shape) -> Vec<Vec<u8>> {
    const TC_LINKLAYER_ETHERNET: u8 = 1;
    let short = u32::try_from(shape.rate);
    let mut qopt = [0; QOPT];
    qopt[1] = TC_LINKLAYER_ETHERNET;
    qopt[RATE..RATESPEC].copy_from_slice(&short.unwrap_or(u32::MAX).to_ne_bytes());
    qopt[RATESPEC + 1] = TC_LINKLAYER_ETHERNET;
    qopt[2 * RATESPEC..][..4].copy_from_slice(&shape.limit.to_ne_bytes());
    let long = short
        .is_err()
        .then(|| attribute(TCA_TBF_RATE64, &shape.rate.to_ne_bytes()));
    let fixed = [
        attribute(TCA_TBF_PARMS, &qopt),
        attribute(TCA_TBF_BURST, &shape.burst.to_ne_bytes()),
    ];
    fixed.into_iter().chain(long).collect()
}

/// The filter that a qdisc message (`struct tcmsg`) tells of; `None` if it is another qdisc, or has
/// what none of ours has: a peak rate or an overhead per packet.
pub(crate) fn decode(body: &[u8]) -> Option<Shape> {
    const TCMSG: usize = 20;
    const TCA_KIND: u16 = 1;
    const TCA_OPTIONS: u16 = 2;
    let rest = body.get(TCMSG..)?;
    if find(rest, TCA_KIND).and_then(text) != Some(KIND) {
        return None;
    }
    let options = find(rest, TCA_OPTIONS)?;
    let qopt = find(options, TCA_TBF_PARMS)?;
    let field = |at: usize| number(qopt.get(at..)?);
    if field(RATESPEC + RATE)? != 0 || qopt.get(2..4)? != [0; 2] {
        return None;
    }
    let rate = match find(options, TCA_TBF_RATE64) {
        Some(rate) => u64::from_ne_bytes(rate.try_into().ok()?),
        None => u64::from(field(RATE)?),
    };
    Some(Shape {
        rate,
        burst: burst(rate, field(2 * RATESPEC + 4)?)?,
        limit: field(2 * RATESPEC)?,
    })
}

/// The burst whose time at the rate is that many ticks of 64 ns (`PSCHED_SHIFT`,
/// `net/pkt_sched.h`), rounded down by the kernel. One that is no multiple of [`GRAIN`] becomes the
/// nearest: it is none of ours either way.
fn burst(rate: u64, ticks: u32) -> Option<u32> {
    let nanoseconds = u128::from(ticks) * 64 + 32;
    let bytes = nanoseconds * u128::from(rate) / 1_000_000_000;
    u32::try_from((bytes + GRAIN / 2) / GRAIN * GRAIN).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `RTM_NEWQDISC` for 40 Gbit/s, a burst of 19,532 KiB and a limit of
    /// 145,000,768 bytes: the burst is 62,502 ticks.
    fn answer() -> Vec<u8> {
        let mut qopt = [0; QOPT];
        qopt[1] = 1;
        qopt[8..12].copy_from_slice(&u32::MAX.to_ne_bytes());
        qopt[24..28].copy_from_slice(&145_000_768_u32.to_ne_bytes());
        qopt[28..32].copy_from_slice(&62_502_u32.to_ne_bytes());
        let options = [
            attribute(TCA_TBF_PARMS, &qopt),
            attribute(TCA_TBF_RATE64, &5_000_000_000_u64.to_ne_bytes()),
        ];
        let mut body = vec![0; 20];
        body.extend(attribute(1, b"tbf\0"));
        body.extend(attribute(2, &options.concat()));
        body
    }

    #[test]
    fn a_burst_is_told_from_its_time() {
        let shape = Shape {
            rate: 5_000_000_000,
            burst: 19_532 * 1024,
            limit: 145_000_768,
        };
        assert_eq!(decode(&answer()), Some(shape));
    }

    #[test]
    fn a_cut_answer_is_no_shape() {
        let whole = answer();
        for len in 0..whole.len() {
            assert_eq!(decode(&whole[..len]), None, "{len}");
        }
    }
}
