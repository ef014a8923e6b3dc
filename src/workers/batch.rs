//! The syncs of one step, and what has become of each so far.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use super::send::Doubt;
use super::{Context, Stepped};
use crate::chance;
use crate::clock::until;
use crate::domain::breaker::Breaker;
use crate::domain::failure::{CallError, Pause, PauseKind, Remote, sentence};
use crate::domain::state::Event;
use crate::domain::sync::Failure;
use crate::store::{Claim, Claimed, Effect, Learned, Outcome, Stage, StoreError};

/// A claim being worked on. Every claimed sync gets exactly one outcome, all recorded together at the end.
pub(super) struct Batch<'a> {
    context: &'a Context,
    stage: Stage,
    claimed_at: Timestamp,
    breakers: BTreeMap<Remote, Breaker>,
    probed: Vec<Remote>,
    answered: BTreeSet<Remote>,
    pauses: Vec<Pause>,
    unknown_upsert: bool,
    outcomes: Vec<Outcome>,
}

impl<'a> Batch<'a> {
    /// Takes the claim apart: the batch, and the syncs to work on.
    pub(super) fn new(context: &'a Context, stage: Stage, claimed_at: Timestamp, claim: Claim) -> (Self, Vec<Claimed>) {
        context.metrics.batch_syncs.size([stage.label()], claim.syncs.len());
        let batch = Self {
            context,
            stage,
            claimed_at,
            breakers: claim.breakers,
            probed: claim.probed,
            answered: BTreeSet::new(),
            pauses: Vec::new(),
            unknown_upsert: false,
            outcomes: Vec::with_capacity(claim.syncs.len()),
        };
        (batch, claim.syncs)
    }

    /// An event happened.
    pub(super) fn happened(&mut self, claimed: Claimed, event: Event) {
        self.happened_with(claimed, event, None);
    }

    /// An event happened, and the history is to say something more of it.
    pub(super) fn happened_with(&mut self, claimed: Claimed, event: Event, remark: Option<&str>) {
        let sync = &claimed.sync;
        match &event {
            // The reason names fields and no values, and is what whoever reads the log wants to know.
            Event::Rejected { reason, .. } => tracing::warn!(
                sync_id = %sync.id, lead_id = %sync.lead, "sync {} of lead {}: rejected: {reason}", sync.id, sync.lead
            ),
            _ => tracing::info!(
                sync_id = %sync.id, lead_id = %sync.lead, "sync {} of lead {}: {}", sync.id, sync.lead, event.label()
            ),
        }
        let mut note = json!({ "ms": self.took() });
        if let Some(remark) = remark {
            note[remark] = true.into();
        }
        if let Event::Upserted { delivered, .. } = &event {
            note["contact"] = delivered.contact.as_str().into();
            note["action"] = delivered.action.label().into();
        }
        self.outcomes.push(Outcome {
            claimed,
            effect: Effect::Happened(event),
            note: Some(note),
        });
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
    pub(super) fn failed(&mut self, claimed: Claimed, code: &str, problem: String, hint: Option<Duration>) {
        let sync = &claimed.sync;
        tracing::warn!(
            sync_id = %sync.id, lead_id = %sync.lead, worker = self.stage.label(), code,
            "sync {} of lead {} failed and is tried again: {problem}", sync.id, sync.lead
        );
        let failure = Failure {
            problem,
            hint,
            draw: chance::unit(),
        };
        let note = Some(json!({ "ms": self.took(), "worker": self.stage.label(), "code": code }));
        self.outcomes.push(Outcome {
            claimed,
            effect: Effect::Failed(failure),
            note,
        });
    }

    /// Whether a sync whose call failed alone is to blame: others go through now, or have since it last failed.
    pub(super) fn is_to_blame(&self, claimed: &Claimed, doubt: &Doubt) -> bool {
        doubt.others_succeed || claimed.sync.stands_out(self.mended())
    }

    /// How often Bigin has been found well again.
    fn mended(&self) -> i64 {
        self.breakers.get(&Remote::Bigin).map_or(0, |breaker| breaker.mended)
    }

    /// The call with this sync alone failed. Where nothing shows that it is the sync's own doing, the service is paused,
    /// and the sync stands back behind the others.
    pub(super) fn in_doubt(&mut self, claimed: Claimed, doubt: Doubt) {
        let is_to_blame = self.is_to_blame(&claimed, &doubt);
        let Doubt {
            code,
            message,
            retry_after,
            ..
        } = doubt;
        let problem = sentence(&code, &message);
        if is_to_blame {
            return self.failed(claimed, &code, problem, retry_after);
        }
        let note = Some(json!({ "ms": self.took(), "worker": self.stage.label(), "code": code }));
        self.pause(Pause {
            remote: Remote::Bigin,
            kind: PauseKind::Down,
            code,
            message,
            retry_after,
        });
        let failure = Failure {
            problem,
            hint: None,
            draw: chance::unit(),
        };
        let effect = Effect::Suspected(failure, self.mended());
        self.outcomes.push(Outcome { claimed, effect, note });
    }

    /// The sync is put back and nothing is counted.
    pub(super) fn release(&mut self, claimed: Claimed) {
        self.outcomes.push(Outcome {
            claimed,
            effect: Effect::Released,
            note: None,
        });
    }

    /// A service takes no work: no sync is at fault.
    pub(super) fn pause(&mut self, pause: Pause) {
        if !self.pauses.iter().any(|known| known.remote == pause.remote) {
            tracing::warn!(remote = pause.remote.label(), code = %pause.code, "work pauses: {pause}");
            self.pauses.push(pause);
        }
    }

    /// An upsert may have been carried out, and of which contact is not known.
    pub(super) fn unknown_upsert(&mut self) {
        self.unknown_upsert = true;
    }

    /// A call that was made for all of these failed as a whole, and says nothing of any one of them (a read, say): it is
    /// the service's trouble, whether it ended unclearly or was refused.
    pub(super) fn call_failed(&mut self, all: Vec<Claimed>, remote: Remote, error: CallError) {
        self.pause(error.into_pause(remote));
        all.into_iter().for_each(|claimed| self.release(claimed));
    }

    /// A service has just answered a call, whatever it said of the records.
    pub(super) fn answered(&mut self, remotes: &[Remote]) {
        self.answered.extend(remotes);
    }

    /// The deadline for a call sent now; `None` where the lease is as good as over.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.context.deadline(self.claimed_at)
    }

    /// Records everything.
    pub(super) async fn finish(self) -> Result<Stepped, StoreError> {
        let worked = self.outcomes.len();
        let epoch = |remote: Remote| self.breakers.get(&remote).map_or(0, |breaker| breaker.epoch);
        for pause in &self.pauses {
            self.context
                .store
                .pause(pause.clone(), epoch(pause.remote), chance::unit())
                .await?;
        }
        let in_epoch = |remote: &Remote| (*remote, epoch(*remote));
        let learned = Learned {
            // A service that is paused now has another epoch.
            answered: self.answered.iter().map(in_epoch).collect(),
            probed: self.probed.iter().map(in_epoch).collect(),
            unknown_upsert: self.unknown_upsert,
            credits: self.context.bigin.take_credits(),
        };
        self.context.store.record(self.outcomes, learned).await?;
        Ok(Stepped::Worked(worked))
    }
}
