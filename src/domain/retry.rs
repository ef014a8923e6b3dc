//! When to try again. Plain values: the time and the random draw are arguments.

use std::time::Duration;

use super::failure::ServiceErrorKind;

/// The token endpoint wants this much silence once it rate limits; asking within it prolongs it (Zoho, Kaizen 43).
const TOKEN_RATE_LIMIT_DELAY: Duration = Duration::from_secs(10 * 60);

/// A service that says "come back in a month" costs at most this much: by then it is worth asking again.
pub(super) const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// Doubling past this many failures changes nothing but risks overflow.
const MAX_DOUBLINGS: u32 = 20;

/// The pace of trying again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Wait after the first failure.
    pub base_delay: Duration,
    /// The exponential waits grow no longer than this.
    pub max_delay: Duration,
    /// A lead that has waited this long in one round, pauses of a whole service not counted, ends `FAILED`.
    pub give_up_after: Duration,
}

impl RetryPolicy {
    /// How long to wait after the `failures`th failure in a row (1 for the first): exponential with equal jitter, so at
    /// least half of the exponential wait and never less than `retry_after`, the least wait the service asked for.
    ///
    /// `jitter` is random, in `0.0..1.0`.
    pub fn delay(&self, failures: u32, jitter: f64, retry_after: Option<Duration>) -> Duration {
        let doublings = failures.saturating_sub(1).min(MAX_DOUBLINGS);
        let exponential = self.base_delay.saturating_mul(1 << doublings).min(self.max_delay);
        let jittered = exponential / 2 + exponential.mul_f64(jitter.clamp(0.0, 1.0) / 2.0);
        jittered.max(retry_after.unwrap_or_default().min(MAX_RETRY_AFTER))
    }

    /// How long a whole service is left alone after it refused work for the `failures`th time in a row.
    pub fn breaker_delay(
        &self,
        kind: ServiceErrorKind,
        failures: u32,
        jitter: f64,
        retry_after: Option<Duration>,
    ) -> Duration {
        let delay = self.delay(failures, jitter, retry_after);
        match kind {
            ServiceErrorKind::TokenRateLimited => delay.max(TOKEN_RATE_LIMIT_DELAY),
            ServiceErrorKind::Unauthorized
            | ServiceErrorKind::RateLimited
            | ServiceErrorKind::CreditsUsedUp
            | ServiceErrorKind::Unavailable => delay,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POLICY: RetryPolicy = RetryPolicy {
        base_delay: Duration::from_secs(1),
        max_delay: Duration::from_secs(300),
        give_up_after: Duration::from_secs(86_400),
    };

    #[test]
    fn waits_double_up_to_the_longest() {
        let waits: Vec<_> = [1, 2, 3, 9, 10, u32::MAX]
            .map(|n| POLICY.delay(n, 1.0, None).as_secs())
            .into();
        assert_eq!(waits, [1, 2, 4, 256, 300, 300]);
    }

    #[test]
    fn a_hint_only_ever_delays() {
        let secs = Duration::from_secs;
        assert_eq!(POLICY.delay(1, 1.0, Some(secs(90))), secs(90));
        assert_eq!(POLICY.delay(9, 1.0, Some(secs(90))), secs(256));
        assert_eq!(POLICY.delay(1, 1.0, Some(Duration::MAX)), secs(86_400));
    }

    #[test]
    fn a_rate_limited_token_endpoint_gets_ten_quiet_minutes() {
        let delay = |kind| POLICY.breaker_delay(kind, 1, 0.0, None);
        assert_eq!(delay(ServiceErrorKind::TokenRateLimited), Duration::from_secs(600));
        assert_eq!(delay(ServiceErrorKind::Unauthorized), Duration::from_millis(500));
    }

    proptest! {
        #[test]
        fn a_wait_lies_between_half_and_all_of_the_exponential(failures in 1u32.., jitter in 0.0f64..1.0) {
            let all = POLICY.delay(failures, 1.0, None);
            let wait = POLICY.delay(failures, jitter, None);
            prop_assert!(all / 2 <= wait && wait <= all);
        }
    }
}
