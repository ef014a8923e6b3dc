//! What a person does to syncs: cancel, try again, pause everything.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, named_params};
use serde_json::json;

use super::overview::LAST_FAILED;
use super::rows::{self, micros};
use super::views;
use super::work::{active, open_or_join, settle, wake_for};
use super::writer::Txn;
use crate::domain::lead::LeadId;
use crate::domain::state::Event;
use crate::domain::sync::{Source, SyncId};
use crate::store::{Accepted, Cancelling, Stage, SyncView};

type Result<T> = rusqlite::Result<T>;

/// The name under which is kept that a person has paused the work.
const PAUSED: &str = "paused";

/// Never under a worker's hands: what its call has done would be forgotten.
pub(super) fn cancel(txn: &mut Txn<'_>, id: SyncId) -> Result<Cancelling> {
    let Some(SyncView { mut sync, changed_at }) = views::find(txn.conn, id)? else {
        return Ok(Cancelling::Missing);
    };
    let sql = "-- cancel()
        SELECT 1 FROM sync WHERE id = ?1 AND lease IS NOT NULL AND lease_until > ?2";
    if txn.conn.prepare_cached(sql)?.exists([id.0, micros(txn.now)])? {
        return Ok(Cancelling::Busy);
    }
    let (requests, was) = (sync.requests.count, sync.state.label());
    if sync.apply(Event::Cancelled, requests, txn.now).is_err() {
        return Ok(Cancelling::Ended);
    }
    rows::save(txn.conn, &sync, txn.now)?;
    rows::note(
        txn.conn,
        &sync,
        Event::Cancelled.label(),
        &json!({ "by": "person" }),
        txn.now,
    )?;
    settle(txn, &sync, Some(&Event::Cancelled), was, changed_at)?;
    Ok(Cancelling::Done)
}

pub(super) fn retry(txn: &mut Txn<'_>, id: SyncId) -> Result<Option<Accepted>> {
    match views::find(txn.conn, id)? {
        Some(found) => ask_again(txn, &found.sync.lead).map(Some),
        None => Ok(None),
    }
}

fn ask_again(txn: &mut Txn<'_>, lead: &LeadId) -> Result<Accepted> {
    let accepted = open_or_join(txn, lead, Source::Person, None)?;
    if let Some(mut sync) = active(txn, lead)? {
        sync.hurry(txn.now);
        // Not the whole row: a worker may hold the lease.
        let sql = "-- ask_again()
            UPDATE sync SET due_at = ?2 WHERE id = ?1";
        txn.conn
            .prepare_cached(sql)?
            .execute([sync.id.0, micros(sync.due_at)])?;
        wake_for(txn, &sync);
    }
    Ok(accepted)
}

pub(super) fn retry_failed(
    txn: &mut Txn<'_>,
    reason: Option<&str>,
    before: Option<SyncId>,
    limit: usize,
) -> Result<(usize, Option<SyncId>)> {
    let sql = format!(
        "-- retry_failed()
        SELECT id, lead_id FROM sync
        WHERE {LAST_FAILED} AND (:reason IS NULL OR reason = :reason) AND (:before IS NULL OR id < :before)
        ORDER BY id DESC LIMIT :limit"
    );
    let params = named_params! { ":reason": reason, ":before": before.map(|id| id.0), ":limit": limit };
    let found: Vec<(i64, String)> = txn
        .conn
        .prepare_cached(&sql)?
        .query_map(params, |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_>>()?;
    for (_, lead) in &found {
        if let Ok(lead) = LeadId::parse(lead) {
            ask_again(txn, &lead)?;
        }
    }
    let next = (found.len() == limit).then(|| found.last().map(|(id, _)| SyncId(*id)));
    Ok((found.len(), next.flatten()))
}

pub(super) fn pause_all(txn: &mut Txn<'_>, paused: bool) -> Result<()> {
    if !paused {
        txn.conn.execute("DELETE FROM kept WHERE name = ?1", [PAUSED])?;
        Stage::ALL.into_iter().for_each(|stage| txn.wake(stage));
    } else if paused_since(txn.conn)?.is_none() {
        super::keep(txn.conn, PAUSED, &[], txn.now)?;
    }
    Ok(())
}

pub(super) fn paused_since(conn: &Connection) -> Result<Option<Timestamp>> {
    let sql = "-- paused_since()
        SELECT at FROM kept WHERE name = ?1";
    let at = conn
        .prepare_cached(sql)?
        .query_row([PAUSED], |row| row.get(0))
        .optional()?;
    at.map(rows::time).transpose()
}
