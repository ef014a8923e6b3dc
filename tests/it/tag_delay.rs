//! The tag is never early: its delay starts again with every upsert of the contact, also with an ambiguous one.

use std::time::Duration;

use bigin_sync::clock::Clock;
use bigin_sync::fake::bigin::{CallKind, Fault};
use bigin_sync::store::Stage;
use bigin_sync::workers::step;
use serde_json::json;

use crate::late_read::step_with_late_read;
use crate::world::{World, id, lead, secs, with};

fn upserts(world: &World) -> usize {
    let model = world.bigin.model();
    model.count(CallKind::Upsert) + model.count(CallKind::Update)
}

#[actix_web::test]
async fn counts_from_upsert_answer() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    let passes = async { world.clock.advance(secs(10)) };
    step_with_late_read(&world, Stage::Upsert, passes).await;
    assert_eq!(world.state("Ada").await, "upserted");
    world.pass(secs(14)).await;
    assert_eq!(world.state("Ada").await, "upserted");
    world.pass(secs(1)).await;
    assert_eq!(world.state("Ada").await, "sent");
    world.finish().await;
}

#[actix_web::test]
async fn no_tag_in_flight_during_upsert() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_due().await;
    world.clock.advance(secs(15));
    let same = json!({ "emailAddress": "ada@example.org", "phoneNumber": null });
    world.request(with(lead("Grace"), same)).await;
    // Grace is upserted while the tag of their contact waits for its read, if anything lets her.
    let upsert = async {
        step(&world.app.context, Stage::Upsert).await.unwrap();
    };
    step_with_late_read(&world, Stage::Tag, Box::pin(upsert)).await;
    world.run_to_the_end().await;
    assert_eq!(world.ledger().await.sent, 2);
    // Says that no tag came sooner than the delay after the latest upsert of its contact.
    world.finish().await;
}

#[actix_web::test]
async fn ambiguous_upsert_restarts_delay() {
    let world = World::new().await;
    for name in ["Ada", "Hedy"] {
        world.request(lead(name)).await;
    }
    world.run_due().await;
    // Both tags are due before the call that ends ambiguously is repeated.
    world.clock.advance(Duration::from_millis(14_500));
    world.fail_bigin(CallKind::Upsert, Fault::LostReply, 1);
    let same = json!({ "emailAddress": "ADA@example.org", "phoneNumber": null });
    world.request(with(lead("Grace"), same)).await;
    world.request(lead("Barbara")).await;
    world.run_due().await;
    // Grace and Barbara are sent again, at first one of them as a probe.
    world.pass(secs(1)).await;
    world.pass(secs(1)).await;
    assert_eq!(
        world.state("Hedy").await,
        "sent",
        "nothing of the call can have been hers"
    );
    assert_eq!(world.state("Ada").await, "upserted", "her contact has the email");
    world.run_to_the_end().await;
    assert_eq!(world.ledger().await.sent, 4);
    // Says that no tag came sooner than the delay after the latest upsert of its contact.
    world.finish().await;
}

#[actix_web::test]
async fn lost_reply_restarts_delay() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_due().await;
    world.clock.advance(Duration::from_millis(14_800));
    world.fail_bigin(CallKind::Upsert, Fault::LostReply, 1);
    let same = json!({ "emailAddress": "ada@example.org", "phoneNumber": null });
    world.request(with(lead("Grace"), same)).await;
    world.run_due().await;
    world.pass(Duration::from_millis(200)).await;
    world.run_to_the_end().await;
    assert_eq!(world.ledger().await.sent, 2);
    // Says that no tag came sooner than the delay after the latest upsert of its contact.
    world.finish().await;
}

#[actix_web::test]
async fn unrecorded_upsert_restarts_delay() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_due().await;
    world.clock.advance(secs(14));
    let same = json!({ "emailAddress": "ada@example.org", "phoneNumber": null });
    world.request(with(lead("Grace"), same)).await;
    world.bigin.model().switches.latency = Duration::from_millis(300);
    let blocker = rusqlite::Connection::open(world.folder().join("bigin-sync.db")).unwrap();
    let block = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    };
    let (stepped, ()) = tokio::join!(step(&world.app.context, Stage::Upsert), block);
    assert!(
        stepped.is_err(),
        "another program holds the file for longer than we wait"
    );
    blocker.execute_batch("ROLLBACK").unwrap();
    world.bigin.model().switches.latency = Duration::ZERO;
    world.pass(secs(1)).await;
    world.run_to_the_end().await;
    assert_eq!(world.ledger().await.sent, 2);
    world.finish().await;
}

#[actix_web::test]
async fn wall_clock_change_moves_no_tag() {
    for hours in [-1, 1] {
        let world = World::new().await;
        world.request(lead("Ada")).await;
        world.run_due().await;
        let jump = jiff::SignedDuration::from_hours(hours);
        world.clock.set_wall(world.clock.wall().checked_add(jump).unwrap());
        world.pass(secs(14)).await;
        assert_eq!(world.state("Ada").await, "upserted", "{hours}");
        world.pass(secs(1)).await;
        assert_eq!(world.state("Ada").await, "sent", "{hours}");
        assert_eq!(world.bigin.model().grants(), 1);
        world.finish().await;
    }
}

#[actix_web::test]
async fn ends_after_three_edits() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_due().await;
    for round in 0..6 {
        world.edit("Ada", json!({ "postcode": format!("PO{round} 1AA") }));
        world.pass(secs(15)).await;
    }
    assert_eq!(world.state("Ada").await, "sent");
    let changed = world
        .story("Ada")
        .await
        .iter()
        .filter(|what| *what == "changed")
        .count();
    assert_eq!(changed, 3);
    world.finish().await;
}

#[actix_web::test]
async fn timeline_names_edits_left_out() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_due().await;
    for round in 0..4 {
        let edit = json!({ "postcode": format!("PO{round} 1AA") });
        world.edit("Ada", edit);
        world.pass(secs(15)).await;
    }
    let sync = world.sync("Ada").await.sync;
    assert_eq!(sync.state.label(), "sent");
    let history = world.history(sync.id).await;
    let tagged = history.iter().find(|entry| entry.kind == "tagged").unwrap();
    assert_eq!(tagged.detail["edits_not_carried"], json!(true), "{tagged:?}");
    world.finish().await;
}

#[actix_web::test]
async fn requested_edit_restarts_the_count() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_due().await;
    let edit = |zip: &str| {
        let edited = json!({ "postcode": zip, "crmStatus": "NOT_SENT" });
        world.edit("Ada", edited);
    };
    for round in 0..3 {
        let unasked = json!({ "postcode": format!("PO{round} 1AA") });
        world.edit("Ada", unasked);
        world.pass(secs(15)).await;
    }
    edit("SO14 0AA");
    world.set_requested("Ada");
    world.pass(secs(15)).await;
    assert_eq!(world.contact_says("Ada", "Mailing_Zip").as_deref(), Some("SO14 0AA"));
    // The request began a new count of edits.
    let unasked = json!({ "postcode": "SO15 0AA" });
    world.edit("Ada", unasked);
    world.run_to_the_end().await;
    assert_eq!(world.contact_says("Ada", "Mailing_Zip").as_deref(), Some("SO15 0AA"));
    world.finish().await;
}

#[actix_web::test]
async fn edits_every_second_cost_few_upserts() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_due().await;
    let mut sent_after = None;
    for second in 0..3600 {
        let edit = json!({ "postcode": format!("PO{second} 1AA") });
        world.edit("Ada", edit);
        world.clock.advance(secs(1));
        // Once it is sent only a webhook could wake the workers.
        if sent_after.is_none() {
            world.run_due().await;
            sent_after = (world.state("Ada").await == "sent").then_some(second);
        }
    }
    world.pass(secs(1)).await;
    assert!(sent_after.is_some_and(|second| second <= 4 * 15), "{sent_after:?}");
    let upserts = upserts(&world);
    assert!(upserts <= 4, "{upserts} upserts");
    let story = world.story("Ada").await;
    assert!(story.len() <= 10, "{story:?}");
    world.finish().await;
}

#[actix_web::test]
async fn requests_every_second_end_sent_once() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    for second in 0..120 {
        {
            // Asking anew for what is asked for already would send no webhook.
            let edit = json!({ "postcode": format!("PO{second} 1AA"), "crmStatus": "NOT_SENT" });
            let mut model = world.sanity.model();
            model.edit(&id("Ada"), edit).unwrap();
            model.request(&id("Ada")).unwrap();
        }
        world.deliver().await;
        world.pass(secs(1)).await;
    }
    let upserts = upserts(&world);
    assert!(upserts <= 120 / 15 + 2, "{upserts} upserts: one a delay at most");
    world.run_to_the_end().await;
    assert_eq!(world.lead_says("Ada", "crmStatus").as_deref(), Some("SENT"));
    assert_eq!(world.contact_says("Ada", "Mailing_Zip").as_deref(), Some("PO119 1AA"));
    world.finish().await;
}
