//! Trouble of a whole service: anybody who asks is told in a person's words what is wrong and what to do, webhooks keep
//! being taken, no lead pays for it however long it lasts, and once it is mended everything flows on by itself.

use std::time::Duration;

use bigin_sync::domain::problem::Problem;
use bigin_sync::fake::bigin::{CallKind, Fault};
use bigin_sync::fake::sanity::{Fault as SanityFault, Kind, RetryAfter};
use bigin_sync::store::Stage;
use serde_json::{Value, json};

use crate::world::{World, answer, client, lead, secs};

/// A kind of trouble.
struct Trouble {
    what: &'static str,
    begin: fn(&World),
    mend: fn(&World),
    /// Nobody can take it for a lead's doing. Otherwise a lead that meets it alone has failed, and only its patience is spared.
    is_plain: bool,
    /// What `/readyz` must say: the part, and what a person is to do or to know.
    told: &'static [&'static str],
}

const BIGIN_CALLS: [CallKind; 5] = [
    CallKind::Upsert,
    CallKind::Update,
    CallKind::AddTags,
    CallKind::Fields,
    CallKind::Coql,
];

fn bigin_answers(world: &World, fault: &Fault) {
    for kind in BIGIN_CALLS {
        world.bigin.model().fail_next(kind, fault.clone(), usize::MAX);
    }
}

fn token_answers(world: &World, fault: Fault) {
    world.bigin.model().invalidate_access_tokens();
    world.bigin.model().fail_next(CallKind::Token, fault, usize::MAX);
}

fn sanity_answers(world: &World, fault: &SanityFault) {
    for kind in [Kind::Doc, Kind::Mutate, Kind::Query] {
        world.sanity.model().faults.fail_next(kind, fault.clone(), usize::MAX);
    }
}

fn refusal(status: u16, code: &str, message: &str) -> Fault {
    Fault::BodyError {
        status,
        code: code.into(),
        message: message.into(),
    }
}

fn bigin_mends(world: &World) {
    world.bigin.model().clear_faults();
}

fn sanity_mends(world: &World) {
    world.sanity.model().faults.clear();
}

fn troubles_of_the_token() -> Vec<Trouble> {
    vec![
        Trouble {
            what: "the refresh token is revoked",
            is_plain: true,
            begin: |world| token_answers(world, Fault::TokenError("invalid_code".into())),
            mend: bigin_mends,
            told: &[
                "zoho_accounts: the refresh token was rejected: ",
                "(invalid_code); create a new one with `bigin-sync auth` and set BIGIN_REFRESH_TOKEN",
            ],
        },
        Trouble {
            what: "the client is another data centre's",
            is_plain: true,
            begin: |world| token_answers(world, Fault::TokenError("invalid_client".into())),
            mend: bigin_mends,
            told: &[
                "rejected the client ID (invalid_client); ",
                "check BIGIN_CLIENT_ID and BIGIN_DATA_CENTER",
            ],
        },
        Trouble {
            what: "the client secret is wrong",
            is_plain: true,
            begin: |world| token_answers(world, Fault::TokenError("invalid_client_secret".into())),
            mend: bigin_mends,
            told: &["(invalid_client_secret)", "check BIGIN_CLIENT_SECRET"],
        },
        Trouble {
            what: "the token endpoint throttles",
            is_plain: true,
            begin: |world| token_answers(world, Fault::TokenThrottled),
            mend: bigin_mends,
            told: &[
                "zoho_accounts: Zoho Accounts grants no more access tokens for now (Access Denied); request no token for ten minutes",
            ],
        },
        Trouble {
            what: "the accounts server is down",
            is_plain: true,
            begin: |world| token_answers(world, Fault::Html(503)),
            mend: bigin_mends,
            told: &["zoho_accounts: ", "did not answer as a token endpoint (HTTP 503)"],
        },
        Trouble {
            what: "the accounts server cuts every connection",
            is_plain: true,
            begin: |world| token_answers(world, Fault::NoReply),
            mend: bigin_mends,
            told: &["zoho_accounts: ", "did not answer (connection lost)"],
        },
    ]
}

fn troubles_of_bigin() -> Vec<Trouble> {
    vec![
        Trouble {
            what: "Bigin limits the rate",
            is_plain: true,
            begin: |world| bigin_answers(world, &Fault::RateLimited { retry_after: Some(90) }),
            mend: bigin_mends,
            told: &["bigin: Bigin is rate limiting us (TOO_MANY_REQUESTS)"],
        },
        Trouble {
            what: "the API credits are used up",
            is_plain: true,
            begin: |world| world.bigin.model().switches.credit_limit = 0,
            mend: |world| world.bigin.model().switches.credit_limit = 50_000,
            told: &["bigin: Bigin's API credits for 24 hours are used up (LIMIT_EXCEEDED)"],
        },
        Trouble {
            what: "the scope is missing",
            is_plain: true,
            begin: |world| {
                let mut model = world.bigin.model();
                model
                    .switches
                    .missing_scopes
                    .extend([CallKind::Upsert, CallKind::Update, CallKind::AddTags]);
            },
            mend: |world| world.bigin.model().switches.missing_scopes.clear(),
            told: &[
                "bigin: ",
                "ZohoBigin.modules.contacts.ALL",
                "(OAUTH_SCOPE_MISMATCH)",
                "set BIGIN_REFRESH_TOKEN",
            ],
        },
        Trouble {
            what: "the user lacks a permission",
            is_plain: true,
            begin: |world| bigin_answers(world, &refusal(403, "NO_PERMISSION", "permission denied")),
            mend: bigin_mends,
            told: &[
                "bigin: Bigin does not permit this call (NO_PERMISSION)",
                "its user the permission",
            ],
        },
        Trouble {
            what: "every token is refused",
            is_plain: true,
            begin: |world| bigin_answers(world, &refusal(401, "INVALID_TOKEN", "invalid oauth token")),
            mend: bigin_mends,
            told: &["bigin: Bigin rejected a new access token", "check BIGIN_DATA_CENTER"],
        },
        Trouble {
            what: "the address is another data centre's",
            is_plain: true,
            begin: |world| {
                bigin_answers(
                    world,
                    &refusal(
                        404,
                        "INVALID_URL_PATTERN",
                        "Please check if the URL trying to access is a correct one",
                    ),
                )
            },
            mend: bigin_mends,
            told: &["bigin: Bigin has no such API address", "check BIGIN_DATA_CENTER"],
        },
        Trouble {
            what: "a storm of 503 pages",
            is_plain: false,
            begin: |world| world.bigin.model().switches.down = true,
            mend: |world| world.bigin.model().switches.down = false,
            told: &["bigin: ", "HTTP 503"],
        },
        Trouble {
            what: "a storm of internal errors",
            is_plain: false,
            begin: |world| bigin_answers(world, &Fault::Status(500)),
            mend: bigin_mends,
            told: &["bigin: Bigin returned an error (INTERNAL_ERROR)"],
        },
        Trouble {
            what: "a log-in page with 200",
            is_plain: false,
            begin: |world| bigin_answers(world, &Fault::Html(200)),
            mend: bigin_mends,
            told: &["bigin: Bigin's answer could not be read (HTTP 200)"],
        },
        Trouble {
            what: "every call is cut",
            is_plain: false,
            begin: |world| bigin_answers(world, &Fault::NoReply),
            mend: bigin_mends,
            told: &["bigin: the connection to Bigin was lost before its answer was complete"],
        },
    ]
}

fn troubles_of_sanity() -> Vec<Trouble> {
    vec![
        Trouble {
            what: "Sanity's token is unknown",
            is_plain: true,
            begin: |world| sanity_answers(world, &SanityFault::Status(401)),
            mend: sanity_mends,
            told: &[
                "sanity: Sanity rejected SANITY_API_WRITE_TOKEN (SIO-401-ANF); create a robot token with the Editor role and set it",
            ],
        },
        Trouble {
            what: "Sanity's token lacks a right",
            is_plain: true,
            begin: |world| sanity_answers(world, &SanityFault::Status(403)),
            mend: sanity_mends,
            told: &[
                "sanity: SANITY_API_WRITE_TOKEN lacks a permission",
                "give it the Editor role",
            ],
        },
        Trouble {
            what: "Sanity's plan is used up",
            is_plain: true,
            begin: |world| sanity_answers(world, &SanityFault::Status(402)),
            mend: sanity_mends,
            told: &[
                "sanity: the Sanity project is over its quota or unpaid",
                "check its plan and usage",
            ],
        },
        Trouble {
            what: "the dataset is unknown",
            is_plain: true,
            begin: |world| sanity_answers(world, &SanityFault::Status(404)),
            mend: sanity_mends,
            told: &[
                "sanity: Sanity has no such project or dataset",
                "check SANITY_PROJECT_ID and SANITY_DATASET",
            ],
        },
        Trouble {
            what: "Sanity limits the rate",
            is_plain: true,
            begin: |world| sanity_answers(world, &SanityFault::RateLimited(Some(RetryAfter::Date(secs(120))))),
            mend: sanity_mends,
            told: &["sanity: Sanity is rate limiting us (HTTP 429)"],
        },
        Trouble {
            what: "Sanity is down",
            is_plain: true,
            begin: |world| sanity_answers(world, &SanityFault::Html(503)),
            mend: sanity_mends,
            told: &["sanity: Sanity's answer could not be read (HTTP 503)"],
        },
        Trouble {
            what: "Sanity cuts every call",
            is_plain: true,
            begin: |world| sanity_answers(world, &SanityFault::NoReply),
            mend: sanity_mends,
            told: &["sanity: the connection to Sanity was lost before its answer was complete"],
        },
    ]
}

async fn ready(world: &World) -> (u16, Value) {
    answer(client().get(format!("{}/readyz", world.url))).await
}

/// Leads at every step meet the trouble: one asks while it lasts, one waits for its tag, one for its result.
async fn outlasts_a_weekend_of(trouble: Trouble) {
    let Trouble {
        what,
        begin,
        mend,
        is_plain,
        told,
    } = trouble;
    let world = World::new().await;
    world.request(lead("Tagged")).await;
    world.run_due().await;
    world.clock.advance(secs(15));
    world.run(Stage::Tag).await;
    world.request(lead("Upserted")).await;
    world.run(Stage::Upsert).await;
    begin(&world);
    for name in ["Ada", "Grace", "Edsger"] {
        world.request(lead(name)).await;
    }
    world.run_due().await;
    world.pass(secs(16)).await;
    let (status, body) = ready(&world).await;
    assert_eq!((status, body["status"].as_str()), (200, Some("degraded")), "{what}");
    let problems: Vec<Problem> = serde_json::from_value(body["degraded"].clone()).unwrap();
    let sentence = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    for part in told {
        assert!(sentence.contains(part), "{what}: {sentence} does not say {part:?}");
    }
    assert!(
        !sentence.contains("lead-") && !sentence.contains("example.org"),
        "{what}: {sentence}"
    );

    for _ in 0..60 {
        world.pass(secs(3600)).await;
    }
    assert_eq!(ready(&world).await.0, 200, "{what}: webhooks are stored all the same");
    world.request(lead("Late")).await;
    for name in ["Tagged", "Upserted", "Ada", "Grace", "Edsger", "Late"] {
        let sync = world.sync(name).await.sync;
        assert_eq!(
            sync.attempts.backoff_total,
            Duration::ZERO,
            "{what}: {name} pays with its patience"
        );
        assert_ne!(sync.state.label(), "failed", "{what}: {name}");
        assert!(
            sync.attempts.count == 0 || !is_plain,
            "{what}: {name} pays with an attempt"
        );
        let history = world.history(sync.id).await;
        assert!(
            history.len() < 200,
            "{what}: {} lines of history of {name}",
            history.len()
        );
    }

    mend(&world);
    world.run_to_the_end().await;
    assert_eq!(world.ledger().await.sent, 6, "{what}");
    assert_eq!(ready(&world).await.1["status"], "ready", "{what}");
    world.finish().await;
}

#[actix_web::test]
async fn trouble_of_the_token_endpoint_is_told_costs_nothing_and_passes() {
    for trouble in troubles_of_the_token() {
        outlasts_a_weekend_of(trouble).await;
    }
}

#[actix_web::test]
async fn trouble_of_bigin_is_told_costs_nothing_and_passes() {
    for trouble in troubles_of_bigin() {
        outlasts_a_weekend_of(trouble).await;
    }
}

#[actix_web::test]
async fn trouble_of_sanity_is_told_costs_nothing_and_passes() {
    for trouble in troubles_of_sanity() {
        outlasts_a_weekend_of(trouble).await;
    }
}

// --- Checked now ------------------------------------------------------------------------------------------------------

async fn check(world: &World, path: &str) -> (u16, Value) {
    let path = format!("/api/services/{path}");
    world.while_workers_run(world.post(&path, Value::Null)).await
}

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
async fn an_operator_ends_a_pause_of_a_day_with_one_call() {
    let world = limited_for_a_day().await;
    let calls = |world: &World| {
        BIGIN_CALLS
            .map(|kind| world.bigin.model().count(kind))
            .iter()
            .sum::<usize>()
    };
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
async fn a_retry_and_a_resume_say_what_is_unavailable_and_how_to_check_it() {
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
async fn a_service_that_no_lead_waits_for_is_checked_all_the_same() {
    let world = World::with(|settings| settings.send_wait = secs(10)).await;
    token_answers(&world, Fault::TokenError("invalid_code".into()));
    world.app.context.read_org_at_start().await.unwrap();
    world
        .sanity
        .model()
        .faults
        .fail_next(Kind::Query, SanityFault::Status(401), 2);
    let round = bigin_sync::workers::reconcile::round(&world.app.context, secs(60), secs(30));
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
async fn a_throttled_token_endpoint_is_checked_early_only_where_an_operator_insists() {
    let world = World::with(|settings| settings.send_wait = secs(10)).await;
    token_answers(&world, Fault::TokenThrottled);
    world.request(lead("Ada")).await;
    world.run_due().await;
    let calls = world.bigin.model().count(CallKind::Token);
    let (status, body) = check(&world, "zoho_accounts/check").await;
    assert_eq!(status, 409);
    let detail = body["detail"].as_str().unwrap();
    assert!(
        detail.contains("ten minutes without any request") && detail.contains("insist=true"),
        "{detail}"
    );
    world.app.context.check_at_start().await.unwrap();
    world.run_due().await;
    assert_eq!(world.bigin.model().count(CallKind::Token), calls, "nor does a restart");
    bigin_mends(&world);
    let (_, body) = check(&world, "zoho_accounts/check?insist=true").await;
    assert_eq!(body["state"], "reachable", "{body}");
    world.run_to_the_end().await;
    world.finish().await;
}

#[actix_web::test]
async fn after_a_restart_what_was_repaired_goes_on_at_once() {
    for is_lead_waiting in [true, false] {
        let mut world = World::new().await;
        sanity_answers(&world, &SanityFault::RateLimited(Some(RetryAfter::Seconds(86_400))));
        token_answers(&world, Fault::TokenError("invalid_client_secret".into()));
        world.app.context.read_org_at_start().await.unwrap();
        if is_lead_waiting {
            world.request(lead("Ada")).await;
            world.run_due().await;
        } else {
            let round = bigin_sync::workers::reconcile::round(&world.app.context, secs(60), secs(30));
            round.await.unwrap_err();
        }
        assert_eq!(ready(&world).await.1["status"], "degraded");
        bigin_mends(&world);
        sanity_mends(&world);
        world.restart().await;
        world.app.context.check_at_start().await.unwrap();
        world.run_due().await;
        assert_eq!(
            ready(&world).await.1["status"],
            "ready",
            "a lead waits: {is_lead_waiting}"
        );
        world.run_to_the_end().await;
        world.finish().await;
    }
}
