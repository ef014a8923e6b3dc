//! Retry, dismiss, cancel and pause by the API.

use bigin_sync::fake::bigin::Change;
use bigin_sync::store::Stage;
use serde_json::json;

use crate::world::{World, answer, client, id, lead, secs, with};

use super::while_workers_run;

/// A lead that has failed and was corrected since, and what its crmStatus was then set to.
async fn failed_and_edited(world: &World, name: &str, status: &str) {
    world
        .request(with(lead(name), json!({ "emailAddress": "nobody at home" })))
        .await;
    world.run_to_the_end().await;
    let email = format!("{}@example.org", name.to_lowercase());
    let edit = json!({ "emailAddress": email, "crmStatus": status });
    world.edit(name, edit);
}

#[actix_web::test]
async fn retry_skips_withdrawn_unless_forced() {
    let world = World::with(|settings| settings.send_wait = secs(60)).await;
    failed_and_edited(&world, "Ada", "NOT_SENT").await;
    let (status, body) = while_workers_run(&world, world.post("/api/syncs/1/retry", json!(null))).await;
    assert_eq!(status, 409, "{body}");
    let detail = body["detail"].as_str().unwrap();
    assert!(
        detail.contains("an editor has changed the lead's crmStatus"),
        "{detail}"
    );
    assert!(detail.contains("/api/syncs/2/retry?force=true"), "{detail}");
    assert_eq!(world.contact_count(), 0, "nothing was sent");
    let (status, body) = world.post("/api/syncs/2/retry?force=true", json!(null)).await;
    assert_eq!(
        (status, &body["id"], &body["isManual"]),
        (202, &json!(3), &json!(true)),
        "{body}"
    );
    world.run_to_the_end().await;
    assert_eq!(world.lead_says("Ada", "crmStatus").as_deref(), Some("SENT"));

    failed_and_edited(&world, "Grace", "FAILED").await;
    let (status, body) = while_workers_run(&world, world.post("/api/syncs/4/retry", json!(null))).await;
    assert_eq!(status, 202, "it still carries our own result: {body}");
    world.run_to_the_end().await;
    assert_eq!(world.state("Grace").await, "sent");
    assert_eq!(world.post("/api/syncs/1/retry?force=perhaps", json!(null)).await.0, 400);
    world.finish().await;
}

#[actix_web::test]
async fn retries_failed_and_hurries_waiting() {
    let world = World::new().await;
    world
        .request(with(lead("Ada"), json!({ "emailAddress": "no address" })))
        .await;
    world.run_to_the_end().await;
    let failed = world.sync("Ada").await.sync.id;
    world.edit("Ada", json!({ "emailAddress": "ada@example.org" }));
    let (status, sync) = world.post(&format!("/api/syncs/{failed}/retry"), json!({})).await;
    assert_eq!(
        (status, &sync["state"], &sync["isManual"]),
        (202, &json!("requested"), &json!(true))
    );
    assert_ne!(sync["id"], json!(failed), "what has ended stays as it was");
    world.run_to_the_end().await;
    assert_eq!(world.lead_says("Ada", "crmStatus").as_deref(), Some("SENT"));

    // While it is on its way, trying it again joins it.
    world.set_requested("Ada");
    world.deliver().await;
    let on_its_way = world.sync("Ada").await.sync.id;
    let (status, sync) = world.post(&format!("/api/syncs/{failed}/retry"), json!({})).await;
    assert_eq!(
        (status, &sync["id"], &sync["requests"]),
        (202, &json!(on_its_way), &json!(2))
    );
    world.run_to_the_end().await;
    assert_eq!(world.post("/api/syncs/99/retry", json!({})).await.0, 404);
    world.finish().await;
}

#[actix_web::test]
async fn bulk_retry_takes_one_reason() {
    let world = World::new().await;
    for name in ["Ada", "Bea", "Cleo"] {
        let bad = with(lead(name), json!({ "emailAddress": "no address" }));
        let bad = if name == "Cleo" {
            with(lead(name), json!({ "firstName": "C".repeat(200) }))
        } else {
            bad
        };
        world.request(bad).await;
    }
    world.run_to_the_end().await;
    let (_, groups) = world.get("/api/failures").await;
    let groups = groups["failures"].as_array().unwrap();
    assert_eq!(groups.len(), 2, "{groups:?}");
    let reason = &groups[0]["reason"];
    let key = "invalid_value:Email";
    assert_eq!(
        (&groups[0]["leads"], reason),
        (&json!(2), &json!("Bigin rejected Email: not an email address"))
    );

    assert_eq!(
        world.post("/api/syncs/retry", json!({ "reason": key })).await,
        (202, json!({ "retried": 2 }))
    );
    let state = |name| world.state(name);
    assert_eq!(
        (state("Ada").await, state("Bea").await, state("Cleo").await),
        ("requested", "requested", "failed")
    );
    assert_eq!(
        world.post("/api/syncs/retry", json!({ "reason": key })).await,
        (202, json!({ "retried": 0 })),
        "they are on their way"
    );
    world.run_to_the_end().await;
    assert_eq!(
        world.post("/api/syncs/retry", json!({})).await,
        (202, json!({ "retried": 3 }))
    );
    world.run_to_the_end().await;
    assert_eq!(
        world.get("/api/health").await.1["failedLeads"],
        3,
        "nothing has been mended"
    );
    world.finish().await;
}

#[actix_web::test]
async fn dismissed_until_it_fails_again() {
    let world = World::new().await;
    failed_and_edited(&world, "Ada", "NOT_SENT").await;
    let failures = async || world.get("/api/failures").await.1["failures"].as_array().unwrap().len();
    assert_eq!(failures().await, 1);
    let (status, body) = world.post("/api/syncs/1/dismiss", json!(null)).await;
    assert_eq!(
        (status, &body["dismissedAt"]),
        (200, &json!("2026-11-22T10:00:00Z")),
        "{body}"
    );
    assert_eq!(failures().await, 0);
    let (_, health) = world.get("/api/health").await;
    assert_eq!(
        (&health["failedLeads"], &health["ledger"]["failed"]),
        (&json!(0), &json!(1))
    );
    let (_, retried) = world.post("/api/syncs/retry", json!({})).await;
    assert_eq!(retried["retried"], 0);
    assert_eq!(world.post("/api/syncs/9/dismiss", json!(null)).await.0, 404);
    world
        .request(with(lead("Ada"), json!({ "emailAddress": "nobody at home" })))
        .await;
    assert_eq!(
        world.post("/api/syncs/2/dismiss", json!(null)).await.0,
        409,
        "it has not failed"
    );
    world.run_to_the_end().await;
    assert_eq!(failures().await, 1);
    world.finish().await;
}

#[actix_web::test]
async fn cancels_only_in_progress() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_due().await;
    let id = world.sync("Ada").await.sync.id;
    let (status, sync) = world.post(&format!("/api/syncs/{id}/cancel"), json!({})).await;
    assert_eq!(
        (status, &sync["state"], &sync["reason"]),
        (200, &json!("cancelled"), &json!("cancelled by operator"))
    );
    let (status, problem) = world.post(&format!("/api/syncs/{id}/cancel"), json!({})).await;
    assert_eq!((status, &problem["title"]), (409, &json!("Conflict")));
    assert_eq!(world.post("/api/syncs/99/cancel", json!({})).await.0, 404);
    world.run_to_the_end().await;
    let is_tag = |change: &Change| matches!(change, Change::Tagged { .. });
    assert!(!world.bigin.model().changes.iter().any(is_tag));
    world.finish().await;
}

#[actix_web::test]
async fn claimed_sync_cannot_be_cancelled() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    let claim = world
        .store()
        .claim(Stage::Upsert, 1, bigin_sync::store::Prefer::Fresh)
        .await
        .unwrap();
    let id = claim.syncs[0].sync.id;
    let (status, problem) = world.post(&format!("/api/syncs/{id}/cancel"), json!({})).await;
    assert_eq!(status, 409);
    assert!(
        problem["detail"].as_str().unwrap().contains("in a call at this moment"),
        "{problem}"
    );
    world.pass(secs(120)).await;
    world.run_to_the_end().await;
    world.finish().await;
}

#[actix_web::test]
async fn pause_shows_in_readiness() {
    let world = World::new().await;
    let (status, paused) = world.post("/api/pause", json!({})).await;
    assert_eq!((status, paused["pausedSince"].is_string()), (200, true));
    world.request(lead("Ada")).await;
    world.run_due().await;
    assert_eq!(world.state("Ada").await, "requested");
    let (_, ready) = answer(client().get(format!("{}/readyz", world.url))).await;
    let problem = ready["degraded"][0].clone();
    assert_eq!(
        (&problem["remote"], &problem["code"]),
        (&json!("workers"), &json!("paused"))
    );
    let (_, health) = world.get("/api/health").await;
    assert_eq!(
        (
            &health["problems"],
            &health["inProgress"],
            &health["oldestWaiting"]["leadId"]
        ),
        (&json!([problem]), &json!({ "requested": 1 }), &json!(id("Ada")))
    );
    assert_eq!(
        world.post("/api/resume", json!({})).await,
        (200, json!({ "pausedSince": null }))
    );
    world.run_to_the_end().await;
    assert_eq!(world.lead_says("Ada", "crmStatus").as_deref(), Some("SENT"));
    world.finish().await;
}
