//! Rows to values and back, and the statements that write one row.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::db::{Db, Result, Row, args, corrupt};
use crate::domain::breaker::{Breaker, Open};
use crate::domain::failure::{Remote, ServiceErrorKind};
use crate::domain::lead::{ContactId, LeadId, Revision};
use crate::domain::lead_link::LeadLink;
use crate::domain::record::Action;
use crate::domain::reject_reason::RejectReason;
use crate::domain::state::{CancelledBy, Delivered, Seen, State};
use crate::domain::sync::{Attempts, Requests, SyncId, SyncJob};

pub(super) fn contact_of(row: &Row<'_>) -> Result<Option<ContactId>> {
    let text: Option<String> = row.get("contact_id")?;
    text.map(|id| ContactId::parse(&id).ok_or_else(|| corrupt("contact_id", &id)))
        .transpose()
}

fn needed<T>(column: &str, value: Option<T>) -> Result<T> {
    value.ok_or_else(|| corrupt(column, "NULL"))
}

pub(super) fn lead_of(row: &Row<'_>) -> Result<LeadId> {
    let text: String = row.get("lead_id")?;
    LeadId::parse(&text).map_err(|error| corrupt("lead_id", error))
}

fn delivered_of(row: &Row<'_>) -> Result<Delivered> {
    let action: String = row.get("action")?;
    Ok(Delivered {
        contact: needed("contact_id", contact_of(row)?)?,
        action: Action::from_label(&action).ok_or_else(|| corrupt("action", &action))?,
        hash: row.get("hash")?,
        keys: keys_of(row)?,
    })
}

pub(super) fn keys_of(row: &Row<'_>) -> Result<Vec<String>> {
    let keys: Option<String> = row.get("unique_keys")?;
    Ok(keys.unwrap_or_default().split_whitespace().map(str::to_owned).collect())
}

/// A revision in two columns.
fn revision_of(row: &Row<'_>, updated_at: &str, rev: &str) -> Result<Option<Revision>> {
    let Some(updated_at) = row.get(updated_at)? else {
        return Ok(None);
    };
    Ok(Some(Revision {
        updated_at,
        rev: row.get(rev)?,
    }))
}

fn updated_at(revision: Option<&Revision>) -> Option<Timestamp> {
    revision.map(|revision| revision.updated_at)
}

fn rev(revision: Option<&Revision>) -> Option<&str> {
    revision.and_then(|revision| revision.rev.as_deref())
}

fn seen_of(row: &Row<'_>) -> Result<Seen> {
    Ok(Seen {
        requests: row.get("seen_requests")?,
        revision: revision_of(row, "seen_updated_at", "seen_rev")?,
    })
}

pub(super) fn reason_of(row: &Row<'_>, column: &str) -> Result<Option<RejectReason>> {
    let stored: Option<String> = row.get(column)?;
    let parsed = stored.map(|json| serde_json::from_str(&json).map_err(|_| corrupt(column, &json)));
    parsed.transpose()
}

/// `None` cannot be: a reason is made of texts and numbers.
fn stored(reason: &RejectReason) -> Option<String> {
    serde_json::to_string(reason).ok()
}

fn state_of(row: &Row<'_>) -> Result<State> {
    let label: String = row.get("state")?;
    Ok(match label.as_str() {
        "requested" => State::Requested {
            contact: contact_of(row)?,
            contact_created: row.get("contact_created")?,
            force_create: row.get("force_create")?,
        },
        "upserted" => State::Upserted {
            delivered: delivered_of(row)?,
            seen: seen_of(row)?,
            tag_not_before: row.get("tag_not_before")?,
        },
        "tagged" => State::Tagged {
            delivered: delivered_of(row)?,
            seen: seen_of(row)?,
            synced_at: row.get("synced_at")?,
        },
        "rejected" => State::Rejected {
            reason: reason_of(row, "reason")?.ok_or_else(|| corrupt("reason", "NULL"))?,
            contact: contact_of(row)?,
            seen: seen_of(row)?,
        },
        "sent" => State::Sent {
            delivered: delivered_of(row)?,
            synced_at: row.get("synced_at")?,
        },
        "failed" => State::Failed {
            reason: reason_of(row, "reason")?.ok_or_else(|| corrupt("reason", "NULL"))?,
            contact: contact_of(row)?,
        },
        "lead_deleted" => State::LeadDeleted,
        "cancelled" => {
            let by: String = row.get("cancelled_by")?;
            State::Cancelled {
                by: CancelledBy::from_label(&by).ok_or_else(|| corrupt("cancelled_by", &by))?,
            }
        }
        other => return Err(corrupt("state", other)),
    })
}

pub(super) fn sync_of(row: &Row<'_>) -> Result<SyncJob> {
    Ok(SyncJob {
        id: SyncId(row.get("id")?),
        lead: lead_of(row)?,
        state: state_of(row)?,
        requests: Requests {
            count: row.get("requests")?,
            is_manual: row.get("is_manual")?,
            is_retry: row.get("is_retry")?,
            revision: revision_of(row, "requested_updated_at", "requested_rev")?,
        },
        attempts: Attempts {
            count: row.get("attempts")?,
            backoff_total: std::time::Duration::from_micros(row.get("backoff_total")?),
            last_error: reason_of(row, "last_error")?,
            accepted_before: row.get("accepted_before")?,
        },
        edits: row.get("edits")?,
        contact_losses: row.get("contact_losses")?,
        bisect_limit: row
            .get::<Option<i64>>("bisect_limit")?
            .and_then(|limit| u32::try_from(limit).ok()),
        next_attempt_at: row.get("next_attempt_at")?,
        created_at: row.get("created_at")?,
        finished_at: row.get::<Option<Timestamp>>("finished_at")?,
    })
}

pub(super) fn link_of(row: &Row<'_>) -> Result<LeadLink> {
    Ok(LeadLink {
        contact: contact_of(row)?,
        sent_hash: row.get("sent_hash")?,
        synced_at: row.get::<Option<Timestamp>>("synced_at")?,
        seen: revision_of(row, "seen_updated_at", "seen_rev")?,
        cancelled_at: row.get::<Option<Timestamp>>("cancelled_at")?,
        ambiguous_until: row.get::<Option<Timestamp>>("ambiguous_until")?,
        created_from: row.get::<Option<Timestamp>>("created_from")?,
    })
}

/// A service's breaker; a closed one where none is stored.
pub(super) fn breaker(db: Db<'_>, remote: Remote) -> Result<Breaker> {
    let sql = "-- breaker()
        SELECT * FROM breaker WHERE remote = ?1";
    let found = db.first(sql, args![remote.label()], breaker_of)?;
    Ok(found.unwrap_or_else(|| Breaker::closed(remote)))
}

pub(super) fn breaker_of(row: &Row<'_>) -> Result<Breaker> {
    let label: String = row.get("remote")?;
    let open = match row.get::<Option<Timestamp>>("until")? {
        None => None,
        Some(until) => Some(Open {
            since: row.get("since")?,
            until,
            fresh_from: row.get::<Option<Timestamp>>("fresh_from")?,
            kind: kind_of(row)?,
            code: row.get("code")?,
            what: row.get("what")?,
            action: row.get("action")?,
        }),
    };
    Ok(Breaker {
        remote: Remote::from_label(&label).ok_or_else(|| corrupt("remote", &label))?,
        failures: row.get("failures")?,
        epoch: row.get("epoch")?,
        open,
    })
}

fn kind_of(row: &Row<'_>) -> Result<ServiceErrorKind> {
    let label: String = row.get("kind")?;
    ServiceErrorKind::from_label(&label).ok_or_else(|| corrupt("kind", &label))
}

pub(super) fn link(db: Db<'_>, lead: &LeadId) -> Result<LeadLink> {
    let sql = "-- link()
        SELECT contact_id, sent_hash, synced_at, seen_updated_at, seen_rev, cancelled_at, ambiguous_until, created_from FROM lead WHERE lead_id = ?1";
    let found = db.first(sql, args![lead.as_str()], link_of)?;
    Ok(found.unwrap_or_default())
}

pub(super) fn save_link(db: Db<'_>, lead: &LeadId, link: &LeadLink) -> Result<()> {
    let sql = "-- save_link()
        INSERT INTO lead (lead_id, contact_id, sent_hash, synced_at, seen_updated_at, seen_rev, cancelled_at, ambiguous_until, created_from)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
        ON CONFLICT (lead_id) DO UPDATE SET
            contact_id = ?2, sent_hash = ?3, synced_at = ?4, seen_updated_at = ?5, seen_rev = ?6, cancelled_at = ?7, ambiguous_until = ?8,
            created_from = ?9";
    db.execute(
        sql,
        args![
            lead.as_str(),
            link.contact.as_ref().map(ContactId::as_str),
            link.sent_hash.as_deref(),
            link.synced_at,
            updated_at(link.seen.as_ref()),
            rev(link.seen.as_ref()),
            link.cancelled_at,
            link.ambiguous_until,
            link.created_from,
        ],
    )?;
    Ok(())
}

/// Inserts a sync that is created, and returns its number.
pub(super) fn create(db: Db<'_>, sync: &SyncJob) -> Result<SyncId> {
    let sql = "-- create()
        INSERT INTO sync (lead_id, state, requests, is_manual, requested_updated_at, requested_rev, next_attempt_at, created_at, changed_at, is_retry)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8, ?9)";
    let requests = &sync.requests;
    let args = args![
        sync.lead.as_str(),
        sync.state.label(),
        requests.count,
        requests.is_manual,
        updated_at(requests.revision.as_ref()),
        rev(requests.revision.as_ref()),
        sync.next_attempt_at,
        sync.created_at,
        requests.is_retry,
    ];
    Ok(SyncId(db.insert(sql, args)?))
}

/// Writes what is asked of a sync. Not the whole row: a worker may hold the lease.
pub(super) fn coalesce(db: Db<'_>, sync: &SyncJob) -> Result<()> {
    let sql = "-- coalesce()
        UPDATE sync SET requests = ?2, is_manual = ?3, requested_updated_at = ?4, requested_rev = ?5, is_retry = ?6 WHERE id = ?1";
    let requests = &sync.requests;
    let args = args![
        sync.id.0,
        requests.count,
        requests.is_manual,
        updated_at(requests.revision.as_ref()),
        rev(requests.revision.as_ref()),
        requests.is_retry,
    ];
    db.execute(sql, args)?;
    Ok(())
}

/// Writes the whole row of a sync, and gives its lease back. One that ends without a word of its contact keeps the contact
/// that it had, for people to find.
pub(super) fn save(db: Db<'_>, sync: &SyncJob, now: Timestamp) -> Result<()> {
    let sql = "-- save()
        UPDATE sync SET state = ?2, contact_id = CASE WHEN ?2 IN ('cancelled', 'lead_deleted') THEN contact_id ELSE ?3 END, contact_created = ?4, force_create = ?5, action = ?6, hash = ?7,
            seen_requests = ?8, seen_updated_at = ?9, seen_rev = ?10, tag_not_before = ?11,
            synced_at = ?12, reason = ?13, cancelled_by = ?14, requests = ?15,
            is_manual = ?16, requested_updated_at = ?17, requested_rev = ?18, attempts = ?19,
            backoff_total = ?20, last_error = ?21, accepted_before = ?22, edits = ?23, next_attempt_at = ?24,
            finished_at = ?25, changed_at = CASE WHEN state = ?2 THEN changed_at ELSE ?26 END, claim_token = NULL, claim_expires_at = NULL,
            contact_losses = ?27, bisect_limit = ?28, unique_keys = ?29, reason_code = ?30, reason_field = ?31
        WHERE id = ?1";
    let state = &sync.state;
    let delivered = match state {
        State::Upserted { delivered, .. } | State::Tagged { delivered, .. } | State::Sent { delivered, .. } => {
            Some(delivered)
        }
        _ => None,
    };
    let keys = delivered
        .filter(|delivered| !delivered.keys.is_empty())
        .map(|delivered| delivered.keys.join(" "));
    let tag_not_before = match state {
        State::Upserted { tag_not_before, .. } => Some(*tag_not_before),
        _ => None,
    };
    let synced_at = match state {
        State::Tagged { synced_at, .. } | State::Sent { synced_at, .. } => Some(*synced_at),
        _ => None,
    };
    let reason = state.reason();
    let (reason_json, last_error) = (
        reason.and_then(stored),
        sync.attempts.last_error.as_ref().and_then(stored),
    );
    let seen = state.seen().and_then(|seen| seen.revision.as_ref());
    let cancelled_by = match state {
        State::Cancelled { by } => Some(by.label()),
        _ => None,
    };
    db.execute(
        sql,
        args![
            sync.id.0,
            state.label(),
            state.contact().map(ContactId::as_str),
            matches!(
                state,
                State::Requested {
                    contact_created: true,
                    ..
                }
            ),
            matches!(state, State::Requested { force_create: true, .. }),
            delivered.map(|delivered| delivered.action.label()),
            delivered.map(|delivered| delivered.hash.as_str()),
            state.seen().map(|seen| seen.requests),
            updated_at(seen),
            rev(seen),
            tag_not_before,
            synced_at,
            reason_json.as_deref(),
            cancelled_by,
            sync.requests.count,
            sync.requests.is_manual,
            updated_at(sync.requests.revision.as_ref()),
            rev(sync.requests.revision.as_ref()),
            sync.attempts.count,
            i64::try_from(sync.attempts.backoff_total.as_micros()).unwrap_or(i64::MAX),
            last_error.as_deref(),
            sync.attempts.accepted_before,
            sync.edits,
            sync.next_attempt_at,
            sync.finished_at,
            now,
            sync.contact_losses,
            sync.bisect_limit,
            keys.as_deref(),
            reason.map(RejectReason::code),
            reason.and_then(RejectReason::field),
        ],
    )?;
    Ok(())
}

pub(super) fn save_breaker(db: Db<'_>, breaker: &Breaker) -> Result<()> {
    let sql = "-- save_breaker()
        INSERT INTO breaker (remote, failures, epoch, since, until, code, what, fresh_from, kind, action)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
        ON CONFLICT (remote) DO UPDATE
        SET failures = ?2, epoch = ?3, since = ?4, until = ?5, code = ?6, what = ?7, fresh_from = ?8, kind = ?9, action = ?10";
    let open = breaker.open.as_ref();
    db.execute(
        sql,
        args![
            breaker.remote.label(),
            breaker.failures,
            breaker.epoch,
            open.map(|open| open.since),
            open.map(|open| open.until),
            open.map(|open| open.code.as_str()),
            open.map(|open| open.what.as_str()),
            open.and_then(|open| open.fresh_from),
            open.map(|open| open.kind.label()),
            open.and_then(|open| open.action.as_deref()),
        ],
    )?;
    Ok(())
}

/// Adds a line to a sync's history. `detail` is left out where it is null.
pub(super) fn insert_event(db: Db<'_>, sync: &SyncJob, what: &str, detail: &Value, now: Timestamp) -> Result<()> {
    let sql = "-- insert_event()
        INSERT INTO event (sync_id, at, kind, state, detail) VALUES (?1, ?2, ?3, ?4, ?5)";
    let detail = if detail.is_null() { json!({}) } else { detail.clone() };
    let detail = detail.to_string();
    db.execute(sql, args![sync.id.0, now, what, sync.state.label(), &detail])?;
    Ok(())
}
