//! A Bigin that is slow, hangs, applies late or contradicts itself: time passes while its calls are under way.

use std::time::Duration;

use bigin_sync::domain::failure::Remote;
use bigin_sync::fake::bigin::{Call, CallKind, Change, Fault};
use bigin_sync::store::Stage;
use serde_json::json;

use crate::world::{World, id, lead, secs, with};

/// A call is given up after two seconds, and this is longer.
const HANG: Duration = Duration::from_millis(2_300);

/// A world in which everything is as in the real one, but faster.
async fn fast() -> World {
    World::with(|settings| {
        settings.lease_duration = secs(3);
        settings.tag_delay = secs(1);
        settings.retry.max_delay = secs(1);
        settings.retry.give_up_after = secs(4);
        settings.ambiguity_delay = secs(3);
    })
    .await
}

fn hangs(world: &World, text: &str) {
    world.bigin.model().switches.hangs.insert(text.into(), HANG);
}

fn upserts(world: &World) -> Vec<Call> {
    let model = world.bigin.model();
    let is_upsert = |call: &&Call| matches!(call.kind, CallKind::Upsert | CallKind::Update);
    model.calls.iter().filter(is_upsert).cloned().collect()
}

#[actix_web::test]
async fn healthy_leads_flow_beside_one_that_hangs() {
    let world = fast().await;
    hangs(&world, "Poison Lane");
    world
        .request(with(lead("Ada"), json!({ "address": "Poison Lane" })))
        .await;
    let others = ["Grace", "Edsger", "Barbara", "Hedy"];
    for name in others {
        world.request(lead(name)).await;
    }
    let live = world.live();
    world.until("sent", &others).await;
    world.request(lead("Radia")).await;
    world.until("sent", &["Radia"]).await;
    // Others have been accepted since, so that it is given up.
    for name in ["Karen", "Joan", "Frances"] {
        world.request(lead(name)).await;
        world.until("sent", &[name]).await;
    }
    world.until("failed", &["Ada"]).await;
    live.stop().await;
    assert_eq!(
        world.lead_says("Ada", "crmError").as_deref(),
        Some("Bigin did not answer in time (timeout)")
    );
    world.finish().await;
}

#[actix_web::test]
async fn tags_are_added_beside_a_lead_that_hangs() {
    let world = fast().await;
    let waiting = ["Grace", "Edsger", "Barbara"];
    for name in waiting {
        world.request(lead(name)).await;
    }
    world.run_due().await;
    hangs(&world, "Poison Lane");
    for number in 0..4 {
        let lead = with(lead(&format!("Ada{number}")), json!({ "address": "Poison Lane" }));
        world.request(lead).await;
    }
    let live = world.live();
    world.until("sent", &waiting).await;
    assert_ne!(world.state("Ada0").await, "failed", "the hanging leads are still there");
    world.bigin.model().switches.hangs.clear();
    world.until("sent", &["Ada0", "Ada1", "Ada2", "Ada3"]).await;
    live.stop().await;
    world.finish().await;
}

#[actix_web::test]
async fn lead_that_hung_alone_travels_alone() {
    let world = fast().await;
    hangs(&world, "Poison Lane");
    world
        .request(with(lead("Ada"), json!({ "address": "Poison Lane" })))
        .await;
    let live = world.live();
    world.until_it_failed("Ada").await;
    assert_eq!(world.sync("Ada").await.sync.bisect_limit, Some(1));
    let names: Vec<String> = (0..8).map(|number| format!("Lead{number}")).collect();
    for name in &names {
        world.request(lead(name)).await;
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    world.until("sent", &names).await;
    for name in names {
        let story = world.story(name).await;
        assert!(!story.contains(&"ambiguous".to_owned()), "{name}: {story:?}");
    }
    world.bigin.model().switches.hangs.clear();
    world.until("sent", &["Ada"]).await;
    live.stop().await;
    world.finish().await;
}

#[actix_web::test]
async fn outage_of_probes_leaves_the_batch_size() {
    let world = World::new().await;
    world
        .bigin
        .model()
        .fail_next(CallKind::Upsert, Fault::Html(503), usize::MAX);
    for number in 0..5 {
        world.request(lead(&format!("Probe{number}"))).await;
        world.pass(secs(600)).await;
    }
    world.bigin.model().clear_faults();
    world.run_to_the_end().await;
    let before = upserts(&world).len();
    for number in 0..50 {
        world.request(lead(&format!("Lead{number}"))).await;
    }
    world.run_due().await;
    assert_eq!(upserts(&world).len(), before + 1, "fifty in one call");
    world.run_to_the_end().await;
    world.finish().await;
}

#[actix_web::test]
async fn only_probes_are_sent_while_every_call_hangs() {
    let world = fast().await;
    hangs(&world, "@example.org");
    let names: Vec<String> = (0..12).map(|number| format!("Lead{number}")).collect();
    for name in &names {
        world.request(lead(name)).await;
    }
    let live = world.live();
    let opened = async {
        while upserts(&world).len() < 4 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(secs(60), opened).await.unwrap();
    let calls = upserts(&world);
    assert_eq!(calls[0].records, 12);
    assert!(calls[1..].iter().all(|call| call.records == 1), "{calls:?}");
    let breakers = world.store().open_breakers().await.unwrap();
    assert_eq!(breakers.len(), 1);
    assert_eq!(breakers[0].remote, Remote::Bigin);
    assert_eq!(breakers[0].open.as_ref().unwrap().code, "timeout");
    let (status, body) = world.get("/readyz").await;
    assert_eq!((status, &body["status"]), (200, &json!("degraded")), "{body}");
    for name in &names {
        assert_eq!(
            world.sync(name).await.sync.attempts.backoff_total,
            Duration::ZERO,
            "no attempt counts"
        );
    }
    world.bigin.model().switches.hangs.clear();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    world.until("sent", &names).await;
    live.stop().await;
    world.finish().await;
}

#[actix_web::test]
async fn slow_bigin_gets_batches_that_it_can_do() {
    const LEADS: usize = 400;
    let world = fast().await;
    // A hundred records take longer than a call may.
    world.bigin.model().switches.per_record = Duration::from_millis(30);
    let names: Vec<String> = (0..LEADS).map(|number| format!("Lead{number}")).collect();
    for name in &names {
        let lead = with(lead(name), json!({ "crmStatus": "REQUESTED" }));
        world.sanity.model().publish(lead).unwrap();
    }
    world.deliver().await;
    let live = world.live();
    let done = async {
        while world.ledger().await.sent < u64::try_from(LEADS).unwrap() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(secs(120), done).await.unwrap();
    live.stop().await;
    let records: usize = upserts(&world).iter().map(|call| call.records).sum();
    assert!(10 * records <= 13 * LEADS, "{records} records for {LEADS} leads");
    {
        let model = world.bigin.model();
        let inserted = model
            .changes
            .iter()
            .filter(|change| matches!(change, Change::Upserted { .. }));
        assert!(inserted.count() >= LEADS);
        assert_eq!(model.contacts().count(), LEADS, "none twice");
    }
    world.finish_after_late_upserts().await;
}

/// Without an email, so that no unique value finds the contact.
fn without_email(name: &str) -> serde_json::Value {
    with(lead(name), json!({ "emailAddress": null }))
}

#[actix_web::test]
async fn insert_applied_after_the_deadline_is_found() {
    let world = fast().await;
    world.request(without_email("Ada")).await;
    let late = Fault::Stall(HANG + secs(1));
    world.bigin.model().fail_next(CallKind::Upsert, late, 1);
    world.run(Stage::Upsert).await;
    let looks = world.bigin.model().count(CallKind::Coql);
    assert_eq!(world.bigin.model().contacts().count(), 0, "not applied yet");
    world.clock.advance(Duration::from_millis(2_900));
    // Nothing shortens the wait.
    let sync = world.sync("Ada").await.sync;
    world.post(&format!("/api/syncs/{}/retry", sync.id), json!({})).await;
    world.run(Stage::Upsert).await;
    assert_eq!(world.bigin.model().count(CallKind::Coql), looks, "not looked up before");
    assert_eq!(world.bigin.model().count(CallKind::Upsert), 1, "and not sent");
    tokio::time::sleep(secs(2)).await;
    assert_eq!(world.bigin.model().contacts().count(), 1, "applied late");
    world.run_to_the_end().await;
    assert_eq!(world.state("Ada").await, "sent");
    assert_eq!(world.bigin.model().contacts().count(), 1, "and not twice");
    world.finish().await;
}

#[actix_web::test]
async fn late_insert_is_found_by_the_next_sync() {
    let world = fast().await;
    world.request(without_email("Ada")).await;
    let late = Fault::Stall(HANG + secs(1));
    world.bigin.model().fail_next(CallKind::Upsert, late, 1);
    world.run(Stage::Upsert).await;
    let sync = world.sync("Ada").await.sync;
    let (status, _) = world.post(&format!("/api/syncs/{}/cancel", sync.id), json!({})).await;
    assert_eq!(status, 200);
    world.post("/api/syncs", json!({ "leadId": id("Ada") })).await;
    world.run(Stage::Upsert).await;
    assert_eq!(
        world.bigin.model().count(CallKind::Upsert),
        1,
        "the ambiguity is the lead's"
    );
    tokio::time::sleep(secs(2)).await;
    world.run_to_the_end().await;
    assert_eq!(world.bigin.model().contacts().count(), 1);
    world.finish().await;
}

#[actix_web::test]
async fn insert_is_not_sent_again_before_it_settled_after_a_crash() {
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
    assert_eq!(world.bigin.model().count(CallKind::Coql), 0);
    world.pass(secs(3)).await;
    assert_eq!(world.state("Ada").await, "upserted");
    world.run_to_the_end().await;
    world.finish().await;
}

#[actix_web::test]
async fn ambiguous_insert_is_looked_up_before_it_is_given_up() {
    let world = World::with(|settings| settings.retry.give_up_after = Duration::ZERO).await;
    world.bigin.model().fail_next(CallKind::Upsert, Fault::NoReply, 1);
    world.request(without_email("Ada")).await;
    world.run_due().await;
    world.request(lead("Barbara")).await;
    world.pass(secs(2)).await;
    assert_eq!(world.state("Barbara").await, "upserted");
    // Another was accepted since the first failure, so that the second is the lead's own, and the last.
    world.bigin.model().fail_next(CallKind::Upsert, Fault::LostReply, 1);
    world.pass(secs(130)).await;
    assert_eq!(world.state("Ada").await, "requested", "not before its look-up");
    world.run_to_the_end().await;
    assert_eq!(world.state("Ada").await, "sent", "the look-up has found the contact");
    assert_eq!(world.bigin.model().contacts().count(), 2);
    world.finish().await;
}

#[actix_web::test]
async fn contact_that_is_gone_and_there_by_turns_is_given_up() {
    let world = World::new().await;
    let gone = Fault::EveryRecord("RECORD_NOT_FOUND".into());
    world.bigin.model().fail_next(CallKind::AddTags, gone, usize::MAX);
    world.request(lead("Ada")).await;
    world.run_to_the_end().await;
    assert_eq!(world.state("Ada").await, "failed");
    assert_eq!(
        world.lead_says("Ada", "crmError").as_deref(),
        Some("Bigin accepted the lead, and then reported that its contact does not exist")
    );
    let calls = world.bigin.model().calls.len();
    assert!(calls < 1_500, "{calls} calls in a day");
    world.bigin.model().clear_faults();
    world.finish().await;
}

#[actix_web::test]
async fn refusal_of_every_record_is_the_services() {
    for code in ["NO_PERMISSION", "INTERNAL_ERROR", "LIMIT_EXCEEDED"] {
        let world = World::new().await;
        let fault = || Fault::EveryRecord(code.to_owned());
        world.bigin.model().fail_next(CallKind::Upsert, fault(), usize::MAX);
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
async fn thirty_bad_leads_hold_no_healthy_one_back() {
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
async fn calls_without_an_answer_cost_credits() {
    let world = World::new().await;
    world.bigin.model().fail_next(CallKind::Upsert, Fault::LostReply, 1);
    world.request(lead("Ada")).await;
    world.run_due().await;
    let used = world.bigin.model().credits_used();
    assert_eq!(world.store().overview().await.unwrap().credits, u64::from(used));
    world.run_to_the_end().await;
    world.finish().await;
}

#[actix_web::test]
async fn known_fields_outlive_a_missing_permission() {
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
async fn number_that_many_contacts_have_hides_no_other() {
    let world = World::new().await;
    let contact = |phone: &str| {
        let fields = [
            ("Last_Name".to_owned(), json!("Other")),
            ("Phone".to_owned(), json!(phone)),
        ];
        world.bigin.model().add_contact(fields.into())
    };
    for _ in 0..250 {
        contact("+447700900001");
    }
    let own = contact("+447700900002");
    let with_phone = |name: &str, phone: &str| with(without_email(name), json!({ "phoneNumber": phone }));
    world.request(with_phone("Ada", "07700 900001")).await;
    world.request(with_phone("Grace", "07700 900002")).await;
    world.run_to_the_end().await;
    assert_eq!(world.lead_says("Grace", "biginContactId"), Some(own));
    assert_eq!(world.bigin.model().contacts().count(), 251, "none is created");
    world.finish().await;
}
