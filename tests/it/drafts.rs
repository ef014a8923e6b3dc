//! Drafts and versions of a lead: they get its result, and a stale one that is published starts no second sync.

use bigin_sync::domain::lead::{LeadId, REQUESTED};
use bigin_sync::fake::bigin::CallKind;
use serde_json::json;

use crate::world::{World, id, lead, secs, with};

#[actix_web::test]
async fn get_the_result() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world
        .sanity
        .model()
        .edit_draft(&id("Ada"), json!({ "address": "2 Invented Street" }))
        .unwrap();
    world.sanity.model().make_version("rSpring", &id("Ada")).unwrap();
    world.run_due().await;
    world.pass(secs(15)).await;
    for copy in [
        format!("drafts.{}", id("Ada")),
        format!("versions.rSpring.{}", id("Ada")),
    ] {
        let model = world.sanity.model();
        assert_eq!(model.text(&copy, "crmStatus"), Some("SENT"), "{copy}");
        assert_eq!(
            model.text(&copy, "lastSyncedAt"),
            Some("2026-11-22T10:00:15Z"),
            "{copy}"
        );
    }
    assert_eq!(
        world.sanity.model().text(&format!("drafts.{}", id("Ada")), "address"),
        Some("2 Invented Street"),
        "what the editor is writing stays"
    );
    world.finish().await;
}

#[actix_web::test]
async fn stale_draft_gets_result_back() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    let stale = world.sanity.model().document(&id("Ada")).unwrap().clone();
    world.run_due().await;
    world.pass(secs(15)).await;
    let upserts = world.bigin_calls(CallKind::Upsert);

    world.clock.advance(secs(3600));
    world
        .sanity
        .model()
        .publish(with(
            json!(stale),
            json!({ "_rev": null, "_updatedAt": null, "_createdAt": null }),
        ))
        .unwrap();
    world.deliver().await;
    world.run_to_the_end().await;
    assert_eq!(world.story("Ada").await, ["created", "restored", "written_back"]);
    assert_eq!(
        world.lead_says("Ada", "lastSyncedAt").as_deref(),
        Some("2026-11-22T10:00:15Z")
    );
    assert_eq!(world.bigin_calls(CallKind::Upsert), upserts);
    assert_eq!(world.bigin_calls(CallKind::AddTags), 1);
    world.finish().await;
}

#[actix_web::test]
async fn edited_draft_is_sent() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    let stale = json!(world.sanity.model().document(&id("Ada")).unwrap());
    world.run_to_the_end().await;
    world.clock.advance(secs(3600));
    let edited = json!({ "postcode": "SO14 0AA", "_rev": null, "_updatedAt": null, "_createdAt": null });
    world.sanity.model().publish(with(stale, edited)).unwrap();
    world.deliver().await;
    world.run_to_the_end().await;
    assert_eq!(
        world.story("Ada").await,
        ["created", "upserted", "tagged", "written_back"]
    );
    assert_eq!(world.contact_says("Ada", "Mailing_Zip").as_deref(), Some("SO14 0AA"));
    world.finish().await;
}

#[actix_web::test]
async fn manual_request_beats_stale_draft() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    let stale = json!(world.sanity.model().document(&id("Ada")).unwrap());
    world.run_to_the_end().await;
    world.clock.advance(secs(3600));
    let again = json!({ "_rev": null, "_updatedAt": null, "_createdAt": null });
    world.sanity.model().publish(with(stale, again)).unwrap();
    let ada = LeadId::parse(&id("Ada")).unwrap();
    let person = bigin_sync::domain::sync::Source::Manual;
    world.store().request(ada, person, None).await.unwrap();
    world.deliver().await;
    world.run_to_the_end().await;
    assert_eq!(world.bigin_calls(CallKind::AddTags), 2);
    world.finish().await;
}

#[actix_web::test]
async fn stale_draft_is_sent_if_bigin_is_newer() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    let stale = json!(world.sanity.model().document(&id("Ada")).unwrap());
    world.run_to_the_end().await;
    world.clock.advance(secs(60));
    world.edit("Ada", json!({ "postcode": "SO14 0AA", "crmStatus": REQUESTED }));
    world.deliver().await;
    world.run_due().await;
    world.edit("Ada", json!({ "crmStatus": "NOT_SENT" }));
    world.run_to_the_end().await;
    assert_eq!(world.state("Ada").await, "cancelled");

    world.sanity.model().publish(stale).unwrap();
    world.deliver().await;
    world.run_to_the_end().await;
    assert_eq!(world.contact_says("Ada", "Mailing_Zip").as_deref(), Some("PO16 7GZ"));
    world.finish().await;
}

#[actix_web::test]
async fn stale_draft_is_sent_if_last_result_failed() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    let stale = json!(world.sanity.model().document(&id("Ada")).unwrap());
    world.run_to_the_end().await;
    world.clock.advance(secs(60));
    world.edit(
        "Ada",
        json!({ "firstName": null, "secondName": null, "crmStatus": REQUESTED }),
    );
    world.deliver().await;
    world.run_to_the_end().await;
    assert_eq!(world.state("Ada").await, "failed");

    world.sanity.model().publish(stale).unwrap();
    world.deliver().await;
    world.run_to_the_end().await;
    assert_eq!(
        world.story("Ada").await,
        ["created", "upserted", "tagged", "written_back"]
    );
    world.finish().await;
}
