//! The one place that reads the time, so that tests can hold it still.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

/// Where the time comes from. Everything that waits, leases or stamps asks this.
pub trait Clock: Send + Sync {
    /// The time now, to the nanosecond. Never earlier than an answer given before.
    fn now(&self) -> Timestamp;

    /// Makes sure that no later answer is earlier than `floor`. Called once at start with the latest
    /// time the store has seen, so that a clock set back while the process was down shortens no delay.
    fn not_before(&self, floor: Timestamp);
}

/// A clock to hand around.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's wall clock, read once at start and carried on by its monotonic clock: setting the
/// clock while the process runs neither shortens nor stretches a delay.
pub struct SystemClock {
    started: Instant,
    at_start: Mutex<Timestamp>,
}

impl SystemClock {
    /// Reads the wall clock.
    #[expect(clippy::disallowed_methods, reason = "this is the one reading of the real clock")]
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
            at_start: Mutex::new(Timestamp::now()),
        }
    }

    #[expect(clippy::disallowed_methods, reason = "the monotonic clock is read here only")]
    fn elapsed(&self) -> Duration {
        Instant::now().saturating_duration_since(self.started)
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let at_start = *self.at_start.lock().unwrap_or_else(PoisonError::into_inner);
        after(at_start, self.elapsed())
    }

    fn not_before(&self, floor: Timestamp) {
        let lag = floor.duration_since(self.now());
        if lag.is_positive() {
            let mut at_start = self.at_start.lock().unwrap_or_else(PoisonError::into_inner);
            *at_start = at_start.saturating_add(lag).unwrap_or(Timestamp::MAX);
        }
    }
}

/// A clock that stands still until a test moves it.
pub struct ManualClock(Mutex<Timestamp>);

impl ManualClock {
    /// A clock that shows `start`.
    pub fn new(start: Timestamp) -> Self {
        Self(Mutex::new(start))
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *now = after(*now, by);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn not_before(&self, floor: Timestamp) {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *now = (*now).max(floor);
    }
}

/// `at` and `by` later, or the end of time where there is no such moment.
pub fn after(at: Timestamp, by: Duration) -> Timestamp {
    let by = jiff::SignedDuration::try_from(by).unwrap_or(jiff::SignedDuration::MAX);
    at.saturating_add(by).unwrap_or(Timestamp::MAX)
}

/// How long from `now` until `then`; zero if that is past.
pub fn until(now: Timestamp, then: Timestamp) -> Duration {
    Duration::try_from(then.duration_since(now)).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_floor_moves_the_clock_forward_and_never_back() {
        let clock = SystemClock::new();
        let now = clock.now();
        clock.not_before(after(now, Duration::from_secs(3600)));
        assert!(clock.now() >= after(now, Duration::from_secs(3600)));
        clock.not_before(now);
        assert!(clock.now() >= after(now, Duration::from_secs(3600)));
    }

    #[test]
    fn a_time_that_is_past_is_waited_for_not_at_all() {
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(until(after(now, Duration::from_secs(5)), now), Duration::ZERO);
        assert_eq!(
            until(now, after(now, Duration::from_millis(1500))),
            Duration::from_millis(1500)
        );
    }
}
