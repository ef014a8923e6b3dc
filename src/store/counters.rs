//! The counters of the ledger, and of what the remote services have accepted.

use std::collections::BTreeMap;

use super::Stage;
use super::db::{Db, Result, args};

/// Adds to counters.
pub(super) fn count(db: Db<'_>, counts: &BTreeMap<&'static str, i64>) -> Result<()> {
    let sql = "-- count()
        INSERT INTO counter (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = counter.value + excluded.value";
    let rows: Vec<_> = counts.iter().map(|(name, by)| args![*name, *by].to_vec()).collect();
    db.execute_each(sql, "tn", &rows)
}

/// How many records of a stage its service has accepted so far.
pub(super) fn accepted(db: Db<'_>, stage: Stage) -> Result<i64> {
    let sql = "-- accepted()
        SELECT value FROM counter WHERE name = ?1";
    let count = db.first(sql, args![accepted_counter(stage)], |row| row.get("value"))?;
    Ok(count.unwrap_or(0))
}

pub(super) fn accepted_counter(stage: Stage) -> &'static str {
    match stage {
        Stage::Upsert => "accepted_by_upsert",
        Stage::Tag => "accepted_by_tag",
        Stage::WriteBack => "accepted_by_write_back",
    }
}
