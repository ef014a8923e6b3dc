//! What is read for people and for the workers' judgement, and what is forgotten.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, named_params, params};

use super::rows::{self, micros};
use crate::domain::breaker::Breaker;
use crate::domain::lead::{ContactId, LeadId};
use crate::domain::sync::SyncId;
use crate::store::{Filter, HistoryEntry, Ledger, SyncView};

type Result<T> = rusqlite::Result<T>;

pub(super) fn view_of(row: &Row<'_>) -> Result<SyncView> {
    Ok(SyncView {
        sync: rows::sync_of(row)?,
        changed_at: rows::time(row.get("changed_at")?)?,
    })
}

pub(super) fn list(conn: &Connection, filter: &Filter, limit: usize) -> Result<Vec<SyncView>> {
    // Only the conditions there are, so that each has its index: `:lead IS NULL OR …` would look at every sync.
    let state = filter.state.as_ref().map_or(":state IS NULL", |_| "state = :state");
    let lead = filter.lead.as_ref().map_or(":lead IS NULL", |_| "lead_id = :lead");
    let contact = filter
        .contact
        .as_ref()
        .map_or(":contact IS NULL", |_| "contact_id = :contact");
    let reason = filter.reason.as_ref().map_or(":reason IS NULL", |_| "reason = :reason");
    let sql = format!(
        "-- list()
        SELECT * FROM sync WHERE {state} AND {lead} AND {contact} AND {reason} AND (:before IS NULL OR id < :before)
        ORDER BY id DESC LIMIT :limit"
    );
    let mut statement = conn.prepare_cached(&sql)?;
    let rows = statement.query_map(
        named_params! {
            ":state": filter.state,
            ":lead": filter.lead.as_ref().map(LeadId::as_str),
            ":contact": filter.contact.as_ref().map(ContactId::as_str),
            ":reason": filter.reason,
            ":before": filter.before.map(|id| id.0),
            ":limit": limit,
        },
        view_of,
    )?;
    rows.collect()
}

pub(super) fn find(conn: &Connection, id: SyncId) -> Result<Option<SyncView>> {
    let sql = "-- find()
        SELECT * FROM sync WHERE id = ?1";
    conn.prepare_cached(sql)?.query_row([id.0], view_of).optional()
}

pub(super) fn sync(conn: &Connection, id: SyncId) -> Result<Option<(SyncView, Vec<HistoryEntry>)>> {
    let Some(view) = find(conn, id)? else {
        return Ok(None);
    };
    let sql = "-- sync()
        SELECT at, what, state, detail FROM event WHERE sync_id = ?1 ORDER BY id";
    let mut statement = conn.prepare_cached(sql)?;
    let entries = statement.query_map([id.0], |row| {
        let detail: String = row.get("detail")?;
        Ok(HistoryEntry {
            at: rows::time(row.get("at")?)?,
            what: row.get("what")?,
            state: row.get("state")?,
            detail: serde_json::from_str(&detail).unwrap_or_default(),
        })
    })?;
    Ok(Some((view, entries.collect::<Result<_>>()?)))
}

pub(super) fn ledger(conn: &Connection) -> Result<Ledger> {
    // One statement, so that all numbers are of one moment.
    let sql = "-- ledger()
        SELECT name, value FROM counter
        UNION ALL SELECT 'in_progress', count(*) FROM sync WHERE finished_at IS NULL";
    let mut statement = conn.prepare_cached(sql)?;
    let counts = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let counts: BTreeMap<String, u64> = counts.collect::<Result<_>>()?;
    let count = |name: &str| counts.get(name).copied().unwrap_or(0);
    let (webhook, reconciliation, person) = (
        count("opened_by_webhook"),
        count("opened_by_reconciliation"),
        count("opened_by_person"),
    );
    Ok(Ledger {
        accepted: count("accepted"),
        opened_by_webhook: webhook,
        joined_by_webhook: count("joined_by_webhook"),
        repeats: count("repeats"),
        opened: webhook + reconciliation + person,
        opened_by_reconciliation: reconciliation,
        opened_by_person: person,
        sent: count("sent"),
        failed: count("failed"),
        lead_deleted: count("lead_deleted"),
        cancelled: count("cancelled"),
        in_progress: count("in_progress"),
    })
}

pub(super) fn open_breakers(conn: &Connection) -> Result<Vec<Breaker>> {
    let mut statement = conn.prepare_cached("SELECT * FROM breaker WHERE until IS NOT NULL ORDER BY remote")?;
    statement.query_map([], rows::breaker_of)?.collect()
}

pub(super) fn owners(conn: &Connection, contacts: &[ContactId]) -> Result<BTreeMap<ContactId, LeadId>> {
    let sql = "-- owners()
        SELECT lead_id FROM lead WHERE contact_id = ?1 LIMIT 1";
    let mut statement = conn.prepare_cached(sql)?;
    let mut owners = BTreeMap::new();
    for contact in contacts {
        let lead: Option<String> = statement.query_row([contact.as_str()], |row| row.get(0)).optional()?;
        if let Some(lead) = lead.and_then(|lead| LeadId::parse(&lead).ok()) {
            owners.insert(contact.clone(), lead);
        }
    }
    Ok(owners)
}

pub(super) fn without_sync(conn: &Connection, mut leads: Vec<LeadId>) -> Result<Vec<LeadId>> {
    let sql = "-- without_sync()
        SELECT 1 FROM sync WHERE lead_id = ?1 AND finished_at IS NULL";
    let mut statement = conn.prepare_cached(sql)?;
    let mut failure = None;
    leads.retain(|lead| match statement.exists([lead.as_str()]) {
        Ok(active) => !active,
        Err(error) => {
            failure.get_or_insert(error);
            false
        }
    });
    failure.map_or(Ok(leads), Err)
}

pub(super) fn forget(conn: &Connection, now: Timestamp, age: Duration, limit: usize) -> Result<usize> {
    let before = micros(now).saturating_sub(i64::try_from(age.as_micros()).unwrap_or(i64::MAX));
    let sql = "-- forget()
        DELETE FROM event WHERE sync_id IN (SELECT id FROM sync WHERE finished_at < ?1 ORDER BY finished_at LIMIT ?2)";
    conn.prepare_cached(sql)?.execute(params![before, limit])?;
    let sql = "-- forget()
        DELETE FROM sync WHERE id IN (SELECT id FROM sync WHERE finished_at < ?1 ORDER BY finished_at LIMIT ?2)";
    let syncs = conn.prepare_cached(sql)?.execute(params![before, limit])?;
    let sql = "-- forget()
        DELETE FROM delivery WHERE id IN (SELECT id FROM delivery WHERE received_at < ?1 ORDER BY received_at LIMIT ?2)";
    let deliveries = conn.prepare_cached(sql)?.execute(params![before, limit])?;
    Ok(syncs.max(deliveries))
}
