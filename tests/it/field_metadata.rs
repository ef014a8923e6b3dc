//! The metadata of Bigin's fields: read once an hour, and used after failed reads.

use bigin_sync::fake::bigin::{CallKind, Fault};

use crate::sync::ends_sent;
use crate::world::{World, lead, secs};

#[actix_web::test]
async fn read_once_an_hour() {
    let world = World::new().await;
    for (name, passes, reads) in [("Ada", 0, 1), ("Grace", 60, 1), ("Edsger", 3_600, 2)] {
        world.clock.advance(secs(passes));
        world.request(lead(name)).await;
        world.run_to_the_end().await;
        assert_eq!(world.bigin_calls(CallKind::Fields), reads, "{name}");
    }
    world.finish().await;
}

#[actix_web::test]
async fn stored_fields_serve_after_restart() {
    let mut world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_to_the_end().await;
    world.restart().await;
    world.fail_bigin(CallKind::Fields, Fault::Html(502), usize::MAX);
    world.request(lead("Grace")).await;
    world.run_due().await;
    assert_eq!(world.state("Grace").await, "upserted");
    let description = world.contact_says("Grace", "Description").unwrap();
    assert!(
        description.contains("Lead Status: HOT"),
        "they are known to have no Lead_Status: {description}"
    );
    world.bigin.model().clear_faults();
    world.run_to_the_end().await;
    world.finish().await;
}

#[actix_web::test]
async fn rate_limit_of_fields_holds_for_upserts() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_to_the_end().await;
    world.clock.advance(secs(3_601));
    let limited = Fault::RateLimited { retry_after: Some(600) };
    world.fail_bigin(CallKind::Fields, limited, 1);
    world.request(lead("Grace")).await;
    world.run_due().await;
    world.pass(secs(590)).await;
    assert_eq!(world.state("Grace").await, "requested");
    assert_eq!(world.bigin_calls(CallKind::Fields), 2, "not called again before");
    world.run_to_the_end().await;
    assert_eq!(world.state("Grace").await, "sent");
    world.finish().await;
}

#[actix_web::test]
async fn known_fields_outlive_missing_scope() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_due().await;
    world.bigin.model().switches.missing_scopes.insert(CallKind::Fields);
    world.clock.advance(secs(3_601));
    world.request(lead("Grace")).await;
    world.run_due().await;
    assert_eq!(world.state("Grace").await, "upserted");
    let description = world.contact_says("Grace", "Description").unwrap();
    assert!(
        description.contains("Lead Status"),
        "fields that Bigin lacks go there: {description}"
    );
    world.bigin.model().switches.missing_scopes.clear();
    world.run_to_the_end().await;
    world.finish().await;
}

#[actix_web::test]
async fn missing_scope_sends_leads_as_they_are() {
    let world = World::new().await;
    world.bigin.model().switches.missing_scopes.insert(CallKind::Fields);
    world.request(lead("Ada")).await;
    ends_sent(world, "as they are").await;
}

#[actix_web::test]
async fn unauthorized_sends_no_lead() {
    let world = World::new().await;
    let refused = Fault::BodyError {
        status: 401,
        code: "INVALID_TOKEN".into(),
        message: "invalid oauth token".into(),
    };
    world.fail_bigin(CallKind::Fields, refused, 2);
    world.request(lead("Ada")).await;
    world.run_due().await;
    assert_eq!(
        world.bigin_calls(CallKind::Upsert),
        0,
        "the fields are still to be read"
    );
    world.run_to_the_end().await;
    assert_eq!(world.state("Ada").await, "sent");
    world.finish().await;
}

#[actix_web::test]
async fn rejected_read_costs_no_attempt() {
    let world = World::new().await;
    let refused = Fault::BodyError {
        status: 400,
        code: "INVALID_DATA".into(),
        message: "no".into(),
    };
    world.fail_bigin(CallKind::Fields, refused, 1);
    world.request(lead("Ada")).await;
    world.run_due().await;
    assert_eq!(world.sync("Ada").await.sync.attempts.count, 0);
    world.run_to_the_end().await;
    assert_eq!(world.lead_says("Ada", "crmStatus").as_deref(), Some("SENT"));
    world.finish().await;
}
