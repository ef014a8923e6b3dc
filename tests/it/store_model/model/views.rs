//! What the model shows, and what it forgets.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use bigin_sync::domain::breaker::Breaker;
use bigin_sync::domain::lead::{ContactId, LeadId};
use bigin_sync::domain::reject_reason::{ReasonKey, RejectReason};
use bigin_sync::domain::sync::SyncId;
use bigin_sync::store::{EventRow, FailureGroup, Filter, Flow, Ledger, Overview, Stage, SyncView, WebhookLog};
use jiff::Timestamp;

use super::{Model, Row};

impl Row {
    /// Whether it was rejected for this.
    pub fn fits(&self, key: &ReasonKey) -> bool {
        self.reason().is_some_and(|reason| key.covers(&ReasonKey::of(reason)))
    }

    pub fn reason(&self) -> Option<&RejectReason> {
        self.sync.state.reason()
    }
}

impl Model {
    pub fn view(&self, row: &Row) -> SyncView {
        let of_lead = self.syncs.iter().filter(|other| other.sync.lead == row.sync.lead);
        SyncView {
            sync: row.sync.clone(),
            changed_at: row.changed_at,
            contact: row.contact.clone(),
            next: of_lead.map(|other| other.sync.id).find(|id| *id > row.sync.id),
            dismissed_at: row.dismissed_at,
        }
    }

    pub fn open_breakers(&self) -> Vec<Breaker> {
        let open = self.breakers.values().filter(|breaker| breaker.open.is_some());
        let mut open: Vec<_> = open.cloned().collect();
        open.sort_by_key(|breaker| breaker.remote.label());
        open
    }

    /// Whether a claim would bring something now.
    pub fn has_work(&self, stage: Stage) -> bool {
        let is_due = |row: &Row| stage.states().contains(&row.sync.state.label()) && row.claimable_at() <= self.now;
        self.paused_since.is_none()
            && self.syncs.iter().any(is_due)
            && self.gate(stage).is_ok()
            && self.turn_of_others(stage).is_none()
    }

    pub fn delete_old(&mut self, age: Duration, limit: usize) -> usize {
        let before = self.now - age;
        let ends = self.syncs.iter();
        let mut gone: Vec<_> = ends
            .filter_map(|row| Some((row.sync.finished_at?, row.sync.id)))
            .filter(|(at, _)| *at < before)
            .collect();
        gone.sort_unstable();
        gone.truncate(limit);
        let is_gone = |id: SyncId| gone.iter().any(|(_, of)| *of == id);
        self.events_after.retain(|line| !is_gone(line.sync_id));
        self.syncs.retain(|row| !is_gone(row.sync.id));
        self.delivered.retain(|(_, _, id)| !is_gone(*id));
        gone.len()
    }

    pub fn ledger(&self) -> Ledger {
        let in_progress = self.syncs.iter().filter(|row| row.is_active()).count();
        Ledger {
            in_progress: u64::try_from(in_progress).unwrap(),
            ..self.ledger
        }
    }

    pub fn list(&self, filter: &Filter, limit: usize) -> Vec<SyncView> {
        let fits = |row: &&Row| {
            filter
                .state
                .as_ref()
                .is_none_or(|state| row.sync.state.label() == state)
                && filter.lead.as_ref().is_none_or(|lead| row.sync.lead == *lead)
                && filter
                    .contact
                    .as_ref()
                    .is_none_or(|contact| row.contact.as_ref() == Some(contact))
                && filter.part.as_ref().is_none_or(|part| {
                    let ids = [
                        Some(row.sync.lead.as_str()),
                        row.contact.as_ref().map(ContactId::as_str),
                    ];
                    let holds = |id: &str| id.to_lowercase().contains(&part.to_lowercase());
                    ids.into_iter().flatten().any(holds)
                })
                && filter.reason.as_ref().is_none_or(|reason| row.fits(reason))
                && filter.before.is_none_or(|before| row.sync.id < before)
        };
        self.syncs
            .iter()
            .rev()
            .filter(fits)
            .take(limit)
            .map(|row| self.view(row))
            .collect()
    }

    pub fn knows(&self, lead: &LeadId, contact: &ContactId) -> bool {
        self.links
            .get(lead)
            .is_some_and(|link| link.contact.as_ref() == Some(contact))
    }

    /// Failed syncs that were not dismissed and whose lead has had none since, in the order they were opened.
    pub fn last_failed(&self) -> Vec<&Row> {
        let is_last = |row: &&Row| {
            let mut newer = self.syncs.iter().filter(|other| other.sync.id > row.sync.id);
            newer.all(|other| other.sync.lead != row.sync.lead)
        };
        let is_failed = |row: &&Row| row.sync.state.label() == "failed" && row.dismissed_at.is_none();
        let failed = self.syncs.iter().filter(is_failed);
        failed.filter(is_last).collect()
    }

    pub fn failure_groups(&self, limit: usize) -> Vec<FailureGroup> {
        let mut groups: Vec<FailureGroup> = Vec::new();
        for row in self.last_failed() {
            let (Some(reason), Some(at)) = (row.reason(), row.sync.finished_at) else {
                continue;
            };
            match groups.iter_mut().find(|group| group.key() == ReasonKey::of(reason)) {
                Some(group) => {
                    group.leads += 1;
                    group.latest = group.latest.max(at);
                }
                None => groups.push(FailureGroup {
                    code: reason.code().to_owned(),
                    field: reason.field().map(str::to_owned),
                    reason: reason.to_string(),
                    advice: reason.advice().to_owned(),
                    leads: 1,
                    latest: at,
                }),
            }
        }
        groups.sort_by_key(|group| (Reverse(group.leads), Reverse(group.latest), group.key()));
        groups.truncate(limit);
        groups
    }

    pub fn overview(&self) -> Overview {
        let mut in_progress: BTreeMap<String, u64> = BTreeMap::new();
        let active = || self.syncs.iter().filter(|row| row.is_active());
        for row in active() {
            *in_progress.entry(row.sync.state.label().to_owned()).or_default() += 1;
        }
        let hours_ago = self.now.as_second() / 3600 - 24;
        Overview {
            at: self.now,
            in_progress,
            oldest: active().next().map(|row| self.view(row)),
            ledger: self.ledger(),
            breakers: self.open_breakers(),
            paused_since: self.paused_since,
            failed_leads: u64::try_from(self.last_failed().len()).unwrap(),
            credits: self.credits.range(hours_ago + 1..).map(|(_, used)| used).sum(),
            token_granted_at: None,
            webhooks: self.webhooks(),
        }
    }

    pub fn webhooks(&self) -> WebhookLog {
        let last_received = self.last_received;
        let missed = self
            .missed
            .filter(|(_, at)| last_received.is_none_or(|received| received < *at));
        WebhookLog {
            last_received,
            missed: missed.map_or(0, |(count, _)| count),
            last_missed: missed.map(|(_, at)| at),
        }
    }

    /// Steps are counted from 1970 on.
    pub fn flow(&self, since: Timestamp, step: Duration) -> Vec<Flow> {
        let step = i64::try_from(step.as_micros()).unwrap();
        let mut flows: BTreeMap<i64, (u64, u64)> = BTreeMap::new();
        for row in &self.syncs {
            let Some(at) = row.sync.finished_at.filter(|at| *at >= since) else {
                continue;
            };
            let (sent, failed) = flows.entry(at.as_microsecond() / step * step).or_default();
            match row.sync.state.label() {
                "sent" => *sent += 1,
                "failed" => *failed += 1,
                _ => {}
            }
        }
        let flow = |(from, (sent, failed)): (i64, (u64, u64))| Flow {
            from: Timestamp::from_microsecond(from).unwrap(),
            sent,
            failed,
        };
        flows
            .into_iter()
            .filter(|(_, ended)| *ended != (0, 0))
            .map(flow)
            .collect()
    }

    pub fn events_after(&self, after: i64, limit: usize) -> Vec<EventRow> {
        let later = self.events_after.iter().filter(|line| line.id > after);
        later.take(limit).cloned().collect()
    }

    pub fn last_event_id(&self) -> i64 {
        self.events_after.last().map_or(0, |line| line.id)
    }
}
