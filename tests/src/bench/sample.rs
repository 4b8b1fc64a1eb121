//! Latencies and what they say.

use std::time::{Duration, Instant};

/// What was measured of one contestant doing one thing in one way.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    latencies: Vec<Duration>,
    /// From the first call to the last answer, all batches together.
    pub answered: Duration,
    /// From the first call until nothing runs any more, all batches together.
    pub drained: Duration,
    /// User and system time, all batches together.
    pub cpu: Duration,
}

impl Sample {
    /// One batch, by when its calls began and ended and when all was over.
    pub(super) fn of(times: &[(Instant, Instant)], drained: Instant, cpu: Duration) -> Self {
        let first = times
            .iter()
            .map(|(began, _)| *began)
            .min()
            .unwrap_or(drained);
        let last = times
            .iter()
            .map(|(_, ended)| *ended)
            .max()
            .unwrap_or(drained);
        Self {
            latencies: times.iter().map(|(began, ended)| *ended - *began).collect(),
            answered: last - first,
            drained: drained - first,
            cpu,
        }
    }

    /// Adds one latency.
    pub fn push(&mut self, latency: Duration) {
        self.latencies.push(latency);
    }

    /// Adds what another batch measured.
    pub fn merge(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        self.answered += other.answered;
        self.drained += other.drained;
        self.cpu += other.cpu;
    }

    /// How many calls it is made of.
    #[must_use]
    pub fn len(&self) -> usize {
        self.latencies.len()
    }

    /// Whether nothing was measured.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.latencies.is_empty()
    }

    /// The latency that `percent` of the calls do not exceed (nearest rank); zero of an empty sample.
    #[must_use]
    pub fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * percent).div_ceil(100);
        sorted
            .get(rank.saturating_sub(1))
            .copied()
            .unwrap_or_default()
    }

    /// Calls a second, over the time until nothing runs any more.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        per_second(self.len(), self.drained)
    }

    /// Calls a second, over the time until the last answer.
    #[must_use]
    pub fn answers_per_second(&self) -> f64 {
        per_second(self.len(), self.answered)
    }

    /// User and system time of one call.
    #[must_use]
    pub fn cpu_each(&self) -> Duration {
        let calls = u32::try_from(self.len()).unwrap_or(u32::MAX).max(1);
        self.cpu / calls
    }
}

fn per_second(calls: usize, time: Duration) -> f64 {
    let calls = f64::from(u32::try_from(calls).unwrap_or(u32::MAX));
    calls / time.as_secs_f64().max(f64::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let mut sample = Sample::default();
        (1..=200)
            .rev()
            .for_each(|ms| sample.push(Duration::from_millis(ms)));
        let at = |percent| sample.percentile(percent).as_millis();
        assert_eq!([at(50), at(90), at(99), at(100)], [100, 180, 198, 200]);
        assert_eq!(Sample::default().percentile(50), Duration::ZERO);
    }
}
