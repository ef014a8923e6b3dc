//! Errors as people and programs read them: RFC 9457 problem details, with the same sentence as `error`, which is where
//! the plan's button looks for it.

use actix_web::error::{InternalError, JsonPayloadError, PathError, QueryPayloadError};
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;

use crate::store::StoreError;

/// Seconds after which it is worth coming again while nothing can be stored. Sanity comes again after 30 anyway.
const RETRY_AFTER: &str = "10";

/// A problem with a sentence that says what is wrong and what to do.
pub(super) fn answer(status: u16, detail: &str) -> HttpResponse {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = json!({
        "type": "about:blank",
        "title": status.canonical_reason().unwrap_or("Error"),
        "status": status.as_u16(),
        "detail": detail,
        "error": detail,
    });
    HttpResponse::build(status)
        .content_type("application/problem+json")
        .body(body.to_string())
}

/// The address is there, and takes other methods.
pub(super) fn method_not_allowed(methods: &'static str) -> HttpResponse {
    let mut response = answer(405, &format!("This address takes {methods} only."));
    let value = actix_web::http::header::HeaderValue::from_static(methods);
    response.headers_mut().insert(actix_web::http::header::ALLOW, value);
    response
}

/// Nothing could be stored or read: come again.
pub(super) fn unavailable(error: &StoreError) -> HttpResponse {
    let detail = match error {
        StoreError::Busy => "Too many requests are waiting to be stored. Try again in a moment.",
        StoreError::Stopping => "The service is stopping. Try again in a moment.",
        StoreError::DiskFull(_) => "The disk is full or cannot be written to, so nothing can be stored.",
        StoreError::Failed(_) => "The database failed, so nothing can be stored.",
    };
    come_again(detail)
}

/// What was asked is good, and may work in a moment.
pub(super) fn come_again(detail: &str) -> HttpResponse {
    let mut response = answer(503, detail);
    let value = actix_web::http::header::HeaderValue::from_static(RETRY_AFTER);
    response
        .headers_mut()
        .insert(actix_web::http::header::RETRY_AFTER, value);
    response
}

pub(super) fn bad_json(error: JsonPayloadError, _: &HttpRequest) -> actix_web::Error {
    let response = if matches!(
        error,
        JsonPayloadError::Overflow { .. } | JsonPayloadError::OverflowKnownLength { .. }
    ) {
        answer(413, "The body is larger than 64 KiB.")
    } else {
        answer(
            400,
            "The body must be JSON (Content-Type: application/json) with a text \"leadId\".",
        )
    };
    InternalError::from_response(error, response).into()
}

pub(super) fn bad_query(error: QueryPayloadError, _: &HttpRequest) -> actix_web::Error {
    let response = answer(
        400,
        "The address has a parameter that is not understood: state, lead, before and limit are.",
    );
    InternalError::from_response(error, response).into()
}

pub(super) fn bad_path(error: PathError, _: &HttpRequest) -> actix_web::Error {
    InternalError::from_response(error, answer(404, "The id of a sync is a number.")).into()
}
