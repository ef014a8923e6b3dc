//! What is bounded: queues, bodies, logs, histories and the work for one lead, however much is asked of the service.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use bigin_sync::clock::Clock;
use bigin_sync::domain::lead::LeadId;
use bigin_sync::fake::bigin::CallKind;
use bigin_sync::signature::{self, sign};
use bigin_sync::store::{Accepted, Delivery};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

use crate::process::Stage as Program;
use crate::world::{ADMIN_TOKEN, World, answer, client, id, lead, secs};

fn delivery(lead: &str, rev: String) -> Delivery {
    Delivery {
        key: None,
        lead: LeadId::parse(lead).unwrap(),
        rev: Some(rev),
        updated_at: None,
    }
}

/// The head of a webhook that claims to be signed, without its end.
const SIGNED_HEAD: &str =
    "POST /webhooks/sanity HTTP/1.1\r\nhost: x\r\nsanity-webhook-signature: t=1633519811129,v1=aaaa\r\n";

/// A connection on which this has been sent.
async fn sent(address: &str, bytes: &[u8]) -> tokio::net::TcpStream {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream
}

/// The beginning of what is answered.
async fn answered(stream: &mut tokio::net::TcpStream) -> String {
    let mut bytes = [0; 1024];
    let read = tokio::time::timeout(secs(20), stream.read(&mut bytes)).await;
    let read = read.expect("an answer while the body is still on its way").unwrap();
    String::from_utf8_lossy(&bytes[..read]).into_owned()
}

/// A good webhook for a lead that nobody knows, not yet sent.
fn webhook(world: &World, lead: &str) -> reqwest::RequestBuilder {
    let body = json!({ "_id": lead, "_type": "dbrLead", "_rev": "r", "crmStatus": "REQUESTED" }).to_string();
    signed(world, body)
}

fn signed(world: &World, body: String) -> reqwest::RequestBuilder {
    let now = u64::try_from(world.clock.now().as_millisecond()).unwrap();
    let header = sign(body.as_bytes(), now, world.sanity.webhook_secret().as_bytes());
    let request = client().post(format!("{}/webhooks/sanity", world.url));
    request.header(signature::HEADER, header).body(body)
}

#[actix_web::test]
async fn with_the_queue_of_writes_full_webhooks_are_told_when_to_come_again() {
    let world = World::new().await;
    let blocker = rusqlite::Connection::open(world.folder().join("bigin-sync.db")).unwrap();
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    let leads: Vec<String> = (0..6000).map(|number| format!("gone-{number}")).collect();
    let fill = leads
        .iter()
        .map(|lead| world.store().accept(delivery(lead, "r".into())));
    let refused = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
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
async fn a_storm_of_bad_signatures_leaves_a_handful_of_lines_and_holds_up_nobody() {
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
    let lines = log
        .lines()
        .filter(|line| line.contains("a webhook was refused"))
        .count();
    assert!((1..=14).contains(&lines), "{lines} lines for {STORM} bad signatures");
    program.finish().await;
}

#[actix_web::test]
async fn bodies_that_never_come_hold_up_no_webhook() {
    let world = World::new().await;
    let address = world.url.strip_prefix("http://").unwrap();
    let halves = [
        "POST /webhooks/sanity HT",
        &format!("{SIGNED_HEAD}content-length: 8000000\r\n\r\n{{"),
        &format!("{SIGNED_HEAD}transfer-encoding: chunked\r\n\r\n5\r\n{{"),
    ];
    let mut held = Vec::new();
    for _ in 0..100 {
        for half in halves {
            let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
            stream.write_all(half.as_bytes()).await.unwrap();
            held.push(stream);
        }
    }
    assert_eq!(
        answer(webhook(&world, "lead-late")).await.0,
        202,
        "while they are held open"
    );
    drop(held);
    world.run_to_the_end().await;
    world.finish().await;
}

#[actix_web::test]
async fn an_unsigned_webhook_is_refused_before_its_body() {
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
async fn large_bodies_share_a_budget_that_small_ones_need_not() {
    const LARGE: usize = 8 * 1024 * 1024;
    let world = World::new().await;
    let address = world.url.strip_prefix("http://").unwrap();
    // Each lacks its last byte, so that it is not given back.
    let mut request = format!("{SIGNED_HEAD}content-length: {LARGE}\r\n\r\n").into_bytes();
    request.resize(request.len() + LARGE - 1, b' ');
    let large = (0..5).map(|_| {
        Box::pin(async {
            let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
            // It may be refused on the way.
            let _ = stream.write_all(&request).await;
            let said = answered(&mut stream).await;
            (said, stream)
        })
    });
    let ((said, _), _, held) = futures_util::future::select_all(large).await;
    assert!(said.starts_with("HTTP/1.1 503 "), "{said}");
    assert!(said.to_lowercase().contains("retry-after: "), "{said}");
    assert_eq!(answer(webhook(&world, "lead-small")).await.0, 202);
    let metrics = client().get(format!("{}/metrics", world.url)).send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    assert!(metrics.contains(r#"answer="no_room",code="503"} 1"#), "{metrics}");
    drop(held);
    // The budget comes back when the server notices that the connections are gone.
    let mut status = 503;
    for _ in 0..100 {
        let body = json!({ "_id": "lead-large", "rest": "a".repeat(1024 * 1024) }).to_string();
        status = answer(signed(&world, body)).await.0;
        if status != 503 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(status, 202);
    world.run_to_the_end().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_slowest_connections_make_room_and_event_streams_go_on() {
    const SLOW: usize = 400;
    let program = Program::new().await;
    let process = program.serve().await;
    let address = process.url.strip_prefix("http://").unwrap();
    let events = client()
        .get(format!("{}/api/events", process.url))
        .bearer_auth(ADMIN_TOKEN);
    let mut events = events.send().await.unwrap();
    assert_eq!(events.status().as_u16(), 200);
    let half = format!("{SIGNED_HEAD}content-length: 800\r\n\r\n{{");
    let mut slow = Vec::new();
    for number in 0..SLOW {
        let bytes = if number % 2 == 0 { half.as_str() } else { "GET / HT" };
        slow.push(sent(address, bytes.as_bytes()).await);
    }
    program.request(lead("Ada")).await;
    program.until_status(&id("Ada"), "SENT").await;
    let story = async {
        let mut story = String::new();
        while !story.contains(r#""state":"sent""#) {
            let chunk = events.chunk().await.unwrap().expect("the stream goes on");
            story.push_str(&String::from_utf8_lossy(&chunk));
        }
    };
    tokio::time::timeout(secs(30), story).await.unwrap();
    let mut closed: Vec<usize> = Vec::new();
    for (number, stream) in slow.iter().enumerate() {
        let mut bytes = [0; 1024];
        // The answer where there is one, or the end.
        if !matches!(stream.try_read(&mut bytes), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock) {
            closed.push(number);
        }
    }
    // Two threads accept, not quite in order.
    assert!((0..50).all(|number| closed.contains(&number)), "{closed:?}");
    drop(slow);
    process.stop().await;
    program.finish().await;
}

#[actix_web::test]
async fn a_request_that_never_comes_to_its_end_is_given_up_wherever_it_goes() {
    let world = World::new().await;
    let address = world.url.strip_prefix("http://").unwrap();
    let events = client()
        .get(format!("{}/api/events", world.url))
        .bearer_auth(ADMIN_TOKEN);
    let mut events = events.send().await.unwrap();
    let rest = format!(
        "host: x\r\nauthorization: Bearer {ADMIN_TOKEN}\r\ncontent-type: application/json\r\ncontent-length: 800\r\n\r\n{{"
    );
    let form = "host: x\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: 800\r\n\r\nt";
    let halves = [
        "POST /webhooks/sanity HT".to_owned(),
        format!("{SIGNED_HEAD}content-length: 800\r\n\r\n{{"),
        format!("{SIGNED_HEAD}transfer-encoding: chunked\r\n\r\n5\r\n{{"),
        format!("POST /webhooks/sanity HTTP/1.1\r\n{rest}"),
        format!("POST /api/syncs HTTP/1.1\r\n{rest}"),
        format!("POST /api/syncs/retry HTTP/1.1\r\n{rest}"),
        format!("POST /api/send-to-bigin HTTP/1.1\r\n{rest}"),
        format!("POST /api/nothing HTTP/1.1\r\n{rest}"),
        format!("POST /login HTTP/1.1\r\n{form}"),
        format!("POST /syncs/1/retry HTTP/1.1\r\n{form}"),
        "POST /login HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nt".to_owned(),
    ];
    let until_closed = halves.iter().map(|half| async move {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(half.as_bytes()).await.unwrap();
        let mut said = Vec::new();
        // Where it is not closed in time Sanity and the operator wait for a place in vain.
        let closed = tokio::time::timeout(secs(38), stream.read_to_end(&mut said)).await;
        assert!(
            closed.is_ok(),
            "{half:?} is still open, and was told {:?}",
            String::from_utf8_lossy(&said)
        );
        // Sanity does not send again after another 4xx; but what was refused for its head was not too slow.
        let said = String::from_utf8_lossy(&said).into_owned();
        let is_refused = !half.contains("signature") && said.starts_with("HTTP/1.1 40") && !said.contains(" 408 ");
        let is_to_come_again =
            said.is_empty() || said.starts_with("HTTP/1.1 503 ") || said.starts_with("HTTP/1.1 303 ");
        assert!(is_to_come_again || is_refused, "{half:?} was told {said:?}");
    });
    futures_util::future::join_all(until_closed).await;
    // An operator's stream of events is no request that takes too long.
    tokio::time::sleep(secs(2)).await;
    world.store().accept(delivery("gone", "r".to_owned())).await.unwrap();
    let event = async {
        let mut story = String::new();
        while !story.contains("event: sync") {
            let chunk = events.chunk().await.unwrap().expect("the stream goes on");
            story.push_str(&String::from_utf8_lossy(&chunk));
        }
    };
    tokio::time::timeout(secs(20), event).await.unwrap();
    world.run_to_the_end().await;
    world.finish().await;
}

fn upserts(world: &World) -> usize {
    let model = world.bigin.model();
    model.count(CallKind::Upsert) + model.count(CallKind::Update)
}

#[actix_web::test]
async fn a_lead_edited_every_second_for_an_hour_is_sent_with_few_upserts_and_a_short_history() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_due().await;
    let mut sent_after = None;
    for second in 0..3600 {
        let edit = json!({ "postcode": format!("PO{second} 1AA") });
        world.sanity.model().edit(&id("Ada"), edit).unwrap();
        world.clock.advance(secs(1));
        // Once it is sent only a webhook could wake the workers.
        if sent_after.is_none() {
            world.run_due().await;
            sent_after = (world.state("Ada").await == "sent").then_some(second);
        }
    }
    world.pass(secs(1)).await;
    assert!(sent_after.is_some_and(|second| second <= 4 * 15), "{sent_after:?}");
    let upserts = upserts(&world);
    assert!(upserts <= 4, "{upserts} upserts");
    let story = world.story("Ada").await;
    assert!(story.len() <= 10, "{story:?}");
    world.finish().await;
}

#[actix_web::test]
async fn a_lead_asked_for_and_edited_every_second_for_two_minutes_is_sent_once_it_is_left_alone() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    for second in 0..120 {
        {
            // Asking anew for what is asked for already would send no webhook.
            let edit = json!({ "postcode": format!("PO{second} 1AA"), "crmStatus": "NOT_SENT" });
            let mut model = world.sanity.model();
            model.edit(&id("Ada"), edit).unwrap();
            model.request(&id("Ada")).unwrap();
        }
        world.deliver().await;
        world.pass(secs(1)).await;
    }
    let upserts = upserts(&world);
    assert!(upserts <= 120 / 15 + 2, "{upserts} upserts: one a delay at most");
    world.run_to_the_end().await;
    assert_eq!(world.lead_says("Ada", "crmStatus").as_deref(), Some("SENT"));
    assert_eq!(world.contact_says("Ada", "Mailing_Zip").as_deref(), Some("PO119 1AA"));
    world.finish().await;
}

#[actix_web::test]
async fn the_ten_thousandth_request_for_one_lead_takes_no_longer_than_the_first() {
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
