//! What the model shows, and what it forgets.

use std::time::Duration;

use bigin_sync::domain::breaker::{Breaker, Open};
use bigin_sync::domain::failure::Remote;
use bigin_sync::domain::lead::{ContactId, LeadId};
use bigin_sync::store::{Filter, Ledger, Stage, SyncView};
use jiff::Timestamp;

use super::{Model, Row};

impl Row {
    pub fn view(&self) -> SyncView {
        SyncView {
            sync: self.sync.clone(),
            changed_at: self.changed_at,
        }
    }
}

impl Model {
    pub fn open_breakers(&self) -> Vec<Breaker> {
        let open = self.breakers.values().filter(|breaker| breaker.open.is_some());
        let mut open: Vec<_> = open.cloned().collect();
        open.sort_by_key(|breaker| breaker.remote.label());
        open
    }

    /// Whether a claim would bring something now.
    pub fn has_work(&self, stage: Stage) -> bool {
        let is_due = |row: &Row| stage.states().contains(&row.sync.state.label()) && row.claimable_at() <= self.now;
        let pauses = |open: &Open| open.until > self.now;
        let is_paused = |remote: &Remote| self.breakers[remote].open.as_ref().is_some_and(pauses);
        let probes = stage
            .remotes()
            .iter()
            .any(|remote| self.breakers[remote].open.is_some());
        let leaves_it = probes && !self.has_fresh(stage) && self.twin_has_fresh(stage);
        self.syncs.iter().any(is_due) && !stage.remotes().iter().any(is_paused) && !leaves_it
    }

    pub fn forget(&mut self, age: Duration, limit: usize) -> usize {
        let before = self.now - age;
        let oldest = |times: Vec<(Timestamp, usize)>| {
            let mut times: Vec<_> = times.into_iter().filter(|(at, _)| *at < before).collect();
            times.sort_unstable();
            times.truncate(limit);
            times.into_iter().map(|(_, place)| place).collect::<Vec<_>>()
        };
        let ends = (0..)
            .zip(&self.syncs)
            .filter_map(|(place, row)| Some((row.sync.finished_at?, place)));
        let syncs = oldest(ends.collect());
        let deliveries = oldest(
            (0..)
                .zip(&self.deliveries)
                .map(|(place, (_, at))| (*at, place))
                .collect(),
        );
        let mut place = 0..;
        self.syncs
            .retain(|_| place.next().is_some_and(|place| !syncs.contains(&place)));
        let mut place = 0..;
        self.deliveries
            .retain(|_| place.next().is_some_and(|place| !deliveries.contains(&place)));
        syncs.len().max(deliveries.len())
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
                && filter.before.is_none_or(|before| row.sync.id < before)
        };
        self.syncs
            .iter()
            .rev()
            .filter(fits)
            .take(limit)
            .map(Row::view)
            .collect()
    }

    pub fn knows(&self, lead: &LeadId, contact: &ContactId) -> bool {
        self.memories
            .get(lead)
            .is_some_and(|memory| memory.contact.as_ref() == Some(contact))
    }
}
