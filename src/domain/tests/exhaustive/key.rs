//! The bytes by which two states are told apart: all that any step or property looks at. Left out are a sync's number and
//! the times at which it was created and ended, which nothing in the model compares.

use jiff::Timestamp;

use super::world::{Contact, Doc, Hand, History, Job, Late, Row, Status, Worker, World, now, number, number_of};
use crate::domain::lead::Revision;
use crate::domain::lead_link::LeadLink;
use crate::domain::state::{Delivered, Event, Seen, State};
use crate::domain::sync::{Failure, SyncJob};
use crate::store::{Effect, PossiblyChanged};

pub(super) type Key = Box<[u8]>;

pub(super) fn key(world: &World) -> Key {
    let mut key = Builder(Vec::with_capacity(256));
    world.docs.iter().for_each(|doc| key.option(doc.as_ref(), Builder::doc));
    key.number(world.webhooks.len());
    for (lead, rev) in &world.webhooks {
        key.number(*lead);
        key.byte(*rev);
    }
    world
        .store
        .rows
        .iter()
        .for_each(|row| key.option(row.as_ref(), Builder::row));
    world.store.links.iter().for_each(|link| key.link(link));
    key.bytes(&[world.store.created, world.store.ended]);
    key.number(world.bigin.contacts.len());
    world.bigin.contacts.iter().for_each(|contact| key.contact(*contact));
    key.option(world.bigin.late.as_ref(), Builder::late);
    world.workers.iter().for_each(|worker| key.worker(worker));
    let left = world.left;
    key.bytes(&[left.faults, left.crashes, left.wishes, left.stalls]);
    world.history.iter().for_each(|history| key.history(history));
    key.0.into_boxed_slice()
}

struct Builder(Vec<u8>);

impl Builder {
    fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn flags(&mut self, flags: &[bool]) {
        self.0.extend(flags.iter().map(|flag| u8::from(*flag)));
    }

    fn number(&mut self, number: usize) {
        self.byte(u8::try_from(number).unwrap());
    }

    fn count(&mut self, count: u32) {
        self.byte(u8::try_from(count).unwrap());
    }

    fn text(&mut self, text: &str) {
        self.number(text.len());
        self.bytes(text.as_bytes());
    }

    fn option<T>(&mut self, value: Option<&T>, each: impl FnOnce(&mut Self, &T)) {
        self.byte(u8::from(value.is_some()));
        if let Some(value) = value {
            each(self, value);
        }
    }

    /// How far from now.
    fn time(&mut self, time: Timestamp) {
        let seconds = time.as_second() - now().as_second();
        self.byte(u8::try_from(seconds + 100).unwrap());
    }

    /// A time that stands for a serial number.
    fn serial(&mut self, time: Timestamp) {
        self.byte(u8::try_from(time.as_second()).unwrap());
    }

    fn doc(&mut self, doc: &Doc) {
        self.bytes(&[doc.rev, doc.data]);
        match doc.status {
            Status::None => self.byte(0),
            Status::Requested => self.byte(1),
            Status::Sent => self.byte(2),
            Status::Failed(reason) => self.text(reason),
        }
        self.bytes(&[doc.contact.unwrap_or_default(), doc.synced.unwrap_or_default()]);
    }

    fn row(&mut self, row: &Row) {
        self.sync(&row.sync);
        self.option(row.lease.as_ref(), |key, lease| {
            key.number(lease.worker);
            key.time(lease.until);
        });
        self.byte(row.free_returns);
    }

    fn sync(&mut self, sync: &SyncJob) {
        self.state(&sync.state);
        self.count(sync.requests.count);
        self.flags(&[sync.requests.is_manual, sync.requests.is_retry]);
        self.option(sync.requests.revision.as_ref(), Self::revision);
        let failures = &sync.attempts;
        self.count(failures.count);
        self.byte(u8::try_from(failures.backoff_total.as_secs()).unwrap());
        self.option(failures.last_error.as_ref(), |key, last| key.text(last.code()));
        self.option(failures.accepted_before.as_ref(), |key, before| {
            key.byte(u8::try_from(*before).unwrap());
        });
        self.count(sync.edits);
        self.count(sync.contact_losses);
        self.option(sync.bisect_limit.as_ref(), |key, limit| key.count(*limit));
        self.time(sync.next_attempt_at);
    }

    fn state(&mut self, state: &State) {
        self.byte(state.label().as_bytes()[0]);
        self.option(state.contact(), |key, contact| key.byte(number(contact)));
        self.option(state.seen(), Self::seen);
        match state {
            State::Requested {
                contact_created,
                force_create,
                ..
            } => self.flags(&[*contact_created, *force_create]),
            State::Upserted {
                delivered,
                tag_not_before,
                ..
            } => {
                self.delivered(delivered);
                self.time(*tag_not_before);
            }
            State::Tagged {
                delivered, synced_at, ..
            }
            | State::Sent { delivered, synced_at } => {
                self.delivered(delivered);
                self.serial(*synced_at);
            }
            State::Rejected { reason, .. } | State::Failed { reason, .. } => self.text(reason.code()),
            State::LeadDeleted | State::Cancelled { .. } => {}
        }
    }

    fn delivered(&mut self, delivered: &Delivered) {
        self.byte(number(&delivered.contact));
        self.text(delivered.action.label());
        self.text(&delivered.hash);
        self.number(delivered.keys.len());
    }

    fn seen(&mut self, seen: &Seen) {
        self.count(seen.requests);
        self.option(seen.revision.as_ref(), Self::revision);
    }

    fn revision(&mut self, revision: &Revision) {
        self.byte(number_of(revision));
    }

    fn link(&mut self, link: &LeadLink) {
        self.option(link.contact.as_ref(), |key, contact| key.byte(number(contact)));
        self.option(link.sent_hash.as_ref(), |key, hash| key.text(hash));
        self.option(link.synced_at.as_ref(), |key, synced_at| key.serial(*synced_at));
        self.option(link.seen.as_ref(), Self::revision);
        self.option(link.ambiguous_until.as_ref(), |key, until| key.time(*until));
    }

    fn contact(&mut self, contact: Contact) {
        self.bytes(&[contact.identity, contact.age]);
        self.flags(&[contact.is_gone]);
    }

    fn late(&mut self, late: &Late) {
        self.number(late.lead);
        self.bytes(&[late.rev, late.data, late.ticks]);
    }

    fn worker(&mut self, worker: &Worker) {
        match worker {
            Worker::Idle => self.byte(0),
            Worker::Busy(job) => {
                self.byte(1);
                self.job(job);
            }
        }
    }

    fn job(&mut self, job: &Job) {
        self.text(job.stage.label());
        self.number(job.lead);
        self.sync(&job.claimed.sync);
        self.link(&job.claimed.link);
        self.flags(&[job.others_succeeded]);
        match &job.hand {
            Hand::Claimed => self.byte(0),
            Hand::Due { rev } => self.bytes(&[1, *rev]),
            Hand::Done {
                effect,
                possibly_changed,
            } => {
                self.byte(2);
                self.effect(effect);
                self.possibly_changed(possibly_changed);
            }
        }
    }

    fn effect(&mut self, effect: &Effect) {
        match effect {
            Effect::Event(event) => self.event(event),
            Effect::Failed(failure) => self.failure(1, failure),
            Effect::FailedUncounted(failure) => self.failure(2, failure),
            Effect::ContactGone(failure) => self.failure(3, failure),
            Effect::Ambiguous { .. } => self.byte(4),
            Effect::Released => self.byte(5),
            Effect::Settling => self.byte(6),
        }
    }

    fn failure(&mut self, kind: u8, failure: &Failure) {
        self.byte(kind);
        self.text(failure.error.code());
        self.flags(&[failure.ambiguous_insert, failure.isolates]);
    }

    fn event(&mut self, event: &Event) {
        self.text(event.label());
        match event {
            Event::Upserted {
                delivered,
                seen,
                tag_not_before,
            } => {
                self.delivered(delivered);
                self.seen(seen);
                self.time(*tag_not_before);
            }
            Event::Restored {
                delivered,
                seen,
                synced_at,
            } => {
                self.delivered(delivered);
                self.seen(seen);
                self.serial(*synced_at);
            }
            Event::Tagged { seen, synced_at } => {
                self.seen(seen);
                self.serial(*synced_at);
            }
            Event::Rejected { reason, seen } => {
                self.text(reason.code());
                self.seen(seen);
            }
            Event::ContactUpserted { .. }
            | Event::Changed
            | Event::ContactGone
            | Event::RequestedAgain
            | Event::WrittenBack
            | Event::LeadDeleted
            | Event::Withdrawn
            | Event::Cancelled => {}
        }
    }

    fn possibly_changed(&mut self, possibly_changed: &PossiblyChanged) {
        self.number(possibly_changed.contacts.len());
        possibly_changed
            .contacts
            .iter()
            .for_each(|contact| self.byte(number(contact)));
        self.number(possibly_changed.keys.len());
    }

    fn history(&mut self, history: &History) {
        self.bytes(&[history.asked.0, history.asked.1, history.tags]);
        self.option(history.upserted.as_ref(), |key, (rev, data, contact)| {
            key.bytes(&[*rev, *data, *contact])
        });
        self.flags(&[history.is_tagged, history.is_cancelled]);
    }
}
