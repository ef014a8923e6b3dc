//! What this process has counted since it started. Everything that outlives it is read from the store instead.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of this process.
#[derive(Debug, Default)]
pub struct Metrics {
    /// How often a worker ended or panicked and was started again.
    pub worker_restarts: Counter,
    /// Webhooks whose signature was refused.
    pub signatures_refused: Counter,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more. Returns how many there were before.
    pub fn add(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }

    /// How many there are.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
