//! What the API is, as OpenAPI 3.1, made from the handlers.

use actix_web::HttpResponse;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::{api, check, events, health, metrics, operator, probes, send, webhook};

/// The description of everything that is no page.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "bigin-sync",
        description = "Syncs leads from Sanity to Zoho Bigin, without losing any.",
    ),
    paths(
        webhook::receive,
        probes::livez,
        probes::readyz,
        metrics::metrics,
        send::send_to_bigin,
        api::list,
        api::create,
        operator::retry_failed,
        api::one,
        operator::retry,
        operator::cancel,
        operator::dismiss,
        operator::failures,
        events::events,
        health::health,
        operator::pause,
        operator::resume,
        check::check,
        openapi,
    ),
    modifiers(&Admin),
    security(("admin" = [])),
    tags(
        (name = "syncs", description = "The sending of leads"),
        (name = "service", description = "The service itself"),
        (name = "webhook", description = "What Sanity calls"),
    ),
)]
pub struct Document;

struct Admin;

impl Modify for Admin {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let bearer = Http::builder()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("ADMIN_TOKEN"))
            .build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("admin", SecurityScheme::Http(bearer));
        let api = document
            .paths
            .paths
            .iter_mut()
            .filter(|(path, _)| path.starts_with("/api/"));
        for (_, path) in api {
            for operation in [&mut path.get, &mut path.post].into_iter().flatten() {
                describe_refusals(operation);
            }
        }
    }
}

/// What every address under `/api` may answer beside its own answers.
fn describe_refusals(operation: &mut utoipa::openapi::path::Operation) {
    use utoipa::openapi::{ContentBuilder, Ref, RefOr, ResponseBuilder};
    let problem = || {
        ContentBuilder::new()
            .schema(Some(Ref::from_schema_name("ProblemDetails")))
            .build()
    };
    for (status, description) in [
        ("401", "The admin token is missing or wrong"),
        ("403", "A browser's session was used from another site's page"),
        ("404", "The API is off, or there is no such object"),
        ("413", "The body is larger than 64 KiB"),
        ("503", "The database does not answer: retry"),
    ] {
        if status == "413" && operation.request_body.is_none() {
            continue;
        }
        let response = ResponseBuilder::new()
            .description(description)
            .content("application/problem+json", problem())
            .build();
        let responses = &mut operation.responses.responses;
        responses.entry(status.to_owned()).or_insert(RefOr::T(response));
    }
}

/// This document.
#[utoipa::path(get, path = "/api/openapi.json", tag = "service", responses(
    (status = 200, description = "OpenAPI 3.1", body = serde_json::Value),
))]
pub(super) async fn openapi() -> HttpResponse {
    HttpResponse::Ok().json(Document::openapi())
}
