//! Reads of leads from Sanity: limited in bytes, and absence from an answer is no deletion.

use bigin_sync::domain::failure::Remote;
use bigin_sync::domain::lead::LeadId;
use bigin_sync::domain::reject_reason::RejectReason;
use bigin_sync::domain::sync::Source;
use bigin_sync::fake::sanity::{Fault as SanityFault, Kind, WithoutContent};
use bigin_sync::store::Stage;
use serde_json::json;

use crate::process::Stage as Program;
use crate::world::{World, id, lead, secs, with};

/// Of the answers in these tests: room for some leads as tests have them, and for one that is heavy.
pub const LIMIT: usize = 20_000;

/// More bytes than half of the limit.
pub const HEAVY: usize = 12_000;

/// More bytes than the limit.
pub const TOO_HEAVY: usize = 30_000;

pub async fn world() -> World {
    World::with(|settings| settings.sanity.max_answer = Some(LIMIT)).await
}

fn reads(world: &World) -> usize {
    world.sanity_calls(Kind::Doc)
}

async fn sanity_is_paused(world: &World) -> bool {
    world.store().breaker(Remote::Sanity).await.unwrap().open.is_some()
}

/// The most memory that the program has had, in MB.
fn peak_memory(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1000
}

#[actix_web::test]
async fn heavy_leads_are_read_in_parts() {
    for form in [
        WithoutContent::Revisions,
        WithoutContent::OmittedOnly,
        WithoutContent::Ignored,
    ] {
        let world = world().await;
        world.sanity.model().doc.without_content = form;
        for number in 0..30 {
            let name = format!("Lead{number}");
            world.sanity.model().doc.bulk.insert(id(&name), HEAVY);
            world.request(lead(&name)).await;
        }
        world.run_to_the_end().await;
        assert_eq!(world.ledger().await.sent, 30, "{form:?}");
        assert!(!sanity_is_paused(&world).await);
        world.finish().await;
    }
}

#[actix_web::test]
async fn lead_above_limit_fails_alone() {
    for form in [
        WithoutContent::Revisions,
        WithoutContent::OmittedOnly,
        WithoutContent::Ignored,
    ] {
        let world = world().await;
        world.sanity.model().doc.without_content = form;
        world.sanity.model().doc.bulk.insert(id("Lead7"), TOO_HEAVY);
        for number in 0..20 {
            world.request(lead(&format!("Lead{number}"))).await;
        }
        world.run_to_the_end().await;
        assert_eq!(world.ledger().await.sent, 19, "{form:?}");
        assert_eq!(world.lead_says("Lead7", "crmStatus").as_deref(), Some("FAILED"));
        assert_eq!(
            world.lead_says("Lead7", "crmError").as_deref(),
            Some(RejectReason::LeadTooLarge.to_string().as_str())
        );
        let story = world.history(world.sync("Lead7").await.sync.id).await;
        assert!(
            story.iter().any(|entry| entry.detail["code"] == "lead_too_large"),
            "{story:?}"
        );
        // An editor who makes it smaller and asks again has it sent.
        world.clock.advance(secs(60));
        world.sanity.model().doc.bulk.clear();
        world.set_requested("Lead7");
        world.deliver().await;
        world.run_to_the_end().await;
        assert_eq!(world.lead_says("Lead7", "crmStatus").as_deref(), Some("SENT"));
        world.finish().await;
    }
}

#[actix_web::test]
async fn withdrawn_lead_above_limit_stays_withdrawn() {
    let world = world().await;
    world.sanity.model().doc.bulk.insert(id("Ada"), TOO_HEAVY);
    world.request(lead("Ada")).await;
    world.run(Stage::Upsert).await;
    let withdrawn = json!({ "crmStatus": "NOT_SENT" });
    world.edit("Ada", withdrawn);
    world.run_to_the_end().await;
    assert_eq!(world.state("Ada").await, "cancelled");
    assert_eq!(world.lead_says("Ada", "crmStatus").as_deref(), Some("NOT_SENT"));
    world.finish().await;
}

#[actix_web::test]
async fn deleted_lead_with_heavy_draft() {
    for form in [
        WithoutContent::Revisions,
        WithoutContent::OmittedOnly,
        WithoutContent::Ignored,
    ] {
        let world = world().await;
        world.sanity.model().doc.without_content = form;
        world.request(lead("Grace")).await;
        world.request(lead("Ada")).await;
        {
            let mut model = world.sanity.model();
            model.edit_draft(&id("Ada"), json!({ "notes": "long" })).unwrap();
            model.doc.bulk.insert(format!("drafts.{}", id("Ada")), TOO_HEAVY);
        }
        world.run(Stage::Upsert).await;
        assert_eq!(world.state("Ada").await, "rejected");
        // Leaves the draft.
        world.sanity.model().unpublish(&id("Ada")).unwrap();
        world.run_to_the_end().await;
        assert_eq!(world.state("Ada").await, "lead_deleted", "{form:?}");
        world.finish().await;
    }
}

#[actix_web::test]
async fn answer_without_leads_ends_none() {
    let world = World::new().await;
    world.sanity.model().doc.empty = true;
    for name in ["Ada", "Grace"] {
        world.request(lead(name)).await;
    }
    for _ in 0..20 {
        world.pass(secs(60)).await;
    }
    assert_eq!(world.ledger().await.in_progress, 2);
    assert!(sanity_is_paused(&world).await, "it is the service's fault");
    world.sanity.model().doc.empty = false;
    world.run_to_the_end().await;
    assert_eq!(world.ledger().await.sent, 2);
    world.finish().await;
}

#[actix_web::test]
async fn absent_lead_is_not_deleted() {
    let world = World::new().await;
    world.sanity.model().doc.unmentioned.insert(id("Ada"));
    for name in ["Ada", "Grace"] {
        world.request(lead(name)).await;
    }
    for _ in 0..10 {
        world.pass(secs(60)).await;
    }
    assert_eq!(world.state("Grace").await, "sent");
    let ada = world.sync("Ada").await.sync;
    assert_eq!(ada.state.label(), "requested");
    assert!(ada.attempts.count > 1 && !sanity_is_paused(&world).await, "{ada:?}");
    world.sanity.model().doc.unmentioned.clear();
    world.run_to_the_end().await;
    assert_eq!(world.state("Ada").await, "sent");
    world.finish().await;
}

#[actix_web::test]
async fn lead_always_absent_is_given_up() {
    let world = World::with(|settings| settings.retry.give_up_after = secs(600)).await;
    world.request(lead("Grace")).await;
    world.run_to_the_end().await;
    world.sanity.model().doc.unmentioned.insert(id("Ada"));
    world.request(lead("Ada")).await;
    for _ in 0..60 {
        world.pass(secs(60)).await;
    }
    assert_eq!(
        world.state("Ada").await,
        "rejected",
        "its result waits until it can be read"
    );
    world.sanity.model().doc.unmentioned.clear();
    world.run_to_the_end().await;
    assert_eq!(world.lead_says("Ada", "crmStatus").as_deref(), Some("FAILED"));
    world.finish().await;
}

#[actix_web::test]
async fn other_type_is_deleted() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world
        .sanity
        .model()
        .publish(with(lead("Ada"), json!({ "_type": "page" })))
        .unwrap();
    world.run_to_the_end().await;
    assert_eq!(world.state("Ada").await, "lead_deleted");
    world.finish().await;
}

#[actix_web::test]
async fn unreadable_lead_fails_alone() {
    let world = World::new().await;
    world.sanity.model().doc.denied.insert(id("Ada"));
    for name in ["Ada", "Grace"] {
        world.request(lead(name)).await;
    }
    for _ in 0..10 {
        world.pass(secs(60)).await;
    }
    assert_eq!(world.state("Grace").await, "sent");
    assert_eq!(world.state("Ada").await, "rejected");
    assert!(!sanity_is_paused(&world).await);
    world.sanity.model().doc.denied.clear();
    world.run_to_the_end().await;
    assert_eq!(
        world.lead_says("Ada", "crmError").as_deref(),
        Some(RejectReason::LeadUnreadable.to_string().as_str())
    );
    world.finish().await;
}

#[actix_web::test]
async fn token_without_access_opens_breaker() {
    let world = World::new().await;
    let names = ["Ada", "Grace"];
    world.sanity.model().doc.denied.extend(names.map(id));
    for name in names {
        world.request(lead(name)).await;
    }
    world.run_due().await;
    assert!(sanity_is_paused(&world).await);
    assert_eq!(world.ledger().await.in_progress, 2);
    world.sanity.model().doc.denied.clear();
    world.run_to_the_end().await;
    assert_eq!(world.ledger().await.sent, 2);
    world.finish().await;
}

#[actix_web::test]
async fn rejected_read_costs_no_attempt() {
    let world = World::new().await;
    world.fail_sanity(Kind::Doc, SanityFault::Status(400), 1);
    for name in ["Ada", "Grace"] {
        world.request(lead(name)).await;
    }
    world.run_due().await;
    for name in ["Ada", "Grace"] {
        assert_eq!(world.sync(name).await.sync.attempts.count, 0);
    }
    world.run_to_the_end().await;
    assert_eq!(world.ledger().await.sent, 2);
    world.finish().await;
}

#[actix_web::test]
async fn hanging_read_delays_no_other() {
    let world = World::with(|settings| {
        settings.lease_duration = secs(3);
        settings.tag_delay = secs(1);
        settings.retry.max_delay = secs(1);
    })
    .await;
    let hang = std::time::Duration::from_millis(2_300);
    world.sanity.model().doc.hangs.insert(id("Ada"), hang);
    let others = ["Grace", "Edsger", "Barbara"];
    for name in ["Ada"].into_iter().chain(others) {
        world.request(lead(name)).await;
    }
    let live = world.live();
    world.until("sent", &others).await;
    world.until_it_failed("Ada").await;
    world.request(lead("Hedy")).await;
    world.until("sent", &["Hedy"]).await;
    world.sanity.model().doc.hangs.clear();
    world.until("sent", &["Ada"]).await;
    live.stop().await;
    world.finish().await;
}

#[actix_web::test]
async fn unchanged_lead_is_read_whole_once() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_due().await;
    assert_eq!(reads(&world), 1);
    world.clock.advance(secs(15));
    world.run(Stage::Tag).await;
    assert_eq!(reads(&world), 2, "its revision, without its content");
    world.run(Stage::WriteBack).await;
    assert_eq!(reads(&world), 2, "the revision is fresh");
    assert_eq!(world.state("Ada").await, "sent");
    world.finish().await;
}

#[actix_web::test]
async fn write_back_needs_fresh_revision() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_due().await;
    world.clock.advance(secs(15));
    world.run(Stage::Tag).await;
    world.clock.advance(secs(6));
    world.run(Stage::WriteBack).await;
    assert_eq!(reads(&world), 3);
    assert_eq!(world.state("Ada").await, "sent");
    world.finish().await;
}

#[actix_web::test]
async fn edit_after_tag_is_read() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_due().await;
    world.clock.advance(secs(15));
    world.run(Stage::Tag).await;
    world.edit("Ada", json!({ "postcode": "SO14 0AA" }));
    world.run(Stage::WriteBack).await;
    assert_eq!((reads(&world), world.state("Ada").await), (2, "tagged"), "a conflict");
    world.run_to_the_end().await;
    assert_eq!((reads(&world), world.state("Ada").await), (3, "sent"));
    world.finish().await;
}

#[actix_web::test]
async fn request_after_tag_restarts_sync() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_due().await;
    world.clock.advance(secs(15));
    world.run(Stage::Tag).await;
    let ada = LeadId::parse(&id("Ada")).unwrap();
    world.store().request(ada, Source::Manual, None).await.unwrap();
    world.run(Stage::WriteBack).await;
    assert_eq!(world.state("Ada").await, "requested");
    world.run_to_the_end().await;
    assert_eq!(world.state("Ada").await, "sent");
    world.finish().await;
}

#[actix_web::test]
async fn heavy_leads_use_little_memory() {
    let mut program = Program::new().await;
    program.env.insert("LEASE_DURATION".to_owned(), "60s".to_owned());
    let process = program.serve().await;
    let names: Vec<String> = (0..6).map(|number| format!("Lead{number}")).collect();
    for name in &names {
        program.sanity.model().doc.bulk.insert(id(name), 2_000_000);
        program.request(lead(name)).await;
    }
    for name in &names {
        program.until_status(&id(name), "SENT").await;
    }
    let peak = peak_memory(process.child.id());
    process.stop().await;
    assert!(peak < 128, "{peak} MB");
    program.finish().await;
}
