//! What can go wrong with a call.

use std::time::Duration;

use serde_json::{Value, json};

use super::options::Switches;
use super::reply::{Reply, error_object};

/// Something that goes wrong with a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// This HTTP status with a JSON body `INTERNAL_ERROR`; nothing is done.
    Status(u16),
    /// This HTTP status with a proxy's HTML page; nothing is done.
    Html(u16),
    /// The work is done, and the connection is cut before the answer.
    LostReply,
    /// The connection is cut before the work is done.
    NoReply,
    /// The work is done at once, and the answer comes this much later in real time.
    Hang(Duration),
    /// The work is done, and answered, this much later in real time: also if the caller has hung up by then.
    Stall(Duration),
    /// An error of the whole call; nothing is done.
    BodyError {
        /// HTTP status.
        status: u16,
        /// Zoho's code.
        code: String,
        /// Zoho's message.
        message: String,
    },
    /// 429 `TOO_MANY_REQUESTS`; nothing is done.
    RateLimited {
        /// Seconds for a `Retry-After` header, which Zoho does not document.
        retry_after: Option<u64>,
    },
    /// One record of the call is refused, the others are carried out.
    RecordError {
        /// Which record, from 0.
        nth: usize,
        /// Zoho's code.
        code: String,
        /// `details.api_name`.
        field: Option<String>,
    },
    /// Every record of the call is refused with `RECORD_LOCKED`.
    RecordLocked,
    /// Every record of the call is refused with this code, which is the service's own, like `NO_PERMISSION`.
    EveryRecord(String),
    /// The accounts server's errors: HTTP 200 and `{"error": …}` with this word, like `invalid_code`.
    TokenError(String),
    /// The accounts server's throttle, `Access Denied`.
    TokenThrottled,
}

impl Fault {
    /// The answer, where the fault takes the place of the work.
    pub(super) fn instead_of_work(&self, switches: &Switches) -> Option<Reply> {
        match self {
            Self::Status(status) => Some(Reply::refusal(*status, "INTERNAL_ERROR", json!({}))),
            Self::Html(status) => Some(Reply::html(*status)),
            Self::NoReply => Some(Reply::cut()),
            Self::BodyError { status, code, message } => Some(Reply::error(*status, code, message, json!({}))),
            Self::RateLimited { retry_after } => {
                let reply = Reply::refusal(429, "TOO_MANY_REQUESTS", json!({}));
                Some(match retry_after {
                    Some(seconds) => reply.with_header("retry-after", seconds.to_string()),
                    None => reply,
                })
            }
            Self::TokenError(error) => Some(Reply::json(200, json!({ "error": error }))),
            Self::TokenThrottled => Some(throttled(switches)),
            Self::LostReply
            | Self::Hang(_)
            | Self::Stall(_)
            | Self::RecordError { .. }
            | Self::RecordLocked
            | Self::EveryRecord(_) => None,
        }
    }

    /// The error of the `index`-th record, where the fault strikes it.
    pub(super) fn record_error(&self, index: usize) -> Option<Value> {
        match self {
            Self::RecordError { nth, code, field } if *nth == index => {
                let details = field.as_ref().map_or(json!({}), |field| json!({ "api_name": field }));
                Some(error_object(code, details))
            }
            Self::RecordLocked => Some(error_object("RECORD_LOCKED", json!({}))),
            Self::EveryRecord(code) => Some(error_object(code, json!({}))),
            _ => None,
        }
    }
}

/// Too many access tokens for one refresh token (Zoho CRM docs, token-validity).
pub(super) fn throttled(switches: &Switches) -> Reply {
    let body = json!({
        "error_description": "You have made too many requests continuously. Please try again after some time.",
        "error": "Access Denied",
        "status": "failure",
    });
    Reply::json(switches.throttle_status, body)
}
