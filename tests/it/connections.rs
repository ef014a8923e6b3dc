//! Limits of connections: slow, large and endless requests delay no webhook.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::process::{Stage, Stage as Program};
use crate::webhook_intake::{delivery, signed, webhook};
use crate::world::{ADMIN_TOKEN, World, answer, client, id, lead, secs};

/// The head of a webhook that claims to be signed, without its end.
const SIGNED_HEAD: &str =
    "POST /webhooks/sanity HTTP/1.1\r\nhost: x\r\nsanity-webhook-signature: t=1633519811129,v1=aaaa\r\n";

/// A connection on which this has been sent.
pub async fn sent(address: &str, bytes: &[u8]) -> tokio::net::TcpStream {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream
}

/// The beginning of what is answered.
pub async fn answered(stream: &mut tokio::net::TcpStream) -> String {
    let mut bytes = [0; 1024];
    let read = tokio::time::timeout(secs(20), stream.read(&mut bytes)).await;
    let read = read.expect("an answer while the body is still on its way").unwrap();
    String::from_utf8_lossy(&bytes[..read]).into_owned()
}

#[actix_web::test]
async fn slow_bodies_delay_no_webhook() {
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
async fn large_bodies_share_a_budget() {
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
    // Those that were refused at the same moment are counted too.
    assert!(metrics.contains(r#"answer="busy",code="503"} "#), "{metrics}");
    assert!(!metrics.contains(r#"answer="busy",code="503"} 0"#), "{metrics}");
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
async fn evicts_slowest_but_no_event_stream() {
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
async fn unfinished_request_times_out() {
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

#[tokio::test(flavor = "multi_thread")]
async fn endless_head_is_cut_off() {
    let program = Program::new().await;
    let process = program.serve().await;
    let address = process.url.strip_prefix("http://").unwrap().to_owned();
    let endless = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n").unwrap();
        let line = format!("x-long: {}\r\n", "a".repeat(8000));
        // 100 MB, of which far less may be taken.
        let sent = (0..12_500)
            .take_while(|_| stream.write_all(line.as_bytes()).is_ok())
            .count();
        let mut answer = String::new();
        // A reset is as good an answer as any.
        let _ = stream.read_to_string(&mut answer);
        (sent, answer)
    });
    let (sent, answer) = endless.await.unwrap();
    assert!(sent < 12_500, "all of it was taken");
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    program.request(lead("Ada")).await;
    program.until_status(&id("Ada"), "SENT").await;
    process.stop().await;
    program.finish().await;
}

#[actix_web::test]
async fn non_http_logs_no_error() {
    let stage = Stage::new().await;
    let process = stage.serve().await;
    let address = process.url.strip_prefix("http://").unwrap();
    for head in [
        "\u{16}\u{3}\u{1} hello\r\n\r\n".to_owned(),
        format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "a".repeat(300_000)),
    ] {
        let mut stream = TcpStream::connect(address).unwrap();
        // It may hang up before all of it is sent.
        let _ = stream.write_all(head.as_bytes());
        let _ = stream.read(&mut [0; 64]);
    }
    process.stop().await;
    let log = stage.log();
    assert!(!log.contains("\"ERROR\"") && !log.contains("\"WARN\""), "{log}");
    stage.finish().await;
}
