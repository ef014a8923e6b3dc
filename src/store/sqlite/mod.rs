//! The embedded store: one SQLite file in WAL mode with `synchronous=FULL`, one thread that writes, one connection that
//! reads, and a lock beside the file that refuses a second process.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use tokio::sync::{Notify, broadcast};

use super::{
    Accepted, Cancelling, Change, Claim, Delivery, FailureGroup, Filter, Flow, Happening, HistoryEntry, Learned, Lease,
    Ledger, Outcome, Overview, Stage, Store, StoreError, StoreSettings, SyncView, migrations,
};
use crate::clock::SharedClock;
use crate::domain::breaker::Breaker;
use crate::domain::failure::{Pause, Remote};
use crate::domain::lead::{ContactId, LeadId, Revision};
use crate::domain::sync::{Source, SyncId};
use crate::metrics::Metrics;
use rows::micros;
use writer::{Listeners, Writer, store_error, whole_micros};

mod overview;
mod rows;
mod steer;
#[cfg(test)]
mod tests;
mod views;
mod work;
mod writer;

/// Changes a slow watcher may be behind by before it misses some.
const WATCHED_CHANGES: usize = 1024;

/// How long to wait for another connection's lock: a backup tool's, since no second writer of ours exists.
const BUSY: Duration = Duration::from_secs(5);

/// What [`Store::check`] writes: as much as a webhook does, so that one that says "yes" is not wrong about the next.
const CHECK: usize = 32 * 1024;

/// The embedded store.
pub struct SqliteStore {
    // Dropped first: what is queued is committed while the lock below is still held.
    writer: Writer,
    reader: Arc<Mutex<Connection>>,
    clock: SharedClock,
    settings: StoreSettings,
    listeners: Listeners,
    last_lease: AtomicI64,
    _lock: File,
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error(
        "the database {0} is in use by another bigin-sync: stop that one first, or set DATABASE_URL to another file"
    )]
    InUse(PathBuf),
    /// The file or its folder cannot be read or written.
    #[error("the database {path} cannot be opened")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// SQLite or the schema does not accept it.
    #[error("the database {path} cannot be opened: {reason}")]
    Database {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl SqliteStore {
    /// Opens the file, creating it with mode 0600 where it does not exist, and takes over from the process before. How long
    /// commits and states take is counted in `metrics`.
    ///
    /// # Errors
    /// [`OpenError`] says what is wrong and what to do.
    pub fn open(
        path: &Path,
        clock: SharedClock,
        metrics: Arc<Metrics>,
        settings: StoreSettings,
    ) -> Result<Self, OpenError> {
        let io = |source| OpenError::Io {
            path: path.to_owned(),
            source,
        };
        let database = |reason: String| OpenError::Database {
            path: path.to_owned(),
            reason,
        };
        let lock = lock(path)?;
        private(OpenOptions::new().read(true).append(true).create(true))
            .open(path)
            .map_err(io)?;

        let mut conn = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(|error| database(error.to_string()))?;
        migrations::migrate(&mut conn).map_err(database)?;
        let latest = latest_time(&conn).map_err(|error| database(error.to_string()))?;
        clock.not_before(latest);
        let reader = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(|error| database(error.to_string()))?;

        let (changes, _) = broadcast::channel(WATCHED_CHANGES);
        let listeners = Listeners {
            stages: Arc::new(std::array::from_fn(|_| Notify::new())),
            changes,
            metrics,
        };
        let txn_now = whole_micros(clock.now());
        take_over(&mut conn, txn_now, settings.tag_delay).map_err(|error| database(error.to_string()))?;
        let writer = Writer::start(conn, clock.clone(), listeners.clone()).map_err(io)?;
        Ok(Self {
            writer,
            reader: Arc::new(Mutex::new(reader)),
            last_lease: AtomicI64::new(micros(txn_now)),
            clock,
            settings,
            listeners,
            _lock: lock,
        })
    }

    async fn read<T, F>(&self, query: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let reader = self.reader.clone();
        let task = move || query(&reader.lock().unwrap_or_else(PoisonError::into_inner));
        let result = tokio::task::spawn_blocking(task).await;
        result
            .map_err(|error| StoreError::Failed(error.to_string()))?
            .map_err(|error| store_error(&error))
    }
}

/// Other users of the machine have no business with leads' ids and reasons.
fn private(options: &mut OpenOptions) -> &OpenOptions {
    options.mode(0o600)
}

/// One process a file. An OS lock rather than SQLite's exclusive mode, since backups must be able to read.
fn lock(path: &Path) -> Result<File, OpenError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let file = private(OpenOptions::new().write(true).create(true))
        .open(&name)
        .map_err(|source| OpenError::Io {
            path: name.into(),
            source,
        })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(OpenError::InUse(path.to_owned())),
        Err(std::fs::TryLockError::Error(source)) => Err(OpenError::Io {
            path: path.to_owned(),
            source,
        }),
    }
}

fn connect(path: &Path, mode: OpenFlags) -> rusqlite::Result<Connection> {
    let conn = Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    conn.busy_timeout(BUSY)?;
    conn.set_prepared_statement_cache_capacity(64);
    if mode.contains(OpenFlags::SQLITE_OPEN_READ_WRITE) {
        // FULL: a commit is on disk before it is answered, also when the power fails.
        conn.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;")?;
    }
    Ok(conn)
}

/// The latest time in the file: the clock must not be behind it.
fn latest_time(conn: &Connection) -> rusqlite::Result<Timestamp> {
    let sql = "-- latest_time()
        SELECT max(coalesce((SELECT max(at) FROM event WHERE id = (SELECT max(id) FROM event)), 0),
            coalesce((SELECT max(at) FROM kept), 0))";
    rows::time(conn.query_row(sql, [], |row| row.get(0))?)
}

fn take_over(conn: &mut Connection, now: Timestamp, tag_delay: Duration) -> rusqlite::Result<()> {
    let txn = conn.transaction()?;
    work::take_over(&txn, now, tag_delay)?;
    txn.commit()
}

#[async_trait]
impl Store for SqliteStore {
    async fn now(&self) -> Result<Timestamp, StoreError> {
        Ok(whole_micros(self.clock.now()))
    }

    async fn accept(&self, delivery: Delivery) -> Result<Accepted, StoreError> {
        self.writer.write_if_room(move |txn| work::accept(txn, &delivery)).await
    }

    async fn request(&self, lead: LeadId, source: Source, revision: Option<Revision>) -> Result<Accepted, StoreError> {
        self.writer
            .write_if_room(move |txn| work::request(txn, &lead, source, revision))
            .await
    }

    async fn claim(&self, stage: Stage, limit: usize) -> Result<Claim, StoreError> {
        let lease = self.settings.lease;
        let token = Lease(self.last_lease.fetch_add(1, Ordering::Relaxed) + 1);
        self.writer
            .write(move |txn| work::claim(txn, stage, limit, lease, token))
            .await
    }

    async fn record(&self, outcomes: Vec<Outcome>, learned: Learned) -> Result<(), StoreError> {
        let settings = self.settings;
        self.writer
            .write(move |txn| work::record(txn, &outcomes, &learned, &settings))
            .await
    }

    async fn pause(&self, pause: Pause, epoch: i64, draw: f64) -> Result<(), StoreError> {
        let policy = self.settings.retry;
        self.writer
            .write(move |txn| work::pause(txn, &pause, epoch, draw, &policy))
            .await
    }

    async fn owners(&self, contacts: Vec<ContactId>) -> Result<BTreeMap<ContactId, LeadId>, StoreError> {
        self.read(move |conn| views::owners(conn, &contacts)).await
    }

    async fn without_sync(&self, leads: Vec<LeadId>) -> Result<Vec<LeadId>, StoreError> {
        self.read(move |conn| views::without_sync(conn, leads)).await
    }

    fn woken(&self, stage: Stage) -> &Notify {
        &self.listeners.stages[stage as usize]
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.listeners.changes.subscribe()
    }

    async fn list(&self, filter: Filter, limit: usize) -> Result<Vec<SyncView>, StoreError> {
        self.read(move |conn| views::list(conn, &filter, limit)).await
    }

    async fn sync(&self, id: SyncId) -> Result<Option<(SyncView, Vec<HistoryEntry>)>, StoreError> {
        self.read(move |conn| views::sync(conn, id)).await
    }

    async fn cancel(&self, id: SyncId) -> Result<Cancelling, StoreError> {
        self.writer.write_if_room(move |txn| steer::cancel(txn, id)).await
    }

    async fn retry(&self, id: SyncId) -> Result<Option<Accepted>, StoreError> {
        self.writer.write_if_room(move |txn| steer::retry(txn, id)).await
    }

    async fn retry_failed(
        &self,
        reason: Option<String>,
        before: Option<SyncId>,
        limit: usize,
    ) -> Result<(usize, Option<SyncId>), StoreError> {
        self.writer
            .write_if_room(move |txn| steer::retry_failed(txn, reason.as_deref(), before, limit))
            .await
    }

    async fn pause_all(&self, paused: bool) -> Result<(), StoreError> {
        self.writer
            .write_if_room(move |txn| steer::pause_all(txn, paused))
            .await
    }

    async fn paused_since(&self) -> Result<Option<Timestamp>, StoreError> {
        self.read(steer::paused_since).await
    }

    async fn failure_groups(&self, limit: usize) -> Result<Vec<FailureGroup>, StoreError> {
        self.read(move |conn| overview::failure_groups(conn, limit)).await
    }

    async fn overview(&self) -> Result<Overview, StoreError> {
        let now = self.now().await?;
        self.read(move |conn| overview::overview(conn, now)).await
    }

    async fn flow(&self, since: Timestamp, step: Duration) -> Result<Vec<Flow>, StoreError> {
        self.read(move |conn| overview::flow(conn, since, step)).await
    }

    async fn happenings(&self, after: i64, limit: usize) -> Result<Vec<Happening>, StoreError> {
        self.read(move |conn| overview::happenings(conn, after, limit)).await
    }

    async fn last_happening(&self) -> Result<i64, StoreError> {
        self.read(overview::last_happening).await
    }

    async fn ledger(&self) -> Result<Ledger, StoreError> {
        self.read(views::ledger).await
    }

    async fn breaker(&self, remote: Remote) -> Result<Breaker, StoreError> {
        self.read(move |conn| rows::breaker(conn, remote)).await
    }

    async fn open_breakers(&self) -> Result<Vec<Breaker>, StoreError> {
        self.read(views::open_breakers).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.writer
            .write_if_room(|txn| keep(txn.conn, "check", &[0; CHECK], txn.now))
            .await
    }

    async fn kept(&self, name: &'static str) -> Result<Option<(Vec<u8>, Timestamp)>, StoreError> {
        let query = move |conn: &Connection| {
            let sql = "-- kept()
                SELECT value, at FROM kept WHERE name = ?1";
            let found = conn
                .prepare_cached(sql)?
                .query_row([name], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            found.map(|(value, at)| Ok((value, rows::time(at)?))).transpose()
        };
        self.read(query).await
    }

    async fn keep(&self, name: &'static str, value: Option<Vec<u8>>) -> Result<(), StoreError> {
        let work = move |txn: &mut writer::Txn<'_>| match &value {
            Some(value) => keep(txn.conn, name, value, txn.now),
            None => txn.conn.execute("DELETE FROM kept WHERE name = ?1", [name]).map(|_| ()),
        };
        self.writer.write(work).await
    }

    async fn note_grant(&self, at: Timestamp) -> Result<(), StoreError> {
        let work = move |txn: &mut writer::Txn<'_>| {
            let day_ago = micros(at) - 24 * 60 * 60 * 1_000_000;
            txn.conn.execute("DELETE FROM token_grant WHERE at < ?1", [day_ago])?;
            txn.conn
                .execute("INSERT INTO token_grant (at) VALUES (?1)", [micros(at)])
                .map(|_| ())
        };
        self.writer.write(work).await
    }

    async fn grants(&self, since: Timestamp) -> Result<Vec<Timestamp>, StoreError> {
        let query = move |conn: &Connection| {
            let mut statement = conn.prepare_cached("SELECT at FROM token_grant WHERE at >= ?1 ORDER BY at")?;
            let times = statement.query_map([micros(since)], |row| row.get(0))?;
            times.map(|at| rows::time(at?)).collect()
        };
        self.read(query).await
    }

    async fn forget(&self, age: Duration, limit: usize) -> Result<usize, StoreError> {
        self.writer
            .write(move |txn| views::forget(txn.conn, txn.now, age, limit))
            .await
    }
}

fn keep(conn: &Connection, name: &str, value: &[u8], now: Timestamp) -> rusqlite::Result<()> {
    let sql = "-- keep()
        INSERT INTO kept (name, value, at) VALUES (?1, ?2, ?3) ON CONFLICT (name) DO UPDATE SET value = ?2, at = ?3";
    conn.prepare_cached(sql)?
        .execute(params![name, value, micros(now)])
        .map(|_| ())
}
