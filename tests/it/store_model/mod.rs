//! Any sequence of calls does to the store what it does to a simple model of it, and after each of them both say the same.

mod model;
mod steps;

use std::collections::BTreeMap;
use std::sync::Arc;

use bigin_sync::clock::{Clock, ManualClock};
use bigin_sync::database::Database;
use bigin_sync::domain::lead::LeadId;
use bigin_sync::domain::retry::RetryPolicy;
use bigin_sync::domain::state::State;
use bigin_sync::store::sqlite;
use bigin_sync::store::{ClaimToken, Claimed, Filter, Outcome, Prefer, Stage, StepReport, Store, StoreSettings};
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use jiff::Timestamp;
use proptest::prelude::*;
use secrecy::SecretString;

use self::model::Model;
use self::steps::{Step, contacts, keys_of_reasons, leads, steps};
use crate::cluster::{self, Cluster};
use crate::world::secs;

/// What proptest runs where nobody asks for another number.
const UNASKED: u32 = 256;

/// Steps after which every sync's history is compared too.
const NOW_AND_THEN: usize = 10;

fn settings() -> StoreSettings {
    let retry = RetryPolicy {
        base_delay: secs(1),
        max_delay: secs(8),
        give_up_after: secs(12),
    };
    StoreSettings {
        lease: secs(10),
        tag_delay: secs(15),
        retry,
        ambiguity_delay: secs(12),
    }
}

fn config(cases: u32) -> ProptestConfig {
    let asked = ProptestConfig::default();
    ProptestConfig {
        cases: if asked.cases == UNASKED { cases } else { asked.cases },
        failure_persistence: None,
        max_shrink_iters: 500,
        ..asked
    }
}

/// Opens the store, with what an earlier opening left in it.
type Open<'a> = &'a dyn Fn(Arc<ManualClock>) -> Box<Store>;

/// A store and its model, side by side.
struct Pair<'a> {
    clock: Arc<ManualClock>,
    open: Open<'a>,
    store: Option<Box<Store>>,
    model: Model,
    /// Claims whose outcome has not been recorded yet, and some whose has.
    held: Vec<Claimed>,
    leases: Vec<ClaimToken>,
    /// Until when the worker of each stage sleeps, if nothing wakes it; one that does not sleep is not here.
    asleep: BTreeMap<&'static str, Option<Timestamp>>,
}

impl<'a> Pair<'a> {
    fn new(open: Open<'a>, takes_turns: bool) -> Self {
        let clock = Arc::new(ManualClock::new("2026-11-22T10:00:00Z".parse().unwrap()));
        Self {
            store: Some(open(clock.clone())),
            open,
            model: Model::new(clock.now(), settings(), takes_turns),
            clock,
            held: Vec::new(),
            leases: Vec::new(),
            asleep: BTreeMap::new(),
        }
    }

    fn store(&self) -> &Store {
        self.store.as_deref().unwrap()
    }

    fn advance(&mut self, seconds: u64) {
        self.clock.advance(secs(seconds));
        self.model.now = self.clock.now();
    }

    async fn take(&mut self, step: &Step) {
        match step {
            Step::Accept(delivery) => {
                let accepted = self.store().accept(delivery.clone()).await.unwrap();
                assert_eq!(accepted, self.model.accept(delivery));
            }
            Step::AcceptAll(deliveries) => {
                let accepted = deliveries.iter().map(|delivery| self.store().accept(delivery.clone()));
                let accepted: Vec<_> = join_all(accepted).await.into_iter().map(Result::unwrap).collect();
                let expected: Vec<_> = deliveries.iter().map(|delivery| self.model.accept(delivery)).collect();
                assert_eq!(accepted, expected);
            }
            Step::Request(lead, source, revision) => {
                let accepted = self
                    .store()
                    .request(lead.clone(), *source, revision.clone())
                    .await
                    .unwrap();
                assert_eq!(accepted, self.model.request(lead, *source, revision.clone()));
            }
            Step::Claim(stage, limit, prefer) => self.claim(*stage, *limit, *prefer).await,
            Step::Record { picks, report } => {
                let outcomes: Vec<_> = picks
                    .iter()
                    .filter_map(|pick| pick.outcome(&mut self.held, &self.model))
                    .collect();
                let mut report = report.clone();
                for (remote, epoch) in report.answered.iter_mut().chain(&mut report.probed) {
                    *epoch = self.model.breaker(*remote).epoch - *epoch;
                }
                self.record(outcomes, report).await;
            }
            Step::OpenBreaker {
                service_error,
                cause,
                late,
                jitter,
            } => {
                let epoch = self.model.breaker(service_error.remote).epoch - i64::from(*late);
                self.store()
                    .open_breaker(service_error.clone(), *cause, epoch, *jitter)
                    .await
                    .unwrap();
                self.model.open_breaker((service_error, *cause), epoch, *jitter);
            }
            Step::Advance(seconds) => self.advance(*seconds),
            Step::Restart => self.restart(),
            Step::DeleteOld(age, limit) => {
                let gone = self.store().delete_old(secs(*age), *limit).await.unwrap();
                assert_eq!(gone, self.model.delete_old(secs(*age), *limit));
            }
            Step::Cancel(which) => {
                let id = which.id(&self.model);
                let cancelled = self.store().cancel(id).await.unwrap();
                assert_eq!(cancelled, self.model.cancel(id));
            }
            Step::Retry(which) => {
                let id = which.id(&self.model);
                let accepted = self.store().retry(id, false).await.unwrap();
                assert_eq!(accepted, self.model.retry(id));
            }
            Step::RetryFailed { reason, before, limit } => {
                let before = before.as_ref().map(|before| before.id(&self.model));
                let opened = self.store().retry_failed(reason.clone(), before, *limit).await.unwrap();
                assert_eq!(opened, self.model.retry_failed(reason.as_ref(), before, *limit));
            }
            Step::Dismiss(which) => {
                let id = which.id(&self.model);
                let dismissed = self.store().dismiss(id).await.unwrap();
                assert_eq!(dismissed, self.model.dismiss(id));
            }
            Step::CheckNow(remote) => {
                let checking = self.store().check_now(*remote).await.unwrap();
                assert_eq!(checking, self.model.check_now(*remote));
            }
            Step::PauseAll(paused) => {
                self.store().set_paused(*paused).await.unwrap();
                self.model.set_paused(*paused);
            }
        }
    }

    async fn claim(&mut self, stage: Stage, limit: usize, prefer: Prefer) {
        let claim = self.store().claim(stage, limit, prefer).await.unwrap();
        let lease = claim.syncs.first().map_or(ClaimToken(0), |claimed| claimed.token);
        for claimed in &claim.syncs {
            self.assert_may_be_claimed(claimed);
            assert_eq!(claimed.token, lease, "one claim is one lease");
        }
        if !claim.syncs.is_empty() {
            assert!(!self.leases.contains(&lease), "no lease is given twice");
            self.leases.push(lease);
        }
        let expected = self.model.claim(stage, (limit, prefer), lease);
        let syncs: Vec<_> = claim.syncs.iter().map(|c| (c.sync.clone(), c.link.clone())).collect();
        assert_eq!(syncs, expected.syncs, "those that are due, the longest due first");
        assert_eq!(claim.next_due, expected.next_due, "when it is worth asking again");
        assert_eq!(claim.breakers, expected.breakers);
        assert_eq!(claim.probed, expected.probed);
        assert_eq!(claim.accepted, expected.accepted);
        let mut limits = claim.syncs.iter().map(|claimed| claimed.sync.bisect_limit);
        let first = limits.next().flatten();
        assert!(
            limits.all(|limit| limit == first),
            "suspects of one limit travel together"
        );
        let most = first.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap());
        assert!(claim.syncs.len() <= most, "and no more of them than it says");
        let in_time = claim.next_due.is_none_or(|due| due > self.model.now);
        assert!(in_time, "who sleeps until the next sync is due does sleep");
        if claim.syncs.is_empty() {
            self.asleep.insert(stage.label(), claim.next_due);
        } else {
            self.asleep.remove(stage.label());
        }
        self.held.extend(claim.syncs);
    }

    /// What must never happen, whatever the model thinks.
    fn assert_may_be_claimed(&self, claimed: &Claimed) {
        let now = self.model.now;
        if let State::Upserted { tag_not_before, .. } = &claimed.sync.state {
            assert!(*tag_not_before <= now, "no tag before its time");
        }
        let row = self
            .model
            .syncs
            .iter()
            .find(|row| row.sync.id == claimed.sync.id)
            .unwrap();
        let is_leased = row.lease.is_some_and(|(_, until)| until > now);
        assert!(!is_leased, "a claimed sync is nobody else's until its lease runs out");
        assert!(!row.sync.state.is_final(), "what has ended is not taken up again");
    }

    async fn record(&mut self, outcomes: Vec<Outcome>, report: StepReport) {
        self.store().record(outcomes.clone(), report.clone()).await.unwrap();
        self.model.record(&outcomes, &report);
    }

    /// A new process never opens the file at the very moment in which the one before it did.
    fn restart(&mut self) {
        self.advance(1);
        self.store = None;
        self.store = Some((self.open)(self.clock.clone()));
        // What is shared outlives each of those who share it, leases and all.
        if !self.model.takes_turns {
            self.model.restart();
        }
        self.asleep.clear();
    }

    /// A worker that found nothing sleeps until the time it was told, and is woken where there is work before.
    fn assert_nobody_oversleeps(&mut self) {
        for stage in Stage::ALL {
            let sleeps = self.asleep.get(stage.label());
            if !sleeps.is_some_and(|until| until.is_none_or(|until| until > self.model.now)) {
                continue;
            }
            let is_woken = self.store().woken(stage).notified().now_or_never().is_some();
            assert!(
                is_woken || !self.model.has_work(stage),
                "{} is not woken",
                stage.label()
            );
            if is_woken {
                self.asleep.remove(stage.label());
            }
        }
    }

    async fn assert_agree(&self) {
        let (store, model) = (self.store(), &self.model);
        let ledger = store.ledger().await.unwrap();
        assert!(ledger.balances(), "{ledger:?}");
        assert_eq!(ledger, model.ledger());
        assert_eq!(
            store.list(Filter::default(), 1000).await.unwrap(),
            model.list(&Filter::default(), 1000)
        );
        assert_eq!(store.open_breakers().await.unwrap(), model.open_breakers());
        assert_eq!(store.overview().await.unwrap(), model.overview());
        assert_eq!(store.last_event_id().await.unwrap(), model.last_event_id());
        let mut active: Vec<&LeadId> = model
            .syncs
            .iter()
            .filter(|r| r.is_active())
            .map(|r| &r.sync.lead)
            .collect();
        let all = active.len();
        active.sort();
        active.dedup();
        assert_eq!(active.len(), all, "a lead has one active sync at most");
    }

    /// What is dear to compare, and rarely goes wrong by itself.
    async fn assert_agree_in_detail(&self) {
        let (store, model) = (self.store(), &self.model);
        let active = |lead: &LeadId| model.syncs.iter().any(|row| row.is_active() && row.sync.lead == *lead);
        let idle: Vec<_> = leads().into_iter().filter(|lead| !active(lead)).collect();
        assert_eq!(store.without_sync(leads()).await.unwrap(), idle);
        for (contact, owner) in store.owners(contacts()).await.unwrap() {
            assert!(model.knows(&owner, &contact), "{owner} owns {contact}");
        }
        let owned = store.owners(contacts()).await.unwrap();
        let known = |contact| model.links.keys().any(|lead| model.knows(lead, contact));
        assert!(
            contacts().iter().all(|c| owned.contains_key(c) == known(c)),
            "{owned:?}"
        );
        for row in &model.syncs {
            let (view, history) = store.sync(row.sync.id).await.unwrap().unwrap();
            let history: Vec<_> = history.into_iter().map(|line| (line.at, line.kind)).collect();
            assert_eq!((view, &history), (self.model.view(row), &row.history));
        }
        for limit in [1, 9] {
            assert_eq!(store.failure_groups(limit).await.unwrap(), model.failure_groups(limit));
        }
        for (ago, step) in [(0, 1), (20, 7), (100_000, 3_600)] {
            let (since, step) = (model.now - secs(ago), secs(step));
            assert_eq!(store.flow(since, step).await.unwrap(), model.flow(since, step));
        }
        for (behind, limit) in [(i64::MAX, 1000), (5, 2)] {
            let after = model.last_event_id().saturating_sub(behind).max(0);
            let events_after = store.events_after(after, limit).await.unwrap();
            assert_eq!(events_after, model.events_after(after, limit));
        }
        for filter in filters(model) {
            assert_eq!(
                store.list(filter.clone(), 2).await.unwrap(),
                model.list(&filter, 2),
                "{filter:?}"
            );
        }
    }
}

fn filters(model: &Model) -> Vec<Filter> {
    let states = State::LABELS.map(|state| Filter {
        state: Some(state.to_owned()),
        ..Filter::default()
    });
    let of_leads = leads().into_iter().map(|lead| Filter {
        lead: Some(lead),
        before: model.syncs.last().map(|row| row.sync.id),
        ..Filter::default()
    });
    let of_contacts = contacts().into_iter().map(|contact| Filter {
        contact: Some(contact),
        ..Filter::default()
    });
    let of_reasons = keys_of_reasons().into_iter().map(|reason| Filter {
        reason: Some(reason),
        ..Filter::default()
    });
    let few = states.into_iter().chain(of_leads);
    let of_parts = ["D", "_", "%", "1", "ob"].into_iter().map(|part| Filter {
        part: Some(part.to_owned()),
        ..Filter::default()
    });
    few.chain(of_contacts).chain(of_reasons).chain(of_parts).collect()
}

async fn play(open: Open<'_>, takes_turns: bool, steps: &[Step]) {
    let mut pair = Pair::new(open, takes_turns);
    for (number, step) in (1..).zip(steps) {
        pair.take(step).await;
        pair.assert_nobody_oversleeps();
        pair.assert_agree().await;
        if number % NOW_AND_THEN == 0 {
            pair.assert_agree_in_detail().await;
        }
    }
    pair.assert_agree_in_detail().await;
}

proptest! {
    #![proptest_config(config(32))]

    #[test]
    fn sqlite_agrees_with_the_model(steps in steps()) {
        let folder = tempfile::tempdir().unwrap();
        let open = |clock: Arc<ManualClock>| -> Box<Store> {
            Box::new(sqlite::open(&folder.path().join("test.db"), clock, Arc::default(), settings()).unwrap())
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(play(&open, false, &steps));
    }

}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 0, ..config(2) })]

    #[test]
    #[ignore = "needs PostgreSQL"]
    fn postgresql_agrees_with_the_model(all in prop::collection::vec(steps(), 16..17)) {
        // One server for all: it takes longer to start than the steps take.
        let cluster = Cluster::start();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        for steps in all {
            let url = cluster::make_database(&cluster.url("postgres"));
            let database = Database::parse(&SecretString::from(url)).unwrap();
            let open = |clock: Arc<ManualClock>| -> Box<Store> { Box::new(cluster::open(&database, clock, settings())) };
            runtime.block_on(play(&open, true, &steps));
        }
    }
}
