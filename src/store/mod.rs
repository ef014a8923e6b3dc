//! The durable truth: deliveries, syncs with their history, what is remembered of leads, breakers. One trait, so that
//! every story runs the same on either engine.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::{Notify, broadcast};

use crate::domain::breaker::{Breaker, Cause};
use crate::domain::failure::{Remote, ServiceError};
use crate::domain::lead::{ContactId, LeadId, Revision};
use crate::domain::lead_link::LeadLink;
use crate::domain::reject_reason::ReasonKey;
use crate::domain::retry::RetryPolicy;
use crate::domain::state::Event;
use crate::domain::sync::{Failure, Source, SyncId, SyncJob};

pub mod inspect;
pub mod postgres;
pub mod sqlite;

mod migrations;
mod sql;
mod views;

pub use sql::SqlStore;
pub use sql::writer::{Commits, Gate, Step};
pub use views::{EventRow, FailureGroup, Filter, Flow, Ledger, Overview, SyncEvent, SyncView, WebhookLog};

/// Why the store did not do what it was asked. Nothing of it was done, unless the database did not answer in time: then it may
/// be done yet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// More waits to be written than the queue holds.
    #[error("the queue of writes is full")]
    Busy,
    /// The store is being closed.
    #[error("the store is stopping")]
    Stopping,
    /// The file system has no room, or a limit on the size of the file is reached.
    #[error("the disk is full: {0}")]
    DiskFull(String),
    /// Anything else the database said.
    #[error("the database failed: {0}")]
    Failed(String),
}

/// What became of a request for a sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    /// A sync was created for it.
    Created(SyncId),
    /// It was coalesced with the lead's active sync.
    Coalesced(SyncId),
    /// It was seen before and changes nothing.
    Duplicate,
}

/// One verified webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// `idempotency-key` header: opaque, and not signed.
    pub key: Option<String>,
    /// Signed `_id`.
    pub lead: LeadId,
    /// Signed `_rev`, where the projection has one that is not empty.
    pub rev: Option<String>,
    /// Signed `_updatedAt`, where the projection has one.
    pub updated_at: Option<Timestamp>,
}

impl Delivery {
    /// The revision it was signed for, where the projection says when that was.
    pub fn revision(&self) -> Option<Revision> {
        Some(Revision {
            updated_at: self.updated_at?,
            rev: self.rev.clone(),
        })
    }
}

/// The three workers' shares of the journey.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Requested syncs.
    Upsert,
    /// Upserted syncs whose delay is over.
    Tag,
    /// Tagged and rejected syncs.
    WriteBack,
}

impl Stage {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Upsert, Self::Tag, Self::WriteBack];

    /// The stable name in logs and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Upsert => "upsert",
            Self::Tag => "tag",
            Self::WriteBack => "write_back",
        }
    }

    /// Labels of the states that belong to the stage.
    pub fn states(self) -> &'static [&'static str] {
        match self {
            Self::Upsert => &["requested"],
            Self::Tag => &["upserted"],
            Self::WriteBack => &["tagged", "rejected"],
        }
    }

    /// The services the stage cannot do without.
    pub fn remotes(self) -> &'static [Remote] {
        match self {
            Self::Upsert | Self::Tag => &[Remote::ZohoAccounts, Remote::Bigin, Remote::Sanity],
            Self::WriteBack => &[Remote::Sanity],
        }
    }
}

/// Proof of a claim: changes with every claim, so that a late release of a lost lease changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClaimToken(pub i64);

/// A sync that this worker, and no other, works on until it records an outcome or the lease runs out.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// The sync as it was when claimed.
    pub sync: SyncJob,
    /// Proof of the claim.
    pub token: ClaimToken,
    /// What is remembered of the lead.
    pub link: LeadLink,
}

/// What a claim brought.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The claimed syncs, longest due first; empty where nothing is due or the breaker of a remote service they need is open.
    pub syncs: Vec<Claimed>,
    /// Where nothing was claimed: when it is worth claiming again, if nothing wakes the worker before.
    pub next_due: Option<Timestamp>,
    /// The breakers of the stage's services as the claim found them.
    pub breakers: BTreeMap<Remote, Breaker>,
    /// The services whose breakers let this claim pass as their probe.
    pub probed: Vec<Remote>,
    /// How many records of the stage its service had accepted by then.
    pub accepted: i64,
}

/// Which syncs a claim takes where both kinds are due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefer {
    /// Those that are no suspects.
    Fresh,
    /// Suspects of one limit, and of that limit at most: see [`SyncJob::bisect_limit`].
    Suspects,
}

/// The contacts that an upsert which ended ambiguously may have changed.
#[derive(Debug, Clone, Default)]
pub struct PossiblyChanged {
    /// Those that it addressed by id.
    pub contacts: BTreeSet<ContactId>,
    /// Keyed hashes of the unique values that it looked contacts up by; see [`crate::domain::state::Delivered::keys`].
    pub keys: BTreeSet<String>,
}

impl PossiblyChanged {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.contacts.is_empty() && self.keys.is_empty()
    }

    /// Whether a contact, which was upserted with these keys, may be one of them.
    pub fn may_include(&self, contact: Option<&ContactId>, keys: &[String]) -> bool {
        contact.is_some_and(|contact| self.contacts.contains(contact)) || keys.iter().any(|key| self.keys.contains(key))
    }
}

/// What a step has learned of the remote services.
#[derive(Debug, Clone, Default)]
pub struct StepReport {
    /// These have answered a call, which closes their breakers if they are still in the epoch in which it began.
    pub answered: Vec<(Remote, i64)>,
    /// These were to be probed in this epoch. Where neither an answer nor trouble has come of it, the next claim may probe at
    /// once.
    pub probed: Vec<(Remote, i64)>,
    /// An upsert may have been carried out, and which contact it changed is not known: every tag waits its delay again.
    pub ambiguous_upsert: bool,
    /// Upserts that ended ambiguously may have changed these contacts: their tags wait the delay again.
    pub possibly_changed: PossiblyChanged,
    /// Bigin's credits that calls have cost since the last time this was said: an estimate.
    pub credits: u32,
}

/// What a worker found out about a claimed sync.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The sync as it was claimed.
    pub claimed: Claimed,
    /// What follows.
    pub effect: Effect,
    /// Goes into the history as it is: codes, counts and durations, never values.
    pub note: Option<Value>,
}

/// What follows from a worker's step for one sync.
#[derive(Debug, Clone)]
pub enum Effect {
    /// The event happened.
    Event(Event),
    /// It failed and is counted: again later, or given up.
    Failed(Failure),
    /// The call with it alone failed, which may be its fault or the service's; see [`SyncJob::fail_uncounted`].
    FailedUncounted(Failure),
    /// Bigin says that the contact is gone; from the second time on this is a failure, see [`SyncJob::lose_contact`].
    ContactGone(Failure),
    /// A batch call with it ended ambiguously, and no attempt is counted.
    Ambiguous {
        /// It travels in batches of at most this size from now on.
        bisect_limit: u32,
        /// See [`Failure::ambiguous_insert`].
        insert: bool,
    },
    /// It is put back as it was, due at once but after whatever else is due, and nothing is counted.
    Released,
    /// It is put back until an insert that ended ambiguously has settled.
    Settling,
}

impl Effect {
    /// Whether the call may have inserted a contact that no unique value finds.
    pub fn is_ambiguous_insert(&self) -> bool {
        match self {
            Self::Failed(failure) | Self::FailedUncounted(failure) => failure.ambiguous_insert,
            Self::Ambiguous { insert, .. } => *insert,
            Self::Event(_) | Self::ContactGone(_) | Self::Released | Self::Settling => false,
        }
    }
}

/// A change of a sync's state, for those who watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub sync: SyncId,
    /// Whose.
    pub lead: LeadId,
    /// Label of its state now.
    pub state: &'static str,
}

/// What became of a person's wish to cancel a sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelResult {
    /// It is cancelled.
    Done,
    /// A worker has it in hand, and what it does cannot be called back: try again in a moment.
    Busy,
    /// It had ended before.
    Ended,
    /// There is no such sync.
    Missing,
}

/// What became of an operator's wish to dismiss a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DismissResult {
    /// It is dismissed.
    Done,
    /// The sync is no failure that waits for anybody: it has not failed, or the lead was asked for again since.
    NoFailure,
    /// There is no such sync.
    Missing,
}

/// What became of an operator's wish to check a service now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckResult {
    /// Its breaker is closed: there is nothing to check.
    Closed,
    /// A sync in progress is the probe.
    Probe,
    /// No sync in progress needs the service, so that none is the probe.
    Idle,
}

/// How long the store keeps and leases things.
#[derive(Debug, Clone, Copy)]
pub struct StoreSettings {
    /// How long a claim holds.
    pub lease: Duration,
    /// How long a tag waits after an upsert whose reply was lost with the process.
    pub tag_delay: Duration,
    /// The pace of retries and pauses.
    pub retry: RetryPolicy,
    /// How late an insert that ended ambiguously may be applied.
    pub ambiguity_delay: Duration,
}

/// The store. All times it hands out and compares are its own; see [`Store::now`].
#[async_trait]
pub trait Store: Send + Sync {
    /// The store's time, in whole microseconds: what delays, leases and pauses are counted by.
    async fn now(&self) -> Result<Timestamp, StoreError>;

    /// Stores a verified webhook. Returns after it is on disk.
    async fn accept(&self, delivery: Delivery) -> Result<Accepted, StoreError>;

    /// Creates a sync, or coalesces the request with the lead's active one. `revision` is the one the asker saw. A request by
    /// reconciliation is never coalesced: where a sync is active the answer is [`Accepted::Duplicate`].
    async fn request(&self, lead: LeadId, source: Source, revision: Option<Revision>) -> Result<Accepted, StoreError>;

    /// Claims up to `limit` due syncs of a stage, all of them suspects of one limit or none; one only where a breaker asks
    /// for a probe.
    async fn claim(&self, stage: Stage, limit: usize, prefer: Prefer) -> Result<Claim, StoreError>;

    /// Renews the lease of a claim of so many syncs, from now on; `false` where that of one of them was lost or is over.
    async fn renew(&self, token: ClaimToken, syncs: usize) -> Result<bool, StoreError>;

    /// Records outcomes, all in one transaction. Those whose lease is lost change nothing. An upsert moves the tag of
    /// every sync that waits on its contact.
    async fn record(&self, outcomes: Vec<Outcome>, report: StepReport) -> Result<(), StoreError>;

    /// A service takes no work: opens its breaker, if `epoch` is still that of the claim.
    async fn open_breaker(
        &self,
        service_error: ServiceError,
        cause: Cause,
        epoch: i64,
        jitter: f64,
    ) -> Result<(), StoreError>;

    /// Which of the contacts the store knows as some lead's.
    async fn owners(&self, contacts: Vec<ContactId>) -> Result<BTreeMap<ContactId, LeadId>, StoreError>;

    /// What is remembered of a lead, also after its syncs are forgotten; nothing of one that never was here.
    async fn link(&self, lead: LeadId) -> Result<LeadLink, StoreError>;

    /// Those of the leads that have no active sync, in the same order.
    async fn without_sync(&self, leads: Vec<LeadId>) -> Result<Vec<LeadId>, StoreError>;

    /// Resolves when a stage may have work. A wake-up before the call counts.
    fn woken(&self, stage: Stage) -> &Notify;

    /// Every change of state from now on.
    fn changes(&self) -> broadcast::Receiver<Change>;

    /// A page of syncs, newest first.
    async fn list(&self, filter: Filter, limit: usize) -> Result<Vec<SyncView>, StoreError>;

    /// One sync with its history, oldest line first.
    async fn sync(&self, id: SyncId) -> Result<Option<(SyncView, Vec<SyncEvent>)>, StoreError>;

    /// Cancels a sync for a person.
    async fn cancel(&self, id: SyncId) -> Result<CancelResult, StoreError>;

    /// A person wants a sync tried again: one in progress now instead of later, one that has ended by another sync of its
    /// lead, which is a [`Source::Retry`], or whatever `crmStatus` says with `force`. `None` where there is no
    /// such sync.
    async fn retry(&self, id: SyncId, force: bool) -> Result<Option<Accepted>, StoreError>;

    /// An operator has dealt with a failure otherwise: it is not shown among the failures any more, nor tried again with them.
    async fn dismiss(&self, id: SyncId) -> Result<DismissResult, StoreError>;

    /// An operator wants a service checked: the next probe of its breaker may go at once. The breaker stays open.
    async fn check_now(&self, remote: Remote) -> Result<CheckResult, StoreError>;

    /// Creates a sync, as a [`Source::Retry`], for up to `limit` leads whose last sync failed, for this reason where one is
    /// given; newest first, those before `before`. Returns how many, and where to go on if there may be more.
    async fn retry_failed(
        &self,
        reason: Option<ReasonKey>,
        before: Option<SyncId>,
        limit: usize,
    ) -> Result<(usize, Option<SyncId>), StoreError>;

    /// A person pauses all work, or lets it go on: while it is paused nothing is claimed, and requests are stored as ever.
    async fn set_paused(&self, paused: bool) -> Result<(), StoreError>;

    /// Since when the operator has paused sending, if so.
    async fn paused_since(&self) -> Result<Option<Timestamp>, StoreError>;

    /// The reasons for which most leads have failed, the most frequent first.
    async fn failure_groups(&self, limit: usize) -> Result<Vec<FailureGroup>, StoreError>;

    /// How things stand.
    async fn overview(&self) -> Result<Overview, StoreError>;

    /// How many syncs ended `SENT` or `FAILED` in each step of time since `since`; steps in which none did are left out.
    async fn flow(&self, since: Timestamp, step: Duration) -> Result<Vec<Flow>, StoreError>;

    /// The lines of all histories after this one, oldest first.
    async fn events_after(&self, after: i64, limit: usize) -> Result<Vec<EventRow>, StoreError>;

    /// The id of the last line of all histories.
    async fn last_event_id(&self) -> Result<i64, StoreError>;

    async fn ledger(&self) -> Result<Ledger, StoreError>;

    /// The breaker of a service, open or closed.
    async fn breaker(&self, remote: Remote) -> Result<Breaker, StoreError>;

    /// The breakers that are not closed.
    async fn open_breakers(&self) -> Result<Vec<Breaker>, StoreError>;

    /// Whether something can be stored now: writes and commits a row, and sees that the disk of a file takes more. Callers within
    /// a second share one answer.
    async fn check(&self) -> Result<(), StoreError>;

    /// A value kept under a name (the sealed token, the organisation's fields), with the time it was put there.
    async fn kv_get(&self, name: &'static str) -> Result<Option<(Vec<u8>, Timestamp)>, StoreError>;

    /// Keeps a value under a name.
    async fn kv_put(&self, name: &'static str, value: Vec<u8>) -> Result<(), StoreError>;

    /// Forgets what is kept under a name, if it is still this.
    async fn kv_delete(&self, name: &'static str, value: Vec<u8>) -> Result<(), StoreError>;

    /// Asks for what only one of several replicas may do at a time, for so long. `true` where `holder` has it now: because
    /// it was free, or its time was over, or `holder` had it before.
    async fn try_lock(&self, name: &'static str, holder: &str, lasting: Duration) -> Result<bool, StoreError>;

    /// Gives back before its time what `holder` holds.
    async fn unlock(&self, name: &'static str, holder: &str) -> Result<(), StoreError>;

    /// Notes that an access token was granted at this time, and forgets grants of more than a day ago.
    async fn note_grant(&self, at: Timestamp) -> Result<(), StoreError>;

    /// The grants since a time, oldest first.
    async fn grants(&self, since: Timestamp) -> Result<Vec<Timestamp>, StoreError>;

    /// Deletes up to `limit` finished syncs, with their history, and up to `limit` deliveries that are older than `age`. Returns how many
    /// rows went; fewer than `limit` means that nothing is left to delete.
    async fn delete_old(&self, age: Duration, limit: usize) -> Result<usize, StoreError>;
}
