//! A transaction that writes.

use std::time::Duration;

use jiff::Timestamp;

use super::db::Db;
use super::notifications::AfterCommit;
use super::{Change, Stage};

/// What a write may use: the connection inside the transaction, the time, and what is to happen with the commit.
pub(super) struct Txn<'a> {
    pub(super) db: Db<'a>,
    pub(super) now: Timestamp,
    /// The operator has paused all work.
    pub(super) is_paused: bool,
    pub(super) after: AfterCommit,
}

impl Txn<'_> {
    /// Wakes the worker of a stage once this is committed.
    pub(super) fn wake(&mut self, stage: Stage) {
        self.after.wake[stage as usize] = true;
    }

    /// Notifies the receivers once this is committed.
    pub(super) fn changed(&mut self, change: Change) {
        self.after.changes.push(change);
    }

    /// Counts a state that was left, and how long it had lasted, once this is committed.
    pub(super) fn left(&mut self, state: &'static str, lasted: Duration) {
        self.after.left.push((state, lasted));
    }

    /// Counts a sync that has ended, and how long it had taken, once this is committed.
    pub(super) fn ended(&mut self, outcome: &'static str, took: Duration) {
        self.after.ended.push((outcome, took));
    }

    /// Adds one to a counter of the ledger. The counters of all writes are written once, at the end of the transaction.
    pub(super) fn count(&mut self, name: &'static str) {
        *self.after.counts.entry(name).or_default() += 1;
    }
}
