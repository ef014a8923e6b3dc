//! Small things kept under a name, and rights that one of several replicas holds for a while.

use std::time::Duration;

use jiff::Timestamp;

use super::db::{Db, Result, args};
use super::{Answer, Store};
use crate::clock::{after, before};
use crate::random;

impl Store {
    /// A value kept under a name (the sealed token, the organisation's fields), with the time it was put there.
    pub async fn kv_get(&self, name: &'static str) -> Answer<Option<(Vec<u8>, Timestamp)>> {
        self.read(move |db| get(db, name)).await
    }

    /// Keeps a value under a name.
    pub async fn kv_put(&self, name: &'static str, value: Vec<u8>) -> Answer<()> {
        self.writer.write(move |txn| put(txn.db, name, &value, txn.now)).await
    }

    /// Forgets what is kept under a name, if it is still this.
    pub async fn kv_delete(&self, name: &'static str, value: Vec<u8>) -> Answer<()> {
        self.writer.write(move |txn| delete(txn.db, name, Some(&value))).await
    }

    /// Asks for what only one of several replicas may do at a time, for so long. `true` where `holder` has it now: because
    /// it was free, or its time was over, or `holder` had it before.
    pub async fn try_lock(&self, name: &'static str, holder: &str, lasting: Duration) -> Answer<bool> {
        let holder = holder.to_owned();
        self.writer
            .write(move |txn| try_lock(txn.db, txn.now, name, &holder, lasting))
            .await
    }

    /// Gives back before its time what `holder` holds.
    pub async fn unlock(&self, name: &'static str, holder: &str) -> Answer<()> {
        let holder = holder.to_owned();
        self.writer.write(move |txn| unlock(txn.db, name, &holder)).await
    }

    /// Notes that an access token was granted at this time, and forgets grants of more than a day ago.
    pub async fn note_grant(&self, at: Timestamp) -> Answer<()> {
        self.writer.write(move |txn| note_grant(txn.db, at)).await
    }

    /// The grants since a time, oldest first.
    pub async fn grants(&self, since: Timestamp) -> Answer<Vec<Timestamp>> {
        self.read(move |db| grants(db, since)).await
    }
}

/// The name under which is kept that the operator has paused sending.
pub(super) const PAUSED: &str = "paused";

/// Bytes of a mark.
pub(super) const MARK: usize = 64 * 1024;

/// What is remembered of grants, at most.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) fn get(db: Db<'_>, name: &str) -> Result<Option<(Vec<u8>, Timestamp)>> {
    let sql = "-- get()
        SELECT value, at FROM kv WHERE name = ?1";
    db.first(sql, args![name], |row| Ok((row.get("value")?, row.get("at")?)))
}

pub(super) fn put(db: Db<'_>, name: &str, value: &[u8], now: Timestamp) -> Result<()> {
    let sql = "-- put()
        INSERT INTO kv (name, value, at) VALUES (?1, ?2, ?3) ON CONFLICT (name) DO UPDATE SET value = ?2, at = ?3";
    db.send(sql, args![name, value, now])
}

/// Keeps as many bytes as a webhook needs at most, with what the workers write beside it: where they are kept, the next webhook
/// is too. They are random: what is equal to the bytes before, or can be written shorter, needs no room on the disk.
pub(super) fn mark(db: Db<'_>, name: &str, now: Timestamp) -> Result<()> {
    put(db, name, &random::bytes::<MARK>(), now)
}

/// Forgets what is kept under a name, or only if it is this.
pub(super) fn delete(db: Db<'_>, name: &str, only: Option<&[u8]>) -> Result<()> {
    match only {
        Some(only) => db.send("DELETE FROM kv WHERE name = ?1 AND value = ?2", args![name, only]),
        None => db.send("DELETE FROM kv WHERE name = ?1", args![name]),
    }
}

pub(super) fn note_grant(db: Db<'_>, at: Timestamp) -> Result<()> {
    db.send("DELETE FROM token_grant WHERE at < ?1", args![before(at, DAY)])?;
    db.send("INSERT INTO token_grant (at) VALUES (?1)", args![at])
}

pub(super) fn grants(db: Db<'_>, since: Timestamp) -> Result<Vec<Timestamp>> {
    let sql = "-- grants()
        SELECT at FROM token_grant WHERE at >= ?1 ORDER BY at";
    db.query(sql, args![since], |row| row.get("at"))
}

/// Whether `holder` has the right of this name now: because it is free, or has expired, or `holder` had it before.
pub(super) fn try_lock(db: Db<'_>, now: Timestamp, name: &str, holder: &str, lasting: Duration) -> Result<bool> {
    let sql = "-- try_lock()
        INSERT INTO lock (name, holder, expires_at) VALUES (?1, ?2, ?3)
        ON CONFLICT (name) DO UPDATE SET holder = ?2, expires_at = ?3 WHERE lock.holder = ?2 OR lock.expires_at <= ?4";
    let expires_at = after(now, lasting);
    Ok(db.execute(sql, args![name, holder, expires_at, now])? > 0)
}

pub(super) fn unlock(db: Db<'_>, name: &str, holder: &str) -> Result<()> {
    db.send("DELETE FROM lock WHERE name = ?1 AND holder = ?2", args![name, holder])
}

pub(super) fn paused_since(db: Db<'_>) -> Result<Option<Timestamp>> {
    let sql = "-- paused_since()
        SELECT at FROM kv WHERE name = ?1";
    db.first(sql, args![PAUSED], |row| row.get("at"))
}
