//! The store as a few lists in memory: what [`Store`](bigin_sync::store::Store) promises, without a thought for speed,
//! disk or concurrency. What an event makes of a sync is the domain's and tested there; here is who is due, what a lease
//! is worth, what is a repeat, which tags move, and what is counted.

use std::collections::BTreeMap;

use bigin_sync::domain::breaker::Breaker;
use bigin_sync::domain::failure::{Pause, Remote};
use bigin_sync::domain::lead::{ContactId, LeadId, Revision};
use bigin_sync::domain::state::State;
use bigin_sync::domain::sync::{Memory, Source, Sync, SyncId};
use bigin_sync::store::{Accepted, Delivery, Effect, Happening, Learned, Lease, Ledger, Outcome, Stage, StoreSettings};
use jiff::Timestamp;

use crate::world::secs;

mod steer;
mod views;

pub struct Model {
    pub now: Timestamp,
    pub syncs: Vec<Row>,
    pub memories: BTreeMap<LeadId, Memory>,
    pub ledger: Ledger,
    settings: StoreSettings,
    pub takes_turns: bool,
    breakers: BTreeMap<Remote, Breaker>,
    deliveries: Vec<(Delivery, Timestamp)>,
    last_id: i64,
    paused_since: Option<Timestamp>,
    /// Webhooks that were missed in a row, and when the last of them was found.
    missed: Option<(u64, Timestamp)>,
    /// The lines of all histories, and how many there have ever been.
    happenings: Vec<Happening>,
    last_happening: i64,
    /// By the hour.
    credits: BTreeMap<i64, u64>,
}

/// A sync with all that is kept beside it.
pub struct Row {
    pub sync: Sync,
    pub lease: Option<(Lease, Timestamp)>,
    pub changed_at: Timestamp,
    /// Kept where it ends without a word of its contact.
    pub contact: Option<ContactId>,
    pub dismissed_at: Option<Timestamp>,
    pub history: Vec<(Timestamp, String)>,
}

/// What a claim must bring.
pub struct Expected {
    pub syncs: Vec<(Sync, Memory)>,
    pub next_due: Option<Timestamp>,
    pub breakers: BTreeMap<Remote, Breaker>,
    pub probed: Vec<Remote>,
}

impl Row {
    pub fn is_active(&self) -> bool {
        self.sync.finished_at.is_none()
    }

    /// From when on it can be claimed, unless its lease is given back before.
    fn claimable_at(&self) -> Timestamp {
        let lease_until = self.lease.map_or(Timestamp::MIN, |(_, until)| until);
        self.sync.due_at.max(lease_until)
    }
}

impl Model {
    /// `takes_turns` where the store is shared by several replicas.
    pub fn new(now: Timestamp, settings: StoreSettings, takes_turns: bool) -> Self {
        let breakers = Remote::ALL.map(|remote| (remote, Breaker::closed(remote)));
        Self {
            now,
            syncs: Vec::new(),
            memories: BTreeMap::new(),
            ledger: Ledger::default(),
            settings,
            takes_turns,
            breakers: breakers.into(),
            deliveries: Vec::new(),
            last_id: 0,
            paused_since: None,
            missed: None,
            happenings: Vec::new(),
            last_happening: 0,
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
        self.last_happening += 1;
        self.happenings.push(Happening {
            id: self.last_happening,
            sync_id: id,
            lead_id: row.sync.lead.clone(),
            what: what.to_owned(),
            state: row.sync.state.label().to_owned(),
            at: now,
        });
    }

    // --- What comes in ------------------------------------------------------------------------------------------------

    pub fn accept(&mut self, delivery: &Delivery) -> Accepted {
        self.ledger.accepted += 1;
        let same = |seen: &Delivery| match (&delivery.rev, &delivery.key) {
            (Some(rev), _) => seen.rev.as_ref() == Some(rev),
            (None, Some(key)) => seen.key.as_ref() == Some(key),
            (None, None) => false,
        };
        let mut of_lead = self.deliveries.iter().filter(|(seen, _)| seen.lead == delivery.lead);
        if of_lead.any(|(seen, _)| same(seen)) {
            self.ledger.repeats += 1;
            return Accepted::Repeat;
        }
        self.deliveries.push((delivery.clone(), self.now));
        let accepted = self.open_or_join(&delivery.lead, Source::Webhook, delivery.revision());
        if matches!(accepted, Accepted::Joined(_)) {
            self.ledger.joined_by_webhook += 1;
        }
        accepted
    }

    pub fn request(&mut self, lead: &LeadId, source: Source, revision: Option<Revision>) -> Accepted {
        if source == Source::Reconciliation {
            let memory = self.memories.get(lead).cloned().unwrap_or_default();
            if self.active(lead).is_some() || memory.is_declined(revision.as_ref()) {
                return Accepted::Repeat;
            }
            self.missed = Some((self.webhooks().missed + 1, self.now));
        }
        self.open_or_join(lead, source, revision)
    }

    fn open_or_join(&mut self, lead: &LeadId, source: Source, revision: Option<Revision>) -> Accepted {
        let now = self.now;
        if let Some(row) = self.active(lead) {
            row.sync.join(source, revision);
            let id = row.sync.id;
            self.note(id, "joined");
            return Accepted::Joined(id);
        }
        self.last_id += 1;
        let id = SyncId(self.last_id);
        self.syncs.push(Row {
            sync: Sync::open(id, lead.clone(), source, revision, now),
            lease: None,
            changed_at: now,
            contact: None,
            dismissed_at: None,
            history: Vec::new(),
        });
        self.note(id, "opened");
        self.ledger.opened += 1;
        *match source {
            Source::Webhook => &mut self.ledger.opened_by_webhook,
            Source::Reconciliation => &mut self.ledger.opened_by_reconciliation,
            Source::Person | Source::Retry => &mut self.ledger.opened_by_person,
        } += 1;
        Accepted::Opened(id)
    }

    pub fn active(&mut self, lead: &LeadId) -> Option<&mut Row> {
        self.syncs
            .iter_mut()
            .find(|row| row.is_active() && row.sync.lead == *lead)
    }

    // --- What is claimed ----------------------------------------------------------------------------------------------

    /// `lease` is the one that the claimed syncs get.
    pub fn claim(&mut self, stage: Stage, limit: usize, lease: Lease) -> Expected {
        let nothing = |next_due| Expected {
            syncs: Vec::new(),
            next_due,
            breakers: BTreeMap::new(),
            probed: Vec::new(),
        };
        if self.paused_since.is_some() {
            return nothing(None);
        }
        if self.takes_turns && stage != Stage::WriteBack {
            if self.leased_until().is_none() {
                self.take_over_lost_upserts();
            }
            if let Some(until) = self.turn_of_others(stage) {
                return nothing(Some(until));
            }
        }
        let of_stage = |row: &&mut Row| row.is_active() && stage.states().contains(&row.sync.state.label());
        let breakers: BTreeMap<_, _> = stage.remotes().iter().map(|r| (*r, self.breakers[r].clone())).collect();
        let pauses = breakers.iter().filter_map(|(r, b)| Some((*r, b.open.as_ref()?.until)));
        let (waited_out, pausing): (Vec<_>, Vec<_>) = pauses.partition(|(_, until)| *until <= self.now);
        let mut expected = Expected {
            syncs: Vec::new(),
            next_due: pausing.iter().map(|(_, until)| *until).max(),
            breakers,
            probed: Vec::new(),
        };
        if expected.next_due.is_some() {
            return expected;
        }
        let (is_probe, fresh) = (!waited_out.is_empty(), self.has_fresh(stage));
        if is_probe && !fresh && self.twin_has_fresh(stage) {
            expected.next_due = Some(self.now + self.settings.lease);
            return expected;
        }
        let limit = if is_probe { 1 } else { limit };
        let mut queue: Vec<&mut Row> = self.syncs.iter_mut().filter(of_stage).collect();
        queue.sort_by_key(|row| (row.sync.due_at, row.sync.id));
        let next_due = queue.iter().map(|row| row.claimable_at()).min();
        let until = self.now + self.settings.lease;
        for row in queue
            .into_iter()
            .filter(|row| row.claimable_at() <= self.now)
            .filter(|row| !(is_probe && fresh) || row.sync.failures.count == 0)
            .take(limit)
        {
            row.lease = Some((lease, until));
            let memory = self.memories.get(&row.sync.lead).cloned().unwrap_or_default();
            expected.syncs.push((row.sync.clone(), memory));
        }
        if expected.syncs.is_empty() {
            expected.next_due = next_due;
            return expected;
        }
        for (remote, _) in waited_out {
            expected.probed.push(remote);
            self.open(remote, |open_until| *open_until = until);
        }
        expected
    }

    /// Until when a worker that shares the contacts with this stage's has its turn, if it has.
    pub(super) fn turn_of_others(&self, stage: Stage) -> Option<Timestamp> {
        if !self.takes_turns || stage == Stage::WriteBack {
            return None;
        }
        let longest = |label: &'static str| {
            let of_state = |row: &&Row| row.is_active() && row.sync.state.label() == label;
            let due = self.syncs.iter().filter(of_state).map(|row| row.sync.due_at);
            due.filter(|due| *due <= self.now).min()
        };
        let (own, other) = match stage {
            Stage::Upsert => (longest("requested"), longest("upserted")),
            Stage::Tag | Stage::WriteBack => (longest("upserted"), longest("requested")),
        };
        let leaves_it = own.zip(other).is_some_and(|(own, other)| other < own);
        let is_well = self.breakers.values().all(|breaker| breaker.open.is_none());
        self.leased_until()
            .or((leaves_it && is_well).then(|| self.now + secs(1)))
    }

    fn leased_until(&self) -> Option<Timestamp> {
        let of_contacts = |row: &&Row| matches!(row.sync.state.label(), "requested" | "upserted");
        let leases = self.syncs.iter().filter(of_contacts).filter_map(|row| row.lease);
        leases.map(|(_, until)| until).filter(|until| *until > self.now).max()
    }

    /// Nobody knows whose contacts they have changed.
    fn take_over_lost_upserts(&mut self) {
        let lost = |row: &&mut Row| row.sync.state.label() == "requested" && row.lease.is_some();
        let lost: Vec<&mut Row> = self.syncs.iter_mut().filter(lost).collect();
        let any = !lost.is_empty();
        lost.into_iter().for_each(|row| row.lease = None);
        if any {
            self.move_tags(self.now + self.settings.tag_delay, |_| true);
        }
    }

    /// Whether a sync is due that has not failed, and would do for a probe.
    pub(super) fn has_fresh(&self, stage: Stage) -> bool {
        let mut rows = self
            .syncs
            .iter()
            .filter(|row| row.is_active() && stage.states().contains(&row.sync.state.label()));
        rows.any(|row| row.claimable_at() <= self.now && row.sync.failures.count == 0)
    }

    pub(super) fn twin_has_fresh(&self, stage: Stage) -> bool {
        let mut twins = Stage::ALL
            .into_iter()
            .filter(|twin| *twin != stage && twin.remotes() == stage.remotes());
        twins.any(|twin| self.has_fresh(twin))
    }

    // --- What is recorded ---------------------------------------------------------------------------------------------

    pub fn record(&mut self, outcomes: &[Outcome], learned: &Learned) {
        for (remote, epoch) in &learned.answered {
            self.breaker(*remote).mend(*epoch);
        }
        let now = self.now;
        *self.credits.entry(now.as_second() / 3600).or_default() += u64::from(learned.credits);
        for (remote, epoch) in &learned.probed {
            if self.breaker(*remote).epoch == *epoch {
                self.open(*remote, |until| *until = now.min(*until));
            }
        }
        if learned.unknown_upsert {
            self.move_tags(now + self.settings.tag_delay, |_| true);
        }
        for outcome in outcomes {
            self.record_one(outcome);
        }
    }

    fn record_one(&mut self, outcome: &Outcome) {
        let (id, lease) = (outcome.claimed.sync.id, outcome.claimed.lease);
        let holds = |row: &&mut Row| row.sync.id == id && row.lease.is_some_and(|(held, _)| held == lease);
        let (now, retry) = (self.now, &self.settings.retry);
        let Some(row) = self.syncs.iter_mut().find(holds) else {
            return;
        };
        let requests = outcome.claimed.sync.requests.count;
        let was = row.sync.state.label();
        let (what, applied) = match &outcome.effect {
            Effect::Happened(event) => (Some(event.label()), row.sync.apply(event.clone(), requests, now)),
            Effect::Failed(failure) => (Some("retry"), row.sync.fail(failure.clone(), requests, retry, now)),
            Effect::Suspected(failure, mended) => {
                row.sync.suspect(failure.clone(), *mended, retry, now);
                (Some("retry"), Ok(()))
            }
            Effect::Released => {
                row.sync.due_at = row.sync.due_at.max(now);
                (None, Ok(()))
            }
        };
        if applied.is_err() {
            return;
        }
        row.lease = None;
        let given_up =
            matches!(outcome.effect, Effect::Failed(_)) && row.sync.state.label() == "rejected" && was != "rejected";
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
        if let Effect::Happened(event) = &outcome.effect {
            self.memories.entry(sync.lead.clone()).or_default().learn(event, &sync);
        }
        match &sync.state {
            State::Upserted {
                delivered,
                tag_not_before,
                ..
            } if matches!(outcome.effect, Effect::Happened(_)) => {
                self.move_tags(*tag_not_before, |other| {
                    other.id != id && other.state.contact() == Some(&delivered.contact)
                });
            }
            State::Sent { .. } => self.ledger.sent += 1,
            State::Failed { .. } => self.ledger.failed += 1,
            State::LeadDeleted => self.ledger.lead_deleted += 1,
            State::Cancelled { .. } => self.ledger.cancelled += 1,
            _ => {}
        }
    }

    fn move_tags(&mut self, tag_not_before: Timestamp, of: impl Fn(&Sync) -> bool) {
        for row in self.syncs.iter_mut().filter(|row| of(&row.sync)) {
            // Whatever does not wait for its tag has none to move.
            let _ = row.sync.contact_upserted(tag_not_before);
        }
    }

    // --- Breakers and restarts ------------------------------------------------------------------------

    pub fn pause(&mut self, pause: &Pause, epoch: i64, draw: f64) {
        let (now, retry) = (self.now, self.settings.retry);
        self.breaker(pause.remote).trip(pause, epoch, &retry, draw, now);
    }

    pub fn breaker(&mut self, remote: Remote) -> &mut Breaker {
        self.breakers.entry(remote).or_insert_with(|| Breaker::closed(remote))
    }

    fn open(&mut self, remote: Remote, change: impl Fn(&mut Timestamp)) {
        if let Some(open) = &mut self.breaker(remote).open {
            change(&mut open.until);
        }
    }

    /// The process ends in the middle of whatever it does, and another takes over. An upsert may still be under way.
    pub fn restart(&mut self) {
        let is_upserting = |row: &Row| row.lease.is_some() && matches!(row.sync.state, State::Requested { .. });
        if self.syncs.iter().any(is_upserting) {
            self.move_tags(self.now + self.settings.tag_delay, |_| true);
        }
        let now = self.now;
        for row in &mut self.syncs {
            let may_be_under_way = is_upserting(row);
            row.lease = row.lease.filter(|(_, until)| may_be_under_way && *until > now);
        }
    }
}
