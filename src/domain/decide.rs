//! What each worker does with a lead that it has just read. Pure: the whole judgement, none of the calls.

use jiff::Timestamp;

use super::lead::{ContactId, FAILED, Lead, LeadRead, SENT};
use super::lead_link::LeadLink;
use super::state::{Delivered, Event, Seen, State};
use super::sync::SyncJob;

/// After this many edits without a request, each of which restarted the sync, the tag no longer waits: a busy conversation
/// must not hold a lead back for ever.
pub const MAX_UNREQUESTED_EDITS: u32 = 3;

/// A lead as one worker sees it: the sync it claimed, what the store remembers, and what Sanity just answered.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// The claimed sync.
    pub sync: &'a SyncJob,
    /// What the store remembers of the lead.
    pub link: &'a LeadLink,
    /// What Sanity holds.
    pub read: &'a LeadRead,
}

/// Why a lead goes no further, or the lead that does: it asks for a sync, a person does, an operator retries it and it
/// still carries a result of ours, or its request has been overwritten by the result of the sync before.
fn standing<'a>(view: View<'a>) -> Result<&'a Lead, Event> {
    let Some(lead) = &view.read.published else {
        return Err(Event::LeadDeleted);
    };
    let overwritten = view.sync.is_overwritten(lead, view.link);
    let retried = view.sync.requests.is_retry && matches!(lead.crm_status.as_deref(), Some(SENT | FAILED));
    if lead.is_requested() || view.sync.requests.is_manual || retried || overwritten {
        Ok(lead)
    } else {
        Err(Event::Withdrawn)
    }
}

/// What the upsert worker does.
#[derive(Debug, PartialEq)]
pub enum BeforeUpsert<'a> {
    /// Nothing is sent: this follows.
    Event(Event),
    /// The lead is rendered and sent.
    Send(&'a Lead),
}

/// Judges a lead before it is rendered.
pub fn before_upsert<'a>(view: View<'a>) -> BeforeUpsert<'a> {
    match standing(view) {
        Ok(lead) => BeforeUpsert::Send(lead),
        Err(event) => BeforeUpsert::Event(event),
    }
}

/// Recognises a stale draft that was published over a lead which is in Bigin as it is: it asks again with the data last
/// sent, and does not carry the `lastSyncedAt` that we wrote with the last result. A lead that carries it was asked for
/// on purpose. `hash` is that of the record the lead renders to now.
pub fn restores(view: View<'_>, lead: &Lead, hash: &str) -> Option<Event> {
    let synced_at = view.link.synced_at?;
    let contact = view.link.contact.clone()?;
    let stale = lead.is_requested()
        && !view.sync.requests.is_manual
        && !view.sync.requests.is_retry
        && view.link.sent_hash.as_deref() == Some(hash)
        && lead.last_synced_at != Some(synced_at);
    stale.then(|| Event::Restored {
        delivered: Delivered {
            contact,
            action: super::record::Action::Update,
            hash: hash.to_owned(),
            keys: Vec::new(),
        },
        seen: view.sync.seen(lead, view.link),
        synced_at,
    })
}

/// The contact a lead is known to be: by its sync, by the store's memory, or by the lead's own field, unless the store
/// knows that contact as another lead's (Studio's "Duplicate" copies the field) or Bigin has just said that it is gone.
/// `others` says which contacts are another lead's.
pub fn known_contact(view: View<'_>, lead: &Lead, others: impl Fn(&ContactId) -> bool) -> Option<ContactId> {
    if matches!(view.sync.state, State::Requested { force_create: true, .. }) {
        return None;
    }
    let ours = view.sync.state.contact().or(view.link.contact.as_ref());
    let field = || lead.contact.as_ref().filter(|contact| !others(contact));
    ours.or_else(field).cloned()
}

/// Until when a lead without a unique value has to wait for its look-up: an insert that ended ambiguously may still be
/// applied, and would not be found yet. `None` where nothing is under way.
pub fn settles_at(link: &LeadLink, now: Timestamp) -> Option<Timestamp> {
    link.ambiguous_until.filter(|until| *until > now)
}

/// What the tag worker does.
#[derive(Debug, PartialEq)]
pub enum BeforeTag<'a> {
    /// No tag: this follows.
    Event(Event),
    /// The contact is tagged, unless the lead now renders to something else; see [`stale_upsert`].
    Tag(&'a Lead),
}

/// Judges a lead before it is tagged.
pub fn before_tag<'a>(view: View<'a>) -> BeforeTag<'a> {
    match standing(view) {
        Ok(lead) => BeforeTag::Tag(lead),
        Err(event) => BeforeTag::Event(event),
    }
}

/// Whether what was upserted is not what the lead says now (`hash`) and must be upserted again before the tag.
pub fn stale_upsert(sync: &SyncJob, hash: &str) -> bool {
    !is_as_upserted(sync, hash) && (sync.edits < MAX_UNREQUESTED_EDITS || sync.requested_since_read())
}

/// Whether the lead renders (`hash`) to what was upserted.
pub fn is_as_upserted(sync: &SyncJob, hash: &str) -> bool {
    match &sync.state {
        State::Upserted { delivered, .. } => delivered.hash == hash,
        _ => true,
    }
}

/// The hash of what was upserted, where the lead is still at the revision that it was made of. It would render to the same,
/// unless the mapping or the organisation's fields have been changed in between; such a change is for leads that are sent
/// later.
pub fn still_upserted<'a>(sync: &'a SyncJob, lead: &Lead) -> Option<&'a str> {
    match &sync.state {
        State::Upserted { delivered, seen, .. } => {
            let rev = seen.revision.as_ref()?.rev.as_deref()?;
            (rev == lead.rev).then_some(delivered.hash.as_str())
        }
        _ => None,
    }
}

/// What a read without content has seen, where the lead is still at the revision (`rev`) that was upserted. It then asks for
/// its sync as it did when it was upserted: a revision never changes, and a person's request is never taken back.
pub fn seen_again(sync: &SyncJob, rev: &str) -> Option<Seen> {
    match &sync.state {
        State::Upserted { seen, .. } => {
            let revision = seen.revision.as_ref()?;
            (revision.rev.as_deref() == Some(rev)).then(|| Seen {
                requests: sync.requests.count,
                revision: Some(revision.clone()),
            })
        }
        _ => None,
    }
}

/// What the write-back worker does.
#[derive(Debug, PartialEq)]
pub enum BeforeWriteBack<'a> {
    /// Nothing is written: this follows.
    Event(Event),
    /// The result is written, on condition that the lead is still at this revision.
    Write(&'a Lead),
}

/// Judges a lead before the result is written to it. A result that is already there was written by a call whose reply
/// was lost.
pub fn before_write_back<'a>(view: View<'a>) -> BeforeWriteBack<'a> {
    if view.sync.requested_since_read() {
        return BeforeWriteBack::Event(Event::RequestedAgain);
    }
    if view
        .read
        .published
        .as_ref()
        .is_some_and(|lead| carries_result(lead, &view.sync.state))
    {
        return BeforeWriteBack::Event(Event::WrittenBack);
    }
    match standing(view) {
        Ok(lead) if is_edited_since_refused(view.sync, lead) => BeforeWriteBack::Event(Event::Changed),
        Ok(lead) => BeforeWriteBack::Write(lead),
        Err(event) => BeforeWriteBack::Event(event),
    }
}

/// Whether the lead was edited after the read for which it was refused, so that the reason may no longer be true.
fn is_edited_since_refused(sync: &SyncJob, lead: &Lead) -> bool {
    match &sync.state {
        State::Rejected { seen, .. } => {
            let refused = seen.revision.as_ref();
            sync.edits < MAX_UNREQUESTED_EDITS && refused.is_some_and(|refused| *refused != lead.revision())
        }
        _ => false,
    }
}

fn carries_result(lead: &Lead, state: &State) -> bool {
    match state {
        State::Tagged {
            delivered, synced_at, ..
        } => {
            lead.crm_status.as_deref() == Some(SENT)
                && lead.contact.as_ref() == Some(&delivered.contact)
                && lead.last_synced_at == Some(*synced_at)
        }
        State::Rejected { reason, .. } => {
            lead.crm_status.as_deref() == Some(FAILED) && lead.crm_error.as_deref() == Some(&reason.to_string())
        }
        _ => false,
    }
}
