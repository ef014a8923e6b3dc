//! The store as a few lists in memory: what [`Store`](bigin_sync::store::Store) promises, without a thought for speed,
//! disk or concurrency. What an event makes of a sync is the domain's and tested there; here is who is due, what a lease
//! is worth, what is a repeat, which tags move, and what is counted.

use std::collections::BTreeMap;

use bigin_sync::domain::breaker::{Breaker, Cause, FRESH_PROBE_INTERVAL};
use bigin_sync::domain::failure::{Remote, ServiceError};
use bigin_sync::domain::lead::{ContactId, LeadId, Revision};
use bigin_sync::domain::lead_link::LeadLink;
use bigin_sync::domain::state::{Event, State};
use bigin_sync::domain::sync::{Source, SyncId, SyncJob};
use bigin_sync::store::{
    Accepted, ClaimToken, Delivery, Effect, EventRow, Ledger, Outcome, Prefer, Stage, StepReport, StoreSettings,
};
use jiff::Timestamp;

use crate::world::secs;

mod operator;
mod views;

pub struct Model {
    pub now: Timestamp,
    pub syncs: Vec<Row>,
    pub links: BTreeMap<LeadId, LeadLink>,
    pub ledger: Ledger,
    settings: StoreSettings,
    pub takes_turns: bool,
    last_turn: Option<Stage>,
    /// Records accepted, by the label of the stage.
    accepted: BTreeMap<&'static str, i64>,
    breakers: BTreeMap<Remote, Breaker>,
    /// What tells repeats, with the sync that the webhook created or was coalesced with.
    delivered: Vec<(LeadId, String, SyncId)>,
    last_received: Option<Timestamp>,
    last_id: i64,
    paused_since: Option<Timestamp>,
    /// Webhooks that were missed in a row, and when the last of them was found.
    missed: Option<(u64, Timestamp)>,
    /// The lines of all histories, and how many there have ever been.
    events_after: Vec<EventRow>,
    last_event_id: i64,
    /// By the hour.
    credits: BTreeMap<i64, u64>,
}

/// A sync with all that is kept beside it.
pub struct Row {
    pub sync: SyncJob,
    pub lease: Option<(ClaimToken, Timestamp)>,
    pub changed_at: Timestamp,
    /// Kept where it ends without a word of its contact.
    pub contact: Option<ContactId>,
    pub dismissed_at: Option<Timestamp>,
    pub history: Vec<(Timestamp, String)>,
}

/// What a claim must bring.
pub struct Expected {
    pub syncs: Vec<(SyncJob, LeadLink)>,
    pub next_due: Option<Timestamp>,
    pub breakers: BTreeMap<Remote, Breaker>,
    pub probed: Vec<Remote>,
    pub accepted: i64,
}

/// Which of the due syncs will do.
type OfKind = Box<dyn Fn(&SyncJob) -> bool>;

/// Which sync may be a probe.
pub enum Probe {
    Unfailed,
    Any,
}

impl Row {
    fn is_of(&self, stage: Stage) -> bool {
        self.is_active() && stage.states().contains(&self.sync.state.label())
    }

    pub fn is_active(&self) -> bool {
        self.sync.finished_at.is_none()
    }

    /// When it is worth asking for it again: when it is due, or the lease of who has it in hand expires.
    fn worth_asking_at(&self) -> Timestamp {
        self.lease.map_or(self.sync.next_attempt_at, |(_, until)| until)
    }

    /// From when on it can be claimed, unless its lease is given back before.
    fn claimable_at(&self) -> Timestamp {
        let lease_until = self.lease.map_or(Timestamp::MIN, |(_, until)| until);
        self.sync.next_attempt_at.max(lease_until)
    }
}

impl Model {
    /// `takes_turns` where the store is shared by several replicas.
    pub fn new(now: Timestamp, settings: StoreSettings, takes_turns: bool) -> Self {
        let breakers = Remote::ALL.map(|remote| (remote, Breaker::closed(remote)));
        Self {
            now,
            syncs: Vec::new(),
            links: BTreeMap::new(),
            ledger: Ledger::default(),
            settings,
            takes_turns,
            last_turn: None,
            accepted: BTreeMap::new(),
            breakers: breakers.into(),
            delivered: Vec::new(),
            last_received: None,
            last_id: 0,
            paused_since: None,
            missed: None,
            events_after: Vec::new(),
            last_event_id: 0,
            credits: BTreeMap::new(),
        }
    }

    /// Adds a line to the history of a sync.
    fn note(&mut self, id: SyncId, what: &str) {
        let now = self.now;
        let Some(row) = self.syncs.iter_mut().find(|row| row.sync.id == id) else {
            return;
        };
        row.history.push((now, what.to_owned()));
        self.last_event_id += 1;
        self.events_after.push(EventRow {
            id: self.last_event_id,
            sync_id: id,
            lead_id: row.sync.lead.clone(),
            kind: what.to_owned(),
            state: row.sync.state.label().to_owned(),
            at: now,
        });
    }

    // --- What comes in ------------------------------------------------------------------------------------------------

    pub fn accept(&mut self, delivery: &Delivery) -> Accepted {
        self.ledger.accepted += 1;
        let mark = match (&delivery.rev, &delivery.key) {
            (Some(rev), _) => Some(format!("revision {rev}")),
            (None, key) => key.as_ref().map(|key| format!("key {key}")),
        };
        let is_same =
            |(lead, seen, _): &(LeadId, String, SyncId)| *lead == delivery.lead && mark.as_ref() == Some(seen);
        if self.delivered.iter().any(is_same) {
            self.ledger.duplicates += 1;
            return Accepted::Duplicate;
        }
        self.last_received = Some(self.now);
        let accepted = self.create_or_coalesce(&delivery.lead, Source::Webhook, delivery.revision());
        if matches!(accepted, Accepted::Coalesced(_)) {
            self.ledger.coalesced_by_webhook += 1;
        }
        if let (Some(mark), Accepted::Created(id) | Accepted::Coalesced(id)) = (mark, accepted) {
            self.delivered.push((delivery.lead.clone(), mark, id));
        }
        accepted
    }

    pub fn request(&mut self, lead: &LeadId, source: Source, revision: Option<Revision>) -> Accepted {
        if source == Source::Reconciliation {
            let link = self.links.get(lead).cloned().unwrap_or_default();
            if self.active(lead).is_some() || link.is_declined(revision.as_ref()) {
                return Accepted::Duplicate;
            }
            self.missed = Some((self.webhooks().missed + 1, self.now));
        }
        self.create_or_coalesce(lead, source, revision)
    }

    fn create_or_coalesce(&mut self, lead: &LeadId, source: Source, revision: Option<Revision>) -> Accepted {
        let now = self.now;
        if let Some(row) = self.active(lead) {
            row.sync.coalesce(source, revision);
            let id = row.sync.id;
            self.note(id, "coalesced");
            return Accepted::Coalesced(id);
        }
        self.last_id += 1;
        let id = SyncId(self.last_id);
        self.syncs.push(Row {
            sync: SyncJob::create(id, lead.clone(), source, revision, now),
            lease: None,
            changed_at: now,
            contact: None,
            dismissed_at: None,
            history: Vec::new(),
        });
        self.note(id, "created");
        self.ledger.created += 1;
        *match source {
            Source::Webhook => &mut self.ledger.created_by_webhook,
            Source::Reconciliation => &mut self.ledger.created_by_reconciliation,
            Source::Manual | Source::Retry => &mut self.ledger.created_manually,
        } += 1;
        Accepted::Created(id)
    }

    pub fn active(&mut self, lead: &LeadId) -> Option<&mut Row> {
        self.syncs
            .iter_mut()
            .find(|row| row.is_active() && row.sync.lead == *lead)
    }

    // --- What is claimed ----------------------------------------------------------------------------------------------

    /// `lease` is the one that the claimed syncs get.
    pub fn claim(&mut self, stage: Stage, (limit, prefer): (usize, Prefer), lease: ClaimToken) -> Expected {
        let nothing = |next_due| Expected {
            syncs: Vec::new(),
            next_due,
            breakers: BTreeMap::new(),
            probed: Vec::new(),
            accepted: 0,
        };
        match stage {
            Stage::Tag => self.expire(&[Stage::Upsert, Stage::Tag]),
            _ => self.expire(&[stage]),
        }
        if self.paused_since.is_some() {
            return nothing(None);
        }
        if let Some(until) = self.turn_of_others(stage) {
            return nothing(Some(until));
        }
        let gate = self.gate(stage);
        let mut expected = Expected {
            syncs: Vec::new(),
            next_due: gate.as_ref().err().copied(),
            breakers: stage.remotes().iter().map(|r| (*r, self.breakers[r].clone())).collect(),
            probed: Vec::new(),
            accepted: 0,
        };
        let Ok(probe) = gate else {
            return expected;
        };
        expected.accepted = self.accepted.get(stage.label()).copied().unwrap_or(0);
        let mut due: Vec<&mut Row> = self.syncs.iter_mut().filter(|row| row.is_of(stage)).collect();
        due.sort_by_key(|row| (row.sync.next_attempt_at, row.sync.id));
        let next_due = due.iter().map(|row| row.worth_asking_at()).min();
        let (until, now) = (self.now + self.settings.lease, self.now);
        due.retain(|row| row.claimable_at() <= now);
        let is_fresh = matches!(probe, Some(Probe::Unfailed));
        let longest_suspect = due.iter().find_map(|row| row.sync.bisect_limit);
        let has_fresh = due.iter().any(|row| row.sync.bisect_limit.is_none());
        let takes_suspects = longest_suspect.is_some() && (prefer == Prefer::Suspects || !has_fresh);
        let (of_kind, limit): (OfKind, usize) = match probe {
            Some(Probe::Unfailed) => (Box::new(|sync| !sync.has_failed()), 1),
            Some(Probe::Any) => (Box::new(|_| true), 1),
            None if takes_suspects => (
                Box::new(move |sync| sync.bisect_limit == longest_suspect),
                limit.min(usize::try_from(longest_suspect.unwrap()).unwrap()),
            ),
            None => (Box::new(|sync| sync.bisect_limit.is_none()), limit),
        };
        for row in due.into_iter().filter(|row| of_kind(&row.sync)).take(limit) {
            row.lease = Some((lease, until));
            let link = self.links.get(&row.sync.lead).cloned().unwrap_or_default();
            expected.syncs.push((row.sync.clone(), link));
        }
        if expected.syncs.is_empty() {
            expected.next_due = next_due;
            return expected;
        }
        if stage != Stage::WriteBack {
            self.last_turn = Some(stage);
        }
        for remote in stage.remotes() {
            if let Some(open) = &mut self.breakers.get_mut(remote).unwrap().open {
                expected.probed.push(*remote);
                open.until = until;
                if is_fresh {
                    open.fresh_from = open.fresh_from.map(|_| now + FRESH_PROBE_INTERVAL);
                }
            }
        }
        expected
    }

    /// Whether a claim is a probe, and of what; or until when there is none.
    pub(super) fn gate(&self, stage: Stage) -> Result<Option<Probe>, Timestamp> {
        let opens: Vec<_> = stage
            .remotes()
            .iter()
            .filter_map(|r| self.breakers[r].open.as_ref())
            .collect();
        let Some(paused_until) = opens.iter().map(|open| open.until).max() else {
            return Ok(None);
        };
        let fresh_from = opens
            .iter()
            .map(|open| open.fresh_from.unwrap_or(open.until).min(open.until));
        let fresh_from = fresh_from.max().unwrap();
        let next_unfailed = self.next_unfailed(stage);
        if next_unfailed.is_some_and(|due| due <= self.now) && fresh_from <= self.now {
            return Ok(Some(Probe::Unfailed));
        }
        if paused_until > self.now {
            let early = next_unfailed.map(|due| due.max(fresh_from)).filter(|at| *at > self.now);
            return Err(early.map_or(paused_until, |early| early.min(paused_until)));
        }
        let twin = Stage::ALL
            .into_iter()
            .find(|twin| *twin != stage && twin.remotes() == stage.remotes());
        let twin_probes = twin
            .and_then(|twin| self.next_unfailed(twin))
            .is_some_and(|due| due <= self.now);
        match twin_probes {
            true => Err(self.now + self.settings.lease),
            false => Ok(Some(Probe::Any)),
        }
    }

    fn next_unfailed(&self, stage: Stage) -> Option<Timestamp> {
        let of_stage = self.syncs.iter().filter(|row| row.is_of(stage));
        let unfailed = of_stage.filter(|row| !row.sync.has_failed() || row.lease.is_some());
        unfailed.map(Row::worth_asking_at).min()
    }

    /// Until when a worker that shares the contacts with this stage's has its turn, if it has.
    pub(super) fn turn_of_others(&self, stage: Stage) -> Option<Timestamp> {
        if !self.takes_turns || stage == Stage::WriteBack {
            return None;
        }
        let other = if stage == Stage::Upsert {
            Stage::Tag
        } else {
            Stage::Upsert
        };
        let is_due = |row: &Row| row.is_of(other) && row.sync.next_attempt_at <= self.now;
        let leaves_it = self.last_turn == Some(stage) && self.syncs.iter().any(is_due);
        let is_well = self.breakers.values().all(|breaker| breaker.open.is_none());
        self.leased_until()
            .or((leaves_it && is_well).then(|| self.now + secs(1)))
    }

    fn leased_until(&self) -> Option<Timestamp> {
        let of_contacts = |row: &&Row| matches!(row.sync.state.label(), "requested" | "upserted");
        let leases = self.syncs.iter().filter(of_contacts).filter_map(|row| row.lease);
        leases.map(|(_, until)| until).filter(|until| *until > self.now).max()
    }

    /// Claims that ran out. An insert of an upsert may still be applied for a while, and which contacts they have changed is not
    /// known.
    pub(super) fn expire(&mut self, stages: &[Stage]) {
        if stages.contains(&Stage::Upsert) && self.expect_lost_inserts() && self.takes_turns {
            self.move_tags(self.now + self.settings.tag_delay, |_| true);
        }
        let now = self.now;
        for row in &mut self.syncs {
            if stages.iter().any(|stage| row.is_of(*stage)) {
                row.lease = row.lease.filter(|(_, until)| *until > now);
            }
        }
    }

    fn expect_lost_inserts(&mut self) -> bool {
        let (now, delay) = (self.now, self.settings.ambiguity_delay);
        let is_lost = |row: &Row| row.is_of(Stage::Upsert) && row.lease.is_some_and(|(_, until)| until <= now);
        let lost = self.syncs.iter().filter(|row| is_lost(row)).count();
        for row in self.syncs.iter_mut().filter(|row| is_lost(row)) {
            let Some((_, until)) = row.lease.take() else {
                continue;
            };
            row.sync.bisect_limit = Some(u32::try_from((lost / 2).max(1)).unwrap());
            let link = self.links.entry(row.sync.lead.clone()).or_default();
            link.expect_insert(&row.sync, until + delay);
        }
        lost > 0
    }

    // --- What is recorded ---------------------------------------------------------------------------------------------

    pub fn record(&mut self, outcomes: &[Outcome], report: &StepReport) {
        for (remote, epoch) in &report.answered {
            self.breaker(*remote).close(*epoch);
        }
        let now = self.now;
        *self.credits.entry(now.as_second() / 3600).or_default() += u64::from(report.credits);
        for (remote, epoch) in &report.probed {
            if self.breaker(*remote).epoch == *epoch {
                self.open(*remote, |until| *until = now.min(*until));
            }
        }
        if report.ambiguous_upsert {
            self.move_tags(now + self.settings.tag_delay, |_| true);
        }
        if !report.possibly_changed.is_empty() {
            self.move_tags(now + self.settings.tag_delay, |sync| match &sync.state {
                State::Upserted { delivered, .. } => report
                    .possibly_changed
                    .may_include(Some(&delivered.contact), &delivered.keys),
                _ => false,
            });
        }
        for outcome in outcomes {
            let stage = match &outcome.effect {
                Effect::Event(Event::Upserted { .. }) => Stage::Upsert,
                Effect::Event(Event::Tagged { .. }) => Stage::Tag,
                Effect::Event(Event::WrittenBack) => Stage::WriteBack,
                _ => continue,
            };
            *self.accepted.entry(stage.label()).or_default() += 1;
        }
        let upserted: Vec<_> = outcomes.iter().filter_map(|outcome| self.record_one(outcome)).collect();
        for (id, contact, tag_not_before) in upserted {
            self.move_tags(tag_not_before, |other| {
                other.id != id && other.state.contact() == Some(&contact)
            });
        }
    }

    /// Says which contact it has upserted, and from when on that may be tagged.
    fn record_one(&mut self, outcome: &Outcome) -> Option<(SyncId, ContactId, Timestamp)> {
        let (id, lease) = (outcome.claimed.sync.id, outcome.claimed.token);
        let holds = |row: &&mut Row| row.sync.id == id && row.lease.is_some_and(|(held, _)| held == lease);
        let (now, retry) = (self.now, &self.settings.retry);
        let row = self.syncs.iter_mut().find(holds)?;
        let requests = outcome.claimed.sync.requests.count;
        let was = row.sync.state.label();
        let stage = Stage::ALL.into_iter().find(|stage| stage.states().contains(&was));
        let accepted = stage
            .and_then(|stage| self.accepted.get(stage.label()))
            .copied()
            .unwrap_or(0);
        let is_insert = outcome.effect.is_ambiguous_insert();
        let mut settles_at = outcome.claimed.link.ambiguous_until;
        if is_insert {
            let link = self.links.entry(row.sync.lead.clone()).or_default();
            link.expect_insert(&row.sync, now + self.settings.ambiguity_delay);
            settles_at = link.ambiguous_until;
        }
        let (what, applied) = match &outcome.effect {
            Effect::Event(event) => (Some(event.label()), row.sync.apply(event.clone(), requests, now)),
            Effect::Failed(failure) => (
                Some("attempt_failed"),
                row.sync.fail(failure.clone(), requests, retry, now),
            ),
            Effect::ContactGone(failure) => (
                Some("contact_gone"),
                row.sync.lose_contact(failure.clone(), requests, retry, now),
            ),
            Effect::FailedUncounted(failure) => {
                row.sync.fail_uncounted(failure.clone(), accepted, retry, now);
                (Some("attempt_failed"), Ok(()))
            }
            Effect::Ambiguous { bisect_limit, .. } => {
                row.sync.bisect(*bisect_limit, now);
                (Some("ambiguous"), Ok(()))
            }
            Effect::Released => {
                row.sync.next_attempt_at = row.sync.next_attempt_at.max(now);
                (None, Ok(()))
            }
            Effect::Settling => {
                row.sync.next_attempt_at = row.sync.next_attempt_at.max(now).max(settles_at.unwrap_or(now));
                (None, Ok(()))
            }
        };
        applied.ok()?;
        if let (true, Some(settles_at)) = (is_insert, settles_at) {
            row.sync.next_attempt_at = row.sync.next_attempt_at.max(settles_at);
        }
        row.lease = None;
        let given_up = matches!(outcome.effect, Effect::Failed(_) | Effect::ContactGone(_))
            && row.sync.state.label() == "rejected"
            && was != "rejected";
        let what = if given_up { Some("rejected") } else { what };
        if row.sync.state.label() != was {
            row.changed_at = now;
        }
        if !matches!(row.sync.state.label(), "cancelled" | "lead_deleted") {
            row.contact = row.sync.state.contact().cloned();
        }
        let sync = row.sync.clone();
        if let Some(what) = what {
            self.note(id, what);
        }
        let event = match &outcome.effect {
            Effect::Event(event) => Some(event),
            Effect::ContactGone(_) => Some(&Event::ContactGone),
            _ => None,
        };
        if let Some(event) = event {
            self.links.entry(sync.lead.clone()).or_default().update(event, &sync);
        }
        match &sync.state {
            State::Upserted {
                delivered,
                tag_not_before,
                ..
            } if matches!(outcome.effect, Effect::Event(_)) => {
                return Some((id, delivered.contact.clone(), *tag_not_before));
            }
            State::Sent { .. } => self.ledger.sent += 1,
            State::Failed { .. } => self.ledger.failed += 1,
            State::LeadDeleted => self.ledger.lead_deleted += 1,
            State::Cancelled { .. } => self.ledger.cancelled += 1,
            _ => {}
        }
        None
    }

    fn move_tags(&mut self, tag_not_before: Timestamp, of: impl Fn(&SyncJob) -> bool) {
        for row in self.syncs.iter_mut().filter(|row| of(&row.sync)) {
            // Whatever does not wait for its tag has none to move.
            let _ = row.sync.contact_upserted(tag_not_before);
        }
    }

    // --- Breakers and restarts ------------------------------------------------------------------------

    pub fn open_breaker(&mut self, (service_error, cause): (&ServiceError, Cause), epoch: i64, jitter: f64) {
        let (now, retry) = (self.now, self.settings.retry);
        self.breaker(service_error.remote)
            .record_failure((service_error, cause), epoch, &retry, jitter, now);
    }

    pub fn breaker(&mut self, remote: Remote) -> &mut Breaker {
        self.breakers.entry(remote).or_insert_with(|| Breaker::closed(remote))
    }

    fn open(&mut self, remote: Remote, change: impl Fn(&mut Timestamp)) {
        if let Some(open) = &mut self.breaker(remote).open {
            change(&mut open.until);
        }
    }

    /// The process ends in the middle of whatever it does, and another takes over. An upsert or a tag may still be under way.
    pub fn restart(&mut self) {
        let is_upserting = |row: &Row| row.lease.is_some() && matches!(row.sync.state, State::Requested { .. });
        if self.syncs.iter().any(is_upserting) {
            self.move_tags(self.now + self.settings.tag_delay, |_| true);
        }
        self.expect_lost_inserts();
        let now = self.now;
        for row in &mut self.syncs {
            let may_be_under_way = matches!(row.sync.state, State::Requested { .. } | State::Upserted { .. });
            row.lease = row.lease.filter(|(_, until)| may_be_under_way && *until > now);
        }
    }
}
