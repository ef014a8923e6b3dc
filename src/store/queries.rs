//! What is read for people and for the workers' judgement.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::json;

use super::db::{Arg, Db, Result, Row, args, corrupt};
use super::{Answer, Filter, Ledger, Stage, Store, SyncEvent, SyncView, counters, rows};
use crate::domain::breaker::Breaker;
use crate::domain::failure::Remote;
use crate::domain::lead::{ContactId, LeadId};
use crate::domain::lead_link::LeadLink;
use crate::domain::sync::{Source, SyncId};

impl Store {
    /// A page of syncs, newest first.
    pub async fn list(&self, filter: Filter, limit: usize) -> Answer<Vec<SyncView>> {
        self.read(move |db| list(db, &filter, limit)).await
    }

    /// One sync with its history, oldest line first.
    pub async fn sync(&self, id: SyncId) -> Answer<Option<(SyncView, Vec<SyncEvent>)>> {
        self.read(move |db| sync(db, id)).await
    }

    /// Which of the contacts the store knows as some lead's.
    pub async fn owners(&self, contacts: Vec<ContactId>) -> Answer<BTreeMap<ContactId, LeadId>> {
        self.read(move |db| owners(db, &contacts)).await
    }

    /// What is remembered of a lead, also after its syncs are forgotten; nothing of one that never was here.
    pub async fn link(&self, lead: LeadId) -> Answer<LeadLink> {
        self.read(move |db| rows::link(db, &lead)).await
    }

    /// Those of the leads that have no active sync, in the same order.
    pub async fn without_sync(&self, leads: Vec<LeadId>) -> Answer<Vec<LeadId>> {
        self.read(move |db| without_sync(db, &leads)).await
    }

    pub async fn ledger(&self) -> Answer<Ledger> {
        // So that all numbers are of one moment.
        self.read(|db| db.snapshot(ledger)).await
    }

    /// The breaker of a service, open or closed.
    pub async fn breaker(&self, remote: Remote) -> Answer<Breaker> {
        self.read(move |db| rows::breaker(db, remote)).await
    }

    /// The breakers that are not closed.
    pub async fn open_breakers(&self) -> Answer<Vec<Breaker>> {
        self.read(open_breakers).await
    }
}

pub(super) fn view_of(row: &Row<'_>) -> Result<SyncView> {
    Ok(SyncView {
        sync: rows::sync_of(row)?,
        changed_at: row.get("changed_at")?,
        contact: rows::contact_of(row)?,
        next: row.get::<Option<i64>>("next_id")?.map(SyncId),
        dismissed_at: row.get::<Option<Timestamp>>("dismissed_at")?,
    })
}

/// The columns of [`view_of`].
pub(super) const VIEW: &str = "SELECT sync.*, (SELECT min(next.id) FROM sync AS next WHERE next.lead_id = sync.lead_id AND next.id > sync.id) AS next_id FROM sync";

pub(super) fn list(db: Db<'_>, filter: &Filter, limit: usize) -> Result<Vec<SyncView>> {
    // Only the conditions there are, so that each has its index: `?1 IS NULL OR …` would look at every sync.
    let mut conditions = Vec::new();
    let mut args = vec![Arg::from(limit)];
    let conditional = [
        ("state =", Arg::from(filter.state.as_deref())),
        ("lead_id =", filter.lead.as_ref().map(LeadId::as_str).into()),
        ("contact_id =", filter.contact.as_ref().map(ContactId::as_str).into()),
        (
            "reason_code =",
            filter.reason.as_ref().map(|key| key.code.as_str()).into(),
        ),
        (
            "reason_field =",
            filter.reason.as_ref().and_then(|key| key.field.as_deref()).into(),
        ),
        ("id <", filter.before.map(|id| id.0).into()),
    ];
    for (condition, arg) in conditional {
        if !matches!(arg, Arg::Null) {
            args.push(arg);
            conditions.push(format!("{condition} ?{}", args.len()));
        }
    }
    // So that the index of this kind of states will do.
    if let Some(state) = &filter.state {
        let is_active = Stage::ALL.iter().any(|stage| stage.states().contains(&state.as_str()));
        let condition = if is_active {
            "finished_at IS NULL"
        } else {
            "finished_at IS NOT NULL"
        };
        conditions.push(condition.to_owned());
    }
    let pattern = filter.part.as_deref().map(containing);
    if let Some(pattern) = &pattern {
        args.push(pattern.into());
        let like = format!("LIKE ?{} ESCAPE '!'", args.len());
        conditions.push(format!("(lower(lead_id) {like} OR contact_id {like})"));
    }
    let all = if conditions.is_empty() { "" } else { "WHERE" };
    let sql = format!(
        "-- list()
        {VIEW} {all} {} ORDER BY id DESC LIMIT ?1",
        conditions.join(" AND ")
    );
    db.query(&sql, &args, view_of)
}

/// The pattern of texts that contain this, which is compared in lower case.
fn containing(part: &str) -> String {
    let mut pattern = String::from("%");
    for letter in part.to_lowercase().chars() {
        if matches!(letter, '%' | '_' | '!') {
            pattern.push('!');
        }
        pattern.push(letter);
    }
    pattern + "%"
}

pub(super) fn find(db: Db<'_>, id: SyncId) -> Result<Option<SyncView>> {
    let sql = format!("-- find()\n{VIEW} WHERE id = ?1");
    db.first(&sql, args![id.0], view_of)
}

pub(super) fn sync(db: Db<'_>, id: SyncId) -> Result<Option<(SyncView, Vec<SyncEvent>)>> {
    let Some(view) = find(db, id)? else {
        return Ok(None);
    };
    let sql = "-- sync()
        SELECT at, kind, coalesce(state, kind) AS state, detail FROM event WHERE sync_id = ?1 ORDER BY id";
    let entries = db.query(sql, args![id.0], |row| {
        let (at, kind): (_, String) = (row.get("at")?, row.get("kind")?);
        let state = row.get("state")?;
        let detail = match row.get::<Option<String>>("detail")? {
            Some(detail) => serde_json::from_str(&detail).map_err(|_| corrupt("detail", &detail))?,
            None if matches!(kind.as_str(), "created" | "coalesced") => json!({ "by": Source::Webhook.label() }),
            None => json!({}),
        };
        Ok(SyncEvent {
            at,
            kind,
            state,
            detail,
        })
    })?;
    Ok(Some((view, entries)))
}

pub(super) fn ledger(db: Db<'_>) -> Result<Ledger> {
    let counts = counters::all(db)?;
    let sql = "-- ledger()
        SELECT count(*) AS in_progress FROM sync WHERE finished_at IS NULL";
    let in_progress = db.one(sql, &[], |row| row.get("in_progress"))?;
    let count = |name: &str| counts.get(name).copied().unwrap_or(0);
    let (webhook, reconciliation, manual) = (
        count("created_by_webhook"),
        count("created_by_reconciliation"),
        count("created_manually"),
    );
    Ok(Ledger {
        accepted: count("accepted"),
        created_by_webhook: webhook,
        coalesced_by_webhook: count("coalesced_by_webhook"),
        duplicates: count("duplicates"),
        created: webhook + reconciliation + manual,
        created_by_reconciliation: reconciliation,
        created_manually: manual,
        sent: count("sent"),
        failed: count("failed"),
        lead_deleted: count("lead_deleted"),
        cancelled: count("cancelled"),
        in_progress,
    })
}

pub(super) fn open_breakers(db: Db<'_>) -> Result<Vec<Breaker>> {
    let sql = "-- open_breakers()
        SELECT * FROM breaker WHERE until IS NOT NULL ORDER BY remote";
    db.query(sql, &[], rows::breaker_of)
}

pub(super) fn owners(db: Db<'_>, contacts: &[ContactId]) -> Result<BTreeMap<ContactId, LeadId>> {
    // Either may be of a contact that the lead has no more.
    let sql = "-- owners()
        SELECT lead_id FROM sync WHERE contact_id = ?1 UNION SELECT lead_id FROM lead WHERE contact_id = ?1 ORDER BY lead_id";
    let mut owners = BTreeMap::new();
    for contact in contacts {
        for lead in db.query(sql, args![contact.as_str()], rows::lead_of)? {
            if rows::link(db, &lead)?.contact.as_ref() == Some(contact) {
                owners.insert(contact.clone(), lead);
                break;
            }
        }
    }
    Ok(owners)
}

pub(super) fn without_sync(db: Db<'_>, leads: &[LeadId]) -> Result<Vec<LeadId>> {
    let sql = "-- without_sync()
        SELECT lead_id FROM sync WHERE lead_id = ?1 AND finished_at IS NULL";
    let ids: Vec<&str> = leads.iter().map(LeadId::as_str).collect();
    let active = db.query_each(sql, &ids, rows::lead_of)?;
    let active: BTreeSet<&LeadId> = active.iter().collect();
    Ok(leads.iter().filter(|lead| !active.contains(lead)).cloned().collect())
}
