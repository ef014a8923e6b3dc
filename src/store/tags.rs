//! The time of a tag belongs to the contact: an upsert moves the tags of all syncs that wait on it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::db::{Db, Result, args};
use super::rows;
use super::txn::Txn;
use crate::domain::lead::ContactId;
use crate::domain::sync::SyncId;

/// The contacts that an upsert which ended ambiguously may have changed.
#[derive(Debug, Clone, Default)]
pub struct PossiblyChanged {
    /// Those that it addressed by id.
    pub contacts: BTreeSet<ContactId>,
    /// Keyed hashes of the unique values that it looked contacts up by; see [`crate::domain::state::Delivered::keys`].
    pub keys: BTreeSet<String>,
}

impl PossiblyChanged {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.contacts.is_empty() && self.keys.is_empty()
    }

    /// Whether a contact, which was upserted with these keys, may be one of them.
    pub fn may_include(&self, contact: Option<&ContactId>, keys: &[String]) -> bool {
        contact.is_some_and(|contact| self.contacts.contains(contact)) || keys.iter().any(|key| self.keys.contains(key))
    }
}

/// As [`SyncJob::contact_upserted`](crate::domain::sync::SyncJob::contact_upserted) does: neither a tag's time nor a later due time
/// comes forward.
const MOVE: &str = "UPDATE sync
        SET tag_not_before = CASE WHEN tag_not_before > ?1 THEN tag_not_before ELSE ?1 END,
            next_attempt_at = CASE WHEN next_attempt_at > ?1 THEN next_attempt_at ELSE ?1 END, version = version + 1";

/// A sync waits for its tag: only then it has a time for it. Its state would say the same, but PostgreSQL might then scan the
/// index of all that are due.
const WAITS: &str = "tag_not_before IS NOT NULL";

/// An upsert of a contact.
pub(super) struct Upserted<'u> {
    pub(super) sync: SyncId,
    pub(super) contact: &'u ContactId,
    pub(super) tag_not_before: Timestamp,
}

/// The tag's time belongs to the contact: each sync of it waits for the latest upsert. Claims stay with their
/// holders.
pub(super) fn move_of_contacts(db: Db<'_>, upserts: &[Upserted<'_>]) -> Result<()> {
    let sql =
        format!("-- move_of_contacts()\n        SELECT id, contact_id FROM sync WHERE contact_id = ?1 AND {WAITS}");
    let contacts: BTreeSet<&str> = upserts.iter().map(|upserted| upserted.contact.as_str()).collect();
    let waiting = db.query_each(&sql, &Vec::from_iter(contacts), |row| {
        Ok((SyncId(row.get("id")?), rows::contact_of(row)?))
    })?;
    let mut of_contact: BTreeMap<ContactId, Vec<SyncId>> = BTreeMap::new();
    for (id, contact) in waiting {
        if let Some(contact) = contact {
            of_contact.entry(contact).or_default().push(id);
        }
    }
    // The latest counts, where two of them are of one contact.
    let mut moved: BTreeMap<SyncId, Timestamp> = BTreeMap::new();
    for upserted in upserts {
        let others = of_contact.get(upserted.contact).into_iter().flatten();
        for id in others.filter(|id| **id != upserted.sync) {
            let latest = moved.entry(*id).or_insert(upserted.tag_not_before);
            *latest = upserted.tag_not_before.max(*latest);
        }
    }
    move_each(db, moved)
}

/// An upsert that ended ambiguously may have changed the contacts with these ids or unique values, and no others.
pub(super) fn move_possibly_changed(
    txn: &Txn<'_>,
    possibly_changed: &PossiblyChanged,
    tag_not_before: Timestamp,
) -> Result<()> {
    // Few columns: as many may wait as the tag delay lets.
    let sql = "-- move_possibly_changed()
        SELECT id, contact_id, unique_keys FROM sync WHERE finished_at IS NULL AND state = 'upserted'";
    let mut moved = Vec::new();
    txn.db.query(sql, &[], |row| {
        if possibly_changed.may_include(rows::contact_of(row)?.as_ref(), &rows::keys_of(row)?) {
            moved.push(SyncId(row.get("id")?));
        }
        Ok(())
    })?;
    move_each(txn.db, moved.into_iter().map(|id| (id, tag_not_before)))
}

/// Moves the tags of these syncs, where they wait for one.
fn move_each(db: Db<'_>, moved: impl IntoIterator<Item = (SyncId, Timestamp)>) -> Result<()> {
    let sql = format!("-- move_each()\n        {MOVE} WHERE {WAITS} AND id = ?2");
    let rows: Vec<_> = moved.into_iter().map(|(id, at)| args![at, id.0].to_vec()).collect();
    db.send_each(&sql, "nn", &rows)
}

/// After an upsert of which it is not known which contact it changed, if any.
pub(super) fn move_all(db: Db<'_>, tag_not_before: Timestamp) -> Result<()> {
    let sql = format!("-- move_all()\n        {MOVE} WHERE finished_at IS NULL AND state = 'upserted'");
    db.send(&sql, args![tag_not_before])
}
