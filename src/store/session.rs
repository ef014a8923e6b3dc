//! One session with a PostgreSQL server, with its prepared statements.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use postgres::error::SqlState;
use postgres::types::ToSql;
use postgres::{Client, Row, Statement};

use crate::database::Address;

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
///
/// PostgreSQL keeps a plan that it has made when the tables were empty. Every statement that writes goes by an index, so no
/// other plan is allowed.
pub(super) const BEGIN: &str = concat!(
    "BEGIN ISOLATION LEVEL READ COMMITTED;",
    settings!(),
    "SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off;
    SET LOCAL enable_mergejoin = off; SELECT pg_advisory_xact_lock(2444679622)"
);

/// Begins a transaction whose queries all see one moment.
pub(super) const READ: &str = concat!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;", settings!());

/// What a PostgreSQL error says, without the values that its details may name.
pub(super) fn message_of(error: &postgres::Error) -> String {
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

/// One session with its prepared statements.
pub struct Session {
    client: RefCell<Client>,
    statements: RefCell<HashMap<String, Statement>>,
    /// Who is named in messages to the others.
    pub(super) name: RefCell<String>,
    /// It is of no more use, though it is not lost.
    is_spoilt: Cell<bool>,
}

impl Session {
    pub(super) fn open(address: &Address) -> Result<Self, postgres::Error> {
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

    pub(super) fn execute(&self, sql: &str, args: &[&(dyn ToSql + Sync)]) -> Result<usize, postgres::Error> {
        let changed = self.run(sql, |client, statement| client.execute(statement, args))?;
        Ok(usize::try_from(changed).unwrap_or(usize::MAX))
    }

    pub(super) fn query(&self, sql: &str, args: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, postgres::Error> {
        self.run(sql, |client, statement| client.query(statement, args))
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

    /// Whether another has to be opened in its place.
    pub(super) fn is_closed(&self) -> bool {
        self.is_spoilt.get() || self.client.borrow().is_closed()
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
