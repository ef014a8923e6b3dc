//! The lines of all histories in one order, so that a reader who has seen one can ask for those after it and misses none.
//!
//! On PostgreSQL transactions that store webhooks run beside each other, and the one with the smaller ids may be committed last. So
//! events are read only as far as no running transaction can add any. Such a transaction says so by a lock, whose number is the last
//! id that was given when it began: its own are greater. (The horizon of a snapshot would say it too, but also wait for every other
//! long transaction on the server.)

use super::db::{Db, Result, args};
use super::session::{self, LAST_EVENT_ID};
use super::{Answer, EventRow, Store, rows};
use crate::domain::sync::SyncId;

impl Store {
    /// The lines of all histories after this one, oldest first.
    pub async fn events_after(&self, after: i64, limit: usize) -> Answer<Vec<EventRow>> {
        let last = self.read(last_settled).await?;
        // What was committed before is seen only by a transaction that begins after that look.
        self.read(move |db| between(db, after, last, limit)).await
    }

    /// The id of the last line of all histories.
    pub async fn last_event_id(&self) -> Answer<i64> {
        let last = self.read(last_settled).await?;
        self.read(move |db| last_before(db, last)).await
    }
}

/// No transaction adds an event with this id or a smaller one any more.
fn last_settled(db: Db<'_>) -> Result<i64> {
    if matches!(db, Db::Sqlite(_)) {
        return Ok(i64::MAX);
    }
    // First, so that a transaction that begins after the next look has greater ids.
    let given = db.one(&format!("SELECT {LAST_EVENT_ID} AS last"), &[], |row| {
        row.get::<i64>("last")
    })?;
    let sql = format!(
        "-- last_settled()
        SELECT min(CAST(objid AS BIGINT) + (CAST(classid AS BIGINT) & 65535) * 4294967296) AS last FROM pg_locks
        WHERE locktype = 'advisory' AND objsubid = 1 AND CAST(classid AS BIGINT) / 65536 = {} AND granted
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        session::EVENTS
    );
    let running = db.one(&sql, &[], |row| row.get::<Option<i64>>("last"))?;
    Ok(running.map_or(given, |running| running.min(given)))
}

fn between(db: Db<'_>, after: i64, last: i64, limit: usize) -> Result<Vec<EventRow>> {
    let sql = "-- between()
        SELECT event.id, sync_id, lead_id, kind, coalesce(event.state, kind) AS state, at FROM event JOIN sync ON sync.id = sync_id
        WHERE event.id > ?1 AND event.id <= ?2 ORDER BY event.id LIMIT ?3";
    db.query(sql, args![after, last, limit], |row| {
        Ok(EventRow {
            id: row.get("id")?,
            sync_id: SyncId(row.get("sync_id")?),
            lead_id: rows::lead_of(row)?,
            kind: row.get("kind")?,
            state: row.get("state")?,
            at: row.get("at")?,
        })
    })
}

fn last_before(db: Db<'_>, last: i64) -> Result<i64> {
    let sql = "-- last_before()
        SELECT coalesce(max(id), 0) AS id FROM event WHERE id <= ?1";
    db.one(sql, args![last], |row| row.get("id"))
}
