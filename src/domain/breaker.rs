//! A breaker: what we know of a remote service that takes no work from us.

use std::time::Duration;

use jiff::Timestamp;

use super::datetime::{after, until};
use super::failure::{Remote, ServiceError, ServiceErrorKind};
use super::retry::{MAX_RETRY_AFTER, RetryPolicy};

/// Least time between two probes of leads that have not failed, while the breaker is open for leads that have failed.
pub const FRESH_PROBE_INTERVAL: Duration = Duration::from_secs(10);

/// Most of a pause that leads which had failed before have caused, unless the service asked for more. A healthy lead may be
/// among them.
const MAX_FAILED_LEADS_PAUSE: Duration = Duration::from_secs(10);

/// One service's breaker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breaker {
    /// Whose.
    pub remote: Remote,
    /// How often in a row the service has refused work; paces the pauses.
    pub failures: u32,
    /// Counts up with every opening and every recovery. How a call ended that began in an earlier epoch says nothing new.
    pub epoch: i64,
    /// Why and how long nothing is sent; `None` while all is well.
    pub open: Option<Open>,
}

/// What the failed calls that open a breaker have carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Leads that had not failed before, or nothing of a lead; or the service itself said that it takes no work.
    Service,
    /// Only leads that had failed before.
    FailedLeads,
}

/// An open breaker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// When the trouble began.
    pub since: Timestamp,
    /// When the next single call may try.
    pub until: Timestamp,
    /// Where a call that carried only leads that had failed before opened it: when a lead that has not failed may probe, which
    /// need not wait until then.
    pub fresh_from: Option<Timestamp>,
    /// What kind of trouble it is: tells whether a person is needed.
    pub kind: ServiceErrorKind,
    /// Short stable word: `invalid_code`, `HTTP 503`.
    pub code: String,
    /// What happened; see [`ServiceError::what`].
    pub what: String,
    /// What the operator can do; see [`ServiceError::action`].
    pub action: Option<String>,
}

impl Breaker {
    /// A breaker that lets everything pass.
    pub fn closed(remote: Remote) -> Self {
        Self {
            remote,
            failures: 0,
            epoch: 0,
            open: None,
        }
    }

    /// The service refused work. Returns whether that was news: a call of an earlier epoch changes nothing, unless the service
    /// asks to wait.
    ///
    /// A call that carried only leads that had failed before says little of the service: the pause grows to ten seconds at most
    /// for it, and a lead that has not failed may probe at once, [`FRESH_PROBE_INTERVAL`] after the last such probe.
    pub fn record_failure(
        &mut self,
        (service_error, cause): (&ServiceError, Cause),
        epoch: i64,
        policy: &RetryPolicy,
        jitter: f64,
        now: Timestamp,
    ) -> bool {
        if epoch != self.epoch && !self.is_longer(service_error.retry_after, now) {
            // A probe may be in flight, and its end is what the pause lasts until: its success must not end a wait that the
            // service has asked for meanwhile.
            let is_asked = self.open.is_some() && service_error.retry_after.is_some();
            self.epoch += i64::from(is_asked);
            return is_asked;
        }
        let probed = self.open.as_ref().and_then(|open| open.fresh_from);
        if cause == Cause::Service || self.failures == 0 {
            self.failures = self.failures.saturating_add(1);
        }
        self.epoch += 1;
        let since = self.open.as_ref().map_or(now, |open| open.since);
        let mut wait = policy.breaker_delay(service_error.kind, self.failures, jitter, service_error.retry_after);
        if cause == Cause::FailedLeads {
            // In an outage in which all leads have failed, their probes get rarer all the same.
            let open_for = until(since, now);
            wait = wait.max((open_for / 10).min(MAX_FAILED_LEADS_PAUSE));
        }
        self.open = Some(Open {
            since,
            until: after(now, wait),
            fresh_from: (cause == Cause::FailedLeads).then(|| probed.unwrap_or(now).max(now)),
            kind: service_error.kind,
            code: service_error.code.clone(),
            what: service_error.what.clone(),
            action: service_error.action.clone(),
        });
        true
    }

    /// Whether the service asks for a wait, and for a longer one than there is.
    fn is_longer(&self, retry_after: Option<Duration>, now: Timestamp) -> bool {
        let asked = retry_after.map(|wait| after(now, wait.min(MAX_RETRY_AFTER)));
        asked > self.open.as_ref().map(|open| open.until)
    }

    /// The next probe may go at once: the breaker stays open, and closes only by an answer. Returns whether that was news.
    pub fn check_now(&mut self, now: Timestamp) -> bool {
        let Some(open) = self.open.as_mut().filter(|open| open.until > now) else {
            return false;
        };
        open.until = now;
        true
    }

    /// The service answered. Returns whether that was news: a call that began in an earlier epoch says nothing of the trouble
    /// that came after it.
    pub fn close(&mut self, epoch: i64) -> bool {
        if epoch != self.epoch || self.open.take().is_none() {
            return false;
        }
        self.failures = 0;
        self.epoch += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: RetryPolicy = RetryPolicy {
        base_delay: Duration::from_secs(1),
        max_delay: Duration::from_secs(300),
        give_up_after: Duration::from_secs(86_400),
    };

    fn down() -> ServiceError {
        ServiceError::new(Remote::Bigin, ServiceErrorKind::Unavailable, "HTTP 503", "no answer")
    }

    #[test]
    fn heeds_longer_retry_after_of_an_earlier_call() {
        let now = Timestamp::UNIX_EPOCH;
        let mut breaker = Breaker::closed(Remote::Bigin);
        assert!(breaker.record_failure((&down(), Cause::Service), 0, &POLICY, 1.0, now));
        let limited = |seconds| {
            let error = ServiceError::new(Remote::Bigin, ServiceErrorKind::RateLimited, "HTTP 429", "too many");
            error.with_retry_after(Some(Duration::from_secs(seconds)))
        };
        assert!(breaker.record_failure((&limited(90), Cause::Service), 0, &POLICY, 1.0, now));
        let open = breaker.open.clone().unwrap();
        assert_eq!(
            (open.until, open.kind),
            (after(now, Duration::from_secs(90)), ServiceErrorKind::RateLimited)
        );
        assert!(breaker.record_failure((&limited(60), Cause::Service), 0, &POLICY, 1.0, now));
        assert_eq!(
            breaker.open.as_ref().unwrap().until,
            after(now, Duration::from_secs(90)),
            "it waits for longer"
        );
        assert!(
            !breaker.close(2),
            "a probe that was in flight meanwhile does not end the wait"
        );
        assert!(breaker.close(3));
        assert!(
            breaker.record_failure((&limited(90), Cause::Service), 1, &POLICY, 1.0, now),
            "another call was answered, and this one says to wait"
        );
        assert!(
            !breaker.record_failure((&down(), Cause::Service), 1, &POLICY, 1.0, now),
            "which an older failure does not"
        );
    }

    #[test]
    fn pause_of_failed_leads_stays_short_and_lets_a_fresh_lead_probe() {
        let now = Timestamp::UNIX_EPOCH;
        let mut breaker = Breaker::closed(Remote::Bigin);
        for epoch in 0..5 {
            assert!(breaker.record_failure((&down(), Cause::FailedLeads), epoch, &POLICY, 1.0, now));
            let open = breaker.open.as_ref().unwrap();
            assert_eq!(open.until, now + Duration::from_secs(1));
            assert_eq!(open.fresh_from, Some(now));
        }
        for (after, service_error) in [(50, 5), (100, 10), (1_000_000, 10)] {
            let later = now + Duration::from_secs(after);
            let mut breaker = breaker.clone();
            assert!(breaker.record_failure((&down(), Cause::FailedLeads), 5, &POLICY, 1.0, later));
            assert_eq!(breaker.open.unwrap().until, later + Duration::from_secs(service_error));
        }
        // The probe of a fresh lead failed too: now it is the service.
        assert!(breaker.record_failure((&down(), Cause::Service), 5, &POLICY, 1.0, now));
        let open = breaker.open.as_ref().unwrap();
        assert_eq!((open.until, open.fresh_from), (now + Duration::from_secs(2), None));
    }

    #[test]
    fn pauses_grow_while_the_service_keeps_refusing() {
        let now = Timestamp::UNIX_EPOCH;
        let mut breaker = Breaker::closed(Remote::Bigin);
        for (epoch, seconds) in [(0, 1), (1, 2), (2, 4)] {
            assert!(breaker.record_failure((&down(), Cause::Service), epoch, &POLICY, 1.0, now));
            assert_eq!(breaker.open.as_ref().unwrap().until, now + Duration::from_secs(seconds));
        }
        assert!(breaker.close(3));
        assert!(!breaker.close(4), "the second answer changes nothing");
        assert!(breaker.record_failure((&down(), Cause::Service), 4, &POLICY, 1.0, now));
        assert_eq!(breaker.failures, 1);
    }

    #[test]
    fn a_late_failure_neither_counts_twice_nor_reopens_a_mended_breaker() {
        let now = Timestamp::UNIX_EPOCH;
        let mut breaker = Breaker::closed(Remote::Sanity);
        assert!(breaker.record_failure((&down(), Cause::Service), 0, &POLICY, 0.0, now));
        assert!(!breaker.record_failure((&down(), Cause::Service), 0, &POLICY, 0.0, now));
        assert_eq!(breaker.failures, 1);
        breaker.close(1);
        assert!(!breaker.record_failure((&down(), Cause::Service), 1, &POLICY, 0.0, now));
        assert_eq!(breaker.open, None);
    }

    #[test]
    fn a_check_ends_the_wait_and_leaves_the_breaker_open() {
        let now = Timestamp::UNIX_EPOCH;
        let mut breaker = Breaker::closed(Remote::Bigin);
        assert!(!breaker.check_now(now), "there is nothing to check");
        let day = ServiceError {
            retry_after: Some(Duration::from_secs(86_400)),
            ..down()
        };
        assert!(breaker.record_failure((&day, Cause::Service), 0, &POLICY, 1.0, now));
        let before = breaker.clone();
        assert!(breaker.check_now(now));
        assert_eq!(breaker.open.as_ref().unwrap().until, now);
        assert_eq!((breaker.failures, breaker.epoch), (before.failures, before.epoch));
        assert!(!breaker.check_now(now), "the probe may go already");
        assert!(
            breaker.record_failure((&down(), Cause::Service), 1, &POLICY, 1.0, now),
            "the probe counts as any other"
        );
        assert_eq!(breaker.failures, 2);
    }

    #[test]
    fn a_late_success_cuts_no_pause_short() {
        let now = Timestamp::UNIX_EPOCH;
        let mut breaker = Breaker::closed(Remote::Sanity);
        assert!(breaker.record_failure((&down(), Cause::Service), 0, &POLICY, 1.0, now));
        assert!(!breaker.close(0), "its call began before the breaker opened");
        assert!(breaker.open.is_some());
        assert!(breaker.close(1));
    }
}
