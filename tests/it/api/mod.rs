//! The API: access, errors, and syncs.

use std::time::Duration;

use bigin_sync::store::Stage;
use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{ADMIN_TOKEN, World, answer, client, id, lead, secs};

mod events;
mod health;
mod openapi;
mod operator;
mod send_to_bigin;

/// Runs the workers while a request waits.
async fn while_workers_run<T>(world: &World, request: impl Future<Output = T>) -> T {
    tokio::pin!(request);
    loop {
        tokio::select! {
            answer = &mut request => return answer,
            () = tokio::time::sleep(Duration::from_millis(5)) => world.pass(secs(5)).await,
        }
    }
}

#[actix_web::test]
async fn needs_admin_token() {
    let world = World::new().await;
    let url = format!("{}/api/syncs", world.url);
    for token in [
        None,
        Some(""),
        Some("wrong"),
        Some("invented-admin-token-of-32-letterz"),
    ] {
        let request = client().get(&url);
        let request = match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let (status, body) = answer(request).await;
        assert_eq!((status, &body["title"]), (401, &json!("Unauthorized")), "{token:?}");
    }
    world.finish().await;

    let world = World::with(|settings| settings.admin_token = None).await;
    let (status, body) = world.call(Method::GET, "/api/syncs", None).await;
    assert_eq!(status, 404);
    assert!(body["detail"].as_str().unwrap().contains("ADMIN_TOKEN"));
    world.finish().await;
}

#[actix_web::test]
async fn cors_allows_set_origin_only() {
    let preflight = async |world: &World, origin: &str| {
        let request = client()
            .request(Method::OPTIONS, format!("{}/api/syncs", world.url))
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization,content-type");
        let response = request.send().await.unwrap();
        let allowed = response.headers().get("access-control-allow-origin").cloned();
        (
            response.status().as_u16(),
            allowed.map(|origin| origin.to_str().unwrap().to_owned()),
        )
    };
    let own = "https://dashboard.example.org";
    let world = World::new().await;
    assert_eq!(
        preflight(&world, own).await,
        (401, None),
        "off, and nothing is said without the token"
    );
    world.finish().await;

    let world = World::with(|settings| settings.cors_origin = Some(format!("{own}/some/page").parse().unwrap())).await;
    assert_eq!(preflight(&world, own).await, (200, Some(own.to_owned())));
    assert_eq!(
        preflight(&world, "https://dashboard.example.org.evil.example").await.1,
        None
    );
    let request = client().get(format!("{}/api/syncs", world.url)).header("origin", own);
    let response = request.try_clone().unwrap().send().await.unwrap();
    assert_eq!(response.status().as_u16(), 401, "permission is no token");
    let response = request.bearer_auth(ADMIN_TOKEN).send().await.unwrap();
    assert_eq!(response.status().as_u16(), 200);
    assert_eq!(response.headers()["access-control-allow-origin"], own);
    assert!(!response.headers().contains_key("access-control-allow-credentials"));
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    world.finish().await;
}

#[actix_web::test]
async fn bad_request_names_the_fault() {
    let world = World::new().await;
    let post = |body: Value| world.post("/api/syncs", body);
    let cases = [
        (
            post(json!({ "leadId": "drafts.lead-ada" })).await,
            400,
            "not the id of a published document",
        ),
        (post(json!({})).await, 400, "missing field `leadId`"),
        (post(json!("text")).await, 400, "not understood"),
        (
            world.get("/api/syncs?state=lost").await,
            400,
            "There is no state \"lost\"",
        ),
        (world.get("/api/syncs?limit=many").await, 400, "parameter"),
        (world.get("/api/syncs?color=red").await, 400, "parameter"),
        (world.get("/api/syncs/99").await, 404, "doesn't exist"),
        (world.get("/api/syncs/first").await, 404, "number"),
    ];
    for ((status, body), expected, words) in cases {
        assert_eq!(status, expected, "{body}");
        assert!(body["detail"].as_str().unwrap().contains(words), "{body}");
        assert_eq!(body["error"], body["detail"]);
    }
    world.finish().await;
}

#[actix_web::test]
async fn unknown_routes_are_problems() {
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

#[actix_web::test]
async fn head_works_and_405_names_methods() {
    let world = World::new().await;
    for path in ["/livez", "/readyz", "/api/syncs"] {
        let request = client().head(format!("{}{path}", world.url)).bearer_auth(ADMIN_TOKEN);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(response.bytes().await.unwrap().len(), 0, "{path}");
    }
    for (path, allowed) in [
        ("/webhooks/sanity", "POST"),
        ("/livez", "GET, HEAD"),
        ("/readyz", "GET, HEAD"),
        ("/api/send-to-bigin", "POST"),
        ("/api/syncs", "GET, HEAD, POST"),
        ("/api/syncs/1", "GET, HEAD"),
    ] {
        let request = client()
            .request(Method::DELETE, format!("{}{path}", world.url))
            .bearer_auth(ADMIN_TOKEN);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 405, "{path}");
        assert_eq!(response.headers()["allow"], allowed, "{path}");
        assert_eq!(response.headers()["content-type"], "application/problem+json", "{path}");
        let problem: Value = response.json().await.unwrap();
        assert!(
            problem["error"].as_str().is_some_and(|error| error.contains(allowed)),
            "{path}: {problem}"
        );
    }
    world.finish().await;
}

#[actix_web::test]
async fn creates_lists_and_gets_sync() {
    let world = World::new().await;
    for name in ["Ada", "Grace", "Edsger"] {
        world.sanity.model().seed(lead(name)).unwrap();
        let (status, body) = world.post("/api/syncs", json!({ "leadId": id(name) })).await;
        assert_eq!((status, &body["state"]), (202, &json!("requested")));
    }
    world.run(Stage::Upsert).await;
    let ids = |body: &Value| {
        body["syncs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|sync| sync["id"].as_i64().unwrap())
            .collect::<Vec<_>>()
    };
    let (_, first) = world.get("/api/syncs?limit=2").await;
    assert_eq!((ids(&first), &first["next"]), (vec![3, 2], &json!(2)));
    let (_, second) = world.get("/api/syncs?limit=2&before=2").await;
    assert_eq!((ids(&second), &second["next"]), (vec![1], &Value::Null));
    assert_eq!(ids(&world.get("/api/syncs?state=upserted").await.1).len(), 3);
    assert_eq!(ids(&world.get("/api/syncs?state=sent").await.1).len(), 0);
    assert_eq!(ids(&world.get("/api/syncs?lead=lead-ada").await.1), [1]);

    let (status, sync) = world.get("/api/syncs/1").await;
    assert_eq!(status, 200);
    assert_eq!(sync["tagNotBefore"], "2026-11-22T10:00:15Z");
    assert_eq!(sync["events"][0]["kind"], "created");
    assert_eq!(sync["events"][1]["detail"]["action"], "insert");
    world.run_to_the_end().await;
    world.finish().await;
}

#[actix_web::test]
async fn list_pages_are_stable() {
    let world = World::new().await;
    let names: Vec<String> = (0..5).map(|number| format!("Ada{number}")).collect();
    for name in &names {
        world.request(lead(name)).await;
    }
    let mut listed = Vec::new();
    let mut before = String::new();
    loop {
        let (_, page) = world.get(&format!("/api/syncs?limit=2{before}")).await;
        listed.extend(
            page["syncs"]
                .as_array()
                .unwrap()
                .iter()
                .map(|sync| sync["leadId"].clone()),
        );
        let Some(next) = page["next"].as_i64() else { break };
        before = format!("&before={next}");
        world.request(lead(&format!("Late{next}"))).await;
    }
    let newest_first: Vec<_> = names.iter().rev().map(|name| json!(id(name))).collect();
    assert_eq!(listed, newest_first);

    world.run_to_the_end().await;
    let contact = world.lead_says("Ada0", "biginContactId").unwrap();
    let (_, page) = world.get(&format!("/api/syncs?contact={contact}")).await;
    assert_eq!(page["syncs"].as_array().unwrap().len(), 1);
    assert_eq!(page["syncs"][0]["leadId"], json!(id("Ada0")));
    assert_eq!(world.get("/api/syncs?contact=ada").await.0, 400);
    world.finish().await;
}
