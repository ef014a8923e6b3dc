//! Old syncs are deleted, with their history. What is known of their leads for good is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::db::{Db, Result, args};
use super::{Answer, Store, rows};
use crate::clock::before;
use crate::domain::lead::LeadId;

impl Store {
    /// Deletes up to `limit` syncs that finished longer than `age` ago, with their history. Returns how many; fewer than `limit`
    /// means that nothing is left to delete.
    pub async fn delete_old(&self, age: Duration, limit: usize) -> Answer<usize> {
        self.writer
            .write(move |txn| delete_old(txn.db, txn.now, age, limit))
            .await
    }
}

fn delete_old(db: Db<'_>, now: Timestamp, age: Duration, limit: usize) -> Result<usize> {
    let sql = "-- delete_old()
        SELECT id, lead_id FROM sync WHERE finished_at < ?1 ORDER BY finished_at, id LIMIT ?2";
    let old = db.query(sql, args![before(now, age), limit], |row| {
        Ok((row.get::<i64>("id")?, rows::lead_of(row)?))
    })?;
    // Also of leads with newer syncs: a sync that takes a contact over does not name it, and the lead is looked up by it.
    let leads: BTreeSet<&str> = old.iter().map(|(_, lead)| lead.as_str()).collect();
    rows::store_links(db, &Vec::from_iter(leads.iter().copied()))?;
    // A clock that was set back has made an older sync of a lead seem younger. It knows less of the lead, so it goes too.
    let mut newest: BTreeMap<&LeadId, i64> = BTreeMap::new();
    for (id, lead) in &old {
        let known = newest.entry(lead).or_insert(*id);
        *known = (*known).max(*id);
    }
    let sql = "-- delete_old()
        SELECT id, lead_id FROM sync WHERE lead_id = ?1";
    let all = db.query_each(sql, &Vec::from_iter(leads), |row| {
        Ok((row.get::<i64>("id")?, rows::lead_of(row)?))
    })?;
    let gone = all
        .iter()
        .filter(|(id, lead)| newest.get(lead).is_some_and(|newest| id <= newest));
    let rows: Vec<_> = gone.map(|(id, _)| args![*id].to_vec()).collect();
    db.send_each("DELETE FROM event WHERE sync_id = ?1", "n", &rows)?;
    db.send_each("DELETE FROM sync WHERE id = ?1", "n", &rows)?;
    Ok(old.len())
}
