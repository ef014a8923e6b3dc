//! What Bigin says of one record of a call: `{"code","details","message","status"}`.
//!
//! Sentences name fields, limits and expected types. Values and the server's own messages are never repeated.

use reqwest::StatusCode;
use serde_json::Value;

use super::Results;
use crate::domain::failure::{CallError, ItemError, Remote, ServiceError, ServiceErrorKind};
use crate::domain::lead::ContactId;
use crate::domain::reject_reason::RejectReason;
use crate::http_client::word;

/// Judges one item of `data[]`; `status` is that of the whole answer. On success returns its `details`.
///
/// `by_id` says that the call addressed contacts by id, so that an id can be what is wrong.
///
/// # Errors
/// [`ItemError`]; codes that are not known are final, unless they look like trouble of the server.
pub(super) fn judge(item: &Value, status: StatusCode, by_id: bool) -> Result<&Value, ItemError> {
    let said = text(item, "code").unwrap_or_default();
    let success = match text(item, "status") {
        Some(word) => word.eq_ignore_ascii_case("success"),
        None => said == "SUCCESS",
    };
    if success {
        return Ok(&item["details"]);
    }
    if by_id && is_gone(item) {
        return Err(ItemError::ContactGone);
    }
    match refusal(item) {
        Some((code, _)) if let Some(kind) = service_refusal(&code) => Err(ItemError::Service {
            error: service_error_of(kind, code),
        }),
        Some((code, reason)) if !passes(&code, status) => Err(ItemError::Rejected { code, reason }),
        Some((code, _)) => Err(ItemError::Retry { code }),
        None => Err(ItemError::Retry {
            code: "NO_CODE".to_owned(),
        }),
    }
}

/// The code of a token without the scope of the call.
pub const SCOPE_MISMATCH: &str = "OAUTH_SCOPE_MISMATCH";

/// Whether a code says that this call is not permitted: the token lacks the scope, or its user the permission. The codes of
/// a token that is refused for every call are not among them.
pub fn lacks_permission(code: &str) -> bool {
    matches!(code, SCOPE_MISMATCH | "NO_PERMISSION" | "AUTHORIZATION_FAILED")
}

/// The kind of trouble, where the refusal of a record speaks of the service and not of the record: a missing right, a limit,
/// an internal error.
fn service_refusal(code: &str) -> Option<ServiceErrorKind> {
    match code {
        "INVALID_TOKEN" => Some(ServiceErrorKind::Unauthorized),
        code if lacks_permission(code) => Some(ServiceErrorKind::Unauthorized),
        "LIMIT_EXCEEDED" | "TOO_MANY_REQUESTS" => Some(ServiceErrorKind::RateLimited),
        code if code.contains("INTERNAL") => Some(ServiceErrorKind::Unavailable),
        _ => None,
    }
}

fn service_error_of(kind: ServiceErrorKind, code: String) -> ServiceError {
    let (what, action) = match kind {
        ServiceErrorKind::Unauthorized => (
            "Bigin denies access to contacts",
            Some("give the user of the refresh token the permission to create and edit contacts"),
        ),
        ServiceErrorKind::RateLimited => ("Bigin is rate limiting us", None),
        _ => ("Bigin reports an internal error", None),
    };
    ServiceError {
        remote: Remote::Bigin,
        kind,
        code,
        what: what.to_owned(),
        action: action.map(str::to_owned),
        retry_after: None,
    }
}

/// The results of a call, or the service's failure where it refused two records or more, all of them for the same reason
/// of its own: then no lead is to blame.
///
/// # Errors
/// [`CallError::Service`]: nothing was applied.
pub(super) fn unless_service_refused<T>(results: Results<T>) -> Result<Results<T>, CallError> {
    let refusal = |result: &Result<T, ItemError>| match result {
        Err(ItemError::Service { error: service_error }) => Some(service_error.clone()),
        _ => None,
    };
    match results.first().and_then(refusal) {
        Some(service_error)
            if results.len() > 1
                && results
                    .iter()
                    .all(|result| refusal(result).as_ref() == Some(&service_error)) =>
        {
            Err(CallError::Service(service_error))
        }
        _ => Ok(results),
    }
}

/// Whether a refusal may be over by the next try: a lock, or trouble of the server.
fn passes(code: &str, status: StatusCode) -> bool {
    let known = matches!(code, "RECORD_LOCKED" | "ALREADY_MODIFIED");
    let server = ["SERVER", "TIMEOUT", "UNAVAILABLE", "TRY_AGAIN"]
        .iter()
        .any(|word| code.contains(word));
    known || server || (status.is_server_error() && !is_about_the_record(code))
}

fn is_about_the_record(code: &str) -> bool {
    matches!(code, "INVALID_DATA" | "MANDATORY_NOT_FOUND" | "DUPLICATE_DATA")
}

/// Whether the item says that the contact it was about does not exist.
///
/// `INVALID_DATA` for an id is in the docs of Zoho CRM (update-records, add-tags), with `details.api_name` `id`, with
/// `details.id`, or with empty details and the message "the id given seems to be invalid". The other codes are assumptions.
pub(super) fn is_gone(item: &Value) -> bool {
    match text(item, "code") {
        Some("INVALID_DATA") => match text(&item["details"], "api_name") {
            Some(name) => matches!(name, "id" | "ids"),
            None => {
                let message = text(item, "message").unwrap_or_default().to_ascii_lowercase();
                item["details"].get("id").is_some() || message.contains("id given seems to be invalid")
            }
        },
        Some("RECORD_NOT_FOUND" | "RESOURCE_NOT_FOUND" | "NOT_FOUND" | "INVALID_RECORD_ID") => true,
        _ => false,
    }
}

/// Bigin's code and the reason; `None` where the item has no code.
pub(super) fn refusal(item: &Value) -> Option<(String, RejectReason)> {
    let said = text(item, "code")?;
    let details = &item["details"];
    let field = text(details, "api_name").and_then(field_name).map(str::to_owned);
    let code = clean_code(said).unwrap_or("UNKNOWN_CODE").to_owned();
    let reason = match (said, field) {
        ("INVALID_DATA", Some(field)) => invalid(field, details),
        ("MANDATORY_NOT_FOUND", Some(field)) => RejectReason::ValueRequired { field },
        ("DUPLICATE_DATA", field) => RejectReason::DuplicateValue {
            field,
            contact: other_contact(details),
        },
        ("NOT_APPROVED", _) => RejectReason::ApprovalPending,
        (_, field) => RejectReason::RecordRejected {
            field,
            service_code: code.clone(),
        },
    };
    Some((code, reason))
}

fn invalid(field: String, details: &Value) -> RejectReason {
    let max = ["maximum_length", "max_length"]
        .iter()
        .find_map(|key| number(&details[*key]));
    match max {
        Some(max) => RejectReason::ValueTooLong { field, max },
        None => RejectReason::InvalidValue {
            field,
            expected: text(details, "expected_data_type")
                .and_then(field_name)
                .map(str::to_owned),
        },
    }
}

/// The contact that has the value already. `duplicate_record` is seen in answers of Bigin; a plain `id` in those of CRM.
fn other_contact(details: &Value) -> Option<ContactId> {
    contact_id(&details["duplicate_record"]).or_else(|| contact_id(details))
}

/// Gives each contact its item: those that name one of the contacts first, the others in the order they come. Both lists
/// have the same length.
///
/// # Errors
/// [`CallError::Ambiguous`] where an item names a contact that is not in the request, or one that another item has named: it
/// must not pass for the answer about another. One contact alone can only be answered for itself.
pub(super) fn in_order_of<'a>(contacts: &[&ContactId], items: &'a [Value]) -> Result<Vec<&'a Value>, CallError> {
    if let [item] = items {
        return Ok(vec![item]);
    }
    let mut places: Vec<Option<&Value>> = vec![None; contacts.len()];
    let mut nameless = Vec::new();
    for item in items {
        let Some(named) = answered_for(item) else {
            nameless.push(item);
            continue;
        };
        let free = contacts
            .iter()
            .zip(&mut places)
            .find(|(contact, place)| ***contact == named && place.is_none());
        let Some((_, place)) = free else {
            let message = "Bigin's answer is about other contacts than the call";
            return Err(CallError::ambiguous("WRONG_RECORDS", message, None));
        };
        *place = Some(item);
    }
    let mut nameless = nameless.into_iter();
    let placed = places
        .into_iter()
        .map(|place| place.or_else(|| nameless.next()).unwrap_or(&Value::Null));
    Ok(placed.collect())
}

/// The contact that an item is about, where it says so. That of `DUPLICATE_DATA` is [`other_contact`].
fn answered_for(item: &Value) -> Option<ContactId> {
    match text(item, "code") {
        Some("DUPLICATE_DATA") => None,
        _ => contact_id(&item["details"]),
    }
}

/// The contact's id at `details.id`: text of about nineteen digits (recorded live traffic 2026-10-09); a number will do.
pub(super) fn contact_id(details: &Value) -> Option<ContactId> {
    match details.get("id")? {
        Value::String(id) => ContactId::parse(id),
        Value::Number(id) => ContactId::parse(&id.to_string()),
        _ => None,
    }
}

fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key).and_then(Value::as_str)
}

/// A code of Bigin's that is safe to repeat.
pub(super) fn clean_code(code: &str) -> Option<&str> {
    word(code, 40, |c| c.is_ascii_uppercase() || c == b'_')
}

fn field_name(name: &str) -> Option<&str> {
    word(name, 60, |c| c.is_ascii_alphanumeric() || c == b'_')
}
