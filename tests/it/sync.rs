//! A sync from its request to its end, also where any one call of it fails.

use bigin_sync::fake::bigin::{CallKind, Fault};
use bigin_sync::fake::sanity::{Fault as SanityFault, Kind, RetryAfter};
use bigin_sync::store::Stage;

use crate::world::{World, id, lead, secs};

/// The lead comes to its end, once, whatever happened on the way.
pub async fn ends_sent(world: World, label: &str) {
    world.run_to_the_end().await;
    assert_eq!(world.lead_says("Ada", "crmStatus").as_deref(), Some("SENT"), "{label}");
    assert_eq!(world.state("Ada").await, "sent", "{label}");
    assert_eq!(world.contact_count(), 1, "{label}");
    world.finish().await;
}

#[actix_web::test]
async fn requested_lead_ends_sent() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_due().await;
    assert_eq!(world.state("Ada").await, "upserted");
    assert_eq!(world.lead_says("Ada", "crmStatus").as_deref(), Some("REQUESTED"));

    world.pass(secs(14)).await;
    assert_eq!(world.state("Ada").await, "upserted", "the tag waits for its time");
    world.pass(secs(1)).await;

    assert_eq!(
        world.story("Ada").await,
        ["created", "upserted", "tagged", "written_back"]
    );
    assert_eq!(world.lead_says("Ada", "crmStatus").as_deref(), Some("SENT"));
    assert_eq!(
        world.lead_says("Ada", "lastSyncedAt").as_deref(),
        Some("2026-11-22T10:00:15Z")
    );
    assert_eq!(world.lead_says("Ada", "crmError"), None);
    let contact = world.lead_says("Ada", "biginContactId").unwrap();
    assert_eq!(world.changes_of(&contact), ["upserted", "tagged"]);
    assert_eq!(
        world.bigin.model().contact(&contact).unwrap().tags,
        ["DBR_Dashboard_Import"]
    );
    world.finish().await;
}

#[actix_web::test]
async fn second_request_is_carried_out() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_to_the_end().await;
    world.clock.advance(secs(3600));
    world.set_requested("Ada");
    world.deliver().await;
    world.run_to_the_end().await;
    assert_eq!(
        world.story("Ada").await,
        ["created", "upserted", "tagged", "written_back"]
    );
    assert_eq!(world.lead_says("Ada", "crmStatus").as_deref(), Some("SENT"));
    assert_eq!(world.bigin_calls(CallKind::AddTags), 2);
    assert_eq!(world.contact_count(), 1);
    world.finish().await;
}

#[actix_web::test]
async fn deleted_lead_ends_sync_at_every_stage() {
    for (step, gone) in [(Stage::Upsert, true), (Stage::Tag, false), (Stage::WriteBack, true)] {
        let world = World::new().await;
        world.request(lead("Ada")).await;
        if step != Stage::Upsert {
            world.run(Stage::Upsert).await;
        }
        if step == Stage::WriteBack {
            world.clock.advance(secs(15));
            world.run(Stage::Tag).await;
        }
        if gone {
            world.sanity.model().delete(&id("Ada")).unwrap();
        } else {
            world.sanity.model().unpublish(&id("Ada")).unwrap();
        }
        world.run_to_the_end().await;
        assert_eq!(world.state("Ada").await, "lead_deleted", "before {step:?}");
        world.finish().await;
    }
}

#[actix_web::test]
async fn every_bigin_fault_ends_sent_once() {
    let html = || Fault::Html(502);
    let faults: [(&str, CallKind, Fault); 16] = [
        ("the upsert's reply is lost", CallKind::Upsert, Fault::LostReply),
        ("the upsert never arrives", CallKind::Upsert, Fault::NoReply),
        ("a proxy's page", CallKind::Upsert, html()),
        ("an internal error", CallKind::Upsert, Fault::Status(500)),
        (
            "a rate limit",
            CallKind::Upsert,
            Fault::RateLimited { retry_after: Some(90) },
        ),
        (
            "a rate limit without a time",
            CallKind::Upsert,
            Fault::RateLimited { retry_after: None },
        ),
        ("a locked record", CallKind::Upsert, Fault::RecordLocked),
        ("the tag's reply is lost", CallKind::AddTags, Fault::LostReply),
        ("the tag never arrives", CallKind::AddTags, Fault::NoReply),
        ("a proxy's page for the tag", CallKind::AddTags, html()),
        ("an internal error for the tag", CallKind::AddTags, Fault::Status(500)),
        ("the fields cannot be read", CallKind::Fields, html()),
        ("the token endpoint shows a page", CallKind::Token, html()),
        ("the token's reply is lost", CallKind::Token, Fault::LostReply),
        ("the token endpoint throttles", CallKind::Token, Fault::TokenThrottled),
        (
            "the refresh token is refused for a while",
            CallKind::Token,
            Fault::TokenError("invalid_code".into()),
        ),
    ];
    for (label, kind, fault) in faults {
        let world = World::new().await;
        world.fail_bigin(kind, fault, 1);
        world.request(lead("Ada")).await;
        ends_sent(world, label).await;
    }
}

#[actix_web::test]
async fn every_sanity_fault_ends_sent() {
    let faults: [(&str, Kind, SanityFault); 9] = [
        ("the read is lost", Kind::Doc, SanityFault::NoReply),
        ("a page for the read", Kind::Doc, SanityFault::Html(503)),
        (
            "the read is limited",
            Kind::Doc,
            SanityFault::RateLimited(Some(RetryAfter::Date(secs(120)))),
        ),
        ("the write-back's reply is lost", Kind::Mutate, SanityFault::LostReply),
        ("the write-back never arrives", Kind::Mutate, SanityFault::NoReply),
        ("a page for the write-back", Kind::Mutate, SanityFault::Html(502)),
        (
            "an internal error for the write-back",
            Kind::Mutate,
            SanityFault::Status(500),
        ),
        (
            "the write-back is limited",
            Kind::Mutate,
            SanityFault::RateLimited(Some(RetryAfter::Seconds(30))),
        ),
        ("the write-back meets contention", Kind::Mutate, SanityFault::Conflict),
    ];
    for (label, kind, fault) in faults {
        let world = World::new().await;
        world.fail_sanity(kind, fault, 1);
        world.request(lead("Ada")).await;
        ends_sent(world, label).await;
    }
}
