//! Answers in the shapes Zoho gives them.

use actix_web::HttpResponse;
use jiff::Timestamp;
use jiff::tz::{TimeZone, offset};
use serde_json::{Value, json};

use super::options::Switches;
use crate::fake::server::{Answered, respond};

/// An answer, before it is HTTP.
pub(super) struct Reply {
    pub(super) status: u16,
    body: Body,
    headers: Vec<(&'static str, String)>,
}

enum Body {
    Json(Value),
    Html(String),
    Empty,
    Cut,
}

impl Reply {
    pub(super) fn json(status: u16, body: Value) -> Self {
        Self::new(status, Body::Json(body))
    }

    /// 204: Zoho's way to say that nothing was found.
    pub(super) fn nothing() -> Self {
        Self::new(204, Body::Empty)
    }

    /// A page of a proxy on the way.
    pub(super) fn html(status: u16) -> Self {
        let page = format!(
            "<html><head><title>{status}</title></head><body><center><h1>{status}</h1></center></body></html>\n"
        );
        Self::new(status, Body::Html(page))
    }

    /// No answer: the connection is cut. Status 0 in the journal.
    pub(super) fn cut() -> Self {
        Self::new(0, Body::Cut)
    }

    /// An error of the whole call: one object, no `data`.
    pub(super) fn error(status: u16, code: &str, message: &str, details: Value) -> Self {
        let body = json!({"code": code, "details": details, "message": message, "status": "error"});
        Self::json(status, body)
    }

    /// An error of the whole call, with the usual message of its code.
    pub(super) fn refusal(status: u16, code: &str, details: Value) -> Self {
        Self::json(status, error_object(code, details))
    }

    /// The answer to a call about several records, each with its own outcome.
    pub(super) fn items(items: Vec<Item>, switches: &Switches) -> Self {
        let failed = items.iter().filter(|item| matches!(item, Item::Failed(_))).count();
        let inserted = items.iter().any(|item| matches!(item, Item::Inserted(_)));
        let status = match failed {
            0 if inserted => 201,
            0 => 200,
            _ if failed == items.len() => switches.all_failed_status,
            _ => switches.mixed_status,
        };
        let data: Vec<Value> = items.into_iter().map(Item::into_json).collect();
        Self::json(status, json!({ "data": data }))
    }

    pub(super) fn with_header(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(super) fn into_http(self) -> HttpResponse {
        respond(self.into_answer())
    }

    pub(super) fn into_answer(self) -> Option<Answered> {
        let Self {
            status,
            body,
            mut headers,
        } = self;
        let (content_type, body) = match body {
            Body::Json(value) => ("application/json;charset=UTF-8", value.to_string()),
            Body::Html(page) => ("text/html", page),
            Body::Empty => ("", String::new()),
            Body::Cut => return None,
        };
        if !content_type.is_empty() {
            headers.push(("content-type", content_type.to_owned()));
        }
        Some(Answered {
            status,
            headers,
            body: body.into_bytes(),
        })
    }

    fn new(status: u16, body: Body) -> Self {
        Self {
            status,
            body,
            headers: Vec::new(),
        }
    }
}

/// What became of one record of a call.
pub(super) enum Item {
    Inserted(Value),
    Done(Value),
    Failed(Value),
}

impl Item {
    fn into_json(self) -> Value {
        match self {
            Self::Inserted(value) | Self::Done(value) | Self::Failed(value) => value,
        }
    }
}

/// An error as it stands in `data[]`, or alone as the whole body; all four keys are always there (official SDKs rely
/// on it).
pub(super) fn error_object(code: &str, details: Value) -> Value {
    json!({"code": code, "details": details, "message": message_of(code), "status": "error"})
}

/// The error for an id that is unknown, deleted or merged away.
pub(super) fn invalid_id(details: Value) -> Value {
    let message = "the id given seems to be invalid";
    json!({"code": "INVALID_DATA", "details": details, "message": message, "status": "error"})
}

fn message_of(code: &str) -> &'static str {
    match code {
        "INVALID_DATA" => "invalid data",
        "MANDATORY_NOT_FOUND" => "required field not found",
        "DUPLICATE_DATA" => "duplicate data",
        "RECORD_LOCKED" => "The record is currently locked and cannot be modified.",
        "LIMIT_EXCEEDED" => "The limit is exceeded",
        "TOO_MANY_REQUESTS" => "Too many requests fired in concurrency than the allowed limit.",
        "INVALID_TOKEN" => "invalid oauth token",
        "OAUTH_SCOPE_MISMATCH" => "invalid oauth scope to access this URL",
        "INTERNAL_ERROR" => "Internal Server Error",
        "INVALID_MODULE" => "the module name given seems to be invalid",
        "INVALID_REQUEST_METHOD" => "The http request method type is not a valid one",
        "INVALID_URL_PATTERN" => "Please check if the URL trying to access is a correct one",
        "REQUIRED_PARAM_MISSING" => "One of the expected parameter is missing",
        "PATTERN_NOT_MATCHED" => "Please check whether the input values are correct",
        "SYNTAX_ERROR" => "syntax error in the query",
        _ => "the request could not be processed",
    }
}

/// A time as Bigin writes it: in the organisation's zone, to the second (recorded live traffic, 2026-10-09).
pub(super) fn bigin_time(at: Timestamp) -> String {
    at.to_zoned(TimeZone::fixed(offset(3)))
        .strftime("%Y-%m-%dT%H:%M:%S%:z")
        .to_string()
}
