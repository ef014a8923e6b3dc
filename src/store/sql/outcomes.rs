//! What a stage's step has found out is recorded: the outcomes of its syncs, and what it has learned of the services.

use jiff::Timestamp;
use serde_json::Value;

use super::db::{Db, Result, args};
use super::writer::Txn;
use super::{claims, rows, turns};
use crate::clock::{after, until};
use crate::domain::breaker::Cause;
use crate::domain::failure::ServiceError;
use crate::domain::lead::ContactId;
use crate::domain::retry::RetryPolicy;
use crate::domain::state::{Event, State};
use crate::domain::sync::{SyncId, SyncJob};
use crate::store::{Change, Effect, Outcome, PossiblyChanged, Stage, StepReport, StoreSettings};

pub(super) fn change_of(sync: &SyncJob) -> Change {
    Change {
        sync: sync.id,
        lead: sync.lead.clone(),
        state: sync.state.label(),
    }
}

pub(super) fn open_breaker(
    txn: &mut Txn<'_>,
    (service_error, cause): (&ServiceError, Cause),
    epoch: i64,
    jitter: f64,
    policy: &RetryPolicy,
) -> Result<()> {
    let mut breaker = rows::breaker(txn.db, service_error.remote)?;
    if breaker.record_failure((service_error, cause), epoch, policy, jitter, txn.now) {
        rows::save_breaker(txn.db, &breaker)?;
        // A worker that left the probe to another has to know how long there is nothing to do now.
        for stage in Stage::ALL {
            txn.wake(stage);
        }
    }
    Ok(())
}

pub(super) fn record(
    txn: &mut Txn<'_>,
    outcomes: &[Outcome],
    report: &StepReport,
    settings: &StoreSettings,
) -> Result<()> {
    for (remote, epoch) in &report.answered {
        let mut breaker = rows::breaker(txn.db, *remote)?;
        if breaker.close(*epoch) {
            rows::save_breaker(txn.db, &breaker)?;
            for stage in Stage::ALL {
                txn.wake(stage);
            }
        }
    }
    for (remote, epoch) in &report.probed {
        let mut breaker = rows::breaker(txn.db, *remote)?;
        if let Some(open) = breaker.open.as_mut().filter(|_| breaker.epoch == *epoch) {
            open.until = open.until.min(txn.now);
            rows::save_breaker(txn.db, &breaker)?;
            // Those who met the breaker meanwhile sleep until the probe's lease runs out.
            for stage in Stage::ALL {
                txn.wake(stage);
            }
        }
    }
    if report.credits > 0 {
        spend(txn, report.credits)?;
    }
    let tag_not_before = after(txn.now, settings.tag_delay);
    if report.ambiguous_upsert {
        move_all_tags(txn.db, tag_not_before)?;
    }
    if !report.possibly_changed.is_empty() {
        move_tags_of(txn, &report.possibly_changed, tag_not_before)?;
    }
    for stage in Stage::ALL {
        let accepted = outcomes
            .iter()
            .filter(|outcome| accepted_in(outcome) == Some(stage))
            .count();
        if accepted > 0 {
            let accepted = i64::try_from(accepted).unwrap_or(i64::MAX);
            // At once, and not with the ledger's counters at the end of the transaction: a failure below compares with it.
            rows::count(txn.db, claims::accepted_counter(stage), accepted)?;
        }
    }
    for outcome in outcomes {
        record_one(txn, outcome, settings)?;
    }
    turns::over(txn);
    Ok(())
}

/// The stage whose service has accepted the record.
fn accepted_in(outcome: &Outcome) -> Option<Stage> {
    match &outcome.effect {
        Effect::Event(Event::Upserted { .. }) => Some(Stage::Upsert),
        Effect::Event(Event::Tagged { .. }) => Some(Stage::Tag),
        Effect::Event(Event::WrittenBack) => Some(Stage::WriteBack),
        _ => None,
    }
}

/// Adds credits to the present hour's, and forgets those of the day before yesterday.
fn spend(txn: &Txn<'_>, credits: u32) -> Result<()> {
    let hour = txn.now.as_second() / 3600;
    let sql = "-- spend()
        INSERT INTO credit (hour, used) VALUES (?1, ?2) ON CONFLICT (hour) DO UPDATE SET used = credit.used + ?2";
    txn.db.execute(sql, args![hour, credits])?;
    txn.db.execute("DELETE FROM credit WHERE hour < ?1", args![hour - 48])?;
    Ok(())
}

fn record_one(txn: &mut Txn<'_>, outcome: &Outcome, settings: &StoreSettings) -> Result<()> {
    let sql = "-- record_one()
        SELECT * FROM sync WHERE id = ?1 AND claim_token = ?2";
    let claimed = &outcome.claimed;
    let found = txn.db.first(sql, args![claimed.sync.id.0, claimed.token.0], |row| {
        Ok((rows::sync_of(row)?, row.get("changed_at")?))
    })?;
    let Some((mut sync, changed_at)) = found else {
        tracing::warn!(sync_id = %outcome.claimed.sync.id, "an outcome came after its lease was lost, and is not recorded");
        return Ok(());
    };
    let was = sync.state.label();
    let detail = outcome.note.clone().unwrap_or(Value::Null);
    let claimed_requests = outcome.claimed.sync.requests.count;
    let settles_at = match outcome.effect.is_ambiguous_insert() {
        true => Some(expect_insert(txn, &sync, after(txn.now, settings.ambiguity_delay))?),
        false => outcome.claimed.link.ambiguous_until,
    };
    let policy = &settings.retry;
    let (what, applied) = match &outcome.effect {
        Effect::Event(event) => (event.label(), sync.apply(event.clone(), claimed_requests, txn.now)),
        Effect::ContactGone(failure) => (
            Event::ContactGone.label(),
            sync.lose_contact(failure.clone(), claimed_requests, policy, txn.now),
        ),
        Effect::Failed(failure) => (
            "attempt_failed",
            sync.fail(failure.clone(), claimed_requests, policy, txn.now),
        ),
        Effect::FailedUncounted(failure) => {
            let accepted = stage_of(&sync).map(|stage| claims::accepted(txn.db, stage));
            sync.fail_uncounted(failure.clone(), accepted.transpose()?.unwrap_or(0), policy, txn.now);
            ("attempt_failed", Ok(()))
        }
        Effect::Ambiguous { bisect_limit, .. } => {
            sync.bisect(*bisect_limit, txn.now);
            ("ambiguous", Ok(()))
        }
        Effect::Released | Effect::Settling => {
            // To the end of the queue: what is put back again and again must not block others, and the next probe must not
            // be the one that failed.
            sync.next_attempt_at = sync.next_attempt_at.max(txn.now);
            if let (Effect::Settling, Some(settles_at)) = (&outcome.effect, settles_at) {
                sync.next_attempt_at = sync.next_attempt_at.max(settles_at);
            }
            rows::save(txn.db, &sync, txn.now)?;
            wake_for(txn, &sync);
            return Ok(());
        }
    };
    if let (true, Some(settles_at)) = (outcome.effect.is_ambiguous_insert(), settles_at) {
        sync.next_attempt_at = sync.next_attempt_at.max(settles_at);
    }
    if let Err(illegal) = applied {
        // Only a defect of ours can bring this about. The lease runs out and the sync is taken up again.
        tracing::error!(sync_id = %sync.id, "{illegal}; nothing was changed");
        return Ok(());
    }
    rows::save(txn.db, &sync, txn.now)?;
    // It has failed for long enough.
    let may_give_up = matches!(outcome.effect, Effect::Failed(_) | Effect::ContactGone(_));
    let given_up = may_give_up && sync.state.label() == "rejected" && was != "rejected";
    let what = if given_up { sync.state.label() } else { what };
    let detail = with_failure(detail, &outcome.effect, &sync, given_up);
    rows::insert_event(txn.db, &sync, what, &detail, txn.now)?;
    let happened = match &outcome.effect {
        Effect::Event(event) => Some(event),
        Effect::ContactGone(_) => Some(&Event::ContactGone),
        _ => None,
    };
    finish_outcome(txn, &sync, happened, was, changed_at)
}

/// Notes with the lead that an insert of it may be applied until then, and says until when at the latest.
pub(super) fn expect_insert(txn: &Txn<'_>, sync: &SyncJob, until: Timestamp) -> Result<Timestamp> {
    let mut link = rows::link(txn.db, &sync.lead)?;
    link.expect_insert(sync, until);
    rows::save_link(txn.db, &sync.lead, &link)?;
    Ok(link.ambiguous_until.unwrap_or(until))
}

/// What follows once a sync is saved that was in the state `was` since `since`: what is remembered of its lead where an
/// event happened, other syncs' tags, the ledger, and who is told.
pub(super) fn finish_outcome(
    txn: &mut Txn<'_>,
    sync: &SyncJob,
    happened: Option<&Event>,
    was: &'static str,
    since: Timestamp,
) -> Result<()> {
    if let Some(event) = happened {
        update_link(txn, event, sync)?;
        if let State::Upserted {
            delivered,
            tag_not_before,
            ..
        } = &sync.state
        {
            move_tags(txn, sync.id, &delivered.contact, *tag_not_before)?;
        }
    }
    if sync.state.is_final() {
        txn.count(sync.state.label());
    }
    wake_for(txn, sync);
    if sync.state.label() != was {
        changed(txn, sync, was, since);
    }
    Ok(())
}

/// The sync has left a state, in which it had been since `since`.
fn changed(txn: &mut Txn<'_>, sync: &SyncJob, was: &'static str, since: Timestamp) {
    txn.changed(change_of(sync));
    txn.left(was, until(since, txn.now));
    if sync.state.is_final() {
        txn.ended(sync.state.label(), until(sync.created_at, txn.now));
    }
}

fn update_link(txn: &Txn<'_>, event: &Event, sync: &SyncJob) -> Result<()> {
    let mut link = rows::link(txn.db, &sync.lead)?;
    let before = link.clone();
    link.update(event, sync);
    if link != before {
        rows::save_link(txn.db, &sync.lead, &link)?;
    }
    Ok(())
}

fn with_failure(detail: Value, effect: &Effect, sync: &SyncJob, given_up: bool) -> Value {
    let mut detail = match detail {
        Value::Object(map) => map,
        _ => serde_json::Map::new(),
    };
    match effect {
        Effect::Failed(failure) | Effect::ContactGone(failure) if given_up => {
            detail.insert("reason".into(), failure.error.to_string().into());
        }
        // The first time is no failure.
        Effect::ContactGone(_) if sync.attempts.count == 0 => {}
        Effect::Ambiguous { bisect_limit, .. } => {
            detail.insert("bisect_limit".into(), (*bisect_limit).into());
        }
        Effect::Failed(failure) | Effect::FailedUncounted(failure) | Effect::ContactGone(failure) => {
            detail.insert("error".into(), failure.error.to_string().into());
            detail.insert("attempt".into(), sync.attempts.count.into());
            detail.insert("next_attempt_at".into(), sync.next_attempt_at.to_string().into());
        }
        Effect::Event(Event::Rejected { reason, .. }) => {
            detail.insert("reason".into(), reason.to_string().into());
        }
        Effect::Event(_) | Effect::Released | Effect::Settling => {}
    }
    Value::Object(detail)
}

pub(super) fn wake_for(txn: &mut Txn<'_>, sync: &SyncJob) {
    if let Some(stage) = stage_of(sync) {
        txn.wake(stage);
    }
}

/// The stage that takes the sync up next; `None` where it has ended.
fn stage_of(sync: &SyncJob) -> Option<Stage> {
    Stage::ALL
        .into_iter()
        .find(|stage| stage.states().contains(&sync.state.label()))
}

/// The tag's time belongs to the contact: each sync of it waits for the latest upsert. Leases stay with their
/// holders.
fn move_tags(txn: &mut Txn<'_>, upserted: SyncId, contact: &ContactId, tag_not_before: Timestamp) -> Result<()> {
    let sql = "-- move_tags()
        SELECT * FROM sync INDEXED BY sync_waiting WHERE contact_id = ?1 AND state = 'upserted' AND id <> ?2";
    let waiting = txn.db.query(sql, args![contact.as_str(), upserted.0], rows::sync_of)?;
    for sync in waiting {
        move_tag(txn, sync, tag_not_before)?;
    }
    Ok(())
}

/// An upsert that ended ambiguously may have changed the contacts with these ids or unique values, and no others.
fn move_tags_of(txn: &Txn<'_>, possibly_changed: &PossiblyChanged, tag_not_before: Timestamp) -> Result<()> {
    // Few columns: as many may wait as the tag delay lets.
    let sql = "-- move_tags_of()
        SELECT id, contact_id, unique_keys FROM sync WHERE finished_at IS NULL AND state = 'upserted'";
    let mut moved = Vec::new();
    txn.db.query(sql, &[], |row| {
        if possibly_changed.may_include(rows::contact_of(row)?.as_ref(), &rows::keys_of(row)?) {
            moved.push(row.get::<i64>("id")?);
        }
        Ok(())
    })?;
    for id in moved {
        let sql = "-- move_tags_of()
            SELECT * FROM sync WHERE id = ?1";
        if let Some(sync) = txn.db.first(sql, args![id], rows::sync_of)? {
            move_tag(txn, sync, tag_not_before)?;
        }
    }
    Ok(())
}

fn move_tag(txn: &Txn<'_>, mut sync: SyncJob, tag_not_before: Timestamp) -> Result<()> {
    if sync.contact_upserted(tag_not_before).is_ok() {
        let sql = "-- move_tag()
            UPDATE sync SET tag_not_before = CASE WHEN tag_not_before > ?2 THEN tag_not_before ELSE ?2 END, next_attempt_at = ?3 WHERE id = ?1";
        txn.db
            .execute(sql, args![sync.id.0, tag_not_before, sync.next_attempt_at])?;
    }
    Ok(())
}

/// After an upsert of which it is not known which contact it changed, if any.
pub(super) fn move_all_tags(db: Db<'_>, tag_not_before: Timestamp) -> Result<()> {
    let sql = "-- move_all_tags()
        UPDATE sync
        SET tag_not_before = CASE WHEN tag_not_before > ?1 THEN tag_not_before ELSE ?1 END,
            next_attempt_at = CASE WHEN next_attempt_at > ?1 THEN next_attempt_at ELSE ?1 END
        WHERE finished_at IS NULL AND state = 'upserted'";
    db.execute(sql, args![tag_not_before])?;
    Ok(())
}

/// Takes over what the process before has left. Its leases expire at once, except those of upserts and tags: such a call may
/// still be in flight, so these leads are neither sent nor cancelled before their lease expires. Which contacts the upserts may
/// have changed is not known, so every tag waits its delay again. Its locks are released.
pub(in crate::store) fn take_over(db: Db<'_>, now: Timestamp, settings: &StoreSettings) -> Result<()> {
    let sql = "-- take_over()
        SELECT 1 FROM sync WHERE finished_at IS NULL AND state = 'requested' AND claim_token IS NOT NULL";
    if db.exists(sql, &[])? {
        move_all_tags(db, after(now, settings.tag_delay))?;
    }
    // Only then, as it forgets the leases that were lost longer ago: those upserts were late, and may be later still.
    turns::expire_upserts(db, now, settings)?;
    let sql = "-- take_over()
        UPDATE sync SET claim_token = NULL, claim_expires_at = NULL
        WHERE finished_at IS NULL AND claim_token IS NOT NULL AND (state NOT IN ('requested', 'upserted') OR claim_expires_at <= ?1)";
    db.execute(sql, args![now])?;
    db.execute("DELETE FROM lock", &[])?;
    Ok(())
}
