//! The syncs of one step, and the outcome of each so far.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::time::Duration;

use jiff::Timestamp;

use super::failed_call::{FailedCall, bisect_limit, cause_of};
use super::{Context, Stepped};
use crate::clock::until;
use crate::domain::breaker::{Breaker, Cause};
use crate::domain::failure::{CallError, ItemError, Remote, ServiceError, TransportError};
use crate::domain::lead::ContactId;
use crate::domain::reject_reason::{RejectReason, sentence};
use crate::domain::state::{Event, Seen};
use crate::domain::sync::Failure;
use crate::random;
use crate::store::{
    Claim, ClaimToken, Claimed, Detail, Effect, Outcome, PossiblyChanged, Stage, StepReport, StoreError,
};

/// The part of a lease that is left when a call ends at its deadline, for its outcome to be recorded.
const TO_RECORD: u32 = 10;

/// A claim being worked on. Every claimed sync gets exactly one outcome, all recorded together at the end.
pub(super) struct Batch<'a> {
    context: &'a Context,
    stage: Stage,
    claimed_at: Timestamp,
    /// `None` where nothing was claimed.
    token: Option<ClaimToken>,
    /// When the lease was taken, or renewed.
    leased_at: Timestamp,
    breakers: BTreeMap<Remote, Breaker>,
    probed: Vec<Remote>,
    /// How many records of the stage had been accepted when this was claimed.
    accepted: i64,
    /// One has been accepted since.
    has_accepted: bool,
    /// A call ended ambiguously, or the service takes no work: nothing more is sent.
    is_over: bool,
    answered: BTreeSet<Remote>,
    pauses: Vec<(ServiceError, Cause)>,
    ambiguous_upsert: bool,
    possibly_changed: PossiblyChanged,
    outcomes: Vec<Outcome>,
}

impl<'a> Batch<'a> {
    /// Takes the claim apart: the batch, and the syncs to work on.
    pub(super) fn new(context: &'a Context, stage: Stage, claimed_at: Timestamp, claim: Claim) -> (Self, Vec<Claimed>) {
        context.metrics.batch_syncs.size([stage.label()], claim.syncs.len());
        context.paces.of(stage).claimed();
        let batch = Self {
            context,
            stage,
            claimed_at,
            token: claim.syncs.first().map(|claimed| claimed.token),
            leased_at: claimed_at,
            breakers: claim.breakers,
            probed: claim.probed,
            accepted: claim.accepted,
            has_accepted: false,
            is_over: false,
            answered: BTreeSet::new(),
            pauses: Vec::new(),
            ambiguous_upsert: false,
            possibly_changed: PossiblyChanged::default(),
            outcomes: Vec::with_capacity(claim.syncs.len()),
        };
        (batch, claim.syncs)
    }

    pub(super) fn record_event(&mut self, claimed: Claimed, event: Event) {
        self.record_event_with(claimed, event, Detail::default());
    }

    /// An event happened, and the history is to say something more of it.
    pub(super) fn record_event_with(&mut self, claimed: Claimed, event: Event, mut detail: Detail) {
        let sync = &claimed.sync;
        match &event {
            // The reason names fields and no values, and is what a reader of the log wants to know.
            Event::Rejected { reason, .. } => tracing::warn!(
                sync_id = %sync.id, lead_id = %sync.lead, "sync {} of lead {}: rejected: {reason}", sync.id, sync.lead
            ),
            _ => tracing::info!(
                sync_id = %sync.id, lead_id = %sync.lead, "sync {} of lead {}: {}", sync.id, sync.lead, event.label()
            ),
        }
        detail.ms = Some(self.took());
        if let Event::Upserted { delivered, .. } = &event {
            detail.contact = Some(delivered.contact.to_string());
            detail.action = Some(delivered.action.label());
        }
        self.push(claimed, Effect::Event(event), detail);
    }

    /// How long the claim has been held.
    pub(super) fn held(&self) -> Duration {
        until(self.claimed_at, self.context.clock.now())
    }

    /// How long the step has taken so far, in milliseconds.
    fn took(&self) -> u64 {
        u64::try_from(self.held().as_millis()).unwrap_or(u64::MAX)
    }

    /// The sync failed, which counts.
    pub(super) fn failed(&mut self, claimed: Claimed, code: &str, error: RejectReason) {
        let sync = &claimed.sync;
        tracing::warn!(
            sync_id = %sync.id, lead_id = %sync.lead, stage = self.stage.label(), code,
            "sync {} of lead {}: attempt failed, will retry: {error}", sync.id, sync.lead
        );
        self.add(claimed, code, Effect::Failed(failure(error, None)));
    }

    fn add(&mut self, claimed: Claimed, code: &str, effect: Effect) {
        let detail = Detail {
            ms: Some(self.took()),
            stage: Some(self.stage.label()),
            code: Some(code.to_owned()),
            ..Detail::default()
        };
        self.push(claimed, effect, detail);
    }

    fn push(&mut self, claimed: Claimed, effect: Effect, detail: Detail) {
        self.outcomes.push(Outcome {
            claimed,
            effect,
            detail,
        });
    }

    /// Bigin says that the sync's contact is gone. From the second time on this counts.
    pub(super) fn contact_gone(&mut self, claimed: Claimed) {
        let sync = &claimed.sync;
        tracing::info!(
            sync_id = %sync.id, lead_id = %sync.lead, "sync {} of lead {}: {}", sync.id, sync.lead, Event::ContactGone.label()
        );
        let failure = failure(RejectReason::ContactContradicted, None);
        self.add(claimed, "CONTACT_GONE", Effect::ContactGone(failure));
    }

    /// Bigin did not accept the record of a sync. `retry` is the error where it may accept it later, made from Bigin's code.
    pub(super) fn not_accepted(
        &mut self,
        claimed: Claimed,
        error: ItemError,
        seen: Seen,
        retry: impl FnOnce(String) -> RejectReason,
    ) {
        match error {
            ItemError::ContactGone => self.contact_gone(claimed),
            ItemError::Service { error } => self.failed_alone(claimed, FailedCall::refused(error), false),
            ItemError::Rejected { reason, .. } => self.record_event(claimed, Event::Rejected { reason, seen }),
            ItemError::Retry { code } => self.failed(claimed, &code, retry(code.clone())),
        }
    }

    /// Whether a sync whose call failed alone is to blame: others were accepted in this step, or have been since it last
    /// failed.
    pub(super) fn others_succeeded(&self, claimed: &Claimed) -> bool {
        self.has_accepted || claimed.sync.others_succeeded(self.accepted)
    }

    /// The call with this sync alone failed. Where nothing shows that it is the sync's own doing, no attempt counts, and the
    /// sync stands back behind the others. `insert`: see [`Failure::ambiguous_insert`].
    pub(super) fn failed_alone(&mut self, claimed: Claimed, failed_call: FailedCall, insert: bool) {
        let FailedCall {
            service_error,
            reason,
            is_ambiguous,
        } = failed_call;
        let others_succeeded = self.others_succeeded(&claimed);
        // An ambiguous end has been weighed where the call ended.
        if !others_succeeded && !is_ambiguous {
            self.open_breaker(service_error.clone(), cause_of(&[&claimed]));
        }
        let sync = &claimed.sync;
        tracing::warn!(
            sync_id = %sync.id, lead_id = %sync.lead, stage = self.stage.label(), code = %service_error.code,
            "sync {} of lead {}: attempt failed alone, will retry: {reason}", sync.id, sync.lead
        );
        let failure = Failure {
            ambiguous_insert: insert && is_ambiguous,
            isolates: is_ambiguous,
            ..failure(reason, service_error.retry_after)
        };
        let effect = match others_succeeded {
            true => Effect::Failed(failure),
            false => Effect::FailedUncounted(failure),
        };
        self.add(claimed, &service_error.code, effect);
    }

    /// A batch call with this sync ended ambiguously: it is a suspect now. `insert`: see [`Failure::ambiguous_insert`].
    pub(super) fn ambiguous(&mut self, claimed: Claimed, code: &str, bisect_limit: u32, insert: bool) {
        self.add(claimed, code, Effect::Ambiguous { bisect_limit, insert });
    }

    /// A call was answered within `took`.
    pub(super) fn call_succeeded(&mut self, records: usize, took: Duration) {
        let deadline = self.context.deadline();
        self.context.paces.of(self.stage).succeeded(records, took, deadline);
    }

    /// A record of the step was accepted.
    pub(super) fn has_accepted(&mut self) {
        self.has_accepted = true;
    }

    /// A call to `remote` that carried these syncs, and changed nothing that another look would not show, failed. One that
    /// ended ambiguously makes suspects of them.
    pub(super) fn call_with_leads_failed(&mut self, carried: Vec<Claimed>, remote: Remote, error: CallError) -> Cause {
        // An answer that comes at once and says nothing of the one lead it was asked for is the service's.
        let may_be_theirs = match &error {
            CallError::Ambiguous { transport, .. } => carried.len() > 1 || *transport == Some(TransportError::Timeout),
            CallError::Service(_) | CallError::Rejected { .. } => false,
        };
        if !may_be_theirs && remote == Remote::Sanity {
            self.call_failed(carried, remote, error);
            return Cause::Service;
        }
        let failed_call = FailedCall::of(error, remote);
        let cause = self.call_ended_ambiguously(&carried.iter().collect::<Vec<_>>(), failed_call.service_error.clone());
        let (limit, is_alone) = (bisect_limit(carried.len()), carried.len() == 1);
        for claimed in carried {
            match is_alone {
                true => self.failed_alone(claimed, failed_call.clone(), false),
                false => self.ambiguous(claimed, &failed_call.service_error.code, limit, false),
            }
        }
        cause
    }

    /// A call with these syncs ended ambiguously, which ends the step. Where it carried a sync that had not failed before,
    /// the service has failed; where all had failed before, the service has failed once three such calls in a row have,
    /// or where the call was its probe. Says which of both it carried.
    pub(super) fn call_ended_ambiguously(&mut self, carried: &[&Claimed], service_error: ServiceError) -> Cause {
        self.is_over = true;
        let (leads, cause) = (carried.len(), cause_of(carried));
        tracing::warn!(
            stage = self.stage.label(), remote = service_error.remote.label(), code = %service_error.code, leads,
            "a call for {leads} leads ended ambiguously: {}", sentence(&service_error.code, &service_error.what)
        );
        let is_service = self.context.paces.of(self.stage).ended_ambiguously(cause);
        if is_service || self.probed.contains(&service_error.remote) {
            self.open_breaker(service_error, cause);
        }
        cause
    }

    /// Nothing more is sent in this step: the service takes no work.
    pub(super) fn end(&mut self) {
        self.is_over = true;
    }

    /// A call of so many records was too much for the service.
    pub(super) fn shrink(&mut self, records: usize) {
        let now = self.context.clock.now();
        self.context.paces.of(self.stage).shrink(records, now);
    }

    /// The sync is put back and nothing is counted.
    pub(super) fn release(&mut self, claimed: Claimed) {
        self.put_back(claimed, Effect::Released);
    }

    /// The sync is put back until an insert that ended ambiguously has settled.
    pub(super) fn settling(&mut self, claimed: Claimed) {
        self.put_back(claimed, Effect::Settling);
    }

    fn put_back(&mut self, claimed: Claimed, effect: Effect) {
        self.push(claimed, effect, Detail::default());
    }

    /// A service takes no work: no sync is at fault. Of several failures the one counts that asks for the longest wait.
    pub(super) fn open_breaker(&mut self, service_error: ServiceError, cause: Cause) {
        let is_same = |known: &ServiceError| known.remote == service_error.remote;
        let mut pauses = self.pauses.iter();
        if pauses.any(|(known, _)| is_same(known) && known.retry_after >= service_error.retry_after) {
            return;
        }
        tracing::warn!(remote = service_error.remote.label(), code = %service_error.code, "circuit breaker opened: {service_error}");
        self.pauses.retain(|(known, _)| !is_same(known));
        self.pauses.push((service_error, cause));
    }

    /// An upsert may have been carried out, and of which contact is not known.
    pub(super) fn ambiguous_upsert(&mut self) {
        self.ambiguous_upsert = true;
    }

    /// An upsert that ended ambiguously may have changed this contact, or those with these keys.
    pub(super) fn mark_possibly_changed(&mut self, contact: Option<&ContactId>, keys: &[String]) {
        match contact {
            Some(contact) => {
                self.possibly_changed.contacts.insert(contact.clone());
            }
            None => self.possibly_changed.keys.extend(keys.iter().cloned()),
        }
    }

    /// A call that was made for all of these failed as a whole, and says nothing of any one of them (a read, say): it is
    /// the service's trouble, whether it ended unclearly or was refused.
    pub(super) fn call_failed(&mut self, all: Vec<Claimed>, remote: Remote, error: CallError) {
        self.open_breaker(error.into_service_error(remote), Cause::Service);
        all.into_iter().for_each(|claimed| self.release(claimed));
    }

    /// A service has just answered a call, whatever it said of the records.
    pub(super) fn answered(&mut self, remotes: &[Remote]) {
        self.answered.extend(remotes);
    }

    /// The deadline for a call sent now, which always is a whole one: where the lease would end before the outcome of the call
    /// is recorded, it is renewed. `None` where nothing more is to be sent: a call of the step has ended ambiguously, the
    /// service takes no work, or the lease was lost.
    pub(super) async fn deadline(&mut self) -> Option<Duration> {
        if self.is_over {
            return None;
        }
        let deadline = self.context.deadline();
        if self.leased() + deadline + self.context.lease / TO_RECORD > self.context.lease {
            self.renew().await;
        }
        (!self.is_over).then_some(deadline)
    }

    /// Waits for what another step may hold for longer than a lease, and renews this one meanwhile.
    pub(super) async fn wait_for<T>(&mut self, other: impl Future<Output = T>) -> T {
        let mut other = pin!(other);
        loop {
            let half = (self.context.lease / 2).saturating_sub(self.leased());
            tokio::select! {
                biased;
                got = &mut other => return got,
                () = tokio::time::sleep(half) => self.renew().await,
            }
        }
    }

    /// How long ago the lease was taken, or renewed.
    fn leased(&self) -> Duration {
        until(self.leased_at, self.context.clock.now())
    }

    async fn renew(&mut self) {
        self.leased_at = self.context.clock.now();
        let Some(token) = self.token else { return };
        // A store that fails here fails the record of the outcomes too, which says so.
        self.is_over |= !self.context.store.renew(token).await.unwrap_or(false);
    }

    /// Records everything.
    pub(super) async fn finish(self) -> Result<Stepped, StoreError> {
        let worked = self.outcomes.len();
        let epoch = |remote: Remote| self.breakers.get(&remote).map_or(0, |breaker| breaker.epoch);
        for (service_error, cause) in &self.pauses {
            let epoch = epoch(service_error.remote);
            self.context
                .store
                .open_breaker(service_error.clone(), *cause, epoch, random::unit())
                .await?;
        }
        let in_epoch = |remote: &Remote| (*remote, epoch(*remote));
        let report = StepReport {
            // A service that is paused now has another epoch.
            answered: self.answered.iter().map(in_epoch).collect(),
            probed: self.probed.iter().map(in_epoch).collect(),
            ambiguous_upsert: self.ambiguous_upsert,
            possibly_changed: self.possibly_changed,
            credits: self.context.bigin.take_credits(),
        };
        let credits = report.credits;
        let recorded = self.context.store.record(self.outcomes, report).await;
        if recorded.is_err() {
            self.context.bigin.give_back_credits(credits);
        }
        recorded?;
        Ok(Stepped::Worked(worked))
    }
}

fn failure(error: RejectReason, retry_after: Option<Duration>) -> Failure {
    Failure {
        error,
        retry_after,
        jitter: random::unit(),
        ambiguous_insert: false,
        isolates: false,
    }
}
