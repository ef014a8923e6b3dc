//! What a stage's step has found out is recorded: the outcomes of its syncs, and what it has learned of the services.

use jiff::Timestamp;
use serde_json::Value;

use super::claims::Claimed;
use super::db::{Result, args};
use super::writer::Txn;
use super::{Answer, Change, PossiblyChanged, Stage, Store, StoreSettings, counters, rows, tags, turns};
use crate::clock::{after, until};
use crate::domain::breaker::Cause;
use crate::domain::failure::{Remote, ServiceError};
use crate::domain::retry::RetryPolicy;
use crate::domain::state::{Event, State};
use crate::domain::sync::{Failure, SyncJob};

/// What a step has learned of the remote services.
#[derive(Debug, Clone, Default)]
pub struct StepReport {
    /// These have answered a call, which closes their breakers if they are still in the epoch in which it began.
    pub answered: Vec<(Remote, i64)>,
    /// These were to be probed in this epoch. Where neither an answer nor trouble has come of it, the next claim may probe at
    /// once.
    pub probed: Vec<(Remote, i64)>,
    /// An upsert may have been carried out, and which contact it changed is not known: every tag waits its delay again.
    pub ambiguous_upsert: bool,
    /// Upserts that ended ambiguously may have changed these contacts: their tags wait the delay again.
    pub possibly_changed: PossiblyChanged,
    /// Bigin's credits that calls have cost since the last time this was said: an estimate.
    pub credits: u32,
}

/// What a worker found out about a claimed sync.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The sync as it was claimed.
    pub claimed: Claimed,
    /// What follows.
    pub effect: Effect,
    /// Goes into the history as it is: codes, counts and durations, never values.
    pub note: Option<Value>,
}

/// What follows from a worker's step for one sync.
#[derive(Debug, Clone)]
pub enum Effect {
    /// The event happened.
    Event(Event),
    /// It failed and is counted: again later, or given up.
    Failed(Failure),
    /// The call with it alone failed, which may be its fault or the service's; see [`SyncJob::fail_uncounted`].
    FailedUncounted(Failure),
    /// Bigin says that the contact is gone; from the second time on this is a failure, see [`SyncJob::lose_contact`].
    ContactGone(Failure),
    /// A batch call with it ended ambiguously, and no attempt is counted.
    Ambiguous {
        /// It travels in batches of at most this size from now on.
        bisect_limit: u32,
        /// See [`Failure::ambiguous_insert`].
        insert: bool,
    },
    /// It is put back as it was, due at once but after whatever else is due, and nothing is counted.
    Released,
    /// It is put back until an insert that ended ambiguously has settled.
    Settling,
}

impl Effect {
    /// Whether the call may have inserted a contact that no unique value finds.
    pub fn is_ambiguous_insert(&self) -> bool {
        match self {
            Self::Failed(failure) | Self::FailedUncounted(failure) => failure.ambiguous_insert,
            Self::Ambiguous { insert, .. } => *insert,
            Self::Event(_) | Self::ContactGone(_) | Self::Released | Self::Settling => false,
        }
    }
}

impl Store {
    /// Records outcomes, all in one transaction. Those whose lease is lost change nothing. An upsert moves the tag of
    /// every sync that waits on its contact.
    pub async fn record(&self, outcomes: Vec<Outcome>, report: StepReport) -> Answer<()> {
        let settings = self.settings;
        self.writer
            .write(move |txn| record(txn, &outcomes, &report, &settings))
            .await
    }

    /// A service takes no work: opens its breaker, if `epoch` is still that of the claim.
    pub async fn open_breaker(&self, service_error: ServiceError, cause: Cause, epoch: i64, jitter: f64) -> Answer<()> {
        let policy = self.settings.retry;
        self.writer
            .write(move |txn| open_breaker(txn, (&service_error, cause), epoch, jitter, &policy))
            .await
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
        tags::move_all(txn.db, tag_not_before)?;
    }
    if !report.possibly_changed.is_empty() {
        tags::move_possibly_changed(txn, &report.possibly_changed, tag_not_before)?;
    }
    for stage in Stage::ALL {
        let accepted = outcomes
            .iter()
            .filter(|outcome| accepted_in(outcome) == Some(stage))
            .count();
        if accepted > 0 {
            let accepted = i64::try_from(accepted).unwrap_or(i64::MAX);
            // At once, and not with the ledger's counters at the end of the transaction: a failure below compares with it.
            counters::count(txn.db, counters::accepted_counter(stage), accepted)?;
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
            let accepted = stage_of(&sync).map(|stage| counters::accepted(txn.db, stage));
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
            tags::move_of_contact(txn, sync.id, &delivered.contact, *tag_not_before)?;
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
    txn.changed(Change::of(sync));
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
