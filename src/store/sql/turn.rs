//! Whose turn it is where several replicas share a database: Bigin's contacts are worked on by one worker at a time, of
//! all replicas, so that no tag is added while an upsert that may move it is under way, no two leads with one email are
//! in two calls, and no more calls are awaited at once than one process awaits. The leases show whose turn it is.

use std::time::Duration;

use jiff::Timestamp;

use super::db::{Db, Result, args};
use super::work::move_all_tags;
use super::writer::Txn;
use crate::clock::after;
use crate::store::{Stage, StoreSettings};

/// When a worker that has left its turn to another stage looks again, where nobody wakes it.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Until when a stage leaves its turn to another worker; `None` where it is its own. With one process there are no turns:
/// its workers know of each other.
pub(super) fn others(txn: &Txn<'_>, stage: Stage, settings: &StoreSettings) -> Result<Option<Timestamp>> {
    if matches!(txn.db, Db::Sqlite(_)) || stage == Stage::WriteBack {
        return Ok(None);
    }
    let sql = "-- others()
        SELECT max(lease_until) AS until FROM sync
        WHERE lease IS NOT NULL AND lease_until > ?1 AND state IN ('requested', 'upserted')";
    let leased: Option<Timestamp> = txn.db.one(sql, args![txn.now], |row| row.get("until"))?;
    if leased.is_some() {
        return Ok(leased);
    }
    take_over_lost_upserts(txn, settings.tag_delay)?;
    let due = (longest_due(txn, stage)?, longest_due(txn, other(stage))?);
    let leaves_it = matches!(due, (Some(own), Some(other)) if other < own);
    // While a breaker is open, who probes is decided elsewhere.
    let paused = txn.db.exists("SELECT 1 FROM breaker WHERE until IS NOT NULL", &[])?;
    Ok((leaves_it && !paused).then(|| after(txn.now, LOOK_AGAIN)))
}

/// A replica that was killed or cut off while it sent leads: nobody knows whose contacts it has changed.
fn take_over_lost_upserts(txn: &Txn<'_>, tag_delay: Duration) -> Result<()> {
    let sql = "-- take_over_lost_upserts()
        UPDATE sync SET lease = NULL, lease_until = NULL WHERE lease IS NOT NULL AND state = 'requested'";
    if txn.db.execute(sql, &[])? > 0 {
        move_all_tags(txn.db, after(txn.now, tag_delay))?;
    }
    Ok(())
}

fn other(stage: Stage) -> Stage {
    match stage {
        Stage::Upsert => Stage::Tag,
        Stage::Tag | Stage::WriteBack => Stage::Upsert,
    }
}

fn longest_due(txn: &Txn<'_>, stage: Stage) -> Result<Option<Timestamp>> {
    let [state] = stage.states() else {
        return Ok(None);
    };
    let sql = "-- longest_due()
        SELECT min(due_at) AS due FROM sync WHERE finished_at IS NULL AND state = ?1 AND due_at <= ?2";
    txn.db.one(sql, args![*state, txn.now], |row| row.get("due"))
}

/// A turn is over, or may be: whoever waits for it looks.
pub(super) fn over(txn: &mut Txn<'_>) {
    if matches!(txn.db, Db::Postgres(_)) {
        txn.wake(Stage::Upsert);
        txn.wake(Stage::Tag);
    }
}
