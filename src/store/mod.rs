//! The durable truth: syncs with their history, what is known of leads for good, claims, breakers. Written once, over
//! either engine: an engine brings what writes (`writer::Engine`), what reads (`Reader`) and the time.

use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, broadcast};

use crate::clock::SharedClock;
use crate::domain::failure::Remote;
use crate::domain::lead::LeadId;
use crate::domain::retry::RetryPolicy;
use crate::domain::sync::{SyncId, SyncJob};
use check::Check;
use db::Db;
use notifications::Listeners;
use postgres::Pool;
use writer::{Engine, STORE_TIMEOUT, Writer, hangs};

pub mod inspect;
pub mod postgres;
pub mod sqlite;

mod check;
mod claims;
mod counters;
mod db;
mod events;
mod intake;
mod kv;
mod leases;
mod migrations;
mod notifications;
mod operator;
mod outcomes;
mod overview;
mod queries;
mod retention;
mod rows;
mod schema;
mod session;
mod tags;
mod turns;
mod txn;
mod views;
mod writer;

pub use claims::{Claim, Claimed, Prefer};
pub use intake::{Accepted, Delivery};
pub use leases::ClaimToken;
pub use migrations::{Migration, POSTGRES as POSTGRES_STEPS};
pub use operator::{CancelResult, CheckResult, DismissResult};
pub use outcomes::{Effect, Outcome, StepReport};
pub use rows::Detail;
pub use tags::PossiblyChanged;
pub use views::{EventRow, FailureGroup, Filter, Flow, Ledger, Overview, SyncEvent, SyncView, WebhookLog};
pub use writer::{Commits, Gate, Step};

/// What the store answers.
type Answer<T> = Result<T, StoreError>;

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

/// A change of a sync's state, for those who watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub sync: SyncId,
    /// Whose.
    pub lead: LeadId,
    /// Label of its state now.
    pub state: &'static str,
}

impl Change {
    fn of(sync: &SyncJob) -> Self {
        Self {
            sync: sync.id,
            lead: sync.lead.clone(),
            state: sync.state.label(),
        }
    }
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
pub struct Store {
    // Dropped first: what is queued is committed while the lock below is still held.
    writer: Writer,
    reader: Reader,
    time: Time,
    clock: SharedClock,
    settings: StoreSettings,
    listeners: Listeners,
    last_check: Mutex<Option<Check>>,
    lock: Option<Arc<File>>,
    /// What blocks is done on threads of its own.
    has_threads: bool,
}

/// What reads, beside the thread that writes.
enum Reader {
    Sqlite(Arc<Mutex<rusqlite::Connection>>),
    Postgres(Arc<Pool>),
}

/// Whose time it is.
#[derive(Clone)]
enum Time {
    /// This process's.
    Process(SharedClock),
    /// The database server's, which all replicas share.
    Server,
}

/// Times are stored in microseconds, so they are counted in them: a finer time would come back earlier than it was.
fn whole_micros(at: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at)
}

impl Store {
    /// Starts what writes. `lock` is held for as long as the store is open.
    fn start(
        engine: impl Engine,
        reader: Reader,
        (time, clock): (Time, SharedClock),
        settings: StoreSettings,
        listeners: Listeners,
        lock: Option<File>,
        commits: Commits,
    ) -> std::io::Result<Self> {
        Ok(Self {
            has_threads: matches!(commits, Commits::Thread),
            writer: Writer::start(engine, SharedClock::clone(&clock), listeners.clone(), commits)?,
            reader,
            time,
            clock,
            settings,
            listeners,
            last_check: Mutex::default(),
            lock: lock.map(Arc::new),
        })
    }

    /// Once what is queued is committed, a file of SQLite has everything without the log beside it.
    pub async fn checkpoint(&self) {
        self.writer.checkpoint().await;
    }

    /// The store's time, in whole microseconds: what delays, leases and pauses are counted by.
    pub async fn now(&self) -> Answer<Timestamp> {
        match &self.time {
            Time::Process(clock) => Ok(whole_micros(clock.now())),
            Time::Server => self.read(postgres::server_time).await,
        }
    }

    /// Resolves when a stage may have work. A wake-up before the call counts.
    pub fn woken(&self, stage: Stage) -> &Notify {
        &self.listeners.stages[stage as usize]
    }

    /// Every change of state from now on.
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.listeners.changes.subscribe()
    }

    async fn read<T, F>(&self, query: F) -> Answer<T>
    where
        T: Send + 'static,
        F: Fn(Db<'_>) -> db::Result<T> + Send + 'static,
    {
        let result = match &self.reader {
            Reader::Sqlite(conn) => {
                let conn = Arc::clone(conn);
                let read = move || query(Db::Sqlite(&conn.lock().unwrap_or_else(PoisonError::into_inner)));
                apart(self.has_threads, read).await?
            }
            Reader::Postgres(pool) => {
                let pool = Arc::clone(pool);
                let read = async {
                    let turn = pool.turn().await;
                    apart(true, move || {
                        let _turn = turn;
                        pool.read(query)
                    })
                    .await
                };
                tokio::time::timeout(STORE_TIMEOUT, read).await.map_err(|_| hangs())??
            }
        };
        result.map_err(|error| StoreError::from(&error))
    }
}

/// Does what blocks on a thread of its own, where there are threads.
async fn apart<T: Send + 'static>(has_threads: bool, work: impl FnOnce() -> T + Send + 'static) -> Answer<T> {
    if !has_threads {
        return Ok(work());
    }
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| StoreError::Failed(error.to_string()))
}
