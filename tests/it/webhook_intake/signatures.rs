//! The signature of a webhook: checked before anything else, over the body as it came.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use bigin_sync::clock::{Clock, after};
use bigin_sync::signature::{self, sign};
use serde_json::json;

use crate::connections::{answered, sent};
use crate::process::Stage as Program;
use crate::world::{World, answer, client, id, lead, secs};

use super::{payload, post, post_with};

/// A webhook signed by Sanity's clock, which is right.
async fn webhook(world: &World, lead: &str, signed_at: jiff::Timestamp) -> u16 {
    let body = json!({ "_id": lead, "_type": "dbrLead", "_rev": "r", "crmStatus": "REQUESTED" }).to_string();
    let signed_at = u64::try_from(signed_at.as_millisecond()).unwrap();
    let header = sign(body.as_bytes(), signed_at, world.sanity.webhook_secret().as_bytes());
    let request = client().post(format!("{}/webhooks/sanity", world.url));
    answer(request.header(signature::HEADER, header).body(body)).await.0
}

#[actix_web::test]
async fn rejected_before_parsing() {
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
async fn unsigned_rejected_before_body() {
    let world = World::new().await;
    let address = world.url.strip_prefix("http://").unwrap();
    let signature = "sanity-webhook-signature: t=1633519811129,v1=aaaa\r\n";
    for (headers, expected) in [
        (String::new(), "401 Unauthorized"),
        (format!("{signature}{signature}"), "400 Bad Request"),
        ("sanity-webhook-signature: v1=aaaa\r\n".to_owned(), "400 Bad Request"),
    ] {
        for length in ["content-length: 8000000", "transfer-encoding: chunked"] {
            let head = format!("POST /webhooks/sanity HTTP/1.1\r\nhost: x\r\n{headers}{length}\r\n\r\n");
            let mut stream = sent(address, head.as_bytes()).await;
            let said = answered(&mut stream).await;
            assert!(
                said.starts_with(&format!("HTTP/1.1 {expected}\r\n")),
                "{headers:?}: {said}"
            );
        }
    }
    let metrics = client().get(format!("{}/metrics", world.url)).send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    assert!(
        metrics.contains(r#"bigin_sync_webhook_answers_total{answer="rejected",code="400"} 4"#),
        "{metrics}"
    );
    world.finish().await;
}

#[actix_web::test]
async fn both_secrets_valid_during_rotation() {
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
async fn max_age_applies_only_if_set() {
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
async fn age_uses_wall_clock() {
    let world = World::with(|settings| settings.webhook.max_age = Some(secs(300))).await;
    let wall = world.clock.wall();
    // As after a life whose wall clock was an hour ahead.
    world.clock.not_before(after(wall, secs(3600)));
    assert_eq!(webhook(&world, "lead-a", wall).await, 202);
    assert_eq!(
        webhook(&world, "lead-b", after(wall, secs(7200))).await,
        202,
        "another clock may be ahead of ours"
    );
    let old = after(wall, secs(3600) + Duration::from_millis(1));
    world.clock.set_wall(after(old, secs(300)));
    assert_eq!(webhook(&world, "lead-c", old).await, 202);
    world.clock.set_wall(after(old, secs(301)));
    assert_eq!(webhook(&world, "lead-d", old).await, 401);
    world.run_to_the_end().await;
    world.finish().await;
}

#[actix_web::test]
async fn bad_signatures_are_logged_in_few_lines() {
    const STORM: usize = 10_000;
    let program = Program::new().await;
    let process = program.serve().await;
    let address = process.url.strip_prefix("http://").unwrap().to_owned();
    let storm = tokio::task::spawn_blocking(move || {
        let request = |connection: &str| {
            format!(
                "POST /webhooks/sanity HTTP/1.1\r\nhost: x\r\nconnection: {connection}\r\ncontent-length: 2\r\n{}: \
                 t=1633519811129,v1={}\r\n\r\n{{}}",
                signature::HEADER,
                "a".repeat(43)
            )
        };
        let mut stream = TcpStream::connect(address).unwrap();
        let mut reader = stream.try_clone().unwrap();
        let answers = std::thread::spawn(move || {
            let mut answers = String::new();
            reader.read_to_string(&mut answers).unwrap();
            answers.matches("HTTP/1.1 401").count()
        });
        let one = request("keep-alive");
        for _ in 1..STORM {
            stream.write_all(one.as_bytes()).unwrap();
        }
        stream.write_all(request("close").as_bytes()).unwrap();
        answers.join().unwrap()
    });
    program.request(lead("Ada")).await;
    program.until_status(&id("Ada"), "SENT").await;
    assert_eq!(storm.await.unwrap(), STORM);
    process.stop().await;
    let log = program.log();
    let lines = log.lines().filter(|line| line.contains("webhook rejected")).count();
    assert!((1..=14).contains(&lines), "{lines} lines for {STORM} bad signatures");
    program.finish().await;
}

/// Nobody can see from outside how long a comparison takes, so the source is looked at.
#[test]
fn compares_in_constant_time() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    for (file, comparison) in [
        ("src/crypto.rs", "one.ct_eq(other).into()"),
        (
            "src/signature.rs",
            "good |= crypto::is_equal(expected.as_bytes(), header);",
        ),
        (
            "src/http/auth.rs",
            "crypto::is_equal(&hash(given), &hash(self.token.expose_secret().as_bytes()))",
        ),
    ] {
        let source = std::fs::read_to_string(root.join(file)).unwrap();
        assert!(source.contains(comparison), "{file}");
    }
}
