//! What a person does to syncs: cancel, try again, pause everything.

use jiff::Timestamp;
use serde_json::json;

use super::db::{Arg, Db, Result, args};
use super::overview::LAST_FAILED;
use super::work::{active, open_or_join, settle, wake_for};
use super::writer::Txn;
use super::{kept, rows, views};
use crate::domain::lead::LeadId;
use crate::domain::state::Event;
use crate::domain::sync::{Source, SyncId};
use crate::store::{Accepted, Cancelling, Stage, SyncView};

/// The name under which is kept that a person has paused the work.
const PAUSED: &str = "paused";

/// Never under a worker's hands: what its call has done would be forgotten.
pub(super) fn cancel(txn: &mut Txn<'_>, id: SyncId) -> Result<Cancelling> {
    let Some(SyncView {
        mut sync, changed_at, ..
    }) = views::find(txn.db, id)?
    else {
        return Ok(Cancelling::Missing);
    };
    let sql = "-- cancel()
        SELECT 1 FROM sync WHERE id = ?1 AND lease IS NOT NULL AND lease_until > ?2";
    if txn.db.exists(sql, args![id.0, txn.now])? {
        return Ok(Cancelling::Busy);
    }
    let (requests, was) = (sync.requests.count, sync.state.label());
    if sync.apply(Event::Cancelled, requests, txn.now).is_err() {
        return Ok(Cancelling::Ended);
    }
    rows::save(txn.db, &sync, txn.now)?;
    rows::note(
        txn.db,
        &sync,
        Event::Cancelled.label(),
        &json!({ "by": "person" }),
        txn.now,
    )?;
    settle(txn, &sync, Some(&Event::Cancelled), was, changed_at)?;
    Ok(Cancelling::Done)
}

pub(super) fn retry(txn: &mut Txn<'_>, id: SyncId) -> Result<Option<Accepted>> {
    match views::find(txn.db, id)? {
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
        txn.db.execute(sql, args![sync.id.0, sync.due_at])?;
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
    let same_reason = reason.map_or("", |_| "AND reason = ?3");
    let sql = format!(
        "-- retry_failed()
        SELECT id, lead_id FROM sync WHERE {LAST_FAILED} AND id < ?1 {same_reason} ORDER BY id DESC LIMIT ?2"
    );
    let mut args = vec![Arg::from(before.map_or(i64::MAX, |id| id.0)), limit.into()];
    args.extend(reason.map(Arg::from));
    let found = txn
        .db
        .query(&sql, &args, |row| Ok((row.get("id")?, rows::lead_of(row)?)))?;
    for (_, lead) in &found {
        ask_again(txn, lead)?;
    }
    let next = (found.len() == limit).then(|| found.last().map(|(id, _)| SyncId(*id)));
    Ok((found.len(), next.flatten()))
}

pub(super) fn pause_all(txn: &mut Txn<'_>, paused: bool) -> Result<()> {
    if !paused {
        kept::forget(txn.db, PAUSED, None)?;
        Stage::ALL.into_iter().for_each(|stage| txn.wake(stage));
    } else if paused_since(txn.db)?.is_none() {
        kept::keep(txn.db, PAUSED, &[], txn.now)?;
    }
    Ok(())
}

pub(super) fn paused_since(db: Db<'_>) -> Result<Option<Timestamp>> {
    let sql = "-- paused_since()
        SELECT at FROM kept WHERE name = ?1";
    db.first(sql, args![PAUSED], |row| row.get("at"))
}
