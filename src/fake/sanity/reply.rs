//! Answers of the API: the shapes of its errors, and the answer that never comes.

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::fault::{RetryAfter, http_date};
use crate::clock::after;
use crate::fake::server::{Answered, respond};

/// An answer before it is sent.
pub(super) struct Reply {
    /// `None` cuts the connection.
    pub(super) status: Option<u16>,
    headers: Vec<(&'static str, String)>,
    body: Body,
}

enum Body {
    Json(Value),
    Text(String),
    Html(String),
}

impl Reply {
    pub(super) fn json(status: u16, body: Value) -> Self {
        Self {
            status: Some(status),
            headers: Vec::new(),
            body: Body::Json(body),
        }
    }

    /// JSON that is written out already.
    pub(super) fn text(status: u16, body: String) -> Self {
        Self {
            status: Some(status),
            headers: Vec::new(),
            body: Body::Text(body),
        }
    }

    /// No answer at all.
    pub(super) fn cut() -> Self {
        Self {
            status: None,
            headers: Vec::new(),
            body: Body::Html(String::new()),
        }
    }

    /// A proxy's page.
    pub(super) fn html(status: u16) -> Self {
        let reason = reason(status);
        let page =
            format!("<html><head><title>{status} {reason}</title></head><body><h1>{reason}</h1></body></html>\n");
        Self {
            status: Some(status),
            headers: Vec::new(),
            body: Body::Html(page),
        }
    }

    /// The API gateway's errors (source of @sanity/client 8.15.0, `src/http/errors.ts`).
    pub(super) fn boom(status: u16, message: &str) -> Self {
        let mut body = json!({"statusCode": status, "error": reason(status), "message": message});
        if let (401, Value::Object(body)) = (status, &mut body) {
            body.insert("errorCode".to_owned(), "SIO-401-ANF".into());
        }
        Self::json(status, body)
    }

    /// Sanity's error for a token it does not know.
    pub(super) fn unauthorized() -> Self {
        Self::boom(401, "Unauthorized - Session not found")
    }

    pub(super) fn rate_limited(wait: Option<RetryAfter>, now: Timestamp) -> Self {
        let mut reply = Self::boom(429, "Too many requests");
        match wait {
            Some(RetryAfter::Seconds(seconds)) => reply.headers.push(("retry-after", seconds.to_string())),
            Some(RetryAfter::Date(wait)) => {
                reply.headers.push(("retry-after", http_date(after(now, wait))));
                reply.headers.push(("date", http_date(now)));
            }
            None => {}
        }
        reply
    }

    pub(super) fn too_many_mutations(wait: Duration, now: Timestamp) -> Self {
        let wait = RetryAfter::Seconds(wait.as_secs());
        Self::rate_limited(Some(wait), now)
    }

    pub(super) fn conflict() -> Self {
        let description = "Transaction was rolled back because of contention";
        let error = json!({"type": "transactionConflictError", "description": description});
        Self::json(409, json!({ "error": error }))
    }

    pub(super) fn into_response(self) -> HttpResponse {
        respond(self.into_answer())
    }

    pub(super) fn into_answer(self) -> Option<Answered> {
        let (content_type, body) = match self.body {
            Body::Json(body) => ("application/json", body.to_string()),
            Body::Text(body) => ("application/json", body),
            Body::Html(page) => ("text/html", page),
        };
        let mut headers = self.headers;
        headers.push(("content-type", content_type.to_owned()));
        Some(Answered {
            status: self.status?,
            headers,
            body: body.into_bytes(),
        })
    }
}

fn reason(status: u16) -> &'static str {
    let status = StatusCode::from_u16(status).ok();
    status.and_then(|status| status.canonical_reason()).unwrap_or("Error")
}
