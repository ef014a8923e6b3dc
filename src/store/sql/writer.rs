//! The one thread that writes. It commits whatever has queued up as one transaction, so that a hundred webhooks cost
//! one flush of the disk, and answers each of them only after that flush.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, broadcast, mpsc, oneshot};

use super::db::{Db, DbError};
use crate::clock::{SharedClock, until};
use crate::metrics::Metrics;
use crate::store::{Change, Stage, StoreError};

/// Writes that may wait. A webhook beyond that is told to come again: the queue must not grow without bound while the
/// disk is slow.
pub(super) const QUEUE: usize = 4096;

/// Writes that go into one transaction. More would make the first of them wait without saving much.
const GROUP: usize = 512;

/// What writes to an engine's database, one transaction after the other.
pub(in crate::store) trait Engine: Send + 'static {
    /// Begins a transaction that no other runs beside, and says what time it is in it.
    fn begin(&mut self) -> Result<(Db<'_>, Timestamp), DbError>;
}

/// What a write may use: the connection inside the transaction, the time, and what is to happen after the commit.
pub(in crate::store) struct Txn<'a> {
    pub(in crate::store) db: Db<'a>,
    pub(super) now: Timestamp,
    after: &'a mut AfterCommit,
}

impl Txn<'_> {
    /// Wakes the worker of a stage once this is committed.
    pub(in crate::store) fn wake(&mut self, stage: Stage) {
        self.after.wake[stage as usize] = true;
    }

    /// Sorts an error, and remembers one that has cost the whole transaction.
    fn failed(&mut self, error: &DbError) -> StoreError {
        let error = StoreError::from(error);
        if self.db.has_no_transaction() {
            self.after.lost.get_or_insert(error.clone());
        }
        error
    }

    /// Tells whoever watches once this is committed.
    pub(in crate::store) fn changed(&mut self, change: Change) {
        self.after.changes.push(change);
    }

    /// Counts a state that was left, and how long it had lasted, once this is committed.
    pub(in crate::store) fn left(&mut self, state: &'static str, lasted: Duration) {
        self.after.left.push((state, lasted));
    }

    /// Counts a sync that has ended, and how long it had taken, once this is committed.
    pub(in crate::store) fn ended(&mut self, outcome: &'static str, took: Duration) {
        self.after.ended.push((outcome, took));
    }
}

#[derive(Default)]
pub(in crate::store) struct AfterCommit {
    pub(in crate::store) wake: [bool; 3],
    pub(in crate::store) changes: Vec<Change>,
    left: Vec<(&'static str, Duration)>,
    ended: Vec<(&'static str, Duration)>,
    /// The first error that has cost the whole transaction.
    lost: Option<StoreError>,
}

/// Whom to tell after a commit.
#[derive(Clone)]
pub(in crate::store) struct Listeners {
    pub(in crate::store) stages: Arc<[Notify; 3]>,
    pub(in crate::store) changes: broadcast::Sender<Change>,
    pub(in crate::store) metrics: Arc<Metrics>,
}

/// Tells the caller how it ended, after the commit (`None`) or after its failure.
type Reply = Box<dyn FnOnce(Option<StoreError>) + Send>;
/// Does its work, or is told why it cannot.
type Job = Box<dyn FnOnce(Result<&mut Txn<'_>, StoreError>) -> Reply + Send>;

/// The queue to the writing thread. Dropping it closes the store.
pub(in crate::store) struct Writer {
    queue: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(in crate::store) fn start(
        mut engine: impl Engine,
        clock: SharedClock,
        listeners: Listeners,
    ) -> std::io::Result<Self> {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let thread = std::thread::Builder::new().name("store-writer".into()).spawn(move || {
            // A panic inside a job is caught below; one outside would end the thread, and every write would say so.
            run(&mut engine, &clock, &listeners, jobs);
        })?;
        Ok(Self {
            queue: Some(queue),
            thread: Some(thread),
        })
    }

    /// Runs `work` in a transaction and returns after the commit. Waits for room in the queue.
    pub(in crate::store) async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Txn<'_>) -> Result<T, DbError> + Send + 'static,
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
        F: FnOnce(&mut Txn<'_>) -> Result<T, DbError> + Send + 'static,
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
    F: FnOnce(&mut Txn<'_>) -> Result<T, DbError> + Send + 'static,
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
fn savepoint<T>(txn: &mut Txn<'_>, work: impl FnOnce(&mut Txn<'_>) -> Result<T, DbError>) -> Result<T, DbError> {
    txn.db.execute("SAVEPOINT job", &[])?;
    let result = work(txn);
    if result.is_err() && !txn.db.has_no_transaction() {
        txn.db.execute("ROLLBACK TO job", &[])?;
    }
    if !txn.db.has_no_transaction() {
        txn.db.execute("RELEASE job", &[])?;
    }
    result
}

fn run(engine: &mut impl Engine, clock: &SharedClock, listeners: &Listeners, mut jobs: mpsc::Receiver<Job>) {
    let mut group = Vec::with_capacity(GROUP);
    while let Some(first) = jobs.blocking_recv() {
        group.push(first);
        while group.len() < GROUP {
            match jobs.try_recv() {
                Ok(job) => group.push(job),
                Err(_) => break,
            }
        }
        commit_group(engine, clock, listeners, &mut group);
    }
}

fn commit_group(engine: &mut impl Engine, clock: &SharedClock, listeners: &Listeners, group: &mut Vec<Job>) {
    let (began, writes) = (clock.now(), group.len());
    let mut after = AfterCommit::default();
    let (replies, failure) = match engine.begin() {
        Ok((db, now)) => {
            let replies = work_through(db, now, &mut after, group);
            (replies, commit(db, &mut after).err())
        }
        Err(error) => {
            let error = StoreError::from(&error);
            let refused = group.drain(..).map(|job| job(Err(error.clone()))).collect();
            (refused, Some(error))
        }
    };
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

fn work_through(db: Db<'_>, now: Timestamp, after: &mut AfterCommit, group: &mut Vec<Job>) -> Vec<Reply> {
    let mut replies = Vec::with_capacity(group.len());
    let mut txn = Txn { db, now, after };
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
                let undone = db.batch("ROLLBACK TO job; RELEASE job");
                tracing::error!(undone = undone.is_ok(), "a write panicked");
            }
        }
    }
    replies
}

fn commit(db: Db<'_>, after: &mut AfterCommit) -> Result<(), StoreError> {
    let committed = match after.lost.take() {
        Some(lost) => Err(lost),
        None => db
            .announce(after)
            .and_then(|()| db.batch("COMMIT"))
            .map_err(|error| StoreError::from(&error)),
    };
    if committed.is_err() && !db.has_no_transaction() {
        // There is nothing more to be done where even this fails; the next transaction will say so.
        let _ = db.batch("ROLLBACK");
    }
    committed
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

#[cfg(test)]
mod tests {
    use super::super::db::args;
    use super::*;
    use crate::clock::SystemClock;
    use crate::store::sqlite;

    #[tokio::test]
    async fn a_write_that_panics_is_undone_and_costs_the_others_nothing() {
        let conn = rusqlite::Connection::open_in_memory().unwrap();
        conn.execute_batch("CREATE TABLE t (n INTEGER)").unwrap();
        let (changes, _) = broadcast::channel(1);
        let listeners = Listeners {
            stages: Arc::new(std::array::from_fn(|_| Notify::new())),
            changes,
            metrics: Arc::default(),
        };
        let clock: SharedClock = Arc::new(SystemClock::new());
        let writer = Writer::start(sqlite::engine(conn, &clock), clock, listeners).unwrap();
        let insert = |n: i64| move |txn: &mut Txn<'_>| txn.db.execute("INSERT INTO t VALUES (?1)", args![n]);
        let panics = writer.write::<(), _>(move |txn| {
            insert(2)(txn)?;
            panic!("on purpose");
        });
        let (first, panicked, last) = tokio::join!(writer.write(insert(1)), panics, writer.write(insert(3)));
        assert!(first.is_ok() && panicked.is_err() && last.is_ok());
        let sum = writer.write(|txn| {
            txn.db
                .one("SELECT sum(n) AS sum FROM t", &[], |row| row.get::<i64>("sum"))
        });
        assert_eq!(sum.await, Ok(4));
    }
}
