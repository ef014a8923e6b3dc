//! The schema, as the steps that led to it. A step that has been released is never changed; a new one is added. What the
//! steps make is compared with what there is at every start: see `schema.rs`.
//!
//! `tests/it/schema/update` writes what follows from the steps: their hashes, the schema that they make, a database of that
//! schema for the tests.

use super::db::{Db, DbError, Result, args};
use super::schema::{self, Schema};

/// One step from a schema to the next: SQL, then code for what SQL alone does not do, in the same transaction.
///
/// # What a step may do
///
/// During a rolling upgrade replicas of the version before run beside the new one, on the new schema. So a step only
/// **expands**:
///
/// - It adds tables, indexes, and columns that may be NULL or have a default.
/// - It fills what it has added. Its code may read all rows and write the new columns.
///
/// These wait for a later release, when no version runs any more that needs the old form:
///
/// - dropping or renaming a table, column or index; another type or meaning of a column;
/// - NOT NULL or UNIQUE for what exists.
///
/// Such a change takes two releases: the first stops using the old form, the second removes it. CHANGELOG.md says then from
/// which version on a rolling upgrade is possible.
///
/// An index is built while all writes wait. Webhooks are answered 503 where that takes longer than `STORE_TIMEOUT`.
#[derive(Clone, Copy)]
pub struct Migration {
    sql: &'static str,
    code: Option<Code>,
}

/// Runs after the SQL of its step.
type Code = fn(Db<'_>) -> Result<()>;

impl Migration {
    /// A step that is SQL alone.
    pub const fn sql(sql: &'static str) -> Self {
        Self { sql, code: None }
    }

    /// The same step, with code that runs after the SQL.
    #[must_use]
    pub const fn then(self, code: Code) -> Self {
        Self {
            code: Some(code),
            ..self
        }
    }

    fn run(&self, db: Db<'_>) -> Result<()> {
        db.batch(self.sql)?;
        self.code.map_or(Ok(()), |code| code(db))
    }
}

/// The steps for SQLite. `PRAGMA user_version` says how many of them a file has had.
pub(super) const SQLITE: &[Migration] = &[Migration::sql(include_str!("migrations/sqlite-1.sql"))];

/// The same for PostgreSQL. The table `schema_version` says how many of them a database has had.
pub const POSTGRES: &[Migration] = &[Migration::sql(include_str!("migrations/postgres-1.sql"))];

/// Why a database is not used. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error(
        "it was written by a newer version of bigin-sync (schema {applied}, this one knows {known}): start that version, or restore the backup made before the upgrade"
    )]
    Newer { applied: usize, known: usize },
    #[error("{}: {REMEDY}", differs(.0))]
    Differs(String),
    #[error("the upgrade to schema {number} failed, and nothing was changed: {error}")]
    Step { number: usize, error: DbError },
    #[error("the schema: {0}")]
    Database(#[from] DbError),
}

/// What to do about a schema that was changed.
pub(super) const REMEDY: &str = "undo that change by hand, or restore a backup";

/// Says so of a schema in which this is missing or different.
pub(super) fn differs(what: &str) -> String {
    format!("its schema was changed, and not by bigin-sync ({what})")
}

/// Brings a database to the newest schema: runs all steps that it has not had, and looks at the schema that they lead to, in
/// one transaction.
///
/// # Errors
/// [`Refusal`] says what is wrong, and what to do.
pub(super) fn migrate(db: Db<'_>, steps: &[Migration]) -> std::result::Result<(), Refusal> {
    let migrated = try_to_migrate(db, steps);
    if migrated.is_err() {
        // It is rolled back with the connection, if not here.
        let _ = db.batch("ROLLBACK");
    }
    migrated
}

fn try_to_migrate(db: Db<'_>, steps: &[Migration]) -> std::result::Result<(), Refusal> {
    // Replicas that start together go through here one after the other.
    db.batch(match db {
        Db::Sqlite(_) => "BEGIN IMMEDIATE",
        Db::Postgres(_) => super::session::BEGIN,
    })?;
    let applied = usize::try_from(version(db)?).unwrap_or(usize::MAX);
    let Some(pending) = steps.get(applied..) else {
        let known = steps.len();
        return Err(Refusal::Newer { applied, known });
    };
    run(db, applied, pending)?;
    if let Some(what) = schema::difference(db)? {
        return Err(Refusal::Differs(what));
    }
    Ok(db.commit()?)
}

/// Runs the steps that come after so many.
fn run(db: Db<'_>, applied: usize, pending: &[Migration]) -> std::result::Result<(), Refusal> {
    if matches!(db, Db::Postgres(_)) && !pending.is_empty() {
        // A step over many rows takes as long as it takes.
        db.batch("SET LOCAL statement_timeout = 0")?;
    }
    for (number, step) in (applied + 1..).zip(pending) {
        let step = step.run(db).and_then(|()| set_version(db, number));
        step.map_err(|error| Refusal::Step { number, error })?;
    }
    Ok(())
}

/// The schema that the steps make, made in a database that has none, and undone.
pub(super) fn made(db: Db<'_>) -> std::result::Result<Schema, Refusal> {
    db.batch("BEGIN")?;
    version(db)?;
    run(db, 0, steps_of(db))?;
    let made = schema::read(db)?;
    db.batch("ROLLBACK")?;
    Ok(made)
}

/// How many steps a database has had, and how many there are. Changes nothing, unlike [`migrate`].
pub(super) fn steps(db: Db<'_>) -> Result<(usize, usize)> {
    let applied = match db {
        Db::Sqlite(_) => version(db)?,
        Db::Postgres(_) => {
            let sql = "SELECT 1 AS found FROM information_schema.tables
                WHERE table_schema = current_schema() AND table_name = 'schema_version'";
            let is_there = db.exists(sql, &[])?;
            if is_there { recorded(db)? } else { 0 }
        }
    };
    Ok((usize::try_from(applied).unwrap_or(usize::MAX), steps_of(db).len()))
}

fn steps_of(db: Db<'_>) -> &'static [Migration] {
    match db {
        Db::Sqlite(_) => SQLITE,
        Db::Postgres(_) => POSTGRES,
    }
}

fn version(db: Db<'_>) -> Result<i64> {
    match db {
        Db::Sqlite(_) => db.one("PRAGMA user_version", &[], |row| row.get("user_version")),
        Db::Postgres(_) => {
            db.batch("CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)")?;
            recorded(db)
        }
    }
}

fn recorded(db: Db<'_>) -> Result<i64> {
    let sql = "SELECT coalesce(max(version), 0) AS version FROM schema_version";
    db.one(sql, &[], |row| row.get("version"))
}

fn set_version(db: Db<'_>, version: usize) -> Result<()> {
    match db {
        Db::Sqlite(_) => db.batch(&format!("PRAGMA user_version = {version}")),
        Db::Postgres(_) => {
            db.execute("INSERT INTO schema_version (version) VALUES (?1)", args![version])?;
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests;
