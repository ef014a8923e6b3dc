//! Circuit breakers: an outage costs no lead an attempt, one call at a time probes, and work continues by itself.

use std::time::Duration;

use bigin_sync::fake::bigin::{CallKind, Fault};
use bigin_sync::fake::sanity::{Fault as SanityFault, Kind, RetryAfter};
use bigin_sync::store::{Prefer, Stage, StepReport};
use serde_json::Value;

use crate::sync::ends_sent;
use crate::world::{World, answer, client, id, lead, secs};

mod checks;
mod outages;

fn bigins_api_is_down(world: &World) {
    let kinds = [
        CallKind::Upsert,
        CallKind::Update,
        CallKind::AddTags,
        CallKind::Fields,
        CallKind::Coql,
    ];
    for kind in kinds {
        world.fail_bigin(kind, Fault::Html(503), usize::MAX);
    }
}

const BIGIN_CALLS: [CallKind; 5] = [
    CallKind::Upsert,
    CallKind::Update,
    CallKind::AddTags,
    CallKind::Fields,
    CallKind::Coql,
];

fn bigin_answers(world: &World, fault: &Fault) {
    for kind in BIGIN_CALLS {
        world.fail_bigin(kind, fault.clone(), usize::MAX);
    }
}

fn token_answers(world: &World, fault: Fault) {
    world.bigin.model().invalidate_access_tokens();
    world.fail_bigin(CallKind::Token, fault, usize::MAX);
}

fn sanity_answers(world: &World, fault: &SanityFault) {
    for kind in [Kind::Doc, Kind::Mutate, Kind::Query] {
        world.fail_sanity(kind, fault.clone(), usize::MAX);
    }
}

fn bigin_mends(world: &World) {
    world.bigin.model().clear_faults();
}

fn sanity_mends(world: &World) {
    world.sanity.model().faults.clear();
}

async fn ready(world: &World) -> (u16, Value) {
    answer(client().get(format!("{}/readyz", world.url))).await
}

// --- Checked now ------------------------------------------------------------------------------------------------------

async fn check(world: &World, path: &str) -> (u16, Value) {
    let path = format!("/api/services/{path}");
    world.while_workers_run(world.post(&path, Value::Null)).await
}

#[actix_web::test]
async fn rate_limit_costs_no_attempt() {
    let world = World::new().await;
    world.fail_bigin(CallKind::Upsert, Fault::RateLimited { retry_after: Some(90) }, 1);
    world.request(lead("Ada")).await;
    world.run_due().await;
    assert_eq!(world.state("Ada").await, "requested");
    world.pass(secs(89)).await;
    assert_eq!(
        world.bigin_calls(CallKind::Upsert),
        1,
        "Bigin is left alone for as long as it asked"
    );
    world.pass(secs(1)).await;
    assert_eq!(world.state("Ada").await, "upserted");
    assert_eq!(world.story("Ada").await, ["created", "upserted"]);
    ends_sent(world, "after the limit").await;
}

#[actix_web::test]
async fn weekend_outage_fails_no_lead() {
    let world = World::new().await;
    world.bigin.model().switches.down = true;
    for name in ["Ada", "Grace"] {
        world.request(lead(name)).await;
    }
    for _ in 0..48 {
        world.pass(secs(3600)).await;
    }
    assert_eq!(world.sync("Ada").await.sync.attempts.count, 0);
    world.bigin.model().switches.down = false;
    world.run_to_the_end().await;
    for name in ["Ada", "Grace"] {
        assert_eq!(world.lead_says(name, "crmStatus").as_deref(), Some("SENT"));
    }
    world.finish().await;
}

#[actix_web::test]
async fn outage_costs_lone_lead_nothing() {
    let world = World::new().await;
    world.request(lead("Grace")).await;
    world.run_to_the_end().await;
    world.fail_bigin(CallKind::Upsert, Fault::Html(502), usize::MAX);
    world.fail_bigin(CallKind::Fields, Fault::Html(502), usize::MAX);
    world.request(lead("Ada")).await;
    world.run_due().await;
    assert_eq!(
        world.store().open_breakers().await.unwrap().len(),
        1,
        "nothing shows that it is the lead"
    );
    for _ in 0..72 {
        world.pass(secs(3600)).await;
    }
    assert_eq!(world.sync("Ada").await.sync.attempts.backoff_total, Duration::ZERO);
    world.bigin.model().clear_faults();
    world.run_to_the_end().await;
    assert_eq!(world.lead_says("Ada", "crmStatus").as_deref(), Some("SENT"));
    world.finish().await;
}

#[actix_web::test]
async fn api_outage_costs_lone_lead_nothing() {
    let world = World::new().await;
    // The fields are known and a token is there, as they are when a service has been running.
    world.request(lead("Grace")).await;
    world.run_to_the_end().await;
    bigins_api_is_down(&world);
    world.request(lead("Ada")).await;
    for _ in 0..60 {
        world.pass(secs(3600)).await;
    }
    let sync = world.sync("Ada").await.sync;
    assert_eq!(
        (sync.state.label(), sync.attempts.backoff_total),
        ("requested", Duration::ZERO)
    );
    world.bigin.model().clear_faults();
    world.run_to_the_end().await;
    assert_eq!(world.lead_says("Ada", "crmStatus").as_deref(), Some("SENT"));
    world.finish().await;
}

#[actix_web::test]
async fn api_outage_is_probed_one_at_a_time() {
    let world = World::new().await;
    world.request(lead("Grace")).await;
    world.run_to_the_end().await;
    bigins_api_is_down(&world);
    for number in 0..40 {
        world.request(lead(&format!("Lead{number}"))).await;
    }
    world.run_due().await;
    let before = world.bigin_calls(CallKind::Upsert);
    world.pass(secs(2)).await;
    let calls = world.bigin_calls(CallKind::Upsert) - before;
    assert!(calls <= 2, "{calls} calls within two seconds of an outage");
    for number in 0..40 {
        assert_eq!(
            world.sync(&format!("Lead{number}")).await.sync.attempts.backoff_total,
            Duration::ZERO
        );
    }
    world.bigin.model().clear_faults();
    world.run_to_the_end().await;
    assert_eq!(world.ledger().await.sent, 41);
    world.finish().await;
}

#[actix_web::test]
async fn outage_costs_batch_one_call() {
    let world = World::new().await;
    world.fail_bigin(CallKind::Upsert, Fault::Html(503), usize::MAX);
    for number in 0..16 {
        world.request(lead(&format!("Lead{number}"))).await;
    }
    world.run_due().await;
    assert_eq!(
        world.bigin_calls(CallKind::Upsert),
        1,
        "the whole batch; then only probes"
    );
    for number in 0..16 {
        assert_eq!(world.sync(&format!("Lead{number}")).await.sync.attempts.count, 0);
    }
    world.bigin.model().clear_faults();
    world.run_to_the_end().await;
    assert_eq!(world.ledger().await.sent, 16);
    world.finish().await;
}

#[actix_web::test]
async fn leads_without_calls_delay_no_other() {
    let world = World::new().await;
    world.bigin.model().switches.down = true;
    for number in 0..20 {
        world.request(lead(&format!("Gone{number}"))).await;
    }
    world.request(lead("Ada")).await;
    world.run_due().await;
    for number in 0..20 {
        world.sanity.model().delete(&id(&format!("Gone{number}"))).unwrap();
    }
    world.bigin.model().switches.down = false;
    world.pass(secs(2)).await;
    assert_eq!(
        world.state("Ada").await,
        "upserted",
        "one probe after the other, without a pause in between"
    );
    world.run_to_the_end().await;
    world.finish().await;
}

#[actix_web::test]
async fn idle_worker_takes_no_probe() {
    let world = World::new().await;
    world.sanity.model().down = true;
    world.request(lead("Ada")).await;
    world.run_due().await;
    world.sanity.model().down = false;
    world.clock.advance(secs(600));
    let idle = world.store().claim(Stage::WriteBack, 1, Prefer::Fresh).await.unwrap();
    assert!(idle.syncs.is_empty() && idle.probed.is_empty());
    world.run(Stage::Upsert).await;
    assert_eq!(world.state("Ada").await, "upserted");
    world.run_to_the_end().await;
    world.finish().await;
}

#[actix_web::test]
async fn unused_probe_passes_on_at_once() {
    let world = World::new().await;
    // The fields are known and a token is there, so that a lead which is gone costs no call to Bigin.
    world.request(lead("Grace")).await;
    world.run_to_the_end().await;
    world.bigin.model().switches.down = true;
    for name in ["Barbara", "Edsger", "Ada"] {
        world.request(lead(name)).await;
    }
    world.run_due().await;
    for name in ["Barbara", "Edsger"] {
        world.sanity.model().delete(&id(name)).unwrap();
    }
    world.bigin.model().switches.down = false;
    world.pass(secs(2)).await;
    assert_eq!(world.state("Ada").await, "upserted");
    world.run_to_the_end().await;
    world.finish().await;
}

#[actix_web::test]
async fn unused_probe_wakes_other_workers() {
    let world = World::new().await;
    world.bigin.model().switches.down = true;
    world.request(lead("Ada")).await;
    world.run_due().await;
    world.clock.advance(secs(3600));
    let store = world.store();
    let probe = store.claim(Stage::Upsert, 1, Prefer::Fresh).await.unwrap();
    assert_eq!(probe.syncs.len(), 1);
    // The others find the breaker held by the probe, and sleep until its lease runs out.
    let held = store.claim(Stage::Tag, 1, Prefer::Fresh).await.unwrap();
    assert!(held.next_due.is_some());
    let report = StepReport {
        probed: probe
            .probed
            .iter()
            .map(|remote| (*remote, probe.breakers[remote].epoch))
            .collect(),
        ..StepReport::default()
    };
    let _ = tokio::time::timeout(Duration::from_millis(10), store.woken(Stage::Tag).notified()).await;
    store.record(vec![], report).await.unwrap();
    tokio::time::timeout(Duration::from_secs(1), store.woken(Stage::Tag).notified())
        .await
        .expect("the tag worker is told that it may probe");
}

#[actix_web::test]
async fn restart_allows_a_probe_at_once() {
    for is_lead_waiting in [true, false] {
        let mut world = World::new().await;
        sanity_answers(&world, &SanityFault::RateLimited(Some(RetryAfter::Seconds(86_400))));
        token_answers(&world, Fault::TokenError("invalid_client_secret".into()));
        world.app.context.read_org_at_start().await.unwrap();
        if is_lead_waiting {
            world.request(lead("Ada")).await;
            world.run_due().await;
        } else {
            let round = world.reconcile();
            round.await.unwrap_err();
        }
        assert_eq!(ready(&world).await.1["status"], "degraded");
        bigin_mends(&world);
        sanity_mends(&world);
        world.restart().await;
        world.app.context.check_at_start().await.unwrap();
        world.run_due().await;
        assert_eq!(
            ready(&world).await.1["status"],
            "ready",
            "a lead waits: {is_lead_waiting}"
        );
        world.run_to_the_end().await;
        world.finish().await;
    }
}
