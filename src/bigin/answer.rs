//! What an answer of Bigin's API means as a whole: one decision table, body before status.
//!
//! Sources: official docs (status-codes, upsert-records), the docs of Zoho CRM, whose engine Bigin runs on, and live
//! traffic recorded on 2026-10-09.

use reqwest::StatusCode;
use serde_json::Value;

use super::item::{self, SCOPE_MISMATCH, clean_code, lacks_permission};
use crate::domain::failure::{CallError, Remote, ServiceError, ServiceErrorKind};
use crate::domain::reject_reason::RejectReason;
use crate::http_client::{self, Answer};

/// What a complete answer says.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict<'a> {
    /// `data[]` is there: each item is judged for itself, whatever the HTTP status (mixed results come as 200, 202,
    /// 207 and 400).
    Items(&'a [Value]),
    /// A body without `data[]` that is no error.
    Body(&'a Value),
    /// 204: there is no such thing.
    Nothing,
    /// `INVALID_TOKEN`: the access token is refused, nothing was done.
    TokenRefused,
    /// The call as a whole was refused for what was in it; the body names the code.
    Refused(&'a Value),
    /// The call failed as a whole.
    Failed(CallError),
}

/// Judges an answer. `scope` is the OAuth scope the call needs, named where Bigin denies it.
pub(super) fn judge<'a>(answer: &'a Answer, scope: &str) -> Verdict<'a> {
    let Some(body) = &answer.json else {
        return judge_without_json(answer);
    };
    if let Some(items) = body.get("data").and_then(Value::as_array) {
        return Verdict::Items(items);
    }
    match body.get("code").and_then(Value::as_str) {
        None | Some("SUCCESS") if answer.status.is_success() => Verdict::Body(body),
        said => judge_body_error(answer, body, said.unwrap_or_default(), scope),
    }
}

/// How a call ended, in a word for metrics and spans.
pub(super) fn label(answer: &Answer) -> &'static str {
    match judge(answer, "") {
        Verdict::Items(_) | Verdict::Body(_) | Verdict::Nothing => http_client::OK,
        Verdict::TokenRefused => http_client::TOKEN_REFUSED,
        Verdict::Refused(_) => "rejected",
        Verdict::Failed(error) => error.label(),
    }
}

fn judge_without_json(answer: &Answer) -> Verdict<'static> {
    match answer.status {
        StatusCode::NO_CONTENT => Verdict::Nothing,
        StatusCode::TOO_MANY_REQUESTS => Verdict::Failed(rate_limited(answer, http(answer.status))),
        StatusCode::PAYLOAD_TOO_LARGE | StatusCode::URI_TOO_LONG => {
            Verdict::Failed(rejected("Bigin rejected the call for its size", http(answer.status)))
        }
        _ => Verdict::Failed(ambiguous(answer, http(answer.status))),
    }
}

/// A body-level error: `{"code":"…","details":{},"message":"…","status":"error"}`.
fn judge_body_error<'a>(answer: &'a Answer, body: &'a Value, said: &str, scope: &str) -> Verdict<'a> {
    let status = answer.status;
    let code = clean_code(said).map_or_else(|| http(status), str::to_owned);
    let failed = |error| Verdict::Failed(error);
    match said {
        "INVALID_TOKEN" => Verdict::TokenRefused,
        _ if credits_used_up(said, status, body) => failed(credits(answer, code)),
        "TOO_MANY_REQUESTS" => failed(rate_limited(answer, code)),
        SCOPE_MISMATCH => failed(unauthorized(
            code,
            format!("the refresh token lacks the scope {scope}"),
            "create one with this scope in Zoho's API console and set BIGIN_REFRESH_TOKEN".to_owned(),
        )),
        _ if lacks_permission(said) => failed(unauthorized(
            code,
            "Bigin does not permit this call".to_owned(),
            format!("give the refresh token the scope {scope}, and its user the permission in Bigin"),
        )),
        "INVALID_URL_PATTERN" | "INVALID_MODULE" | "INVALID_REQUEST_METHOD" => failed(unauthorized(
            code,
            "Bigin has no such API address".to_owned(),
            "check BIGIN_DATA_CENTER: it may be the wrong data center".to_owned(),
        )),
        // Which record is locked is not said. The call is classified as ambiguous so that bisection isolates it, although
        // nothing was applied. An internal error does not say whether anything was.
        "RECORD_LOCKED" | "INTERNAL_ERROR" => failed(ambiguous(answer, code)),
        _ => judge_status(answer, body, code, scope),
    }
}

/// The body's code says nothing to us: the HTTP status decides.
fn judge_status<'a>(answer: &'a Answer, body: &'a Value, code: String, scope: &str) -> Verdict<'a> {
    let is_zoho = body.get("code").is_some();
    match answer.status {
        StatusCode::TOO_MANY_REQUESTS => Verdict::Failed(rate_limited(answer, code)),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if is_zoho => Verdict::Failed(unauthorized(
            code,
            "Bigin rejected the credentials for this call".to_owned(),
            format!("give the refresh token the scope {scope}"),
        )),
        StatusCode::PAYLOAD_TOO_LARGE | StatusCode::URI_TOO_LONG => Verdict::Refused(body),
        StatusCode::REQUEST_TIMEOUT => Verdict::Failed(ambiguous(answer, code)),
        status if is_zoho && (status.is_client_error() || status.is_success()) => Verdict::Refused(body),
        _ => Verdict::Failed(ambiguous(answer, code)),
    }
}

/// The items of an answer to a call about `asked` records.
///
/// # Errors
/// [`CallError::Ambiguous`] where their number is another: then it is not known which record they are about.
pub(super) fn items<'a>(answer: &'a Answer, scope: &str, asked: usize) -> Result<&'a [Value], CallError> {
    match judge(answer, scope) {
        Verdict::Items(items) if items.len() == asked => Ok(items),
        Verdict::Items(_) => {
            let message = "Bigin's answer does not have one result for each record";
            Err(CallError::ambiguous("WRONG_COUNT", message, None))
        }
        Verdict::Body(_) | Verdict::Nothing => {
            let message = "Bigin's answer has no results";
            Err(CallError::ambiguous("NO_RESULTS", message, None))
        }
        // A call about one record may be refused without `data[]`; then the body is the item.
        Verdict::Refused(body) if asked == 1 && item::is_gone(body) => Ok(std::slice::from_ref(body)),
        verdict => Err(failure(answer, verdict)),
    }
}

/// The JSON of an answer that is no list of results; `None` for "no content".
///
/// # Errors
/// Whatever the answer says is wrong.
pub(super) fn body<'a>(answer: &'a Answer, scope: &str) -> Result<Option<&'a Value>, CallError> {
    match judge(answer, scope) {
        Verdict::Items(_) | Verdict::Body(_) => Ok(answer.json.as_ref()),
        Verdict::Nothing => Ok(None),
        verdict => Err(failure(answer, verdict)),
    }
}

fn failure(answer: &Answer, verdict: Verdict<'_>) -> CallError {
    match verdict {
        Verdict::Failed(error) => error,
        Verdict::TokenRefused => token_refused(),
        Verdict::Refused(body) => item::refusal(body).map_or_else(
            || rejected("Bigin rejected the call", http(answer.status)),
            |(code, reason)| CallError::Rejected { code, reason },
        ),
        Verdict::Items(_) | Verdict::Body(_) | Verdict::Nothing => ambiguous(answer, http(answer.status)),
    }
}

/// Bigin refuses an access token that was just granted: no further token will help.
pub(super) fn token_refused() -> CallError {
    unauthorized(
        "INVALID_TOKEN".to_owned(),
        "Bigin rejected a new access token".to_owned(),
        "check BIGIN_DATA_CENTER, which may be the wrong data center, or create a new refresh token with `bigin-sync auth`"
            .to_owned(),
    )
}

/// The grant of an access token has left too little time for the call that it was for.
pub(super) fn slow_grant() -> CallError {
    slow(
        Remote::ZohoAccounts,
        "Zoho Accounts took so long to grant an access token that too little time was left for the call",
    )
}

/// Those calls that had the permits, or the refusal of the token, have left too little time for the call.
pub(super) fn slow_answer() -> CallError {
    slow(
        Remote::Bigin,
        "Bigin took so long to answer that too little time was left for the next call",
    )
}

fn slow(remote: Remote, what: &'static str) -> CallError {
    CallError::Service(ServiceError::new(remote, ServiceErrorKind::Unavailable, "slow", what))
}

/// Whether the answer says that the API credits of the last 24 hours are used up.
///
/// An assumption: no source shows this answer. The docs of Zoho CRM say that it comes as 429, like the concurrency limit,
/// whose code is `TOO_MANY_REQUESTS`. So it takes a code that names credits, a 429 whose code names a limit, or a limit
/// whose message speaks of credits or of 24 hours.
fn credits_used_up(said: &str, status: StatusCode, body: &Value) -> bool {
    let too_many = status == StatusCode::TOO_MANY_REQUESTS;
    let message = body.get("message").and_then(Value::as_str).unwrap_or_default();
    let message = message.to_ascii_lowercase();
    let mut words = ["credit", "24 hour", "24-hour", "daily"].iter();
    let about_a_day = words.any(|word| message.contains(word));
    let limit = said.contains("LIMIT");
    let about_a_limit = limit || too_many || said == "TOO_MANY_REQUESTS";
    said.contains("CREDIT") || (limit && too_many) || (about_a_limit && about_a_day)
}

fn credits(answer: &Answer, code: String) -> CallError {
    CallError::Service(
        ServiceError::new(
            Remote::Bigin,
            ServiceErrorKind::CreditsUsedUp,
            code,
            "Bigin's API credits for 24 hours are used up",
        )
        .with_action("check what else uses the API, or buy more credits; they come back by the hour")
        .with_retry_after(answer.retry_after),
    )
}

fn rate_limited(answer: &Answer, code: String) -> CallError {
    CallError::Service(
        ServiceError::new(
            Remote::Bigin,
            ServiceErrorKind::RateLimited,
            code,
            "Bigin is rate limiting us",
        )
        .with_retry_after(answer.retry_after),
    )
}

fn unauthorized(code: String, what: String, action: String) -> CallError {
    CallError::Service(ServiceError::new(Remote::Bigin, ServiceErrorKind::Unauthorized, code, what).with_action(action))
}

fn ambiguous(answer: &Answer, code: String) -> CallError {
    let message = match answer.json {
        Some(_) => "Bigin returned an error",
        None => "Bigin's answer could not be read",
    };
    CallError::ambiguous(code, message, answer.retry_after)
}

/// Rejected for what was in the call, of which the answer does not say more.
pub(super) fn rejected(what: &str, code: String) -> CallError {
    CallError::Rejected {
        reason: RejectReason::CallFailed {
            what: what.to_owned(),
            service_code: code.clone(),
        },
        code,
    }
}

fn http(status: StatusCode) -> String {
    format!("HTTP {}", status.as_u16())
}
