//! Errors as people and programs read them: RFC 9457 problem details, with the same sentence as `error`.

use actix_web::error::{InternalError, JsonPayloadError, PathError, QueryPayloadError, UrlencodedError};
use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use utoipa::ToSchema;

use crate::store::StoreError;

/// Seconds to wait before a retry while nothing can be stored. Sanity retries after 30 anyway.
const RETRY_AFTER: &str = "10";

/// The connection ended before the body, or was closed because it took too long. A retry may help.
pub(super) const BROKEN_OFF: &str = "The body did not arrive whole. Try again.";

/// What went wrong (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ProblemDetails<'a> {
    #[serde(rename = "type")]
    about: &'static str,
    /// The status in words.
    title: &'static str,
    status: u16,
    /// What is wrong and what to do.
    detail: &'a str,
    /// The same as `detail`, for clients that read `error`.
    error: &'a str,
}

/// What a problem says, kept with its answer: the pages say it in their own way.
pub(super) struct Said(pub(super) String);

/// A problem with a sentence that says what is wrong and what to do.
pub(super) fn answer(status: u16, detail: &str) -> HttpResponse {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let problem = ProblemDetails {
        about: "about:blank",
        title: status.canonical_reason().unwrap_or("Error"),
        status: status.as_u16(),
        detail,
        error: detail,
    };
    let mut response = HttpResponse::build(status)
        .insert_header((CONTENT_TYPE, "application/problem+json"))
        .json(problem);
    response.extensions_mut().insert(Said(detail.to_owned()));
    response
}

/// The address is there, and takes other methods.
pub(super) fn method_not_allowed(methods: &str) -> HttpResponse {
    let mut response = answer(405, &format!("This address takes {methods} only."));
    if let Ok(methods) = HeaderValue::from_str(methods) {
        response.headers_mut().insert(ALLOW, methods);
    }
    response
}

impl From<StoreError> for HttpResponse {
    fn from(error: StoreError) -> Self {
        unavailable(&error)
    }
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
    let value = HeaderValue::from_static(RETRY_AFTER);
    response
        .headers_mut()
        .insert(actix_web::http::header::RETRY_AFTER, value);
    response
}

pub(super) fn bad_json(error: JsonPayloadError, _: &HttpRequest) -> actix_web::Error {
    let response = match &error {
        JsonPayloadError::Overflow { .. } | JsonPayloadError::OverflowKnownLength { .. } => {
            answer(413, "The body is larger than 64 KiB.")
        }
        JsonPayloadError::Payload(_) => come_again(BROKEN_OFF),
        JsonPayloadError::Deserialize(why) => answer(400, &format!("The body is not understood: {why}.")),
        _ => answer(400, "The body must be JSON (Content-Type: application/json)."),
    };
    InternalError::from_response(error, response).into()
}

pub(super) fn bad_query(error: QueryPayloadError, _: &HttpRequest) -> actix_web::Error {
    let response = answer(
        400,
        "The address has a parameter that is not understood: /api/openapi.json says which there are.",
    );
    InternalError::from_response(error, response).into()
}

pub(super) fn bad_form(error: UrlencodedError, _: &HttpRequest) -> actix_web::Error {
    let response = match &error {
        UrlencodedError::Payload(_) => come_again(BROKEN_OFF),
        _ => answer(
            400,
            "The form is not understood. Nothing was done: go back and try again.",
        ),
    };
    InternalError::from_response(error, response).into()
}

pub(super) fn bad_path(error: PathError, _: &HttpRequest) -> actix_web::Error {
    InternalError::from_response(error, answer(404, "The id of a sync is a number.")).into()
}
