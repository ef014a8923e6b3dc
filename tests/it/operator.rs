//! The operator cancels, retries and pauses; no lead is lost by it.

use bigin_sync::domain::lead::LeadId;
use bigin_sync::domain::sync::SyncId;
use bigin_sync::store::{Accepted, CancelResult, Stage};
use bigin_sync::workers::reconcile;
use serde_json::json;

use crate::world::{World, id, lead, secs, with};

async fn cancel(world: &World, name: &str) -> CancelResult {
    let sync = world.sync(name).await.sync.id;
    world.store().cancel(sync).await.unwrap()
}

async fn retry(world: &World, name: &str) -> Option<Accepted> {
    let sync = world.sync(name).await.sync.id;
    world.store().retry(sync, false).await.unwrap()
}

async fn missed(world: &World) -> usize {
    let round = world.reconcile().await.unwrap();
    // As a program does that stops: the next one need not wait until it is sure that this one is gone.
    reconcile::stop(&world.app.context).await;
    round.expect("Sanity is well")
}

#[actix_web::test]
async fn cancelled_lead_waits_for_an_editor() {
    let mut world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_due().await;
    let contact = world.sync("Ada").await.sync.state.contact().unwrap().to_string();
    assert_eq!(cancel(&world, "Ada").await, CancelResult::Done);
    world.pass(secs(60)).await;
    assert_eq!(world.state("Ada").await, "cancelled");
    assert_eq!(world.changes_of(&contact), ["upserted"], "no tag");
    assert_eq!(
        world.lead_says("Ada", "crmStatus").as_deref(),
        Some("REQUESTED"),
        "as the editor left it"
    );
    assert_eq!(world.lead_says("Ada", "crmError"), None);

    for _ in 0..3 {
        world.clock.advance(secs(60));
        assert_eq!(missed(&world).await, 0, "nobody missed a webhook");
    }
    world.restart().await;
    assert_eq!(missed(&world).await, 0);

    world.edit("Ada", json!({ "crmStatus": "NOT_SENT" }));
    world.set_requested("Ada");
    world.deliver().await;
    world.run_to_the_end().await;
    assert_eq!(world.lead_says("Ada", "crmStatus").as_deref(), Some("SENT"));
    assert_eq!(
        world.changes_of(&contact),
        ["upserted", "upserted", "tagged"],
        "the same contact"
    );
    assert_eq!(world.contact_count(), 1);
    world.finish().await;
}

#[actix_web::test]
async fn requested_again_is_reconciled() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    assert_eq!(cancel(&world, "Ada").await, CancelResult::Done);
    world.clock.advance(secs(60));
    world.sanity.model().webhooks.lose_next(1);
    world.edit("Ada", json!({ "crmStatus": "NOT_SENT" }));
    world.set_requested("Ada");
    world.deliver().await;
    world.clock.advance(secs(60));
    assert_eq!(missed(&world).await, 1);
    world.run_to_the_end().await;
    assert_eq!(world.state("Ada").await, "sent");
    world.finish().await;
}

#[actix_web::test]
async fn claimed_sync_cannot_be_cancelled() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    let claim = world
        .store()
        .claim(Stage::Upsert, 1, bigin_sync::store::Prefer::Fresh)
        .await
        .unwrap();
    assert_eq!(claim.syncs.len(), 1);
    let before = world.sync("Ada").await;
    assert_eq!(cancel(&world, "Ada").await, CancelResult::Busy);
    assert_eq!(world.sync("Ada").await, before);
    assert_eq!(world.story("Ada").await, ["created"]);
    world.clock.advance(secs(60));
    world.run_to_the_end().await;
    assert_eq!(world.state("Ada").await, "sent");
    assert_eq!(cancel(&world, "Ada").await, CancelResult::Ended);
    world.finish().await;
}

#[actix_web::test]
async fn retry_sends_failed_lead() {
    let world = World::new().await;
    world
        .request(with(lead("Ada"), json!({ "emailAddress": "ada at home" })))
        .await;
    world.run_to_the_end().await;
    assert_eq!(world.lead_says("Ada", "crmStatus").as_deref(), Some("FAILED"));
    world.clock.advance(secs(60));
    let good = json!({ "emailAddress": "ada@example.org" });
    world.edit("Ada", good);
    assert_eq!(retry(&world, "Ada").await, Some(Accepted::Created(SyncId(2))));
    world.run_to_the_end().await;
    assert_eq!(world.lead_says("Ada", "crmStatus").as_deref(), Some("SENT"));
    assert_eq!(world.lead_says("Ada", "crmError"), None);
    let ledger = world.ledger().await;
    assert_eq!((ledger.failed, ledger.sent, ledger.created_manually), (1, 1, 1));
    assert_eq!(world.store().overview().await.unwrap().failed_leads, 0);
    world.finish().await;
}

#[actix_web::test]
async fn bulk_retry_takes_one_reason() {
    let world = World::new().await;
    let names = ["Ada", "Grace", "Edsger"];
    for name in names {
        world
            .request(with(lead(name), json!({ "emailAddress": "nobody at home" })))
            .await;
    }
    world
        .request(with(lead("Long"), json!({ "postcode": "P".repeat(31) })))
        .await;
    world.run_to_the_end().await;
    let groups = world.store().failure_groups(5).await.unwrap();
    assert_eq!((groups[0].leads, groups[1].leads), (3, 1), "{groups:?}");
    for name in names {
        let good = json!({ "emailAddress": format!("{}@example.org", name.to_lowercase()) });
        world.edit(name, good);
    }
    let reason = Some(groups[0].key());
    assert_eq!(world.store().retry_failed(reason, None, 100).await.unwrap(), (3, None));
    world.run_to_the_end().await;
    assert_eq!((world.ledger().await.sent, world.state("Long").await), (3, "failed"));
    world.finish().await;
}

#[actix_web::test]
async fn bulk_retry_skips_withdrawn() {
    let world = World::new().await;
    let bad = || json!({ "emailAddress": "nobody at home" });
    for name in ["Ada", "Grace"] {
        world.request(with(lead(name), bad())).await;
    }
    world.run_to_the_end().await;
    let withdrawn = json!({ "emailAddress": "ada@example.org", "crmStatus": "NOT_SENT" });
    world.edit("Ada", withdrawn);
    let good = json!({ "emailAddress": "grace@example.org" });
    world.edit("Grace", good);
    assert_eq!(world.store().retry_failed(None, None, 100).await.unwrap(), (2, None));
    world.run_to_the_end().await;
    assert_eq!(
        (world.state("Ada").await, world.state("Grace").await),
        ("cancelled", "sent")
    );
    assert_eq!(world.contact_count(), 1, "nothing of Ada is in Bigin");
    assert_eq!(
        world.lead_says("Ada", "crmStatus").as_deref(),
        Some("NOT_SENT"),
        "as the editor left it"
    );
    world.finish().await;
}

#[actix_web::test]
async fn retried_then_withdrawn_gets_no_tag() {
    let world = World::new().await;
    world
        .request(with(lead("Ada"), json!({ "emailAddress": "nobody at home" })))
        .await;
    world.run_to_the_end().await;
    let good = json!({ "emailAddress": "ada@example.org" });
    world.edit("Ada", good);
    retry(&world, "Ada").await;
    world.run_due().await;
    assert_eq!(
        world.state("Ada").await,
        "upserted",
        "it still says FAILED, which is our own result"
    );
    let contact = world.sync("Ada").await.sync.state.contact().unwrap().to_string();
    world.edit("Ada", json!({ "crmStatus": "NOT_SENT" }));
    world.run_to_the_end().await;
    assert_eq!(world.state("Ada").await, "cancelled");
    assert_eq!(world.changes_of(&contact), ["upserted"]);
    world.finish().await;
}

#[actix_web::test]
async fn retry_brings_no_tag_forward() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_due().await;
    assert_eq!(world.state("Ada").await, "upserted");
    assert_eq!(retry(&world, "Ada").await, Some(Accepted::Coalesced(SyncId(1))));
    world.pass(secs(14)).await;
    assert_eq!(world.state("Ada").await, "upserted");
    // The end of every story sees that no tag was early.
    world.run_to_the_end().await;
    assert_eq!(world.state("Ada").await, "sent");
    world.finish().await;
}

#[actix_web::test]
async fn manual_request_outlives_withdrawal() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    let ada = LeadId::parse(&id("Ada")).unwrap();
    let person = bigin_sync::domain::sync::Source::Manual;
    world.store().request(ada, person, None).await.unwrap();
    world.edit("Ada", json!({ "crmStatus": "NOT_SENT" }));
    world.run_to_the_end().await;
    assert_eq!(world.lead_says("Ada", "crmStatus").as_deref(), Some("SENT"));
    world.finish().await;
}

#[actix_web::test]
async fn pause_costs_no_attempt() {
    let mut world = World::with(|settings| settings.retry.give_up_after = secs(3600)).await;
    world.request(lead("Upserted")).await;
    world.run_due().await;
    world.store().set_paused(true).await.unwrap();
    let changes = world.bigin.model().changes.len();
    for name in ["Ada", "Grace"] {
        world.request(lead(name)).await;
    }
    for hour in 0..60 {
        world.pass(secs(3600)).await;
        if hour == 30 {
            // Which ends no pause.
            world.restart().await;
        }
    }
    assert_eq!(world.bigin.model().changes.len(), changes, "nothing reached Bigin");
    let ledger = world.ledger().await;
    assert_eq!(
        (ledger.accepted, ledger.in_progress),
        (3, 3),
        "webhooks are stored as ever"
    );
    for name in ["Upserted", "Ada", "Grace"] {
        let failures = world.sync(name).await.sync.attempts;
        assert_eq!((failures.count, failures.backoff_total), (0, secs(0)), "{name}");
    }
    assert_eq!(world.get("/readyz").await.0, 200);

    world.store().set_paused(false).await.unwrap();
    world.run_to_the_end().await;
    let ledger = world.ledger().await;
    assert_eq!((ledger.sent, ledger.failed), (3, 0));
    world.finish().await;
}

/// The real loops, which sleep until somebody wakes them.
#[actix_web::test]
async fn resume_needs_no_restart() {
    let world = World::with(|settings| settings.tag_delay = secs(0)).await;
    world.store().set_paused(true).await.unwrap();
    world.request(lead("Ada")).await;
    let (stop, stopping) = tokio::sync::watch::channel(false);
    let workers = Stage::ALL.map(|stage| {
        let context = std::sync::Arc::clone(&world.app.context);
        tokio::spawn(bigin_sync::workers::run(context, stage, stopping.clone()))
    });
    // They have found out that there is nothing to do for them.
    for _ in 0..3 {
        world.run_due().await;
    }
    assert_eq!(world.state("Ada").await, "requested");
    let mut changes = world.store().changes();
    world.store().set_paused(false).await.unwrap();
    while changes.recv().await.unwrap().state != "sent" {}
    stop.send_replace(true);
    for worker in workers {
        worker.await.unwrap();
    }
    world.finish().await;
}
