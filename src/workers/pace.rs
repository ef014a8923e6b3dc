//! What a stage's worker has observed of its calls: how many records the next may carry, and of which kind.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::batch_size::BatchSize;
use crate::domain::breaker::Cause;
use crate::store::{Prefer, Stage};

/// Of so many claims one is for suspects, so that bisection goes on, and the others for fresh syncs, so that these flow.
const CLAIMS_PER_SUSPECTS: u32 = 4;

/// So many calls in a row that carried only leads that had failed before, without a success, are the service's failure.
const FAILED_LEADS_THRESHOLD: u32 = 3;

/// One for each stage.
#[derive(Default)]
pub struct Paces([Mutex<Pace>; 3]);

impl Paces {
    pub(super) fn of(&self, stage: Stage) -> MutexGuard<'_, Pace> {
        // Counts and durations are whole whatever panicked while it held them.
        self.0[stage as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// That of one stage.
#[derive(Default)]
pub(super) struct Pace {
    size: BatchSize,
    claims: u32,
    failed_leads_calls: u32,
}

impl Pace {
    /// How many syncs to claim next, and which kind first.
    pub(super) fn next(&self, deadline: Duration, now: Timestamp) -> (usize, Prefer) {
        let is_for_suspects = self.claims % CLAIMS_PER_SUSPECTS == CLAIMS_PER_SUSPECTS - 1;
        let prefer = if is_for_suspects {
            Prefer::Suspects
        } else {
            Prefer::Fresh
        };
        (self.size.limit(deadline, now), prefer)
    }

    /// A claim brought syncs.
    pub(super) fn claimed(&mut self) {
        self.claims = self.claims.wrapping_add(1);
    }

    /// A call was answered.
    pub(super) fn succeeded(&mut self, records: usize, took: Duration, deadline: Duration) {
        self.size.succeeded(records, took, deadline);
        self.failed_leads_calls = 0;
    }

    /// A call with fresh records was too much for the service.
    pub(super) fn shrink(&mut self, records: usize, now: Timestamp) {
        self.size.ended_ambiguously(records, now);
    }

    /// A call ended ambiguously. Returns whether that is the service's failure.
    pub(super) fn ended_ambiguously(&mut self, cause: Cause) -> bool {
        match cause {
            Cause::Service => true,
            Cause::FailedLeads => {
                self.failed_leads_calls += 1;
                self.failed_leads_calls >= FAILED_LEADS_THRESHOLD
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_claim_of_four_prefers_suspects() {
        let mut pace = Pace::default();
        let mut preferred = Vec::new();
        for _ in 0..8 {
            let (_, prefer) = pace.next(Duration::from_secs(30), Timestamp::UNIX_EPOCH);
            preferred.push(prefer == Prefer::Suspects);
            pace.claimed();
        }
        assert_eq!(preferred, [false, false, false, true, false, false, false, true]);
    }

    #[test]
    fn failed_leads_are_the_services_failure_after_three_without_success() {
        let mut pace = Pace::default();
        assert!(!pace.ended_ambiguously(Cause::FailedLeads));
        assert!(!pace.ended_ambiguously(Cause::FailedLeads));
        pace.succeeded(1, Duration::ZERO, Duration::from_secs(30));
        assert!(!pace.ended_ambiguously(Cause::FailedLeads));
        assert!(!pace.ended_ambiguously(Cause::FailedLeads));
        assert!(pace.ended_ambiguously(Cause::FailedLeads));
        assert!(pace.ended_ambiguously(Cause::Service), "a fresh call at once");
    }
}
