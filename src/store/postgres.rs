//! The engine for several replicas: one PostgreSQL database that they share. Each replica has one connection that writes,
//! a few that read, and one that listens.
//!
//! Webhooks are stored beside each other. Such a transaction shares a lock of the whole database with others of its kind, and has
//! its leads for itself: it creates syncs of theirs or coalesces with them, adds events and counts, and touches nothing else.
//! Whatever else is written takes that lock alone, so that what is true of one writing thread is true of all of them, and a
//! transaction carries what has queued up, so that it is taken seldom. A replica that hangs inside a transaction loses its
//! connection, and with it the locks, within seconds.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use jiff::{SignedDuration, Timestamp};
use tokio::runtime::Builder;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_postgres::AsyncMessage;
use tokio_postgres::error::Severity;

use super::db::{Db, DbError, args, corrupt};
use super::notifications::{CHANNEL, Listeners, receive};
use super::session::{BEGIN, BEGIN_INTAKE, LOCK_LEADS, Session};
use super::writer::{Begun, Commits, Engine, Scope};
use super::{Migration, Reader, Stage, Store, StoreSettings, Time, kv, migrations, whole_micros};
use crate::clock::SharedClock;
use crate::database::Address;
use crate::domain::lead::LeadId;
use crate::metrics::Metrics;
use crate::random;

/// Connections that read, at most.
const READERS: usize = 4;

/// Seconds by which the server's clock may seem to be set and was not: clocks are not equally fast.
const STEP: u64 = 5;

/// How long the listening thread waits before it looks whether it is to end.
const LISTEN: Duration = Duration::from_secs(1);

/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It cannot be reached, or does not let us in.
    #[error("the database at {at} cannot be reached: {reason}; check DATABASE_URL and that the server runs")]
    Unreachable {
        /// Host and database, without the password.
        at: String,
        /// What is wrong.
        reason: String,
    },
    /// It is there, and cannot be used.
    #[error("the database at {at} cannot be used: {reason}")]
    Unusable {
        /// Host and database, without the password.
        at: String,
        /// What is wrong.
        reason: String,
    },
    /// A thread could not be started.
    #[error(transparent)]
    Thread(#[from] std::io::Error),
}

/// Connects to the database and brings its schema up to date. The time is the server's, which all replicas share, unless
/// `clock` stands still; how long things take here is by `clock`.
///
/// Must not be called from an asynchronous task: it waits for the server.
///
/// # Errors
/// [`OpenError`] says what is wrong and what to do.
pub fn open(
    address: &Address,
    clock: SharedClock,
    metrics: Arc<Metrics>,
    settings: StoreSettings,
) -> Result<Store, OpenError> {
    open_with(address, clock, metrics, settings, migrations::POSTGRES)
}

/// The same, with a say in which steps lead to the newest schema.
///
/// # Errors
/// As for [`open`].
pub fn open_with(
    address: &Address,
    clock: SharedClock,
    metrics: Arc<Metrics>,
    settings: StoreSettings,
    steps: &[Migration],
) -> Result<Store, OpenError> {
    let unreachable = |error: DbError| OpenError::Unreachable {
        at: address.to_string(),
        reason: error.to_string(),
    };
    let name = format!("{:016x}", u64::from_le_bytes(random::bytes()));
    let conn = Session::open(address, &name).map_err(unreachable)?;
    migrations::migrate(Db::Postgres(&conn), steps).map_err(|refusal| OpenError::Unusable {
        at: address.to_string(),
        reason: refusal.to_string(),
    })?;
    let time = if clock.stands_still() {
        Time::Process(SharedClock::clone(&clock))
    } else {
        Time::Server
    };
    let listeners = Listeners::new(metrics);
    let ear = Ear::start(address.clone(), name.clone(), listeners.clone())?;
    let engine = Writing {
        address: address.clone(),
        conn: Some(conn),
        time: time.clone(),
        clock: SharedClock::clone(&clock),
        last: None,
        name,
        _ear: ear,
    };
    let pool = Pool {
        address: address.clone(),
        idle: Mutex::new(Vec::new()),
        turns: Arc::new(Semaphore::new(READERS)),
    };
    Ok(Store::start(
        engine,
        Reader::Postgres(Arc::new(pool)),
        (time, clock),
        settings,
        listeners,
        None,
        Commits::Thread,
    )?)
}

/// What time the server has it.
const NOW: &str = "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)";

/// What time the server has it.
pub(super) fn server_time(db: Db<'_>) -> Result<Timestamp, DbError> {
    db.one(&format!("SELECT {NOW} AS now"), &[], |row| row.get("now"))
}

/// The one that writes.
struct Writing {
    address: Address,
    conn: Option<Session>,
    time: Time,
    clock: SharedClock,
    last: Option<Reading>,
    name: String,
    _ear: Ear,
}

impl Writing {
    /// Returns the server's time in the transaction, and whether all work is paused.
    fn try_begin(&mut self, scope: &Scope) -> Result<(Timestamp, bool), DbError> {
        let conn = match self.conn.take().filter(|conn| !conn.is_closed()) {
            Some(conn) => conn,
            None => Session::open(&self.address, &self.name)?,
        };
        match scope {
            Scope::Anything => conn.send_batch(BEGIN),
            Scope::Webhooks(leads) => {
                conn.send_batch(BEGIN_INTAKE);
                let leads: Vec<String> = leads.iter().map(LeadId::to_string).collect();
                conn.send_execute(LOCK_LEADS, vec![Box::new(leads)])?;
            }
        }
        let sql = format!(
            "-- try_begin()\n        SELECT {NOW} AS now, (SELECT count(*) FROM kv WHERE name = ?1) AS is_paused"
        );
        let begun = Db::Postgres(&conn).one(&sql, args![kv::PAUSED], |row| {
            Ok((row.get("now")?, row.get("is_paused")?))
        })?;
        self.conn = Some(conn);
        Ok(begun)
    }
}

impl Engine for Writing {
    fn begin(&mut self, scope: &Scope) -> Result<Begun<'_>, DbError> {
        let mut asked = self.clock.now();
        // A connection that was lost while nothing was written shows only now; that it is lost is not worth a refusal.
        let (said, is_paused) = match self.try_begin(scope) {
            Err(error) if is_lost(&error) => {
                asked = self.clock.now();
                self.try_begin(scope)?
            }
            begun => begun?,
        };
        let answered = self.clock.now();
        let Some(conn) = &self.conn else {
            return Err(corrupt("the connection", "none"));
        };
        let now = match &self.time {
            Time::Server => {
                let reading = Reading { asked, said, answered };
                if let Some(last) = self.last.replace(reading) {
                    warn_of_step(last.step(&reading));
                }
                said
            }
            Time::Process(clock) => whole_micros(clock.now()),
        };
        let db = Db::Postgres(conn);
        Ok(Begun { db, now, is_paused })
    }
}

/// What the server's clock said, and what this process's monotonic clock said before and after.
#[derive(Clone, Copy)]
struct Reading {
    asked: Timestamp,
    said: Timestamp,
    answered: Timestamp,
}

impl Reading {
    /// By how much the server's clock was set between this reading and a later one, at least.
    fn step(&self, later: &Self) -> SignedDuration {
        let went = later.said.duration_since(self.said);
        let least = later.asked.duration_since(self.answered);
        let most = later.answered.duration_since(self.asked);
        went - went.clamp(least, most.max(least))
    }
}

/// A step of the server's clock is not corrected. A replica cannot tell it from having been suspended itself, and a wrong
/// correction would end the leases of other replicas early.
fn warn_of_step(step: SignedDuration) {
    let seconds = (step.unsigned_abs() + Duration::from_millis(500)).as_secs();
    if seconds < STEP {
        return;
    }
    if step.is_positive() {
        tracing::warn!(
            "the database server's clock was set forward by {seconds} s, or this process was suspended: tags, retries and \
             pauses that were waiting may have come early by as much"
        );
    } else {
        tracing::warn!(
            "the database server's clock was set back by {seconds} s: tags, retries and pauses that were waiting, and claims of \
             replicas that have ended, last longer by as much"
        );
    }
}

/// Whether an error is a connection's end and not a statement's: the server says so with its last word, or nothing any more.
fn is_lost(error: &DbError) -> bool {
    let DbError::Postgres(error) = error else {
        return false;
    };
    let severity = error.as_db_error().map(tokio_postgres::error::DbError::parsed_severity);
    severity.is_none_or(|severity| matches!(severity, Some(Severity::Fatal | Severity::Panic)))
}

/// Those that read.
pub(super) struct Pool {
    address: Address,
    idle: Mutex<Vec<Session>>,
    turns: Arc<Semaphore>,
}

impl Pool {
    /// Waits until one of the few connections is free.
    pub(super) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        // It is never closed, so there is always one in the end.
        Arc::clone(&self.turns).acquire_owned().await.ok()
    }

    /// Runs a query. One that finds its connection lost is run once more on a new one.
    pub(super) fn read<T>(&self, query: impl Fn(Db<'_>) -> Result<T, DbError>) -> Result<T, DbError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(conn) = idle.filter(|conn| !conn.is_closed()) {
            let result = conn.read(&query);
            if result.is_ok() || !conn.is_closed() {
                self.put_back(conn, result.is_ok());
                return result;
            }
        }
        let conn = Session::open(&self.address, "")?;
        let result = conn.read(&query);
        self.put_back(conn, result.is_ok());
        result
    }

    fn put_back(&self, conn: Session, is_well: bool) {
        // One left inside a transaction by an error would see the past.
        if is_well || conn.batch("ROLLBACK").is_ok() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(conn);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // A connection takes its leave of the server, for which it waits; a task that drops the store must not.
        let idle = std::mem::take(self.idle.get_mut().unwrap_or_else(PoisonError::into_inner));
        std::thread::spawn(move || drop(idle));
    }
}

/// The thread that listens to the other replicas; it ends when this is dropped.
struct Ear {
    _ends: oneshot::Sender<()>,
}

impl Ear {
    fn start(address: Address, own: String, listeners: Listeners) -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (ends, ended) = oneshot::channel();
        let listening = async move {
            loop {
                if let Err(error) = listen(&address, &own, &listeners).await {
                    tracing::warn!("no notifications of the other replicas; work is found when it is due: {error}");
                }
                tokio::time::sleep(LISTEN).await;
            }
        };
        let listen = move || {
            runtime.block_on(async {
                tokio::select! {
                    biased;
                    () = listening => {}
                    _ = ended => {}
                }
            });
        };
        std::thread::Builder::new()
            .name("store-listener".into())
            .spawn(listen)?;
        Ok(Self { _ends: ends })
    }
}

/// Passes on what the others say, until the connection is lost.
async fn listen(address: &Address, own: &str, listeners: &Listeners) -> Result<(), DbError> {
    let (client, mut messages) = address.connect().await?;
    let listening = async {
        client.batch_execute(&format!("LISTEN {CHANNEL}")).await?;
        // What was told before is not told again.
        for stage in Stage::ALL {
            listeners.stages[stage as usize].notify_one();
        }
        loop {
            tokio::time::sleep(LISTEN).await;
            // A connection that is lost without a word shows in this.
            let answered = tokio::time::timeout(LISTEN, client.batch_execute("")).await;
            answered.map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))??;
        }
    };
    let hearing = async {
        while let Some(message) = messages.next().await {
            if let AsyncMessage::Notification(notification) = message? {
                receive(notification.payload(), own, listeners);
            }
        }
        Ok(())
    };
    tokio::select! {
        biased;
        ended = listening => ended,
        ended = hearing => ended,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_of_the_server_s_clock_is_told_from_a_slow_answer() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let reading = |asked, said, answered| Reading {
            asked: at(asked),
            said: at(said),
            answered: at(answered),
        };
        let before = reading(100, 1000, 110);
        for (later, step) in [
            (reading(200, 1095, 201), 0),
            (reading(200, 1101, 201), 0),
            (reading(200, 4600, 201), 3499),
            (reading(200, 0, 201), -1090),
            (reading(200, 1090, 299), 0),
            (reading(200, 1089, 299), -1),
        ] {
            assert_eq!(before.step(&later), SignedDuration::from_secs(step));
        }
    }
}
