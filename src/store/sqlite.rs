//! The embedded engine: one SQLite file in WAL mode with `synchronous=FULL`, one connection that writes, one that reads,
//! and a lock beside the file that refuses a second process.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::db::{Db, DbError};
use super::notifications::Listeners;
use super::writer::{Begun, Commits, Engine, Scope};
use super::{Reader, Store, StoreSettings, Time, kv, leases, migrations, whole_micros};
use crate::clock::SharedClock;
use crate::metrics::Metrics;

#[cfg(test)]
mod tests;

/// How long to wait for another connection's lock: a backup tool's, since no second writer of ours exists.
const BUSY: Duration = Duration::from_secs(5);

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
) -> Result<Store, OpenError> {
    open_with(path, clock, metrics, settings, Commits::Thread)
}

/// The same, with a say in where transactions run.
///
/// # Errors
/// As for [`open`].
pub fn open_with(
    path: &Path,
    clock: SharedClock,
    metrics: Arc<Metrics>,
    settings: StoreSettings,
    commits: Commits,
) -> Result<Store, OpenError> {
    let io = |source| OpenError::Io {
        path: path.to_owned(),
        source,
    };
    let database = |reason: String| OpenError::Database {
        path: path.to_owned(),
        reason,
    };
    // Before the lock, which goes by the name that the file has when links are followed.
    private(OpenOptions::new().read(true).append(true).create(true))
        .open(path)
        .map_err(io)?;
    let lock = lock(path)?;

    let conn = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(|error| database(error.to_string()))?;
    migrations::migrate(Db::Sqlite(&conn), migrations::SQLITE).map_err(|refusal| database(refusal.to_string()))?;
    let latest = latest_time(Db::Sqlite(&conn)).map_err(|error| database(error.to_string()))?;
    clock.not_before(latest);
    let reader = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(|error| database(error.to_string()))?;
    take_over(&conn, whole_micros(clock.now()), &settings).map_err(|error| database(error.to_string()))?;
    Store::start(
        engine(conn, &clock),
        Reader::Sqlite(Arc::new(Mutex::new(reader))),
        (Time::Process(SharedClock::clone(&clock)), clock),
        settings,
        Listeners::new(metrics),
        Some(lock),
        commits,
    )
    .map_err(io)
}

/// What writes to a file.
pub(super) fn engine(conn: Connection, clock: &SharedClock) -> impl Engine {
    Writing {
        conn,
        clock: SharedClock::clone(clock),
    }
}

struct Writing {
    conn: Connection,
    clock: SharedClock,
}

impl Engine for Writing {
    fn begin(&mut self, _: &Scope) -> Result<Begun<'_>, DbError> {
        let now = whole_micros(self.clock.now());
        self.conn.execute_batch("BEGIN IMMEDIATE")?;
        let db = Db::Sqlite(&self.conn);
        let is_paused = kv::paused_since(db).inspect_err(|_| {
            // Else none could begin after it.
            let _ = db.batch("ROLLBACK");
        })?;
        let is_paused = is_paused.is_some();
        Ok(Begun { db, now, is_paused })
    }

    fn checkpoint(&mut self) {
        // So that a copy of the file alone is complete. If it fails the log beside it has the rest. Nothing is waited for: a backup
        // tool may be reading.
        let _ = self.conn.execute_batch("PRAGMA wal_checkpoint(PASSIVE)");
    }
}

/// Other users of the machine have no business with leads' ids and reasons.
fn private(options: &mut OpenOptions) -> &OpenOptions {
    options.mode(0o600)
}

/// One process a file, which must be there. An OS lock rather than SQLite's exclusive mode, since backups must be able to
/// read. It is beside the file itself, whatever links lead to it: by each of its names it is the same lock.
pub(super) fn lock(path: &Path) -> Result<File, OpenError> {
    let io = |path: &Path, source| OpenError::Io {
        path: path.to_owned(),
        source,
    };
    let mut name = path.canonicalize().map_err(|error| io(path, error))?.into_os_string();
    name.push(".lock");
    let file = private(OpenOptions::new().write(true).create(true))
        .open(&name)
        .map_err(|error| io(Path::new(&name), error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(OpenError::InUse(path.to_owned())),
        Err(std::fs::TryLockError::Error(error)) => Err(io(path, error)),
    }
}

pub(super) fn connect(path: &Path, mode: OpenFlags) -> rusqlite::Result<Connection> {
    let conn = Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    conn.busy_timeout(BUSY)?;
    conn.set_prepared_statement_cache_capacity(128);
    // A plan does not depend on the values that are bound. Else SQLite, as it is built here (with STAT4), plans a statement
    // again whenever a value of a comparison changes, which takes longer than to run it.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    if mode.contains(OpenFlags::SQLITE_OPEN_READ_WRITE) {
        // FULL: a commit is on disk before it is answered, also when the power fails.
        // What a savepoint keeps to undo a write stays in memory: a file of its own would be written for nothing.
        conn.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY; PRAGMA wal_autocheckpoint = 4000;",
        )?;
    }
    Ok(conn)
}

/// The latest time in the file: the clock must not be behind it.
fn latest_time(db: Db<'_>) -> Result<Timestamp, DbError> {
    let sql = "-- latest_time()
        SELECT max(coalesce((SELECT max(at) FROM event WHERE id = (SELECT max(id) FROM event)), 0),
            coalesce((SELECT max(at) FROM kv), 0)) AS latest";
    db.one(sql, &[], |row| row.get("latest"))
}

fn take_over(conn: &Connection, now: Timestamp, settings: &StoreSettings) -> Result<(), DbError> {
    let txn = conn.unchecked_transaction()?;
    leases::take_over(Db::Sqlite(&txn), now, settings)?;
    Ok(txn.commit()?)
}
