//! Every shape of answer there is, and what it is taken for.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::bigin::answer::{Verdict, judge};
use crate::bigin::item;
use crate::domain::failure::{CallError, ItemError, Remote, ServiceErrorKind};
use crate::http_client::Answer;
use std::time::Duration;

fn answer(status: u16, json: Option<Value>) -> Answer {
    Answer {
        status: StatusCode::from_u16(status).unwrap(),
        retry_after: Some(Duration::from_secs(7)),
        json,
    }
}

fn error(code: &str) -> Option<Value> {
    said(code, "personal: ada@example.org")
}

fn said(code: &str, message: &str) -> Option<Value> {
    Some(json!({"code": code, "details": {}, "message": message, "status": "error"}))
}

/// A verdict in a word or two, for tables.
fn outline(answer: &Answer) -> String {
    match judge(answer, "Some.scope") {
        Verdict::Items(items) => format!("items {}", items.len()),
        Verdict::Body(_) => "body".to_owned(),
        Verdict::Nothing => "nothing".to_owned(),
        Verdict::TokenRefused => "token refused".to_owned(),
        Verdict::Refused(_) => "rejected".to_owned(),
        Verdict::Failed(CallError::Service(service_error)) => {
            assert_eq!(service_error.remote, Remote::Bigin);
            let waits = matches!(
                service_error.kind,
                ServiceErrorKind::RateLimited | ServiceErrorKind::CreditsUsedUp
            );
            assert_eq!(service_error.retry_after.is_some(), waits);
            format!("{:?} {}", service_error.kind, service_error.code)
        }
        Verdict::Failed(CallError::Ambiguous { code, retry_after, .. }) => {
            assert!(retry_after.is_some());
            format!("ambiguous {code}")
        }
        Verdict::Failed(CallError::Rejected { code, .. }) => format!("rejected {code}"),
    }
}

#[test]
fn every_answer_is_judged_by_its_body_and_then_by_its_status() {
    let item = json!({"data": [{"code": "SUCCESS"}]});
    let cases = [
        // With data, whatever the status.
        (200, Some(item.clone()), "items 1"),
        (201, Some(item.clone()), "items 1"),
        (202, Some(item.clone()), "items 1"),
        (207, Some(item.clone()), "items 1"),
        (400, Some(item.clone()), "items 1"),
        (500, Some(item), "items 1"),
        (200, Some(json!({"data": []})), "items 0"),
        // Without data.
        (200, Some(json!({"fields": []})), "body"),
        (204, None, "nothing"),
        // Errors of the whole call.
        (401, error("INVALID_TOKEN"), "token refused"),
        (200, error("INVALID_TOKEN"), "token refused"),
        (401, error("OAUTH_SCOPE_MISMATCH"), "Unauthorized OAUTH_SCOPE_MISMATCH"),
        (403, error("NO_PERMISSION"), "Unauthorized NO_PERMISSION"),
        (400, error("AUTHORIZATION_FAILED"), "Unauthorized AUTHORIZATION_FAILED"),
        (
            401,
            error("AUTHENTICATION_FAILURE"),
            "Unauthorized AUTHENTICATION_FAILURE",
        ),
        (403, error("ANYTHING"), "Unauthorized ANYTHING"),
        (404, error("INVALID_URL_PATTERN"), "Unauthorized INVALID_URL_PATTERN"),
        (400, error("INVALID_MODULE"), "Unauthorized INVALID_MODULE"),
        (
            400,
            error("INVALID_REQUEST_METHOD"),
            "Unauthorized INVALID_REQUEST_METHOD",
        ),
        (429, error("TOO_MANY_REQUESTS"), "RateLimited TOO_MANY_REQUESTS"),
        (400, error("TOO_MANY_REQUESTS"), "RateLimited TOO_MANY_REQUESTS"),
        (429, error("WHATEVER"), "RateLimited WHATEVER"),
        (429, Some(json!({})), "RateLimited HTTP 429"),
        (429, None, "RateLimited HTTP 429"),
        (429, error("LIMIT_EXCEEDED"), "CreditsUsedUp LIMIT_EXCEEDED"),
        (
            400,
            error("API_CREDITS_EXHAUSTED"),
            "CreditsUsedUp API_CREDITS_EXHAUSTED",
        ),
        (
            403,
            said("API_LIMIT_EXCEEDED", "You have used up your Credits"),
            "CreditsUsedUp API_LIMIT_EXCEEDED",
        ),
        (
            429,
            said("TOO_MANY_REQUESTS", "number of requests for the 24 hour period"),
            "CreditsUsedUp TOO_MANY_REQUESTS",
        ),
        (400, error("LIMIT_EXCEEDED"), "rejected"),
        (500, error("INTERNAL_ERROR"), "ambiguous INTERNAL_ERROR"),
        (400, error("INTERNAL_ERROR"), "ambiguous INTERNAL_ERROR"),
        (503, error("SOMETHING"), "ambiguous SOMETHING"),
        (400, error("RECORD_LOCKED"), "ambiguous RECORD_LOCKED"),
        (400, error("MANDATORY_NOT_FOUND"), "rejected"),
        (400, error("REQUIRED_PARAM_MISSING"), "rejected"),
        (400, error("PATTERN_NOT_MATCHED"), "rejected"),
        (400, error("INVALID_DATA"), "rejected"),
        (200, error("INVALID_DATA"), "rejected"),
        (400, error("ada@example.org"), "rejected"),
        (413, Some(json!({})), "rejected"),
        // Not Bigin speaking.
        (413, None, "rejected HTTP 413"),
        (414, None, "rejected HTTP 414"),
        (502, None, "ambiguous HTTP 502"),
        (500, Some(json!({})), "ambiguous HTTP 500"),
        (404, None, "ambiguous HTTP 404"),
        (404, Some(json!({"message": "no such route"})), "ambiguous HTTP 404"),
        (401, None, "ambiguous HTTP 401"),
        (401, Some(json!({"message": "log in"})), "ambiguous HTTP 401"),
        (403, Some(json!("blocked")), "ambiguous HTTP 403"),
        (200, None, "ambiguous HTTP 200"),
        (302, None, "ambiguous HTTP 302"),
        (408, error("X"), "ambiguous X"),
        (503, error("ada@example.org"), "ambiguous HTTP 503"),
    ];
    for (status, body, expected) in cases {
        let label = format!("{status} {body:?}");
        assert_eq!(outline(&answer(status, body)), expected, "{label}");
    }
}

#[test]
fn a_missing_scope_is_named() {
    for code in ["OAUTH_SCOPE_MISMATCH", "NO_PERMISSION", "AUTHORIZATION_FAILED", "OTHER"] {
        let answer = answer(403, error(code));
        let Verdict::Failed(error) = judge(&answer, "ZohoBigin.coql.READ") else {
            panic!("{code} is a failure");
        };
        let error = error.to_string();
        assert!(error.contains("ZohoBigin.coql.READ"), "{error}");
        assert!(!error.contains("ada"), "{error}");
    }
}

fn failed(code: &str, details: Value) -> Value {
    json!({"code": code, "details": details, "message": "ada@example.org", "status": "error"})
}

#[test]
fn a_refused_record_is_told_in_words_for_editors() {
    let cases = [
        (
            failed(
                "INVALID_DATA",
                json!({"expected_data_type": "email", "api_name": "Email"}),
            ),
            "Bigin rejected Email: not an email address",
        ),
        (
            failed(
                "INVALID_DATA",
                json!({"expected_data_type": "phone", "api_name": "Phone"}),
            ),
            "Bigin rejected Phone: not a phone number",
        ),
        (
            failed("INVALID_DATA", json!({"maximum_length": 40, "api_name": "First_Name"})),
            "Bigin rejected First_Name: longer than 40 characters",
        ),
        (
            failed(
                "INVALID_DATA",
                json!({"maximum_length": "40", "api_name": "First_Name"}),
            ),
            "Bigin rejected First_Name: longer than 40 characters",
        ),
        (
            failed(
                "INVALID_DATA",
                json!({"expected_data_type": "integer", "api_name": "Lead_Score"}),
            ),
            "Bigin rejected Lead_Score: expected integer",
        ),
        (
            failed(
                "INVALID_DATA",
                json!({"expected_data_type": "ada@example.org", "api_name": "Email"}),
            ),
            "Bigin rejected Email: not a valid value",
        ),
        (
            failed("INVALID_DATA", json!({"api_name": "a b"})),
            "Bigin rejected the contact (INVALID_DATA)",
        ),
        (
            failed("INVALID_DATA", json!({})),
            "Bigin rejected the contact (INVALID_DATA)",
        ),
        (
            failed("MANDATORY_NOT_FOUND", json!({"api_name": "Last_Name"})),
            "Bigin rejected Last_Name: it is required and empty",
        ),
        (
            failed(
                "DUPLICATE_DATA",
                json!({"api_name": "Phone", "duplicate_record": {"id": "7618134000000646043"}}),
            ),
            "Bigin rejected Phone: contact 7618134000000646043 already has this value",
        ),
        (
            failed(
                "DUPLICATE_DATA",
                json!({"api_name": "Phone", "id": 7_618_134_000_000_646_043_u64}),
            ),
            "Bigin rejected Phone: contact 7618134000000646043 already has this value",
        ),
        (
            failed("DUPLICATE_DATA", json!({"duplicate_record": {"id": "ada"}})),
            "Bigin rejected the contact: another contact already has this value",
        ),
        (
            failed("NOT_APPROVED", json!({})),
            "Bigin rejected the contact: it is waiting for an approval",
        ),
        (
            failed("SOMETHING_NEW", json!({"api_name": "Email"})),
            "Bigin rejected Email (SOMETHING_NEW)",
        ),
        (
            failed("so secret", json!({})),
            "Bigin rejected the contact (UNKNOWN_CODE)",
        ),
    ];
    for (item, expected) in cases {
        match item::judge(&item, StatusCode::ACCEPTED, false) {
            Err(ItemError::Rejected { reason, .. }) => assert_eq!(reason.to_string(), expected, "{item}"),
            other => panic!("{item}: {other:?}"),
        }
    }
}

#[test]
fn service_is_told_from_record_by_the_code() {
    let cases = [
        ("LIMIT_EXCEEDED", 400, ServiceErrorKind::RateLimited),
        ("TOO_MANY_REQUESTS", 207, ServiceErrorKind::RateLimited),
        ("INTERNAL_ERROR", 200, ServiceErrorKind::Unavailable),
        ("INTERNAL_SERVER_ERROR", 500, ServiceErrorKind::Unavailable),
        ("NO_PERMISSION", 207, ServiceErrorKind::Unauthorized),
        ("OAUTH_SCOPE_MISMATCH", 207, ServiceErrorKind::Unauthorized),
    ];
    for (code, status, kind) in cases {
        let status = StatusCode::from_u16(status).unwrap();
        let judged = item::judge(&failed(code, json!({})), status, true).map(|_| ());
        let Err(ItemError::Service { error: service_error }) = &judged else {
            panic!("{code}: {judged:?}");
        };
        assert_eq!((service_error.kind, service_error.code.as_str()), (kind, code));
        let all = |judged: Vec<Result<(), ItemError>>| item::unless_service_refused(judged);
        assert_eq!(
            all(vec![judged.clone(), judged.clone()]),
            Err(CallError::Service(service_error.clone())),
            "two for the same reason are the service"
        );
        for mixed in [
            vec![judged.clone()],
            vec![judged.clone(), Ok(())],
            vec![judged.clone(), Err(ItemError::ContactGone)],
        ] {
            assert_eq!(all(mixed.clone()), Ok(mixed));
        }
    }
}

#[test]
fn what_passes_is_tried_later() {
    let cases = [
        ("RECORD_LOCKED", 400),
        ("ALREADY_MODIFIED", 412),
        ("SOMETHING_NEW", 500),
    ];
    for (code, status) in cases {
        let status = StatusCode::from_u16(status).unwrap();
        let later = ItemError::Retry { code: code.to_owned() };
        assert_eq!(
            item::judge(&failed(code, json!({})), status, true),
            Err(later),
            "{code}"
        );
    }
    let bare = json!({});
    let no_code = item::judge(&bare, StatusCode::OK, true);
    assert!(matches!(no_code, Err(ItemError::Retry { .. })));
    let sure = failed("INVALID_DATA", json!({"api_name": "Email"}));
    let sure = item::judge(&sure, StatusCode::INTERNAL_SERVER_ERROR, false);
    assert!(matches!(sure, Err(ItemError::Rejected { .. })));
}

#[test]
fn a_contact_that_is_gone_is_told_from_a_bad_field() {
    let message = json!({"code": "INVALID_DATA", "details": {}, "message": "The id given seems to be invalid", "status": "error"});
    let cases = [
        (message, true),
        (failed("INVALID_DATA", json!({"api_name": "id"})), true),
        (failed("INVALID_DATA", json!({"id": "123"})), true),
        (failed("RECORD_NOT_FOUND", json!({})), true),
        (failed("INVALID_DATA", json!({"api_name": "Email", "id": "123"})), false),
        (failed("INVALID_DATA", json!({})), false),
        (failed("DUPLICATE_DATA", json!({"id": "123"})), false),
    ];
    for (item, gone) in cases {
        let judged = item::judge(&item, StatusCode::BAD_REQUEST, true);
        assert_eq!(judged == Err(ItemError::ContactGone), gone, "{item}");
        let judged = item::judge(&item, StatusCode::BAD_REQUEST, false);
        assert_ne!(judged, Err(ItemError::ContactGone), "{item}: no id was sent");
    }
}

#[test]
fn success_is_told_by_status_or_code() {
    let cases = [
        (json!({"code": "SUCCESS", "status": "success", "details": {}}), true),
        (json!({"status": "success", "details": {}}), true),
        (json!({"code": "SUCCESS", "details": {}}), true),
        (json!({"code": "SUCCESS", "status": "error", "details": {}}), false),
    ];
    for (item, success) in cases {
        assert_eq!(item::judge(&item, StatusCode::OK, false).is_ok(), success, "{item}");
    }
}
