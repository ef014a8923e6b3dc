//! What a stage's step has found out is recorded: the outcomes of its syncs, and what it has learned of the services.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::claims::Claimed;
use super::db::{Result, args};
use super::leases::{self, ClaimRow, ClaimToken};
use super::rows::{Detail, EventLine, Stored};
use super::tags::Upserted;
use super::txn::Txn;
use super::{Answer, Change, PossiblyChanged, Stage, Store, StoreSettings, counters, rows, tags, turns};
use crate::clock::{after, until};
use crate::domain::breaker::Cause;
use crate::domain::failure::{Remote, ServiceError};
use crate::domain::retry::RetryPolicy;
use crate::domain::state::{Event, IllegalEvent, State};
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
    /// Goes into the history, with what became of the sync.
    pub detail: Detail,
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
    let mut accepted = BTreeMap::new();
    for stage in outcomes.iter().filter_map(accepted_in) {
        *accepted.entry(counters::accepted_counter(stage)).or_default() += 1;
    }
    // At once, and not with the ledger's counters at the end of the transaction: a failure below compares with it.
    counters::count(txn.db, &accepted, txn.now)?;
    record_all(txn, outcomes, settings)?;
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
    txn.db.send(sql, args![hour, credits])?;
    txn.db.send("DELETE FROM credit WHERE hour < ?1", args![hour - 48])
}

/// Records the outcomes whose claims are still there: all are decided by the rows as they were claimed, then
/// written together, and what was changed meanwhile is decided again by what its row says now.
fn record_all(txn: &mut Txn<'_>, outcomes: &[Outcome], settings: &StoreSettings) -> Result<()> {
    // Mostly one.
    let mut leases: BTreeMap<ClaimToken, Option<ClaimRow>> = BTreeMap::new();
    let mut recorded = BTreeSet::new();
    let mut decisions = Vec::with_capacity(outcomes.len());
    for outcome in outcomes {
        let (id, token) = (outcome.claimed.sync.id, outcome.claimed.token);
        if let Entry::Vacant(unread) = leases.entry(token) {
            unread.insert(leases::find(txn.db, token)?);
        }
        let lease = leases.get(&token).and_then(Option::as_ref);
        if recorded.contains(&id) || !lease.is_some_and(|lease| lease.syncs.contains(&id)) {
            tracing::warn!(sync_id = %id, "an outcome came after its lease was lost, and is not recorded");
        } else if let Some(decision) = decide(txn, outcome, as_claimed(outcome), settings)? {
            recorded.insert(id);
            decisions.push(decision);
        }
    }
    let stored: Vec<&Stored> = decisions.iter().map(|decision| &decision.stored).collect();
    let saved = rows::save_all(txn.db, &stored, txn.now)?;
    let mut written = Vec::with_capacity(decisions.len());
    for (decision, is_saved) in decisions.into_iter().zip(saved) {
        // Otherwise the lead was asked for again since it was claimed, or its tag was moved.
        let decision = match is_saved {
            true => Some(decision),
            false => {
                let id = decision.stored.sync.id;
                let again = decide_again(txn, decision.outcome, settings)?;
                if again.is_none() {
                    recorded.remove(&id);
                }
                again
            }
        };
        written.extend(decision);
    }
    let lines = written.iter().filter_map(Decision::line);
    rows::insert_events(txn.db, &lines.collect::<Vec<_>>(), txn.now)?;
    let upserts = written.iter().filter_map(Decision::upserted);
    tags::move_of_contacts(txn.db, &upserts.collect::<Vec<_>>())?;
    for decision in &written {
        notify(txn, &decision.stored.sync, &decision.was);
    }
    for lease in leases.into_values().flatten() {
        leases::give_back(txn.db, lease, &recorded)?;
    }
    Ok(())
}

/// The row as the worker has it.
fn as_claimed(outcome: &Outcome) -> Stored {
    let claimed = &outcome.claimed;
    Stored {
        sync: claimed.sync.clone(),
        link: claimed.link.clone(),
        version: claimed.version,
        changed_at: claimed.changed_at,
    }
}

/// What an outcome makes of its sync.
struct Decision<'o> {
    outcome: &'o Outcome,
    stored: Stored,
    was: Was,
    /// How the history calls it; `None` where it has nothing to say.
    kind: Option<&'static str>,
}

/// `None` where nothing is to be changed.
fn decide<'o>(
    txn: &Txn<'_>,
    outcome: &'o Outcome,
    mut stored: Stored,
    settings: &StoreSettings,
) -> Result<Option<Decision<'o>>> {
    let was = Was::of(&stored);
    Ok(match apply(txn, outcome, &mut stored, settings)? {
        Ok(kind) => Some(Decision {
            outcome,
            stored,
            was,
            kind,
        }),
        Err(illegal) => {
            // Only a defect of ours can bring this about. The lease runs out and the sync is claimed again.
            tracing::error!(sync_id = %outcome.claimed.sync.id, "{illegal}; nothing was changed");
            None
        }
    })
}

fn decide_again<'o>(txn: &Txn<'_>, outcome: &'o Outcome, settings: &StoreSettings) -> Result<Option<Decision<'o>>> {
    let Some(stored) = rows::find(txn.db, outcome.claimed.sync.id)? else {
        return Ok(None);
    };
    let decision = decide(txn, outcome, stored, settings)?;
    if let Some(decision) = &decision {
        rows::save(txn.db, &decision.stored, txn.now)?;
    }
    Ok(decision)
}

impl Decision<'_> {
    /// What the history says of it.
    fn line(&self) -> Option<EventLine<'_>> {
        let (sync, effect) = (&self.stored.sync, &self.outcome.effect);
        // It has failed for long enough.
        let may_give_up = matches!(effect, Effect::Failed(_) | Effect::ContactGone(_));
        let given_up = may_give_up && sync.state.label() == "rejected" && self.was.state != "rejected";
        let kind = if given_up { sync.state.label() } else { self.kind? };
        Some(EventLine {
            sync,
            kind,
            detail: with_failure(self.outcome.detail.clone(), effect, sync, given_up),
        })
    }

    /// What it has upserted, if that is what happened.
    fn upserted(&self) -> Option<Upserted<'_>> {
        match (&self.stored.sync.state, &self.outcome.effect) {
            (
                State::Upserted {
                    delivered,
                    tag_not_before,
                    ..
                },
                Effect::Event(_),
            ) => Some(Upserted {
                sync: self.stored.sync.id,
                contact: &delivered.contact,
                tag_not_before: *tag_not_before,
            }),
            _ => None,
        }
    }
}

/// What the effect makes of the sync and of the lead's link, and how the history calls it; `None` where it has nothing to say.
fn apply(
    txn: &Txn<'_>,
    outcome: &Outcome,
    stored: &mut Stored,
    settings: &StoreSettings,
) -> Result<std::result::Result<Option<&'static str>, IllegalEvent>> {
    let Stored { sync, link, .. } = stored;
    let requests = outcome.claimed.sync.requests.count;
    let policy = &settings.retry;
    let is_ambiguous_insert = outcome.effect.is_ambiguous_insert();
    if is_ambiguous_insert {
        link.expect_insert(sync, after(txn.now, settings.ambiguity_delay));
    }
    let (kind, applied) = match &outcome.effect {
        Effect::Event(event) => (Some(event.label()), sync.apply(event.clone(), requests, txn.now)),
        Effect::ContactGone(failure) => (
            Some(Event::ContactGone.label()),
            sync.lose_contact(failure.clone(), requests, policy, txn.now),
        ),
        Effect::Failed(failure) => (
            Some("attempt_failed"),
            sync.fail(failure.clone(), requests, policy, txn.now),
        ),
        Effect::FailedUncounted(failure) => {
            let accepted = stage_of(sync).map(|stage| counters::accepted(txn.db, stage));
            sync.fail_uncounted(failure.clone(), accepted.transpose()?.unwrap_or(0), policy, txn.now);
            (Some("attempt_failed"), Ok(()))
        }
        Effect::Ambiguous { bisect_limit, .. } => {
            sync.bisect(*bisect_limit, txn.now);
            (Some("ambiguous"), Ok(()))
        }
        Effect::Released | Effect::Settling => {
            // To the end of the queue: what is put back again and again must not block others, and the next probe must not
            // be the one that failed.
            sync.next_attempt_at = sync.next_attempt_at.max(txn.now);
            (None, Ok(()))
        }
    };
    if let (true, Some(settles_at)) = (
        is_ambiguous_insert || matches!(outcome.effect, Effect::Settling),
        link.ambiguous_until,
    ) {
        sync.next_attempt_at = sync.next_attempt_at.max(settles_at);
    }
    if let Some(event) = happened(&outcome.effect) {
        link.update(event, sync);
    }
    Ok(applied.map(|()| kind))
}

fn happened(effect: &Effect) -> Option<&Event> {
    match effect {
        Effect::Event(event) => Some(event),
        Effect::ContactGone(_) => Some(&Event::ContactGone),
        _ => None,
    }
}

/// What a sync was before.
pub(super) struct Was {
    state: &'static str,
    since: Timestamp,
}

impl Was {
    pub(super) fn of(stored: &Stored) -> Self {
        Self {
            state: stored.sync.state.label(),
            since: stored.changed_at,
        }
    }
}

/// Once a sync is saved: the ledger, and who is notified.
pub(super) fn notify(txn: &mut Txn<'_>, sync: &SyncJob, was: &Was) {
    if sync.state.is_final() {
        txn.count(sync.state.label());
    }
    wake_for(txn, sync);
    if sync.state.label() != was.state {
        changed(txn, sync, was);
    }
}

/// The sync has left a state.
fn changed(txn: &mut Txn<'_>, sync: &SyncJob, was: &Was) {
    txn.changed(Change::of(sync));
    txn.left(was.state, until(was.since, txn.now));
    if sync.state.is_final() {
        txn.ended(sync.state.label(), until(sync.created_at, txn.now));
    }
}

/// The detail with what became of the sync.
fn with_failure(mut detail: Detail, effect: &Effect, sync: &SyncJob, given_up: bool) -> Detail {
    match effect {
        Effect::Failed(failure) | Effect::ContactGone(failure) if given_up => {
            detail.reason = Some(failure.error.to_string());
        }
        // The first time is no failure.
        Effect::ContactGone(_) if sync.attempts.count == 0 => {}
        Effect::Ambiguous { bisect_limit, .. } => detail.bisect_limit = Some(*bisect_limit),
        Effect::Failed(failure) | Effect::FailedUncounted(failure) | Effect::ContactGone(failure) => {
            detail.error = Some(failure.error.to_string());
            detail.attempt = Some(sync.attempts.count);
            detail.next_attempt_at = Some(sync.next_attempt_at);
        }
        Effect::Event(Event::Rejected { reason, .. }) => detail.reason = Some(reason.to_string()),
        Effect::Event(_) | Effect::Released | Effect::Settling => {}
    }
    detail
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
