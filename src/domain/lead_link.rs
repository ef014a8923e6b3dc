//! What is known of a lead for good, and what a sync that reads the lead makes of it.

use jiff::Timestamp;

use super::lead::{ContactId, FAILED, Lead, Revision, SENT};
use super::state::{CancelledBy, Event, Seen, State};
use super::sync::SyncJob;

/// What the store remembers of a lead after its syncs are forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LeadLink {
    /// The contact it became.
    pub contact: Option<ContactId>,
    /// Keyed hash of the record that was last sent, where the last result was `SENT`.
    pub sent_hash: Option<String>,
    /// What we last wrote to `lastSyncedAt`.
    pub synced_at: Option<Timestamp>,
    /// The newest revision that has been read for its requests, or that a finished sync was asked for.
    pub seen: Option<Revision>,
    /// When a person last cancelled a sync of the lead: no revision up to then is to be sent for that it still asks.
    pub cancelled_at: Option<Timestamp>,
    /// An insert of the lead may be applied until then. A lead without a unique value is neither looked up nor sent before:
    /// the look-up would not find the contact, and a second one would be created. Kept with the lead, since a sync may be
    /// cancelled, and the lead requested again, in between.
    pub ambiguous_until: Option<Timestamp>,
    /// When the first sync was requested that may have created a contact: the look-up of a lead that only its name tells
    /// goes back so far. The sync that comes after a failed one would not find what that one has created.
    pub created_from: Option<Timestamp>,
}

impl LeadLink {
    /// An insert for this sync may be applied until then.
    pub fn expect_insert(&mut self, sync: &SyncJob, until: Timestamp) {
        self.ambiguous_until = self.ambiguous_until.max(Some(until));
        self.created_from.get_or_insert(sync.created_at);
    }

    /// Learns from what has just happened to a sync of the lead.
    pub fn update(&mut self, event: &Event, sync: &SyncJob) {
        if *event == Event::ContactGone {
            self.contact = None;
        }
        if let Some(contact) = sync.state.contact() {
            self.contact = Some(contact.clone());
            self.ambiguous_until = None;
            self.created_from.get_or_insert(sync.created_at);
        }
        if let Some(seen) = sync.state.seen() {
            self.seen = Revision::later(self.seen.take(), seen.revision.clone());
        }
        match &sync.state {
            State::Sent { delivered, synced_at } => {
                self.sent_hash = Some(delivered.hash.clone());
                self.synced_at = Some(*synced_at);
                self.answers(sync.requests.revision.clone());
            }
            State::Failed { .. } => {
                self.sent_hash = None;
                self.answers(sync.requests.revision.clone());
            }
            // What was sent last is no longer what Bigin has.
            State::Upserted { .. } => self.sent_hash = None,
            State::Cancelled {
                by: CancelledBy::Operator,
            } => {
                // Sanity's clock may be ahead of ours.
                let known =
                    [&sync.requests.revision, &self.seen].map(|known| known.as_ref().map(|known| known.updated_at));
                self.cancelled_at = known.into_iter().chain([sync.finished_at]).max().flatten();
            }
            State::Requested { .. }
            | State::Tagged { .. }
            | State::Rejected { .. }
            | State::LeadDeleted
            | State::Cancelled { by: CancelledBy::Lead } => {}
        }
    }

    /// Whether a person has said no to this revision, so that our own search for missed webhooks is not to bring it back:
    /// the lead goes on saying `REQUESTED` until an editor changes that.
    pub fn is_declined(&self, revision: Option<&Revision>) -> bool {
        match (self.cancelled_at, revision) {
            (Some(cancelled_at), Some(revision)) => revision.updated_at <= cancelled_at,
            _ => false,
        }
    }

    /// The lead carries the result of all requests up to this one.
    fn answers(&mut self, requested: Option<Revision>) {
        self.seen = Revision::later(self.seen.take(), requested);
    }
}

impl SyncJob {
    /// Whether the lead carries a result that our own write-back has put over a request of this sync.
    pub fn is_overwritten(&self, lead: &Lead, link: &LeadLink) -> bool {
        matches!(lead.crm_status.as_deref(), Some(SENT | FAILED)) && self.has_unread_request(link)
    }

    /// Whether a request was signed for a revision later than any that a sync has read.
    fn has_unread_request(&self, link: &LeadLink) -> bool {
        match (&self.requests.revision, &link.seen) {
            (Some(requested), Some(seen)) => requested.may_follow(seen),
            _ => false,
        }
    }

    /// What a read by a worker that has just claimed the sync sees.
    ///
    /// A revision in which our own result has overwritten the request does not count as read: the request would look
    /// carried out to the next worker, which would take the result for a withdrawal.
    pub fn seen(&self, lead: &Lead, link: &LeadLink) -> Seen {
        Seen {
            requests: self.requests.count,
            revision: (!self.is_overwritten(lead, link)).then(|| lead.revision()),
        }
    }
}
