//! Webhooks as they come in: good, bad, repeated, joining, and while nothing can be stored.

use std::time::Duration;

use bigin_sync::clock::Clock;
use bigin_sync::signature::{self, sign};
use serde_json::{Value, json};

use crate::world::{World, answer, client, id, lead, secs, with};

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

#[actix_web::test]
async fn a_good_webhook_opens_a_sync_and_a_second_one_joins_it() {
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
async fn what_counts_as_a_repeat() {
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
async fn a_repeat_after_the_sync_has_ended_opens_no_second_one() {
    let world = World::new().await;
    world.sanity.model().webhooks.repeat_next(1);
    world.request(lead("Ada")).await;
    world.run_to_the_end().await;
    let ledger = world.ledger().await;
    assert_eq!((ledger.accepted, ledger.created, ledger.duplicates), (2, 1, 1));
    world.finish().await;
}

#[actix_web::test]
async fn the_same_webhook_many_times_at_once_opens_one_sync() {
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
async fn what_is_none_of_ours_is_acknowledged_and_not_stored() {
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
async fn a_payload_without_a_status_is_good_since_the_lead_is_read_anyway() {
    let world = World::new().await;
    world
        .sanity
        .model()
        .seed(with(lead("Ada"), json!({ "crmStatus": "REQUESTED" })))
        .unwrap();
    world.sanity.model().seed(lead("Grace")).unwrap();
    for name in ["Ada", "Grace"] {
        assert_eq!(post(&world, &json!({ "_id": id(name) }).to_string(), None).await.0, 202);
    }
    world.run_to_the_end().await;
    assert_eq!(world.state("Ada").await, "sent");
    assert_eq!(
        world.state("Grace").await,
        "cancelled",
        "her own status does not ask for it"
    );
    world.finish().await;
}

#[actix_web::test]
async fn a_time_that_is_none_costs_no_request() {
    let world = World::new().await;
    let odd = json!({ "_id": "lead-ada", "_rev": "r1", "_updatedAt": "yesterday" }).to_string();
    assert_eq!(post(&world, &odd, None).await.0, 202);
    world.run_to_the_end().await;
    world.finish().await;
}

#[actix_web::test]
async fn what_is_malformed_is_400_and_says_why() {
    let world = World::new().await;
    let bodies = [
        "null",
        "3",
        "\"text\"",
        "[]",
        "{}",
        "{",
        "{\"_id\": 3}",
        "{\"_id\": \"\"}",
        "{\"_id\": \"a b\"}",
        "{\"_id\": \"a\", \"_rev\": 7}",
    ];
    for body in bodies {
        let (status, problem) = post(&world, body, None).await;
        assert_eq!(status, 400, "{body}");
        assert!(
            problem["detail"].as_str().unwrap().contains("projection"),
            "{body}: {problem}"
        );
    }
    world.finish().await;
}

#[actix_web::test]
async fn a_bad_signature_is_refused_before_anything_is_parsed() {
    let world = World::new().await;
    let body = payload("r1");
    let timestamp = u64::try_from(world.clock.now().as_millisecond()).unwrap();
    let secret = world.sanity.webhook_secret().as_bytes();
    let good = sign(body.as_bytes(), timestamp, secret);
    let other = sign(body.as_bytes(), timestamp, b"another secret");
    let changed = sign(b"{}", timestamp, secret);
    let spaced = good.replace(",v1", ", v1");
    let cases: [(_, Vec<(&str, &str)>, _); 7] = [
        ("no header", vec![], 401),
        ("another secret", vec![(signature::HEADER, &other)], 401),
        ("another body", vec![(signature::HEADER, &changed)], 401),
        ("another spelling", vec![(signature::HEADER, &spaced)], 401),
        ("an empty header", vec![(signature::HEADER, "")], 400),
        (
            "seconds",
            vec![(
                signature::HEADER,
                "t=1633519811,v1=tLa470fx7qkLLEcMOcEUFuBbRSkGujyskxrNXcoh0N0",
            )],
            400,
        ),
        (
            "two headers",
            vec![(signature::HEADER, &good), (signature::HEADER, &good)],
            400,
        ),
    ];
    for (label, headers, expected) in cases {
        let (status, problem) = post_with(&world, body.clone().into_bytes(), &headers, None).await;
        assert_eq!(status, expected, "{label}: {problem}");
        assert_eq!(
            problem["title"],
            if expected == 400 { "Bad Request" } else { "Unauthorized" }
        );
    }
    let (status, _) = post_with(&world, b"no JSON".to_vec(), &[(signature::HEADER, &good)], None).await;
    assert_eq!(status, 401, "whether it can be parsed is not looked at");
    assert_eq!(world.ledger().await.accepted, 0);
    world.finish().await;
}

#[actix_web::test]
async fn both_secrets_are_good_while_they_are_rotated() {
    let world =
        World::with(|settings| settings.webhook.secret_previous = Some("the one before".to_owned().into())).await;
    let body = payload("r1");
    let timestamp = u64::try_from(world.clock.now().as_millisecond()).unwrap();
    let previous = sign(body.as_bytes(), timestamp, b"the one before");
    assert_eq!(
        post_with(&world, body.into_bytes(), &[(signature::HEADER, &previous)], None)
            .await
            .0,
        202
    );
    assert_eq!(post(&world, &payload("r2"), None).await.0, 202);
    world.run_to_the_end().await;
    world.finish().await;
}

#[actix_web::test]
async fn an_old_signature_is_good_unless_an_age_is_set() {
    for (max_age, expected) in [(None, 202), (Some(secs(3600)), 401)] {
        let world = World::with(|settings| settings.webhook.max_age = max_age).await;
        let body = payload("r1");
        let yesterday = u64::try_from(world.clock.now().as_millisecond()).unwrap() - 86_400_000;
        let old = sign(body.as_bytes(), yesterday, world.sanity.webhook_secret().as_bytes());
        let (status, _) = post_with(&world, body.into_bytes(), &[(signature::HEADER, &old)], None).await;
        assert_eq!(status, expected);
        world.run_to_the_end().await;
        world.finish().await;
    }
}

#[actix_web::test]
async fn a_webhook_without_a_projection_may_be_as_large_as_a_lead_and_no_larger() {
    let world = World::new().await;
    let whole = |size: usize| {
        with(
            lead("Ada"),
            json!({ "crmStatus": "REQUESTED", "notes": "x".repeat(size) }),
        )
        .to_string()
    };
    assert_eq!(post(&world, &whole(7 * 1024 * 1024), None).await.0, 202);
    let (status, problem) = post(&world, &whole(8 * 1024 * 1024), None).await;
    assert_eq!(status, 413);
    assert!(problem["detail"].as_str().unwrap().contains("projection"));
    world.run_to_the_end().await;
    world.finish().await;
}

#[actix_web::test]
async fn while_another_connection_holds_the_file_webhooks_are_told_to_come_again() {
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
async fn other_methods_and_addresses_are_problems_too() {
    let world = World::new().await;
    for (path, expected) in [("/webhooks/sanity", 405), ("/nothing", 404), ("/api/nothing", 404)] {
        let (status, problem) = world.get(path).await;
        assert_eq!(
            (status, problem["status"].as_u64()),
            (expected, Some(u64::from(expected))),
            "{path}"
        );
    }
    tokio::time::timeout(Duration::from_secs(5), world.finish())
        .await
        .unwrap();
}
