//! The stream of what happens, as those who watch it see it.

use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use crate::world::{ADMIN_TOKEN, World, client, id, lead};

/// A stream being read.
struct Watching {
    response: reqwest::Response,
    text: String,
}

impl Watching {
    async fn begin(world: &World, headers: &[(&'static str, &str)]) -> Self {
        let mut request = client()
            .get(format!("{}/api/events", world.url))
            .bearer_auth(ADMIN_TOKEN);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status().as_u16(), 200);
        Self {
            response,
            text: String::new(),
        }
    }

    fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// The next block of lines: an event, or one without data.
    async fn block(&mut self) -> String {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                return block;
            }
            let chunk = self.response.chunk().await.unwrap().expect("the stream goes on");
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// The next event: its id, and its data.
    async fn event(&mut self) -> (String, Value) {
        loop {
            let block = self.block().await;
            let field = |name: &str| {
                block
                    .lines()
                    .find_map(|line| line.strip_prefix(name))
                    .map(str::to_owned)
            };
            if let Some(data) = field("data: ") {
                assert_eq!(field("event: ").as_deref(), Some("sync"));
                return (field("id: ").unwrap(), serde_json::from_str(&data).unwrap());
            }
        }
    }
}

#[actix_web::test]
async fn stream_shows_sync_but_no_content() {
    let world = World::new().await;
    world.request(lead("Before")).await;
    world.run_to_the_end().await;
    let mut watching = Watching::begin(&world, &[]).await;
    assert_eq!(watching.headers()["content-type"], "text/event-stream");
    assert_eq!(watching.headers()["cache-control"], "no-store");
    assert!(watching.block().await.starts_with("retry: "), "how soon to come again");
    world.request(lead("Ada")).await;
    world.run_to_the_end().await;
    let mut states = Vec::new();
    while states.last().is_none_or(|state| *state != json!("sent")) {
        let (_, event) = watching.event().await;
        assert_eq!(event["leadId"], json!(id("Ada")), "only what is new");
        let keys: Vec<&String> = event.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["at", "kind", "leadId", "state", "syncId"]);
        states.push(event["state"].clone());
    }
    assert_eq!(states, ["requested", "upserted", "tagged", "sent"]);
    world.finish().await;
}

#[actix_web::test]
async fn reconnect_misses_nothing() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    let mut watching = Watching::begin(&world, &[("last-event-id", "0")]).await;
    let (last, event) = watching.event().await;
    assert_eq!(event["kind"], "created");
    drop(watching);
    world.run_to_the_end().await;
    let mut watching = Watching::begin(&world, &[("last-event-id", &last)]).await;
    for what in ["upserted", "tagged", "written_back"] {
        assert_eq!(watching.event().await.1["kind"], what);
    }
    world.finish().await;
}

#[actix_web::test]
async fn restored_database_shows_new_events() {
    let world = World::new().await;
    world.request(lead("Before")).await;
    let mut watching = Watching::begin(&world, &[("last-event-id", "1000")]).await;
    assert!(watching.block().await.ends_with("\nid: 1"), "the newest there is");
    world.run_to_the_end().await;
    for what in ["upserted", "tagged", "written_back"] {
        assert_eq!(watching.event().await.1["kind"], what);
    }
    world.finish().await;
}

#[actix_web::test]
async fn stops_with_service_and_limits_streams() {
    let world = World::new().await;
    let mut all = Vec::new();
    for _ in 0..bigin_sync::http::MAX_STREAMS {
        all.push(Watching::begin(&world, &[("last-event-id", "")]).await);
    }
    let (status, problem) = world.get("/api/events").await;
    assert_eq!(status, 503, "{problem}");
    world.app.http.stopping.send_replace(true);
    for watching in all {
        assert!(
            watching.response.bytes().await.is_ok(),
            "it ends, and is not broken off"
        );
    }
    assert_eq!(world.get("/api/events?after=none").await.0, 400);
    world.finish().await;
}
