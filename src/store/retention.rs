//! Old syncs are deleted, with their history, and old deliveries.

use std::time::Duration;

use jiff::Timestamp;

use super::db::{Db, Result, args};
use super::{Answer, Store};
use crate::clock::before;

impl Store {
    /// Deletes up to `limit` finished syncs, with their history, and up to `limit` deliveries that are older than `age`. Returns how many
    /// rows went; fewer than `limit` means that nothing is left to delete.
    pub async fn delete_old(&self, age: Duration, limit: usize) -> Answer<usize> {
        self.writer
            .write(move |txn| delete_old(txn.db, txn.now, age, limit))
            .await
    }
}

pub(super) fn delete_old(db: Db<'_>, now: Timestamp, age: Duration, limit: usize) -> Result<usize> {
    let before = before(now, age);
    let sql = "-- delete_old()
        DELETE FROM event WHERE sync_id IN (SELECT id FROM sync WHERE finished_at < ?1 ORDER BY finished_at, id LIMIT ?2)";
    db.execute(sql, args![before, limit])?;
    let sql = "-- delete_old()
        DELETE FROM sync WHERE id IN (SELECT id FROM sync WHERE finished_at < ?1 ORDER BY finished_at, id LIMIT ?2)";
    let syncs = db.execute(sql, args![before, limit])?;
    let sql = "-- delete_old()
        DELETE FROM delivery WHERE received_at < ?1 AND id IN (SELECT id FROM delivery ORDER BY id LIMIT ?2)";
    let deliveries = db.execute(sql, args![before, limit])?;
    Ok(syncs.max(deliveries))
}
