//! The counters of the ledger, and of what the remote services have accepted.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::Stage;
use super::db::{Db, Result, args};
use crate::random;

/// Rows of a counter. Transactions that store webhooks beside each other mostly count in different ones, and so do not wait for
/// each other.
const SHARDS: u8 = 16;

/// Adds to counters.
pub(super) fn count(db: Db<'_>, counts: &BTreeMap<&'static str, i64>, now: Timestamp) -> Result<()> {
    let sql = "-- count()
        INSERT INTO counter (name, shard, value, at) VALUES (?1, ?2, ?3, ?4)
        ON CONFLICT (name, shard) DO UPDATE SET value = counter.value + excluded.value, at = excluded.at";
    let shard = match db {
        Db::Sqlite(_) => 0,
        Db::Postgres(_) => random::bytes::<1>()[0] % SHARDS,
    };
    let row = |(name, by): (&&'static str, &i64)| args![*name, i64::from(shard), *by, now].to_vec();
    db.send_each(sql, "tnnn", &counts.iter().map(row).collect::<Vec<_>>())
}

/// All counters.
pub(super) fn all(db: Db<'_>) -> Result<BTreeMap<String, u64>> {
    let sql = "-- counters::all()
        SELECT name, CAST(sum(value) AS BIGINT) AS value FROM counter GROUP BY name";
    let counts = db.query(sql, &[], |row| Ok((row.get("name")?, row.get("value")?)))?;
    Ok(counts.into_iter().collect())
}

/// When a webhook was stored last; repeats do not count.
pub(super) fn last_webhook(db: Db<'_>) -> Result<Option<Timestamp>> {
    let sql = "-- last_webhook()
        SELECT max(at) AS latest FROM counter WHERE name IN ('created_by_webhook', 'coalesced_by_webhook')";
    db.one(sql, &[], |row| row.get("latest"))
}

/// How many records of a stage its service has accepted so far.
pub(super) fn accepted(db: Db<'_>, stage: Stage) -> Result<i64> {
    let sql = "-- accepted()
        SELECT CAST(coalesce(sum(value), 0) AS BIGINT) AS value FROM counter WHERE name = ?1";
    db.one(sql, args![accepted_counter(stage)], |row| row.get("value"))
}

pub(super) fn accepted_counter(stage: Stage) -> &'static str {
    match stage {
        Stage::Upsert => "accepted_by_upsert",
        Stage::Tag => "accepted_by_tag",
        Stage::WriteBack => "accepted_by_write_back",
    }
}
