//! Time passes during calls to Bigin: they hang, or are slow per record.

use std::time::Duration;

use bigin_sync::domain::failure::Remote;
use bigin_sync::fake::bigin::{Call, CallKind, Change, Fault};
use serde_json::json;

use crate::world::{World, lead, secs, with};

/// A call is given up after two seconds, and this is longer.
pub const HANG: Duration = Duration::from_millis(2_300);

/// A world in which everything is as in the real one, but faster.
pub async fn fast() -> World {
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
async fn hanging_lead_delays_no_other() {
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
async fn hanging_tag_delays_no_other() {
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
async fn hanging_lead_travels_alone() {
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
async fn outage_keeps_batch_size() {
    let world = World::new().await;
    world.fail_bigin(CallKind::Upsert, Fault::Html(503), usize::MAX);
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
async fn only_probes_while_every_call_hangs() {
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
async fn batch_size_follows_pace() {
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

#[actix_web::test]
async fn unanswered_calls_cost_credits() {
    let world = World::new().await;
    world.fail_bigin(CallKind::Upsert, Fault::LostReply, 1);
    world.request(lead("Ada")).await;
    world.run_due().await;
    let used = world.bigin.model().credits_used();
    assert_eq!(world.store().overview().await.unwrap().credits, u64::from(used));
    world.run_to_the_end().await;
    world.finish().await;
}
