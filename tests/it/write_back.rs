//! The write-back: conditional on the revision, written once, and never over a newer edit or request.

use std::time::Duration;

use bigin_sync::fake::bigin::CallKind;
use bigin_sync::fake::sanity::{By, Fault as SanityFault, Kind, Transaction};
use bigin_sync::store::Stage;
use serde_json::json;

use crate::late_read::step_with_late_read;
use crate::upsert::rests_within;
use crate::world::{World, id, lead, secs, with};

#[actix_web::test]
async fn keeps_status_of_withdrawn_lead() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_due().await;
    world.clock.advance(secs(15));
    world.run(Stage::Tag).await;
    let withdrawn = json!({ "crmStatus": "NOT_SENT" });
    world.edit("Ada", withdrawn);
    world.run_to_the_end().await;
    assert_eq!(world.state("Ada").await, "cancelled");
    assert_eq!(world.lead_says("Ada", "crmStatus").as_deref(), Some("NOT_SENT"));
    let by_us = |transaction: &Transaction| transaction.by == By::Api;
    assert!(!world.sanity.model().transactions.iter().any(by_us));
    world.finish().await;
}

#[actix_web::test]
async fn does_not_overwrite_edit() {
    let world = World::new().await;
    for name in ["Ada", "Grace"] {
        world.request(lead(name)).await;
    }
    world.run_due().await;
    world.clock.advance(secs(15));
    world.run(Stage::Tag).await;
    // The revision that the tag worker read is too old by now, so the write-back reads at once; its first commit is held up long enough for an edit to come in between.
    world.clock.advance(secs(6));
    world.sanity.model().latency = Duration::from_millis(150);
    let edit = async {
        loop {
            tokio::time::sleep(Duration::from_millis(10)).await;
            if world.sanity_calls(Kind::Doc) > 2 {
                break;
            }
        }
        let ada = id("Ada");
        world
            .sanity
            .model()
            .edit(&ada, json!({ "notes": "seen in between" }))
            .unwrap();
    };
    tokio::join!(edit, world.run(Stage::WriteBack));
    world.sanity.model().latency = Duration::ZERO;
    world.run_to_the_end().await;
    assert_eq!(world.lead_says("Ada", "notes").as_deref(), Some("seen in between"));
    for name in ["Ada", "Grace"] {
        assert_eq!(world.lead_says(name, "crmStatus").as_deref(), Some("SENT"));
    }
    world.finish().await;
}

#[actix_web::test]
async fn conflict_delays_no_other_lead() {
    let world = World::new().await;
    for name in ["Ada", "Grace"] {
        world.request(lead(name)).await;
    }
    world.run_due().await;
    world.clock.advance(secs(15));
    world.run(Stage::Tag).await;
    let edit = async {
        let edited = json!({ "notes": "seen in between" });
        world.edit("Ada", edited);
    };
    // The revision that the tag worker read is too old by now.
    world.clock.advance(secs(6));
    step_with_late_read(&world, Stage::WriteBack, edit).await;
    assert_eq!(world.state("Grace").await, "sent");
    world.run(Stage::WriteBack).await;
    let ada = world.sync("Ada").await.sync;
    assert_eq!(
        (ada.state.label(), ada.attempts.count),
        ("tagged", 1),
        "one that always changes must not keep us busy"
    );
    world.run_to_the_end().await;
    assert_eq!(world.lead_says("Ada", "notes").as_deref(), Some("seen in between"));
    assert_eq!(world.lead_says("Ada", "crmStatus").as_deref(), Some("SENT"));
    world.finish().await;
}

#[actix_web::test]
async fn rejected_batch_is_halved() {
    let world = World::new().await;
    for number in 0..4 {
        world.request(lead(&format!("Lead{number}"))).await;
    }
    world.run_due().await;
    world.fail_sanity(Kind::Mutate, SanityFault::Status(400), 1);
    world.pass(secs(15)).await;
    assert_eq!(world.ledger().await.sent, 4, "no lead is to blame");
    assert_eq!(world.sanity_calls(Kind::Mutate), 3);
    world.finish().await;
}

#[actix_web::test]
async fn endless_conflict_backs_off() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_due().await;
    world.fail_sanity(Kind::Mutate, SanityFault::Conflict, usize::MAX);
    world.clock.advance(secs(15));
    let rested = rests_within(&world, 20).await;
    let commits = world.sanity_calls(Kind::Mutate);
    assert!(rested, "{commits} commits in one moment, without an end");
    world.sanity.model().faults.clear();
    world.run_to_the_end().await;
    assert_eq!(world.lead_says("Ada", "crmStatus").as_deref(), Some("SENT"));
    world.finish().await;
}

#[actix_web::test]
async fn retries_for_days() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_due().await;
    world.fail_sanity(Kind::Mutate, SanityFault::Status(400), usize::MAX);
    for _ in 0..600 {
        world.pass(secs(300)).await;
    }
    assert_eq!(world.state("Ada").await, "tagged");
    assert!(world.sanity_calls(Kind::Mutate) > 300, "it goes on trying");
    world.sanity.model().faults.clear();
    world.run_to_the_end().await;
    assert_eq!(world.state("Ada").await, "sent");
    world.finish().await;
}

#[actix_web::test]
async fn lost_reply_is_recognised() {
    for (email, ends) in [("ada@example.org", "sent"), ("no address", "failed")] {
        let world = World::new().await;
        world.fail_sanity(Kind::Mutate, SanityFault::LostReply, 1);
        world.request(with(lead("Ada"), json!({ "emailAddress": email }))).await;
        world.run_to_the_end().await;
        assert_eq!(world.state("Ada").await, ends);
        assert_eq!(world.sanity_calls(Kind::Mutate), 1, "{ends}: it is not written twice");
        world.finish().await;
    }
}

#[actix_web::test]
async fn failure_names_known_contact() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_to_the_end().await;
    let contact = world.lead_says("Ada", "biginContactId");
    world.clock.advance(secs(60));
    let broken = json!({ "emailAddress": "no address", "biginContactId": null });
    world.edit("Ada", broken);
    world.set_requested("Ada");
    world.deliver().await;
    world.run_to_the_end().await;
    assert_eq!(world.lead_says("Ada", "crmStatus").as_deref(), Some("FAILED"));
    assert_eq!(world.lead_says("Ada", "biginContactId"), contact);
    world.finish().await;
}

#[actix_web::test]
async fn overwritten_request_is_carried_out() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_due().await;
    world.clock.advance(secs(15));
    world.run(Stage::Tag).await;
    // Asked again after the tag worker's read, with other data; the webhook is still on its way when the result is written.
    world.clock.advance(secs(6));
    let id = id("Ada");
    world
        .sanity
        .model()
        .edit(&id, json!({ "crmStatus": "NOT_SENT", "postcode": "SO14 0AA" }))
        .unwrap();
    world.sanity.model().request(&id).unwrap();
    world.run(Stage::WriteBack).await;
    assert_eq!(world.lead_says("Ada", "crmStatus").as_deref(), Some("SENT"));
    assert_ne!(world.contact_says("Ada", "Mailing_Zip").as_deref(), Some("SO14 0AA"));

    world.deliver().await;
    world.run_to_the_end().await;
    assert_eq!(world.contact_says("Ada", "Mailing_Zip").as_deref(), Some("SO14 0AA"));
    assert_eq!(world.lead_says("Ada", "crmStatus").as_deref(), Some("SENT"));
    assert_eq!(world.ledger().await.created, 2);
    world.finish().await;
}

#[actix_web::test]
async fn overwritten_request_gets_its_tag() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_due().await;
    world.clock.advance(secs(15));
    world.run(Stage::Tag).await;
    world.clock.advance(secs(1));
    let id = id("Ada");
    let withdrawn = json!({ "crmStatus": "NOT_SENT", "postcode": "SO14 0AA" });
    world.sanity.model().edit(&id, withdrawn).unwrap();
    world.sanity.model().request(&id).unwrap();
    // The Content Lake counts `_updatedAt` in seconds: the write-back falls into a later one than the request. It reads the
    // lead, since the tag worker's read is too old by now.
    world.clock.advance(secs(6));
    world.run(Stage::WriteBack).await;
    world.deliver().await;
    world.run_to_the_end().await;
    assert_eq!(
        world.story("Ada").await,
        ["created", "upserted", "tagged", "written_back"]
    );
    assert_eq!(world.contact_says("Ada", "Mailing_Zip").as_deref(), Some("SO14 0AA"));
    assert_eq!(world.bigin_calls(CallKind::AddTags), 2);
    world.finish().await;
}

#[actix_web::test]
async fn request_before_it_restarts_sync() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_due().await;
    world.clock.advance(secs(15));
    world.run(Stage::Tag).await;
    world.clock.advance(secs(1));
    let id = id("Ada");
    world
        .sanity
        .model()
        .edit(&id, json!({ "crmStatus": "NOT_SENT", "postcode": "SO14 0AA" }))
        .unwrap();
    world.sanity.model().request(&id).unwrap();
    world.deliver().await;
    world.run_to_the_end().await;
    assert_eq!(
        world.story("Ada").await,
        [
            "created",
            "upserted",
            "tagged",
            "coalesced",
            "requested_again",
            "upserted",
            "tagged",
            "written_back"
        ]
    );
    assert_eq!(world.contact_says("Ada", "Mailing_Zip").as_deref(), Some("SO14 0AA"));
    world.finish().await;
}
