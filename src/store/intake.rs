//! Requests come in: verified webhooks, and requests by reconciliation and by the operator.

use jiff::Timestamp;
use serde_json::json;

use super::db::{Result, args};
use super::writer::Txn;
use super::{Answer, Change, Stage, Store, overview, rows};
use crate::domain::lead::{LeadId, Revision};
use crate::domain::sync::{Source, SyncId, SyncJob};

/// What became of a request for a sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    /// A sync was created for it.
    Created(SyncId),
    /// It was coalesced with the lead's active sync.
    Coalesced(SyncId),
    /// It was seen before and changes nothing.
    Duplicate,
}

/// One verified webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// `idempotency-key` header: opaque, and not signed.
    pub key: Option<String>,
    /// Signed `_id`.
    pub lead: LeadId,
    /// Signed `_rev`, where the projection has one that is not empty.
    pub rev: Option<String>,
    /// Signed `_updatedAt`, where the projection has one.
    pub updated_at: Option<Timestamp>,
}

impl Delivery {
    /// The revision it was signed for, where the projection says when that was.
    pub fn revision(&self) -> Option<Revision> {
        Some(Revision {
            updated_at: self.updated_at?,
            rev: self.rev.clone(),
        })
    }
}

impl Store {
    /// Stores a verified webhook. Returns after it is on disk.
    pub async fn accept(&self, delivery: Delivery) -> Answer<Accepted> {
        self.writer.write_if_room(move |txn| accept(txn, &delivery)).await
    }

    /// Creates a sync, or coalesces the request with the lead's active one. `revision` is the one the asker saw. A request by
    /// reconciliation is never coalesced: where a sync is active the answer is [`Accepted::Duplicate`].
    pub async fn request(&self, lead: LeadId, source: Source, revision: Option<Revision>) -> Answer<Accepted> {
        self.writer
            .write_if_room(move |txn| request(txn, &lead, source, revision.clone()))
            .await
    }
}

pub(super) fn accept(txn: &mut Txn<'_>, delivery: &Delivery) -> Result<Accepted> {
    txn.count("accepted");
    if is_repeat(txn, delivery)? {
        txn.count("duplicates");
        return Ok(Accepted::Duplicate);
    }
    let accepted = create_or_coalesce(txn, &delivery.lead, Source::Webhook, delivery.revision())?;
    if matches!(accepted, Accepted::Coalesced(_)) {
        txn.count("coalesced_by_webhook");
    }
    Ok(accepted)
}

/// Keeps the delivery unless it is a repeat. A signed revision tells a repeat by itself; the key is not signed, so it counts
/// only where there is no revision.
fn is_repeat(txn: &Txn<'_>, delivery: &Delivery) -> Result<bool> {
    if let (None, Some(key)) = (&delivery.rev, &delivery.key) {
        let sql = "-- is_repeat()
            SELECT 1 FROM delivery WHERE lead_id = ?1 AND idempotency_key = ?2";
        if txn.db.exists(sql, args![delivery.lead.as_str(), key])? {
            return Ok(true);
        }
    }
    let sql = "-- is_repeat()
        INSERT INTO delivery (idempotency_key, lead_id, rev, received_at) VALUES (?1, ?2, ?3, ?4)
        ON CONFLICT (lead_id, rev) DO NOTHING";
    let (key, rev) = (delivery.key.as_deref(), delivery.rev.as_deref());
    let kept = txn.db.execute(sql, args![key, delivery.lead.as_str(), rev, txn.now])?;
    Ok(kept == 0)
}

pub(super) fn request(
    txn: &mut Txn<'_>,
    lead: &LeadId,
    source: Source,
    revision: Option<Revision>,
) -> Result<Accepted> {
    if source == Source::Reconciliation {
        let is_active = active(txn, lead)?.is_some();
        if is_active || rows::link(txn.db, lead)?.is_declined(revision.as_ref()) {
            return Ok(Accepted::Duplicate);
        }
        overview::note_missed(txn)?;
    }
    create_or_coalesce(txn, lead, source, revision)
}

pub(super) fn active(txn: &Txn<'_>, lead: &LeadId) -> Result<Option<SyncJob>> {
    let sql = "-- active()
        SELECT * FROM sync WHERE lead_id = ?1 AND finished_at IS NULL";
    txn.db.first(sql, args![lead.as_str()], rows::sync_of)
}

pub(super) fn create_or_coalesce(
    txn: &mut Txn<'_>,
    lead: &LeadId,
    source: Source,
    revision: Option<Revision>,
) -> Result<Accepted> {
    let detail = json!({ "by": source.label() });
    if let Some(mut sync) = active(txn, lead)? {
        sync.coalesce(source, revision);
        rows::coalesce(txn.db, &sync)?;
        rows::insert_event(txn.db, &sync, "coalesced", &detail, txn.now)?;
        return Ok(Accepted::Coalesced(sync.id));
    }
    // The database gives it its number.
    let mut sync = SyncJob::create(SyncId(0), lead.clone(), source, revision, txn.now);
    sync.id = rows::create(txn.db, &sync)?;
    rows::insert_event(txn.db, &sync, "created", &detail, txn.now)?;
    txn.count(created_by(source));
    txn.wake(Stage::Upsert);
    txn.changed(Change::of(&sync));
    Ok(Accepted::Created(sync.id))
}

/// The ledger's counter of the syncs that an operator has created.
fn created_by(source: Source) -> &'static str {
    match source {
        Source::Webhook => "created_by_webhook",
        Source::Reconciliation => "created_by_reconciliation",
        Source::Manual | Source::Retry => "created_manually",
    }
}
