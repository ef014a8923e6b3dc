//! One bad lead hurts only itself: suspects travel apart, and attempts count only where other leads succeed.

use std::time::Duration;

use bigin_sync::fake::bigin::{CallKind, Fault};
use bigin_sync::store::Stage;
use bigin_sync::workers;
use serde_json::json;

use crate::world::{World, lead, secs, with};

fn refused_as_a_whole() -> Fault {
    Fault::BodyError {
        status: 400,
        code: "REQUIRED_PARAM_MISSING".into(),
        message: "one of the expected parameter is missing".into(),
    }
}

/// A refusal of the whole call for what is in it.
fn refused() -> Fault {
    Fault::BodyError {
        status: 400,
        code: "INVALID_DATA".into(),
        message: "invalid data".into(),
    }
}

#[actix_web::test]
async fn poison_lead_is_found() {
    let world = World::new().await;
    world.bigin.model().switches.poison = Some("Poison".into());
    for number in 0..10 {
        world.request(lead(&format!("Lead{number}"))).await;
    }
    world
        .request(with(lead("Ada"), json!({ "address": "Poison Lane" })))
        .await;
    for _ in 0..6 {
        world.pass(secs(2)).await;
    }
    for number in 0..10 {
        let sync = world.sync(&format!("Lead{number}")).await.sync;
        assert_eq!((sync.state.label(), sync.attempts.count), ("upserted", 0));
    }
    let ada = world.sync("Ada").await.sync;
    assert_eq!(ada.state.label(), "requested");
    assert!(ada.attempts.count > 0, "only the culprit is blamed");
    world.bigin.model().switches.poison = None;
    world.run_to_the_end().await;
    assert_eq!(world.ledger().await.sent, 11);
    world.finish().await;
}

#[actix_web::test]
async fn poison_leads_cost_others_few_calls() {
    for culprits in [&[37][..], &[3, 80], &[1, 2, 60, 61, 99]] {
        let world = World::new().await;
        world.bigin.model().switches.poison = Some("Poison".into());
        for number in 0..100 {
            let address = if culprits.contains(&number) {
                "Poison Lane"
            } else {
                "1 Invented Street"
            };
            world
                .request(with(lead(&format!("Lead{number}")), json!({ "address": address })))
                .await;
        }
        // Bisection goes on over several steps, between which the breaker's pauses pass.
        for _ in 0..30 {
            world.pass(secs(1)).await;
        }
        let upserted = world.contact_count();
        assert_eq!(upserted, 100 - culprits.len(), "all others");
        let calls = world.bigin_calls(CallKind::Upsert);
        assert!(
            calls <= 10 + 16 * culprits.len(),
            "{calls} upserts for {} culprits",
            culprits.len()
        );
        for _ in 0..60 {
            world.pass(secs(5)).await;
        }
        assert_eq!(world.ledger().await.sent, u64::try_from(100 - culprits.len()).unwrap());
        world.bigin.model().switches.poison = None;
        world.run_to_the_end().await;
        assert_eq!(world.ledger().await.sent, 100);
        world.finish().await;
    }
}

#[actix_web::test]
async fn thirty_bad_leads_delay_no_other() {
    let world = World::new().await;
    world.bigin.model().switches.poison = Some("Poison".into());
    for number in 0..30 {
        let lead = with(lead(&format!("Bad{number}")), json!({ "address": "Poison Lane" }));
        world.request(lead).await;
    }
    // Until each of them has failed once, so that only suspects are left.
    for _ in 0..60 {
        world.pass(secs(5)).await;
    }
    world.request(lead("Ada")).await;
    world.run_due().await;
    assert_eq!(world.state("Ada").await, "upserted", "at once: a fresh lead may probe");
    world.pass(secs(15)).await;
    assert_eq!(world.state("Ada").await, "sent", "and no bad lead moves its tag");
    world.bigin.model().switches.poison = None;
    world.run_to_the_end().await;
    assert_eq!(world.ledger().await.sent, 31);
    world.finish().await;
}

#[actix_web::test]
async fn lone_failure_is_given_up_by_contrast() {
    let world = World::new().await;
    world.bigin.model().switches.poison = Some("Poison".into());
    world
        .request(with(lead("Ada"), json!({ "address": "Poison Lane" })))
        .await;
    for hour in 0..60 {
        world.request(lead(&format!("Lead{hour}"))).await;
        for _ in 0..12 {
            world.pass(secs(300)).await;
        }
    }
    assert_eq!(world.state("Ada").await, "failed");
    assert_eq!(
        world.lead_says("Ada", "crmError").as_deref(),
        Some("Bigin returned an error (INTERNAL_ERROR)")
    );
    world.run_to_the_end().await;
    assert_eq!(world.ledger().await.sent, 60);
    world.finish().await;
}

#[actix_web::test]
async fn failure_of_a_day_gives_its_reason() {
    let world = World::new().await;
    world.fail_bigin(CallKind::Upsert, Fault::RecordLocked, usize::MAX);
    world.request(lead("Ada")).await;
    world.run_to_the_end().await;
    assert_eq!(world.lead_says("Ada", "crmStatus").as_deref(), Some("FAILED"));
    assert_eq!(
        world.lead_says("Ada", "crmError").as_deref(),
        Some("Bigin did not accept the lead (RECORD_LOCKED)")
    );
    let story = world.story("Ada").await;
    assert_eq!(story[story.len() - 3..], ["attempt_failed", "rejected", "written_back"]);
    world.bigin.model().clear_faults();
    world.finish().await;
}

#[actix_web::test]
async fn rejection_alone_does_not_count() {
    let world = World::new().await;
    world.fail_bigin(CallKind::Upsert, refused(), 3);
    world.request(lead("Ada")).await;
    for _ in 0..3 {
        world.run_due().await;
        assert_eq!(world.state("Ada").await, "requested");
        assert_eq!(world.sync("Ada").await.sync.attempts.backoff_total, Duration::ZERO);
        world.clock.advance(secs(300));
    }
    world.run_to_the_end().await;
    assert_eq!(world.lead_says("Ada", "crmStatus").as_deref(), Some("SENT"));
    world.finish().await;
}

#[actix_web::test]
async fn rejection_counts_after_others_succeed() {
    let world = World::new().await;
    world.fail_bigin(CallKind::Upsert, refused(), 1);
    world.request(lead("Ada")).await;
    world.run_due().await;
    world.request(lead("Grace")).await;
    while world.state("Grace").await == "requested" {
        world.clock.advance(Duration::from_millis(100));
        workers::step(&world.app.context, Stage::Upsert).await.unwrap();
    }
    world.fail_bigin(CallKind::Upsert, refused(), 1);
    world.run_to_the_end().await;
    assert_eq!(world.lead_says("Ada", "crmStatus").as_deref(), Some("FAILED"));
    assert_eq!(world.lead_says("Grace", "crmStatus").as_deref(), Some("SENT"));
    world.finish().await;
}

#[actix_web::test]
async fn rejected_call_fails_no_lead() {
    let world = World::new().await;
    world.fail_bigin(CallKind::Upsert, refused_as_a_whole(), 2);
    for number in 0..100 {
        world.request(lead(&format!("Lead{number}"))).await;
    }
    world.run_to_the_end().await;
    assert_eq!(world.ledger().await.sent, 100);
    world.finish().await;
}

#[actix_web::test]
async fn rejection_of_all_is_the_services() {
    for code in ["NO_PERMISSION", "INTERNAL_ERROR", "LIMIT_EXCEEDED"] {
        let world = World::new().await;
        let fault = || Fault::EveryRecord(code.to_owned());
        world.fail_bigin(CallKind::Upsert, fault(), usize::MAX);
        for name in ["Ada", "Grace", "Barbara"] {
            world.request(lead(name)).await;
        }
        for _ in 0..48 {
            world.pass(secs(3_600)).await;
        }
        let breakers = world.store().open_breakers().await.unwrap();
        assert_eq!(breakers[0].open.as_ref().unwrap().code, code);
        for name in ["Ada", "Grace", "Barbara"] {
            let failures = world.sync(name).await.sync.attempts;
            assert_eq!(failures.backoff_total, Duration::ZERO, "{code}: no attempt counts");
        }
        world.bigin.model().clear_faults();
        world.run_to_the_end().await;
        assert_eq!(world.ledger().await.sent, 3, "{code}");
        world.finish().await;
    }
}

#[actix_web::test]
async fn poison_contact_delays_no_other_tag() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    for number in 0..10 {
        world.request(lead(&format!("Lead{number}"))).await;
    }
    world.run_due().await;
    let ada = world
        .bigin
        .model()
        .contact_by_email("ada@example.org")
        .unwrap()
        .0
        .to_owned();
    world.bigin.model().switches.poison = Some(ada);
    world.pass(secs(15)).await;
    for _ in 0..5 {
        world.pass(secs(2)).await;
    }
    for number in 0..10 {
        assert_eq!(world.state(&format!("Lead{number}")).await, "sent", "Lead{number}");
    }
    assert!(
        world.sync("Ada").await.sync.attempts.count > 0,
        "only the culprit is blamed"
    );
    world.bigin.model().switches.poison = None;
    world.run_to_the_end().await;
    assert_eq!(world.ledger().await.sent, 11);
    world.finish().await;
}

#[actix_web::test]
async fn untaggable_contact_delays_no_other() {
    let world = World::new().await;
    for name in ["Ada", "Grace", "Edsger", "Barbara"] {
        world.request(lead(name)).await;
    }
    world.run_due().await;
    let contact = world.sync("Ada").await.sync.state.contact().unwrap().to_string();
    world.bigin.model().switches.poison = Some(contact);
    world.pass(secs(15)).await;
    for _ in 0..5 {
        world.pass(secs(2)).await;
    }
    for name in ["Grace", "Edsger", "Barbara"] {
        assert_eq!(world.state(name).await, "sent", "{name}");
    }
    assert_eq!(world.state("Ada").await, "upserted");
    world.bigin.model().switches.poison = None;
    world.run_to_the_end().await;
    world.finish().await;
}

#[actix_web::test]
async fn rejected_tag_call_is_halved() {
    let world = World::new().await;
    for number in 0..8 {
        world.request(lead(&format!("Lead{number}"))).await;
    }
    world.run_due().await;
    let refused = Fault::BodyError {
        status: 400,
        code: "INVALID_DATA".into(),
        message: "the request is not valid".into(),
    };
    world.fail_bigin(CallKind::AddTags, refused, 1);
    world.pass(secs(15)).await;
    assert_eq!(world.ledger().await.sent, 8);
    world.finish().await;
}
