//! What every store does for people: cancelling, trying again, pausing all work, and the numbers they look at.

use bigin_sync::domain::lead::Revision;
use bigin_sync::domain::reject_reason::{ReasonKey, RejectReason};
use bigin_sync::domain::sync::SyncId;
use bigin_sync::store::{CancelResult, CheckResult, DismissResult, WebhookLog};
use futures_util::FutureExt as _;
use jiff::Timestamp;

use super::*;

impl Bench {
    async fn cancel(&self, id: i64) -> CancelResult {
        self.store.cancel(SyncId(id)).await.unwrap()
    }

    async fn retry(&self, id: i64) -> Option<Accepted> {
        self.store.retry(SyncId(id), false).await.unwrap()
    }

    /// The leads that a stage's worker gets now.
    async fn due(&self, stage: Stage) -> Vec<String> {
        let claim = self.store.claim(stage, 10, Prefer::Fresh).await.unwrap();
        let leads = claim.syncs.iter().map(|claimed| claimed.sync.lead.to_string());
        leads.collect()
    }

    /// A sync of the lead fails for this reason.
    async fn fails(&self, lead: &str, reason: RejectReason) {
        self.store.request(lead_id(lead), Source::Manual, None).await.unwrap();
        let claimed = self.claim_one(Stage::Upsert).await;
        self.rejected(&claimed, reason).await;
        let claimed = self.claim_one(Stage::WriteBack).await;
        self.record(&claimed, Effect::Event(Event::WrittenBack)).await;
    }

    async fn history(&self, id: i64) -> Vec<(String, serde_json::Value)> {
        let (_, history) = self.store.sync(SyncId(id)).await.unwrap().unwrap();
        history.into_iter().map(|line| (line.kind, line.detail)).collect()
    }

    fn is_woken(&self, stage: Stage) -> bool {
        self.store.woken(stage).notified().now_or_never().is_some()
    }
}

fn no_luck() -> Failure {
    Failure {
        error: RejectReason::WriteContention,
        retry_after: None,
        jitter: 1.0,
        ambiguous_insert: false,
        isolates: false,
    }
}

fn revision(at: Timestamp) -> Revision {
    Revision {
        updated_at: at,
        rev: Some("r".into()),
    }
}

#[actix_web::test]
async fn claimed_sync_is_not_cancelled() {
    let bench = Bench::new();
    bench.open("a").await;
    let claimed = bench.claim_one(Stage::Upsert).await;
    assert_eq!(bench.cancel(1).await, CancelResult::Busy);
    bench.upserted(&claimed, "1").await;
    assert_eq!(bench.state("a").await.label(), "upserted", "the lease was still good");
    assert_eq!(bench.history(1).await.len(), 2);

    let mut changes = bench.store.changes();
    assert_eq!(bench.cancel(1).await, CancelResult::Done);
    assert_eq!(
        bench.history(1).await[2],
        ("cancelled".into(), serde_json::json!({ "by": "operator" }))
    );
    assert_eq!(changes.try_recv().unwrap().state, "cancelled");
    assert_eq!(
        (bench.cancel(1).await, bench.cancel(2).await),
        (CancelResult::Ended, CancelResult::Missing)
    );
    bench.clock.advance(secs(60));
    assert_eq!(bench.due(Stage::Tag).await.len(), 0);
    let ledger = bench.store.ledger().await.unwrap();
    assert!(ledger.balances() && ledger.cancelled == 1, "{ledger:?}");
}

#[actix_web::test]
async fn cancel_beats_worker_without_lease() {
    let bench = Bench::new();
    bench.open("a").await;
    let late = bench.claim_one(Stage::Upsert).await;
    bench.clock.advance(secs(60));
    assert_eq!(bench.cancel(1).await, CancelResult::Done);
    bench.upserted(&late, "1").await;
    assert_eq!(bench.state("a").await.label(), "cancelled");
}

/// What queues up while the disk is slow goes into one transaction, in its order.
#[actix_web::test]
async fn cancel_spares_a_webhook_that_comes_after_it() {
    let bench = Bench::new();
    bench.open("a").await;
    let blocker = rusqlite::Connection::open(bench.folder.path().join("bigin-sync.db")).unwrap();
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    let unblock = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        blocker.execute_batch("ROLLBACK").unwrap();
    };
    let (_, before, cancelled, after, ()) = tokio::join!(
        bench.store.accept(delivery("b", "r1")),
        bench.store.accept(delivery("a", "r2")),
        bench.cancel(1),
        bench.store.accept(delivery("a", "r3")),
        unblock,
    );
    assert_eq!(before, Ok(Accepted::Coalesced(SyncId(1))));
    assert_eq!(cancelled, CancelResult::Done);
    assert!(matches!(after, Ok(Accepted::Created(_))), "{after:?}");
    assert_eq!(bench.state("a").await.label(), "requested");
}

#[actix_web::test]
async fn restart_delays_call_that_may_be_in_flight() {
    let bench = Bench::new();
    bench.open("a").await;
    let failed = bench.claim_one(Stage::Upsert).await;
    bench.record(&failed, Effect::Failed(no_luck())).await;
    bench.clock.advance(secs(1));
    bench.claim_one(Stage::Upsert).await;
    bench.clock.advance(secs(1));
    let bench = bench.reopen();
    assert_eq!(bench.cancel(1).await, CancelResult::Busy, "the call may be under way");
    assert_eq!(bench.retry(1).await, Some(Accepted::Coalesced(SyncId(1))));
    assert_eq!(
        bench.due(Stage::Upsert).await.len(),
        0,
        "also where a person is in a hurry"
    );
    bench.clock.advance(secs(1));
    let bench = bench.reopen();
    bench.clock.advance(secs(58));
    assert_eq!(
        bench.due(Stage::Upsert).await,
        ["a"],
        "its lease has run out, however often the process began"
    );
}

#[actix_web::test]
async fn reconciliation_skips_cancelled() {
    let bench = Bench::new();
    let asked = revision(bench.clock.now());
    bench
        .store
        .request(lead_id("a"), Source::Webhook, Some(asked.clone()))
        .await
        .unwrap();
    bench.clock.advance(secs(1));
    assert_eq!(bench.cancel(1).await, CancelResult::Done);
    let looks = |revision| {
        bench
            .store
            .request(lead_id("a"), Source::Reconciliation, Some(revision))
    };
    assert_eq!(looks(asked.clone()).await.unwrap(), Accepted::Duplicate);
    assert_eq!(bench.store.ledger().await.unwrap().created, 1);
    let bench = bench.reopen();
    let looks = |revision| {
        bench
            .store
            .request(lead_id("a"), Source::Reconciliation, Some(revision))
    };
    assert_eq!(looks(asked).await.unwrap(), Accepted::Duplicate, "nor after a restart");
    let anew = revision(bench.clock.now() + secs(1));
    assert!(
        matches!(looks(anew).await.unwrap(), Accepted::Created(_)),
        "asked for anew"
    );
}

#[actix_web::test]
async fn other_requests_revive_cancelled() {
    for source in [Source::Webhook, Source::Manual] {
        let bench = Bench::new();
        bench.open("a").await;
        assert_eq!(bench.cancel(1).await, CancelResult::Done);
        let old = Some(revision(bench.clock.now()));
        let accepted = bench.store.request(lead_id("a"), source, old).await.unwrap();
        assert_eq!(accepted, Accepted::Created(SyncId(2)), "{source:?}");
    }
}

#[actix_web::test]
async fn retry_ends_backoff_and_wakes_worker() {
    let bench = Bench::new();
    bench.open("a").await;
    for _ in 0..4 {
        let claimed = bench.claim_one(Stage::Upsert).await;
        bench.record(&claimed, Effect::Failed(no_luck())).await;
        bench.clock.advance(secs(1));
        while bench.is_woken(Stage::Upsert) {}
        assert_eq!(bench.retry(1).await, Some(Accepted::Coalesced(SyncId(1))));
        assert!(bench.is_woken(Stage::Upsert));
    }
    let claimed = bench.claim_one(Stage::Upsert).await;
    assert!(claimed.sync.requests.is_retry && !claimed.sync.requests.is_manual);
    assert_eq!((claimed.sync.requests.count, claimed.sync.attempts.count), (5, 4));
    assert_eq!(bench.retry(7).await, None);
}

#[actix_web::test]
async fn retry_brings_no_tag_forward() {
    let bench = Bench::new();
    bench.open("a").await;
    let claimed = bench.claim_one(Stage::Upsert).await;
    bench.upserted(&claimed, "1").await;
    bench.retry(1).await.unwrap();
    bench.clock.advance(secs(14));
    assert_eq!(bench.due(Stage::Tag).await.len(), 0);
    bench.clock.advance(secs(1));
    let tag = bench.claim_one(Stage::Tag).await;
    bench.record(&tag, Effect::Failed(no_luck())).await;
    bench.retry(1).await.unwrap();
    assert_eq!(bench.due(Stage::Tag).await, ["a"], "a wait after a failure is over");
}

#[actix_web::test]
async fn retry_of_claimed_sync_restarts_it() {
    let bench = Bench::new();
    bench.open("a").await;
    let claimed = bench.claim_one(Stage::Upsert).await;
    bench.retry(1).await.unwrap();
    assert_eq!(bench.due(Stage::Upsert).await.len(), 0);
    bench.record(&claimed, Effect::Event(Event::Withdrawn)).await;
    let again = bench.claim_one(Stage::Upsert).await;
    assert!(again.sync.requests.is_retry);
}

#[actix_web::test]
async fn only_forced_retry_is_manual() {
    let bench = Bench::new();
    bench.fails("a", RejectReason::ApprovalPending).await;
    bench.store.retry(SyncId(1), false).await.unwrap();
    let claimed = bench.claim_one(Stage::Upsert).await;
    assert!(claimed.sync.requests.is_retry && !claimed.sync.requests.is_manual);
    bench.store.retry(SyncId(1), true).await.unwrap();
    bench.record(&claimed, Effect::Event(Event::Withdrawn)).await;
    let again = bench.claim_one(Stage::Upsert).await;
    assert!(again.sync.requests.is_retry && again.sync.requests.is_manual);
    let ledger = bench.store.ledger().await.unwrap();
    assert!(ledger.balances() && ledger.created_manually == 2, "{ledger:?}");
}

#[actix_web::test]
async fn dismissed_until_it_fails_again() {
    let bench = Bench::new();
    for lead in ["a", "b"] {
        bench.fails(lead, RejectReason::ApprovalPending).await;
    }
    let dismiss = |id| bench.store.dismiss(SyncId(id));
    let failed = async || {
        let groups = bench.store.failure_groups(9).await.unwrap();
        let in_groups = groups.iter().map(|group| group.leads).sum::<u64>();
        let overview = bench.store.overview().await.unwrap();
        assert_eq!(overview.failed_leads, in_groups);
        in_groups
    };
    assert_eq!(dismiss(1).await.unwrap(), DismissResult::Done);
    assert_eq!(
        dismiss(1).await.unwrap(),
        DismissResult::Done,
        "once more is no mistake"
    );
    assert_eq!(failed().await, 1);
    let dismissed = bench.history(1).await;
    assert_eq!(dismissed.iter().filter(|(what, _)| what == "dismissed").count(), 1);
    assert_eq!(bench.store.retry_failed(None, None, 9).await.unwrap(), (1, None));
    let retried = bench.claim_one(Stage::Upsert).await;
    assert_eq!(retried.sync.lead, lead_id("b"));
    assert_eq!(
        dismiss(2).await.unwrap(),
        DismissResult::NoFailure,
        "b was asked for again"
    );
    assert_eq!(
        dismiss(3).await.unwrap(),
        DismissResult::NoFailure,
        "which has not ended"
    );
    bench.record(&retried, Effect::Event(Event::Withdrawn)).await;
    assert_eq!(dismiss(9).await.unwrap(), DismissResult::Missing);
    bench.fails("a", RejectReason::ApprovalPending).await;
    assert_eq!(failed().await, 1, "a new failure shows");
    let bench = bench.reopen();
    let (view, _) = bench.store.sync(SyncId(1)).await.unwrap().unwrap();
    assert!(view.dismissed_at.is_some());
}

#[actix_web::test]
async fn check_allows_one_probe() {
    let bench = Bench::new();
    assert_eq!(bench.store.check_now(Remote::Bigin).await.unwrap(), CheckResult::Closed);
    let day = ServiceError {
        remote: Remote::Bigin,
        kind: ServiceErrorKind::RateLimited,
        code: "TOO_MANY_REQUESTS".into(),
        what: "too many".into(),
        action: None,
        retry_after: Some(secs(86_400)),
    };
    bench.store.open_breaker(day, Cause::Service, 0, 0.0).await.unwrap();
    assert_eq!(bench.store.check_now(Remote::Bigin).await.unwrap(), CheckResult::Idle);
    bench.open("a").await;
    bench.open("b").await;
    assert_eq!(bench.store.check_now(Remote::Bigin).await.unwrap(), CheckResult::Probe);
    let claim = bench.store.claim(Stage::Upsert, 10, Prefer::Fresh).await.unwrap();
    assert_eq!((claim.syncs.len(), claim.probed), (1, vec![Remote::Bigin]));
    assert!(bench.store.breaker(Remote::Bigin).await.unwrap().open.is_some());
    assert_eq!(bench.due(Stage::Upsert).await.len(), 0, "no other beside the probe");
}

#[actix_web::test]
async fn check_wakes_sleeping_workers() {
    let bench = Bench::new();
    bench.open("a").await;
    let claimed = bench.claim_one(Stage::Upsert).await;
    bench.upserted(&claimed, "1").await;
    let service_error = ServiceError {
        remote: Remote::Bigin,
        kind: ServiceErrorKind::Unavailable,
        code: "HTTP 503".into(),
        what: "away".into(),
        action: None,
        retry_after: None,
    };
    bench
        .store
        .open_breaker(service_error, Cause::Service, 0, 1.0)
        .await
        .unwrap();
    for stage in Stage::ALL {
        while bench.is_woken(stage) {}
    }
    bench.store.check_now(Remote::Bigin).await.unwrap();
    assert!(
        bench.is_woken(Stage::Upsert),
        "also where another stage has the first that waits"
    );
    assert!(bench.is_woken(Stage::Tag) && !bench.is_woken(Stage::WriteBack));
}

#[actix_web::test]
async fn check_makes_first_waiting_due() {
    let bench = Bench::new();
    bench.open("a").await;
    let claimed = bench.claim_one(Stage::Upsert).await;
    bench.record(&claimed, Effect::Failed(no_luck())).await;
    let service_error = |remote| ServiceError {
        remote,
        kind: ServiceErrorKind::Unavailable,
        code: "HTTP 503".into(),
        what: "away".into(),
        action: None,
        retry_after: None,
    };
    bench
        .store
        .open_breaker(service_error(Remote::Bigin), Cause::Service, 0, 1.0)
        .await
        .unwrap();
    assert_eq!(bench.store.check_now(Remote::Bigin).await.unwrap(), CheckResult::Probe);
    let probe = bench.claim_one(Stage::Upsert).await;
    let answered = StepReport {
        answered: vec![(Remote::Bigin, 1)],
        ..StepReport::default()
    };
    bench.store.record(Vec::new(), answered).await.unwrap();
    bench.upserted(&probe, "1").await;
    bench
        .store
        .open_breaker(service_error(Remote::Sanity), Cause::Service, 0, 1.0)
        .await
        .unwrap();
    assert_eq!(bench.store.check_now(Remote::Sanity).await.unwrap(), CheckResult::Probe);
    assert_eq!(bench.due(Stage::Tag).await.len(), 0, "not before its time");
}

#[actix_web::test]
async fn missed_webhooks_count_until_one_arrives() {
    let bench = Bench::new();
    let log = async || bench.store.overview().await.unwrap().webhooks;
    assert_eq!(log().await, WebhookLog::default());
    let misses = async |lead: &str| {
        bench.clock.advance(secs(60));
        let accepted = bench.store.request(lead_id(lead), Source::Reconciliation, None).await;
        assert!(matches!(accepted.unwrap(), Accepted::Created(_)));
    };
    misses("a").await;
    misses("b").await;
    assert_eq!(
        (log().await.missed, log().await.last_missed),
        (2, Some(bench.clock.now()))
    );
    let repeat = bench.store.request(lead_id("b"), Source::Reconciliation, None).await;
    assert_eq!(repeat.unwrap(), Accepted::Duplicate);
    assert_eq!(log().await.missed, 2, "one that is on its way was not missed");
    bench.clock.advance(secs(1));
    let delivery = Delivery {
        key: None,
        lead: lead_id("c"),
        rev: Some("r1".into()),
        updated_at: None,
    };
    bench.store.accept(delivery).await.unwrap();
    assert_eq!(
        (log().await.missed, log().await.last_received),
        (0, Some(bench.clock.now()))
    );
    misses("d").await;
    assert_eq!(log().await.missed, 1, "counted anew");
}

#[actix_web::test]
async fn bulk_retry_pages_by_reason() {
    let bench = Bench::new();
    for lead in ["a", "b", "c", "d"] {
        bench.fails(lead, RejectReason::ApprovalPending).await;
    }
    bench.fails("e", RejectReason::NameMissing).await;
    bench.fails("a", RejectReason::ApprovalPending).await;
    let claimed = {
        bench.open("b").await;
        bench.claim_one(Stage::Upsert).await
    };
    bench.record(&claimed, Effect::Event(Event::Withdrawn)).await;

    let groups = bench.store.failure_groups(9).await.unwrap();
    let groups: Vec<_> = groups.iter().map(|group| (group.code.as_str(), group.leads)).collect();
    assert_eq!(
        groups,
        [("approval_pending", 3), ("name_missing", 1)],
        "those whose last sync failed"
    );
    assert_eq!(bench.store.overview().await.unwrap().failed_leads, 4);
    let retry = |before| {
        bench
            .store
            .retry_failed(Some(ReasonKey::parse("approval_pending")), before, 2)
    };
    let (count, next) = retry(None).await.unwrap();
    assert_eq!((count, next), (2, Some(SyncId(4))), "the newest first: of a, and of d");
    assert_eq!(retry(next).await.unwrap(), (1, None));
    assert_eq!(
        bench.store.retry_failed(None, None, 9).await.unwrap(),
        (1, None),
        "that of e is left"
    );
    assert_eq!(bench.due(Stage::Upsert).await, ["a", "d", "c", "e"]);
    assert_eq!(bench.store.failure_groups(9).await.unwrap(), []);
    let ledger = bench.store.ledger().await.unwrap();
    assert!(ledger.balances() && ledger.created_manually == 10, "{ledger:?}");
}

#[actix_web::test]
async fn pause_stores_but_claims_nothing() {
    let bench = Bench::new();
    bench.store.set_paused(true).await.unwrap();
    let paused_at = bench.clock.now();
    bench.clock.advance(secs(5));
    bench.store.set_paused(true).await.unwrap();
    bench.open("a").await;
    let bench = bench.reopen();
    for stage in Stage::ALL {
        let claim = bench.store.claim(stage, 10, Prefer::Fresh).await.unwrap();
        assert_eq!(
            (claim.syncs.len(), claim.next_due),
            (0, None),
            "until somebody wakes it"
        );
        while bench.is_woken(stage) {}
    }
    let overview = bench.store.overview().await.unwrap();
    assert_eq!(
        overview.paused_since,
        Some(paused_at),
        "since the first time it was said"
    );

    bench.store.set_paused(false).await.unwrap();
    assert!(Stage::ALL.into_iter().all(|stage| bench.is_woken(stage)));
    assert_eq!(bench.store.overview().await.unwrap().paused_since, None);
    assert_eq!(bench.due(Stage::Upsert).await, ["a"]);
}

#[actix_web::test]
async fn overview_counts_progress_and_credits() {
    let bench = Bench::new();
    bench.store.note_grant(bench.clock.now()).await.unwrap();
    let spend = |credits| {
        let report = StepReport {
            credits,
            ..StepReport::default()
        };
        bench.store.record(Vec::new(), report)
    };
    let granted = bench.clock.now();
    spend(3).await.unwrap();
    spend(4).await.unwrap();
    for lead in ["a", "b", "c"] {
        bench.open(lead).await;
        bench.clock.advance(secs(1));
    }
    let a = bench.claim_one(Stage::Upsert).await;
    bench.record(&a, Effect::Event(Event::LeadDeleted)).await;
    let b = bench.claim_one(Stage::Upsert).await;
    bench.upserted(&b, "1").await;
    let overview = bench.store.overview().await.unwrap();
    assert_eq!(
        overview.in_progress,
        [("requested".into(), 1), ("upserted".into(), 1)].into()
    );
    assert_eq!(overview.oldest.unwrap().sync.lead, lead_id("b"));
    assert_eq!((overview.credits, overview.token_granted_at), (7, Some(granted)));
    assert_eq!(overview.ledger, bench.store.ledger().await.unwrap());

    bench.clock.advance(secs(23 * 3600));
    spend(1).await.unwrap();
    assert_eq!(bench.store.overview().await.unwrap().credits, 8);
    bench.clock.advance(secs(3600));
    assert_eq!(
        bench.store.overview().await.unwrap().credits,
        1,
        "the others are free again"
    );
}

#[actix_web::test]
async fn events_can_be_followed() {
    let bench = Bench::new();
    bench.open("a").await;
    let seen = bench.store.last_event_id().await.unwrap();
    bench.open("b").await;
    bench.cancel(1).await;
    let events_after = bench.store.events_after(seen, 10).await.unwrap();
    let told: Vec<_> = events_after
        .iter()
        .map(|line| (line.lead_id.as_str(), line.kind.as_str(), line.state.as_str()))
        .collect();
    assert_eq!(told, [("b", "created", "requested"), ("a", "cancelled", "cancelled")]);
    assert_eq!(
        bench.store.events_after(events_after[0].id, 1).await.unwrap(),
        events_after[1..]
    );
    assert_eq!(bench.store.last_event_id().await.unwrap(), events_after[1].id);

    bench.cancel(2).await;
    let begun = bench.clock.now();
    bench.clock.advance(secs(90));
    bench.fails("c", RejectReason::NameMissing).await;
    let flow = bench.store.flow(begun, secs(60)).await.unwrap();
    let flow: Vec<_> = flow.iter().map(|flow| (flow.from, flow.sent, flow.failed)).collect();
    assert_eq!(flow, [(begun + secs(60), 0, 1)], "the cancelled ones are neither");
    assert_eq!(bench.store.flow(begun + secs(91), secs(60)).await.unwrap(), []);
}

#[actix_web::test]
async fn finds_syncs_by_contact_and_reason() {
    let bench = Bench::new();
    bench.fails("a", RejectReason::NameMissing).await;
    bench.open("b").await;
    let claimed = bench.claim_one(Stage::Upsert).await;
    bench.upserted(&claimed, "77").await;
    let of = |filter| async {
        let syncs = bench.store.list(filter, 9).await.unwrap();
        let leads = syncs.iter().map(|view| view.sync.lead.to_string());
        leads.collect::<Vec<_>>()
    };
    let by_contact = Filter {
        contact: Some(contact_id("77")),
        ..Filter::default()
    };
    let by_reason = Filter {
        reason: Some(ReasonKey::parse("name_missing")),
        ..Filter::default()
    };
    assert_eq!(of(by_contact.clone()).await, ["b"]);
    assert_eq!(of(by_reason.clone()).await, ["a"]);
    let both = Filter {
        reason: by_reason.reason,
        ..by_contact
    };
    assert_eq!(of(both).await.len(), 0);
}
