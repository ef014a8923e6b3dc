//! What a person does to the model: cancel, try again, dismiss, pause everything, check a service.

use bigin_sync::domain::failure::Remote;
use bigin_sync::domain::lead::LeadId;
use bigin_sync::domain::state::Event;
use bigin_sync::domain::sync::{Source, SyncId};
use bigin_sync::store::{Accepted, Cancelling, Checking, Dismissing, Stage};

use super::{Model, Row};

impl Model {
    pub fn cancel(&mut self, id: SyncId) -> Cancelling {
        self.expire_upserts();
        let now = self.now;
        let Some(row) = self.syncs.iter_mut().find(|row| row.sync.id == id) else {
            return Cancelling::Missing;
        };
        if row.lease.is_some_and(|(_, until)| until > now) {
            return Cancelling::Busy;
        }
        let requests = row.sync.requests.count;
        if row.sync.apply(Event::Cancelled, requests, now).is_err() {
            return Cancelling::Ended;
        }
        (row.lease, row.changed_at) = (None, now);
        let sync = row.sync.clone();
        self.note(id, "cancelled");
        let memory = self.memories.entry(sync.lead.clone()).or_default();
        memory.learn(&Event::Cancelled, &sync);
        self.ledger.cancelled += 1;
        Cancelling::Done
    }

    pub fn dismiss(&mut self, id: SyncId) -> Dismissing {
        let is_last = self.last_failed().iter().any(|row| row.sync.id == id);
        let now = self.now;
        let Some(row) = self.syncs.iter_mut().find(|row| row.sync.id == id) else {
            return Dismissing::Missing;
        };
        if row.dismissed_at.is_none() {
            if !is_last {
                return Dismissing::NoFailure;
            }
            row.dismissed_at = Some(now);
            self.note(id, "dismissed");
        }
        Dismissing::Done
    }

    pub fn check_now(&mut self, remote: Remote) -> Checking {
        let now = self.now;
        if self.breaker(remote).open.is_none() {
            return Checking::Closed;
        }
        self.breaker(remote).check_now(now);
        let stages = Stage::ALL.into_iter().filter(|stage| stage.remotes().contains(&remote));
        let states: Vec<&str> = stages.flat_map(Stage::states).copied().collect();
        let waiting = self
            .syncs
            .iter_mut()
            .filter(|row| states.contains(&row.sync.state.label()));
        match waiting.min_by_key(|row| (row.sync.due_at, row.sync.id)) {
            None => Checking::Idle,
            Some(row) => {
                row.sync.hurry(now);
                Checking::Probe
            }
        }
    }

    pub fn retry(&mut self, id: SyncId) -> Option<Accepted> {
        let row = self.syncs.iter().find(|row| row.sync.id == id)?;
        let lead = row.sync.lead.clone();
        Some(self.ask_again(&lead))
    }

    fn ask_again(&mut self, lead: &LeadId) -> Accepted {
        let now = self.now;
        let accepted = self.open_or_join(lead, Source::Retry, None);
        if let Some(row) = self.active(lead) {
            row.sync.hurry(now);
        }
        accepted
    }

    pub fn retry_failed(
        &mut self,
        reason: Option<&str>,
        before: Option<SyncId>,
        limit: usize,
    ) -> (usize, Option<SyncId>) {
        let fits = |row: &&Row| {
            reason.is_none_or(|reason| row.reason() == Some(reason)) && before.is_none_or(|before| row.sync.id < before)
        };
        let failed = self.last_failed().into_iter().rev().filter(fits).take(limit);
        let failed: Vec<_> = failed.map(|row| (row.sync.id, row.sync.lead.clone())).collect();
        for (_, lead) in &failed {
            self.ask_again(lead);
        }
        let next = failed.last().filter(|_| failed.len() == limit).map(|(id, _)| *id);
        (failed.len(), next)
    }

    pub fn pause_all(&mut self, paused: bool) {
        let since = self.paused_since.unwrap_or(self.now);
        self.paused_since = paused.then_some(since);
    }
}
