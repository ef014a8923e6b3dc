//! The one thread that writes. It commits whatever has queued up as one transaction, so that a hundred webhooks cost
//! one flush of the disk, and answers each of them only after that flush.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, ErrorCode};
use tokio::sync::{Notify, broadcast, mpsc, oneshot};

use crate::clock::{SharedClock, until};
use crate::metrics::Metrics;
use crate::store::{Change, Stage, StoreError};

/// Writes that may wait. A webhook beyond that is told to come again: the queue must not grow without bound while the
/// disk is slow.
pub(super) const QUEUE: usize = 4096;

/// Writes that go into one transaction. More would make the first of them wait without saving much.
const GROUP: usize = 512;

/// What a write may use: the connection inside the transaction, the time, and what is to happen after the commit.
pub(super) struct Txn<'a> {
    pub(super) conn: &'a Connection,
    pub(super) now: Timestamp,
    after: &'a mut AfterCommit,
}

impl Txn<'_> {
    /// Wakes the worker of a stage once this is committed.
    pub(super) fn wake(&mut self, stage: Stage) {
        self.after.wake[stage as usize] = true;
    }

    /// Sorts an error, and remembers one that has cost the whole transaction.
    fn failed(&mut self, error: &rusqlite::Error) -> StoreError {
        let error = store_error(error);
        if self.conn.is_autocommit() {
            self.after.lost.get_or_insert(error.clone());
        }
        error
    }

    /// Tells whoever watches once this is committed.
    pub(super) fn changed(&mut self, change: Change) {
        self.after.changes.push(change);
    }

    /// Counts a state that was left, and how long it had lasted, once this is committed.
    pub(super) fn left(&mut self, state: &'static str, lasted: Duration) {
        self.after.left.push((state, lasted));
    }

    /// Counts a sync that has ended, and how long it had taken, once this is committed.
    pub(super) fn ended(&mut self, outcome: &'static str, took: Duration) {
        self.after.ended.push((outcome, took));
    }
}

#[derive(Default)]
struct AfterCommit {
    wake: [bool; 3],
    changes: Vec<Change>,
    left: Vec<(&'static str, Duration)>,
    ended: Vec<(&'static str, Duration)>,
    /// SQLite gives up the whole transaction on some errors (disk full); this is the first of them.
    lost: Option<StoreError>,
}

/// Whom to tell after a commit.
#[derive(Clone)]
pub(super) struct Listeners {
    pub(super) stages: Arc<[Notify; 3]>,
    pub(super) changes: broadcast::Sender<Change>,
    pub(super) metrics: Arc<Metrics>,
}

/// Tells the caller how it ended, after the commit (`None`) or after its failure.
type Reply = Box<dyn FnOnce(Option<StoreError>) + Send>;
/// Does its work, or is told why it cannot.
type Job = Box<dyn FnOnce(Result<&mut Txn<'_>, StoreError>) -> Reply + Send>;

/// The queue to the writing thread. Dropping it closes the store.
pub(super) struct Writer {
    queue: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(conn: Connection, clock: SharedClock, listeners: Listeners) -> std::io::Result<Self> {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let thread = std::thread::Builder::new().name("store-writer".into()).spawn(move || {
            // A panic inside a job is caught below; one outside would end the thread, and every write would say so.
            run(&conn, &clock, &listeners, jobs);
        })?;
        Ok(Self {
            queue: Some(queue),
            thread: Some(thread),
        })
    }

    /// Runs `work` in a transaction and returns after the commit. Waits for room in the queue.
    pub(super) async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Txn<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        let (job, answer) = job(work);
        let queue = self.queue.as_ref().ok_or(StoreError::Stopping)?;
        queue.send(job).await.map_err(|_| StoreError::Stopping)?;
        answer
            .await
            .unwrap_or(Err(StoreError::Failed("a write was abandoned".into())))
    }

    /// The same, but [`StoreError::Busy`] where the queue is full.
    pub(super) async fn write_if_room<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Txn<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        let (job, answer) = job(work);
        let queue = self.queue.as_ref().ok_or(StoreError::Stopping)?;
        queue.try_send(job).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => StoreError::Busy,
            mpsc::error::TrySendError::Closed(_) => StoreError::Stopping,
        })?;
        answer
            .await
            .unwrap_or(Err(StoreError::Failed("a write was abandoned".into())))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // What is queued is committed first, so that the file is complete when the lock goes.
            let _ = thread.join();
        }
    }
}

fn job<T, F>(work: F) -> (Job, oneshot::Receiver<Result<T, StoreError>>)
where
    T: Send + 'static,
    F: FnOnce(&mut Txn<'_>) -> rusqlite::Result<T> + Send + 'static,
{
    let (answer, receiver) = oneshot::channel();
    let job: Job = Box::new(move |txn| {
        let result = txn.and_then(|txn| savepoint(txn, work).map_err(|error| txn.failed(&error)));
        Box::new(move |failure: Option<StoreError>| {
            let result = failure.map_or(result, Err);
            // The caller may have gone away; what it asked for is done all the same.
            let _ = answer.send(result);
        })
    });
    (job, receiver)
}

/// Runs `work` so that its failure undoes it alone and not what else is in the transaction.
fn savepoint<T>(txn: &mut Txn<'_>, work: impl FnOnce(&mut Txn<'_>) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
    txn.conn.prepare_cached("SAVEPOINT job")?.execute([])?;
    let result = work(txn);
    if result.is_err() && !txn.conn.is_autocommit() {
        txn.conn.prepare_cached("ROLLBACK TO job")?.execute([])?;
    }
    if !txn.conn.is_autocommit() {
        txn.conn.prepare_cached("RELEASE job")?.execute([])?;
    }
    result
}

fn run(conn: &Connection, clock: &SharedClock, listeners: &Listeners, mut jobs: mpsc::Receiver<Job>) {
    let mut group = Vec::with_capacity(GROUP);
    while let Some(first) = jobs.blocking_recv() {
        group.push(first);
        while group.len() < GROUP {
            match jobs.try_recv() {
                Ok(job) => group.push(job),
                Err(_) => break,
            }
        }
        commit_group(conn, clock, listeners, &mut group);
    }
}

fn commit_group(conn: &Connection, clock: &SharedClock, listeners: &Listeners, group: &mut Vec<Job>) {
    let (began, writes) = (clock.now(), group.len());
    let mut after = AfterCommit::default();
    let mut replies = Vec::with_capacity(group.len());
    if let Err(error) = conn.execute_batch("BEGIN IMMEDIATE") {
        after.lost = Some(store_error(&error));
    }
    let mut txn = Txn {
        conn,
        now: whole_micros(began),
        after: &mut after,
    };
    for job in group.drain(..) {
        // What ran after the transaction was lost would be committed by itself and yet be answered with an error.
        let turn = match txn.after.lost.clone() {
            Some(lost) => Err(lost),
            None => Ok(&mut txn),
        };
        match catch_unwind(AssertUnwindSafe(|| job(turn))) {
            Ok(reply) => replies.push(reply),
            // The job's caller learns it from its answer channel, which the panic has dropped.
            Err(_) => {
                // There is no savepoint where the panic came before or after it, and nothing to undo then.
                let undone = conn.execute_batch("ROLLBACK TO job; RELEASE job");
                tracing::error!(undone = undone.is_ok(), "a write panicked");
            }
        }
    }
    let failure = after
        .lost
        .take()
        .or_else(|| conn.execute_batch("COMMIT").err().map(|error| store_error(&error)));
    if failure.is_some() && !conn.is_autocommit() {
        // There is nothing more to be done where even this fails; the next BEGIN will say so.
        let _ = conn.execute_batch("ROLLBACK");
    }
    if failure.is_none() {
        listeners.metrics.commit_seconds.time([], until(began, clock.now()));
        listeners.metrics.commit_writes.size([], writes);
        tell(listeners, after);
    } else {
        listeners.metrics.commits_failed.add();
    }
    for reply in replies {
        reply(failure.clone());
    }
}

fn tell(listeners: &Listeners, after: AfterCommit) {
    for (state, lasted) in after.left {
        listeners.metrics.state_seconds.time([state], lasted);
    }
    for (outcome, took) in after.ended {
        listeners.metrics.sync_seconds.time([outcome], took);
    }
    for (notify, wake) in listeners.stages.iter().zip(after.wake) {
        if wake {
            notify.notify_one();
        }
    }
    for change in after.changes {
        // Nobody may be watching.
        let _ = listeners.changes.send(change);
    }
}

/// Times are stored in microseconds, so they are counted in them: a finer time would come back earlier than it was.
pub(super) fn whole_micros(at: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at)
}

/// Sorts what SQLite says.
pub(super) fn store_error(error: &rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::DiskFull(error.to_string()),
        // A limit on the size of files, or a broken disk: both show as failed writes.
        Some(ErrorCode::SystemIoFailure) => StoreError::DiskFull(format!("it cannot be written to ({error})")),
        _ => StoreError::Failed(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::clock::SystemClock;

    #[tokio::test]
    async fn a_write_that_panics_is_undone_and_costs_the_others_nothing() {
        let conn = Connection::open(Path::new(":memory:")).unwrap();
        conn.execute_batch("CREATE TABLE t (n INTEGER)").unwrap();
        let (changes, _) = broadcast::channel(1);
        let listeners = Listeners {
            stages: Arc::new(std::array::from_fn(|_| Notify::new())),
            changes,
            metrics: Arc::default(),
        };
        let writer = Writer::start(conn, Arc::new(SystemClock::new()), listeners).unwrap();
        let insert = |n: i64| move |txn: &mut Txn<'_>| txn.conn.execute("INSERT INTO t VALUES (?1)", [n]);
        let panics = writer.write::<(), _>(move |txn| {
            insert(2)(txn)?;
            panic!("on purpose");
        });
        let (first, panicked, last) = tokio::join!(writer.write(insert(1)), panics, writer.write(insert(3)));
        assert!(first.is_ok() && panicked.is_err() && last.is_ok());
        let sum = writer.write(|txn| {
            txn.conn
                .query_row("SELECT sum(n) FROM t", [], |row| row.get::<_, i64>(0))
        });
        assert_eq!(sum.await, Ok(4));
    }
}
