//! The API as people and their dashboards use it.

use std::time::Duration;

use bigin_sync::fake::bigin::Change;
use bigin_sync::store::Stage;
use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{World, answer, client, id, lead, secs, with};

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
async fn the_plans_route_waits_and_answers_as_the_plan_says() {
    let world = World::with(|settings| settings.send_wait = secs(60)).await;
    world.sanity.model().seed(lead("Ada")).unwrap();
    let (status, body) =
        while_workers_run(&world, world.post("/api/send-to-bigin", json!({ "leadId": id("Ada") }))).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(
        body,
        json!({
            "success": true,
            "contactId": world.lead_says("Ada", "biginContactId").unwrap(),
            "action": "insert",
            "message": "Contact inserted successfully and tagged in Bigin",
        })
    );
    assert_eq!(
        world.lead_says("Ada", "crmStatus").as_deref(),
        Some("SENT"),
        "whatever crmStatus said before"
    );
    let (status, body) =
        while_workers_run(&world, world.post("/api/send-to-bigin", json!({ "leadId": id("Ada") }))).await;
    assert_eq!((status, &body["action"]), (200, &json!("update")), "{body}");
    assert_eq!(body["message"], "Contact updated successfully and tagged in Bigin");
    world.finish().await;
}

#[actix_web::test]
async fn the_plans_route_says_how_else_it_can_end() {
    let world = World::with(|settings| settings.send_wait = secs(60)).await;
    world
        .sanity
        .model()
        .seed(with(lead("Ada"), json!({ "emailAddress": "no address" })))
        .unwrap();
    let cases = [
        (id("Ada"), 422, "Bigin rejected Email: not an email address"),
        (
            "lead-nobody".to_owned(),
            404,
            "There is no published lead with this id.",
        ),
    ];
    for (lead, expected, error) in cases {
        let (status, body) =
            while_workers_run(&world, world.post("/api/send-to-bigin", json!({ "leadId": lead }))).await;
        assert_eq!((status, body["error"].as_str()), (expected, Some(error)));
    }
    world.finish().await;
}

#[actix_web::test]
async fn the_plans_route_stops_waiting_and_the_lead_is_sent_all_the_same() {
    let world = World::new().await;
    world.sanity.model().seed(lead("Ada")).unwrap();
    let (status, body) = world.post("/api/send-to-bigin", json!({ "leadId": id("Ada") })).await;
    assert_eq!(status, 202);
    assert_eq!(
        (&body["success"], &body["error"]),
        (&json!(false), &json!("still being sent"))
    );
    world.run_to_the_end().await;
    assert_eq!(world.state("Ada").await, "sent");
    world.finish().await;
}

#[actix_web::test]
async fn a_sync_is_opened_listed_and_looked_at() {
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
async fn bad_requests_are_told_what_is_wrong() {
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
        (world.get("/api/syncs/99").await, 404, "no such sync"),
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
async fn health_shows_the_ledger_and_the_services_in_trouble() {
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
    world.sanity.model().request(&id("Ada")).unwrap();
    world.deliver().await;
    world.run_due().await;
    let (_, health) = world.get("/api/health").await;
    assert_eq!(health["ledger"]["in_progress"], 1, "{health}");
    assert_eq!(health["breakers"].as_array().map(Vec::len), Some(1), "{health}");
    world.bigin.model().switches.down = false;
    world.run_to_the_end().await;
    world.finish().await;
}

/// A lead that has failed and was corrected since, and what its crmStatus was then set to.
async fn failed_and_edited(world: &World, name: &str, status: &str) {
    world
        .request(with(lead(name), json!({ "emailAddress": "nobody at home" })))
        .await;
    world.run_to_the_end().await;
    let email = format!("{}@example.org", name.to_lowercase());
    let edit = json!({ "emailAddress": email, "crmStatus": status });
    world.sanity.model().edit(&id(name), edit).unwrap();
}

#[actix_web::test]
async fn a_retry_says_that_the_lead_no_longer_asks_and_sends_it_where_who_asks_insists() {
    let world = World::with(|settings| settings.send_wait = secs(60)).await;
    failed_and_edited(&world, "Ada", "NOT_SENT").await;
    let (status, body) = while_workers_run(&world, world.post("/api/syncs/1/retry", json!(null))).await;
    assert_eq!(status, 409, "{body}");
    let detail = body["detail"].as_str().unwrap();
    assert!(detail.contains("no longer asks to be sent"), "{detail}");
    assert!(detail.contains("/api/syncs/2/retry?insist=true"), "{detail}");
    assert_eq!(world.bigin.model().contacts().count(), 0, "nothing was sent");
    let (status, body) = world.post("/api/syncs/2/retry?insist=true", json!(null)).await;
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
    assert_eq!(
        world.post("/api/syncs/1/retry?insist=perhaps", json!(null)).await.0,
        400
    );
    world.finish().await;
}

#[actix_web::test]
async fn a_failure_is_dismissed_and_a_new_one_shows_again() {
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
async fn health_says_whether_webhooks_arrive_and_which_services_were_called() {
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
async fn the_api_wants_the_admin_token_and_is_off_without_one() {
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
async fn live_and_ready_are_open_and_name_every_part_in_trouble() {
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
    world
        .sanity
        .model()
        .edit(&id("Ada"), json!({ "crmStatus": "NOT_SENT" }))
        .unwrap();
    world.sanity.model().delete(&id("Ada")).unwrap();
    assert_eq!(world.state("Ada").await, "requested", "and the lead waits");
}

#[actix_web::test]
async fn a_failed_lead_is_tried_again_and_one_on_its_way_is_hurried() {
    let world = World::new().await;
    world
        .request(with(lead("Ada"), json!({ "emailAddress": "no address" })))
        .await;
    world.run_to_the_end().await;
    let failed = world.sync("Ada").await.sync.id;
    world
        .sanity
        .model()
        .edit(&id("Ada"), json!({ "emailAddress": "ada@example.org" }))
        .unwrap();
    let (status, sync) = world.post(&format!("/api/syncs/{failed}/retry"), json!({})).await;
    assert_eq!(
        (status, &sync["state"], &sync["isManual"]),
        (202, &json!("requested"), &json!(true))
    );
    assert_ne!(sync["id"], json!(failed), "what has ended stays as it was");
    world.run_to_the_end().await;
    assert_eq!(world.lead_says("Ada", "crmStatus").as_deref(), Some("SENT"));

    // While it is on its way, trying it again joins it.
    world.sanity.model().request(&id("Ada")).unwrap();
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
async fn all_leads_that_failed_for_a_reason_are_tried_again_and_no_others() {
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
async fn a_sync_is_cancelled_only_while_it_is_on_its_way() {
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
async fn a_sync_that_a_worker_has_in_hand_cannot_be_cancelled() {
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
        problem["detail"].as_str().unwrap().contains("at this very moment"),
        "{problem}"
    );
    world.pass(secs(120)).await;
    world.run_to_the_end().await;
    world.finish().await;
}

#[actix_web::test]
async fn work_that_a_person_has_paused_waits_and_readiness_says_so() {
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

#[actix_web::test]
async fn the_pages_of_a_list_stay_whole_while_syncs_are_opened() {
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

#[actix_web::test]
async fn pages_elsewhere_may_call_the_api_only_from_the_origin_that_is_set() {
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
    let response = request.bearer_auth(crate::world::ADMIN_TOKEN).send().await.unwrap();
    assert_eq!(response.status().as_u16(), 200);
    assert_eq!(response.headers()["access-control-allow-origin"], own);
    assert!(!response.headers().contains_key("access-control-allow-credentials"));
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    world.finish().await;
}
