//! What is read of all syncs together: how things stand, what has happened, why leads failed.

use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::rows::{self, micros};
use super::{steer, views};
use crate::domain::lead::LeadId;
use crate::domain::sync::SyncId;
use crate::store::{FailureGroup, Flow, Happening, Overview};

type Result<T> = rusqlite::Result<T>;

/// Failed syncs whose lead has had none since.
pub(super) const LAST_FAILED: &str = "state = 'failed'
    AND NOT EXISTS (SELECT 1 FROM sync AS newer WHERE newer.lead_id = sync.lead_id AND newer.id > sync.id)";

pub(super) fn overview(conn: &Connection, now: Timestamp) -> Result<Overview> {
    // So that all numbers are of one moment.
    let txn = conn.unchecked_transaction()?;
    let sql = "-- overview()
        SELECT state, count(*) FROM sync WHERE finished_at IS NULL GROUP BY state";
    let in_progress = txn
        .prepare_cached(sql)?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_>>()?;
    // Those in progress are few beside all the others, and ids are given in the order of opening.
    let sql = "-- overview()
        SELECT * FROM sync WHERE id = (SELECT min(id) FROM sync INDEXED BY sync_active WHERE finished_at IS NULL)";
    let oldest = txn.prepare_cached(sql)?.query_row([], views::view_of).optional()?;
    let failed_leads = txn
        .prepare_cached(&format!("SELECT count(*) FROM sync WHERE {LAST_FAILED}"))?
        .query_row([], |row| row.get(0))?;
    let sql = "-- overview()
        SELECT coalesce(sum(used), 0) FROM credit WHERE hour > ?1";
    let credits = txn
        .prepare_cached(sql)?
        .query_row([now.as_second() / 3600 - 24], |row| row.get(0))?;
    let granted: Option<i64> = txn
        .prepare_cached("SELECT max(at) FROM token_grant")?
        .query_row([], |row| row.get(0))?;
    Ok(Overview {
        at: now,
        in_progress,
        oldest,
        ledger: views::ledger(&txn)?,
        breakers: views::open_breakers(&txn)?,
        paused_since: steer::paused_since(&txn)?,
        failed_leads,
        credits,
        token_granted_at: granted.map(rows::time).transpose()?,
    })
}

pub(super) fn failure_groups(conn: &Connection, limit: usize) -> Result<Vec<FailureGroup>> {
    let sql = format!(
        "-- failure_groups()
        SELECT reason, count(*) AS leads, max(finished_at) AS latest FROM sync WHERE {LAST_FAILED}
        GROUP BY reason ORDER BY leads DESC, latest DESC, reason LIMIT ?1"
    );
    let mut statement = conn.prepare_cached(&sql)?;
    let groups = statement.query_map([limit], |row| {
        Ok(FailureGroup {
            reason: row.get("reason")?,
            leads: row.get("leads")?,
            latest: rows::time(row.get("latest")?)?,
        })
    })?;
    groups.collect()
}

pub(super) fn flow(conn: &Connection, since: Timestamp, step: Duration) -> Result<Vec<Flow>> {
    let step = i64::try_from(step.as_micros()).unwrap_or(i64::MAX).max(1);
    let sql = "-- flow()
        SELECT finished_at / ?2 * ?2 AS begun, sum(state = 'sent') AS sent, sum(state = 'failed') AS failed
        FROM sync WHERE finished_at >= ?1 AND state IN ('sent', 'failed') GROUP BY begun ORDER BY begun";
    let mut statement = conn.prepare_cached(sql)?;
    let flows = statement.query_map(params![micros(since), step], |row| {
        Ok(Flow {
            from: rows::time(row.get("begun")?)?,
            sent: row.get("sent")?,
            failed: row.get("failed")?,
        })
    })?;
    flows.collect()
}

pub(super) fn happenings(conn: &Connection, after: i64, limit: usize) -> Result<Vec<Happening>> {
    let sql = "-- happenings()
        SELECT event.id, sync_id, lead_id, what, event.state, at FROM event JOIN sync ON sync.id = sync_id
        WHERE event.id > ?1 ORDER BY event.id LIMIT ?2";
    let mut statement = conn.prepare_cached(sql)?;
    let happenings = statement.query_map(params![after, limit], |row| {
        let lead: String = row.get("lead_id")?;
        Ok(Happening {
            id: row.get("id")?,
            sync_id: SyncId(row.get("sync_id")?),
            lead_id: LeadId::parse(&lead).map_err(|error| rows::corrupt("lead_id", error))?,
            what: row.get("what")?,
            state: row.get("state")?,
            at: rows::time(row.get("at")?)?,
        })
    })?;
    happenings.collect()
}

pub(super) fn last_happening(conn: &Connection) -> Result<i64> {
    let sql = "-- last_happening()
        SELECT coalesce(max(id), 0) FROM event";
    conn.prepare_cached(sql)?.query_row([], |row| row.get(0))
}
