//! Turns: where several replicas share a PostgreSQL database, one worker of all replicas works on Bigin's contacts at a time.
//!
//! # Properties
//!
//! - Each replica accepts webhooks at any time. A sync is worked on by one worker at a time.
//! - No tag is added while an upsert that may move its time is in flight. No two leads with the same email are in two calls at
//!   once. All replicas together have no more calls in flight than one process would have.
//! - A replica that is killed or suspended delays the others until its lease expires, and not longer. What it does after that
//!   is not recorded.
//!
//! # Design
//!
//! - A **claim** is a row with a random token, the ids of its syncs and a lease. An outcome is recorded only if the row is still
//!   there. A worker renews its lease before a call that would outlast it, and sends nothing once the lease is over.
//! - The leases show the **turn**: while one on an upsert or a tag is valid, no other worker claims either. Where both stages
//!   are due, they alternate.
//! - A claim on upserts that expires unrecorded moves all tags, since its calls may have been applied.
//! - Reconciliation and alerts have a **leader**, the replica with the lock of that name. Access token, circuit
//!   breakers and pauses are rows of the same database. Times are the server's.
//!
//! # Why
//!
//! A contact in Bigin cannot be locked, and calls for it from two processes may be applied in either order. Which contacts a
//! lead without a unique value will touch is not known before the call. So the work on contacts is serialised as a whole. That
//! costs little: a call carries up to a hundred leads, and the bound is Bigin's own limit of calls and credits.

use std::time::Duration;

use jiff::Timestamp;

use super::db::{Db, Result, args};
use super::leases::ClaimRow;
use super::txn::Txn;
use super::{Stage, kv};
use crate::clock::after;

/// When a worker that has left its turn to another stage looks again, where it is not woken.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// The name under which the stage that had the last turn is stored.
const LAST_TURN: &str = "last_turn";

/// Until when a stage leaves its turn to another worker; `None` where it is its own.
pub(super) fn others(txn: &Txn<'_>, stage: Stage, leases: &[ClaimRow]) -> Result<Option<Timestamp>> {
    if has_no_turns(txn.db, stage) {
        return Ok(None);
    }
    let of_bigin = leases.iter().filter(|lease| lease.stage != Stage::WriteBack);
    let leased = of_bigin.map(|lease| lease.expires_at).max();
    if leased.is_some() {
        return Ok(leased);
    }
    // A slow upsert of a long queue must not keep tags waiting, nor tags upserts: where both are due, they alternate.
    let leaves_it = kv::get(txn.db, LAST_TURN)?.is_some_and(|(last, _)| last == stage.label().as_bytes())
        && is_due(txn, other(stage))?;
    // While a breaker is open, who probes is decided elsewhere.
    let paused = txn.db.exists("SELECT 1 FROM breaker WHERE until IS NOT NULL", &[])?;
    Ok((leaves_it && !paused).then(|| after(txn.now, POLL_INTERVAL)))
}

/// With one process there are no turns: its workers know of each other.
fn has_no_turns(db: Db<'_>, stage: Stage) -> bool {
    matches!(db, Db::Sqlite(_)) || stage == Stage::WriteBack
}

/// The stage has taken its turn.
pub(super) fn taken(txn: &Txn<'_>, stage: Stage) -> Result<()> {
    if has_no_turns(txn.db, stage) {
        return Ok(());
    }
    kv::put(txn.db, LAST_TURN, stage.label().as_bytes(), txn.now)
}

fn other(stage: Stage) -> Stage {
    match stage {
        Stage::Upsert => Stage::Tag,
        Stage::Tag | Stage::WriteBack => Stage::Upsert,
    }
}

fn is_due(txn: &Txn<'_>, stage: Stage) -> Result<bool> {
    for state in stage.states() {
        let sql = format!(
            "-- is_due()
            SELECT 1 FROM sync WHERE finished_at IS NULL AND state = '{state}' AND next_attempt_at <= ?1 LIMIT 1"
        );
        if txn.db.exists(&sql, args![txn.now])? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A turn is over, or may be: workers that wait for it look again.
pub(super) fn over(txn: &mut Txn<'_>) {
    if matches!(txn.db, Db::Postgres(_)) {
        txn.wake(Stage::Upsert);
        txn.wake(Stage::Tag);
    }
}
