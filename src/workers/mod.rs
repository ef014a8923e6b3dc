//! The background work: the three stages; reconciliation, retention, alerts and heartbeat.
//!
//! Each stage is a loop: claim → read the leads → one call per batch → record the outcomes. A batch is what is due when its
//! worker is free: nothing waits for a batch to fill. Suspects are sent in batches of their own.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use secrecy::SecretString;
use tokio::sync::{Mutex, watch};

use crate::bigin::Bigin;
use crate::clock::{SharedClock, until};
use crate::crypto::{self, MacKey};
use crate::domain::failure::Remote;
use crate::domain::mapping::Mapping;
use crate::domain::record::Record;
use crate::domain::retry::RetryPolicy;
use crate::metrics::Metrics;
use crate::sanity::Sanity;
use crate::store::{Prefer, Stage, Store, StoreError};

pub mod alert;
mod batch;
mod bisect;
mod breaker_guard;
mod failed_call;
pub mod heartbeat;
mod match_contact;
pub mod notifier;
mod org_fields;
mod pace;
mod prepared;
mod read;
pub mod reconcile;
pub mod retention;
mod tag;
mod upsert;
mod write_back;

pub use org_fields::OrgCache;
pub use pace::Paces;
pub use read::LastReads;

/// A call is given up after this, however long the lease.
const MAX_CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a worker waits after the store has failed it.
const STORE_RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// What the mutex of the steps of upsert and tag protects.
#[derive(Debug, Default)]
pub struct ContactsLock {
    /// An upsert was sent whose outcome is not recorded, because the store failed or the worker panicked: all tag delays
    /// must restart first.
    pub has_unrecorded_upsert: bool,
}

/// What the workers share.
pub struct Context {
    pub store: Arc<Store>,
    pub bigin: Bigin,
    pub sanity: Sanity,
    pub mapping: Arc<Mapping>,
    /// The organisation's field metadata.
    pub org: OrgCache,
    /// Keyed hashes of what was sent.
    pub hasher: Hasher,
    /// `BIGIN_LEAD_ID_FIELD`: a unique field of Bigin that carries the lead's id.
    pub lead_id_field: Option<String>,
    /// `TAG_DELAY`.
    pub tag_delay: Duration,
    /// `LEASE_DURATION`.
    pub lease: Duration,
    pub retry: RetryPolicy,
    /// The batch size of each stage.
    pub paces: Paces,
    /// Serialises the steps of upsert and tag: no tag is added while an upsert may move its time, and no two upserts of one
    /// contact overlap.
    pub contacts: Mutex<ContactsLock>,
    /// The revision of each lead at its last read.
    pub last_reads: LastReads,
    /// A random word that names this process among the replicas.
    pub replica: String,
    /// Measures durations.
    pub clock: SharedClock,
    pub metrics: Arc<Metrics>,
}

impl Context {
    /// How long it is until a time of the store, whose clock may be another machine's.
    async fn wait(&self, next_due: Option<Timestamp>) -> Option<Duration> {
        match self.store.now().await {
            Ok(now) => next_due.map(|due| until(now, due)),
            Err(_) => Some(STORE_RETRY_INTERVAL),
        }
    }

    /// The deadline of a call.
    fn deadline(&self) -> Duration {
        deadline(self.lease)
    }

    /// How many syncs a stage's worker claims now, and which kind first.
    fn next_claim(&self, stage: Stage) -> (usize, Prefer) {
        self.paces.of(stage).next(self.deadline(), self.clock.now())
    }
}

/// The deadline of a call under such a lease: two thirds of it, so that its outcome is recorded before the lease is over, and
/// at most 30 s.
fn deadline(lease: Duration) -> Duration {
    (lease * 2 / 3).min(MAX_CALL_TIMEOUT)
}

/// What one step of a worker did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stepped {
    /// It worked on this many syncs; there may be more.
    Worked(usize),
    /// Nothing was due. It is worth looking again at this time, or when woken.
    Idle(Option<Timestamp>),
}

/// One step of a stage's worker.
///
/// # Errors
/// Only the store's. Trouble of the remote services is recorded, not returned.
pub async fn step(context: &Context, stage: Stage) -> Result<Stepped, StoreError> {
    match stage {
        Stage::Upsert => upsert::step(context).await,
        Stage::Tag => tag::step(context).await,
        Stage::WriteBack => write_back::step(context).await,
    }
}

/// Steps until `stopping` says so: at once while there is work, then when woken or when the next sync is due. A step
/// that has begun is finished.
pub async fn run(context: Arc<Context>, stage: Stage, mut stopping: watch::Receiver<bool>) {
    while !*stopping.borrow() {
        let wait = match step(&context, stage).await {
            Ok(Stepped::Worked(_)) => continue,
            Ok(Stepped::Idle(next_due)) => context.wait(next_due).await,
            Err(error) => {
                tracing::error!(stage = stage.label(), "the store failed: {error}");
                Some(STORE_RETRY_INTERVAL)
            }
        };
        // A wake-up between the claim and this line is kept by the Notify, so none is lost.
        tokio::select! {
            biased;
            () = context.store.woken(stage).notified() => {}
            () = sleep_or_forever(wait) => {}
            _ = stopping.changed() => {}
        }
    }
}

/// Sleeps; without a time, for ever.
pub async fn sleep_or_forever(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}

/// Makes keyed hashes of records. The key comes from the client secret, so that the hashes in the store reveal
/// nothing.
pub struct Hasher(MacKey);

impl Hasher {
    /// Derives the key.
    pub fn new(client_secret: &SecretString) -> Self {
        Self(MacKey::derive(client_secret, "bigin-sync record hash v1"))
    }

    /// 32 hex digits, the same for the same record.
    pub fn hash(&self, record: &Record) -> String {
        self.hex(&record.canonical(), 16)
    }

    /// 16 hex digits, the same for values of a field that Bigin takes for the same: it compares emails without regard to
    /// case (recorded live traffic 2026-10-09). Two values with one key only move a tag that need not be moved.
    pub fn key(&self, field: &str, value: &str) -> String {
        let value = value.trim().to_lowercase();
        self.hex(format!("{field}={value}").as_bytes(), 8)
    }

    fn hex(&self, text: &[u8], bytes: usize) -> String {
        crypto::hex(&self.0.mac(&[text])[..bytes])
    }
}

/// The services that answered a call which was answered by Bigin.
const BIGIN_ANSWERED: [Remote; 2] = [Remote::ZohoAccounts, Remote::Bigin];

#[cfg(test)]
mod tests;
