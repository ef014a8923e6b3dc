//! The one thread that writes (in the simulator, a task). It commits whatever has queued up as one transaction, so that a hundred webhooks cost
//! one flush of the disk, and answers each of them only after that flush.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};

use super::db::{Db, DbError};
use super::notifications::{AfterCommit, Listeners, messages};
use super::txn::Txn;
use super::{Accepted, Delivery, StoreError, counters, intake};
use crate::clock::{SharedClock, until};
use crate::domain::lead::LeadId;

/// Writes that may wait. A webhook beyond that is told to come again: the queue must not grow without bound while the
/// disk is slow.
pub(super) const QUEUE: usize = 4096;

/// Timeout of a caller that waits for the database. A server that hangs does not report it, and Sanity gives a webhook up after
/// 30 s. Shorter than the server's `statement_timeout`: a statement that is merely slow is completed, and the next request
/// finds it done.
pub(super) const STORE_TIMEOUT: Duration = Duration::from_secs(20);

/// Writes that go into one transaction. More would make the first of them wait without saving much.
const GROUP: usize = 512;

/// Where a transaction had at least this many writes, the next waits for this long until it begins: those who were answered
/// come again in that time, and a page of the file that many of them change is written once instead of several times. Of
/// writes that come alone only the first after such a crowd waits.
const CROWD: usize = 8;
const CROWDED: Duration = Duration::from_micros(300);

/// Where transactions run.
#[derive(Clone)]
pub enum Commits {
    /// On a thread of their own: a disk takes its time.
    Thread,
    /// In a task, and reads in the task of their caller, so that one thread does everything in one order. The gate is
    /// awaited before each transaction, and again before its writers are answered: a simulated disk is slow there, and a
    /// simulated process dies there.
    Task(Gate),
}

/// See [`Commits::Task`].
pub type Gate = Arc<dyn Fn(Step) -> BoxFuture<'static, ()> + Send + Sync>;

/// Steps of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing of it is on disk.
    Begin,
    /// All of it is on disk, and no writer has been answered.
    Committed,
}

/// What writes to an engine's database, one transaction after the other.
pub(super) trait Engine: Send + 'static {
    /// Begins a transaction.
    fn begin(&mut self, scope: &Scope) -> Result<Begun<'_>, DbError>;

    /// Brings the database itself up to date, where a log beside it has a part.
    fn checkpoint(&mut self) {}
}

/// What a transaction is begun for.
pub(super) enum Scope {
    /// To store webhooks of these leads, and nothing else: others of this kind may run beside it, for other leads.
    Webhooks(BTreeSet<LeadId>),
    /// For anything: no other runs beside it.
    Anything,
}

/// What holds in a transaction.
pub(super) struct Begun<'a> {
    pub(super) db: Db<'a>,
    /// What time it is in it.
    pub(super) now: Timestamp,
    /// Whether the operator has paused all work.
    pub(super) is_paused: bool,
}

/// A queued write, with the channel for its result.
trait Job: Send {
    /// The webhook that is to be stored, if this is one. Those of a transaction are stored together, and [`Job::stored`] is told.
    fn delivery(&self) -> Option<&Delivery> {
        None
    }

    fn stored(&mut self, _: Accepted) {}

    /// Whether the database itself is to be brought up to date after the commit.
    fn wants_checkpoint(&self) -> bool {
        false
    }

    /// Does its work. Where all of that is undone, it is called again.
    fn run(&mut self, txn: &mut Txn<'_>) -> Result<(), StoreError>;

    /// What it was sent to do has failed, and is undone.
    fn failed(&mut self, _: StoreError) {}

    /// Tells the caller how it ended: after the commit (`None`), or why there was none.
    fn reply(self: Box<Self>, failure: Option<StoreError>);
}

struct Write<T, F> {
    work: F,
    result: Result<T, StoreError>,
    answer: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Job for Write<T, F>
where
    T: Send,
    F: Fn(&mut Txn<'_>) -> Result<T, DbError> + Send,
{
    fn run(&mut self, txn: &mut Txn<'_>) -> Result<(), StoreError> {
        self.result = Ok((self.work)(txn).map_err(|error| StoreError::from(&error))?);
        Ok(())
    }

    fn failed(&mut self, error: StoreError) {
        self.result = Err(error);
    }

    fn reply(self: Box<Self>, failure: Option<StoreError>) {
        // The caller may have gone away; what it asked for is done all the same.
        let _ = self.answer.send(failure.map_or(self.result, Err));
    }
}

struct Intake {
    delivery: Delivery,
    result: Result<Accepted, StoreError>,
    answer: oneshot::Sender<Result<Accepted, StoreError>>,
}

impl Job for Intake {
    fn delivery(&self) -> Option<&Delivery> {
        Some(&self.delivery)
    }

    fn stored(&mut self, accepted: Accepted) {
        self.result = Ok(accepted);
    }

    fn run(&mut self, txn: &mut Txn<'_>) -> Result<(), StoreError> {
        let accepted = intake::accept_all(txn, &[&self.delivery]).map_err(|error| StoreError::from(&error))?;
        self.result = accepted.first().copied().ok_or_else(abandoned);
        Ok(())
    }

    fn failed(&mut self, error: StoreError) {
        self.result = Err(error);
    }

    fn reply(self: Box<Self>, failure: Option<StoreError>) {
        let _ = self.answer.send(failure.map_or(self.result, Err));
    }
}

struct Checkpoint(oneshot::Sender<()>);

impl Job for Checkpoint {
    fn wants_checkpoint(&self) -> bool {
        true
    }

    fn run(&mut self, _: &mut Txn<'_>) -> Result<(), StoreError> {
        Ok(())
    }

    fn reply(self: Box<Self>, _: Option<StoreError>) {
        let _ = self.0.send(());
    }
}

/// The answer, if it comes within [`STORE_TIMEOUT`].
pub(super) async fn in_time<T>(answer: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    tokio::time::timeout(STORE_TIMEOUT, answer).await.map_err(|_| hangs())?
}

/// It has not answered within [`STORE_TIMEOUT`].
pub(super) fn hangs() -> StoreError {
    StoreError::Failed(format!("it has not answered for {} s", STORE_TIMEOUT.as_secs()))
}

fn abandoned() -> StoreError {
    StoreError::Failed("a write was abandoned".into())
}

/// The queue to the writing thread. Dropping it closes the store.
pub(super) struct Writer {
    queue: Option<mpsc::Sender<Box<dyn Job>>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Within a runtime, where `commits` are those of a task.
    pub(super) fn start(
        mut engine: impl Engine,
        clock: SharedClock,
        listeners: Listeners,
        commits: Commits,
    ) -> std::io::Result<Self> {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let thread = match commits {
            // A panic inside a job is caught below; one outside would end the thread, and every write would say so.
            Commits::Thread => Some(
                std::thread::Builder::new()
                    .name("store-writer".into())
                    .spawn(move || run(&mut engine, &clock, &listeners, jobs))?,
            ),
            Commits::Task(gate) => {
                tokio::spawn(run_as_task(engine, clock, listeners, jobs, gate));
                None
            }
        };
        Ok(Self {
            queue: Some(queue),
            thread,
        })
    }

    /// Runs `work` in a transaction and returns after the commit. Waits for room in the queue. `work` is run again where a
    /// neighbour in the transaction has failed, after everything was undone.
    pub(super) async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Fn(&mut Txn<'_>) -> Result<T, DbError> + Send + 'static,
    {
        let (job, answer) = job(work);
        let queue = self.queue.as_ref().ok_or(StoreError::Stopping)?;
        queue.send(job).await.map_err(|_| StoreError::Stopping)?;
        answer.await.unwrap_or_else(|_| Err(abandoned()))
    }

    /// The same for a caller that must not wait for long: [`StoreError::Busy`] where the queue is full, and an error where the
    /// database does not answer in time. What has queued up is done all the same when it does.
    pub(super) async fn write_if_room<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Fn(&mut Txn<'_>) -> Result<T, DbError> + Send + 'static,
    {
        in_time(self.queue_if_room(work)?).await
    }

    /// The same; the caller may await the result, for as long as it likes.
    pub(super) fn queue_if_room<T, F>(
        &self,
        work: F,
    ) -> Result<impl Future<Output = Result<T, StoreError>> + use<T, F>, StoreError>
    where
        T: Send + 'static,
        F: Fn(&mut Txn<'_>) -> Result<T, DbError> + Send + 'static,
    {
        let (job, answer) = job(work);
        self.queue_now(job)?;
        Ok(async move { answer.await.unwrap_or_else(|_| Err(abandoned())) })
    }

    /// Stores a webhook, as [`Writer::write_if_room`] writes.
    pub(super) async fn store(&self, delivery: Delivery) -> Result<Accepted, StoreError> {
        let (answer, receiver) = oneshot::channel();
        self.queue_now(Box::new(Intake {
            delivery,
            result: Err(abandoned()),
            answer,
        }))?;
        in_time(async { receiver.await.unwrap_or_else(|_| Err(abandoned())) }).await
    }

    /// Brings the database itself up to date with all that was queued before.
    pub(super) async fn checkpoint(&self) {
        let (done, is_done) = oneshot::channel();
        if self.queue_now(Box::new(Checkpoint(done))).is_ok() {
            let _ = is_done.await;
        }
    }

    fn queue_now(&self, job: Box<dyn Job>) -> Result<(), StoreError> {
        let queue = self.queue.as_ref().ok_or(StoreError::Stopping)?;
        queue.try_send(job).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => StoreError::Busy,
            mpsc::error::TrySendError::Closed(_) => StoreError::Stopping,
        })
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

fn job<T, F>(work: F) -> (Box<dyn Job>, oneshot::Receiver<Result<T, StoreError>>)
where
    T: Send + 'static,
    F: Fn(&mut Txn<'_>) -> Result<T, DbError> + Send + 'static,
{
    let (answer, receiver) = oneshot::channel();
    let write = Write {
        work,
        result: Err(abandoned()),
        answer,
    };
    (Box::new(write), receiver)
}

fn run(engine: &mut impl Engine, clock: &SharedClock, listeners: &Listeners, mut jobs: mpsc::Receiver<Box<dyn Job>>) {
    let mut group = Vec::with_capacity(GROUP);
    let mut crowded = false;
    while let Some(first) = jobs.blocking_recv() {
        group.push(first);
        if crowded {
            std::thread::sleep(CROWDED);
        }
        fill(&mut group, &mut jobs);
        crowded = group.len() >= CROWD;
        let committed = commit_group(engine, clock, listeners, &mut group);
        answer(listeners, &mut group, committed);
    }
}

async fn run_as_task(
    mut engine: impl Engine,
    clock: SharedClock,
    listeners: Listeners,
    mut jobs: mpsc::Receiver<Box<dyn Job>>,
    gate: Gate,
) {
    let mut group = Vec::new();
    while let Some(first) = jobs.recv().await {
        group.push(first);
        gate(Step::Begin).await;
        fill(&mut group, &mut jobs);
        let committed = commit_group(&mut engine, &clock, &listeners, &mut group);
        gate(Step::Committed).await;
        answer(&listeners, &mut group, committed);
    }
}

/// What has queued up until now goes along.
fn fill(group: &mut Vec<Box<dyn Job>>, jobs: &mut mpsc::Receiver<Box<dyn Job>>) {
    while group.len() < GROUP {
        match jobs.try_recv() {
            Ok(job) => group.push(job),
            Err(_) => break,
        }
    }
}

fn commit_group(
    engine: &mut impl Engine,
    clock: &SharedClock,
    listeners: &Listeners,
    group: &mut [Box<dyn Job>],
) -> Result<AfterCommit, StoreError> {
    let (began, writes) = (clock.now(), group.len());
    let scope = scope_of(group);
    let committed = match transaction(engine, &scope, group, all_together) {
        Err(Failure::OfOne(error)) => {
            tracing::warn!("a write failed; it and those beside it are run again, each by itself: {error}");
            transaction(engine, &Scope::Anything, group, each_by_itself)
        }
        ended => ended,
    };
    match committed {
        Ok(after) => {
            if group.iter().any(|job| job.wants_checkpoint()) {
                engine.checkpoint();
            }
            listeners.metrics.commit_seconds.time([], until(began, clock.now()));
            listeners.metrics.commit_writes.size([], writes);
            Ok(after)
        }
        Err(Failure::OfOne(error) | Failure::OfAll(error)) => Err(error),
    }
}

fn answer(listeners: &Listeners, group: &mut Vec<Box<dyn Job>>, committed: Result<AfterCommit, StoreError>) {
    let failure = match committed {
        Ok(after) => {
            tell(listeners, after);
            None
        }
        Err(error) => {
            listeners.metrics.commits_failed.add();
            Some(error)
        }
    };
    for job in group.drain(..) {
        job.reply(failure.clone());
    }
}

fn scope_of(group: &[Box<dyn Job>]) -> Scope {
    let leads = group
        .iter()
        .map(|job| job.delivery().map(|delivery| delivery.lead.clone()));
    leads.collect::<Option<_>>().map_or(Scope::Anything, Scope::Webhooks)
}

/// Why nothing was committed.
enum Failure {
    /// One of the writes failed, so that all of them were undone.
    OfOne(StoreError),
    /// The transaction was lost.
    OfAll(StoreError),
}

impl From<DbError> for Failure {
    fn from(error: DbError) -> Self {
        Self::OfAll(StoreError::from(&error))
    }
}

type Attempt = fn(&mut Txn<'_>, &mut [Box<dyn Job>]) -> Result<(), Failure>;

fn transaction(
    engine: &mut impl Engine,
    scope: &Scope,
    group: &mut [Box<dyn Job>],
    attempt: Attempt,
) -> Result<AfterCommit, Failure> {
    let Begun { db, now, is_paused } = engine.begin(scope)?;
    let mut txn = Txn {
        db,
        now,
        is_paused,
        after: AfterCommit::default(),
    };
    let committed = attempt(&mut txn, group).and_then(|()| {
        commit(&txn).map_err(|error| match db {
            // What was sent without waiting, and has failed. (A commit that is lost with the connection may be done.)
            Db::Postgres(session) if !session.is_closed() => Failure::OfOne(StoreError::from(&error)),
            Db::Postgres(_) | Db::Sqlite(_) => Failure::from(error),
        })
    });
    if committed.is_err() && !db.has_no_transaction() {
        // There is nothing more to be done where even this fails; the next transaction will say so.
        let _ = db.batch("ROLLBACK");
    }
    committed.map(|()| txn.after)
}

/// Nearly always no write fails, and then none needs a guard of its own: a savepoint would keep a copy of every page that
/// the write changes, which costs more than the write.
fn all_together(txn: &mut Txn<'_>, group: &mut [Box<dyn Job>]) -> Result<(), Failure> {
    // In the order of the queue: a webhook must not come before a cancellation that came before it.
    for run in group.chunk_by_mut(|one, next| one.delivery().is_some() && next.delivery().is_some()) {
        let deliveries: Vec<&Delivery> = run.iter().filter_map(|job| job.delivery()).collect();
        if deliveries.is_empty() {
            for job in run {
                caught(|| job.run(txn)).map_err(Failure::OfOne)?;
            }
            continue;
        }
        let accepted = caught(|| intake::accept_all(txn, &deliveries).map_err(|error| StoreError::from(&error)));
        let accepted = accepted.map_err(Failure::OfOne)?;
        run.iter_mut()
            .zip(accepted)
            .for_each(|(job, accepted)| job.stored(accepted));
    }
    Ok(())
}

/// Each so that its failure undoes it alone and not what else is in the transaction.
fn each_by_itself(txn: &mut Txn<'_>, group: &mut [Box<dyn Job>]) -> Result<(), Failure> {
    for job in group {
        let before = txn.after.clone();
        txn.db.execute("SAVEPOINT job", &[])?;
        let run = caught(|| {
            job.run(txn)?;
            txn.db.settle().map_err(|error| StoreError::from(&error))
        });
        if let Err(error) = run {
            if txn.db.has_no_transaction() {
                return Err(Failure::OfAll(error));
            }
            job.failed(error);
            // It may have panicked with something sent.
            let _ = txn.db.settle();
            txn.db.execute("ROLLBACK TO job", &[])?;
            txn.after = before;
        }
        txn.db.execute("RELEASE job", &[])?;
    }
    Ok(())
}

fn caught<T>(work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        tracing::error!("a write panicked");
        Err(abandoned())
    })
}

fn commit(txn: &Txn<'_>) -> Result<(), DbError> {
    counters::count(txn.db, &txn.after.counts, txn.now)?;
    match txn.db {
        Db::Sqlite(_) => txn.db.commit(),
        Db::Postgres(session) => Ok(session.commit(messages(session.name(), &txn.after))?),
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
        // There may be no receiver.
        let _ = listeners.changes.send(change);
    }
}

#[cfg(test)]
mod tests {
    use super::super::db::args;
    use super::*;
    use crate::clock::SystemClock;
    use crate::store::{migrations, sqlite};

    /// A writer on a database in memory, with the tables that these tests write to.
    fn writer() -> Writer {
        let conn = rusqlite::Connection::open_in_memory().unwrap();
        migrations::migrate(Db::Sqlite(&conn), migrations::SQLITE).unwrap();
        conn.execute_batch("CREATE TABLE t (n INTEGER UNIQUE)").unwrap();
        let listeners = Listeners::new(Arc::default());
        let clock: SharedClock = Arc::new(SystemClock::new());
        Writer::start(sqlite::engine(conn, &clock), clock, listeners, Commits::Thread).unwrap()
    }

    #[tokio::test]
    async fn a_write_that_panics_or_fails_is_undone_and_costs_those_of_its_transaction_nothing() {
        let writer = writer();
        let insert = |n: i64| {
            move |txn: &mut Txn<'_>| {
                txn.count("inserted");
                txn.db.execute("INSERT INTO t VALUES (?1)", args![n])
            }
        };
        let (running, has_begun) = std::sync::mpsc::channel();
        let (go_on, may_end) = std::sync::mpsc::channel::<()>();
        let before = writer.write(move |_| {
            let _ = running.send(());
            let _ = may_end.recv();
            Ok(())
        });
        // What queues up while another transaction is under way is one.
        let together = async {
            has_begun.recv().unwrap();
            let panics = writer.write::<(), _>(move |txn| {
                insert(2)(txn)?;
                panic!("on purpose");
            });
            let fails = writer.write(move |txn| {
                insert(4)(txn)?;
                insert(1)(txn)
            });
            let (first, last) = (writer.write(insert(1)), writer.write(insert(3)));
            tokio::join!(first, panics, fails, last, async { drop(go_on) })
        };
        let (_, (first, panicked, failed, last, ())) = tokio::join!(before, together);
        assert!(first.is_ok() && panicked.is_err() && failed.is_err() && last.is_ok());
        let read = |sql: &'static str| writer.write(move |txn| txn.db.one(sql, &[], |row| row.get::<i64>("is")));
        assert_eq!(read("SELECT sum(n) AS \"is\" FROM t").await, Ok(4));
        let counted = read("SELECT value AS \"is\" FROM counter WHERE name = 'inserted'");
        assert_eq!(counted.await, Ok(2), "once each, though they were run twice");
    }
}
