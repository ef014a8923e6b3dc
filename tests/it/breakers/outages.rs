//! Every outage of a service is reported with what to do, fails no lead in a weekend, and ends by itself.

use std::time::Duration;

use bigin_sync::domain::problem::Problem;
use bigin_sync::fake::bigin::{CallKind, Fault};
use bigin_sync::fake::sanity::{Fault as SanityFault, RetryAfter};
use bigin_sync::store::Stage;

use crate::world::{World, lead, secs};

use super::{bigin_answers, bigin_mends, ready, sanity_answers, sanity_mends, token_answers};

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

fn refusal(status: u16, code: &str, message: &str) -> Fault {
    Fault::BodyError {
        status,
        code: code.into(),
        message: message.into(),
    }
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
async fn token_endpoint_outages() {
    for trouble in troubles_of_the_token() {
        outlasts_a_weekend_of(trouble).await;
    }
}

#[actix_web::test]
async fn bigin_outages() {
    for trouble in troubles_of_bigin() {
        outlasts_a_weekend_of(trouble).await;
    }
}

#[actix_web::test]
async fn sanity_outages() {
    for trouble in troubles_of_sanity() {
        outlasts_a_weekend_of(trouble).await;
    }
}
