//! Health for people and probes.

use serde_json::{Value, json};

use crate::world::{World, answer, client, id, lead};

#[actix_web::test]
async fn health_has_ledger_and_breakers() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_to_the_end().await;
    let (status, health) = world.get("/api/health").await;
    assert_eq!(
        (status, &health["balances"], &health["breakers"]),
        (200, &json!(true), &json!([]))
    );
    let counted = |name: &str| health["ledger"][name].as_u64();
    assert_eq!(
        (counted("accepted"), counted("created"), counted("sent")),
        (Some(1), Some(1), Some(1))
    );

    world.bigin.model().switches.down = true;
    world.set_requested("Ada");
    world.deliver().await;
    world.run_due().await;
    let (_, health) = world.get("/api/health").await;
    assert_eq!(health["ledger"]["in_progress"], 1, "{health}");
    assert_eq!(health["breakers"].as_array().map(Vec::len), Some(1), "{health}");
    world.bigin.model().switches.down = false;
    world.run_to_the_end().await;
    world.finish().await;
}

#[actix_web::test]
async fn health_has_webhooks_and_services() {
    let world = World::new().await;
    let (_, health) = world.get("/api/health").await;
    let states = |health: &Value| {
        let services = health["services"].as_array().unwrap().iter();
        services
            .map(|service| format!("{} {}", service["remote"], service["state"]).replace('"', ""))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        states(&health),
        [
            "zoho_accounts not_called_yet",
            "bigin not_called_yet",
            "sanity not_called_yet"
        ]
    );
    assert_eq!(
        health["webhooks"],
        json!({ "lastReceivedAt": null, "rejected": 0, "lastRejectedAt": null, "missed": 0, "lastMissedAt": null, "problem": null })
    );
    world.request(lead("Ada")).await;
    world.run_to_the_end().await;
    let (_, health) = world.get("/api/health").await;
    assert_eq!(
        states(&health),
        ["zoho_accounts reachable", "bigin reachable", "sanity reachable"]
    );
    assert_eq!(health["webhooks"]["lastReceivedAt"], "2026-11-22T10:00:00Z");
    world.finish().await;
}

#[actix_web::test]
async fn probes_name_what_fails() {
    let world = World::new().await;
    assert_eq!(
        answer(client().get(format!("{}/livez", world.url))).await,
        (200, json!({ "status": "alive" }))
    );
    let ready = || answer(client().get(format!("{}/readyz", world.url)));
    assert_eq!(ready().await, (200, json!({ "status": "ready", "degraded": [] })));

    let token = world.bigin.refresh_token();
    world.bigin.model().revoke_refresh_token(&token);
    world.request(lead("Ada")).await;
    world.run_due().await;
    let (status, body) = ready().await;
    assert_eq!(
        (status, &body["status"]),
        (200, &json!("degraded")),
        "webhooks are still stored"
    );
    let problem = &body["degraded"][0];
    assert_eq!(problem["remote"], "zoho_accounts");
    assert_eq!(problem["code"], "invalid_code");
    let action = problem["action"].as_str().unwrap();
    assert!(action.contains("bigin-sync auth"), "{problem}");
    world.edit("Ada", json!({ "crmStatus": "NOT_SENT" }));
    world.sanity.model().delete(&id("Ada")).unwrap();
    assert_eq!(world.state("Ada").await, "requested", "and the lead waits");
}
