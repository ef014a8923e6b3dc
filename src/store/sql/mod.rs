//! The store over either engine: what it does, written once. An engine brings what writes ([`writer::Engine`]), what
//! reads ([`Reader`]) and the time.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use jiff::Timestamp;
use tokio::sync::{Notify, broadcast};

use super::postgres::Pool;
use super::{
    Accepted, CancelResult, Change, CheckResult, Claim, ClaimToken, Delivery, DismissResult, EventRow, FailureGroup,
    Filter, Flow, Ledger, Outcome, Overview, Prefer, Stage, StepReport, Store, StoreError, StoreSettings, SyncEvent,
    SyncView,
};
use crate::clock::{SharedClock, after};
use crate::domain::breaker::{Breaker, Cause};
use crate::domain::failure::{Remote, ServiceError};
use crate::domain::lead::{ContactId, LeadId, Revision};
use crate::domain::lead_link::LeadLink;
use crate::domain::reject_reason::ReasonKey;
use crate::domain::sync::{Source, SyncId};
use crate::metrics::Metrics;
use crate::random;
use db::{Db, Result};
use writer::{Commits, Engine, Listeners, STORE_TIMEOUT, Txn, Writer, hangs, in_time};

mod claims;
pub(super) mod db;
mod intake;
pub(super) mod kv;
mod operator;
pub(super) mod outcomes;
mod overview;
mod queries;
pub(super) mod rows;
mod turns;
pub(super) mod writer;

/// Changes a slow watcher may be behind by before it misses some.
const WATCHED_CHANGES: usize = 1024;

/// Callers of [`Store::check`] within this share one write: anybody may ask for it, as often as they like.
const CHECKED: Duration = Duration::from_secs(1);

type Answer<T> = std::result::Result<T, StoreError>;

/// The last check, and when it was begun. It goes on where a caller has left.
type Check = (Timestamp, Shared<BoxFuture<'static, Answer<()>>>);

pub struct SqlStore {
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
pub(super) enum Reader {
    Sqlite(Arc<Mutex<rusqlite::Connection>>),
    Postgres(Arc<Pool>),
}

/// Whose time it is.
#[derive(Clone)]
pub(super) enum Time {
    /// This process's.
    Process(SharedClock),
    /// The database server's, which all replicas share.
    Server,
}

/// Whom a store tells of what it has committed.
pub(super) fn listeners(metrics: Arc<Metrics>) -> Listeners {
    let (changes, _) = broadcast::channel(WATCHED_CHANGES);
    Listeners {
        stages: Arc::new(std::array::from_fn(|_| Notify::new())),
        changes,
        metrics,
    }
}

/// Times are stored in microseconds, so they are counted in them: a finer time would come back earlier than it was.
pub(super) fn whole_micros(at: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at)
}

impl SqlStore {
    /// Starts what writes. `lock` is held for as long as the store is open.
    pub(super) fn start(
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

    fn begin_check(&self) -> Answer<BoxFuture<'static, Answer<()>>> {
        let write = self.writer.queue_if_room(|txn| kv::mark(txn.db, "check", txn.now))?;
        let (lock, has_threads) = (self.lock.clone(), self.has_threads);
        let check = async move {
            write.await?;
            let Some(lock) = lock else {
                return Ok(());
            };
            let room = apart(has_threads, move || takes_more(&lock)).await?;
            room.map_err(|error| StoreError::DiskFull(error.to_string()))
        };
        Ok(check.boxed())
    }

    async fn read<T, F>(&self, query: F) -> Answer<T>
    where
        T: Send + 'static,
        F: Fn(Db<'_>) -> Result<T> + Send + 'static,
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

/// Whether the disk takes new bytes beside the database: those of a check go where the bytes of the last one were, in the
/// database's log and its file, which are there on a full disk too.
fn takes_more(lock: &File) -> std::io::Result<()> {
    let written = lock.write_all_at(&random::bytes::<{ kv::MARK }>(), 0);
    lock.set_len(0)?;
    written
}

#[async_trait]
impl Store for SqlStore {
    async fn now(&self) -> Answer<Timestamp> {
        match &self.time {
            Time::Process(clock) => Ok(whole_micros(clock.now())),
            Time::Server => self.read(super::postgres::server_time).await,
        }
    }

    async fn accept(&self, delivery: Delivery) -> Answer<Accepted> {
        self.writer
            .write_if_room(move |txn| intake::accept(txn, &delivery))
            .await
    }

    async fn request(&self, lead: LeadId, source: Source, revision: Option<Revision>) -> Answer<Accepted> {
        self.writer
            .write_if_room(move |txn| intake::request(txn, &lead, source, revision.clone()))
            .await
    }

    async fn claim(&self, stage: Stage, limit: usize, prefer: Prefer) -> Answer<Claim> {
        let settings = self.settings;
        // By chance, since no replica knows the others' claims.
        let token = ClaimToken(i64::from_le_bytes(random::bytes()));
        self.writer
            .write(move |txn| claims::claim(txn, stage, (limit, prefer), &settings, token))
            .await
    }

    async fn renew(&self, token: ClaimToken, syncs: usize) -> Answer<bool> {
        let lasting = self.settings.lease;
        self.writer
            .write(move |txn| claims::renew(txn, token, syncs, lasting))
            .await
    }

    async fn record(&self, outcomes: Vec<Outcome>, report: StepReport) -> Answer<()> {
        let settings = self.settings;
        self.writer
            .write(move |txn| outcomes::record(txn, &outcomes, &report, &settings))
            .await
    }

    async fn open_breaker(&self, service_error: ServiceError, cause: Cause, epoch: i64, jitter: f64) -> Answer<()> {
        let policy = self.settings.retry;
        self.writer
            .write(move |txn| outcomes::open_breaker(txn, (&service_error, cause), epoch, jitter, &policy))
            .await
    }

    async fn owners(&self, contacts: Vec<ContactId>) -> Answer<BTreeMap<ContactId, LeadId>> {
        self.read(move |db| queries::owners(db, &contacts)).await
    }

    async fn link(&self, lead: LeadId) -> Answer<LeadLink> {
        self.read(move |db| rows::link(db, &lead)).await
    }

    async fn without_sync(&self, leads: Vec<LeadId>) -> Answer<Vec<LeadId>> {
        self.read(move |db| queries::without_sync(db, &leads)).await
    }

    fn woken(&self, stage: Stage) -> &Notify {
        &self.listeners.stages[stage as usize]
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.listeners.changes.subscribe()
    }

    async fn list(&self, filter: Filter, limit: usize) -> Answer<Vec<SyncView>> {
        self.read(move |db| queries::list(db, &filter, limit)).await
    }

    async fn sync(&self, id: SyncId) -> Answer<Option<(SyncView, Vec<SyncEvent>)>> {
        self.read(move |db| queries::sync(db, id)).await
    }

    async fn cancel(&self, id: SyncId) -> Answer<CancelResult> {
        let settings = self.settings;
        self.writer
            .write_if_room(move |txn| operator::cancel(txn, id, &settings))
            .await
    }

    async fn retry(&self, id: SyncId, force: bool) -> Answer<Option<Accepted>> {
        self.writer
            .write_if_room(move |txn| operator::retry(txn, id, force))
            .await
    }

    async fn dismiss(&self, id: SyncId) -> Answer<DismissResult> {
        self.writer.write_if_room(move |txn| operator::dismiss(txn, id)).await
    }

    async fn check_now(&self, remote: Remote) -> Answer<CheckResult> {
        self.writer
            .write_if_room(move |txn| operator::check_now(txn, remote))
            .await
    }

    async fn retry_failed(
        &self,
        reason: Option<ReasonKey>,
        before: Option<SyncId>,
        limit: usize,
    ) -> Answer<(usize, Option<SyncId>)> {
        self.writer
            .write_if_room(move |txn| operator::retry_failed(txn, reason.as_ref(), before, limit))
            .await
    }

    async fn set_paused(&self, paused: bool) -> Answer<()> {
        self.writer
            .write_if_room(move |txn| operator::set_paused(txn, paused))
            .await
    }

    async fn paused_since(&self) -> Answer<Option<Timestamp>> {
        self.read(operator::paused_since).await
    }

    async fn failure_groups(&self, limit: usize) -> Answer<Vec<FailureGroup>> {
        self.read(move |db| overview::failure_groups(db, limit)).await
    }

    async fn overview(&self) -> Answer<Overview> {
        let now = self.now().await?;
        // So that all numbers are of one moment.
        self.read(move |db| db.snapshot(|db| overview::overview(db, now))).await
    }

    async fn flow(&self, since: Timestamp, step: Duration) -> Answer<Vec<Flow>> {
        self.read(move |db| overview::flow(db, since, step)).await
    }

    async fn events_after(&self, after: i64, limit: usize) -> Answer<Vec<EventRow>> {
        self.read(move |db| overview::events_after(db, after, limit)).await
    }

    async fn last_event_id(&self) -> Answer<i64> {
        self.read(overview::last_event_id).await
    }

    async fn ledger(&self) -> Answer<Ledger> {
        self.read(queries::ledger).await
    }

    async fn breaker(&self, remote: Remote) -> Answer<Breaker> {
        self.read(move |db| rows::breaker(db, remote)).await
    }

    async fn open_breakers(&self) -> Answer<Vec<Breaker>> {
        self.read(queries::open_breakers).await
    }

    async fn check(&self) -> Answer<()> {
        let check = {
            let mut last = self.last_check.lock().unwrap_or_else(PoisonError::into_inner);
            let now = self.clock.now();
            match &*last {
                Some((begun, check)) if now < after(*begun, CHECKED) => check.clone(),
                _ => {
                    let check = self.begin_check()?.shared();
                    *last = Some((now, check.clone()));
                    check
                }
            }
        };
        in_time(check).await
    }

    async fn kv_get(&self, name: &'static str) -> Answer<Option<(Vec<u8>, Timestamp)>> {
        self.read(move |db| kv::get(db, name)).await
    }

    async fn kv_put(&self, name: &'static str, value: Vec<u8>) -> Answer<()> {
        self.writer
            .write(move |txn| kv::put(txn.db, name, &value, txn.now))
            .await
    }

    async fn kv_delete(&self, name: &'static str, value: Vec<u8>) -> Answer<()> {
        self.writer
            .write(move |txn| kv::delete(txn.db, name, Some(&value)))
            .await
    }

    async fn note_grant(&self, at: Timestamp) -> Answer<()> {
        self.writer.write(move |txn| kv::note_grant(txn.db, at)).await
    }

    async fn grants(&self, since: Timestamp) -> Answer<Vec<Timestamp>> {
        self.read(move |db| kv::grants(db, since)).await
    }

    async fn try_lock(&self, name: &'static str, holder: &str, lasting: Duration) -> Answer<bool> {
        let holder = holder.to_owned();
        let hold = move |txn: &mut Txn<'_>| kv::try_lock(txn, name, &holder, lasting);
        self.writer.write(hold).await
    }

    async fn unlock(&self, name: &'static str, holder: &str) -> Answer<()> {
        let holder = holder.to_owned();
        self.writer.write(move |txn| kv::unlock(txn.db, name, &holder)).await
    }

    async fn delete_old(&self, age: Duration, limit: usize) -> Answer<usize> {
        self.writer
            .write(move |txn| queries::delete_old(txn.db, txn.now, age, limit))
            .await
    }
}
