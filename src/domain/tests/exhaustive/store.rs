//! The store of the model: what `src/store` does with rows in its transactions, done to values. The rules themselves
//! (what an event, a failure, a request does to a sync, and what is remembered of it) are the domain's own functions.
//!
//! | here | there |
//! |---|---|
//! | [`World::claim`] | `claims::claim`, `turns::others`, `leases::expire` |
//! | [`World::renew`] | `leases::renew` |
//! | [`World::record`] | `outcomes::record_all`, `decide`, `tell`; `tags` |
//! | [`World::request`] | `intake::create_or_coalesce` |
//! | [`World::cancel`], [`World::retry`] | `operator::cancel`, `operator::retry` |

use jiff::Timestamp;

use super::scenario::{AMBIGUITY_DELAY, LEADS, LEASE, POLICY, TAG_DELAY};
use super::world::{Hand, Job, Lease, Row, Worker, World, in_ticks, lead_id, now};
use crate::domain::lead::{ContactId, Revision};
use crate::domain::state::{Event, State};
use crate::domain::sync::{Source, SyncId, SyncJob};
use crate::store::{Claimed, Effect, Stage};

/// How many records every stage has accepted. Only whether it is more than before is of interest, so instead of counting up,
/// each record takes one from what the syncs have noted.
const ACCEPTED: i64 = 1;

impl World {
    /// Whether a worker may find something to claim.
    pub(super) fn may_claim(&self, stage: Stage, lead: usize) -> bool {
        let Some(row) = &self.store.rows[lead] else {
            return false;
        };
        let is_free = row.lease.is_none_or(|lease| lease.until <= now());
        let is_due = is_of(&row.sync, stage) && row.sync.next_attempt_at <= now();
        is_free && is_due && !(stage != Stage::WriteBack && self.is_others_turn())
    }

    /// Bigin's contacts are worked on by one worker at a time.
    fn is_others_turn(&self) -> bool {
        self.store.rows.iter().flatten().any(|row| {
            let is_leased = row.lease.is_some_and(|lease| lease.until > now());
            is_leased && matches!(row.sync.state, State::Requested { .. } | State::Upserted { .. })
        })
    }

    /// One transaction: claims that ended unrecorded are dealt with, and the sync is claimed if it is due still.
    pub(super) fn claim(&mut self, worker: usize, stage: Stage, lead: usize) {
        if stage != Stage::WriteBack {
            self.expire_upserts();
        }
        if !self.may_claim(stage, lead) {
            return;
        }
        let link = self.store.links[lead].clone();
        let Some(row) = &mut self.store.rows[lead] else { return };
        row.lease = Some(Lease {
            worker,
            until: in_ticks(LEASE),
        });
        self.workers[worker] = Worker::Busy(Box::new(Job {
            stage,
            lead,
            others_succeeded: row.sync.others_succeeded(ACCEPTED),
            claimed: Claimed {
                sync: row.sync.clone(),
                token: crate::store::ClaimToken(0),
                link,
                version: 0,
                changed_at: row.sync.created_at,
            },
            hand: Hand::Claimed,
        }));
    }

    /// Inserts of claims that ended unrecorded may still be applied, and which contacts were changed is not known.
    fn expire_upserts(&mut self) {
        let mut is_any = false;
        for (row, link) in self.store.rows.iter_mut().zip(&mut self.store.links) {
            let Some(row) = row.as_mut().filter(|row| is_of(&row.sync, Stage::Upsert)) else {
                continue;
            };
            let Some(lease) = row.lease.filter(|lease| lease.until <= now()) else {
                continue;
            };
            is_any = true;
            let until = lease.until + ambiguity_delay();
            link.ambiguous_until = link.ambiguous_until.max(Some(until));
            row.lease = None;
            row.sync.bisect_limit = Some(1);
        }
        if is_any {
            self.move_tags(|_| true, in_ticks(TAG_DELAY));
        }
    }

    /// Whether a call may be sent: what is left of the lease is enough for it, or the lease is renewed.
    pub(super) fn renew(&mut self, worker: usize, lead: usize) -> bool {
        let is_ours = |row: &&mut Row| {
            row.lease
                .is_some_and(|lease| lease.worker == worker && lease.until > now())
        };
        let Some(row) = self.store.rows[lead].as_mut().filter(is_ours) else {
            return false;
        };
        row.lease = Some(Lease {
            worker,
            until: in_ticks(LEASE),
        });
        true
    }

    /// One transaction: what a step has come to.
    pub(super) fn record(&mut self, worker: usize) {
        let Worker::Busy(job) = std::mem::replace(&mut self.workers[worker], Worker::Idle) else {
            return;
        };
        let Job {
            lead,
            claimed,
            hand: Hand::Done {
                effect,
                possibly_changed,
            },
            ..
        } = *job
        else {
            return;
        };
        self.move_tags(
            |sync| possibly_changed.may_include(sync.state.contact(), keys_of(sync)),
            in_ticks(TAG_DELAY),
        );
        self.count_accepted(&effect);
        let is_ours = |row: &&mut Row| row.lease.is_some_and(|lease| lease.worker == worker);
        let Some(row) = self.store.rows[lead].as_mut().filter(is_ours) else {
            return;
        };
        let before = row.sync.state.label();
        let sync = &mut row.sync;
        let link = &mut self.store.links[lead];
        let settles_at = if effect.is_ambiguous_insert() {
            link.ambiguous_until = link.ambiguous_until.max(Some(in_ticks(AMBIGUITY_DELAY)));
            link.ambiguous_until
        } else {
            claimed.link.ambiguous_until
        };
        let requests = claimed.sync.requests.count;
        let applied = match &effect {
            Effect::Event(event) => sync.apply(event.clone(), requests, now()),
            Effect::ContactGone(failure) => sync.lose_contact(failure.clone(), requests, &POLICY, now()),
            Effect::Failed(failure) => sync.fail(failure.clone(), requests, &POLICY, now()),
            Effect::FailedUncounted(failure) => {
                sync.fail_uncounted(failure.clone(), ACCEPTED, &POLICY, now());
                Ok(())
            }
            Effect::Ambiguous { bisect_limit, .. } => {
                sync.bisect(*bisect_limit, now());
                Ok(())
            }
            Effect::Released | Effect::Settling => {
                sync.next_attempt_at = sync.next_attempt_at.max(now());
                Ok(())
            }
        };
        let waits = effect.is_ambiguous_insert() || matches!(effect, Effect::Settling);
        if let (true, Some(settles_at)) = (waits, settles_at) {
            sync.next_attempt_at = sync.next_attempt_at.max(settles_at);
        }
        if applied.is_err() {
            self.broken = Some("an event met a state that it does not go with");
            return;
        }
        row.lease = None;
        note_return(row, before, &effect, &mut self.broken);
        let happened = match &effect {
            Effect::Event(event) => Some(event.clone()),
            Effect::ContactGone(_) => Some(Event::ContactGone),
            _ => None,
        };
        self.finish_outcome(lead, happened.as_ref());
    }

    /// What follows once a sync is saved.
    fn finish_outcome(&mut self, lead: usize, happened: Option<&Event>) {
        let Some(row) = &self.store.rows[lead] else { return };
        let mut upserted = None;
        if let Some(event) = happened {
            self.store.links[lead].update(event, &row.sync);
            if let State::Upserted {
                delivered,
                tag_not_before,
                ..
            } = &row.sync.state
            {
                upserted = Some((row.sync.id, delivered.contact.clone(), *tag_not_before));
            }
        }
        if row.sync.state.is_final() {
            self.store.rows[lead] = None;
            self.store.ended += 1;
        }
        if let Some((id, contact, tag_not_before)) = upserted {
            let is_its = |sync: &SyncJob| sync.id != id && sync.state.contact() == Some(&contact);
            self.move_tags(is_its, tag_not_before);
        }
    }

    fn move_tags(&mut self, may_be: impl Fn(&SyncJob) -> bool, tag_not_before: Timestamp) {
        for row in self.store.rows.iter_mut().flatten() {
            if is_of(&row.sync, Stage::Tag) && may_be(&row.sync) && row.sync.contact_upserted(tag_not_before).is_err() {
                self.broken = Some("a tag that waits cannot be moved");
            }
        }
    }

    fn count_accepted(&mut self, effect: &Effect) {
        let stage = match effect {
            Effect::Event(Event::Upserted { .. }) => Stage::Upsert,
            Effect::Event(Event::Tagged { .. }) => Stage::Tag,
            Effect::Event(Event::WrittenBack) => Stage::WriteBack,
            _ => return,
        };
        for row in self.store.rows.iter_mut().flatten() {
            if is_of(&row.sync, stage)
                && let Some(before) = &mut row.sync.attempts.accepted_before
            {
                *before = ACCEPTED - 1;
            }
        }
    }

    /// A request creates a sync, or is coalesced with the active one.
    pub(super) fn request(&mut self, lead: usize, source: Source, revision: Option<Revision>) {
        if let Some(row) = &mut self.store.rows[lead] {
            row.sync.coalesce(source, revision);
            row.free_returns = 0;
            return;
        }
        self.store.created += 1;
        let id = SyncId(i64::try_from(lead).unwrap());
        self.store.rows[lead] = Some(Row {
            sync: SyncJob::create(id, lead_id(lead), source, revision, now()),
            lease: None,
            free_returns: 0,
        });
    }

    /// A person cancels a sync, unless a worker has it.
    pub(super) fn cancel(&mut self, lead: usize) {
        self.expire_upserts();
        let Some(row) = &mut self.store.rows[lead] else { return };
        if row.lease.is_some_and(|lease| lease.until > now()) {
            return;
        }
        let requests = row.sync.requests.count;
        if row.sync.apply(Event::Cancelled, requests, now()).is_err() {
            self.broken = Some("an active sync cannot be cancelled");
        }
        self.finish_outcome(lead, Some(&Event::Cancelled));
    }

    /// A person retries a sync.
    pub(super) fn retry(&mut self, lead: usize) {
        self.request(lead, Source::Retry, None);
        if let Some(row) = &mut self.store.rows[lead] {
            row.sync.make_due_now(now());
        }
    }

    /// Whether the store knows the contact as another lead's.
    pub(super) fn is_others(&self, contact: &ContactId, lead: usize) -> bool {
        (0..LEADS).any(|other| other != lead && self.store.links[other].contact.as_ref() == Some(contact))
    }
}

fn ambiguity_delay() -> std::time::Duration {
    std::time::Duration::from_secs(AMBIGUITY_DELAY.into())
}

fn is_of(sync: &SyncJob, stage: Stage) -> bool {
    stage.states().contains(&sync.state.label())
}

fn keys_of(sync: &SyncJob) -> &[String] {
    match &sync.state {
        State::Upserted { delivered, .. } => &delivered.keys,
        _ => &[],
    }
}

/// Contradictions count: no walk without progress leaves no attempt and "due now" twice in a row. Progress is a result that is known. An
/// event other than the loss of the contact sends a sync back for something new, an edit or a request; that it does so
/// again and again is for the schedule that has to end.
fn note_return(row: &mut Row, before: &str, effect: &Effect, broken: &mut Option<&'static str>) {
    let is_known = |label: &str| matches!(label, "tagged" | "rejected");
    let sync = &row.sync;
    let is_return = match effect {
        Effect::ContactGone(_) | Effect::Failed(_) | Effect::FailedUncounted(_) | Effect::Ambiguous { .. } => true,
        Effect::Event(_) | Effect::Released | Effect::Settling => false,
    };
    if sync.state.is_final() || is_known(sync.state.label()) && !is_known(before) {
        row.free_returns = 0;
    } else if is_return && sync.attempts.count == 0 && sync.next_attempt_at <= now() {
        row.free_returns += 1;
        if row.free_returns > 1 {
            *broken = Some("a sync went back twice in a row, at once and uncounted, without progress");
        }
    }
}
