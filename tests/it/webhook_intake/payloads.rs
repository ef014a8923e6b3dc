//! The body of a webhook: which are valid, how large they may be, and what is logged of a rejected one.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use bigin_sync::clock::Clock;
use bigin_sync::signature::{self, sign};
use serde_json::json;

use crate::process::Stage;
use crate::world::{World, answer, client, id, lead, secs, with};

use super::post;

#[actix_web::test]
async fn status_is_optional() {
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
async fn invalid_time_is_accepted() {
    let world = World::new().await;
    let odd = json!({ "_id": "lead-ada", "_rev": "r1", "_updatedAt": "yesterday" }).to_string();
    assert_eq!(post(&world, &odd, None).await.0, 202);
    world.run_to_the_end().await;
    world.finish().await;
}

#[actix_web::test]
async fn valid_if_it_names_a_lead() {
    let world = World::new().await;
    let cases: [(&str, u16); 12] = [
        (
            r#"{"_id":"lead-ada","_rev":null,"_type":null,"_updatedAt":null,"crmStatus":null}"#,
            202,
        ),
        (r#"{"_id":"lead-ada","_updatedAt":"2026-11-22T09:00:00.123456Z"}"#, 202),
        (r#"{"_id":"lead-ada","_updatedAt":"2026-11-22T11:00:00+02:00"}"#, 202),
        (r#"{"_id":"\u006cead-ada","half":"\ud83d"}"#, 202),
        (" {\"_id\":\"lead-ada\"}\n", 202),
        (r#"["lead-ada",null,null,null,"REQUESTED"]"#, 400),
        (r#"{"_id":"lead-ada","_id":"lead-grace"}"#, 400),
        ("\u{feff}{\"_id\":\"lead-ada\"}", 400),
        (r#"{"_id":"léad"}"#, 400),
        (r#"{"_id":"lead-ada"}{}"#, 400),
        (r#"{"_id":null}"#, 400),
        (r#"{"_id":"lead-ada","_updatedAt":"22/11/2026"}"#, 202),
    ];
    for (body, expected) in cases {
        let at = u64::try_from(world.clock.now().as_millisecond()).unwrap();
        let signature = sign(body.as_bytes(), at, world.sanity.webhook_secret().as_bytes());
        let request = client().post(format!("{}/webhooks/sanity", world.url));
        let (status, said) = answer(request.header(signature::HEADER, signature).body(body)).await;
        assert_eq!(status, expected, "{body}: {said}");
    }
    world.run_to_the_end().await;
    world.finish().await;
}

#[actix_web::test]
async fn malformed_answers_400() {
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
async fn truncated_body_answers_503() {
    let world = World::new().await;
    let mut stream = TcpStream::connect(world.url.strip_prefix("http://").unwrap()).unwrap();
    stream.set_read_timeout(Some(secs(5))).unwrap();
    let head = "POST /webhooks/sanity HTTP/1.1\r\nhost: x\r\nsanity-webhook-signature: t=1633519811129,v1=a\r\n\
                content-length: 9\r\n\r\n{";
    let read = tokio::task::spawn_blocking(move || {
        stream.write_all(head.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        // The server closes the connection after its answer.
        let _ = stream.read_to_string(&mut answer);
        answer
    });
    let answer = tokio::time::timeout(Duration::from_secs(10), read)
        .await
        .unwrap()
        .unwrap();
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.to_lowercase().contains("retry-after: "), "{answer}");
    world.finish().await;
}

#[actix_web::test]
async fn size_limit_is_that_of_a_lead() {
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
async fn rejection_is_logged_without_content() {
    let stage = Stage::new().await;
    let process = stage.serve().await;
    assert_eq!(process.webhook(&stage, "not-an-id@example.org", "r1").await, 400);
    process.stop().await;
    assert!(
        stage.log().contains("webhook rejected (signature valid)"),
        "{}",
        stage.log()
    );
    stage.finish().await;
}
