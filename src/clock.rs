//! The one place that reads the time, so that tests can hold it still.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

pub use crate::domain::datetime::{after, before, until};

/// Where the time comes from. Everything that waits, leases or stamps asks this.
pub trait Clock: Send + Sync {
    /// The time now, to the nanosecond. Never earlier than an answer given before.
    fn now(&self) -> Timestamp;

    /// Makes sure that no later answer is earlier than `floor`. Called once at start with the latest
    /// time the store has seen, so that a clock set back while the process was down shortens no delay.
    fn not_before(&self, floor: Timestamp);

    /// What the machine's wall clock shows at this moment: for comparing with the times of others, and for nothing that
    /// waits. It may jump, and is behind [`Clock::now`] where that was moved past the latest time of the store.
    fn wall(&self) -> Timestamp;

    /// Whether something else moves it: then a database that has a time of its own goes by this one all the same.
    fn stands_still(&self) -> bool {
        false
    }
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
    #[expect(
        clippy::disallowed_methods,
        reason = "the reading that everything is carried on from"
    )]
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

    #[expect(clippy::disallowed_methods, reason = "the other reading of the real clock")]
    fn wall(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// A clock that stands still until a test moves it.
pub struct ManualClock(Mutex<Manual>);

struct Manual {
    now: Timestamp,
    wall: Timestamp,
}

impl ManualClock {
    /// A clock that shows `start`.
    pub fn new(start: Timestamp) -> Self {
        Self(Mutex::new(Manual {
            now: start,
            wall: start,
        }))
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        let mut time = self.time();
        time.now = after(time.now, by);
        time.wall = after(time.wall, by);
    }

    /// Sets the wall clock, as a person or a time server does while the process runs.
    pub fn set_wall(&self, wall: Timestamp) {
        self.time().wall = wall;
    }

    fn time(&self) -> MutexGuard<'_, Manual> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.time().now
    }

    fn not_before(&self, floor: Timestamp) {
        let mut time = self.time();
        time.now = time.now.max(floor);
    }

    fn wall(&self) -> Timestamp {
        self.time().wall
    }

    fn stands_still(&self) -> bool {
        true
    }
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
        assert!(
            clock.wall() < after(now, Duration::from_secs(3000)),
            "the wall clock stays what it is"
        );
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
