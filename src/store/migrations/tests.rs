//! Tests of the steps themselves, and of the machinery with steps of their own. On PostgreSQL: `tests/it/schema`.

use rusqlite::Connection;
use sha2::{Digest as _, Sha256};

use super::*;

/// As `sha256sum` writes it.
const PINNED: &str = include_str!("steps.sha256");

/// Before the first release the steps are still rewritten, and the pins with them: `tests/it/schema/update --rewrite`.
#[test]
fn a_released_step_is_never_changed() {
    let mut steps = Vec::new();
    for (engine, all) in [("postgres", POSTGRES), ("sqlite", SQLITE)] {
        for (number, step) in (1..).zip(all) {
            let hash = Sha256::digest(step.sql.as_bytes());
            let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
            steps.push(format!("{hash}  {engine}-{number}.sql"));
        }
    }
    let pinned: Vec<&str> = PINNED.lines().collect();
    assert_eq!(
        steps, pinned,
        "a released step is never changed; add a new one (tests/it/schema/update pins it)"
    );
}

fn version(conn: &Connection) -> usize {
    conn.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap()
}

fn number(conn: &Connection, sql: &str) -> i64 {
    conn.query_row(sql, [], |row| row.get(0)).unwrap()
}

/// The steps that there are, and a further one.
fn with(step: Migration) -> Vec<Migration> {
    [SQLITE, &[step]].concat()
}

const ADDS: Migration = Migration::sql("CREATE TABLE extra (value INTEGER) STRICT");

#[test]
fn every_step_leads_to_the_newest_schema_and_none_is_taken_twice() {
    let conn = Connection::open_in_memory().unwrap();
    let db = Db::Sqlite(&conn);
    migrate(db, SQLITE).unwrap();
    conn.execute(
        "INSERT INTO counter (name, shard, value, at) VALUES ('sent', 0, 1, 0)",
        [],
    )
    .unwrap();
    migrate(db, SQLITE).unwrap();
    assert_eq!(version(&conn), SQLITE.len());
    let steps = with(ADDS.then(|db| db.batch("INSERT INTO extra SELECT value + 1 FROM counter")));
    for _ in 0..2 {
        migrate(db, &steps).unwrap();
        assert_eq!(version(&conn), SQLITE.len() + 1);
        assert_eq!(
            number(&conn, "SELECT sum(value) FROM extra"),
            2,
            "the code ran once, after the SQL"
        );
    }
}

#[test]
fn a_file_of_a_newer_version_is_refused_and_left_as_it_is() {
    let conn = Connection::open_in_memory().unwrap();
    conn.pragma_update(None, "user_version", 99).unwrap();
    let refused = migrate(Db::Sqlite(&conn), SQLITE).unwrap_err().to_string();
    assert!(
        refused.contains("newer version") && refused.contains("schema 99"),
        "{refused}"
    );
    assert_eq!(version(&conn), 99);
}

#[test]
fn a_step_that_fails_leaves_everything_as_it_was() {
    let conn = Connection::open_in_memory().unwrap();
    let db = Db::Sqlite(&conn);
    let steps = with(ADDS.then(|db| {
        db.batch("INSERT INTO extra VALUES (1)")?;
        db.batch("INSERT INTO nowhere VALUES (1)")
    }));
    for _ in 0..2 {
        let refused = migrate(db, &steps).unwrap_err().to_string();
        let expected = format!("the upgrade to schema {} failed, and nothing was changed", steps.len());
        assert!(refused.contains(&expected) && refused.contains("nowhere"), "{refused}");
        assert_eq!(version(&conn), 0);
        assert_eq!(number(&conn, "SELECT count(*) FROM sqlite_schema"), 0);
        assert!(conn.is_autocommit(), "the transaction is over");
    }
    migrate(db, SQLITE).unwrap();
}

#[test]
fn two_that_start_at_once_take_a_step_once() {
    let folder = tempfile::tempdir().unwrap();
    let start = || {
        let conn = Connection::open(folder.path().join("test.db")).unwrap();
        conn.busy_timeout(std::time::Duration::from_secs(30)).unwrap();
        let steps = with(ADDS.then(|db| db.batch("INSERT INTO extra VALUES (1)")));
        migrate(Db::Sqlite(&conn), &steps).unwrap();
        number(&conn, "SELECT count(*) FROM extra")
    };
    let rows: Vec<i64> = std::thread::scope(|scope| {
        let starts: Vec<_> = (0..4).map(|_| scope.spawn(start)).collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    assert_eq!(rows, [1; 4]);
}

#[test]
fn a_changed_schema_is_refused_and_an_extended_one_is_not() {
    let gone = "table kv: missing";
    let index = "table sync, index sync_due: missing";
    for (change, named) in [
        ("DROP TABLE kv", Some(gone)),
        ("DROP INDEX sync_due", Some(index)),
        (
            "DROP INDEX sync_due; CREATE INDEX sync_due ON sync (next_attempt_at)",
            Some("instead of"),
        ),
        (
            "ALTER TABLE credit RENAME COLUMN used TO spent",
            Some("table credit, column used: missing"),
        ),
        (
            "DROP TABLE credit; CREATE TABLE credit (hour INTEGER PRIMARY KEY, used TEXT) STRICT",
            Some("table credit, column used: \"TEXT\" instead of \"INTEGER not null\""),
        ),
        (
            "DROP TABLE credit; CREATE TABLE credit (hour INTEGER PRIMARY KEY, used INTEGER NOT NULL)",
            Some("table credit: \"not strict\" instead of \"strict\""),
        ),
        (
            "DROP TABLE credit; CREATE TABLE credit (hour INTEGER PRIMARY KEY, used INTEGER NOT NULL, of TEXT NOT NULL) STRICT",
            Some("table credit, column of: unknown, required and without a default"),
        ),
        (
            "ALTER TABLE sync ADD COLUMN later TEXT; ALTER TABLE sync ADD COLUMN latest INTEGER NOT NULL DEFAULT 7;
            CREATE TABLE ours (name TEXT NOT NULL); CREATE INDEX sync_ours ON sync (changed_at); ANALYZE",
            None,
        ),
    ] {
        let conn = Connection::open_in_memory().unwrap();
        let db = Db::Sqlite(&conn);
        migrate(db, SQLITE).unwrap();
        conn.execute_batch(change).unwrap();
        let steps = with(ADDS);
        let started = migrate(db, &steps);
        let Some(named) = named else {
            started.unwrap();
            continue;
        };
        let refused = started.unwrap_err().to_string();
        assert!(
            refused.contains(named) && refused.contains("restore a backup"),
            "{change}: {refused}"
        );
        assert_eq!(version(&conn), SQLITE.len(), "nor was the step taken that was pending");
    }
}

/// What a step must not have while versions that need the old form may run, if it has it.
fn narrows(sql: &str) -> Option<&'static str> {
    let sql: Vec<&str> = sql
        .lines()
        .filter(|line| !line.trim_start().starts_with("--"))
        .collect();
    let sql = sql.join(" ").to_uppercase();
    let mut statements = sql
        .split(';')
        .map(|statement| statement.split_whitespace().collect::<Vec<_>>().join(" "));
    statements.find_map(|statement| {
        let has = |words: &str| statement.contains(words);
        let narrows = [
            ("DROP", has("DROP ")),
            ("RENAME", has("RENAME ")),
            ("ALTER COLUMN", has("ALTER COLUMN ")),
            ("a unique index", has("CREATE UNIQUE INDEX ")),
            ("a constraint", has("ADD CONSTRAINT ")),
            ("DELETE", has("DELETE FROM ") || has("TRUNCATE ")),
            (
                "a column that is NOT NULL without a default",
                has("ADD COLUMN ") && has(" NOT NULL") && !has(" DEFAULT "),
            ),
        ];
        narrows.into_iter().find_map(|(what, has)| has.then_some(what))
    })
}

/// Numbers of steps after the first that may do all the same, since no version that needs the old form can run any more.
const MAY_NARROW: &[usize] = &[];

#[test]
fn every_later_step_only_expands() {
    for steps in [SQLITE, POSTGRES] {
        for (number, step) in (1..).zip(steps).skip(1) {
            let narrows = narrows(step.sql).filter(|_| !MAY_NARROW.contains(&number));
            assert_eq!(narrows, None, "step {number}: see the comment of `Migration`");
        }
    }
}

#[test]
fn a_step_that_narrows_is_found() {
    for (sql, found) in [
        ("ALTER TABLE sync ADD COLUMN later BIGINT", false),
        (
            "-- Instead of DROP TABLE kv.\nALTER TABLE sync ADD COLUMN later BIGINT NOT NULL DEFAULT 0",
            false,
        ),
        (
            "CREATE TABLE later (id BIGINT NOT NULL); CREATE INDEX later_id ON later (id)",
            false,
        ),
        ("UPDATE sync SET later = attempts", false),
        ("ALTER TABLE sync ADD COLUMN later BIGINT NOT NULL", true),
        ("CREATE TABLE later (id BIGINT); DROP TABLE lead", true),
        ("ALTER TABLE sync\n    DROP COLUMN edits", true),
        ("ALTER TABLE sync RENAME COLUMN edits TO changes", true),
        ("ALTER TABLE sync ALTER COLUMN edits SET NOT NULL", true),
        ("create unique index later ON sync (hash)", true),
        ("DELETE FROM event WHERE kind = 'created'", true),
    ] {
        assert_eq!(narrows(sql).is_some(), found, "{sql}");
    }
}
