//! The real program, built with the feature `otlp`, sends its spans to a stand-in of a collector. A crate of its own, which
//! is built with that feature only.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that fails may do so in the plainest way, and so may its helpers"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};

use process::Stage;
use world::lead;

#[path = "../it/cluster.rs"]
#[expect(dead_code, reason = "most of it is for the other tests")]
mod cluster;
#[path = "../it/process.rs"]
#[expect(dead_code, reason = "most of it is for the other tests")]
mod process;
#[path = "../it/world.rs"]
#[expect(dead_code, reason = "most of it is for the other tests")]
mod world;

/// What came: path, type, body.
type Received = Arc<Mutex<Vec<(String, String, Vec<u8>)>>>;

/// A collector that takes whatever comes.
fn collector() -> (String, Received) {
    let received = Received::default();
    let takes = web::Data::new(Arc::clone(&received));
    let take = |request: HttpRequest, body: web::Bytes, received: web::Data<Received>| async move {
        let kind = request
            .headers()
            .get("content-type")
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        let came = (request.path().to_owned(), kind, body.to_vec());
        received.lock().unwrap().push(came);
        HttpResponse::Ok().content_type("application/x-protobuf").finish()
    };
    let server = HttpServer::new(move || App::new().app_data(takes.clone()).default_service(web::to(take)));
    let server = server.workers(1).disable_signals().bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", server.addrs()[0]);
    tokio::spawn(server.run());
    (url, received)
}

/// The fields of a message of protobuf that have a length, by number.
fn fields(mut message: &[u8]) -> Vec<(u64, &[u8])> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let end = bytes.iter().position(|byte| byte & 0x80 == 0).unwrap();
        let (number, rest) = bytes.split_at(end + 1);
        *bytes = rest;
        number
            .iter()
            .rev()
            .fold(0, |sum, byte| sum << 7 | u64::from(byte & 0x7f))
    }
    let mut found = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message);
        let length = match key & 7 {
            0 => {
                varint(&mut message);
                continue;
            }
            1 => 8,
            2 => usize::try_from(varint(&mut message)).unwrap(),
            5 => 4,
            other => panic!("no field is of the kind {other}"),
        };
        let (field, rest) = message.split_at(length);
        message = rest;
        if key & 7 == 2 {
            found.push((key >> 3, field));
        }
    }
    found
}

fn within(messages: Vec<&[u8]>, number: u64) -> Vec<&[u8]> {
    let of = |message| fields(message).into_iter().filter(move |(n, _)| *n == number);
    messages.into_iter().flat_map(of).map(|(_, field)| field).collect()
}

fn texts(messages: Vec<&[u8]>) -> BTreeSet<&str> {
    messages
        .into_iter()
        .map(|text| std::str::from_utf8(text).unwrap())
        .collect()
}

/// The keys of the attributes of every span, by the span's name (opentelemetry/proto/trace/v1/trace.proto).
fn spans(body: &[u8]) -> BTreeMap<&str, BTreeSet<&str>> {
    let spans = within(within(within(vec![body], 1), 2), 2);
    let mut by_name: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for span in spans {
        let name = texts(within(vec![span], 5)).into_iter().next().unwrap();
        by_name
            .entry(name)
            .or_default()
            .extend(texts(within(within(vec![span], 9), 1)));
    }
    by_name
}

#[actix_web::test]
async fn a_webhook_and_every_call_is_a_span_and_none_says_anything_of_the_lead() {
    let (url, received) = collector();
    let mut stage = Stage::new().await;
    stage.env.insert("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), url);
    // Whatever the log is asked for, requests of the crates below have addresses with ids in them.
    stage.env.insert("RUST_LOG".to_owned(), "trace".to_owned());
    let process = stage.serve().await;
    stage.request(lead("Ada")).await;
    stage.until_status("lead-ada", "SENT").await;
    let contact = stage.says("lead-ada", "biginContactId").unwrap();
    process.stop().await;
    assert!(
        !stage.log().contains("\"span"),
        "spans are for traces, and the log is as it was"
    );

    let received = received.lock().unwrap();
    let mut found: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (path, kind, body) in &*received {
        assert_eq!((path.as_str(), kind.as_str()), ("/v1/traces", "application/x-protobuf"));
        for (name, keys) in spans(body) {
            found.entry(name).or_default().extend(keys);
        }
    }
    let names: Vec<&str> = found.keys().copied().collect();
    let expected = [
        "bigin add_tags",
        "bigin fields",
        "bigin upsert",
        "sanity doc",
        "sanity mutate",
        "webhook",
        "zoho_accounts grant",
    ];
    assert_eq!(names, expected);
    let call = ["http.response.status_code", "of", "operation", "remote", "result"];
    for (name, keys) in &found {
        let expected: &[&str] = match *name {
            "webhook" => &["answer", "http.response.status_code"],
            _ => &call,
        };
        assert!(keys.iter().copied().eq(expected.iter().copied()), "{name}: {keys:?}");
    }
    let bodies: Vec<u8> = received.iter().flat_map(|(_, _, body)| body.clone()).collect();
    let says = |text: &str| bodies.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(says("bigin-sync") && says("created") && says("add_tags"));
    let refresh_token = stage.bigin.refresh_token();
    let personal = [
        "ada",
        "Ada",
        "example.org",
        "7700",
        "Invented Street",
        "Tell me more",
        &contact,
        &refresh_token,
    ];
    for text in personal {
        assert!(!says(text), "{text:?} is in a span");
    }
}

#[actix_web::test]
async fn nothing_is_sent_where_it_is_switched_off() {
    let (url, received) = collector();
    let mut stage = Stage::new().await;
    stage.env.insert("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), url);
    stage.env.insert("OTEL_SDK_DISABLED".to_owned(), "true".to_owned());
    let process = stage.serve().await;
    stage.request(lead("Ada")).await;
    stage.until_status("lead-ada", "SENT").await;
    process.stop().await;
    assert!(received.lock().unwrap().is_empty());
    stage.finish().await;
}
