//! Webhooks of Sanity: what is stored, coalesced, recognised as a duplicate, ignored or answered with 503.

use std::time::Duration;

use bigin_sync::clock::Clock;
use bigin_sync::domain::lead::LeadId;
use bigin_sync::signature::{self, sign};
use bigin_sync::store::{Accepted, Delivery};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::world::{World, answer, client, lead, secs, with};

mod payloads;
mod signatures;

/// A signed webhook, as Sanity sends it.
async fn post(world: &World, body: &str, key: Option<&str>) -> (u16, Value) {
    let timestamp = u64::try_from(world.clock.now().as_millisecond()).unwrap();
    let signature = sign(body.as_bytes(), timestamp, world.sanity.webhook_secret().as_bytes());
    post_with(world, body.as_bytes().to_vec(), &[(signature::HEADER, &signature)], key).await
}

async fn post_with(world: &World, body: Vec<u8>, headers: &[(&str, &str)], key: Option<&str>) -> (u16, Value) {
    let mut request = client().post(format!("{}/webhooks/sanity", world.url)).body(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    answer(request).await
}

fn payload(rev: &str) -> String {
    json!({ "_id": "lead-ada", "_type": "dbrLead", "_rev": rev, "_updatedAt": "2026-11-22T10:00:00Z", "crmStatus": "REQUESTED" })
        .to_string()
}

pub fn delivery(lead: &str, rev: String) -> Delivery {
    Delivery {
        key: None,
        lead: LeadId::parse(lead).unwrap(),
        rev: Some(rev),
        updated_at: None,
    }
}

/// A good webhook for a lead that nobody knows, not yet sent.
pub fn webhook(world: &World, lead: &str) -> reqwest::RequestBuilder {
    let body = json!({ "_id": lead, "_type": "dbrLead", "_rev": "r", "crmStatus": "REQUESTED" }).to_string();
    signed(world, body)
}

pub fn signed(world: &World, body: String) -> reqwest::RequestBuilder {
    let now = u64::try_from(world.clock.now().as_millisecond()).unwrap();
    let header = sign(body.as_bytes(), now, world.sanity.webhook_secret().as_bytes());
    let request = client().post(format!("{}/webhooks/sanity", world.url));
    request.header(signature::HEADER, header).body(body)
}

#[actix_web::test]
async fn creates_sync_then_coalesces() {
    let world = World::new().await;
    world
        .sanity
        .model()
        .seed(with(lead("Ada"), json!({ "crmStatus": "REQUESTED" })))
        .unwrap();
    assert_eq!(
        post(&world, &payload("r1"), Some("k1")).await,
        (202, json!({ "result": "created", "sync": 1 }))
    );
    assert_eq!(
        post(&world, &payload("r2"), Some("k2")).await,
        (202, json!({ "result": "coalesced", "sync": 1 }))
    );
    assert_eq!(world.sync("Ada").await.sync.requests.count, 2);
    world.run_to_the_end().await;
    let ledger = world.ledger().await;
    assert_eq!(
        (
            ledger.accepted,
            ledger.created,
            ledger.coalesced_by_webhook,
            ledger.sent
        ),
        (2, 1, 1, 1)
    );
    world.finish().await;
}

#[actix_web::test]
async fn recognises_duplicates() {
    let no_rev = json!({ "_id": "lead-ada", "crmStatus": "REQUESTED" }).to_string();
    let empty_rev = json!({ "_id": "lead-ada", "_rev": "" }).to_string();
    let cases = [
        (
            "the same delivery",
            (payload("r1"), Some("k1")),
            (payload("r1"), Some("k1")),
            "duplicate",
        ),
        (
            "the same revision under another key",
            (payload("r1"), Some("k1")),
            (payload("r1"), Some("k2")),
            "duplicate",
        ),
        (
            "the same revision without a key",
            (payload("r1"), None),
            (payload("r1"), None),
            "duplicate",
        ),
        (
            "another revision under a forged key",
            (payload("r1"), Some("k1")),
            (payload("r2"), Some("k1")),
            "coalesced",
        ),
        (
            "no revision, the same key",
            (no_rev.clone(), Some("k1")),
            (no_rev.clone(), Some("k1")),
            "duplicate",
        ),
        (
            "no revision, another key",
            (no_rev.clone(), Some("k1")),
            (no_rev.clone(), Some("k2")),
            "coalesced",
        ),
        (
            "no revision, no key",
            (no_rev.clone(), None),
            (no_rev, None),
            "coalesced",
        ),
        (
            "an empty revision is none",
            (empty_rev.clone(), Some("k1")),
            (empty_rev, Some("k2")),
            "coalesced",
        ),
    ];
    for (label, (first, first_key), (second, second_key), expected) in cases {
        let world = World::new().await;
        assert_eq!(post(&world, &first, first_key).await.0, 202, "{label}");
        let (status, body) = post(&world, &second, second_key).await;
        assert_eq!(body["result"], expected, "{label}");
        assert_eq!(status, if expected == "duplicate" { 200 } else { 202 }, "{label}");
        world.run_to_the_end().await;
        world.finish().await;
    }
}

#[actix_web::test]
async fn duplicate_after_end_creates_no_sync() {
    let world = World::new().await;
    world.sanity.model().webhooks.repeat_next(1);
    world.request(lead("Ada")).await;
    world.run_to_the_end().await;
    let ledger = world.ledger().await;
    assert_eq!((ledger.accepted, ledger.created, ledger.duplicates), (2, 1, 1));
    world.finish().await;
}

#[actix_web::test]
async fn concurrent_duplicates_create_one_sync() {
    let world = World::new().await;
    let body = payload("r1");
    let posts = (0..20).map(|_| post(&world, &body, Some("k1")));
    let answers = futures_util::future::join_all(posts).await;
    let opened = answers.iter().filter(|(status, _)| *status == 202).count();
    let repeated = answers.iter().filter(|(status, _)| *status == 200).count();
    assert_eq!((opened, repeated), (1, 19));
    world.run_to_the_end().await;
    world.finish().await;
}

#[actix_web::test]
async fn lost_or_late_webhook_creates_no_second_sync() {
    let world = World::new().await;
    world.sanity.model().webhooks.repeat_next(2);
    world.sanity.model().webhooks.reorder = true;
    for name in ["Ada", "Grace"] {
        world
            .sanity
            .model()
            .publish(with(lead(name), json!({ "crmStatus": "REQUESTED" })))
            .unwrap();
    }
    world.deliver().await;
    world.run_to_the_end().await;
    let ledger = world.ledger().await;
    assert_eq!(
        (ledger.accepted, ledger.created, ledger.duplicates, ledger.sent),
        (4, 2, 2, 2)
    );
    world.finish().await;
}

#[actix_web::test]
async fn ignores_other_documents() {
    let world = World::new().await;
    let good = json!({ "_id": "lead-ada", "_type": "dbrLead", "crmStatus": "REQUESTED" });
    let cases = [
        ("a draft", json!({ "_id": "drafts.lead-ada" })),
        ("a version", json!({ "_id": "versions.rSpring.lead-ada" })),
        ("another type", json!({ "_type": "post" })),
        ("another status", json!({ "crmStatus": "SENT" })),
    ];
    for (label, change) in cases {
        let (status, body) = post(&world, &with(good.clone(), change).to_string(), None).await;
        assert_eq!((status, &body["result"]), (200, &json!("ignored")), "{label}");
    }
    assert_eq!(world.ledger().await.accepted, 0);
    world.finish().await;
}

#[actix_web::test]
async fn locked_database_answers_503() {
    let world = World::new().await;
    world
        .sanity
        .model()
        .seed(with(lead("Ada"), json!({ "crmStatus": "REQUESTED" })))
        .unwrap();
    let blocker = rusqlite::Connection::open(world.folder().join("bigin-sync.db")).unwrap();
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (status, problem) = post(&world, &payload("r1"), Some("k1")).await;
    assert_eq!(status, 503);
    assert_eq!(problem["error"], "The database failed, so nothing can be stored.");
    assert_eq!(world.get("/readyz").await.0, 503);
    blocker.execute_batch("ROLLBACK").unwrap();
    world.clock.advance(secs(1));
    assert_eq!(world.get("/readyz").await.0, 200);
    assert_eq!(
        post(&world, &payload("r1"), Some("k1")).await.0,
        202,
        "the retry is no repeat: nothing was stored"
    );
    world.run_to_the_end().await;
    world.finish().await;
}

#[actix_web::test]
async fn full_write_queue_answers_503() {
    let world = World::new().await;
    let blocker = rusqlite::Connection::open(world.folder().join("bigin-sync.db")).unwrap();
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    let leads: Vec<String> = (0..6000).map(|number| format!("gone-{number}")).collect();
    let fill = leads
        .iter()
        .map(|lead| world.store().accept(delivery(lead, "r".into())));
    let refused = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let response = webhook(&world, "lead-late").send().await.unwrap();
        blocker.execute_batch("ROLLBACK").unwrap();
        response
    };
    let (filled, refused) = tokio::join!(futures_util::future::join_all(fill), refused);
    assert_eq!(refused.status().as_u16(), 503);
    let wait: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    assert_eq!(answer(webhook(&world, "lead-late")).await.0, 202, "there is room again");
    let stored = filled
        .iter()
        .filter(|answer| matches!(answer, Ok(Accepted::Created(_))))
        .count();
    assert!((4096..6000).contains(&stored), "{stored}");
    assert_eq!(world.ledger().await.created, u64::try_from(stored).unwrap() + 1);
    world.run_to_the_end().await;
    world.finish().await;
}

#[actix_web::test]
async fn request_10000_is_as_fast_as_the_first() {
    let world = World::new().await;
    let thousand = async |from: usize| {
        let started = Instant::now();
        let deliveries = (from..from + 1000).map(|number| world.store().accept(delivery("gone", format!("r{number}"))));
        for accepted in futures_util::future::join_all(deliveries).await {
            assert!(matches!(
                accepted.unwrap(),
                Accepted::Created(_) | Accepted::Coalesced(_)
            ));
        }
        started.elapsed()
    };
    let mut took = Vec::new();
    for from in 0..10 {
        took.push(thousand(from * 1000).await);
    }
    // The fastest of the last: something else may have kept the machine.
    let (first, last) = (took[0], *took[7..].iter().min().unwrap());
    // What grows with the number of requests would take ten to nineteen times as long.
    assert!(
        last < first * 5 + Duration::from_millis(200),
        "{first:?}, then {last:?}"
    );
    let ledger = world.ledger().await;
    assert_eq!((ledger.created, ledger.coalesced_by_webhook), (1, 9_999));
    world.run_to_the_end().await;
    assert_eq!(world.ledger().await.lead_deleted, 1);
    world.finish().await;
}
