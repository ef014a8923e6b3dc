//! How many records one call of a stage may carry, so that it ends well within its deadline.
//!
//! A service that needs 0.6 s a record does the work of a call of a hundred, but answers after the deadline: sent again as
//! it was, the same call would time out for ever. So the size follows the time per record that was observed.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;

use super::datetime::after;

/// Most records of one upsert or update, and most contacts of one call to add tags (official docs, api-limits: 100, and 500 for
/// tags, whose ids travel in the URL here).
pub const MAX_BATCH: usize = 100;

/// Records of a process's first call, whose time per record is not known: a slow service does no more of them twice.
const FIRST_BATCH: usize = 25;

/// The slowest of this many calls decides.
const OBSERVED_CALLS: usize = 10;

/// After a call that ended ambiguously the size stays at or below half of the call's for this long.
const CAP_DURATION: Duration = Duration::from_secs(10 * 60);

/// The size of a stage's calls. In memory only: the first call of a process has at most `FIRST_BATCH` records.
#[derive(Debug, Clone)]
pub struct BatchSize {
    size: usize,
    /// Half of the size that failed, and until when it limits.
    cap: Option<(usize, Timestamp)>,
    /// Time per record of the last calls that succeeded.
    observed: VecDeque<Duration>,
    /// A quarter more than the last call carried, where it ended within half a deadline: however long a call takes by itself,
    /// so many records fit into one.
    proven: usize,
}

impl Default for BatchSize {
    fn default() -> Self {
        Self {
            size: MAX_BATCH,
            cap: None,
            observed: VecDeque::with_capacity(OBSERVED_CALLS),
            proven: 0,
        }
    }
}

impl BatchSize {
    /// Most records of the next call, 1 to [`MAX_BATCH`]: as many as fit into half of `deadline` at the slowest observed
    /// pace.
    pub fn limit(&self, deadline: Duration, now: Timestamp) -> usize {
        let by_pace = match self.observed.iter().max() {
            Some(slowest) if !slowest.is_zero() => {
                usize::try_from((deadline / 2).as_nanos() / slowest.as_nanos()).unwrap_or(MAX_BATCH)
            }
            Some(_) => MAX_BATCH,
            None => FIRST_BATCH,
        };
        let cap = self
            .cap
            .filter(|(_, until)| now < *until)
            .map_or(MAX_BATCH, |(cap, _)| cap);
        self.size.min(by_pace.max(self.proven)).min(cap).max(1)
    }

    /// A call succeeded that might have taken `deadline`.
    pub fn succeeded(&mut self, records: usize, took: Duration, deadline: Duration) {
        self.proven = if took <= deadline / 2 {
            with_a_quarter(records)
        } else {
            0
        };
        if self.observed.len() == OBSERVED_CALLS {
            self.observed.pop_front();
        }
        let records = u32::try_from(records.max(1)).unwrap_or(u32::MAX);
        self.observed.push_back(took / records);
        self.size = with_a_quarter(self.size).min(MAX_BATCH);
    }

    /// A call of records that had not failed before ended ambiguously. That of a single record, which may be a probe, says
    /// nothing of how many are too many.
    pub fn ended_ambiguously(&mut self, records: usize, now: Timestamp) {
        if records > 1 {
            self.size = records / 2;
            self.cap = Some((self.size, after(now, CAP_DURATION)));
        }
    }
}

fn with_a_quarter(records: usize) -> usize {
    records + (records / 4).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(30);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn slow_service_gets_what_it_can_do_in_half_a_deadline() {
        let mut size = BatchSize::default();
        size.succeeded(10, Duration::from_secs(6), DEADLINE);
        assert_eq!(size.limit(DEADLINE, at(0)), 25);
        for _ in 0..OBSERVED_CALLS - 1 {
            size.succeeded(10, Duration::from_secs(1), DEADLINE);
            assert_eq!(size.limit(DEADLINE, at(0)), 25, "the slowest of ten calls decides");
        }
        size.succeeded(10, Duration::from_secs(1), DEADLINE);
        assert_eq!(size.limit(DEADLINE, at(0)), MAX_BATCH);
        size.succeeded(1, Duration::from_secs(29), DEADLINE);
        assert_eq!(size.limit(DEADLINE, at(0)), 1, "one record is always sent");
    }

    #[test]
    fn latency_of_a_call_does_not_keep_batches_small() {
        let mut size = BatchSize::default();
        let mut sizes = Vec::new();
        for _ in 0..20 {
            // Eight seconds, whatever it carries.
            let records = sizes.last().copied().unwrap_or(1);
            size.succeeded(records, Duration::from_secs(8), DEADLINE);
            sizes.push(size.limit(DEADLINE, at(0)));
        }
        assert_eq!(sizes[..6], [2, 3, 4, 5, 6, 7]);
        assert_eq!(sizes.last(), Some(&MAX_BATCH));
    }

    #[test]
    fn failed_probe_says_nothing_of_the_size() {
        let mut size = BatchSize::default();
        size.succeeded(1, Duration::ZERO, DEADLINE);
        size.ended_ambiguously(1, at(0));
        assert_eq!(size.limit(DEADLINE, at(0)), MAX_BATCH);
    }

    #[test]
    fn ambiguous_end_halves_the_size_for_ten_minutes() {
        let mut size = BatchSize::default();
        size.succeeded(100, Duration::ZERO, DEADLINE);
        size.ended_ambiguously(80, at(0));
        assert_eq!(size.limit(DEADLINE, at(0)), 40);
        for _ in 0..20 {
            size.succeeded(40, Duration::ZERO, DEADLINE);
        }
        assert_eq!(size.limit(DEADLINE, at(599)), 40);
        assert_eq!(size.limit(DEADLINE, at(600)), MAX_BATCH);
    }

    #[test]
    fn size_grows_by_a_quarter_once_the_cap_is_over() {
        let mut size = BatchSize::default();
        size.ended_ambiguously(16, at(0));
        let mut sizes = Vec::new();
        for _ in 0..4 {
            size.succeeded(8, Duration::ZERO, DEADLINE);
            sizes.push(size.limit(DEADLINE, at(600)));
        }
        assert_eq!(sizes, [10, 12, 15, 18]);
    }
}
