//! The description of the API says what the API is.

use std::collections::BTreeSet;

use bigin_sync::http::{API, Document, OPEN};
use serde_json::Value;
use utoipa::OpenApi as _;

use crate::world::World;

fn document() -> Value {
    serde_json::to_value(Document::openapi()).unwrap()
}

#[test]
fn the_description_lists_exactly_what_is_there() {
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
    let open = OPEN.iter().map(|address| (address.path.to_owned(), address.methods));
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
async fn every_address_takes_the_methods_it_names_and_no_others() {
    let world = World::new().await;
    let open = OPEN.iter().map(|address| (address.path.to_owned(), address.methods));
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
fn only_what_is_open_to_everybody_is_described_without_the_admin_token() {
    let document = document();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let is_open = operation["security"] == serde_json::json!([{}]);
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
    assert_eq!(document["security"], serde_json::json!([{ "admin": [] }]));
}
