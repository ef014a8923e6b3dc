//! The schema, as the steps that led to it. A step that has been released is never changed; a new one is added.

use super::db::{Db, DbError, args};

/// The steps for SQLite. `PRAGMA user_version` says how many of them a file has had.
pub(super) const SQLITE: [&str; 1] = [include_str!("migrations/sqlite-1.sql")];

/// The same for PostgreSQL. The table `schema_version` says how many of them a database has had.
const POSTGRES: [&str; 1] = [include_str!("migrations/postgres-1.sql")];

/// Brings a database to the newest schema, each step in a transaction of its own.
///
/// # Errors
/// What the database says; or that it was written by a newer version, whose schema this one does not know.
pub(super) fn migrate(db: Db<'_>) -> Result<(), String> {
    let steps = match db {
        Db::Sqlite(_) => &SQLITE,
        Db::Postgres(_) => &POSTGRES,
    };
    loop {
        let known = steps.len();
        match next_step(db, steps) {
            Ok(Taken::Step) => {}
            Ok(Taken::None) => return Ok(()),
            Ok(Taken::Newer(applied)) => {
                return Err(format!(
                    "it was written by a newer version of bigin-sync (schema {applied}, this one knows {known}): start that version, or restore the backup made before the upgrade"
                ));
            }
            Err(error) => {
                // It is rolled back with the connection, if not here.
                let _ = db.batch("ROLLBACK");
                return Err(format!("the schema: {error}"));
            }
        }
    }
}

/// How many steps a database has had, and how many there are. Changes nothing, unlike [`migrate`].
pub(super) fn steps(db: Db<'_>) -> Result<(usize, usize), DbError> {
    let (applied, known) = match db {
        Db::Sqlite(_) => (version(db)?, SQLITE.len()),
        Db::Postgres(_) => {
            let sql = "SELECT 1 AS found FROM information_schema.tables
                WHERE table_schema = current_schema() AND table_name = 'schema_version'";
            let is_there = db.exists(sql, &[])?;
            let applied = if is_there { recorded(db)? } else { 0 };
            (applied, POSTGRES.len())
        }
    };
    Ok((usize::try_from(applied).unwrap_or(usize::MAX), known))
}

enum Taken {
    Step,
    None,
    Newer(usize),
}

fn next_step(db: Db<'_>, steps: &[&str]) -> Result<Taken, DbError> {
    // Replicas that start together go through here one after the other.
    db.batch(match db {
        Db::Sqlite(_) => "BEGIN IMMEDIATE",
        Db::Postgres(_) => super::session::BEGIN,
    })?;
    let applied = usize::try_from(version(db)?).unwrap_or(usize::MAX);
    let taken = match steps.get(applied) {
        Some(step) => {
            if let Db::Postgres(_) = db {
                // A step over many rows takes as long as it takes.
                db.batch("SET LOCAL statement_timeout = 0")?;
            }
            db.batch(step)?;
            set_version(db, applied + 1)?;
            Taken::Step
        }
        None if applied > steps.len() => Taken::Newer(applied),
        None => Taken::None,
    };
    db.batch("COMMIT")?;
    Ok(taken)
}

fn version(db: Db<'_>) -> Result<i64, DbError> {
    match db {
        Db::Sqlite(_) => db.one("PRAGMA user_version", &[], |row| row.get("user_version")),
        Db::Postgres(_) => {
            db.batch("CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)")?;
            recorded(db)
        }
    }
}

fn recorded(db: Db<'_>) -> Result<i64, DbError> {
    let sql = "SELECT coalesce(max(version), 0) AS version FROM schema_version";
    db.one(sql, &[], |row| row.get("version"))
}

fn set_version(db: Db<'_>, version: usize) -> Result<(), DbError> {
    match db {
        Db::Sqlite(_) => db.batch(&format!("PRAGMA user_version = {version}")),
        Db::Postgres(_) => {
            db.execute("INSERT INTO schema_version (version) VALUES (?1)", args![version])?;
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    #[test]
    fn every_step_leads_to_the_newest_schema_and_none_is_taken_twice() {
        let conn = Connection::open_in_memory().unwrap();
        migrate(Db::Sqlite(&conn)).unwrap();
        conn.execute("INSERT INTO counter (name, value) VALUES ('sent', 1)", [])
            .unwrap();
        migrate(Db::Sqlite(&conn)).unwrap();
        let version: usize = conn.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
        let kept: u64 = conn
            .query_row("SELECT value FROM counter", [], |row| row.get(0))
            .unwrap();
        assert_eq!((version, kept), (SQLITE.len(), 1));
    }

    #[test]
    fn a_file_of_a_newer_version_is_refused_and_left_as_it_is() {
        let conn = Connection::open_in_memory().unwrap();
        conn.pragma_update(None, "user_version", 99).unwrap();
        let refused = migrate(Db::Sqlite(&conn)).unwrap_err();
        assert!(
            refused.contains("newer version") && refused.contains("schema 99"),
            "{refused}"
        );
        let version: usize = conn.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
        assert_eq!(version, 99);
    }
}
