//! What a person does to the model: cancel, try again, dismiss, pause everything, check a service.

use bigin_sync::domain::failure::Remote;
use bigin_sync::domain::lead::LeadId;
use bigin_sync::domain::reject_reason::ReasonKey;
use bigin_sync::domain::state::Event;
use bigin_sync::domain::sync::{Source, SyncId};
use bigin_sync::store::{Accepted, CancelResult, CheckResult, DismissResult, Stage};

use super::{Model, Row};

impl Model {
    pub fn cancel(&mut self, id: SyncId) -> CancelResult {
        self.expire(&Stage::ALL);
        let now = self.now;
        let Some(row) = self.syncs.iter_mut().find(|row| row.sync.id == id) else {
            return CancelResult::Missing;
        };
        if row.lease.is_some_and(|(_, until)| until > now) {
            return CancelResult::Busy;
        }
        let requests = row.sync.requests.count;
        if row.sync.apply(Event::Cancelled, requests, now).is_err() {
            return CancelResult::Ended;
        }
        (row.lease, row.changed_at) = (None, now);
        let sync = row.sync.clone();
        self.note(id, "cancelled");
        let link = self.links.entry(sync.lead.clone()).or_default();
        link.update(&Event::Cancelled, &sync);
        self.ledger.cancelled += 1;
        CancelResult::Done
    }

    pub fn dismiss(&mut self, id: SyncId) -> DismissResult {
        let is_last = self.last_failed().iter().any(|row| row.sync.id == id);
        let now = self.now;
        let Some(row) = self.syncs.iter_mut().find(|row| row.sync.id == id) else {
            return DismissResult::Missing;
        };
        if row.dismissed_at.is_none() {
            if !is_last {
                return DismissResult::NoFailure;
            }
            row.dismissed_at = Some(now);
            self.note(id, "dismissed");
        }
        DismissResult::Done
    }

    pub fn check_now(&mut self, remote: Remote) -> CheckResult {
        let now = self.now;
        if self.breaker(remote).open.is_none() {
            return CheckResult::Closed;
        }
        self.breaker(remote).check_now(now);
        let stages = Stage::ALL.into_iter().filter(|stage| stage.remotes().contains(&remote));
        let states: Vec<&str> = stages.flat_map(Stage::states).copied().collect();
        let waiting = self
            .syncs
            .iter_mut()
            .filter(|row| states.contains(&row.sync.state.label()));
        match waiting.min_by_key(|row| (row.sync.next_attempt_at, row.sync.id)) {
            None => CheckResult::Idle,
            Some(row) => {
                row.sync.make_due_now(now);
                CheckResult::Probe
            }
        }
    }

    pub fn retry(&mut self, id: SyncId) -> Option<Accepted> {
        let row = self.syncs.iter().find(|row| row.sync.id == id)?;
        let lead = row.sync.lead.clone();
        Some(self.request_again(&lead))
    }

    fn request_again(&mut self, lead: &LeadId) -> Accepted {
        let now = self.now;
        let accepted = self.create_or_coalesce(lead, Source::Retry, None);
        if let Some(row) = self.active(lead) {
            row.sync.make_due_now(now);
        }
        accepted
    }

    pub fn retry_failed(
        &mut self,
        reason: Option<&ReasonKey>,
        before: Option<SyncId>,
        limit: usize,
    ) -> (usize, Option<SyncId>) {
        let fits = |row: &&Row| {
            reason.is_none_or(|reason| row.fits(reason)) && before.is_none_or(|before| row.sync.id < before)
        };
        let failed = self.last_failed().into_iter().rev().filter(fits).take(limit);
        let failed: Vec<_> = failed.map(|row| (row.sync.id, row.sync.lead.clone())).collect();
        for (_, lead) in &failed {
            self.request_again(lead);
        }
        let next = failed.last().filter(|_| failed.len() == limit).map(|(id, _)| *id);
        (failed.len(), next)
    }

    pub fn set_paused(&mut self, paused: bool) {
        let since = self.paused_since.unwrap_or(self.now);
        self.paused_since = paused.then_some(since);
    }
}
