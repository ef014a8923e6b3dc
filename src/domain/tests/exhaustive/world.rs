//! The state of the model: everything that may differ between two moments, and nothing else.
//!
//! Time is relative. The clock stands at [`now`], and a tick brings everything that is still to come one second nearer.
//! What is past is past, however long. So the same situation at two times is one state.

use std::time::Duration;

use jiff::Timestamp;

use super::super::at;
use super::scenario::{AMBIGUITY_DELAY, LEADS, Scenario, TAG_DELAY, WORKERS};
use crate::domain::lead::{ContactId, Lead, LeadId, LeadRead, REQUESTED, Revision};
use crate::domain::lead_link::LeadLink;
use crate::domain::state::{Event, State};
use crate::domain::sync::SyncJob;
use crate::store::{Claimed, Effect, PossiblyChanged, Stage};

/// The present.
pub(super) fn now() -> Timestamp {
    at(1_000)
}

/// So many ticks from now.
pub(super) fn in_ticks(ticks: u8) -> Timestamp {
    at(1_000 + u64::from(ticks))
}

/// Everything.
#[derive(Clone)]
pub(super) struct World {
    pub(super) scenario: Scenario,
    /// What the editors' store holds; `None` where the lead was deleted.
    pub(super) docs: [Option<Doc>; LEADS],
    /// Webhooks under way: the lead, and the revision that was signed.
    pub(super) webhooks: Vec<(usize, u8)>,
    pub(super) store: Store,
    pub(super) bigin: Bigin,
    pub(super) workers: [Worker; WORKERS],
    pub(super) left: Budget,
    pub(super) history: [History; LEADS],
    /// What a step has just broken.
    pub(super) broken: Option<&'static str>,
}

/// One revision of a lead in Sanity.
#[derive(Clone, Copy)]
pub(super) struct Doc {
    pub(super) rev: u8,
    /// Counts up with every edit: what the lead's fields say.
    pub(super) data: u8,
    pub(super) status: Status,
    pub(super) contact: Option<u8>,
    pub(super) synced: Option<u8>,
}

/// `crmStatus`, and the reason of `FAILED`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    None,
    Requested,
    Sent,
    Failed(&'static str),
}

/// What the database holds.
#[derive(Clone)]
pub(super) struct Store {
    pub(super) rows: [Option<Row>; LEADS],
    pub(super) links: [LeadLink; LEADS],
    pub(super) created: u8,
    pub(super) ended: u8,
}

/// An active sync.
#[derive(Clone)]
pub(super) struct Row {
    pub(super) sync: SyncJob,
    pub(super) lease: Option<Lease>,
    /// How often in a row it went back at once and uncounted, without progress or anything new.
    pub(super) free_returns: u8,
}

#[derive(Clone, Copy)]
pub(super) struct Lease {
    pub(super) worker: usize,
    pub(super) until: Timestamp,
}

/// Bigin's contacts; the id of one is its place, counted from 1.
#[derive(Clone, Default)]
pub(super) struct Bigin {
    pub(super) contacts: Vec<Contact>,
    /// An insert that may still be applied.
    pub(super) late: Option<Late>,
}

#[derive(Clone, Copy)]
pub(super) struct Contact {
    /// Whose it is: leads with the same email have the same identity.
    pub(super) identity: u8,
    /// Deleted, or merged into another.
    pub(super) is_gone: bool,
    /// Ticks since the last upsert, up to the tag delay.
    pub(super) age: u8,
}

#[derive(Clone, Copy)]
pub(super) struct Late {
    pub(super) lead: usize,
    pub(super) rev: u8,
    pub(super) data: u8,
    /// It is applied before so many ticks have passed, or never.
    pub(super) ticks: u8,
}

/// One worker of one replica.
#[derive(Clone)]
pub(super) enum Worker {
    Idle,
    Busy(Box<Job>),
}

/// A claimed sync in a worker's hands.
#[derive(Clone)]
pub(super) struct Job {
    pub(super) stage: Stage,
    pub(super) lead: usize,
    pub(super) claimed: Claimed,
    /// Whether the sync is to blame where its call fails alone.
    pub(super) others_succeeded: bool,
    pub(super) hand: Hand,
}

/// How far the worker is.
#[derive(Clone)]
pub(super) enum Hand {
    /// Nothing is done yet.
    Claimed,
    /// The result is to be written to this revision.
    Due { rev: u8 },
    /// The outcome is known, and to be recorded.
    Done {
        effect: Effect,
        possibly_changed: PossiblyChanged,
    },
}

/// What may still go wrong, or be wished for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Budget {
    pub(super) faults: u8,
    pub(super) crashes: u8,
    pub(super) wishes: u8,
    /// Ticks in which a worker leaves undone what it could do.
    pub(super) stalls: u8,
}

/// What only an observer knows, to judge by.
#[derive(Clone, Copy, Default)]
pub(super) struct History {
    /// The newest revision that asked: number and data.
    pub(super) asked: (u8, u8),
    /// What was upserted of it last: number and data of the revision, and the contact.
    pub(super) upserted: Option<(u8, u8, u8)>,
    /// That contact was tagged after that.
    pub(super) is_tagged: bool,
    /// An operator cancelled a sync of it, and there was no request since.
    pub(super) is_cancelled: bool,
    /// How many tags it had: serial numbers for `lastSyncedAt`.
    pub(super) tags: u8,
}

impl History {
    /// Whether Bigin has the tag, and before it got what the revision said that was asked for, or a later one.
    pub(super) fn may_be_sent(&self, asked: Option<u8>) -> bool {
        let asked = asked.unwrap_or_default();
        self.is_tagged
            && self.upserted.is_some_and(|(rev, data, _)| {
                let says_the_same = asked == self.asked.0 && data == self.asked.1;
                rev >= asked || says_the_same
            })
    }
}

impl World {
    pub(super) fn begin(scenario: &Scenario) -> Self {
        let doc = Doc {
            rev: 1,
            data: 1,
            status: Status::Requested,
            contact: None,
            synced: None,
        };
        let history = History {
            asked: (1, 1),
            ..History::default()
        };
        Self {
            scenario: *scenario,
            docs: [Some(doc); LEADS],
            webhooks: (0..LEADS).map(|lead| (lead, 1)).collect(),
            store: Store {
                rows: [const { None }; LEADS],
                links: Default::default(),
                created: 0,
                ended: 0,
            },
            bigin: Bigin::default(),
            workers: [const { Worker::Idle }; WORKERS],
            left: scenario.budget,
            history: [history; LEADS],
            broken: None,
        }
    }

    /// Whether every sync has ended, and nothing is under way that could open another.
    pub(super) fn is_at_rest(&self) -> bool {
        self.store.rows.iter().all(Option::is_none) && self.webhooks.is_empty() && self.bigin.late.is_none()
    }

    /// Time passes.
    pub(super) fn tick(&mut self) {
        for row in self.store.rows.iter_mut().flatten() {
            sooner_sync(&mut row.sync);
            if let Some(lease) = &mut row.lease {
                // How long it has been over counts: an insert of the claim settles the delay after that.
                let floor = now() - Duration::from_secs(AMBIGUITY_DELAY.into());
                lease.until = floor.max(lease.until - Duration::from_secs(1));
            }
        }
        for link in &mut self.store.links {
            link.ambiguous_until.iter_mut().for_each(sooner);
        }
        for worker in &mut self.workers {
            let Worker::Busy(job) = worker else { continue };
            sooner_sync(&mut job.claimed.sync);
            job.claimed.link.ambiguous_until.iter_mut().for_each(sooner);
            if let Hand::Done {
                effect: Effect::Event(Event::Upserted { tag_not_before, .. }),
                ..
            } = &mut job.hand
            {
                sooner(tag_not_before);
            }
        }
        for contact in &mut self.bigin.contacts {
            contact.age = (contact.age + 1).min(TAG_DELAY);
        }
        self.bigin.late = self.bigin.late.and_then(|late| {
            let ticks = late.ticks.checked_sub(1).filter(|ticks| *ticks > 0)?;
            Some(Late { ticks, ..late })
        });
    }
}

/// One tick nearer, unless it is past.
fn sooner(time: &mut Timestamp) {
    *time = now().max(*time - Duration::from_secs(1));
}

fn sooner_sync(sync: &mut SyncJob) {
    sooner(&mut sync.next_attempt_at);
    if let State::Upserted { tag_not_before, .. } = &mut sync.state {
        sooner(tag_not_before);
    }
}

impl Doc {
    pub(super) fn read(doc: Option<Self>, lead: usize) -> LeadRead {
        LeadRead {
            published: doc.map(|doc| doc.as_lead(lead)),
            drafts_and_versions: Vec::new(),
        }
    }

    fn as_lead(self, lead: usize) -> Lead {
        let (status, error) = match self.status {
            Status::None => (None, None),
            Status::Requested => (Some(REQUESTED), None),
            Status::Sent => (Some(crate::domain::lead::SENT), None),
            Status::Failed(reason) => (Some(crate::domain::lead::FAILED), Some(reason)),
        };
        let revision = revision(self.rev);
        Lead {
            id: lead_id(lead),
            rev: revision.rev.unwrap_or_default(),
            document_type: String::new(),
            updated_at: revision.updated_at,
            crm_status: status.map(str::to_owned),
            contact: self.contact.map(contact_id),
            last_synced_at: self.synced.map(|serial| at(serial.into())),
            crm_error: error.map(str::to_owned),
        }
    }

    /// The hash of the record that the lead renders to.
    pub(super) fn hash(self) -> String {
        self.data.to_string()
    }
}

/// Sanity counts in whole seconds: two revisions share each.
pub(super) fn revision(rev: u8) -> Revision {
    Revision {
        updated_at: at(u64::from(rev / 2)),
        rev: Some(rev.to_string()),
    }
}

/// The inverse of [`revision`].
pub(super) fn number_of(revision: &Revision) -> u8 {
    let rev = revision.rev.as_deref();
    rev.unwrap_or_default().parse().unwrap()
}

pub(super) fn lead_id(lead: usize) -> LeadId {
    LeadId::parse(["a", "b"][lead]).unwrap()
}

pub(super) fn contact_id(number: u8) -> ContactId {
    ContactId::parse(&number.to_string()).unwrap()
}

pub(super) fn number(contact: &ContactId) -> u8 {
    contact.as_str().parse().unwrap()
}
