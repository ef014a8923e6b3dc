//! What every store must do, whatever its engine. The stories of the other files run on it; here is what they cannot
//! reach.

use std::sync::Arc;
use std::time::Duration;

use bigin_sync::clock::{Clock, ManualClock};
use bigin_sync::database::Database;
use bigin_sync::domain::breaker::Cause;
use bigin_sync::domain::failure::{Remote, ServiceError, ServiceErrorKind};
use bigin_sync::domain::lead::{ContactId, LeadId};
use bigin_sync::domain::record::Action;
use bigin_sync::domain::reject_reason::RejectReason;
use bigin_sync::domain::retry::RetryPolicy;
use bigin_sync::domain::state::{Delivered, Event, Seen, State};
use bigin_sync::domain::sync::{Failure, Source};
use bigin_sync::store::{
    Accepted, Claimed, Delivery, Detail, Effect, Filter, Outcome, Prefer, Stage, StepReport, Store, StoreError,
    StoreSettings,
};

use crate::cluster;
use crate::world::secs;

mod operator;

struct Bench {
    clock: Arc<ManualClock>,
    store: Store,
    database: Database,
    folder: tempfile::TempDir,
}

fn settings() -> StoreSettings {
    let retry = RetryPolicy {
        base_delay: secs(1),
        max_delay: secs(8),
        give_up_after: secs(20),
    };
    StoreSettings {
        lease: secs(60),
        tag_delay: secs(15),
        ambiguity_delay: secs(120),
        retry,
    }
}

impl Bench {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::new("2026-11-22T10:00:00Z".parse().unwrap()));
        let folder = tempfile::tempdir().unwrap();
        let database = cluster::database(folder.path());
        let store = open_store(&database, clock.clone());
        Self {
            clock,
            store,
            database,
            folder,
        }
    }

    /// Closes the store as a kill would, without a word to anybody, and opens it again.
    fn reopen(self) -> Self {
        let Self {
            clock,
            store,
            database,
            folder,
        } = self;
        drop(store);
        let store = open_store(&database, clock.clone());
        Self {
            clock,
            store,
            database,
            folder,
        }
    }

    async fn open(&self, lead: &str) {
        let accepted = self.store.accept(delivery(lead, "r1")).await.unwrap();
        assert!(matches!(accepted, Accepted::Created(_)));
    }

    async fn claim_one(&self, stage: Stage) -> Claimed {
        let mut claim = self.store.claim(stage, 1, Prefer::Fresh).await.unwrap();
        assert_eq!(claim.syncs.len(), 1, "next due at {:?}", claim.next_due);
        claim.syncs.remove(0)
    }

    async fn record(&self, claimed: &Claimed, effect: Effect) {
        let outcome = Outcome {
            claimed: claimed.clone(),
            effect,
            detail: Detail::default(),
        };
        self.store.record(vec![outcome], StepReport::default()).await.unwrap();
    }

    async fn upserted(&self, claimed: &Claimed, contact: &str) {
        let event = Event::Upserted {
            delivered: Delivered {
                contact: contact_id(contact),
                action: Action::Insert,
                hash: "h".into(),
                keys: Vec::new(),
            },
            seen: Seen {
                requests: claimed.sync.requests.count,
                revision: None,
            },
            tag_not_before: self.clock.now() + secs(15),
        };
        self.record(claimed, Effect::Event(event)).await;
    }

    async fn rejected(&self, claimed: &Claimed, reason: RejectReason) {
        let seen = Seen {
            requests: claimed.sync.requests.count,
            revision: None,
        };
        self.record(claimed, Effect::Event(Event::Rejected { reason, seen }))
            .await;
    }

    async fn state(&self, lead: &str) -> State {
        let filter = Filter {
            lead: Some(lead_id(lead)),
            ..Filter::default()
        };
        self.store.list(filter, 1).await.unwrap().remove(0).sync.state
    }
}

fn open_store(database: &Database, clock: Arc<ManualClock>) -> Store {
    cluster::open(database, clock, settings())
}

fn lead_id(lead: &str) -> LeadId {
    LeadId::parse(lead).unwrap()
}

fn contact_id(contact: &str) -> ContactId {
    ContactId::parse(contact).unwrap()
}

fn delivery(lead: &str, rev: &str) -> Delivery {
    Delivery {
        key: None,
        lead: lead_id(lead),
        rev: Some(rev.into()),
        updated_at: None,
    }
}

fn service_error() -> ServiceError {
    ServiceError {
        remote: Remote::Bigin,
        kind: ServiceErrorKind::RateLimited,
        code: "TOO_MANY_REQUESTS".into(),
        what: "too many calls".into(),
        action: None,
        retry_after: Some(secs(30)),
    }
}

#[actix_web::test]
async fn claim_is_exclusive_until_lease_expires() {
    let bench = Bench::new();
    bench.open("a").await;
    let first = bench.claim_one(Stage::Upsert).await;
    let none = bench.store.claim(Stage::Upsert, 10, Prefer::Fresh).await.unwrap();
    assert!(none.syncs.is_empty());
    assert_eq!(none.next_due, Some(bench.clock.now() + secs(60)));
    bench.clock.advance(secs(60));
    let second = bench.claim_one(Stage::Upsert).await;
    assert_ne!(first.token, second.token);
}

#[actix_web::test]
async fn expired_lease_is_not_renewed() {
    let bench = Bench::new();
    bench.open("a").await;
    let upsert = bench.claim_one(Stage::Upsert).await;
    bench.upserted(&upsert, "1").await;
    bench.clock.advance(secs(15));
    let Claimed { token, .. } = bench.claim_one(Stage::Tag).await;
    for _ in 0..2 {
        bench.clock.advance(secs(59));
        assert!(bench.store.renew(token).await.unwrap(), "it lasts anew from then on");
    }
    // Another replica may have its turn now, and upsert the contact for another lead.
    bench.clock.advance(secs(60));
    assert!(!bench.store.renew(token).await.unwrap());
}

#[actix_web::test]
async fn outcome_after_lost_lease_changes_nothing() {
    let bench = Bench::new();
    bench.open("a").await;
    let late = bench.claim_one(Stage::Upsert).await;
    bench.clock.advance(secs(60));
    let current = bench.claim_one(Stage::Upsert).await;
    bench.record(&late, Effect::Event(Event::LeadDeleted)).await;
    assert_eq!(bench.state("a").await.label(), "requested");
    bench.upserted(&current, "1").await;
    assert_eq!(bench.state("a").await.label(), "upserted");
    bench.record(&current, Effect::Event(Event::LeadDeleted)).await;
    assert_eq!(
        bench.state("a").await.label(),
        "upserted",
        "and neither does a second outcome"
    );
}

#[actix_web::test]
async fn final_state_yields_to_newer_request() {
    let bench = Bench::new();
    bench.open("a").await;
    let claimed = bench.claim_one(Stage::Upsert).await;
    assert!(matches!(
        bench.store.accept(delivery("a", "r2")).await.unwrap(),
        Accepted::Coalesced(_)
    ));
    bench.record(&claimed, Effect::Event(Event::Withdrawn)).await;
    assert_eq!(bench.state("a").await.label(), "requested");
    let again = bench.claim_one(Stage::Upsert).await;
    bench.record(&again, Effect::Event(Event::Withdrawn)).await;
    assert_eq!(bench.state("a").await.label(), "cancelled");
    assert!(bench.store.ledger().await.unwrap().balances());
}

#[actix_web::test]
async fn upsert_restarts_delay_of_its_contact_only() {
    let bench = Bench::new();
    for lead in ["a", "b", "c"] {
        bench.open(lead).await;
    }
    let a = bench.claim_one(Stage::Upsert).await;
    let b = bench.claim_one(Stage::Upsert).await;
    bench.upserted(&a, "1").await;
    bench.upserted(&b, "2").await;
    bench.clock.advance(secs(10));
    let c = bench.claim_one(Stage::Upsert).await;
    bench.upserted(&c, "1").await;
    bench.clock.advance(secs(5));
    let due = bench.store.claim(Stage::Tag, 10, Prefer::Fresh).await.unwrap().syncs;
    assert_eq!(due.iter().map(|due| due.sync.lead.as_str()).collect::<Vec<_>>(), ["b"]);
    bench.clock.advance(secs(10));
    assert_eq!(
        bench
            .store
            .claim(Stage::Tag, 10, Prefer::Fresh)
            .await
            .unwrap()
            .syncs
            .len(),
        2
    );
}

#[actix_web::test]
async fn moved_tag_waits_for_its_new_time() {
    let bench = Bench::new();
    for lead in ["a", "b"] {
        bench.open(lead).await;
    }
    let a = bench.claim_one(Stage::Upsert).await;
    let b = bench.claim_one(Stage::Upsert).await;
    bench.upserted(&a, "1").await;
    bench.clock.advance(secs(15));
    let tag = bench.claim_one(Stage::Tag).await;
    bench.upserted(&b, "1").await;
    let failure = Failure {
        error: RejectReason::WriteContention,
        retry_after: None,
        jitter: 1.0,
        ambiguous_insert: false,
        isolates: false,
    };
    bench.record(&tag, Effect::Failed(failure)).await;
    bench.clock.advance(secs(14));
    assert!(
        bench
            .store
            .claim(Stage::Tag, 10, Prefer::Fresh)
            .await
            .unwrap()
            .syncs
            .is_empty()
    );
    bench.clock.advance(secs(1));
    assert_eq!(
        bench
            .store
            .claim(Stage::Tag, 10, Prefer::Fresh)
            .await
            .unwrap()
            .syncs
            .len(),
        2
    );
}

#[actix_web::test]
async fn lost_lease_wakes_when_sync_is_due() {
    let bench = Bench::new();
    bench.open("a").await;
    let a = bench.claim_one(Stage::Upsert).await;
    bench.upserted(&a, "1").await;
    bench.clock.advance(secs(15));
    bench.claim_one(Stage::Tag).await;
    bench.clock.advance(secs(50));
    let report = StepReport {
        ambiguous_upsert: true,
        ..StepReport::default()
    };
    bench.store.record(Vec::new(), report).await.unwrap();
    bench.clock.advance(secs(10));
    bench
        .store
        .open_breaker(service_error(), Cause::Service, 0, 0.0)
        .await
        .unwrap();
    let report = StepReport {
        probed: vec![(Remote::Bigin, 1)],
        ..StepReport::default()
    };
    bench.store.record(Vec::new(), report).await.unwrap();
    let claim = bench.store.claim(Stage::Tag, 10, Prefer::Fresh).await.unwrap();
    assert_eq!(claim.next_due, Some(bench.clock.now() + secs(5)));
    assert!(claim.probed.is_empty(), "no probe is spent on nothing");
}

#[actix_web::test]
async fn failures_back_off_and_give_up() {
    let bench = Bench::new();
    bench.open("a").await;
    let failure = Failure {
        error: RejectReason::WriteContention,
        retry_after: None,
        jitter: 1.0,
        ambiguous_insert: false,
        isolates: false,
    };
    let mut waits = Vec::new();
    loop {
        let claim = bench.store.claim(Stage::Upsert, 1, Prefer::Fresh).await.unwrap();
        if let Some(claimed) = claim.syncs.first() {
            bench.record(claimed, Effect::Failed(failure.clone())).await;
        } else if let Some(due) = claim.next_due {
            let wait = Duration::try_from(due.duration_since(bench.clock.now())).unwrap();
            waits.push(wait.as_secs());
            bench.clock.advance(wait);
        } else {
            break;
        }
    }
    assert_eq!(waits, [1, 2, 4, 8, 8]);
    assert!(
        matches!(bench.state("a").await, State::Rejected { reason, .. } if reason == RejectReason::WriteContention)
    );
}

#[actix_web::test]
async fn failed_sync_probes_only_if_alone() {
    let bench = Bench::new();
    for lead in ["failed", "waiting for its tag"] {
        bench.open(&lead.replace(' ', "-")).await;
    }
    let failed = bench.claim_one(Stage::Upsert).await;
    let upserted = bench.claim_one(Stage::Upsert).await;
    let failure = Failure {
        error: RejectReason::WriteContention,
        retry_after: None,
        jitter: 0.0,
        ambiguous_insert: false,
        isolates: false,
    };
    bench.record(&failed, Effect::Failed(failure)).await;
    bench.upserted(&upserted, "7001").await;
    bench
        .store
        .open_breaker(service_error(), Cause::Service, 0, 0.0)
        .await
        .unwrap();
    bench.clock.advance(secs(30));

    let left = bench.store.claim(Stage::Upsert, 10, Prefer::Fresh).await.unwrap();
    assert_eq!(
        (left.syncs.len(), left.probed),
        (0, vec![]),
        "the tag is left the probe"
    );
    bench.open("fresh").await;
    let probe = bench.claim_one(Stage::Upsert).await;
    assert_eq!(
        probe.sync.lead,
        lead_id("fresh"),
        "though the other has been due for longer"
    );
    bench.record(&probe, Effect::Event(Event::LeadDeleted)).await;

    let tag = bench.store.claim(Stage::Tag, 10, Prefer::Fresh).await.unwrap();
    assert_eq!(tag.syncs.len(), 0, "the breaker waits for the probe's answer");
    bench.clock.advance(secs(60));
    let tag = bench.claim_one(Stage::Tag).await;
    bench.record(&tag, Effect::Event(Event::Withdrawn)).await;
    bench.clock.advance(secs(60));
    let alone = bench.claim_one(Stage::Upsert).await;
    assert_eq!(alone.sync.lead, lead_id("failed"), "nobody else is left");
}

#[actix_web::test]
async fn open_breaker_lets_one_probe_pass() {
    let bench = Bench::new();
    for lead in ["a", "b"] {
        bench.open(lead).await;
    }
    let claim = bench.store.claim(Stage::Upsert, 10, Prefer::Fresh).await.unwrap();
    let epoch = claim.breakers[&Remote::Bigin].epoch;
    let release = |claimed: &Claimed| Outcome {
        claimed: claimed.clone(),
        effect: Effect::Released,
        detail: Detail::default(),
    };
    bench
        .store
        .open_breaker(service_error(), Cause::Service, epoch, 0.0)
        .await
        .unwrap();
    bench
        .store
        .open_breaker(service_error(), Cause::Service, epoch, 0.0)
        .await
        .unwrap();
    bench
        .store
        .record(claim.syncs.iter().map(release).collect(), StepReport::default())
        .await
        .unwrap();
    let breakers = bench.store.open_breakers().await.unwrap();
    assert_eq!(
        (breakers.len(), breakers[0].failures),
        (1, 1),
        "the second failure of one epoch is no news"
    );

    let paused = bench.store.claim(Stage::Upsert, 10, Prefer::Fresh).await.unwrap();
    assert_eq!(
        (paused.syncs.len(), paused.next_due),
        (0, Some(bench.clock.now() + secs(30)))
    );
    bench.clock.advance(secs(30));
    let probe = bench.store.claim(Stage::Upsert, 10, Prefer::Fresh).await.unwrap();
    assert_eq!((probe.syncs.len(), probe.probed), (1, vec![Remote::Bigin]));
    assert_eq!(
        bench
            .store
            .claim(Stage::Upsert, 10, Prefer::Fresh)
            .await
            .unwrap()
            .syncs
            .len(),
        0,
        "one probe at a time"
    );

    let report = StepReport {
        answered: vec![(Remote::Bigin, probe.breakers[&Remote::Bigin].epoch)],
        ..StepReport::default()
    };
    bench
        .store
        .record(vec![release(&probe.syncs[0])], report)
        .await
        .unwrap();
    assert!(bench.store.open_breakers().await.unwrap().is_empty());
    assert_eq!(
        bench
            .store
            .claim(Stage::Upsert, 10, Prefer::Fresh)
            .await
            .unwrap()
            .syncs
            .len(),
        2
    );
}

#[actix_web::test]
async fn restart_waits_for_calls_in_flight() {
    let bench = Bench::new();
    for lead in ["a", "b", "c"] {
        bench.open(lead).await;
    }
    let a = bench.claim_one(Stage::Upsert).await;
    bench.upserted(&a, "1").await;
    let b = bench.claim_one(Stage::Upsert).await;
    bench.rejected(&b, RejectReason::LeadMissing).await;
    bench.clock.advance(secs(15));
    bench.claim_one(Stage::Tag).await;
    bench.claim_one(Stage::Upsert).await;
    bench.claim_one(Stage::WriteBack).await;

    let bench = bench.reopen();
    assert_eq!(bench.claim_one(Stage::WriteBack).await.sync.lead.as_str(), "b");
    assert!(
        bench
            .store
            .claim(Stage::Upsert, 1, Prefer::Fresh)
            .await
            .unwrap()
            .syncs
            .is_empty()
    );
    assert!(
        bench
            .store
            .claim(Stage::Tag, 1, Prefer::Fresh)
            .await
            .unwrap()
            .syncs
            .is_empty()
    );
    bench.clock.advance(secs(59));
    let claim = bench.store.claim(Stage::Tag, 1, Prefer::Fresh).await.unwrap();
    assert!(claim.syncs.is_empty(), "a tag in flight must not come after an upsert");
    bench.clock.advance(secs(1));
    assert_eq!(bench.claim_one(Stage::Tag).await.sync.lead.as_str(), "a");
    assert_eq!(bench.claim_one(Stage::Upsert).await.sync.lead.as_str(), "c");
}

#[actix_web::test]
async fn restart_after_lost_upsert_restarts_delays() {
    let bench = Bench::new();
    for lead in ["a", "b"] {
        bench.open(lead).await;
    }
    let a = bench.claim_one(Stage::Upsert).await;
    bench.upserted(&a, "1").await;
    bench.claim_one(Stage::Upsert).await;
    bench.clock.advance(secs(60));

    let bench = bench.reopen();
    let claim = bench.store.claim(Stage::Tag, 1, Prefer::Fresh).await.unwrap();
    assert!(
        claim.syncs.is_empty(),
        "the upsert may have been of its contact, and late"
    );
    bench.clock.advance(secs(15));
    assert_eq!(bench.claim_one(Stage::Tag).await.sync.lead.as_str(), "a");
}

#[actix_web::test]
async fn clock_set_back_brings_no_tag_forward() {
    let bench = Bench::new();
    bench.open("a").await;
    let a = bench.claim_one(Stage::Upsert).await;
    bench.upserted(&a, "1").await;
    let Bench {
        clock,
        store,
        database,
        folder: _folder,
    } = bench;
    let before = clock.now();
    drop(store);
    let back = Arc::new(ManualClock::new(before - secs(3600)));
    let store = open_store(&database, back.clone());
    assert_eq!(store.now().await.unwrap(), before);
    back.advance(secs(15));
    assert_eq!(
        store.claim(Stage::Tag, 1, Prefer::Fresh).await.unwrap().syncs.len(),
        1,
        "and holds none back"
    );
}

#[actix_web::test]
async fn full_queue_is_busy_and_loses_nothing() {
    let bench = Bench::new();
    let blocker = rusqlite::Connection::open(bench.folder.path().join("bigin-sync.db")).unwrap();
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    let numbers = 0..6000;
    let accepts = numbers.map(|number| bench.store.accept(delivery(&format!("lead-{number}"), "r")));
    let answers = async { futures_util::future::join_all(accepts).await };
    let unblock = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        blocker.execute_batch("ROLLBACK").unwrap();
    };
    let (answers, ()) = tokio::join!(answers, unblock);
    let busy = answers
        .iter()
        .filter(|answer| **answer == Err(StoreError::Busy))
        .count();
    let stored = answers
        .iter()
        .filter(|answer| matches!(answer, Ok(Accepted::Created(_))))
        .count();
    assert_eq!(
        busy + stored,
        6000,
        "{:?}",
        answers
            .iter()
            .find(|answer| matches!(answer, Err(error) if *error != StoreError::Busy))
    );
    assert!(busy > 0 && stored >= 4096, "{busy} busy, {stored} stored");
    assert_eq!(
        bench.store.ledger().await.unwrap().accepted,
        u64::try_from(stored).unwrap()
    );
}

#[actix_web::test]
async fn manual_request_coalesces_and_marks() {
    let bench = Bench::new();
    bench.open("a").await;
    bench.store.request(lead_id("a"), Source::Manual, None).await.unwrap();
    let claimed = bench.claim_one(Stage::Upsert).await;
    assert!(claimed.sync.requests.is_manual);
    assert_eq!(
        bench
            .store
            .request(lead_id("a"), Source::Reconciliation, None)
            .await
            .unwrap(),
        Accepted::Duplicate
    );
    assert!(bench.store.ledger().await.unwrap().balances());
}

#[actix_web::test]
async fn ledger_balances_after_every_end() {
    let bench = Bench::new();
    for (lead, event) in [
        ("a", Event::LeadDeleted),
        ("b", Event::Withdrawn),
        ("c", Event::Cancelled),
    ] {
        bench.open(lead).await;
        let claimed = bench.claim_one(Stage::Upsert).await;
        bench.record(&claimed, Effect::Event(event)).await;
        assert!(bench.store.ledger().await.unwrap().balances());
    }
    bench.store.accept(delivery("a", "r1")).await.unwrap();
    let ledger = bench.store.ledger().await.unwrap();
    assert_eq!(
        (
            ledger.accepted,
            ledger.duplicates,
            ledger.cancelled,
            ledger.lead_deleted
        ),
        (4, 1, 2, 1)
    );
    assert!(ledger.balances());
}

#[tokio::test]
async fn health_check_writes_once_a_second() {
    let bench = Bench::new();
    let mark = || async { bench.store.kv_get("check").await.unwrap().map(|(mark, _)| mark) };
    let checks = (0..100).map(|_| bench.store.check());
    assert!(futures_util::future::join_all(checks).await.iter().all(Result::is_ok));
    let first = mark().await.unwrap();
    assert!(first.len() >= 64 * 1024);
    let mut seen = [0; 256];
    first.iter().for_each(|byte| seen[usize::from(*byte)] += 1);
    assert!(seen.iter().all(|times| *times > 0), "no disk can write them shorter");
    bench.clock.advance(Duration::from_millis(999));
    bench.store.check().await.unwrap();
    assert!(mark().await.unwrap() == first, "within a second nothing is written");
    bench.clock.advance(Duration::from_millis(1));
    bench.store.check().await.unwrap();
    assert!(mark().await.unwrap() != first);
}
