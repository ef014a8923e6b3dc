//! Requests come in: verified webhooks, and requests by reconciliation and by the operator.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::db::{Db, Result, Row, corrupt};
use super::rows::{Detail, EventLine, LINK, New, Stored};
use super::txn::Txn;
use super::{Answer, Change, Stage, Store, overview, rows};
use crate::domain::lead::{LeadId, Revision};
use crate::domain::lead_link::LeadLink;
use crate::domain::sync::{Source, SyncId, SyncJob};

/// Marks of webhooks that a sync keeps at most.
const KEPT_MARKS: usize = 100;

/// A lead's newest syncs that are looked at for a webhook's repeat. An older one is taken for another request, and the read finds
/// nothing to do: the work for one webhook must not grow with how often its lead was requested.
const LOOKED_AT: usize = 20;

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
        self.writer.store(delivery).await
    }

    /// Creates a sync, or coalesces the request with the lead's active one. `revision` is the one the asker saw. A request by
    /// reconciliation is never coalesced: where a sync is active the answer is [`Accepted::Duplicate`].
    pub async fn request(&self, lead: LeadId, source: Source, revision: Option<Revision>) -> Answer<Accepted> {
        self.writer
            .write_if_room(move |txn| request(txn, &lead, source, revision.clone()))
            .await
    }
}

/// Stores webhooks, those that create a sync all together.
pub(super) fn accept_all(txn: &mut Txn<'_>, deliveries: &[&Delivery]) -> Result<Vec<Accepted>> {
    let leads: BTreeSet<&str> = deliveries.iter().map(|delivery| delivery.lead.as_str()).collect();
    let mut pasts = Past::of_all(txn.db, &Vec::from_iter(leads))?;
    let mut others = BTreeMap::new();
    let (mut places, mut all) = (Vec::new(), Vec::new());
    for (place, delivery) in deliveries.iter().enumerate() {
        txn.count("accepted");
        // The second of a lead has the first in its past, which is read again then.
        let past = pasts.remove(delivery.lead.as_str());
        match past {
            Some(past) if past.active().is_none() && !past.is_repeat(delivery) => {
                places.push(place);
                all.push(new(&delivery.lead, past, asked_by(delivery), txn.now));
            }
            past => {
                others.insert(place, past);
            }
        }
    }
    let created = create_all(txn, all)?;
    let mut written: BTreeMap<usize, Option<Written>> = places.into_iter().zip(created.into_iter().map(Some)).collect();
    for (place, past) in others {
        if let Some(delivery) = deliveries.get(place) {
            written.insert(place, accept(txn, delivery, past)?);
        }
    }
    note(txn, written.values().flatten())?;
    let accepted = |written: &Option<Written>| written.as_ref().map_or(Accepted::Duplicate, |written| written.accepted);
    let accepted: Vec<Accepted> = written.values().map(accepted).collect();
    for accepted in &accepted {
        match accepted {
            Accepted::Created(_) => {}
            Accepted::Coalesced(_) => txn.count("coalesced_by_webhook"),
            Accepted::Duplicate => txn.count("duplicates"),
        }
    }
    Ok(accepted)
}

/// `None` where it was seen before.
fn accept(txn: &mut Txn<'_>, delivery: &Delivery, past: Option<Past>) -> Result<Option<Written>> {
    let past = match past {
        Some(past) => past,
        None => Past::of(txn.db, &delivery.lead)?,
    };
    if past.is_repeat(delivery) {
        return Ok(None);
    }
    create_or_coalesce(txn, &delivery.lead, past, asked_by(delivery)).map(Some)
}

fn request(txn: &mut Txn<'_>, lead: &LeadId, source: Source, revision: Option<Revision>) -> Result<Accepted> {
    let past = Past::of(txn.db, lead)?;
    if source == Source::Reconciliation {
        if past.active().is_some() || past.link.is_declined(revision.as_ref()) {
            return Ok(Accepted::Duplicate);
        }
        overview::note_missed(txn)?;
    }
    let written = create_or_coalesce(txn, lead, past, (source, revision, None))?;
    note(txn, [&written])?;
    Ok(written.accepted)
}

/// An operator wants the lead synced.
pub(super) fn request_by_operator(txn: &mut Txn<'_>, lead: &LeadId, source: Source) -> Result<Accepted> {
    let past = Past::of(txn.db, lead)?;
    let written = create_or_coalesce(txn, lead, past, (source, None, None))?;
    note(txn, [&written])?;
    Ok(written.accepted)
}

/// A lead's newest syncs, the newest first.
#[derive(Default)]
struct Past {
    syncs: Vec<PastSync>,
    link: LeadLink,
}

struct PastSync {
    id: SyncId,
    is_active: bool,
    marks: BTreeSet<String>,
}

impl Past {
    fn of(db: Db<'_>, lead: &LeadId) -> Result<Self> {
        let mut pasts = Self::of_all(db, &[lead.as_str()])?;
        Ok(pasts.remove(lead.as_str()).unwrap_or_default())
    }

    /// Those of several leads.
    fn of_all<'l>(db: Db<'_>, leads: &[&'l str]) -> Result<BTreeMap<&'l str, Self>> {
        let mut pasts: BTreeMap<&str, Self> = leads.iter().map(|lead| (*lead, Self::default())).collect();
        let sql = format!(
            "-- Past::of_all()
            SELECT id, lead_id, finished_at, source, requested_rev, webhook_marks, {LINK} FROM sync WHERE lead_id = ?1 ORDER BY id DESC LIMIT {LOOKED_AT}"
        );
        db.query_each(&sql, leads, |row| {
            let Some(past) = pasts.get_mut(rows::lead_of(row)?.as_str()) else {
                return Ok(());
            };
            if past.syncs.is_empty() {
                past.link = rows::link_of(row)?;
            }
            past.syncs.push(PastSync {
                id: SyncId(row.get("id")?),
                is_active: row.get::<Option<i64>>("finished_at")?.is_none(),
                marks: marks_of(row)?,
            });
            Ok(())
        })?;
        let unknown = pasts.iter().filter(|(_, past)| past.syncs.is_empty());
        let unknown: Vec<&str> = unknown.map(|(lead, _)| *lead).collect();
        for (lead, link) in rows::stored_links(db, &unknown)? {
            if let Some(past) = pasts.get_mut(lead.as_str()) {
                past.link = link;
            }
        }
        Ok(pasts)
    }

    fn is_repeat(&self, delivery: &Delivery) -> bool {
        mark_of(delivery).is_some_and(|mark| self.syncs.iter().any(|sync| sync.marks.contains(&mark)))
    }

    fn active(&self) -> Option<&PastSync> {
        self.syncs.iter().find(|sync| sync.is_active)
    }
}

/// What tells a webhook's repeats. A signed revision does so by itself; the key is not signed, so it counts only where there
/// is no revision.
fn mark_of(delivery: &Delivery) -> Option<String> {
    match (&delivery.rev, &delivery.key) {
        (Some(rev), _) => Some(mark_of_rev(rev)),
        (None, Some(key)) => Some(format!("key {key}")),
        (None, None) => None,
    }
}

fn mark_of_rev(rev: &str) -> String {
    format!("rev {rev}")
}

/// The marks of a sync's webhooks. Where none are written out there was one webhook at most, and the revision it was signed for
/// is the one that is asked for.
fn marks_of(row: &Row<'_>) -> Result<BTreeSet<String>> {
    if let Some(json) = row.get::<Option<String>>("webhook_marks")? {
        return serde_json::from_str(&json).map_err(|_| corrupt("webhook_marks", &json));
    }
    let rev: Option<String> = row.get("requested_rev")?;
    let is_by_webhook = row.get::<String>("source")? == Source::Webhook.label();
    Ok(rev
        .filter(|_| is_by_webhook)
        .map(|rev| mark_of_rev(&rev))
        .into_iter()
        .collect())
}

fn as_json(marks: &BTreeSet<String>) -> Option<String> {
    // It cannot fail: a list of texts.
    serde_json::to_string(marks).ok()
}

fn asked_by(delivery: &Delivery) -> Asked {
    (Source::Webhook, delivery.revision(), mark_of(delivery))
}

/// Who asks, for which revision, and what tells the webhook's repeats.
type Asked = (Source, Option<Revision>, Option<String>);

fn create_or_coalesce(txn: &mut Txn<'_>, lead: &LeadId, past: Past, asked: Asked) -> Result<Written> {
    if let Some(active) = past.active()
        && let Some(Stored { mut sync, .. }) = rows::find(txn.db, active.id)?
    {
        let (source, revision, mark) = asked;
        sync.coalesce(source, revision);
        let mut marks = active.marks.clone();
        // Beyond that a repeat is taken for another request, which the next read finds carried out.
        if marks.len() < KEPT_MARKS {
            marks.extend(mark);
        }
        rows::coalesce(txn.db, &sync, as_json(&marks).as_deref())?;
        return Ok(Written {
            accepted: Accepted::Coalesced(sync.id),
            sync,
            kind: "coalesced",
            source,
        });
    }
    let new = new(lead, past, asked, txn.now);
    let created = create_all(txn, vec![new])?;
    created.into_iter().next().ok_or_else(|| corrupt("id", "none"))
}

/// A request that is written, but for its line in the history.
struct Written {
    accepted: Accepted,
    sync: SyncJob,
    kind: &'static str,
    source: Source,
}

/// Adds the lines to the histories, in the order of the requests.
fn note<'w>(txn: &Txn<'_>, written: impl IntoIterator<Item = &'w Written>) -> Result<()> {
    let lines = written.into_iter().map(|written| EventLine {
        sync: &written.sync,
        kind: written.kind,
        detail: Detail {
            by: Some(written.source)
                .filter(|by| *by != Source::Webhook)
                .map(Source::label),
            ..Detail::default()
        },
    });
    rows::insert_events(txn.db, &lines.collect::<Vec<_>>(), txn.now)
}

fn new(lead: &LeadId, past: Past, (source, revision, mark): Asked, now: Timestamp) -> New {
    let requested = revision.as_ref().and_then(|revision| revision.rev.as_deref());
    let is_derivable = mark == requested.map(mark_of_rev);
    let marks = mark.filter(|_| !is_derivable).map(|mark| BTreeSet::from([mark]));
    New {
        // The database gives it its number.
        sync: SyncJob::create(SyncId(0), lead.clone(), source, revision, now),
        link: past.link,
        source,
        webhook_marks: marks.as_ref().and_then(as_json),
    }
}

fn create_all(txn: &mut Txn<'_>, all: Vec<New>) -> Result<Vec<Written>> {
    let ids = rows::create_all(txn.db, &all)?;
    let created = |(mut new, id): (New, SyncId)| {
        new.sync.id = id;
        txn.count(created_by(new.source));
        // What is resumed wakes all.
        if !txn.is_paused {
            txn.wake(Stage::Upsert);
        }
        txn.changed(Change::of(&new.sync));
        Written {
            accepted: Accepted::Created(id),
            sync: new.sync,
            kind: "created",
            source: new.source,
        }
    };
    Ok(all.into_iter().zip(ids).map(created).collect())
}

/// The ledger's counter of the syncs that an operator has created.
fn created_by(source: Source) -> &'static str {
    match source {
        Source::Webhook => "created_by_webhook",
        Source::Reconciliation => "created_by_reconciliation",
        Source::Manual | Source::Retry => "created_manually",
    }
}
