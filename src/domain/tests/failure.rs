//! What a failure is called, and what it means for the whole service.

use std::time::Duration;

use crate::domain::failure::{CallError, Remote, ServiceError, ServiceErrorKind, TransportError};
use crate::domain::reject_reason::RejectReason;

fn service_error(code: &str) -> ServiceError {
    ServiceError::new(
        Remote::ZohoAccounts,
        ServiceErrorKind::Unauthorized,
        code,
        "refresh token rejected",
    )
}

#[test]
fn every_service_has_a_name_and_is_found_by_it() {
    assert_eq!(Remote::ALL.map(Remote::label), ["zoho_accounts", "bigin", "sanity"]);
    for remote in Remote::ALL {
        assert_eq!(Remote::from_label(remote.label()), Some(remote));
    }
    assert_eq!(Remote::from_label("zoho"), None);
}

#[test]
fn every_kind_of_pause_is_found_by_its_label() {
    for kind in ServiceErrorKind::ALL {
        assert_eq!(ServiceErrorKind::from_label(kind.label()), Some(kind));
    }
    let labels: std::collections::BTreeSet<_> = ServiceErrorKind::ALL.map(ServiceErrorKind::label).into();
    assert_eq!(labels.len(), ServiceErrorKind::ALL.len());
    assert_eq!(ServiceErrorKind::from_label("tired"), None);
}

#[test]
fn a_failure_says_what_it_is_in_a_word_and_in_a_sentence() {
    let unavailable = CallError::Service(service_error("invalid_code"));
    let unknown = CallError::ambiguous("HTTP 502", "Bigin did not answer properly", None);
    let refused = CallError::Rejected {
        code: "INVALID_DATA".to_owned(),
        reason: RejectReason::ApprovalPending,
    };
    for (error, label, code, sentence) in [
        (
            unavailable,
            "unauthorized",
            "invalid_code",
            "refresh token rejected (invalid_code)",
        ),
        (
            unknown,
            "ambiguous",
            "HTTP 502",
            "HTTP 502: Bigin did not answer properly",
        ),
        (
            refused,
            "rejected",
            "INVALID_DATA",
            "Bigin rejected the contact: it is waiting for an approval",
        ),
    ] {
        assert_eq!(
            (error.label(), error.code(), error.to_string().as_str()),
            (label, code, sentence)
        );
    }
}

#[test]
fn a_failure_says_what_can_be_done_where_the_service_did() {
    let error = service_error("invalid_code").with_action("set BIGIN_REFRESH_TOKEN");
    assert_eq!(
        error.to_string(),
        "refresh token rejected (invalid_code); set BIGIN_REFRESH_TOKEN"
    );
}

#[test]
fn a_call_without_an_answer_says_why() {
    let causes = [
        (TransportError::Connect, "connect"),
        (TransportError::NotSent, "not sent"),
        (TransportError::Timeout, "timeout"),
        (TransportError::TooLarge, "answer too large"),
        (TransportError::Lost, "connection lost"),
    ];
    for (error, code) in causes {
        assert_eq!(error.to_string(), code);
        assert_eq!(error.into_call_error(Remote::Sanity).code(), code);
    }
}

#[test]
fn a_failure_of_the_whole_service_keeps_its_words_and_the_wait_that_was_asked_for() {
    let wait = Some(Duration::from_secs(9));
    let unknown = CallError::ambiguous("HTTP 502", "a page", wait);
    let expected =
        ServiceError::new(Remote::Bigin, ServiceErrorKind::Unavailable, "HTTP 502", "a page").with_retry_after(wait);
    assert_eq!(unknown.into_service_error(Remote::Bigin), expected);
    let paused = CallError::Service(service_error("invalid_code"));
    assert_eq!(
        paused.into_service_error(Remote::Bigin),
        service_error("invalid_code"),
        "it knows better which service"
    );
}

#[test]
fn only_what_was_never_sent_is_unambiguous() {
    for error in [TransportError::Connect, TransportError::NotSent] {
        let error = error.into_call_error(Remote::Bigin);
        assert!(matches!(error, CallError::Service(error) if error.kind == ServiceErrorKind::Unavailable));
    }
    for error in [TransportError::Timeout, TransportError::TooLarge, TransportError::Lost] {
        let call = error.into_call_error(Remote::Sanity);
        assert_eq!(call.code(), error.code());
        assert!(matches!(call, CallError::Ambiguous { transport: Some(of), .. } if of == error));
    }
}
