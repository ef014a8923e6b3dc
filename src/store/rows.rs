//! Rows to values and back, and the statements that write one row.

use jiff::Timestamp;
use serde::Serialize;

use super::db::{Arg, Db, Result, Row, args, corrupt};
use crate::domain::breaker::{Breaker, Open};
use crate::domain::failure::{Remote, ServiceErrorKind};
use crate::domain::lead::{ContactId, LeadId, Revision};
use crate::domain::lead_link::LeadLink;
use crate::domain::record::Action;
use crate::domain::reject_reason::RejectReason;
use crate::domain::state::{CancelledBy, Delivered, Seen, State};
use crate::domain::sync::{Attempts, Requests, Source, SyncId, SyncJob};

pub(super) fn contact_of(row: &Row<'_>) -> Result<Option<ContactId>> {
    contact_in(row, "contact_id")
}

fn contact_in(row: &Row<'_>, column: &str) -> Result<Option<ContactId>> {
    let text: Option<String> = row.get(column)?;
    text.map(|id| ContactId::parse(&id).ok_or_else(|| corrupt(column, &id)))
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
fn as_json(reason: &RejectReason) -> Option<String> {
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

/// The link that the table `lead` keeps.
fn stored_link_of(row: &Row<'_>) -> Result<LeadLink> {
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

/// The lead's link as of a sync, of which a column is NULL where the sync's own says the same: the contact, what the last read
/// saw, and what was sent where the sync ended so.
pub(super) fn link_of(row: &Row<'_>) -> Result<LeadLink> {
    let is_sent = row.get::<String>("state")? == "sent";
    let own_contact = contact_of(row)?;
    let (own_hash, own_synced_at) = match is_sent {
        true => (row.get("hash")?, row.get::<Option<Timestamp>>("synced_at")?),
        false => (None, None),
    };
    let own_seen = revision_of(row, "seen_updated_at", "seen_rev")?;
    Ok(LeadLink {
        contact: contact_in(row, "link_contact_id")?.or(own_contact),
        sent_hash: row.get::<Option<String>>("link_sent_hash")?.or(own_hash),
        synced_at: row.get::<Option<Timestamp>>("link_synced_at")?.or(own_synced_at),
        seen: revision_of(row, "link_seen_updated_at", "link_seen_rev")?.or(own_seen),
        cancelled_at: row.get::<Option<Timestamp>>("link_cancelled_at")?,
        ambiguous_until: row.get::<Option<Timestamp>>("link_ambiguous_until")?,
        created_from: row.get::<Option<Timestamp>>("link_created_from")?,
    })
}

/// The columns of [`link_of`], in their order.
pub(super) const LINK: &str = "state, contact_id, hash, seen_updated_at, seen_rev, synced_at, link_contact_id, link_sent_hash, link_synced_at, link_seen_updated_at, link_seen_rev, link_cancelled_at, link_ambiguous_until, link_created_from";

/// A sync with all that is kept beside it.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) sync: SyncJob,
    /// Of the lead, if this is its newest sync.
    pub(super) link: LeadLink,
    pub(super) version: i64,
    pub(super) changed_at: Timestamp,
}

pub(super) fn stored_of(row: &Row<'_>) -> Result<Stored> {
    Ok(Stored {
        version: row.get("version")?,
        changed_at: row.get("changed_at")?,
        sync: sync_of(row)?,
        link: link_of(row)?,
    })
}

pub(super) fn find(db: Db<'_>, id: SyncId) -> Result<Option<Stored>> {
    let sql = "-- rows::find()
        SELECT * FROM sync WHERE id = ?1";
    db.first(sql, args![id.0], stored_of)
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

/// What is known of a lead for good: by its newest sync, and where it has none any more, by what was kept of it.
pub(super) fn link(db: Db<'_>, lead: &LeadId) -> Result<LeadLink> {
    let sql = format!("-- link()\n        SELECT {LINK} FROM sync WHERE lead_id = ?1 ORDER BY id DESC LIMIT 1");
    match db.first(&sql, args![lead.as_str()], link_of)? {
        Some(link) => Ok(link),
        None => {
            let kept = stored_links(db, &[lead.as_str()])?.pop();
            Ok(kept.map(|(_, link)| link).unwrap_or_default())
        }
    }
}

/// What was kept of leads whose syncs are deleted.
pub(super) fn stored_links(db: Db<'_>, leads: &[&str]) -> Result<Vec<(LeadId, LeadLink)>> {
    let sql = "-- stored_links()
        SELECT lead_id, contact_id, sent_hash, synced_at, seen_updated_at, seen_rev, cancelled_at, ambiguous_until, created_from FROM lead WHERE lead_id = ?1";
    db.query_each(sql, leads, |row| Ok((lead_of(row)?, stored_link_of(row)?)))
}

/// Keeps what is known of leads of which syncs are to be deleted, as their newest syncs have it.
pub(super) fn store_links(db: Db<'_>, leads: &[&str]) -> Result<()> {
    let sql = format!(
        "-- store_links()\n        SELECT lead_id, {LINK} FROM sync WHERE lead_id = ?1 ORDER BY id DESC LIMIT 1"
    );
    let links = db.query_each(&sql, leads, |row| Ok((lead_of(row)?, link_of(row)?)))?;
    let sql = "-- store_links()
        INSERT INTO lead (lead_id, contact_id, sent_hash, synced_at, seen_updated_at, seen_rev, cancelled_at, ambiguous_until, created_from)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
        ON CONFLICT (lead_id) DO UPDATE SET
            contact_id = excluded.contact_id, sent_hash = excluded.sent_hash, synced_at = excluded.synced_at,
            seen_updated_at = excluded.seen_updated_at, seen_rev = excluded.seen_rev, cancelled_at = excluded.cancelled_at,
            ambiguous_until = excluded.ambiguous_until, created_from = excluded.created_from";
    let row = |(lead, link)| [args![LeadId::as_str(lead)], args_of_link(link).as_slice()].concat();
    let rows: Vec<_> = links.iter().map(|(lead, link)| (lead, link)).map(row).collect();
    db.send_each(sql, "tttnntnnn", &rows)
}

/// All of a link, in the order of the columns of the table `lead`.
fn args_of_link(link: &LeadLink) -> [Arg<'_>; 8] {
    [
        link.contact.as_ref().map(ContactId::as_str).into(),
        link.sent_hash.as_deref().into(),
        link.synced_at.into(),
        updated_at(link.seen.as_ref()).into(),
        rev(link.seen.as_ref()).into(),
        link.cancelled_at.into(),
        link.ambiguous_until.into(),
        link.created_from.into(),
    ]
}

/// A sync that is to be created.
pub(super) struct New {
    /// Without its number.
    pub(super) sync: SyncJob,
    pub(super) link: LeadLink,
    pub(super) source: Source,
    /// As the column has it.
    pub(super) webhook_marks: Option<String>,
}

fn args_of_new(new: &New) -> Vec<Arg<'_>> {
    let New { sync, link, .. } = new;
    let requests = &sync.requests;
    let own = args![
        sync.lead.as_str(),
        sync.state.label(),
        sync.created_at,
        sync.next_attempt_at,
        new.source.label(),
        requests.count,
        requests.is_manual,
        requests.is_retry,
        updated_at(requests.revision.as_ref()),
        rev(requests.revision.as_ref()),
        new.webhook_marks.as_deref(),
    ];
    [own, args_of_link(link).as_slice()].concat()
}

/// Inserts syncs, each of another lead, and returns their numbers.
pub(super) fn create_all(db: Db<'_>, all: &[New]) -> Result<Vec<SyncId>> {
    let sql = "-- create_all()
        INSERT INTO sync (lead_id, state, created_at, changed_at, next_attempt_at, source, requests, is_manual, is_retry, requested_updated_at, requested_rev, webhook_marks,
            link_contact_id, link_sent_hash, link_synced_at, link_seen_updated_at, link_seen_rev, link_cancelled_at, link_ambiguous_until, link_created_from)
        VALUES (?1, ?2, ?3, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)";
    let rows: Vec<_> = all.iter().map(args_of_new).collect();
    let ids = db.create_each(sql, "ttnntnnnnttttnntnnn", "lead_id", &rows)?;
    Ok(ids.into_iter().map(SyncId).collect())
}

/// Of a sync that is to be upserted: whether it has made its contact itself, and whether it is to make another.
fn restart_of(state: &State) -> (bool, bool) {
    match state {
        State::Requested {
            contact_created,
            force_create,
            ..
        } => (*contact_created, *force_create),
        _ => (false, false),
    }
}

fn delivered_in(state: &State) -> Option<&Delivered> {
    match state {
        State::Upserted { delivered, .. } | State::Tagged { delivered, .. } | State::Sent { delivered, .. } => {
            Some(delivered)
        }
        _ => None,
    }
}

/// Writes what is asked of a sync, and what tells its webhooks' repeats. Not the whole row: a worker may have claimed it.
pub(super) fn coalesce(db: Db<'_>, sync: &SyncJob, webhook_marks: Option<&str>) -> Result<()> {
    let sql = "-- coalesce()
        UPDATE sync SET version = version + 1, requests = ?2, is_manual = ?3, requested_updated_at = ?4, requested_rev = ?5, is_retry = ?6, webhook_marks = ?7
        WHERE id = ?1";
    let requests = &sync.requests;
    let args = args![
        sync.id.0,
        requests.count,
        requests.is_manual,
        updated_at(requests.revision.as_ref()),
        rev(requests.revision.as_ref()),
        requests.is_retry,
        webhook_marks,
    ];
    db.send(sql, args)
}

const SAVE: &str = "-- save()
    UPDATE sync SET state = ?2, contact_id = CASE WHEN ?2 IN ('cancelled', 'lead_deleted') THEN contact_id ELSE ?3 END, contact_created = ?4, force_create = ?5, action = ?6, hash = ?7,
        seen_requests = ?8, seen_updated_at = ?9, seen_rev = ?10, tag_not_before = ?11,
        synced_at = ?12, reason = ?13, cancelled_by = ?14, requests = ?15,
        is_manual = ?16, requested_updated_at = ?17, requested_rev = ?18, attempts = ?19,
        backoff_total = ?20, last_error = ?21, accepted_before = ?22, edits = ?23, next_attempt_at = ?24,
        finished_at = ?25, changed_at = CASE WHEN state = ?2 THEN changed_at ELSE ?26 END,
        contact_losses = ?27, bisect_limit = ?28, unique_keys = ?29, reason_code = ?30, reason_field = ?31,
        link_contact_id = ?32, link_sent_hash = ?33, link_synced_at = ?34, link_seen_updated_at = ?35, link_seen_rev = ?36,
        link_cancelled_at = ?37, link_ambiguous_until = ?38, link_created_from = ?39, version = version + 1
    WHERE id = ?1 AND version = ?40";

/// Their types, as [`Db::update_each`] has them.
const SAVE_KINDS: &str = "nttnnttnntnnttnnntnntnnnnnnntttttnntnnnn";

/// Writes the whole row of a sync with the lead's link, if it is still of this version, and says whether it was. One that
/// ends without a word of its contact keeps the contact that it had, for people to find.
pub(super) fn save(db: Db<'_>, stored: &Stored, now: Timestamp) -> Result<bool> {
    Ok(save_all(db, &[stored], now)? == [true])
}

/// As [`save`] does, all of them.
pub(super) fn save_all(db: Db<'_>, all: &[&Stored], now: Timestamp) -> Result<Vec<bool>> {
    let texts: Vec<Texts> = all.iter().map(|stored| Texts::of(&stored.sync)).collect();
    let rows: Vec<_> = all
        .iter()
        .zip(&texts)
        .map(|(stored, texts)| args_of(stored, texts, now))
        .collect();
    db.update_each(SAVE, SAVE_KINDS, &rows)
}

/// What a row has of a sync that is made for it.
struct Texts {
    keys: Option<String>,
    reason: Option<String>,
    last_error: Option<String>,
}

impl Texts {
    fn of(sync: &SyncJob) -> Self {
        let keys = delivered_in(&sync.state).filter(|delivered| !delivered.keys.is_empty());
        Self {
            keys: keys.map(|delivered| delivered.keys.join(" ")),
            reason: sync.state.reason().and_then(as_json),
            last_error: sync.attempts.last_error.as_ref().and_then(as_json),
        }
    }
}

/// The parameters of [`SAVE`].
fn args_of<'a>(stored: &'a Stored, texts: &'a Texts, now: Timestamp) -> Vec<Arg<'a>> {
    let Stored { sync, link, .. } = stored;
    let state = &sync.state;
    let delivered = delivered_in(state);
    let (tag_not_before, synced_at) = match state {
        State::Upserted { tag_not_before, .. } => (Some(*tag_not_before), None),
        State::Tagged { synced_at, .. } | State::Sent { synced_at, .. } => (None, Some(*synced_at)),
        _ => (None, None),
    };
    let reason = state.reason();
    // One that has ended has no read of its own any more: there is room for what the lead's newest read was.
    let seen = match state.is_final() {
        true => link.seen.as_ref(),
        false => state.seen().and_then(|seen| seen.revision.as_ref()),
    };
    let (contact_created, force_create) = restart_of(state);
    let cancelled_by = match state {
        State::Cancelled { by } => Some(by.label()),
        _ => None,
    };
    let is_sent = matches!(state, State::Sent { .. });
    let link_seen = link.seen.as_ref().filter(|known| Some(*known) != seen);
    args![
        sync.id.0,
        state.label(),
        state.contact().map(ContactId::as_str),
        contact_created,
        force_create,
        delivered.map(|delivered| delivered.action.label()),
        delivered.map(|delivered| delivered.hash.as_str()),
        state.seen().map(|seen| seen.requests),
        updated_at(seen),
        rev(seen),
        tag_not_before,
        synced_at,
        texts.reason.as_deref(),
        cancelled_by,
        sync.requests.count,
        sync.requests.is_manual,
        updated_at(sync.requests.revision.as_ref()),
        rev(sync.requests.revision.as_ref()),
        sync.attempts.count,
        i64::try_from(sync.attempts.backoff_total.as_micros()).unwrap_or(i64::MAX),
        texts.last_error.as_deref(),
        sync.attempts.accepted_before,
        sync.edits,
        sync.next_attempt_at,
        sync.finished_at,
        now,
        sync.contact_losses,
        sync.bisect_limit,
        texts.keys.as_deref(),
        reason.map(RejectReason::code),
        reason.and_then(RejectReason::field),
        link.contact
            .as_ref()
            .filter(|known| Some(*known) != state.contact())
            .map(ContactId::as_str),
        link.sent_hash.as_deref().filter(|_| !is_sent),
        link.synced_at.filter(|_| !is_sent),
        updated_at(link_seen),
        rev(link_seen),
        link.cancelled_at,
        link.ambiguous_until,
        link.created_from,
        stored.version,
    ]
    .to_vec()
}

pub(super) fn save_breaker(db: Db<'_>, breaker: &Breaker) -> Result<()> {
    let sql = "-- save_breaker()
        INSERT INTO breaker (remote, failures, epoch, since, until, code, what, fresh_from, kind, action)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
        ON CONFLICT (remote) DO UPDATE
        SET failures = ?2, epoch = ?3, since = ?4, until = ?5, code = ?6, what = ?7, fresh_from = ?8, kind = ?9, action = ?10";
    let open = breaker.open.as_ref();
    db.send(
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
    )
}

/// A line of a sync's history.
pub(super) struct EventLine<'s> {
    pub(super) sync: &'s SyncJob,
    pub(super) kind: &'static str,
    pub(super) detail: Detail,
}

/// What a line of a history says beyond its kind and state: codes, counts, durations, sentences, and never values. What is `None`
/// is left out; a request without `by` came by webhook.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Detail {
    /// Label of an [`Action`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<&'static str>,
    /// Attempts so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bisect_limit: Option<u32>,
    /// Who: the label of a [`Source`], or `operator`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contact: Option<String>,
    /// The lead was edited after it was read, and its contact does not have that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edits_not_carried: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How long the step had taken, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_attempt_at: Option<Timestamp>,
    /// Why it was rejected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Label of the stage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<&'static str>,
}

/// Adds lines to the histories of syncs.
pub(super) fn insert_events(db: Db<'_>, lines: &[EventLine<'_>], now: Timestamp) -> Result<()> {
    let sql = "-- insert_events()
        INSERT INTO event (sync_id, at, kind, state, detail) VALUES (?1, ?2, ?3, ?4, ?5)";
    let detail = |line: &EventLine<'_>| {
        let is_empty = line.detail == Detail::default();
        // It cannot fail: texts and numbers.
        serde_json::to_string(&line.detail).ok().filter(|_| !is_empty)
    };
    let details: Vec<Option<String>> = lines.iter().map(detail).collect();
    let rows = lines
        .iter()
        .zip(&details)
        .map(|(EventLine { sync, kind, .. }, detail)| {
            let state = Some(sync.state.label()).filter(|state| state != kind);
            args![sync.id.0, now, *kind, state, detail.as_deref()].to_vec()
        });
    db.send_each(sql, "nnttt", &rows.collect::<Vec<_>>())
}

/// Adds a line to a sync's history.
pub(super) fn insert_event(
    db: Db<'_>,
    sync: &SyncJob,
    kind: &'static str,
    detail: Detail,
    now: Timestamp,
) -> Result<()> {
    insert_events(db, &[EventLine { sync, kind, detail }], now)
}
