//! One sync: a lead's journey with its requests, its failures and its next due time.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::datetime::after;
use super::lead::{LeadId, Revision};
use super::reject_reason::RejectReason;
use super::retry::RetryPolicy;
use super::state::{self, CancelledBy, Event, IllegalEvent, Seen, State};

/// The number of a sync; counts up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SyncId(pub i64);

impl std::fmt::Display for SyncId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Who asks for a sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A webhook of Sanity.
    Webhook,
    /// Our own search for leads that say `REQUESTED` and have no sync.
    Reconciliation,
    /// A person, through the API: carried out whatever `crmStatus` says.
    Manual,
    /// An operator who retries a sync that has ended: carried out while `crmStatus` is `REQUESTED`, or still says what our
    /// own last result wrote. An editor who has withdrawn the lead meanwhile has the last word.
    Retry,
}

impl Source {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Webhook, Self::Reconciliation, Self::Manual, Self::Retry];

    /// The stable name in the store, logs and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Reconciliation => "reconciliation",
            Self::Manual => "manual",
            Self::Retry => "retry",
        }
    }
}

/// What has been asked of a sync.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requests {
    /// How many requests it has had, the first included.
    pub count: u32,
    /// One of them came from a person.
    pub is_manual: bool,
    /// One of them was a [`Source::Retry`].
    pub is_retry: bool,
    /// The latest revision that one of them was made for.
    pub revision: Option<Revision>,
}

/// Failures of the present round, which the services' own pauses are not among.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attempts {
    /// How many in a row.
    pub count: u32,
    /// How long the sync has waited because of them.
    pub backoff_total: Duration,
    /// What the last one was, for people.
    pub last_error: Option<RejectReason>,
    /// How many records the stage's service had ever accepted at the last failure that may have been the service's own.
    pub accepted_before: Option<i64>,
}

/// The sending of one lead. A lead has at most one that has not finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncJob {
    pub id: SyncId,
    pub lead: LeadId,
    pub state: State,
    pub requests: Requests,
    /// Failures since it last made progress.
    pub attempts: Attempts,
    /// How often edits without a request have sent it back.
    pub edits: u32,
    /// How often Bigin has said that the contact is gone, since the sync last made progress. A second time contradicts the
    /// upsert in between.
    pub contact_losses: u32,
    /// The sync was in a batch call that ended ambiguously, and travels in batches of at most this size until a call with it
    /// succeeds: bisection isolates the poison item. `None`: it is not a suspect.
    pub bisect_limit: Option<u32>,
    /// No worker claims it before this.
    pub next_attempt_at: Timestamp,
    pub created_at: Timestamp,
    pub finished_at: Option<Timestamp>,
}

/// A failure that counts.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// What happened, for people: becomes the reason of `FAILED` if it goes on for too long.
    pub error: RejectReason,
    /// The least wait the service asked for.
    pub retry_after: Option<Duration>,
    /// Random, in `0.0..1.0`, for the jitter.
    pub jitter: f64,
    /// The failed call may have inserted a contact that no unique value finds. Until `AMBIGUITY_DELAY` is over the lead is not
    /// looked up and not sent, and the sync is not given up before the look-up that follows.
    pub ambiguous_insert: bool,
    /// The call with the sync alone ended ambiguously: it travels alone until a call with it succeeds.
    pub isolates: bool,
}

impl SyncJob {
    /// Coalesces a new request with the sync.
    pub fn coalesce(&mut self, source: Source, revision: Option<Revision>) {
        self.requests.count += 1;
        self.requests.is_manual |= source == Source::Manual;
        self.requests.is_retry |= source == Source::Retry;
        self.requests.revision = Revision::later(self.requests.revision.take(), revision);
    }

    /// Whether a request has come in since the last read of this round, which that read can therefore not have covered.
    pub fn requested_since_read(&self) -> bool {
        self.state
            .seen()
            .is_some_and(|seen| seen.requests < self.requests.count)
    }

    /// Creates a sync for a request.
    pub fn create(id: SyncId, lead: LeadId, source: Source, revision: Option<Revision>, now: Timestamp) -> Self {
        Self {
            id,
            lead,
            state: State::Requested {
                contact: None,
                contact_created: false,
                force_create: false,
            },
            requests: Requests {
                count: 1,
                is_manual: source == Source::Manual,
                is_retry: source == Source::Retry,
                revision,
            },
            attempts: Attempts::default(),
            edits: 0,
            contact_losses: 0,
            bisect_limit: None,
            next_attempt_at: now,
            created_at: now,
            finished_at: None,
        }
    }

    /// Carries an event out. `claimed_requests` is the count of requests that the worker saw when it claimed the sync,
    /// before it read the lead: no final state is recorded over a request that came later.
    ///
    /// # Errors
    /// [`IllegalEvent`] where the event does not go with the state; nothing has changed then.
    pub fn apply(&mut self, event: Event, claimed_requests: u32, now: Timestamp) -> Result<(), IllegalEvent> {
        let unrequested_edit = event == Event::Changed && !self.requested_since_read();
        let is_return = matches!(event, Event::Upserted { .. } | Event::Changed | Event::ContactGone);
        let restarted = self.state.restarted();
        let next = state::apply(self.state.clone(), event)?;
        let overtaken = next.is_final() && !cancelled_by_operator(&next) && self.requests.count > claimed_requests;
        self.state = if overtaken { restarted } else { next };

        if self.state.is_final() {
            self.finished_at = Some(now);
        }
        if matches!(self.state, State::Requested { .. }) {
            self.edits = if unrequested_edit { self.edits + 1 } else { 0 };
        }
        if !is_return {
            self.contact_losses = 0;
        }
        // An upsert that the next call contradicts is no progress.
        if self.contact_losses == 0 {
            self.attempts = Attempts::default();
        }
        self.bisect_limit = None;
        self.next_attempt_at = match &self.state {
            State::Upserted { tag_not_before, .. } => *tag_not_before,
            _ => now,
        };
        Ok(())
    }

    /// Bigin says that the contact is gone, and the lead is upserted afresh. From the second time on without progress in
    /// between, this is a failure: it backs off, and is given up like any other.
    ///
    /// # Errors
    /// As for [`SyncJob::apply`].
    pub fn lose_contact(
        &mut self,
        failure: Failure,
        claimed_requests: u32,
        policy: &RetryPolicy,
        now: Timestamp,
    ) -> Result<(), IllegalEvent> {
        let (losses, failures) = (self.contact_losses, self.attempts.clone());
        self.apply(Event::ContactGone, claimed_requests, now)?;
        self.contact_losses = losses.saturating_add(1);
        if losses == 0 {
            return Ok(());
        }
        self.attempts = failures;
        self.fail(failure, claimed_requests, policy, now)
    }

    /// Moves the tag of a contact that another sync has just upserted. Failures and a later due time stay.
    pub fn contact_upserted(&mut self, tag_not_before: Timestamp) -> Result<(), IllegalEvent> {
        self.state = state::apply(self.state.clone(), Event::ContactUpserted { tag_not_before })?;
        self.next_attempt_at = self.next_attempt_at.max(tag_not_before);
        Ok(())
    }

    /// A person wants it tried now: a wait after a failure is over. A tag's time stays, and so does the place in the queue
    /// of what is due already.
    pub fn make_due_now(&mut self, now: Timestamp) {
        let soonest = match &self.state {
            State::Upserted { tag_not_before, .. } => now.max(*tag_not_before),
            _ => now,
        };
        self.next_attempt_at = self.next_attempt_at.min(soonest);
    }

    /// Counts a failure: the sync is tried again later, or has failed for long enough and is rejected. A result that is
    /// known is written back however long it takes, so [`State::Tagged`] and [`State::Rejected`] never give up.
    ///
    /// # Errors
    /// [`IllegalEvent`] where the sync has ended.
    pub fn fail(
        &mut self,
        failure: Failure,
        claimed_requests: u32,
        policy: &RetryPolicy,
        now: Timestamp,
    ) -> Result<(), IllegalEvent> {
        if self.state.is_final() {
            return Err(IllegalEvent {
                state: self.state.label(),
                event: "tried again",
            });
        }
        let result_is_known = matches!(self.state, State::Tagged { .. } | State::Rejected { .. });
        if self.has_failed_for_long(policy) && !result_is_known && !failure.ambiguous_insert {
            let seen = Seen {
                requests: claimed_requests,
                revision: None,
            };
            let event = Event::Rejected {
                reason: failure.error,
                seen,
            };
            return self.apply(event, claimed_requests, now);
        }
        let wait = self.schedule_retry(failure, policy, now);
        self.attempts.backoff_total = self.attempts.backoff_total.saturating_add(wait);
        Ok(())
    }

    /// Whether the next failure that counts is the last.
    pub fn has_failed_for_long(&self, policy: &RetryPolicy) -> bool {
        self.attempts.backoff_total >= policy.give_up_after
    }

    /// A call with this sync alone failed, and nothing shows whether the sync is to blame or the service, which has accepted
    /// `accepted` records of the stage so far. It is retried behind the others, and the wait does not count. No effect on a
    /// finished sync.
    pub fn fail_uncounted(&mut self, failure: Failure, accepted: i64, policy: &RetryPolicy, now: Timestamp) {
        if self.state.is_final() {
            return;
        }
        self.attempts.accepted_before = Some(accepted);
        self.schedule_retry(failure, policy, now);
    }

    /// Whether other records have been accepted since the sync failed alone, so that failing again is its own doing.
    pub fn others_succeeded(&self, accepted: i64) -> bool {
        self.attempts.accepted_before.is_some_and(|before| accepted > before)
    }

    /// Whether it has failed before, so that another failure says little of the service.
    pub fn has_failed(&self) -> bool {
        self.bisect_limit.is_some() || self.attempts.count > 0
    }

    /// A batch call with this sync ended ambiguously: it is retried in a batch of at most `limit`, and no attempt counts.
    pub fn bisect(&mut self, limit: u32, now: Timestamp) {
        self.bisect_limit = Some(limit);
        self.next_attempt_at = self.next_attempt_at.max(now);
    }

    fn schedule_retry(&mut self, failure: Failure, policy: &RetryPolicy, now: Timestamp) -> Duration {
        self.attempts.count = self.attempts.count.saturating_add(1);
        self.attempts.last_error = Some(failure.error);
        if failure.isolates {
            self.bisect_limit = Some(1);
        }
        let wait = policy.delay(self.attempts.count, failure.jitter, failure.retry_after);
        // Another lead's upsert may have moved the tag since this sync was claimed.
        self.next_attempt_at = match &self.state {
            State::Upserted { tag_not_before, .. } => after(now, wait).max(*tag_not_before),
            _ => after(now, wait),
        };
        wait
    }
}

fn cancelled_by_operator(state: &State) -> bool {
    matches!(
        state,
        State::Cancelled {
            by: CancelledBy::Operator
        }
    )
}

#[cfg(test)]
mod tests;
