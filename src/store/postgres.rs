//! The engine for several replicas: one PostgreSQL database that they share. Each replica has one connection that writes,
//! a few that read, and one that listens.
//!
//! All writes of all replicas go one after the other, under a lock of the whole database: what is true of one writing
//! thread is true of all of them, and a transaction carries whatever has queued up, so that the lock is taken seldom. A
//! replica that hangs inside a transaction loses its connection, and with it the lock, within seconds.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use postgres::error::{Severity, SqlState};
use postgres::types::ToSql;
use postgres::{Client, Row, Statement};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::sql::db::{Arg, Db, DbError, corrupt};
use super::sql::writer::{AfterCommit, Commits, Engine, Listeners};
use super::sql::{Reader, SqlStore, Time, listeners, whole_micros};
use super::{Change, Stage, StoreSettings, migrations};
use crate::clock::SharedClock;
use crate::database::Address;
use crate::domain::lead::LeadId;
use crate::domain::state::State;
use crate::domain::sync::SyncId;
use crate::metrics::Metrics;
use crate::random;

/// What holds in every transaction, whatever the server's own default. It is set with each: behind a pooler, what was set for
/// a session holds for another's.
///
/// - A commit is on the server's disk before it is answered.
/// - A replica that hangs inside a transaction loses its connection, and with it the lock.
/// - The server ends a statement after the writer's `STORE_TIMEOUT` is over, and before Sanity gives a webhook up (30 s).
///   So a write that is slow and does not hang is done, though its caller was told to come again, and finds it done. Were it
///   the other way round the server would undo it, and what comes again would be as slow, and undone again, for ever.
macro_rules! settings {
    () => {
        "SET LOCAL synchronous_commit = on; SET LOCAL idle_in_transaction_session_timeout = '10s';
        SET LOCAL lock_timeout = '22s'; SET LOCAL statement_timeout = '25s'; SET LOCAL client_min_messages = warning;"
    };
}

/// Begins a transaction that no other replica's runs beside. The number is ours: "bigin-sync" by the keys of a telephone.
/// Each statement sees what was committed before it, whatever the database's own default: under another the transaction
/// would see what there was before it waited for the lock.
pub(super) const BEGIN: &str = concat!(
    "BEGIN ISOLATION LEVEL READ COMMITTED;",
    settings!(),
    "SELECT pg_advisory_xact_lock(2444679622)"
);

/// Begins a transaction whose queries all see one moment.
const READ: &str = concat!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;", settings!());

/// Connections that read, at most.
const READERS: usize = 4;

/// Where replicas tell each other what they have committed.
const CHANNEL: &str = "bigin_sync";

/// Longest text of one message to the others; PostgreSQL takes 8000 bytes.
const MESSAGE: usize = 7000;

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
) -> Result<SqlStore, OpenError> {
    let unreachable = |error: DbError| OpenError::Unreachable {
        at: address.to_string(),
        reason: error.to_string(),
    };
    let conn = Connection::open(address).map_err(unreachable)?;
    migrations::migrate(Db::Postgres(&conn)).map_err(|reason| OpenError::Unusable {
        at: address.to_string(),
        reason,
    })?;
    let time = if clock.stands_still() {
        Time::Process(SharedClock::clone(&clock))
    } else {
        Time::Server
    };
    let name = format!("{:016x}", u64::from_le_bytes(random::bytes()));
    let listeners = listeners(metrics);
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
    Ok(SqlStore::start(
        engine,
        Reader::Postgres(Arc::new(pool)),
        (time, clock),
        settings,
        listeners,
        None,
        Commits::Thread,
    )?)
}

/// What a PostgreSQL error says, without the values that its details may name.
pub(super) fn told(error: &postgres::Error) -> String {
    if let Some(db) = error.as_db_error() {
        return format!("{} (SQLSTATE {})", db.message(), db.code().code());
    }
    let mut said = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        said = format!("{said}: {error}");
        cause = error.source();
    }
    said
}

/// What time the server has it.
pub(super) fn server_time(db: Db<'_>) -> Result<Timestamp, DbError> {
    let sql = "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT) AS now";
    db.one(sql, &[], |row| row.get("now"))
}

/// One connection with its prepared statements.
pub(super) struct Connection {
    client: RefCell<Client>,
    statements: RefCell<HashMap<String, Statement>>,
    /// Who is named in messages to the others.
    name: RefCell<String>,
    /// It is of no more use, though it is not lost.
    is_spoilt: Cell<bool>,
}

impl Connection {
    pub(super) fn open(address: &Address) -> Result<Self, DbError> {
        Ok(Self {
            client: RefCell::new(address.connect()?),
            statements: RefCell::default(),
            name: RefCell::default(),
            is_spoilt: Cell::default(),
        })
    }

    fn prepared(&self, sql: &str) -> Result<Statement, postgres::Error> {
        if let Some(statement) = self.statements.borrow().get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.borrow_mut().prepare(&dialect(sql))?;
        self.statements.borrow_mut().insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    pub(super) fn execute(&self, sql: &str, args: &[Arg<'_>]) -> Result<usize, postgres::Error> {
        let changed = self.run(sql, |client, statement| client.execute(statement, &pointers(args)))?;
        Ok(usize::try_from(changed).unwrap_or(usize::MAX))
    }

    pub(super) fn query(&self, sql: &str, args: &[Arg<'_>]) -> Result<Vec<Row>, postgres::Error> {
        self.run(sql, |client, statement| client.query(statement, &pointers(args)))
    }

    fn run<T>(
        &self,
        sql: &str,
        run: impl FnOnce(&mut Client, &Statement) -> Result<T, postgres::Error>,
    ) -> Result<T, postgres::Error> {
        let statement = self.prepared(sql)?;
        let result = run(&mut self.client.borrow_mut(), &statement);
        // Statements that were prepared before a newer replica added a column, or a server that has become another's standby:
        // a new connection has neither.
        let spoils =
            |code: &SqlState| [SqlState::FEATURE_NOT_SUPPORTED, SqlState::READ_ONLY_SQL_TRANSACTION].contains(code);
        if result.as_ref().is_err_and(|error| error.code().is_some_and(spoils)) {
            self.is_spoilt.set(true);
        }
        result
    }

    pub(super) fn batch(&self, sql: &str) -> Result<(), postgres::Error> {
        self.client.borrow_mut().batch_execute(sql)
    }

    /// Runs queries that all see one moment. Where one fails, the transaction is left open.
    pub(super) fn read<T>(&self, query: impl FnOnce(Db<'_>) -> Result<T, DbError>) -> Result<T, DbError> {
        self.batch(READ)?;
        let found = query(Db::Postgres(self))?;
        self.batch("COMMIT")?;
        Ok(found)
    }

    /// Whether another has to be opened in its place.
    pub(super) fn is_closed(&self) -> bool {
        self.is_spoilt.get() || self.client.borrow().is_closed()
    }

    /// Tells the other replicas, if this is committed.
    pub(super) fn announce(&self, after: &AfterCommit) -> Result<(), postgres::Error> {
        for message in messages(&self.name.borrow(), after) {
            self.execute("SELECT pg_notify(?1, ?2)", &[CHANNEL.into(), (&message).into()])?;
        }
        Ok(())
    }
}

/// A statement as PostgreSQL has it: `$1` instead of `?1`, and no word on which index to use.
fn dialect(sql: &str) -> String {
    let mut words = sql.replace('?', "$");
    while let Some(begin) = words.find("INDEXED BY ") {
        let name = begin + "INDEXED BY ".len();
        let end = words[name..]
            .find([' ', '\n', ')'])
            .map_or(words.len(), |length| name + length);
        words.replace_range(begin..end, "");
    }
    words
}

fn pointers<'a>(args: &'a [Arg<'_>]) -> Vec<&'a (dyn ToSql + Sync)> {
    args.iter().map(|arg| -> &(dyn ToSql + Sync) { arg }).collect()
}

/// The one that writes.
struct Writing {
    address: Address,
    conn: Option<Connection>,
    time: Time,
    clock: SharedClock,
    last: Option<Reading>,
    name: String,
    _ear: Ear,
}

impl Writing {
    fn try_begin(&mut self) -> Result<(), DbError> {
        let conn = match self.conn.take().filter(|conn| !conn.is_closed()) {
            Some(conn) => conn,
            None => Connection::open(&self.address)?,
        };
        conn.name.borrow_mut().clone_from(&self.name);
        conn.batch(BEGIN)?;
        self.conn = Some(conn);
        Ok(())
    }
}

impl Engine for Writing {
    fn begin(&mut self) -> Result<(Db<'_>, Timestamp), DbError> {
        // A connection that was lost while nothing was written shows only now; that it is lost is not worth a refusal.
        if let Err(error) = self.try_begin() {
            if !is_lost(&error) {
                return Err(error);
            }
            self.try_begin()?;
        }
        let Some(conn) = &self.conn else {
            return Err(corrupt("the connection", "none"));
        };
        let db = Db::Postgres(conn);
        let now = match &self.time {
            Time::Server => {
                let asked = self.clock.now();
                let said = server_time(db)?;
                let answered = self.clock.now();
                let reading = Reading { asked, said, answered };
                if let Some(last) = self.last.replace(reading) {
                    warn_of_step(last.step(&reading));
                }
                said
            }
            Time::Process(clock) => whole_micros(clock.now()),
        };
        Ok((db, now))
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
    let severity = error.as_db_error().map(postgres::error::DbError::parsed_severity);
    severity.is_none_or(|severity| matches!(severity, Some(Severity::Fatal | Severity::Panic)))
}

/// Those that read.
pub(super) struct Pool {
    address: Address,
    idle: Mutex<Vec<Connection>>,
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
        let conn = Connection::open(&self.address)?;
        let result = conn.read(&query);
        self.put_back(conn, result.is_ok());
        result
    }

    fn put_back(&self, conn: Connection, is_well: bool) {
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

/// What one commit is worth telling the other replicas: whose it is, the stages to wake, and the changes of state, in as
/// many messages as they need. A wake-up only: a worker that misses one finds the work by its own clock.
fn messages(name: &str, after: &AfterCommit) -> Vec<String> {
    let wake: String = after.wake.iter().map(|wake| if *wake { '1' } else { '0' }).collect();
    let mut messages = Vec::new();
    let mut message = format!("{name} {wake}");
    for change in &after.changes {
        let line = format!("\n{} {} {}", change.sync, change.state, change.lead);
        if message.len() + line.len() > MESSAGE {
            messages.push(std::mem::replace(&mut message, format!("{name} 000")));
        }
        message.push_str(&line);
    }
    if after.wake.contains(&true) || !after.changes.is_empty() {
        messages.push(message);
    }
    messages
}

/// Passes on what another replica has told. What makes no sense comes from another version, and is left.
fn hear(message: &str, own: &str, listeners: &Listeners) {
    let mut lines = message.lines();
    let Some((name, wake)) = lines.next().and_then(|line| line.split_once(' ')) else {
        return;
    };
    if name == own {
        return;
    }
    for (stage, wake) in listeners.stages.iter().zip(wake.chars()) {
        if wake == '1' {
            stage.notify_one();
        }
    }
    for line in lines {
        let mut words = line.splitn(3, ' ');
        let (Some(sync), Some(state), Some(lead)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        let state = State::LABELS.into_iter().find(|label| *label == state);
        if let (Ok(sync), Some(state), Ok(lead)) = (sync.parse(), state, LeadId::parse(lead)) {
            // There may be no receiver.
            let _ = listeners.changes.send(Change {
                sync: SyncId(sync),
                lead,
                state,
            });
        }
    }
}

/// The thread that listens to the other replicas; ends soon after it is dropped.
struct Ear(Arc<AtomicBool>);

impl Ear {
    fn start(address: Address, own: String, listeners: Listeners) -> std::io::Result<Self> {
        let ending = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&ending);
        std::thread::Builder::new()
            .name("store-listener".into())
            .spawn(move || {
                while !ended.load(Ordering::Relaxed) {
                    if let Err(error) = listen(&address, &own, &listeners, &ended) {
                        tracing::warn!(
                            "no notifications of the other replicas; work is found when it is due: {}",
                            told(&error)
                        );
                        std::thread::sleep(LISTEN);
                    }
                }
            })?;
        Ok(Self(ending))
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn listen(address: &Address, own: &str, listeners: &Listeners, ended: &AtomicBool) -> Result<(), postgres::Error> {
    use postgres::fallible_iterator::FallibleIterator as _;
    let mut client = address.connect()?;
    client.batch_execute(&format!("LISTEN {CHANNEL}"))?;
    // What was told before is not told again.
    for stage in Stage::ALL {
        listeners.stages[stage as usize].notify_one();
    }
    while !ended.load(Ordering::Relaxed) {
        while let Some(told) = client.notifications().timeout_iter(LISTEN).next()? {
            hear(told.payload(), own, listeners);
        }
        // A connection that is lost without a word shows in this.
        client.is_valid(LISTEN)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
