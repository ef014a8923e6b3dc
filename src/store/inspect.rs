//! A look at a database without taking it over: for who checks an installation, also beside a service that runs on it.
//!
//! Every function opens a connection of its own and waits for it, so that none may be called from an asynchronous task.
//! What they say goes to people: it names no value of a row.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rusqlite::OpenFlags;

use super::db::{Db, DbError};
use super::session::{self, Session};
use super::sqlite::{self, OpenError};
use super::{kv, migrations, postgres, rows, schema};
use crate::database::{Address, Database};
use crate::domain::breaker::Breaker;
use crate::domain::failure::Remote;

/// How a database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// It is there; a file that is not is made by the first start.
    pub exists: bool,
    /// A service has it in use, as far as that can be seen: of a server it cannot.
    pub in_use: bool,
    /// How many steps of the schema it has had, and how many this version knows.
    pub schema: (usize, usize),
    /// What is missing or different in it, as a sentence, where it has had all these steps.
    pub schema_fault: Option<String>,
    /// What was written and committed, or why that failed. `None`: it was not tried, since a service has it in use.
    pub write: Option<Result<(), String>>,
    /// Why a commit may be lost where the power fails.
    pub not_durable: Option<String>,
    /// Bytes left where the file is.
    pub free: Option<u64>,
    /// What time it is by the server's clock, which the service goes by.
    pub clock: Option<Timestamp>,
}

/// What a database knows of access tokens.
#[derive(Debug, Clone)]
pub struct Tokens {
    /// The sealed token.
    pub sealed: Option<Vec<u8>>,
    /// When the last ones were granted.
    pub grants: Vec<Timestamp>,
    /// Whether Zoho's accounts server wants to be left alone.
    pub breaker: Breaker,
}

/// Looks at a database, and tries to write to it where no service has it.
///
/// # Errors
/// A sentence that says why it cannot be opened or read.
pub fn condition(database: &Database) -> Result<Condition, String> {
    match database {
        Database::Sqlite(path) => of_file(path),
        Database::Postgres(address) => of_server(address),
    }
}

/// Reads what is known of tokens, of which the sealed one is kept under `name`; nothing where there is no database yet, or one of another schema.
///
/// # Errors
/// A sentence that says why it cannot be opened or read.
pub fn tokens(database: &Database, name: &str, since: Timestamp) -> Result<Option<Tokens>, String> {
    let read = |db: Db<'_>| -> Result<Option<Tokens>, DbError> {
        let (applied, known) = migrations::steps(db)?;
        if applied != known {
            return Ok(None);
        }
        Ok(Some(Tokens {
            sealed: kv::get(db, name)?.map(|(sealed, _)| sealed),
            grants: kv::grants(db, since)?,
            breaker: rows::breaker(db, Remote::ZohoAccounts)?,
        }))
    };
    match database {
        Database::Sqlite(path) if !path.exists() => Ok(None),
        Database::Sqlite(path) => {
            let conn = sqlite::connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(|error| error.to_string())?;
            read(Db::Sqlite(&conn)).map_err(|error| error.to_string())
        }
        Database::Postgres(address) => {
            let conn = Session::open(address, "").map_err(|error| error.to_string())?;
            conn.read(read).map_err(|error| error.to_string())
        }
    }
}

/// Keeps a token that was just granted, so that a service or the next look needs none of its own; and that it was granted.
/// `false` where there is nowhere to keep it: no database yet, one of another schema, or a file that a service has in use.
///
/// # Errors
/// A sentence that says why it cannot be opened or written.
pub fn keep_token(
    database: &Database,
    name: &str,
    sealed: Option<&[u8]>,
    granted_at: Option<Timestamp>,
    now: Timestamp,
) -> Result<bool, String> {
    let write = |db: Db<'_>| -> Result<bool, DbError> {
        let (applied, known) = migrations::steps(db)?;
        if applied != known {
            return Ok(false);
        }
        if let Some(sealed) = sealed {
            kv::put(db, name, sealed, now)?;
        }
        if let Some(at) = granted_at {
            kv::note_grant(db, at)?;
        }
        Ok(true)
    };
    match database {
        Database::Sqlite(path) if !path.exists() => Ok(false),
        Database::Sqlite(path) => match sqlite::lock(path) {
            Err(OpenError::InUse(_)) => Ok(false),
            Err(error) => Err(error.to_string()),
            Ok(_lock) => writing(path, write),
        },
        Database::Postgres(address) => {
            let conn = Session::open(address, "").map_err(|error| error.to_string())?;
            committed(Db::Postgres(&conn), session::BEGIN, write).map_err(|error| error.to_string())
        }
    }
}

fn of_file(path: &Path) -> Result<Condition, String> {
    let folder = folder_of(path);
    let free = rustix::fs::statvfs(&folder).map_err(|error| format!("the folder {}: {error}", folder.display()))?;
    let mut condition = Condition {
        exists: path.exists(),
        in_use: false,
        schema: (0, migrations::SQLITE.len()),
        schema_fault: None,
        write: Some(synced(&folder)),
        not_durable: None,
        free: Some(free.f_bavail.saturating_mul(free.f_frsize)),
        clock: None,
    };
    if !condition.exists {
        return Ok(condition);
    }
    // Held until the end, so that no service starts half way.
    let lock = match sqlite::lock(path) {
        Ok(lock) => Some(lock),
        Err(OpenError::InUse(_)) => None,
        Err(OpenError::Io { path, source }) => return Err(format!("{}: {source}", path.display())),
        Err(error) => return Err(error.to_string()),
    };
    condition.in_use = lock.is_none();
    let conn = sqlite::connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(|error| error.to_string())?;
    (condition.schema, condition.schema_fault) = schema(Db::Sqlite(&conn)).map_err(|error| error.to_string())?;
    let is_current = condition.schema.0 == condition.schema.1 && condition.schema_fault.is_none();
    if condition.in_use {
        condition.write = None;
    } else if is_current && condition.write == Some(Ok(())) {
        let mark = |db: Db<'_>| kv::mark(db, CHECK, Timestamp::UNIX_EPOCH);
        condition.write = Some(writing(path, mark));
    }
    Ok(condition)
}

/// What to do about a [`Condition::schema_fault`].
pub const SCHEMA_REMEDY: &str = migrations::REMEDY;

/// How many steps a database has had, and what is wrong with the schema where it has had all of them.
fn schema(db: Db<'_>) -> Result<((usize, usize), Option<String>), DbError> {
    let steps = migrations::steps(db)?;
    let difference = match steps {
        (applied, known) if applied == known => schema::difference(db)?,
        _ => None,
    };
    Ok((steps, difference.map(|what| migrations::differs(&what))))
}

/// The schema that the steps make, as `src/store/migrations` has it for each engine. It is made in this database, which must be
/// empty, and undone.
///
/// # Errors
/// A sentence that says why that failed.
pub fn made_schema(database: &Database) -> Result<String, String> {
    let made = match database {
        Database::Sqlite(path) => {
            let conn = rusqlite::Connection::open(path).map_err(|error| error.to_string())?;
            migrations::made(Db::Sqlite(&conn))
        }
        Database::Postgres(address) => {
            let conn = Session::open(address, "").map_err(|error| error.to_string())?;
            migrations::made(Db::Postgres(&conn))
        }
    };
    made.map(|schema| schema::text(&schema))
        .map_err(|refusal| refusal.to_string())
}

/// The name that is written under. It is not the one of the service's own checks, whose time counts when the clock starts.
const CHECK: &str = "doctor";

fn of_server(address: &Address) -> Result<Condition, String> {
    let conn = Session::open(address, "").map_err(|error| error.to_string())?;
    let look = |db: Db<'_>| {
        let sql = "SELECT current_setting('fsync') AS value";
        let fsync: String = db.one(sql, &[], |row| row.get("value"))?;
        Ok((schema(db)?, fsync, postgres::server_time(db)?))
    };
    let ((schema, schema_fault), fsync, clock) = conn.read(look).map_err(|error| error.to_string())?;
    let write = committed(Db::Postgres(&conn), session::BEGIN, |db| {
        if schema.0 == schema.1 && schema_fault.is_none() {
            kv::mark(db, CHECK, Timestamp::UNIX_EPOCH)
        } else {
            db.batch("CREATE TEMPORARY TABLE doctor (at BIGINT) ON COMMIT DROP")
        }
    });
    Ok(Condition {
        exists: true,
        in_use: false,
        schema,
        schema_fault,
        write: Some(write.map_err(|error| error.to_string())),
        not_durable: (fsync != "on").then(|| "the server has fsync = off".to_owned()),
        free: None,
        clock: Some(clock),
    })
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Writes a file beside the database and has it put to disk, as a commit is.
fn synced(folder: &Path) -> Result<(), String> {
    let try_it = || {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(b"bigin-sync")?;
        file.as_file().sync_all()?;
        File::open(folder)?.sync_all()
    };
    try_it().map_err(|error: std::io::Error| error.to_string())
}

fn writing<T>(path: &Path, work: impl FnOnce(Db<'_>) -> Result<T, DbError>) -> Result<T, String> {
    let conn = sqlite::connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(|error| error.to_string())?;
    committed(Db::Sqlite(&conn), "BEGIN IMMEDIATE", work).map_err(|error| error.to_string())
}

/// Where it fails, closing the connection rolls it back.
fn committed<T>(db: Db<'_>, begin: &str, work: impl FnOnce(Db<'_>) -> Result<T, DbError>) -> Result<T, DbError> {
    db.batch(begin)?;
    let done = work(db)?;
    db.batch("COMMIT")?;
    Ok(done)
}
