//! Small things kept under a name, and rights that one of several replicas holds for a while.

use std::time::Duration;

use jiff::Timestamp;

use super::db::{Db, Result, args};
use super::writer::Txn;
use crate::clock::{after, before};
use crate::random;

/// Bytes of a mark.
pub(in crate::store) const MARK: usize = 64 * 1024;

/// What is remembered of grants, at most.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub(in crate::store) fn get(db: Db<'_>, name: &str) -> Result<Option<(Vec<u8>, Timestamp)>> {
    let sql = "-- get()
        SELECT value, at FROM kv WHERE name = ?1";
    db.first(sql, args![name], |row| Ok((row.get("value")?, row.get("at")?)))
}

pub(in crate::store) fn put(db: Db<'_>, name: &str, value: &[u8], now: Timestamp) -> Result<()> {
    let sql = "-- put()
        INSERT INTO kv (name, value, at) VALUES (?1, ?2, ?3) ON CONFLICT (name) DO UPDATE SET value = ?2, at = ?3";
    db.execute(sql, args![name, value, now])?;
    Ok(())
}

/// Keeps as many bytes as a webhook needs at most, with what the workers write beside it: where they are kept, the next webhook
/// is too. They are random: what is equal to the bytes before, or can be written shorter, needs no room on the disk.
pub(in crate::store) fn mark(db: Db<'_>, name: &str, now: Timestamp) -> Result<()> {
    put(db, name, &random::bytes::<MARK>(), now)
}

/// Forgets what is kept under a name, or only if it is this.
pub(super) fn delete(db: Db<'_>, name: &str, only: Option<&[u8]>) -> Result<()> {
    match only {
        Some(only) => db.execute("DELETE FROM kv WHERE name = ?1 AND value = ?2", args![name, only])?,
        None => db.execute("DELETE FROM kv WHERE name = ?1", args![name])?,
    };
    Ok(())
}

pub(in crate::store) fn note_grant(db: Db<'_>, at: Timestamp) -> Result<()> {
    db.execute("DELETE FROM token_grant WHERE at < ?1", args![before(at, DAY)])?;
    db.execute("INSERT INTO token_grant (at) VALUES (?1)", args![at])?;
    Ok(())
}

pub(in crate::store) fn grants(db: Db<'_>, since: Timestamp) -> Result<Vec<Timestamp>> {
    let sql = "-- grants()
        SELECT at FROM token_grant WHERE at >= ?1 ORDER BY at";
    db.query(sql, args![since], |row| row.get("at"))
}

/// Whether `holder` has the right of this name now: because it is free, or has expired, or `holder` had it before.
pub(super) fn try_lock(txn: &Txn<'_>, name: &str, holder: &str, lasting: Duration) -> Result<bool> {
    let sql = "-- try_lock()
        INSERT INTO lock (name, holder, expires_at) VALUES (?1, ?2, ?3)
        ON CONFLICT (name) DO UPDATE SET holder = ?2, expires_at = ?3 WHERE lock.holder = ?2 OR lock.expires_at <= ?4";
    let expires_at = after(txn.now, lasting);
    Ok(txn.db.execute(sql, args![name, holder, expires_at, txn.now])? > 0)
}

pub(super) fn unlock(db: Db<'_>, name: &str, holder: &str) -> Result<()> {
    db.execute("DELETE FROM lock WHERE name = ?1 AND holder = ?2", args![name, holder])?;
    Ok(())
}
