//! The time of a tag belongs to the contact: an upsert moves the tags of all syncs that wait on it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::db::{Db, Result, args};
use super::rows;
use super::txn::Txn;
use crate::domain::lead::ContactId;
use crate::domain::sync::{SyncId, SyncJob};

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

/// An upsert of a contact.
pub(super) struct Upserted<'u> {
    pub(super) sync: SyncId,
    pub(super) contact: &'u ContactId,
    pub(super) tag_not_before: Timestamp,
}

/// The tag's time belongs to the contact: each sync of it waits for the latest upsert. Claims stay with their
/// holders.
pub(super) fn move_of_contacts(db: Db<'_>, upserts: &[Upserted<'_>]) -> Result<()> {
    let sql = "-- move_of_contacts()
        SELECT id, contact_id FROM sync WHERE contact_id = ?1 AND state = 'upserted'";
    let contacts: BTreeSet<&str> = upserts.iter().map(|upserted| upserted.contact.as_str()).collect();
    let waiting = db.query_each(sql, &Vec::from_iter(contacts), |row| {
        Ok((SyncId(row.get("id")?), rows::contact_of(row)?))
    })?;
    let mut of_contact: BTreeMap<ContactId, Vec<SyncId>> = BTreeMap::new();
    for (id, contact) in waiting {
        if let Some(contact) = contact {
            of_contact.entry(contact).or_default().push(id);
        }
    }
    for upserted in upserts {
        let others = of_contact.get(upserted.contact).into_iter().flatten();
        for id in others.filter(|id| **id != upserted.sync) {
            move_tag_of(db, *id, upserted.tag_not_before)?;
        }
    }
    Ok(())
}

fn move_tag_of(db: Db<'_>, id: SyncId, tag_not_before: Timestamp) -> Result<()> {
    match rows::find(db, id)? {
        Some(stored) => move_tag(db, stored.sync, tag_not_before),
        None => Ok(()),
    }
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
    moved
        .into_iter()
        .try_for_each(|id| move_tag_of(txn.db, id, tag_not_before))
}

fn move_tag(db: Db<'_>, mut sync: SyncJob, tag_not_before: Timestamp) -> Result<()> {
    if sync.contact_upserted(tag_not_before).is_ok() {
        let sql = "-- move_tag()
            UPDATE sync SET tag_not_before = CASE WHEN tag_not_before > ?2 THEN tag_not_before ELSE ?2 END, next_attempt_at = ?3, version = version + 1 WHERE id = ?1";
        db.execute(sql, args![sync.id.0, tag_not_before, sync.next_attempt_at])?;
    }
    Ok(())
}

/// After an upsert of which it is not known which contact it changed, if any.
pub(super) fn move_all(db: Db<'_>, tag_not_before: Timestamp) -> Result<()> {
    let sql = "-- move_all()
        UPDATE sync
        SET tag_not_before = CASE WHEN tag_not_before > ?1 THEN tag_not_before ELSE ?1 END,
            next_attempt_at = CASE WHEN next_attempt_at > ?1 THEN next_attempt_at ELSE ?1 END, version = version + 1
        WHERE finished_at IS NULL AND state = 'upserted'";
    db.execute(sql, args![tag_not_before])?;
    Ok(())
}
