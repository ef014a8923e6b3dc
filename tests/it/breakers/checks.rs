//! An operator's check lets the next probe of an open breaker go at once.

use bigin_sync::fake::bigin::{CallKind, Fault};
use bigin_sync::fake::sanity::{Fault as SanityFault, Kind};
use serde_json::{Value, json};

use crate::world::{World, lead, secs};

use super::{BIGIN_CALLS, bigin_answers, bigin_mends, check, ready, token_answers};

/// A world whose Bigin asks for a day of silence, and a lead that waits for it.
async fn limited_for_a_day() -> World {
    let world = World::with(|settings| settings.send_wait = secs(10)).await;
    let limited = Fault::RateLimited {
        retry_after: Some(86_400),
    };
    bigin_answers(&world, &limited);
    world.request(lead("Ada")).await;
    world.run_due().await;
    world
}

#[actix_web::test]
async fn check_ends_open_breaker() {
    let world = limited_for_a_day().await;
    let calls = |world: &World| BIGIN_CALLS.map(|kind| world.bigin_calls(kind)).iter().sum::<usize>();
    let before = calls(&world);
    let (status, body) = check(&world, "bigin/check").await;
    assert_eq!((status, &body["state"]), (200, &json!("unavailable")), "{body}");
    assert_eq!(body["unavailable"]["code"], "TOO_MANY_REQUESTS", "{body}");
    assert_eq!(calls(&world), before + 1, "one call");
    world.pass(secs(60)).await;
    assert_eq!(calls(&world), before + 1, "and then silence again");

    bigin_mends(&world);
    let (status, body) = check(&world, "bigin/check").await;
    assert_eq!(
        (status, &body["state"], &body["unavailable"]),
        (200, &json!("reachable"), &Value::Null)
    );
    world.pass(secs(15)).await;
    world.run_due().await;
    assert_eq!(world.state("Ada").await, "sent", "nobody has waited for the day to end");
    let (status, body) = check(&world, "bigin/check").await;
    assert_eq!(
        (status, &body["state"]),
        (200, &json!("reachable")),
        "there is nothing to check"
    );
    for path in ["nothing/check", "Bigin/check"] {
        assert_eq!(check(&world, path).await.0, 404, "{path}");
    }
    world.finish().await;
}

#[actix_web::test]
async fn retry_and_resume_name_open_breaker() {
    let world = limited_for_a_day().await;
    let expected = |body: &Value| {
        let open = &body["unavailable"][0];
        assert_eq!(open["remote"], "bigin", "{body}");
        assert_eq!(open["until"], "2026-11-23T10:00:00Z", "{body}");
        assert_eq!(open["check"], "/api/services/bigin/check", "{body}");
    };
    let (status, retried) = world.post("/api/syncs/1/retry", Value::Null).await;
    assert_eq!((status, &retried["state"]), (202, &json!("requested")));
    expected(&retried);
    world.post("/api/pause", Value::Null).await;
    let (status, body) = world.post("/api/services/bigin/check", Value::Null).await;
    assert_eq!(status, 409, "while sending is paused: {body}");
    expected(&world.post("/api/resume", Value::Null).await.1);
    expected(&world.post("/api/syncs/retry", json!({})).await.1);
    bigin_mends(&world);
    check(&world, "bigin/check").await;
    world.run_to_the_end().await;
    world.finish().await;
}

#[actix_web::test]
async fn check_works_without_waiting_leads() {
    let world = World::with(|settings| settings.send_wait = secs(10)).await;
    token_answers(&world, Fault::TokenError("invalid_code".into()));
    world.app.context.read_org_at_start().await.unwrap();
    world.fail_sanity(Kind::Query, SanityFault::Status(401), 2);
    let round = world.reconcile();
    round.await.unwrap_err();
    for path in ["zoho_accounts/check", "sanity/check"] {
        let (_, body) = check(&world, path).await;
        assert_eq!(body["state"], "unavailable", "{path}: {body}");
    }
    bigin_mends(&world);
    for path in ["zoho_accounts/check", "sanity/check"] {
        let (_, body) = check(&world, path).await;
        assert_eq!(body["state"], "reachable", "{path}: {body}");
    }
    assert_eq!(ready(&world).await.1["status"], "ready");
    world.finish().await;
}

#[actix_web::test]
async fn rate_limited_token_needs_force() {
    let world = World::with(|settings| settings.send_wait = secs(10)).await;
    token_answers(&world, Fault::TokenThrottled);
    world.request(lead("Ada")).await;
    world.run_due().await;
    let calls = world.bigin_calls(CallKind::Token);
    let (status, body) = check(&world, "zoho_accounts/check").await;
    assert_eq!(status, 409);
    let detail = body["detail"].as_str().unwrap();
    assert!(
        detail.contains("requires ten minutes without any") && detail.contains("force=true"),
        "{detail}"
    );
    world.app.context.check_at_start().await.unwrap();
    world.run_due().await;
    assert_eq!(world.bigin_calls(CallKind::Token), calls, "nor does a restart");
    bigin_mends(&world);
    let (_, body) = check(&world, "zoho_accounts/check?force=true").await;
    assert_eq!(body["state"], "reachable", "{body}");
    world.run_to_the_end().await;
    world.finish().await;
}
