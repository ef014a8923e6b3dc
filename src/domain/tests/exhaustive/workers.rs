//! The workers of the model: what `src/workers` does with a claimed sync, one sync a call. Each judgement is the domain's
//! own function; this is the order in which they are asked, and what a worker makes of an answer.

use super::super::at;
use super::bigin::Ended;
use super::scenario::{Answer, POLICY, TAG_DELAY};
use super::world::{Doc, Hand, Job, Status, Worker, World, in_ticks, now, number, number_of};
use crate::domain::decide::{
    BeforeTag, BeforeUpsert, BeforeWriteBack, View, before_tag, before_upsert, before_write_back, known_contact,
    restores, seen_again, settles_at, stale_upsert, still_upserted,
};
use crate::domain::lead::ContactId;
use crate::domain::reject_reason::RejectReason;
use crate::domain::state::{Delivered, Event, State};
use crate::domain::sync::Failure;
use crate::store::{Effect, PossiblyChanged, Stage};

/// What a worker's step comes to; `None` where it makes no call that could end so.
type Done = Option<(Effect, PossiblyChanged)>;

impl World {
    /// The worker goes on with what it has claimed: it reads the lead and makes the call, which ends with `answer`. Between
    /// the two nothing could happen that would not look the same after both. `false` where no call ends so.
    pub(super) fn act(&mut self, worker: usize, answer: Answer) -> bool {
        let Worker::Busy(job) = std::mem::replace(&mut self.workers[worker], Worker::Idle) else {
            return false;
        };
        let mut job = *job;
        let is_first = matches!(job.hand, Hand::Claimed);
        let done = match (job.stage, &job.hand) {
            _ if !self.renew(worker, job.lead) => without_call(answer, Effect::Released),
            (Stage::Upsert, _) => self.upsert_stage(&job, answer),
            (Stage::Tag, _) => self.tag_stage(&job, answer),
            (Stage::WriteBack, Hand::Due { rev }) => self.write(&job, *rev, answer),
            (Stage::WriteBack, _) => match self.before_write(&job) {
                Ok(rev) => {
                    job.hand = Hand::Due { rev };
                    None
                }
                Err(event) => Some((Effect::Event(event), PossiblyChanged::default())),
            },
        };
        let is_due = is_first && matches!(job.hand, Hand::Due { .. });
        let is_read = is_first && job.stage == Stage::WriteBack;
        if done.is_none() && !is_due || is_read && answer != Answer::Well {
            return false;
        }
        if let Some((effect, possibly_changed)) = done {
            job.hand = Hand::Done {
                effect,
                possibly_changed,
            };
        }
        self.workers[worker] = Worker::Busy(Box::new(job));
        true
    }

    fn upsert_stage(&mut self, job: &Job, answer: Answer) -> Done {
        let (lead, doc) = (job.lead, self.docs[job.lead]);
        let claimed = &job.claimed;
        let read = Doc::read(doc, lead);
        let view = View {
            sync: &claimed.sync,
            link: &claimed.link,
            read: &read,
        };
        let published = match before_upsert(view) {
            BeforeUpsert::Send(published) => published,
            BeforeUpsert::Event(event) => return without_call(answer, Effect::Event(event)),
        };
        let doc = doc?;
        let seen = claimed.sync.seen(published, &claimed.link);
        if let Some(restored) = restores(view, published, &doc.hash()) {
            return without_call(answer, Effect::Event(restored));
        }
        let key = self.scenario.leads[lead].key();
        let mut contact = known_contact(view, published, |contact| self.is_others(contact, lead));
        if contact.is_none() && key.is_none() {
            if settles_at(&claimed.link, now()).is_some() {
                return without_call(answer, Effect::Settling);
            }
            contact = self.find(lead);
            let is_given_up = contact.is_none()
                && claimed.link.ambiguous_until.is_some()
                && !claimed.sync.attempts.backoff_total.is_zero()
                && claimed.sync.has_failed_for_long(&POLICY);
            if let Some(reason) = claimed.sync.attempts.last_error.clone().filter(|_| is_given_up) {
                return without_call(answer, Effect::Event(Event::Rejected { reason, seen }));
            }
        }
        let is_insert = contact.is_none() && key.is_none();
        let effect = match self.upsert((lead, doc.rev, doc.data), contact.as_ref(), answer)? {
            Ended::Well((contact, action)) => Effect::Event(Event::Upserted {
                delivered: Delivered {
                    contact,
                    action,
                    hash: doc.hash(),
                    keys: key.into_iter().collect(),
                },
                seen,
                tag_not_before: in_ticks(TAG_DELAY),
            }),
            Ended::Gone => Effect::ContactGone(failure(RejectReason::ContactContradicted)),
            Ended::Refused => Effect::Event(Event::Rejected {
                reason: RejectReason::ApprovalPending,
                seen,
            }),
            Ended::Busy => Effect::Failed(failure(RejectReason::WriteContention)),
            Ended::Lost => return Some((failed_alone(job, is_insert), possibly_changed(contact.as_ref(), key))),
        };
        Some((effect, PossiblyChanged::default()))
    }

    fn tag_stage(&mut self, job: &Job, answer: Answer) -> Done {
        let sync = &job.claimed.sync;
        let doc = self.docs[job.lead];
        let read = Doc::read(doc, job.lead);
        let unchanged = read.published.as_ref().and_then(|lead| seen_again(sync, &lead.rev));
        let view = View {
            sync,
            link: &job.claimed.link,
            read: &read,
        };
        let seen = match (unchanged, before_tag(view)) {
            (Some(seen), _) => seen,
            (None, BeforeTag::Event(event)) => return without_call(answer, Effect::Event(event)),
            (None, BeforeTag::Tag(lead)) => {
                let hash = still_upserted(sync, lead).map_or_else(|| doc.map(Doc::hash), |hash| Some(hash.to_owned()));
                if stale_upsert(sync, &hash.unwrap_or_default()) {
                    return without_call(answer, Effect::Event(Event::Changed));
                }
                sync.seen(lead, &job.claimed.link)
            }
        };
        let contact = sync.state.contact()?.clone();
        let effect = match self.add_tag(&contact, answer)? {
            Ended::Well(()) => {
                let history = &mut self.history[job.lead];
                history.tags += 1;
                let synced_at = at(history.tags.into());
                Effect::Event(Event::Tagged { seen, synced_at })
            }
            Ended::Gone => Effect::ContactGone(failure(RejectReason::ContactContradicted)),
            Ended::Refused => Effect::Event(Event::Rejected {
                reason: RejectReason::ApprovalPending,
                seen,
            }),
            Ended::Busy => Effect::Failed(failure(RejectReason::WriteContention)),
            Ended::Lost => failed_alone(job, false),
        };
        Some((effect, PossiblyChanged::default()))
    }

    /// The revision that the result is to be written to, or what happens instead.
    fn before_write(&self, job: &Job) -> Result<u8, Event> {
        let read = Doc::read(self.docs[job.lead], job.lead);
        let view = View {
            sync: &job.claimed.sync,
            link: &job.claimed.link,
            read: &read,
        };
        match before_write_back(view) {
            BeforeWriteBack::Event(event) => Err(event),
            BeforeWriteBack::Write(lead) => Ok(lead.rev.parse().unwrap()),
        }
    }

    fn write(&mut self, job: &Job, rev: u8, answer: Answer) -> Done {
        let effect = match answer {
            Answer::Well | Answer::LostDone => {
                let is_written = self.write_result(job, rev);
                match (answer, is_written) {
                    (Answer::Well, true) => Effect::Event(Event::WrittenBack),
                    (Answer::Well, false) => Effect::Failed(failure(RejectReason::WriteConflict)),
                    _ => failed_alone(job, false),
                }
            }
            Answer::LostUndone => failed_alone(job, false),
            Answer::Refused | Answer::Busy | Answer::LostLate | Answer::Contradiction => return None,
        };
        Some((effect, PossiblyChanged::default()))
    }

    /// Writes the result, if the lead is still at the revision.
    fn write_result(&mut self, job: &Job, rev: u8) -> bool {
        let Some(doc) = self.docs[job.lead].as_mut().filter(|doc| doc.rev == rev) else {
            return false;
        };
        let sync = &job.claimed.sync;
        if let Some(contact) = sync.state.contact().or(job.claimed.link.contact.as_ref()) {
            doc.contact = Some(number(contact));
        }
        match &sync.state {
            State::Tagged { synced_at, .. } => {
                let requested = sync.requests.revision.as_ref();
                if !self.history[job.lead].may_be_sent(requested.map(number_of)) {
                    self.broken = Some("SENT is written of what Bigin does not have, or without its tag");
                }
                doc.status = Status::Sent;
                doc.synced = Some(u8::try_from(synced_at.as_second()).unwrap());
            }
            State::Rejected { reason, .. } => doc.status = Status::Failed(reason.code()),
            _ => self.broken = Some("a result is written that is not known"),
        }
        doc.rev += 1;
        true
    }
}

/// A step that makes no call ends in one way.
fn without_call(answer: Answer, effect: Effect) -> Done {
    (answer == Answer::Well).then(|| (effect, PossiblyChanged::default()))
}

fn failure(error: RejectReason) -> Failure {
    Failure {
        error,
        retry_after: None,
        jitter: 1.0,
        ambiguous_insert: false,
        isolates: false,
    }
}

/// The call with this sync alone ended ambiguously.
fn failed_alone(job: &Job, insert: bool) -> Effect {
    let failure = Failure {
        ambiguous_insert: insert,
        isolates: true,
        ..failure(RejectReason::LeadMissing)
    };
    match job.others_succeeded {
        true => Effect::Failed(failure),
        false => Effect::FailedUncounted(failure),
    }
}

/// An upsert that ended ambiguously may have changed this contact, or that with this key.
fn possibly_changed(contact: Option<&ContactId>, key: Option<String>) -> PossiblyChanged {
    let mut possibly_changed = PossiblyChanged::default();
    match contact {
        Some(contact) => possibly_changed.contacts.extend([contact.clone()]),
        None => possibly_changed.keys.extend(key),
    }
    possibly_changed
}
