//! One session with a PostgreSQL server, with its prepared statements.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use futures_util::future::{MaybeDone, maybe_done, poll_fn};
use tokio::runtime::Runtime;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Row, Statement};

use super::notifications::CHANNEL;
use crate::database::{Address, Messages};

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

/// What else holds in a transaction that writes. Each statement sees what was committed before it, whatever the database's own
/// default: under another the transaction would see what there was before it waited for the lock.
///
/// PostgreSQL keeps a plan that it has made when the tables were empty. Every statement that writes goes by an index, so no
/// other plan is allowed. (One that cannot but scan seems so dear then that it would be compiled first, which takes 10 ms.)
macro_rules! writing {
    () => {
        concat!(
            "BEGIN ISOLATION LEVEL READ COMMITTED;",
            settings!(),
            "SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off;
            SET LOCAL enable_mergejoin = off; SET LOCAL jit = off;"
        )
    };
}

/// Begins a transaction that no other replica's runs beside. The number is ours: "bigin-sync" by the keys of a telephone.
pub(super) const BEGIN: &str = concat!(writing!(), "SELECT pg_advisory_xact_lock(2444679622)");

/// The id of the event that was added last, by whichever transaction, ended or not.
pub(super) const LAST_EVENT_ID: &str = "(SELECT last_value FROM event_id_seq)";

/// Where the locks have their numbers that say from which event on a running transaction adds its own: the upper 16 bits.
pub(super) const EVENTS: i64 = 2446;

/// Begins a transaction that runs beside others of this kind, and of no other: it stores webhooks of leads, which
/// [`LOCK_LEADS`] locks next, and does nothing else. The second lock says which events are its own: see `events.rs`. (2446 is [`EVENTS`].)
pub(super) const BEGIN_INTAKE: &str = concat!(
    writing!(),
    "SELECT pg_advisory_xact_lock_shared(2444679622);
    SELECT pg_advisory_xact_lock_shared((2446::bigint << 48) + last_value) FROM event_id_seq"
);

/// Locks leads for a transaction, so that no other creates a sync of theirs. In one order for all: two that lock the same
/// leads do not wait for each other in a circle. (2444 is "bigi". Two leads may have the same number, and then are locked together.)
pub(super) const LOCK_LEADS: &str = "-- lock_leads()
    SELECT pg_advisory_xact_lock(2444, lead) FROM (SELECT DISTINCT hashtext(lead_id) AS lead FROM unnest(?1::text[]) AS g (lead_id) ORDER BY lead) AS leads";

/// Begins a transaction whose queries all see one moment.
pub(super) const READ: &str = concat!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;", settings!());

/// Commits the transaction. PostgreSQL takes the COMMIT of one in which a statement has failed, and undoes all of it without a
/// word of error; a savepoint it refuses then.
const COMMIT: &str = "SAVEPOINT nothing_failed; COMMIT";

/// What a PostgreSQL error says, without the values that its details may name.
pub(super) fn message_of(error: &Error) -> String {
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

/// One session with its prepared statements. A thread that uses it waits for the server; what needs no answer can be sent
/// without waiting, and goes along with what comes next.
pub struct Session {
    runtime: Runtime,
    client: Arc<Client>,
    messages: RefCell<Messages>,
    statements: RefCell<HashMap<String, Statement>>,
    /// What was sent without waiting, in its order.
    sent: RefCell<Vec<MaybeDone<Sent>>>,
    /// It is of no more use.
    is_spoilt: Cell<bool>,
    name: String,
}

type Sent = Pin<Box<dyn Future<Output = Result<u64, Error>> + Send>>;

impl Session {
    /// Connects, for a replica of this name, on a runtime of the session's own.
    pub(super) fn on(runtime: Runtime, address: &Address, name: &str) -> Result<Self, Error> {
        let (client, messages) = runtime.block_on(address.connect())?;
        Ok(Self {
            runtime,
            client: Arc::new(client),
            messages: RefCell::new(messages),
            statements: RefCell::default(),
            sent: RefCell::default(),
            is_spoilt: Cell::default(),
            name: name.to_owned(),
        })
    }

    /// Who is named in messages to the others.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Waits for an answer.
    fn wait<T>(&self, answer: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let (mut messages, mut sent) = (self.messages.borrow_mut(), self.sent.borrow_mut());
        let mut answer = pin!(answer);
        let result = self.runtime.block_on(poll_fn(|context| {
            // Only while they are read anything is sent and received.
            while let Poll::Ready(message) = messages.as_mut().poll_next(context) {
                match message {
                    Some(Ok(_)) => {}
                    Some(Err(error)) => {
                        self.is_spoilt.set(true);
                        return Poll::Ready(Err(error));
                    }
                    None => {
                        self.is_spoilt.set(true);
                        break;
                    }
                }
            }
            // Each has room for few pieces of its answer. Until they are taken out nothing that comes after it is received.
            for earlier in sent.iter_mut() {
                let _ = Pin::new(earlier).poll(context);
            }
            answer.as_mut().poll(context)
        }));
        // Statements that were prepared before a newer replica added a column, or a server that has become another's standby:
        // a new connection has neither.
        let spoils =
            |code: &SqlState| [SqlState::FEATURE_NOT_SUPPORTED, SqlState::READ_ONLY_SQL_TRANSACTION].contains(code);
        if result.as_ref().is_err_and(|error| error.code().is_some_and(spoils)) {
            self.is_spoilt.set(true);
        }
        result
    }

    /// Waits for what was sent. The first error counts: those after it say no more than that the transaction has failed.
    pub(super) fn settle(&self) -> Result<(), Error> {
        let mut settled = Ok(());
        for mut answer in self.sent.take() {
            let result = self.wait(poll_fn(|context| {
                ready!(Pin::new(&mut answer).poll(context));
                Poll::Ready(Pin::new(&mut answer).take_output().unwrap_or(Ok(0)))
            }));
            settled = settled.and(result.map(|_| ()));
        }
        settled
    }

    /// Waits for an answer, and for what was sent before, which may be why there is none.
    fn answered<T>(&self, answer: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let result = self.wait(answer);
        self.settle()?;
        result
    }

    /// Sends what is not waited for.
    fn send(&self, answer: impl Future<Output = Result<u64, Error>> + Send + 'static) {
        let mut answer = maybe_done(Box::pin(answer) as Sent);
        // The first poll puts it into the queue to the server.
        let _ = Pin::new(&mut answer).poll(&mut Context::from_waker(Waker::noop()));
        self.sent.borrow_mut().push(answer);
    }

    fn prepared(&self, sql: &str) -> Result<Statement, Error> {
        if let Some(statement) = self.statements.borrow().get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.answered(self.client.prepare(&dialect(sql)))?;
        self.statements.borrow_mut().insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    pub(super) fn execute(&self, sql: &str, args: &[&(dyn ToSql + Sync)]) -> Result<usize, Error> {
        let statement = self.prepared(sql)?;
        let changed = self.answered(self.client.execute(&statement, args))?;
        Ok(usize::try_from(changed).unwrap_or(usize::MAX))
    }

    pub(super) fn query(&self, sql: &str, args: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Error> {
        let statement = self.prepared(sql)?;
        self.answered(self.client.query(&statement, args))
    }

    /// Runs a statement without waiting for it. Where it fails, what comes next says so.
    pub(super) fn send_execute(&self, sql: &str, args: Vec<Box<dyn ToSql + Send + Sync>>) -> Result<(), Error> {
        let (client, statement) = (Arc::clone(&self.client), self.prepared(sql)?);
        self.send(async move { client.execute_raw(&statement, args).await });
        Ok(())
    }

    pub(super) fn batch(&self, sql: &str) -> Result<(), Error> {
        self.answered(self.client.batch_execute(sql))
    }

    /// Runs statements as [`Session::batch`] does, without waiting for them.
    pub(super) fn send_batch(&self, sql: &'static str) {
        let client = Arc::clone(&self.client);
        self.send(async move { client.batch_execute(sql).await.map(|()| 0) });
    }

    /// Commits the transaction, and tells the other replicas. They are told after the commit: PostgreSQL makes commits that tell
    /// something wait for each other. If that fails they find the work when it is due.
    pub(super) fn commit(&self, messages: Vec<String>) -> Result<(), Error> {
        let tell = match messages.is_empty() {
            true => None,
            false => Some(self.prepared("SELECT pg_notify($1, message) FROM unnest($2::text[]) AS g (message)")?),
        };
        self.send_batch(COMMIT);
        let mut told: Option<Sent> = tell.map(|tell| {
            let client = Arc::clone(&self.client);
            let tell = async move { client.execute(&tell, &[&CHANNEL, &messages]).await };
            Box::pin(tell) as Sent
        });
        if let Some(told) = &mut told {
            let _ = told.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        }
        self.settle()
    }

    /// Whether another has to be opened in its place.
    pub(super) fn is_closed(&self) -> bool {
        self.is_spoilt.get() || self.client.is_closed()
    }
}

/// The statement that does for all rows what `sql` does for one: an INSERT of `VALUES (…)` without a parenthesis in it, or an
/// UPDATE or a DELETE with one WHERE.
pub(super) fn over_rows(sql: &str, kinds: &str, returning: &str) -> String {
    let places = 1..=kinds.len();
    let names: Vec<String> = places.map(|place| format!("c{place}")).collect();
    let arrays = (1..).zip(kinds.chars()).map(|(place, kind)| {
        let kind = if kind == 'n' { "bigint" } else { "text" };
        format!("?{place}::{kind}[]")
    });
    let arrays: Vec<String> = arrays.collect();
    let rows = format!("FROM unnest({}) AS g ({})", arrays.join(", "), names.join(", "));
    let body = sql.replace('?', "g.c");
    let all = match body.split_once("VALUES (") {
        Some((insert, values)) => {
            let (values, rest) = values.split_once(')').unwrap_or((values, ""));
            format!("{insert}SELECT {values} {rows}{rest}")
        }
        None => {
            let rows = if body.contains("DELETE FROM") {
                rows.replacen("FROM", "USING", 1)
            } else {
                rows
            };
            body.replacen("WHERE ", &format!("{rows} WHERE "), 1)
        }
    };
    format!("{all} {returning}")
}

/// The query for each of several texts, its one parameter: each finds its rows by itself, by the index that one alone would go by.
pub(super) fn over_texts(sql: &str) -> String {
    let of_one = sql.replace("?1", "g.c1");
    format!("SELECT found.* FROM unnest(?1::text[]) AS g (c1) CROSS JOIN LATERAL ({of_one}) AS found")
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::store::writer::STORE_TIMEOUT;

    #[test]
    fn a_statement_is_written_as_the_server_has_it() {
        let sql = "SELECT 1 FROM sync INDEXED BY sync_due WHERE id = ?1 AND x IN (SELECT y FROM z INDEXED BY w)";
        assert_eq!(
            dialect(sql),
            "SELECT 1 FROM sync  WHERE id = $1 AND x IN (SELECT y FROM z )"
        );
    }

    #[test]
    fn a_statement_is_written_for_many_rows() {
        assert_eq!(
            over_rows(
                "INSERT INTO t (a, b) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
                "nt",
                "RETURNING id"
            ),
            "INSERT INTO t (a, b) SELECT g.c1, g.c2 FROM unnest(?1::bigint[], ?2::text[]) AS g (c1, c2) ON CONFLICT DO NOTHING RETURNING id"
        );
        assert_eq!(
            over_rows("UPDATE t SET a = ?2 WHERE id = ?1", "nt", ""),
            "UPDATE t SET a = g.c2 FROM unnest(?1::bigint[], ?2::text[]) AS g (c1, c2) WHERE id = g.c1 "
        );
        assert_eq!(
            over_rows("DELETE FROM t WHERE id = ?1", "n", ""),
            "DELETE FROM t USING unnest(?1::bigint[]) AS g (c1) WHERE id = g.c1 "
        );
        assert_eq!(
            over_texts("SELECT a FROM t WHERE b = ?1 LIMIT 2"),
            "SELECT found.* FROM unnest(?1::text[]) AS g (c1) CROSS JOIN LATERAL (SELECT a FROM t WHERE b = g.c1 LIMIT 2) AS found"
        );
    }

    #[test]
    fn callers_are_answered_before_the_server_ends_a_statement() {
        for begin in [BEGIN, READ] {
            let limit = |name: &str| {
                let (_, value) = begin.split_once(&format!("{name} = '")).unwrap();
                Duration::from_secs(value.split_once("s'").unwrap().0.parse().unwrap())
            };
            assert!(STORE_TIMEOUT < limit("lock_timeout"));
            assert!(
                limit("lock_timeout") < limit("statement_timeout"),
                "it would never be met"
            );
            assert!(limit("statement_timeout") < Duration::from_secs(30), "Sanity gives up");
        }
    }
}
