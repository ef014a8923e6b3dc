//! What a person does to syncs: cancel, try again, dismiss, pause everything; and to a breaker: check the service now.

use super::db::{Arg, Result, args};
use super::intake::request_by_operator;
use super::outcomes::{Was, notify, wake_for};
use super::overview::LAST_FAILED;
use super::rows::{Detail, Stored};
use super::txn::Txn;
use super::{Accepted, Answer, Change, Stage, Store, StoreSettings, SyncView, kv, leases, queries, rows};
use crate::domain::failure::Remote;
use crate::domain::lead::LeadId;
use crate::domain::reject_reason::ReasonKey;
use crate::domain::state::Event;
use crate::domain::sync::{Source, SyncId, SyncJob};

/// What became of a person's wish to cancel a sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelResult {
    /// It is cancelled.
    Done,
    /// A worker has claimed it, and what it does cannot be called back: try again in a moment.
    Busy,
    /// It had ended before.
    Ended,
    /// There is no such sync.
    Missing,
}

/// What became of an operator's wish to dismiss a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DismissResult {
    /// It is dismissed.
    Done,
    /// The sync is no failure that waits for anybody: it has not failed, or the lead was asked for again since.
    NoFailure,
    /// There is no such sync.
    Missing,
}

/// What became of an operator's wish to check a service now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckResult {
    /// Its breaker is closed: there is nothing to check.
    Closed,
    /// A sync in progress is the probe.
    Probe,
    /// No sync in progress needs the service, so that none is the probe.
    Idle,
}

impl Store {
    /// Cancels a sync for a person.
    pub async fn cancel(&self, id: SyncId) -> Answer<CancelResult> {
        let settings = self.settings;
        self.writer.write_if_room(move |txn| cancel(txn, id, &settings)).await
    }

    /// A person wants a sync tried again: one in progress now instead of later, one that has ended by another sync of its
    /// lead, which is a [`Source::Retry`], or whatever `crmStatus` says with `force`. `None` where there is no
    /// such sync.
    pub async fn retry(&self, id: SyncId, force: bool) -> Answer<Option<Accepted>> {
        self.writer.write_if_room(move |txn| retry(txn, id, force)).await
    }

    /// An operator has dealt with a failure otherwise: it is not shown among the failures any more, nor tried again with them.
    pub async fn dismiss(&self, id: SyncId) -> Answer<DismissResult> {
        self.writer.write_if_room(move |txn| dismiss(txn, id)).await
    }

    /// An operator wants a service checked: the next probe of its breaker may go at once. The breaker stays open.
    pub async fn check_now(&self, remote: Remote) -> Answer<CheckResult> {
        self.writer.write_if_room(move |txn| check_now(txn, remote)).await
    }

    /// Creates a sync, as a [`Source::Retry`], for up to `limit` leads whose last sync failed, for this reason where one is
    /// given; newest first, those before `before`. Returns how many, and where to go on if there may be more.
    pub async fn retry_failed(
        &self,
        reason: Option<ReasonKey>,
        before: Option<SyncId>,
        limit: usize,
    ) -> Answer<(usize, Option<SyncId>)> {
        self.writer
            .write_if_room(move |txn| retry_failed(txn, reason.as_ref(), before, limit))
            .await
    }

    /// A person pauses all work, or lets it go on: while it is paused nothing is claimed, and requests are stored as ever.
    pub async fn set_paused(&self, paused: bool) -> Answer<()> {
        self.writer.write_if_room(move |txn| set_paused(txn, paused)).await
    }
}

fn by_operator() -> Detail {
    Detail {
        by: Some("operator"),
        ..Detail::default()
    }
}

/// Never while a worker has claimed it: what its call has done would be forgotten.
fn cancel(txn: &mut Txn<'_>, id: SyncId, settings: &StoreSettings) -> Result<CancelResult> {
    // An insert of a claim that ended unrecorded may still be applied, which the next sync of the lead has to know; and an
    // outcome that comes after its lease is over must not meet a sync that is cancelled.
    let leases = leases::expire(txn.db, &Stage::ALL, txn.now, settings)?;
    let Some(mut stored) = rows::find(txn.db, id)? else {
        return Ok(CancelResult::Missing);
    };
    if leases.iter().any(|lease| lease.syncs.contains(&id)) {
        return Ok(CancelResult::Busy);
    }
    let was = Was::of(&stored);
    let Stored { sync, link, .. } = &mut stored;
    if sync.apply(Event::Cancelled, sync.requests.count, txn.now).is_err() {
        return Ok(CancelResult::Ended);
    }
    link.update(&Event::Cancelled, sync);
    rows::save(txn.db, &stored, txn.now)?;
    let sync = &stored.sync;
    rows::insert_event(txn.db, sync, Event::Cancelled.label(), by_operator(), txn.now)?;
    notify(txn, sync, &was);
    Ok(CancelResult::Done)
}

fn retry(txn: &mut Txn<'_>, id: SyncId, force: bool) -> Result<Option<Accepted>> {
    let source = if force { Source::Manual } else { Source::Retry };
    match rows::find(txn.db, id)? {
        Some(found) => request_again(txn, &found.sync.lead, source).map(Some),
        None => Ok(None),
    }
}

fn request_again(txn: &mut Txn<'_>, lead: &LeadId, source: Source) -> Result<Accepted> {
    let accepted = request_by_operator(txn, lead, source)?;
    // One that was created is due.
    if let Accepted::Coalesced(id) = accepted
        && let Some(stored) = rows::find(txn.db, id)?
    {
        make_due(txn, stored.sync)?;
    }
    Ok(accepted)
}

fn make_due(txn: &mut Txn<'_>, mut sync: SyncJob) -> Result<()> {
    sync.make_due_now(txn.now);
    // Not the whole row: a worker may have claimed it.
    let sql = "-- make_due()
        UPDATE sync SET next_attempt_at = ?2, version = version + 1 WHERE id = ?1";
    txn.db.send(sql, args![sync.id.0, sync.next_attempt_at])?;
    wake_for(txn, &sync);
    Ok(())
}

fn retry_failed(
    txn: &mut Txn<'_>,
    reason: Option<&ReasonKey>,
    before: Option<SyncId>,
    limit: usize,
) -> Result<(usize, Option<SyncId>)> {
    let same_reason = match reason {
        None => "",
        Some(ReasonKey { field: None, .. }) => "AND reason_code = ?3",
        Some(_) => "AND reason_code = ?3 AND reason_field = ?4",
    };
    let sql = format!(
        "-- retry_failed()
        SELECT id, lead_id FROM sync WHERE {LAST_FAILED} AND id < ?1 {same_reason} ORDER BY id DESC LIMIT ?2"
    );
    let mut args = vec![Arg::from(before.map_or(i64::MAX, |id| id.0)), limit.into()];
    if let Some(ReasonKey { code, field }) = reason {
        args.push(code.as_str().into());
        args.extend(field.as_deref().map(Arg::from));
    }
    let found = txn
        .db
        .query(&sql, &args, |row| Ok((row.get("id")?, rows::lead_of(row)?)))?;
    for (_, lead) in &found {
        request_again(txn, lead, Source::Retry)?;
    }
    let next = (found.len() == limit).then(|| found.last().map(|(id, _)| SyncId(*id)));
    Ok((found.len(), next.flatten()))
}

/// Only the latest sync of a lead: an earlier failure is not shown any more.
fn dismiss(txn: &mut Txn<'_>, id: SyncId) -> Result<DismissResult> {
    let Some(SyncView {
        sync,
        dismissed_at,
        next,
        ..
    }) = queries::find(txn.db, id)?
    else {
        return Ok(DismissResult::Missing);
    };
    if dismissed_at.is_some() {
        return Ok(DismissResult::Done);
    }
    if sync.state.label() != "failed" || next.is_some() {
        return Ok(DismissResult::NoFailure);
    }
    let sql = "-- dismiss()
        UPDATE sync SET dismissed_at = ?2, version = version + 1 WHERE id = ?1";
    txn.db.send(sql, args![id.0, txn.now])?;
    rows::insert_event(txn.db, &sync, "dismissed", by_operator(), txn.now)?;
    txn.changed(Change::of(&sync));
    Ok(DismissResult::Done)
}

/// Lets the next probe of an open breaker go at once. Where every sync that needs the service waits for a time of its own,
/// the first of them is made due, so that there is a probe.
fn check_now(txn: &mut Txn<'_>, remote: Remote) -> Result<CheckResult> {
    let mut breaker = rows::breaker(txn.db, remote)?;
    if breaker.open.is_none() {
        return Ok(CheckResult::Closed);
    }
    if breaker.check_now(txn.now) {
        rows::save_breaker(txn.db, &breaker)?;
    }
    let stages = || Stage::ALL.into_iter().filter(|stage| stage.remotes().contains(&remote));
    let states: Vec<String> = stages()
        .flat_map(Stage::states)
        .map(|state| format!("'{state}'"))
        .collect();
    let sql = format!(
        "-- check_now()
        SELECT * FROM sync WHERE finished_at IS NULL AND state IN ({}) ORDER BY next_attempt_at, id LIMIT 1",
        states.join(", ")
    );
    let first = txn.db.first(&sql, &[], rows::sync_of)?;
    // Also where it was due already: the workers sleep until the end of the pause.
    stages().for_each(|stage| txn.wake(stage));
    let Some(sync) = first else {
        return Ok(CheckResult::Idle);
    };
    make_due(txn, sync)?;
    Ok(CheckResult::Probe)
}

fn set_paused(txn: &mut Txn<'_>, paused: bool) -> Result<()> {
    if !paused {
        kv::delete(txn.db, kv::PAUSED, None)?;
        Stage::ALL.into_iter().for_each(|stage| txn.wake(stage));
    } else if kv::paused_since(txn.db)?.is_none() {
        kv::put(txn.db, kv::PAUSED, &[], txn.now)?;
    }
    Ok(())
}
