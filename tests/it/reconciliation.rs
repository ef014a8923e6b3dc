//! Reconciliation finds requested leads whose webhook was missed.

use bigin_sync::fake::sanity::{Fault as SanityFault, Kind, RetryAfter};
use serde_json::json;

use crate::lead_reads::{HEAVY, TOO_HEAVY, world};
use crate::world::{World, id, lead, secs};

#[actix_web::test]
async fn finds_missed_webhook() {
    let world = World::new().await;
    world.sanity.model().webhooks.lose_next(1);
    world.request(lead("Ada")).await;
    let round = || world.reconcile();
    assert_eq!(round().await.unwrap(), Some(0), "not before it has waited");
    world.clock.advance(secs(31));
    assert_eq!(round().await.unwrap(), Some(1));
    assert_eq!(round().await.unwrap(), Some(0), "never while a sync is active");
    world.run_to_the_end().await;
    assert_eq!(round().await.unwrap(), Some(0));
    assert_eq!(world.lead_says("Ada", "crmStatus").as_deref(), Some("SENT"));
    assert_eq!(world.ledger().await.created_by_reconciliation, 1);
    world.finish().await;
}

#[actix_web::test]
async fn reads_no_lead_with_a_sync() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.clock.advance(secs(60));
    assert_eq!(world.reconcile().await.unwrap(), Some(0));
    assert_eq!(world.sanity_calls(Kind::Query), 1);
    assert_eq!(world.sanity_calls(Kind::Doc), 0);
    world.run_to_the_end().await;
    world.finish().await;
}

#[actix_web::test]
async fn reads_lead_again_after_query() {
    let world = World::new().await;
    world.sanity.model().webhooks.lose_next(1);
    world.sanity.model().query_lag = secs(60);
    world.request(lead("Ada")).await;
    world.clock.advance(secs(100));
    let withdrawn = json!({ "crmStatus": "NOT_SENT" });
    world.edit("Ada", withdrawn);
    let found = world
        .app
        .context
        .sanity
        .requested(None, secs(30), 10, secs(30))
        .await
        .unwrap();
    assert_eq!(found.len(), 1, "the query does not know it yet");
    assert_eq!(world.reconcile().await.unwrap(), Some(0));
    assert_eq!(world.ledger().await.created, 0);
    world.finish().await;
}

#[actix_web::test]
async fn finds_leads_of_any_size() {
    let world = world().await;
    world.sanity.model().webhooks.lose_next(20);
    for number in 0..20 {
        let name = format!("Lead{number}");
        world.sanity.model().doc.bulk.insert(id(&name), HEAVY);
        world.request(lead(&name)).await;
    }
    world.sanity.model().doc.bulk.insert(id("Lead3"), TOO_HEAVY);
    world.clock.advance(secs(60));
    assert_eq!(world.reconcile().await.unwrap(), Some(20));
    world.run_to_the_end().await;
    let ledger = world.ledger().await;
    assert_eq!((ledger.sent, ledger.failed), (19, 1));
    world.finish().await;
}

#[actix_web::test]
async fn skips_part_that_fails() {
    let world = World::new().await;
    world.sanity.model().webhooks.lose_next(150);
    for number in 0..150 {
        world.request(lead(&format!("Lead{number}"))).await;
    }
    world.clock.advance(secs(60));
    world.fail_sanity(Kind::Doc, SanityFault::Status(500), 1);
    assert!(world.reconcile().await.is_err(), "some were left out");
    assert_eq!(world.ledger().await.created_by_reconciliation, 50);
    assert_eq!(
        world.reconcile().await.unwrap(),
        None,
        "a part without an answer is Sanity's failure"
    );
    world.clock.advance(secs(2));
    assert_eq!(world.reconcile().await.unwrap(), Some(100));
    world.run_to_the_end().await;
    world.finish().await;
}

#[actix_web::test]
async fn waits_for_rate_limit() {
    let world = World::new().await;
    let limited = SanityFault::RateLimited(Some(RetryAfter::Seconds(90)));
    world.fail_sanity(Kind::Query, limited, 1);
    let look = || world.reconcile();
    look().await.unwrap_err();
    assert_eq!(world.get("/readyz").await.1["status"], "degraded");
    world.clock.advance(secs(60));
    assert_eq!(look().await.unwrap(), None, "there is no round");
    assert_eq!(world.sanity_calls(Kind::Query), 1);
    world.clock.advance(secs(60));
    look().await.unwrap();
    assert_eq!(world.sanity_calls(Kind::Query), 2);
    assert_eq!(
        world.get("/readyz").await.1["status"],
        "ready",
        "though no lead has come by"
    );
    world.finish().await;
}

#[actix_web::test]
async fn stops_when_lock_is_taken_over() {
    let world = World::new().await;
    world.sanity.model().webhooks.lose_next(150);
    for number in 0..150 {
        world.request(lead(&format!("Lead{number}"))).await;
    }
    world.clock.advance(secs(60));
    let store = &world.app.context.store;
    let another_takes_over = async {
        while world.sanity_calls(Kind::Doc) == 0 {
            tokio::task::yield_now().await;
        }
        world.clock.advance(secs(120));
        store
            .try_lock("reconciliation", "another replica", secs(120))
            .await
            .unwrap()
    };
    let round = world.reconcile();
    let (found, taken) = tokio::join!(round, another_takes_over);
    assert!(taken);
    assert_eq!(found.unwrap(), Some(100), "what was read is carried out");
    assert_eq!(world.sanity_calls(Kind::Query), 1);
    let next = world.reconcile().await;
    assert_eq!(next.unwrap(), None, "the other one makes the rounds");
    store.unlock("reconciliation", "another replica").await.unwrap();
    let next = world.reconcile().await;
    assert_eq!(next.unwrap(), Some(50));
    world.run_to_the_end().await;
    world.finish().await;
}
