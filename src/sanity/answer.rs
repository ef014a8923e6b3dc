//! What an answer of Sanity's API means: one decision table over statuses and the three shapes of error bodies.
//!
//! The shapes are in the source of @sanity/client: `{error:{type,description,items}}`, `{error:{description}}`, and
//! `{statusCode,error:"Unauthorized",message,errorCode}`. Descriptions are not repeated: they may quote documents.

use reqwest::StatusCode;
use serde_json::Value;

use crate::domain::failure::{CallError, Remote, ServiceError, ServiceErrorKind};
use crate::domain::reject_reason::RejectReason;
use crate::http_client::{self, Answer, RawAnswer, json, word};

/// The JSON of a successful answer.
///
/// # Errors
/// Whatever the answer says is wrong.
pub(super) fn judge<'a>(answer: &'a Answer, dataset: &str) -> Result<&'a Value, CallError> {
    match &answer.json {
        Some(body) if answer.status.is_success() => Ok(body),
        _ => Err(failure(answer, dataset)),
    }
}

/// What is wrong with an answer whose body is not parsed: it is no success, or no JSON of the shape that was asked for.
pub(super) fn raw_failure(raw: &RawAnswer, dataset: &str) -> CallError {
    let is_error = raw.body.len() <= MAX_ERROR;
    failure(
        &Answer {
            status: raw.status,
            retry_after: raw.retry_after,
            json: is_error.then(|| json(&raw.body)).flatten(),
        },
        dataset,
    )
}

/// No error of Sanity's has more bytes.
const MAX_ERROR: usize = 64 * 1024;

/// How a call ended, in a word for metrics and spans.
pub(super) fn label(answer: &Answer, dataset: &str) -> &'static str {
    judge(answer, dataset)
        .err()
        .map_or(http_client::OK, |error| error.label())
}

/// How a transaction ended, in a word for metrics and spans.
pub(super) fn commit_label(answer: &Answer, dataset: &str, mutations: &[Owner<'_>]) -> &'static str {
    match judge_commit(answer, dataset, mutations) {
        Ok(()) => http_client::OK,
        Err(CommitError::Conflict(_) | CommitError::Contention) => http_client::CONFLICT,
        Err(CommitError::Forbidden(service_error)) => service_error.kind.label(),
        Err(CommitError::Call(error)) => error.label(),
    }
}

/// Why a transaction was not committed, or may not have been.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// Nothing was written: the leads of these write-backs (places in the list given, ascending) changed since they were
    /// read, or lost a draft or version. Read those again, and send the rest again.
    #[error("{} of the leads changed since they were read", .0.len())]
    Conflict(Vec<usize>),
    /// Nothing was written, for no fault of the content: the same call may be made again.
    #[error("another transaction was in the way")]
    Contention,
    /// 403: the token may not write one of the leads, or none at all. Nothing was written.
    #[error("{0}")]
    Forbidden(ServiceError),
    /// The call failed; see [`CallError`] for whether it may have been carried out.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// A mutation of a transaction: the place of the write-back it belongs to, and the document it is of.
pub(super) type Owner<'a> = (usize, &'a str);

/// Judges the answer to a transaction of these mutations.
///
/// 409 is three things (source of @sanity/sdk): a repeat that was committed before, which is success; contention; and a
/// document that is not as expected.
pub(super) fn judge_commit(answer: &Answer, dataset: &str, mutations: &[Owner<'_>]) -> Result<(), CommitError> {
    let Some(body) = &answer.json else {
        return Err(CommitError::Call(failure(answer, dataset)));
    };
    if answer.status.is_success() {
        // Anybody may stand between us and Sanity and say 200; a result must not pass for written because of it.
        let is_receipt = body["transactionId"].is_string() || body["results"].is_array();
        return match is_receipt {
            true => Ok(()),
            false => Err(CommitError::Call(CallError::unreadable(
                "Sanity's answer does not say that it committed",
            ))),
        };
    }
    match error_type(body) {
        Some("transactionAlreadyExistsError") => Ok(()),
        Some("transactionConflictError") => Err(CommitError::Contention),
        said => match conflicts(body, answer.status, said, mutations) {
            Some(places) => Err(CommitError::Conflict(places)),
            None => Err(match failure(answer, dataset) {
                CallError::Service(service_error) if answer.status == StatusCode::FORBIDDEN => {
                    CommitError::Forbidden(service_error)
                }
                error => CommitError::Call(error),
            }),
        },
    }
}

/// The write-backs whose documents are not as expected, ascending; `None` where that is not what went wrong.
///
/// An item names its mutation by `index`, or its document by `error.id`; the types of @sanity/client promise neither. Where
/// one names neither, all are to be read again.
fn conflicts(body: &Value, status: StatusCode, said: Option<&str>, mutations: &[Owner<'_>]) -> Option<Vec<usize>> {
    let items = body["error"]["items"].as_array().map_or(&[][..], Vec::as_slice);
    let failed: Vec<&Value> = items
        .iter()
        .filter(|item| is_conflict(item["error"]["type"].as_str(), status))
        .collect();
    let unnamed = items.is_empty() && said.is_some_and(|said| is_conflict(Some(said), status) && !is_outside(said));
    if failed.is_empty() && !unnamed {
        return None;
    }
    let named: Option<Vec<usize>> = failed.iter().map(|item| place(item, mutations)).collect();
    let mut places = named
        .filter(|places| !places.is_empty())
        .unwrap_or_else(|| mutations.iter().map(|(place, _)| *place).collect());
    places.sort_unstable();
    places.dedup();
    Some(places)
}

fn place(item: &Value, mutations: &[Owner<'_>]) -> Option<usize> {
    let index = item["index"].as_u64().and_then(|index| usize::try_from(index).ok());
    let by_index = index.and_then(|index| mutations.get(index));
    let by_id = || mutations.iter().find(|(_, id)| item["error"]["id"] == *id);
    by_index.or_else(by_id).map(|(place, _)| *place)
}

/// A revision that does not match, or a document that is gone. How Sanity names the latter is not documented; so every
/// named error under 404 and 409 counts, and under other statuses what speaks of something not found.
fn is_conflict(kind: Option<&str>, status: StatusCode) -> bool {
    let kind = kind.unwrap_or_default();
    let missing = kind.contains("NotFound") || kind.contains("DoesNotExist");
    let expected = kind == "documentRevisionIDDoesNotMatchError" || missing;
    expected || matches!(status, StatusCode::NOT_FOUND | StatusCode::CONFLICT)
}

/// Whether an error without items is about the project or the dataset, or about the login.
fn is_outside(kind: &str) -> bool {
    kind.starts_with("SIO-") || kind.starts_with("project") || kind.starts_with("dataset")
}

fn failure(answer: &Answer, dataset: &str) -> CallError {
    let status = answer.status;
    let http = format!("HTTP {}", status.as_u16());
    let said = answer.json.as_ref().and_then(error_type);
    let code = said.map_or_else(|| http.clone(), str::to_owned);
    let service_error = |kind, what: String, action: Option<&str>| {
        CallError::Service(ServiceError {
            remote: Remote::Sanity,
            kind,
            code: code.clone(),
            what,
            action: action.map(str::to_owned),
            retry_after: answer.retry_after,
        })
    };
    match status {
        StatusCode::UNAUTHORIZED => service_error(
            ServiceErrorKind::Unauthorized,
            "Sanity rejected SANITY_API_WRITE_TOKEN".to_owned(),
            Some("create a robot token with the Editor role and set it"),
        ),
        StatusCode::FORBIDDEN => service_error(
            ServiceErrorKind::Unauthorized,
            format!("SANITY_API_WRITE_TOKEN lacks a permission in the dataset {dataset}"),
            Some("give it the Editor role"),
        ),
        StatusCode::PAYMENT_REQUIRED => service_error(
            ServiceErrorKind::Unauthorized,
            "the Sanity project is over its quota or unpaid".to_owned(),
            Some("check its plan and usage at sanity.io/manage"),
        ),
        StatusCode::NOT_FOUND if answer.json.is_some() => service_error(
            ServiceErrorKind::Unauthorized,
            format!("Sanity has no such project or dataset ({dataset})"),
            Some("check SANITY_PROJECT_ID and SANITY_DATASET"),
        ),
        StatusCode::TOO_MANY_REQUESTS => service_error(
            ServiceErrorKind::RateLimited,
            "Sanity is rate limiting us".to_owned(),
            None,
        ),
        // Boom, the third shape, names no type for these; the status is the code then.
        _ if is_refusal(status) && answer.json.is_some() || status == StatusCode::PAYLOAD_TOO_LARGE => {
            CallError::Rejected {
                reason: RejectReason::CallFailed {
                    what: "Sanity rejected the request".to_owned(),
                    service_code: code.clone(),
                },
                code,
            }
        }
        _ => {
            let message = match answer.json {
                Some(_) => "Sanity returned an error",
                None => "Sanity's answer could not be read",
            };
            let code = if status.is_server_error() { http } else { code };
            CallError::ambiguous(code, message, answer.retry_after)
        }
    }
}

/// Statuses after which Sanity's own clients do not repeat a commit (source of the Studio), less those judged above. A 409
/// that names no reason is in doubt.
fn is_refusal(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_REQUEST
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::GONE
            | StatusCode::PRECONDITION_FAILED
            | StatusCode::UNPROCESSABLE_ENTITY
    )
}

/// The error's own name: `error.type`, or `errorCode`.
fn error_type(body: &Value) -> Option<&str> {
    let named = body["error"]["type"].as_str().or_else(|| body["errorCode"].as_str())?;
    word(named, 60, |c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_'))
}
