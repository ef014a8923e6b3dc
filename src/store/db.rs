//! The two engines' connections behind one face: the statements are written once, in the SQL that both understand, with
//! SQLite's `?1` for parameters and all numbers as 64-bit integers.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use tokio::runtime::Builder;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

use super::StoreError;
use super::session::{self, Session};
use crate::database::Address;

pub(super) type Result<T> = std::result::Result<T, DbError>;

/// What a database said, or what it holds and must not.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    #[error("{}", session::message_of(.0))]
    Postgres(#[from] tokio_postgres::Error),
    #[error("a connection cannot be opened: {0}")]
    Connection(#[from] std::io::Error),
    #[error("invalid value in column {column}: {value}")]
    Corrupt { column: String, value: String },
}

pub(super) fn corrupt(column: &str, value: impl std::fmt::Display) -> DbError {
    DbError::Corrupt {
        column: column.to_owned(),
        value: value.to_string(),
    }
}

impl From<&DbError> for StoreError {
    fn from(error: &DbError) -> Self {
        use rusqlite::ErrorCode::{DiskFull, SystemIoFailure};
        let sqlite = match error {
            DbError::Sqlite(error) => error.sqlite_error_code(),
            DbError::Postgres(postgres) if postgres.code() == Some(&SqlState::DISK_FULL) => {
                return Self::DiskFull(error.to_string());
            }
            DbError::Postgres(_) | DbError::Connection(_) | DbError::Corrupt { .. } => None,
        };
        match sqlite {
            Some(DiskFull) => Self::DiskFull(error.to_string()),
            // A limit on the size of files, or a broken disk: both show as failed writes.
            Some(SystemIoFailure) => Self::DiskFull(format!("it cannot be written to ({error})")),
            _ => Self::Failed(error.to_string()),
        }
    }
}

/// A connection, in a transaction or not.
#[derive(Clone, Copy)]
pub enum Db<'a> {
    Sqlite(&'a rusqlite::Connection),
    Postgres(&'a Session),
}

impl Db<'_> {
    /// Runs a statement and returns how many rows it changed.
    pub(super) fn execute(self, sql: &str, args: &[Arg<'_>]) -> Result<usize> {
        match self {
            Self::Sqlite(conn) => {
                let args = rusqlite::params_from_iter(args);
                Ok(conn.prepare_cached(sql)?.execute(args)?)
            }
            Self::Postgres(conn) => Ok(conn.execute(sql, &pointers(args))?),
        }
    }

    /// Runs a statement of which it does not matter how many rows it changes. PostgreSQL is sent it along with what comes next,
    /// which fails where this has failed.
    pub(super) fn send(self, sql: &str, args: &[Arg<'_>]) -> Result<()> {
        match self {
            Self::Sqlite(_) => self.execute(sql, args).map(|_| ()),
            Self::Postgres(session) => Ok(session.send_execute(sql, args.iter().map(Arg::owned).collect())?),
        }
    }

    /// Waits for what was sent, and fails where one of it has failed.
    pub(super) fn settle(self) -> Result<()> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(session) => Ok(session.settle()?),
        }
    }

    /// Inserts a row, and says its id. (With RETURNING, SQLite would copy every page that it changes, so as to be able to
    /// undo this statement alone.)
    pub(super) fn insert(self, sql: &str, args: &[Arg<'_>]) -> Result<i64> {
        match self {
            Self::Sqlite(conn) => {
                self.execute(sql, args)?;
                Ok(conn.last_insert_rowid())
            }
            Self::Postgres(_) => self.one(&format!("{sql} RETURNING id"), args, |row| row.get("id")),
        }
    }

    /// Runs a statement for each of the rows, and says of each whether it changed something. The first column tells the rows
    /// apart. `kinds` has a letter for each column: `n` for numbers, `t` for texts.
    ///
    /// SQLite runs it once a row, which is quicker there than one statement over all of them; PostgreSQL runs one over all, since
    /// each takes a round trip.
    pub(super) fn update_each(self, sql: &str, kinds: &str, rows: &[Vec<Arg<'_>>]) -> Result<Vec<bool>> {
        let Some(session) = self.session_for(rows) else {
            return rows.iter().map(|row| Ok(self.execute(sql, row)? > 0)).collect();
        };
        let changed = session.query(
            &session::over_rows(sql, kinds, "RETURNING g.c1"),
            &pointers_to(&columns(kinds, rows)?),
        )?;
        let changed: BTreeSet<i64> = changed
            .iter()
            .map(|row| row.try_get(0))
            .collect::<std::result::Result<_, _>>()?;
        let is_changed = |row: &Vec<Arg<'_>>| matches!(row.first(), Some(Arg::Number(key)) if changed.contains(key));
        Ok(rows.iter().map(is_changed).collect())
    }

    /// Runs a statement for each of the rows, as [`Db::update_each`] does, whatever it changes, and as [`Db::send`] does.
    pub(super) fn send_each(self, sql: &str, kinds: &str, rows: &[Vec<Arg<'_>>]) -> Result<()> {
        match self.session_for(rows) {
            Some(session) => {
                let columns = columns(kinds, rows)?.into_iter().map(Array::owned).collect();
                session.send_execute(&session::over_rows(sql, kinds, ""), columns)?;
            }
            None => {
                for row in rows {
                    self.send(sql, row)?;
                }
            }
        }
        Ok(())
    }

    /// Inserts rows of which `key`, their first column, is a text that tells them apart, and says their ids.
    pub(super) fn create_each(self, sql: &str, kinds: &str, key: &str, rows: &[Vec<Arg<'_>>]) -> Result<Vec<i64>> {
        let Some(session) = self.session_for(rows) else {
            return rows.iter().map(|row| self.insert(sql, row)).collect();
        };
        let sql = session::over_rows(sql, kinds, &format!("RETURNING {key}, id"));
        let mut ids = BTreeMap::new();
        for created in session.query(&sql, &pointers_to(&columns(kinds, rows)?))? {
            ids.insert(created.try_get::<_, String>(0)?, created.try_get(1)?);
        }
        let id = |row: &Vec<Arg<'_>>| {
            let id = row.first().and_then(|key| ids.get(key.text()??));
            id.copied().ok_or_else(|| corrupt("id", "none"))
        };
        rows.iter().map(id).collect()
    }

    /// The rows of a query with one parameter, a text, for each of these.
    pub(super) fn query_each<T>(
        self,
        sql: &str,
        texts: &[&str],
        mut each: impl FnMut(&Row<'_>) -> Result<T>,
    ) -> Result<Vec<T>> {
        match self {
            Self::Postgres(session) if texts.len() > 1 => {
                let found = session.query(&session::over_texts(sql), &[&texts])?;
                found.iter().map(|row| each(&Row::Postgres(row))).collect()
            }
            _ => {
                let mut found = Vec::new();
                for text in texts {
                    found.extend(self.query(sql, args![*text], &mut each)?);
                }
                Ok(found)
            }
        }
    }

    /// The session, where there is more than one row for it.
    fn session_for(&self, rows: &[Vec<Arg<'_>>]) -> Option<&Session> {
        match self {
            Self::Postgres(session) if rows.len() > 1 => Some(session),
            _ => None,
        }
    }

    /// The rows of a query.
    pub(super) fn query<T>(
        self,
        sql: &str,
        args: &[Arg<'_>],
        mut each: impl FnMut(&Row<'_>) -> Result<T>,
    ) -> Result<Vec<T>> {
        match self {
            Self::Sqlite(conn) => {
                let mut statement = conn.prepare_cached(sql)?;
                let mut rows = statement.query(rusqlite::params_from_iter(args))?;
                let mut found = Vec::new();
                while let Some(row) = rows.next()? {
                    found.push(each(&Row::Sqlite(row, Cell::new(0)))?);
                }
                Ok(found)
            }
            Self::Postgres(conn) => {
                let rows = conn.query(sql, &pointers(args))?;
                rows.iter().map(|row| each(&Row::Postgres(row))).collect()
            }
        }
    }

    /// The first row of a query, if there is one.
    pub(super) fn first<T>(
        self,
        sql: &str,
        args: &[Arg<'_>],
        each: impl FnOnce(&Row<'_>) -> Result<T>,
    ) -> Result<Option<T>> {
        match self {
            Self::Sqlite(conn) => {
                let mut statement = conn.prepare_cached(sql)?;
                let mut rows = statement.query(rusqlite::params_from_iter(args))?;
                rows.next()?
                    .map(|row| each(&Row::Sqlite(row, Cell::new(0))))
                    .transpose()
            }
            Self::Postgres(conn) => {
                let rows = conn.query(sql, &pointers(args))?;
                rows.first().map(|row| each(&Row::Postgres(row))).transpose()
            }
        }
    }

    /// The one row of a query that always has one.
    pub(super) fn one<T>(self, sql: &str, args: &[Arg<'_>], each: impl FnOnce(&Row<'_>) -> Result<T>) -> Result<T> {
        self.first(sql, args, each)?
            .ok_or_else(|| corrupt("a query", "no row at all"))
    }

    /// Whether a query has a row.
    pub(super) fn exists(self, sql: &str, args: &[Arg<'_>]) -> Result<bool> {
        Ok(self.first(sql, args, |_| Ok(()))?.is_some())
    }

    /// Runs a query's statements so that all of them see one moment. On PostgreSQL those of every query do.
    pub(super) fn snapshot<T>(self, work: impl FnOnce(Self) -> Result<T>) -> Result<T> {
        if matches!(self, Self::Postgres(_)) {
            return work(self);
        }
        self.batch("BEGIN")?;
        let result = work(self);
        self.batch("COMMIT")?;
        result
    }

    /// Runs statements that have neither arguments nor rows.
    pub fn batch(self, sql: &str) -> Result<()> {
        match self {
            Self::Sqlite(conn) => Ok(conn.execute_batch(sql)?),
            Self::Postgres(conn) => Ok(conn.batch(sql)?),
        }
    }

    /// Commits the transaction.
    pub(super) fn commit(self) -> Result<()> {
        match self {
            Self::Sqlite(_) => self.batch("COMMIT"),
            Self::Postgres(session) => Ok(session.commit(Vec::new())?),
        }
    }

    /// Whether there is no transaction any more: SQLite gives one up on some errors (disk full), and one of a connection
    /// that is lost is gone with it.
    pub(super) fn has_no_transaction(self) -> bool {
        match self {
            Self::Sqlite(conn) => conn.is_autocommit(),
            Self::Postgres(conn) => conn.is_closed(),
        }
    }
}

/// A column of rows that are written together, as PostgreSQL takes it.
enum Array<'a> {
    Numbers(Vec<Option<i64>>),
    Texts(Vec<Option<&'a str>>),
}

impl Array<'_> {
    fn owned(self) -> Box<dyn ToSql + Send + Sync> {
        match self {
            Self::Numbers(numbers) => Box::new(numbers),
            Self::Texts(texts) => {
                let owned = texts.into_iter().map(|text| text.map(str::to_owned));
                Box::new(owned.collect::<Vec<_>>())
            }
        }
    }
}

/// A row or a value that does not fit the kinds would be written as NULL.
fn columns<'a>(kinds: &str, rows: &[Vec<Arg<'a>>]) -> Result<Vec<Array<'a>>> {
    if rows.iter().any(|row| row.len() != kinds.len()) {
        return Err(corrupt("kinds", kinds));
    }
    let column = |(place, kind): (usize, char)| {
        let args = rows.iter().filter_map(move |row| row.get(place).copied());
        let column = match kind {
            'n' => args.map(Arg::number).collect::<Option<_>>().map(Array::Numbers),
            _ => args.map(Arg::text).collect::<Option<_>>().map(Array::Texts),
        };
        column.ok_or_else(|| corrupt("kinds", kinds))
    };
    kinds.chars().enumerate().map(column).collect()
}

fn pointers_to<'a>(columns: &'a [Array<'_>]) -> Vec<&'a (dyn ToSql + Sync)> {
    let pointer = |column: &'a Array<'_>| -> &'a (dyn ToSql + Sync) {
        match column {
            Array::Numbers(numbers) => numbers,
            Array::Texts(texts) => texts,
        }
    };
    columns.iter().map(pointer).collect()
}

fn pointers<'a>(args: &'a [Arg<'_>]) -> Vec<&'a (dyn ToSql + Sync)> {
    args.iter().map(|arg| -> &(dyn ToSql + Sync) { arg }).collect()
}

impl Session {
    /// Connects, for a replica of this name. Not within a runtime: it waits for the server.
    pub(super) fn open(address: &Address, name: &str) -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(Self::on(runtime, address, name)?)
    }

    /// Runs queries that all see one moment. Where one fails, the transaction is left open.
    pub(super) fn read<T>(&self, query: impl FnOnce(Db<'_>) -> Result<T>) -> Result<T> {
        self.batch(session::READ)?;
        let found = query(Db::Postgres(self))?;
        self.batch("COMMIT")?;
        Ok(found)
    }
}

pub(super) enum Row<'a> {
    /// With the place after the column that was read last: columns are mostly read in their order, and to look for each
    /// name from the first on took longer than the rest of a query.
    Sqlite(&'a rusqlite::Row<'a>, Cell<usize>),
    Postgres(&'a tokio_postgres::Row),
}

impl Row<'_> {
    /// The column of this name.
    pub(super) fn get<T: Column>(&self, column: &str) -> Result<T> {
        T::of(self, column)
    }

    fn raw<T>(&self, column: &str) -> Result<T>
    where
        T: rusqlite::types::FromSql + for<'a> FromSql<'a>,
    {
        match self {
            Self::Sqlite(row, next) => {
                let statement = row.as_ref();
                let (next_one, all) = (next.get(), statement.column_count());
                let is_it = |place: &usize| statement.column_name(*place).is_ok_and(|name| name == column);
                let place = match (next_one..all).chain(0..next_one).find(is_it) {
                    Some(place) => place,
                    None => statement.column_index(column)?,
                };
                next.set(place + 1);
                Ok(row.get(place)?)
            }
            Self::Postgres(row) => Ok(row.try_get(column)?),
        }
    }
}

/// What a column may be read as.
pub(super) trait Column: Sized {
    fn of(row: &Row<'_>, column: &str) -> Result<Self>;
}

macro_rules! as_it_is {
    ($($kind:ty),*) => {$(
        impl Column for $kind {
            fn of(row: &Row<'_>, column: &str) -> Result<Self> {
                row.raw(column)
            }
        }
    )*};
}
as_it_is!(i64, String, Vec<u8>, Option<i64>, Option<String>);

macro_rules! whole_number {
    ($($kind:ty),*) => {$(
        impl Column for $kind {
            fn of(row: &Row<'_>, column: &str) -> Result<Self> {
                let number: i64 = row.raw(column)?;
                Self::try_from(number).map_err(|_| corrupt(column, number))
            }
        }
    )*};
}
whole_number!(u32, u64);

impl Column for bool {
    fn of(row: &Row<'_>, column: &str) -> Result<Self> {
        Ok(row.raw::<i64>(column)? != 0)
    }
}

impl Column for Timestamp {
    fn of(row: &Row<'_>, column: &str) -> Result<Self> {
        time(row.raw(column)?)
    }
}

impl Column for Option<Timestamp> {
    fn of(row: &Row<'_>, column: &str) -> Result<Self> {
        row.raw::<Option<i64>>(column)?.map(time).transpose()
    }
}

/// Times are stored as microseconds since 1970.
fn time(micros: i64) -> Result<Timestamp> {
    Timestamp::from_microsecond(micros).map_err(|error| corrupt("time", error))
}

/// What a statement is given.
#[derive(Debug, Clone, Copy)]
pub(super) enum Arg<'a> {
    Null,
    Number(i64),
    Text(&'a str),
    Bytes(&'a [u8]),
}

impl<'a> Arg<'a> {
    fn owned(&self) -> Box<dyn ToSql + Send + Sync> {
        match self {
            Self::Null => Box::new(Arg::Null),
            Self::Number(number) => Box::new(*number),
            Self::Text(text) => Box::new((*text).to_owned()),
            Self::Bytes(bytes) => Box::new(bytes.to_vec()),
        }
    }

    /// A number or NULL; `None` where it is neither.
    fn number(self) -> Option<Option<i64>> {
        match self {
            Self::Number(number) => Some(Some(number)),
            Self::Null => Some(None),
            Self::Text(_) | Self::Bytes(_) => None,
        }
    }

    /// A text or NULL; `None` where it is neither.
    fn text(self) -> Option<Option<&'a str>> {
        match self {
            Self::Text(text) => Some(Some(text)),
            Self::Null => Some(None),
            Self::Number(_) | Self::Bytes(_) => None,
        }
    }
}

macro_rules! args {
    ($($arg:expr),* $(,)?) => { &[$($crate::store::db::Arg::from($arg)),*] };
}
pub(super) use args;

impl From<i64> for Arg<'_> {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<u32> for Arg<'_> {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<usize> for Arg<'_> {
    fn from(number: usize) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<u64> for Arg<'_> {
    fn from(number: u64) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<bool> for Arg<'_> {
    fn from(yes: bool) -> Self {
        Self::Number(yes.into())
    }
}

impl From<Timestamp> for Arg<'_> {
    fn from(at: Timestamp) -> Self {
        Self::Number(at.as_microsecond())
    }
}

impl<'a> From<&'a str> for Arg<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a String> for Arg<'a> {
    fn from(text: &'a String) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a [u8]> for Arg<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(bytes)
    }
}

impl<'a, T: Into<Arg<'a>>> From<Option<T>> for Arg<'a> {
    fn from(maybe: Option<T>) -> Self {
        maybe.map_or(Self::Null, Into::into)
    }
}

impl rusqlite::ToSql for Arg<'_> {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        use rusqlite::types::ValueRef;
        let value = match self {
            Self::Null => ValueRef::Null,
            Self::Number(number) => ValueRef::Integer(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
        };
        Ok(rusqlite::types::ToSqlOutput::Borrowed(value))
    }
}

impl ToSql for Arg<'_> {
    fn to_sql(
        &self,
        kind: &Type,
        out: &mut bytes::BytesMut,
    ) -> std::result::Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Number(number) => number.to_sql_checked(kind, out),
            Self::Text(text) => text.to_sql_checked(kind, out),
            Self::Bytes(bytes) => bytes.to_sql_checked(kind, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        // Each value says for itself what it can be.
        true
    }

    to_sql_checked!();
}
