//! The description of the API says what the API is.

use std::collections::BTreeSet;
use std::process::Command;

use bigin_sync::domain::state::State;
use bigin_sync::http::{API, Document, PUBLIC_ROUTES};
use serde_json::{Value, json};
use utoipa::OpenApi as _;

use crate::peers::peers;
use crate::process::Stage as Program;
use crate::world::{ADMIN_TOKEN, World, id, lead, with};

fn document() -> Value {
    serde_json::to_value(Document::openapi()).unwrap()
}

#[test]
fn lists_exactly_the_routes() {
    let document = document();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let described: BTreeSet<(String, String)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| {
            let methods = methods.as_object().unwrap().keys();
            methods.map(move |method| (path.clone(), method.to_uppercase()))
        })
        .collect();
    let open = PUBLIC_ROUTES
        .iter()
        .map(|address| (address.path.to_owned(), address.methods));
    let api = API
        .iter()
        .map(|address| (format!("/api{}", address.path), address.methods));
    let mounted: BTreeSet<(String, String)> = open
        .chain(api)
        .flat_map(|(path, methods)| methods.iter().map(move |method| (path.clone(), (*method).to_owned())))
        .collect();
    assert_eq!(described, mounted);
}

#[actix_web::test]
async fn routes_accept_only_named_methods() {
    let world = World::new().await;
    let open = PUBLIC_ROUTES
        .iter()
        .map(|address| (address.path.to_owned(), address.methods));
    let api = API
        .iter()
        .map(|address| (format!("/api{}", address.path), address.methods));
    for (path, methods) in open.chain(api).filter(|(path, _)| !path.ends_with("/events")) {
        let path = path.replace("{id}", "1");
        for method in ["GET", "POST", "PUT", "DELETE"] {
            let (status, body) = world.call(method.parse().unwrap(), &path, None).await;
            assert_eq!(
                status == 405,
                !methods.contains(&method),
                "{method} {path}: {status} {body}"
            );
        }
    }
    world.finish().await;
}

#[test]
fn public_part_needs_no_token() {
    let document = document();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let is_open = operation["security"] == json!([{}]);
            assert_eq!(
                is_open,
                !path.starts_with("/api/"),
                "{method} {path}: {}",
                operation["security"]
            );
            let refusals = operation["responses"].as_object().unwrap().contains_key("401");
            assert_eq!(refusals, !is_open || path.starts_with("/webhooks"), "{method} {path}");
        }
    }
    let parameters = document["paths"]["/api/syncs"]["get"]["parameters"].as_array().unwrap();
    let state = parameters
        .iter()
        .find(|parameter| parameter["name"] == "state")
        .unwrap();
    assert_eq!(state["schema"]["pattern"], format!("^({})$", State::LABELS.join("|")));
    assert_eq!(document["security"], json!([{ "admin": [] }]));
}

/// Thousands of requests, good and bad, made up from the description: no answer may be one that is not described, and none
/// an error of the server. The stream of events is left out, since it does not end.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Python"]
async fn schemathesis_finds_nothing() {
    let mut program = Program::new().await;
    // Else every lead that is made up would hold its request for a minute.
    program.env.insert("SEND_WAIT".to_owned(), "50ms".to_owned());
    let process = program.serve().await;
    program.request(lead("Ada")).await;
    program.until_status(&id("Ada"), "SENT").await;
    let bad = with(lead("Bea"), json!({ "emailAddress": "no address" }));
    program.request(bad).await;
    program.until_status(&id("Bea"), "FAILED").await;

    let mut command = Command::new(peers().join("venv/bin/schemathesis"));
    command
        .args([
            "--config-file",
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/schemathesis.toml"),
        ])
        .args(["run", &format!("{}/api/openapi.json", process.url)])
        .args(["--header", &format!("Authorization: Bearer {ADMIN_TOKEN}")])
        .args(["--exclude-path", "/api/events"])
        .args(["--checks", "all", "--max-examples", "40", "--seed", "1"])
        .args(["--no-color", "--suppress-health-check", "all"])
        .current_dir(program.folder.path())
        .env("PYTHONUNBUFFERED", "1");
    let output = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    process.stop().await;
    let ledger = program.ledger().await;
    assert!(ledger.balances(), "{ledger:?}");
}
