//! What the store shows to people: syncs and their histories, and how things stand.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::domain::breaker::Breaker;
use crate::domain::lead::{ContactId, LeadId};
use crate::domain::reject_reason::ReasonKey;
use crate::domain::sync::{SyncId, SyncJob};

/// A sync with when it last changed, for the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncView {
    pub sync: SyncJob,
    /// When its state last changed.
    pub changed_at: Timestamp,
    /// Its contact in Bigin, also where it has ended without one in its state.
    pub contact: Option<ContactId>,
    /// The next sync that was created for the lead, if it has ended and there is one.
    pub next: Option<SyncId>,
    /// When an operator dismissed the failure, if so.
    pub dismissed_at: Option<Timestamp>,
}

/// One line of a sync's history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SyncEvent {
    /// When.
    pub at: Timestamp,
    /// `created`, `coalesced`, `attempt_failed`, or the label of an [`Event`](crate::domain::state::Event).
    pub kind: String,
    /// Label of the sync's state after it.
    pub state: String,
    /// Codes, counts, durations, sentences.
    pub detail: Value,
}

/// A line of some sync's history, for those who watch all of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventRow {
    /// Counts up over all syncs.
    #[serde(skip)]
    pub id: i64,
    pub sync_id: SyncId,
    /// Whose.
    pub lead_id: LeadId,
    /// As in [`SyncEvent`].
    pub kind: String,
    /// Label of the sync's state after it.
    pub state: String,
    /// When.
    pub at: Timestamp,
}

/// Leads whose last sync failed with the same code, for the same field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FailureGroup {
    /// See [`RejectReason::code`](crate::domain::reject_reason::RejectReason::code).
    pub code: String,
    /// The field that it is about, where it is about one.
    pub field: Option<String>,
    /// The sentence that one of the leads carries.
    pub reason: String,
    /// What to do about it.
    pub advice: String,
    /// How many leads.
    pub leads: u64,
    /// When the last of them failed.
    pub latest: Timestamp,
}

impl FailureGroup {
    /// The key by which its leads are filtered and retried.
    pub fn key(&self) -> ReasonKey {
        ReasonKey {
            code: self.code.clone(),
            field: self.field.clone(),
        }
    }
}

/// How many syncs ended in one step of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Flow {
    /// When the step began.
    pub from: Timestamp,
    /// Ended `SENT` in it.
    pub sent: u64,
    /// Ended `FAILED` in it.
    pub failed: u64,
}

/// How things stand, all of one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overview {
    /// The store's time of it.
    pub at: Timestamp,
    /// Syncs in progress, by the label of their state; a state without any may be left out.
    pub in_progress: BTreeMap<String, u64>,
    /// The sync in progress that was created first.
    pub oldest: Option<SyncView>,
    pub ledger: Ledger,
    /// The breakers that are not closed.
    pub breakers: Vec<Breaker>,
    /// Since when the operator has paused sending, if so.
    pub paused_since: Option<Timestamp>,
    /// Leads whose last sync failed and was not dismissed.
    pub failed_leads: u64,
    /// Bigin's credits that were used in the last 24 hours, in whole hours of the clock: an estimate.
    pub credits: u64,
    /// When the last access token was granted.
    pub token_granted_at: Option<Timestamp>,
    /// Which webhooks came, and which did not.
    pub webhooks: WebhookLog,
}

/// Which webhooks came, and which did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WebhookLog {
    /// When the last one was stored; repeats do not count.
    pub last_received: Option<Timestamp>,
    /// How many were missed in a row: reconciliation found their leads, and none has come in since.
    pub missed: u64,
    /// When the last of those was found.
    pub last_missed: Option<Timestamp>,
}

/// Which syncs to list.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only those in this state (a label).
    pub state: Option<String>,
    /// Only those of this lead.
    pub lead: Option<LeadId>,
    /// Only those of this contact.
    pub contact: Option<ContactId>,
    /// Only those with this in the id of the lead or of the contact, in whatever case.
    pub part: Option<String>,
    /// Only those that were rejected for this reason.
    pub reason: Option<ReasonKey>,
    /// Only those before this one; the cursor of the page before.
    pub before: Option<SyncId>,
}

/// The ledger of guarantee 1. It balances at any moment:
/// `accepted = created_by_webhook + coalesced_by_webhook + duplicates` and
/// `created = sent + failed + lead_deleted + cancelled + in_progress`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Ledger {
    /// Deliveries answered 2xx after they were stored or found to be repeats.
    pub accepted: u64,
    /// Those that created a sync.
    pub created_by_webhook: u64,
    /// Those that were coalesced with one.
    pub coalesced_by_webhook: u64,
    /// Those that were seen before.
    pub duplicates: u64,
    /// Syncs created.
    pub created: u64,
    /// Of these, by reconciliation: webhooks that never came.
    pub created_by_reconciliation: u64,
    /// Of these, by a person, retries included.
    pub created_manually: u64,
    /// Ended `SENT`.
    pub sent: u64,
    /// Ended `FAILED`.
    pub failed: u64,
    /// Ended because the lead was gone.
    pub lead_deleted: u64,
    /// Ended because they were no longer wanted.
    pub cancelled: u64,
    /// Not ended yet: counted from the table, not from the counters.
    pub in_progress: u64,
}

impl Ledger {
    /// Whether both sums hold.
    pub fn balances(&self) -> bool {
        self.accepted == self.created_by_webhook + self.coalesced_by_webhook + self.duplicates
            && self.created == self.created_by_webhook + self.created_by_reconciliation + self.created_manually
            && self.created == self.sent + self.failed + self.lead_deleted + self.cancelled + self.in_progress
    }
}
