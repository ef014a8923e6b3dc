//! Inserts whose effect is not known: a lead without a unique value is looked up before it is sent again.

use std::time::Duration;

use bigin_sync::fake::bigin::{CallKind, Fault};
use bigin_sync::store::Stage;
use serde_json::json;

use crate::contact_matching::bare;
use crate::slow_bigin::{HANG, fast};
use crate::sync::ends_sent;
use crate::world::{World, id, lead, secs, with};

/// Without an email, so that no unique value finds the contact.
pub fn without_email(name: &str) -> serde_json::Value {
    with(lead(name), json!({ "emailAddress": null }))
}

#[actix_web::test]
async fn lost_reply_without_email() {
    for fault in [Fault::LostReply, Fault::Html(502)] {
        let world = World::new().await;
        world.fail_bigin(CallKind::Upsert, fault, 1);
        world.request(with(lead("Ada"), json!({ "emailAddress": null }))).await;
        ends_sent(world, "without email").await;
    }
}

#[actix_web::test]
async fn lost_reply_with_invalid_phone() {
    for phone in ["12345", "07700 900 1234"] {
        let world = World::new().await;
        world.fail_bigin(CallKind::Upsert, Fault::LostReply, 1);
        let nameless = json!({ "emailAddress": null, "phoneNumber": phone });
        world.request(with(lead("Ada"), nameless)).await;
        world.run_to_the_end().await;
        assert_eq!(world.contact_count(), 1, "{phone}");
        world.finish().await;
    }
}

#[actix_web::test]
async fn lost_reply_with_name_only() {
    let world = World::new().await;
    world.fail_bigin(CallKind::Upsert, Fault::LostReply, 1);
    world.request(bare("Ada")).await;
    world.run_to_the_end().await;
    assert_eq!(world.contact_count(), 1);
    world.finish().await;
}

#[actix_web::test]
async fn next_sync_finds_unknown_contact() {
    let world = World::new().await;
    world.fail_bigin(CallKind::Upsert, Fault::LostReply, 1);
    let refused = Fault::RecordError {
        nth: 0,
        code: "INVALID_DATA".into(),
        field: Some("Last_Name".into()),
    };
    world.fail_bigin(CallKind::Update, refused, 1);
    world.request(bare("Ada")).await;
    world.run_to_the_end().await;
    assert_eq!(world.lead_says("Ada", "crmStatus").as_deref(), Some("FAILED"));
    world.clock.advance(secs(3_600));
    world.request(bare("Ada")).await;
    world.run_to_the_end().await;
    assert_eq!(world.lead_says("Ada", "crmStatus").as_deref(), Some("SENT"));
    assert_eq!(world.contact_count(), 1);
    world.finish().await;
}

#[actix_web::test]
async fn lost_batch_is_looked_up_first() {
    let world = World::new().await;
    world.fail_bigin(CallKind::Upsert, Fault::LostReply, 1);
    for (name, phone) in [("Ada", "07700 900123"), ("Grace", "07700 900456")] {
        let nameless = json!({ "emailAddress": null, "phoneNumber": phone });
        world.request(with(lead(name), nameless)).await;
    }
    world.run_to_the_end().await;
    assert_eq!(world.contact_count(), 2);
    assert_eq!(world.ledger().await.sent, 2);
    world.finish().await;
}

#[actix_web::test]
async fn applied_after_deadline_is_found() {
    let world = fast().await;
    world.request(without_email("Ada")).await;
    let late = Fault::Stall(HANG + secs(1));
    world.fail_bigin(CallKind::Upsert, late, 1);
    world.run(Stage::Upsert).await;
    let looks = world.bigin_calls(CallKind::Coql);
    assert_eq!(world.contact_count(), 0, "not applied yet");
    world.clock.advance(Duration::from_millis(2_900));
    // Nothing shortens the wait.
    let sync = world.sync("Ada").await.sync;
    world.post(&format!("/api/syncs/{}/retry", sync.id), json!({})).await;
    world.run(Stage::Upsert).await;
    assert_eq!(world.bigin_calls(CallKind::Coql), looks, "not looked up before");
    assert_eq!(world.bigin_calls(CallKind::Upsert), 1, "and not sent");
    tokio::time::sleep(secs(2)).await;
    assert_eq!(world.contact_count(), 1, "applied late");
    world.run_to_the_end().await;
    assert_eq!(world.state("Ada").await, "sent");
    assert_eq!(world.contact_count(), 1, "and not twice");
    world.finish().await;
}

#[actix_web::test]
async fn next_sync_finds_late_insert() {
    let world = fast().await;
    world.request(without_email("Ada")).await;
    let late = Fault::Stall(HANG + secs(1));
    world.fail_bigin(CallKind::Upsert, late, 1);
    world.run(Stage::Upsert).await;
    let sync = world.sync("Ada").await.sync;
    let (status, _) = world.post(&format!("/api/syncs/{}/cancel", sync.id), json!({})).await;
    assert_eq!(status, 200);
    world.post("/api/syncs", json!({ "leadId": id("Ada") })).await;
    let looks = world.bigin_calls(CallKind::Coql);
    // The breaker's pause is over, and the wait is not.
    world.clock.advance(Duration::from_millis(2_900));
    world.run(Stage::Upsert).await;
    assert_eq!(world.bigin_calls(CallKind::Coql), looks, "the ambiguity is the lead's");
    assert_eq!(world.bigin_calls(CallKind::Upsert), 1);
    tokio::time::sleep(secs(2)).await;
    world.run_to_the_end().await;
    assert_eq!(world.contact_count(), 1);
    world.finish().await;
}

#[actix_web::test]
async fn waits_to_settle_after_crash() {
    let mut world = fast().await;
    world.request(without_email("Ada")).await;
    world.request(lead("Grace")).await;
    // The process dies with the claim, and nobody knows whether its call was sent.
    let claim = world
        .store()
        .claim(Stage::Upsert, 10, bigin_sync::store::Prefer::Fresh)
        .await
        .unwrap();
    assert_eq!(claim.syncs.len(), 2);
    world.restart().await;
    world.pass(secs(3)).await;
    assert_eq!(world.state("Grace").await, "upserted", "an email finds its contact");
    assert_eq!(world.state("Ada").await, "requested");
    assert_eq!(world.bigin_calls(CallKind::Coql), 0);
    world.pass(secs(3)).await;
    assert_eq!(world.state("Ada").await, "upserted");
    world.run_to_the_end().await;
    world.finish().await;
}

#[actix_web::test]
async fn looked_up_before_it_is_given_up() {
    let world = World::with(|settings| settings.retry.give_up_after = Duration::ZERO).await;
    world.fail_bigin(CallKind::Upsert, Fault::NoReply, 1);
    world.request(without_email("Ada")).await;
    world.run_due().await;
    world.request(lead("Barbara")).await;
    world.pass(secs(2)).await;
    assert_eq!(world.state("Barbara").await, "upserted");
    // Another was accepted since the first failure, so that the second is the lead's own, and the last.
    world.fail_bigin(CallKind::Upsert, Fault::LostReply, 1);
    world.pass(secs(130)).await;
    assert_eq!(world.state("Ada").await, "requested", "not before its look-up");
    world.run_to_the_end().await;
    assert_eq!(world.state("Ada").await, "sent", "the look-up has found the contact");
    assert_eq!(world.contact_count(), 2);
    world.finish().await;
}
